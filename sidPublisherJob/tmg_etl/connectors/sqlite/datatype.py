"""Declared types of SQLite columns, and how their cells become Arrow values and back.

SQLite stores what it likes unless the declared type's affinity fits, so the types created here are
named such that every value comes back as it was sent:

====================  =====================  ====================================================
Arrow                 created in SQLite      stored as
====================  =====================  ====================================================
bool                  BOOLEAN                0 and 1
int8, int16, int32    TINYINT SMALLINT INT4  integer
int64                 INTEGER                integer; a key of one such column is the rowid
uint8, uint16         UINT1 UINT2            integer
uint32                UINT4                  integer
uint64                DECIMAL_TEXT(20, 0)    text, described as decimal(20, 0)
float32, float64      FLOAT4, DOUBLE         real; NaN would be null, -0.0 becomes 0.0
decimal(p, s)         DECIMAL_TEXT(p, s)     text, fixed point with all s digits
string                TEXT                   text; NUL is kept (SQL functions such as length stop)
JSON                  JSON_TEXT              text
binary                BLOB                   blob
date32                DATE                   text YYYY-MM-DD
time64[us]            TIME                   text HH:MM:SS.ffffff
timestamp[us]         TIMESTAMP              text YYYY-MM-DD HH:MM:SS.ffffff
timestamp[us, UTC]    TIMESTAMPTZ            the same, with +00:00
list, struct, map     JSON_TEXT              text
====================  =====================  ====================================================

Of tables that exist: names with INT are int64 (the small ones above and MEDIUMINT by their width),
CHAR, CLOB, TEXT text, REAL, FLOAT, DOUBLE float64, NUMERIC(p, s) and DECIMAL(p, s) decimals (exact
up to 15 digits: SQLite stores them as binary floats), DATETIME a timestamp, JSON, BLOB, BINARY.
NUMERIC without digits, no type and any other name take the type of the values found.

A cell whose stored value does not fit its column's type is a data error that names the row.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base

_CREATED: tuple[tuple[pa.DataType, str], ...] = (
    (pa.bool_(), "BOOLEAN"),
    (pa.int8(), "TINYINT"),
    (pa.int16(), "SMALLINT"),
    (pa.int32(), "INT4"),
    (pa.int64(), "INTEGER"),
    (pa.uint8(), "UINT1"),
    (pa.uint16(), "UINT2"),
    (pa.uint32(), "UINT4"),
    (pa.float32(), "FLOAT4"),
    (pa.float64(), "DOUBLE"),
    (pa.string(), "TEXT"),
    (pa.binary(), "BLOB"),
    (pa.date32(), "DATE"),
    (pa.time64("us"), "TIME"),
    (pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("us", "UTC"), "TIMESTAMPTZ"),
)
_NAMED: dict[str, pa.DataType] = {
    **{name: kind for kind, name in _CREATED},
    "INT1": pa.int8(),
    "INT2": pa.int16(),
    "MEDIUMINT": pa.int32(),
    "BOOL": pa.bool_(),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP WITHOUT TIME ZONE": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "BINARY": pa.binary(),
    "VARBINARY": pa.binary(),
    "BYTEA": pa.binary(),
    "UUID": pa.string(),
    "STRING": pa.string(),
}
_DIGITS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")
_DECIMALS = ("DECIMAL", "NUMERIC", "DEC", "NUMBER", "DECIMAL_TEXT")
#: Largest decimal of Arrow; text holds any.
MOST_DIGITS = 76


def created(field: pa.Field, table: str) -> str:
    """Return the type that is declared for an Arrow field.

    Raises:
        errors.ConfigError: nothing in SQLite holds it.
    """
    kind = field.type
    if base.is_json(field) or pa.types.is_nested(kind):
        return "JSON_TEXT"
    if kind.equals(pa.uint64()):
        return "DECIMAL_TEXT(20, 0)"
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= kind.precision:
        return f"DECIMAL_TEXT({kind.precision}, {kind.scale})"
    for arrow, name in _CREATED:
        if kind.equals(arrow):
            return name
    raise errors.ConfigError(
        f"{table}: the column {field.name!r} is {kind}, which SQLite cannot hold without loss"
    )


def declared(name: str, native: str, *, nullable: bool = True) -> pa.Field | None:
    """Return the field of a column with a declared type; None where only its values can tell."""
    text = " ".join(native.upper().split())
    plain = _DIGITS.sub("", text).strip()
    if plain in ("JSON", "JSON_TEXT", "JSONB"):
        return base.json_field(name, nullable)
    kind = _NAMED.get(plain)
    if kind is None and plain in _DECIMALS:
        kind = _decimal_type(text)
        if kind is None:
            return None
    if kind is None:
        kind = _by_affinity(plain)
    return None if kind is None else pa.field(name, kind, nullable)


def _decimal_type(text: str) -> pa.DataType | None:
    match = _DIGITS.search(text)
    if match is None:
        return None
    precision, scale = int(match[1]), int(match[2] or 0)
    if not 1 <= precision <= MOST_DIGITS or not 0 <= scale <= precision:
        return None
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _by_affinity(plain: str) -> pa.DataType | None:
    if "INT" in plain:
        return pa.int64()
    if any(part in plain for part in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    if "BLOB" in plain:
        return pa.binary()
    if any(part in plain for part in ("REAL", "FLOA", "DOUB")):
        return pa.float64()
    return None


def found(name: str, storage_classes: set[str], table: str) -> pa.Field:
    """Return the field of a column without a declared type, by the storage classes it holds.

    Raises:
        errors.ConfigError: no one type holds them all.
    """
    classes = storage_classes - {"null"}
    kinds = {"integer": pa.int64(), "text": pa.string(), "blob": pa.binary()}
    if len(classes) == 1 and (kind := kinds.get(*classes)) is not None:
        return pa.field(name, kind)
    if classes and classes <= {"integer", "real"}:
        return pa.field(name, pa.float64())
    if not classes:
        return pa.field(name, pa.string())
    raise errors.ConfigError(
        f"{table}: the column {name!r} has no declared type and holds {', '.join(sorted(classes))}",
        hint="CAST it in a query, or declare its type",
    )


# --- cells of SQLite to Arrow -------------------------------------------------------------------


class CellError(ValueError):
    """A cell does not fit its column; holds the index of its row."""

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(f"row {row}")


def to_arrow(cells: Sequence[Any], field: pa.Field) -> pa.Array:
    """Return the cells of a column as an Arrow array.

    Raises:
        CellError: a cell is not what the column's type says.
    """
    kind = field.type
    try:
        return _whole(cells, field)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError):
        # Some cell is unusual or wrong: one by one tells which.
        values = []
        for row, cell in enumerate(cells):
            try:
                value = None if cell is None else _one(cell, field)
                pa.array([value], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError):
                raise CellError(row) from None
            values.append(value)
        return pa.array(values, kind)


def _whole(cells: Sequence[Any], field: pa.Field) -> pa.Array:
    """Convert a column in which every cell is stored as this connector stores it."""
    kind = field.type
    wanted: type = str
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        wanted = int
    elif pa.types.is_floating(kind):
        wanted = float
    elif pa.types.is_binary(kind):
        wanted = bytes
    if not {type(cell) for cell in cells} <= {wanted, type(None)}:
        raise TypeError("stored in another way")
    if pa.types.is_boolean(kind):
        if not set(cells) <= {0, 1, None}:
            raise ValueError("neither 0 nor 1")
        return pa.array(cells, pa.int8()).cast(kind)
    if pa.types.is_float32(kind):
        return _exact_single(pa.array(cells, pa.float64()))
    if wanted is not str or pa.types.is_string(kind):
        return pa.array(cells, kind)
    if pa.types.is_time(kind):
        return pa.array([None if cell is None else _time(cell) for cell in cells], kind)
    texts = pa.array(cells, pa.string())
    cast = pc.cast(texts, kind)
    if pa.types.is_timestamp(kind) and kind.tz is None and _has_zone(texts):
        raise ValueError("a zone where none belongs")
    return cast


def _exact_single(doubles: pa.Array) -> pa.Array:
    singles = doubles.cast(pa.float32(), safe=False)
    if not singles.cast(pa.float64()).equals(doubles):
        raise ValueError("more digits than a float32 has")
    return singles


def _has_zone(texts: pa.Array) -> bool:
    pattern = r"(?:Z|[+-]\d\d:?\d\d)$"
    found_any = pc.any(pc.match_substring_regex(pc.utf8_slice_codeunits(texts, 11), pattern))
    return bool(found_any.as_py())


def _one(cell: Any, field: pa.Field) -> Any:
    """Return one cell as a Python value of the column's type."""
    kind = field.type
    for check, convert in _CONVERTERS:
        if check(kind):
            return convert(cell, kind)
    if isinstance(cell, str) and pa.types.is_string(kind):
        return cell
    # JSON columns have numeric affinity: a number is stored as one.
    if base.is_json(field) and isinstance(cell, (int, float)):
        return repr(cell)
    if isinstance(cell, bytes) and pa.types.is_binary(kind):
        return cell
    raise TypeError("stored in another way")


def _integer(cell: Any, kind: pa.DataType) -> int:
    if isinstance(cell, int):
        return cell
    raise TypeError("no integer")


def _boolean(cell: Any, kind: pa.DataType) -> bool:
    if isinstance(cell, int) and cell in (0, 1):
        return bool(cell)
    raise TypeError("neither 0 nor 1")


def _float(cell: Any, kind: pa.DataType) -> float:
    if isinstance(cell, (int, float)):
        value = float(cell)
        if value == cell and (not pa.types.is_float32(kind) or _fits_single(value)):
            return value
    raise TypeError("no number that a float holds")


def _fits_single(value: float) -> bool:
    return bool(math.isinf(value) or pa.scalar(value, pa.float32()).as_py() == value)


def _decimal(cell: Any, kind: pa.DataType) -> decimal.Decimal:
    if isinstance(cell, (int, str)):
        text = str(cell)
    elif isinstance(cell, float) and math.isfinite(cell):
        text = repr(cell)
    else:
        raise TypeError("no number")
    with decimal.localcontext(prec=200) as context:
        context.traps[decimal.Inexact] = True
        return decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-kind.scale))


def _date(cell: Any, kind: pa.DataType) -> datetime.date:
    return datetime.date.fromisoformat(cell)


def _time(cell: Any, kind: pa.DataType | None = None) -> datetime.time:
    value = datetime.time.fromisoformat(cell)
    if value.tzinfo is not None or _fraction_digits(cell) > 6:
        raise ValueError("a zone or more than microseconds")
    return value


def _timestamp(cell: Any, kind: pa.DataType) -> datetime.datetime:
    value = datetime.datetime.fromisoformat(cell)
    if _fraction_digits(cell) > 6 or (value.tzinfo is not None and kind.tz is None):
        raise ValueError("a zone or more than microseconds")
    if kind.tz is None:
        return value
    # Without an offset, SQLite's own functions take a text for UTC.
    return value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)


def _fraction_digits(text: str) -> int:
    match = re.search(r"[.,](\d+)", text)
    return len(match[1].rstrip("0")) if match else 0


_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[..., Any]], ...] = (
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_date, _date),
    (pa.types.is_time, _time),
    (pa.types.is_timestamp, _timestamp),
)


# --- Arrow to cells of SQLite -------------------------------------------------------------------


def to_cells(column: pa.Array) -> list[Any]:
    """Return the values of a column as the driver binds them."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return list(column.cast(pa.int8()).to_pylist())
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in column.to_pylist()]
    if pa.types.is_timestamp(kind) and kind.tz:
        local = column.cast(pa.timestamp("us", "UTC")).view(pa.int64()).view(pa.timestamp("us"))
        texts = local.cast(pa.string())
        return list(pc.binary_join_element_wise(texts, "+00:00", "").to_pylist())
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return list(column.cast(pa.string()).to_pylist())
    return list(column.to_pylist())
