"""What the tests of the DuckDB connector share: opening, loading, reading back by the driver."""

import contextlib
import datetime
import pathlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from tests.connectors.embedded_kit import NAMES, SHADOW, STAGE, batch, diff, python, swap
from tmg_etl.config import model
from tmg_etl.connectors import duckdb as connector
from tmg_etl.connectors.duckdb import source as source_module
from tmg_etl.connectors.duckdb import target as target_module

__all__ = ["NAMES", "SHADOW", "STAGE", "batch", "diff", "python", "swap"]

DAY = datetime.date(2024, 1, 5)


def connect(path: pathlib.Path | str, **more: Any) -> connector.DuckDBConnection:
    spec = model.SqlConnection(type="duckdb", name="warehouse", url=f"duckdb:///{path}", **more)
    return connector.DuckDBConnection(spec, pathlib.Path.cwd())


def sql(path: pathlib.Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements by the plain driver; return the rows of the last one."""
    with duckdb.connect(str(path)) as raw:
        for statement in statements:
            raw.execute(statement)
        return raw.fetchall() if raw.description else []


@contextlib.contextmanager
def opened(
    path: pathlib.Path | str, table: str = "t", **more: Any
) -> Iterator[target_module.DuckDBTarget]:
    """A target with its lock held."""
    with connect(path, **more).open_target(table) as target, target.lock("run1", 0):
        yield target


@contextlib.contextmanager
def source(path: pathlib.Path | str, **what: Any) -> Iterator[source_module.DuckDBSource]:
    spec = model.SourceSpec(connection="warehouse", **what)
    with connect(path).open_source(spec, DAY) as opened_source:
        yield opened_source


def read(path: pathlib.Path | str, **what: Any) -> pa.Table:
    with source(path, **what) as opened_source:
        schema = opened_source.schema()
        return pa.Table.from_batches(opened_source.read(schema.names), schema=schema)
