"""What the tests of Parquet folders as targets share: a small table, publishing, looking again."""

import pathlib
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from tests.connectors import files_kit
from tmg_etl.connectors import base

SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), pa.field("s", pa.string()), base.json_field("j")]
)


def publish(folder: pathlib.Path, data: pa.Table, key: Sequence[str] = ()) -> int:
    return files_kit.Publisher(folder).publish(data, key)


def table(*ids: int, text: str | None = "x") -> pa.Table:
    rows = [{"id": number, "s": text, "j": '{"a": 1}'} for number in ids]
    return pa.Table.from_pylist(rows, SCHEMA)


def ids(folder: pathlib.Path) -> list[int]:
    """Read a folder by DuckDB."""
    pattern = str(folder / "*.parquet").replace("'", "''")
    found = duckdb.sql(f"SELECT id FROM '{pattern}' ORDER BY 1").fetchall()
    return [row[0] for row in found]


def names(folder: pathlib.Path | str) -> list[str]:
    """Return what is in a folder, hidden things too."""
    return sorted(path.name for path in pathlib.Path(folder).iterdir())
