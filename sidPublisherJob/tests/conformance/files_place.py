"""Folders of Parquet files, written with pyarrow alone."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conformance import parquet_kit


class FilesOrigin(parquet_kit.ParquetOrigin):
    """A folder of folders with two Parquet files each."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": str(self.folder)}

    def change(self, table: str) -> None:
        super().change(table)
        os.utime(self._path(table, 1), ns=(1, 1))

    def drop(self, table: str) -> None:
        shutil.rmtree(self.folder / table)

    def _path(self, table: str, number: int) -> pathlib.Path:
        return self.folder / table / f"part-{number}.parquet"

    def _part(self, table: str, number: int) -> pa.Table:
        return pq.ParquetFile(self._path(table, number)).read()

    def _put_part(self, table: str, number: int, rows: pa.Table) -> None:
        path = self._path(table, number)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(rows, path, row_group_size=3)
