"""What the places of Parquet share, be they folders or buckets: tables of two files, and cells."""

from __future__ import annotations

import abc
import datetime
from collections.abc import Sequence

import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import sample


class ParquetOrigin(conformance.Origin):
    """Tables of two Parquet files each."""

    def seed_types(self, table: str) -> pa.Table:
        rows = sample.table(sample.columns(conformance.Traits()))
        self._write(table, rows)
        return rows

    def seed(self, table: str, rows: Sequence[tuple[int, datetime.date | None, str]]) -> None:
        keys, days, names = zip(*rows, strict=True) if rows else ((), (), ())
        self._write(
            table,
            pa.table(
                {
                    "id": pa.array(keys, pa.int64()),
                    "day": pa.array(days, pa.date32()),
                    "name": pa.array(names, pa.string()),
                }
            ),
        )

    def rename_column(self, table: str, old: str, new: str) -> None:
        for number in (0, 1):
            rows = self._part(table, number)
            names = [new if column == old else column for column in rows.column_names]
            self._put_part(table, number, rows.rename_columns(names))

    def change(self, table: str) -> None:
        rows = self._part(table, 1)
        self._put_part(table, 1, pa.concat_tables([rows, rows]))

    def _write(self, table: str, rows: pa.Table) -> None:
        half = rows.num_rows // 2
        self._put_part(table, 0, rows.slice(0, half))
        self._put_part(table, 1, rows.slice(half))

    @abc.abstractmethod
    def _part(self, table: str, number: int) -> pa.Table:
        """Read a file of a table."""

    @abc.abstractmethod
    def _put_part(self, table: str, number: int, rows: pa.Table) -> None:
        """Write a file of a table, in row groups of three rows."""


def as_read(rows: pa.Table, schema: pa.Schema) -> list[dict[str, object]]:
    """Return rows in the order of their first column, as `TargetPlace.read` gives them."""
    found: list[dict[str, object]] = rows.select(schema.names).sort_by(schema.names[0]).to_pylist()
    for field in schema:
        if base.is_json(field) or pa.types.is_nested(field.type):
            for row in found:
                text = row[field.name]
                row[field.name] = None if text is None else conformance.Document(str(text))
    return found


def with_cell(rows: pa.Table, kept: pa.Table, column: str, row: int, taken_from: int) -> pa.Table:
    """Return rows with one cell of a kept copy; see `TargetPlace.set_cell`."""
    cells = rows.column(column).combine_chunks()
    value = kept.column(column).combine_chunks().slice(taken_from - 1, 1)
    changed = pa.concat_arrays([cells.slice(0, row - 1), value, cells.slice(row)])
    index = rows.schema.get_field_index(column)
    return rows.set_column(index, rows.schema.field(column), changed)
