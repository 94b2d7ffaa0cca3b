"""What the tests of the SQLite connector share: opening, loading, reading back by the driver."""

import contextlib
import datetime
import os
import pathlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import run
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors import sqlite as connector
from tmg_etl.connectors.sqlite import source as source_module
from tmg_etl.connectors.sqlite import target as target_module

NAMES = run.TemporaryNames("run1")
SHADOW = NAMES.table("shadow", "t")
STAGE = NAMES.table("stage", "t")
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


def batch(rows: pa.RecordBatch) -> base.Batch:
    return base.Batch(rows, None, 0)


def swap(
    target: target_module.SQLiteTarget,
    rows: pa.RecordBatch,
    key: Sequence[str] = ("id",),
    indexes: Sequence[base.Index] = (),
) -> int:
    """Publish rows by a swap, as a run does."""
    if target.describe() is None:
        target.create(SHADOW, rows.schema, key, indexes)
    else:
        target.create_shadow(SHADOW, indexes)
    target.load(SHADOW, batch(rows), key)
    target.finish_load(SHADOW, key)
    target.check_lock()
    return target.swap(SHADOW, NAMES)


def diff(
    target: target_module.SQLiteTarget,
    rows: pa.RecordBatch,
    key: Sequence[str] = ("id",),
    window: base.CursorWindow | None = None,
) -> base.Changes:
    """Publish rows by a diff, as a run does."""
    target.create_shadow(SHADOW, [])
    target.load(SHADOW, batch(rows), key)
    with target.transaction():
        changes = target.diff(SHADOW, rows.schema.names, key, window)
    target.drop(SHADOW)
    return changes


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start another process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path]),
        },
    )
