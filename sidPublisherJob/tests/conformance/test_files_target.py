"""Files as a target: folders of Parquet, looked at with pyarrow alone."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conformance import parquet_kit
from tmg_etl.connectors import base
from tmg_etl.testing import conformance


class FilesPlace(conformance.TargetPlace):
    """A folder."""

    traits = conformance.Traits(gaps=frozenset({"diff", "merge"}))

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "files", "url": str(self.folder)}

    def tables(self) -> set[str]:
        folders = (path for path in self.folder.iterdir() if path.is_dir())
        return {path.name.removeprefix(".") for path in folders}

    def read(self, table: str, schema: pa.Schema) -> list[dict[str, object]]:
        return parquet_kit.as_read(self._read(table), schema)

    def dump(self, table: str) -> list[str]:
        if not (self.folder / table).exists():
            return []
        return sorted(repr(row) for row in self._read(table).to_pylist())

    def leave_behind(self, name: str) -> None:
        folder = self.folder / f".{name}"
        folder.mkdir()
        pq.write_table(pa.table({"id": [1]}), folder / "part-00000-dead.parquet")

    def keep_copy(self, table: str, copy: str) -> None:
        pq.write_table(self._read(table), self.folder / f"{copy}.parquet")

    def set_cell(self, table: str, copy: str, column: str, row: int, taken_from: int) -> None:
        kept = pq.ParquetFile(self.folder / f"{copy}.parquet").read()
        rows = parquet_kit.with_cell(self._read(table), kept, column, row, taken_from)
        pq.write_table(rows, self._parts(table)[0])

    def tamper(self, target: base.Target, name: str) -> None:
        (part,) = (self.folder / f".{name}").glob("*.parquet")
        rows = pq.ParquetFile(part).read()
        pq.write_table(rows.filter(pa.compute.not_equal(rows.column("id"), 1)), part)

    def _parts(self, table: str) -> list[pathlib.Path]:
        folder = self.folder / table
        manifest = json.loads((folder / "_tmg_etl.json").read_text())
        return [folder / file["name"] for file in manifest["files"]]

    def _read(self, table: str) -> pa.Table:
        return pa.concat_tables(pq.ParquetFile(part).read() for part in self._parts(table))


@pytest.fixture(scope="module")
def target_place(tmp_path_factory: pytest.TempPathFactory) -> FilesPlace:
    return FilesPlace(tmp_path_factory.mktemp("published"))


class TestValues(conformance.ValueConformance):
    profile = FilesPlace


class TestRows(conformance.RowConformance):
    profile = FilesPlace


class TestSchema(conformance.SchemaConformance):
    profile = FilesPlace


class TestFailures(conformance.FailureConformance):
    profile = FilesPlace


class TestRefusals(conformance.RefusalConformance):
    profile = FilesPlace


class TestNoDelta(conformance.NoDeltaConformance):
    profile = FilesPlace
