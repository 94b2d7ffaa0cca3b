"""What the tests of DuckDB and SQLite share: publishing as a run does, and other processes."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pyarrow as pa

from tmg_etl import run
from tmg_etl.connectors import base, merge

NAMES = run.TemporaryNames("run1")
SHADOW = NAMES.table("shadow", "t")
STAGE = NAMES.table("stage", "t")


def batch(rows: pa.RecordBatch) -> base.Batch:
    return base.Batch(rows, None, 0)


def swap(
    target: merge.SqlTarget,
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
    target: merge.SqlTarget,
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
