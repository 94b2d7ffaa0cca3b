"""Arrays as BigQuery sends them, to the types that `datatype` promises. Pure: no I/O.

The Storage Read API and Parquet files of extract jobs agree on values and not on details: the
precision of a parameterised NUMERIC, the names of list items and of a range's ends, whether an
instant says that it is UTC, an interval as text or as months, days and nanoseconds.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors


def batch(found: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of `schema`, by name, in its order and with its types.

    Raises:
        errors.DataError: a value does not fit the type that its column declares.
    """
    arrays = [_column(found, field) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(found: pa.RecordBatch, field: pa.Field) -> pa.Array:
    try:
        return array(found.column(field.name), field.type)
    except pa.ArrowInvalid as refused:
        raise errors.DataError(
            f"column {field.name!r}: BigQuery sent a value that does not fit {field.type}"
            f" ({str(refused).splitlines()[0]})",
            hint="cast the column in a `query:`",
        ) from refused


def array(found: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the same values with another type."""
    if found.type.equals(kind):
        return found
    if pa.types.is_list(kind):
        return _list(found, kind)
    if pa.types.is_struct(kind):
        return _struct(found, kind)
    if pa.types.is_interval(found.type):
        return pa.array([_interval(value) for value in found.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(found.type):
        # Both count from 1970-01-01 00:00 UTC; a cast would refuse to guess the zone.
        return found.cast(pa.timestamp("us", tz=found.type.tz)).view(kind)
    return found.cast(kind)


def _list(found: pa.Array, kind: pa.DataType) -> pa.Array:
    # An array without rows of its own may start anywhere in its values.
    values = array(found.flatten(), kind.value_type)
    # BigQuery knows no null array: what is written as null is read back empty.
    ends = pc.cumulative_sum(found.value_lengths().fill_null(0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, values, type=kind)


def _struct(found: pa.Array, kind: pa.DataType) -> pa.Array:
    # By position: both sides list the fields as they are declared, and a range's have other names.
    parts = [array(part, kind.field(number).type) for number, part in enumerate(found.flatten())]
    fields = [kind.field(number) for number in range(kind.num_fields)]
    mask = found.is_null() if found.null_count else None
    return pa.StructArray.from_arrays(parts, fields=fields, mask=mask)


def _interval(value: Any) -> str | None:
    """Return an interval as BigQuery's cast to STRING writes it: ``1-2 3 4:5:6.5``."""
    if value is None:
        return None
    months, days, nanoseconds = value
    years, months = divmod(abs(months), 12)
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    while fraction and len(fraction) - 1 not in (3, 6, 9):
        fraction += "0"
    first = "-" if value[0] < 0 else ""
    last = "-" if nanoseconds < 0 else ""
    return f"{first}{years}-{months} {days} {last}{hours}:{minutes}:{seconds}{fraction}"
