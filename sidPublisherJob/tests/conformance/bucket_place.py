"""Places in buckets for the conformance suites, looked at past the connector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.conformance import parquet_kit
from tests.connectors import bucket_kit
from tmg_etl.connectors import base
from tmg_etl.connectors.files import published
from tmg_etl.testing import conformance


class BucketOrigin(parquet_kit.ParquetOrigin):
    """A folder of folders with two Parquet objects each."""

    def __init__(self, place: bucket_kit.Place) -> None:
        self.place = place

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": self.place.root}

    def drop(self, table: str) -> None:
        for number in (0, 1):
            self.place.delete(self._name(table, number))

    def _name(self, table: str, number: int) -> str:
        return f"{table}/part-{number}.parquet"

    def _part(self, table: str, number: int) -> pa.Table:
        return self.place.table(self._name(table, number))

    def _put_part(self, table: str, number: int, rows: pa.Table) -> None:
        self.place.put_table(self._name(table, number), rows, row_group_size=3)


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
        return parquet_kit.as_read(self.place.table(f"{table}.parquet"), schema)

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
        changed = parquet_kit.with_cell(rows, kept, column, row, taken_from)
        self.place.put_table(f"{table}.parquet", changed)

    def tamper(self, target: base.Target, name: str) -> None:
        rows = self.place.table(f"{name}.parquet")
        kept = rows.filter(pc.not_equal(rows.column("id"), 1))
        self.place.put_table(f"{name}.parquet", kept)
        # Objects are read by their generation: as if the upload itself had lost the row.
        assert isinstance(target, published.BucketTarget)
        facts = target._store.facts(f"{self.place.root}/{name}.parquet")
        assert facts is not None
        target._shadows[name] = facts
