"""Folders of Parquet files, written with pyarrow alone."""

from __future__ import annotations

import datetime
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import sample


class FilesOrigin(conformance.Origin):
    """A folder of folders with two Parquet files each."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": str(self.folder)}

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
        for part in (self.folder / table).iterdir():
            rows = pq.ParquetFile(part).read()
            pq.write_table(
                rows.rename_columns([new if name == old else name for name in rows.column_names]),
                part,
            )

    def change(self, table: str) -> None:
        part = self.folder / table / "part-1.parquet"
        rows = pq.ParquetFile(part).read()
        pq.write_table(pa.concat_tables([rows, rows]), part)
        os.utime(part, ns=(1, 1))

    def drop(self, table: str) -> None:
        shutil.rmtree(self.folder / table)

    def _write(self, table: str, rows: pa.Table) -> None:
        folder = self.folder / table
        folder.mkdir()
        half = rows.num_rows // 2
        pq.write_table(rows.slice(0, half), folder / "part-0.parquet", row_group_size=3)
        pq.write_table(rows.slice(half), folder / "part-1.parquet", row_group_size=3)
