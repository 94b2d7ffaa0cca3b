"""DuckDB looked at with the driver alone."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.testing import conformance


class DuckDBPlace(conformance.SqlPlace):
    """A file."""

    traits = conformance.Traits(
        gaps=frozenset({"foreign_keys"}), max_decimal=(38, 38), dotted_tables=False
    )

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file
        # Open for the whole module: opening a file takes longer than any statement here.
        self.raw = duckdb.connect(str(file))

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "duckdb", "url": f"duckdb:///{self.file}"}

    def execute(self, sql: str) -> None:
        self.query(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.raw.execute(sql).fetchall()

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SELECT table_name FROM duckdb_tables()")}

    def set_cell(self, table: str, copy: str, column: str, row: int, taken_from: int) -> None:
        # DuckDB leaves a cell alone that gets an equal value, and 0.0 equals -0.0.
        if column.startswith("float"):
            self.execute(
                f"UPDATE {self.quote(table)} SET {self.quote(column)} = 1 WHERE id = {row}"
            )
        super().set_cell(table, copy, column, row, taken_from)

    def selected(self, field: pa.Field) -> str:
        cell = self.quote(field.name)
        if field.type == pa.timestamp("us", tz="UTC"):
            # The driver would need another package to give instants.
            return f"{cell} AT TIME ZONE 'UTC'"
        return cell

    def value(self, raw: Any, field: pa.Field) -> object:
        if base.is_json(field) or pa.types.is_nested(field.type):
            return conformance.Document(raw)
        if field.type == pa.timestamp("us", tz="UTC"):
            return raw.replace(tzinfo=datetime.UTC)
        return raw
