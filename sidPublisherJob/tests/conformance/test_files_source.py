"""Files as a source: Parquet written with pyarrow alone."""

from __future__ import annotations

import datetime
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import files
from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import publication, sample


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


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> FilesOrigin:
    return FilesOrigin(tmp_path_factory.mktemp("lake"))


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestChange:
    def test_a_file_that_changes_while_it_is_read_is_a_temporary_error(
        self, origin: FilesOrigin
    ) -> None:
        name = publication.new_name("changing")
        origin.seed(name, [(number, None, f"n{number}") for number in range(20)])
        config = model.Config.model_validate({"connections": {"lake": dict(origin.connection)}})
        connection = files.FilesConnection(config.connections["lake"], origin.folder)
        assert isinstance(connection.stop, run_module.StopFlag)
        spec = model.SourceSpec(connection="lake", table=name)
        with connection.open_source(spec, publication.DAY) as source:
            batches = source.read(["id"], batch_rows=1)
            next(batches)
            origin.change(name)
            with pytest.raises(errors.TemporaryError, match="part-1"):
                list(batches)
