"""What the tests of the SQLite connector share: opening, loading, reading back by the driver."""

import contextlib
import datetime
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tests.connectors.embedded_kit import NAMES, SHADOW, STAGE, batch, diff, python, swap
from tmg_etl.config import model
from tmg_etl.connectors import sqlite as connector
from tmg_etl.connectors.sqlite import source as source_module
from tmg_etl.connectors.sqlite import target as target_module

__all__ = ["NAMES", "SHADOW", "STAGE", "batch", "diff", "python", "swap"]

DAY = datetime.date(2024, 1, 5)


def connect(path: pathlib.Path | str, **more: Any) -> connector.SQLiteConnection:
    spec = model.SqlConnection(type="sqlite", name="serving", url=f"sqlite:///{path}", **more)
    return connector.SQLiteConnection(spec, pathlib.Path.cwd())


def sql(path: pathlib.Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements by the plain driver; return the rows of the last one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as raw:
        for statement in statements:
            found = raw.execute(statement).fetchall()
        return found


@contextlib.contextmanager
def opened(
    path: pathlib.Path | str, table: str = "t", **more: Any
) -> Iterator[target_module.SQLiteTarget]:
    """A target with its lock held."""
    with connect(path, **more).open_target(table) as target, target.lock("run1", 0):
        yield target


@contextlib.contextmanager
def source(path: pathlib.Path | str, **what: Any) -> Iterator[source_module.SQLiteSource]:
    spec = model.SourceSpec(connection="serving", **what)
    with connect(path).open_source(spec, DAY) as opened_source:
        yield opened_source


def read(path: pathlib.Path | str, **what: Any) -> pa.Table:
    with source(path, **what) as opened_source:
        schema = opened_source.schema()
        return pa.Table.from_batches(opened_source.read(schema.names), schema=schema)
