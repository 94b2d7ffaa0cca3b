"""A delta's window that holds no rows: what is said of it, and when it is a fault of the config.

A day may have no rows, so that is a warning. A cursor that lies in no window at all publishes
nothing for ever, and nobody looks at a run that succeeds.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base

if TYPE_CHECKING:
    from tmg_etl import run as run_module

#: MySQL compares no earlier days.
_FIRST_DAY = datetime.date(1000, 1, 1)
_DIGITS = "^[0-9]{8}$"


def without_rows(run: run_module.Run, source: base.Source) -> str:
    """Return the warning about a window without rows."""
    cursor = _cursor(run)
    kind = source.schema().field(cursor).type
    is_day = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    as_text = "" if is_day else f"; {cursor!r} is {kind}, which is compared as YYYYMMDD"
    return f"no rows in the window {run.window}{as_text}"


def refuse_hopeless(run: run_module.Run, source: base.Source) -> None:
    """Refuse a cursor by which no row of the source lies in any window.

    Reads the cursor alone, and stops at the first row that lies in one. A source that is empty, or
    that costs money to read, is not judged.

    Raises:
        errors.ConfigError: names a value.
    """
    cursor = _cursor(run)
    if source.estimate([cursor]) is not None or _lies_in_any(run, source, cursor):
        return
    rows, example = 0, None
    for batch in source.read([cursor]):
        run.stop.check()
        rows += batch.num_rows
        example = next((value.as_py() for value in batch.column(0) if value.is_valid), None)
        if example is not None:
            break
    if not rows:
        return
    kind = source.schema().field(cursor).type
    found = "only nulls" if example is None else f"{errors.shorten(str(example), 60)} ({kind})"
    raise errors.ConfigError(
        f"no row of {source.description} lies in any window by the cursor {cursor!r}: found"
        f" {found}, expected a date, a timestamp, or YYYYMMDD as integer or text",
        where=run.transfer.where("delta.cursor"),
        hint="name another column, or have the source give days: `columns:` of a CSV or JSON lines"
        " source declares them, a `query:` can cast",
    )


def _lies_in_any(run: run_module.Run, source: base.Source, cursor: str) -> bool:
    ever = base.CursorWindow(cursor, _FIRST_DAY, datetime.date.max)
    for batch in source.read([cursor], ever):
        run.stop.check()
        values = batch.column(0)
        if pa.types.is_string(values.type):
            # Sources compare eight characters of text, whatever they are.
            values = values.filter(pc.match_substring_regex(values, _DIGITS))
        if len(values):
            return True
    return False


def _cursor(run: run_module.Run) -> str:
    assert run.transfer.delta is not None
    return run.transfer.delta.cursor
