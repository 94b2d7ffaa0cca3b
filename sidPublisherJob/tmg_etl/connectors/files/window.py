"""Windows over Arrow data: which rows lie in one, and which row groups cannot hold any."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base


def bounds(kind: pa.DataType, window: base.CursorWindow) -> tuple[Any, Any, bool]:
    """Return the lowest and highest value of a window, and whether the highest is in it.

    Args:
        kind: type of the cursor.
        window: closed interval of days.

    Returns:
        Values of `kind`; the highest is None where the calendar ends.

    Raises:
        errors.ConfigError: a column of that type cannot be a cursor.
    """
    if pa.types.is_date(kind):
        return window.start, window.end, True
    if pa.types.is_timestamp(kind):
        zone = datetime.UTC if kind.tz else None
        low = datetime.datetime.combine(window.start, datetime.time.min, zone)
        after = window.end_exclusive
        high = after and datetime.datetime.combine(after, datetime.time.min, zone)
        return low, high, False
    first, last = (day.isoformat().replace("-", "") for day in (window.start, window.end))
    if pa.types.is_integer(kind):
        return int(first), int(last), True
    if pa.types.is_string(kind):
        return first, last, True
    raise errors.ConfigError(
        f"the cursor {window.column!r} is of type {kind}",
        hint="a cursor is a date, a timestamp, or YYYYMMDD as integer or text",
    )


def keep(batch: pa.RecordBatch, window: base.CursorWindow) -> pa.RecordBatch:
    """Return the rows of a batch that lie in the window; null lies in none."""
    cursor = batch.column(window.column)
    low, high, is_closed = bounds(cursor.type, window)
    if pa.types.is_integer(cursor.type) and cursor.type.bit_width < 32:
        # No YYYYMMDD fits; Arrow would refuse to compare.
        cursor = cursor.cast(pa.int32())
    inside = pc.greater_equal(cursor, pa.scalar(low, cursor.type))
    if high is not None:
        compare = pc.less_equal if is_closed else pc.less
        inside = pc.and_(inside, compare(cursor, pa.scalar(high, cursor.type)))
    if pa.types.is_string(cursor.type):
        # Another notation, such as 2013-01-01, is in no window rather than in a wrong one.
        inside = pc.and_(inside, pc.equal(pc.utf8_length(cursor), 8))
    return batch.filter(inside)


def may_hold(
    kind: pa.DataType, extremes: tuple[Any, Any] | None, window: base.CursorWindow
) -> bool:
    """Return whether rows between two extremes can lie in the window.

    Args:
        kind: type of the cursor.
        extremes: least and greatest value; None when not known.
        window: closed interval of days.
    """
    low, high, is_closed = bounds(kind, window)
    if extremes is None:
        return True
    least, greatest = (_comparable(value, low) for value in extremes)
    if type(least) is not type(low):
        return True
    below_end = high is None or (least <= high if is_closed else least < high)
    return bool(greatest >= low and below_end)


def _comparable(value: Any, example: Any) -> Any:
    """Return a statistic as the bounds are written."""
    if isinstance(value, datetime.datetime) and isinstance(example, datetime.datetime):
        if example.tzinfo is None:
            return value.replace(tzinfo=None)
        return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    if isinstance(value, bytes) and isinstance(example, str):
        return value.decode("utf-8", "replace")
    return value
