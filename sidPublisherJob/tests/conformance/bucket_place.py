"""Places in buckets for the conformance suites, looked at past the connector."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.connectors import bucket_kit
from tmg_etl.connectors import base
from tmg_etl.connectors.files import published
from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import sample


class BucketOrigin(conformance.Origin):
    """A folder of folders with two Parquet objects each."""

    def __init__(self, place: bucket_kit.Place) -> None:
        self.place = place

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": self.place.root}

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
        for name in self._parts(table):
            rows = self.place.table(name)
            names = [new if column == old else column for column in rows.column_names]
            self.place.put_table(name, rows.rename_columns(names))

    def change(self, table: str) -> None:
        name = f"{table}/part-1.parquet"
        rows = self.place.table(name)
        self.place.put_table(name, pa.concat_tables([rows, rows]))

    def drop(self, table: str) -> None:
        for name in self._parts(table):
            self.place.delete(name)

    def _parts(self, table: str) -> list[str]:
        return [f"{table}/part-{number}.parquet" for number in (0, 1)]

    def _write(self, table: str, rows: pa.Table) -> None:
        half = rows.num_rows // 2
        for name, part in zip(
            self._parts(table), (rows.slice(0, half), rows.slice(half)), strict=True
        ):
            self.place.put_table(name, part, row_group_size=3)


class BucketPlace(conformance.TargetPlace):
    """A prefix of a bucket."""

    traits = conformance.Traits(gaps=frozenset({"diff", "merge"}))

    def __init__(self, place: bucket_kit.Place) -> None:
        self.place = place

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": self.place.root}

    def tables(self) -> set[str]:
        names = self.place.names()
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def read(self, table: str, schema: pa.Schema) -> list[dict[str, object]]:
        found = self.place.table(f"{table}.parquet")
        rows = found.select(schema.names).sort_by(schema.names[0]).to_pylist()
        for field in schema:
            if base.is_json(field) or pa.types.is_nested(field.type):
                for row in rows:
                    text = row[field.name]
                    row[field.name] = None if text is None else conformance.Document(text)
        return rows

    def dump(self, table: str) -> list[str]:
        if table not in self.tables():
            return []
        return sorted(repr(row) for row in self.place.table(f"{table}.parquet").to_pylist())

    def leave_behind(self, name: str) -> None:
        self.place.put_table(f"{name}.parquet", pa.table({"id": [1]}))

    def keep_copy(self, table: str, copy: str) -> None:
        self.place.put_table(f"copies/{copy}.parquet", self.place.table(f"{table}.parquet"))

    def set_cell(self, table: str, copy: str, column: str, row: int, taken_from: int) -> None:
        kept = self.place.table(f"copies/{copy}.parquet")
        rows = self.place.table(f"{table}.parquet")
        cells = rows.column(column).combine_chunks()
        value = kept.column(column).combine_chunks().slice(taken_from - 1, 1)
        changed = pa.concat_arrays([cells.slice(0, row - 1), value, cells.slice(row)])
        index = rows.schema.get_field_index(column)
        changed_rows = rows.set_column(index, rows.schema.field(column), changed)
        self.place.put_table(f"{table}.parquet", changed_rows)

    def tamper(self, target: base.Target, name: str) -> None:
        rows = self.place.table(f"{name}.parquet")
        kept = rows.filter(pc.not_equal(rows.column("id"), 1))
        self.place.put_table(f"{name}.parquet", kept)
        # Objects are read by their generation: as if the upload itself had lost the row.
        assert isinstance(target, published.BucketTarget)
        facts = target._store.facts(f"{self.place.root}/{name}.parquet")
        assert facts is not None
        target._shadows[name] = facts
