"""SQLite looked at with the standard library's driver alone."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import pathlib
import sqlite3
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.testing import conformance


class SQLitePlace(conformance.SqlPlace):
    """A file."""

    traits = conformance.Traits(gaps=frozenset({"nan", "negative_zero"}), dotted_tables=False)

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "sqlite", "url": f"sqlite:///{self.file}"}

    def execute(self, sql: str) -> None:
        self.query(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=10)) as raw, raw:
            return raw.execute(sql).fetchall()

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SELECT name FROM sqlite_schema WHERE type='table'")}

    def value(self, raw: Any, field: pa.Field) -> object:
        kind = field.type
        if base.is_json(field) or pa.types.is_nested(kind):
            return conformance.Document(raw)
        if pa.types.is_decimal(kind):
            return decimal.Decimal(raw)
        if pa.types.is_uint64(kind):
            return int(raw)
        if pa.types.is_boolean(kind):
            return {0: False, 1: True}[raw]
        if pa.types.is_date(kind):
            return datetime.date.fromisoformat(raw)
        if pa.types.is_time(kind):
            return datetime.time.fromisoformat(raw)
        return datetime.datetime.fromisoformat(raw) if pa.types.is_timestamp(kind) else raw
