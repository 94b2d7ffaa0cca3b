"""Types: which Arrow types leave a files source, and how others become them without loss.

Carried as they are: bool, integers, float32/64, decimal128/256, string, binary, date32, time64[us],
timestamp[us], timestamp[us, UTC], lists, structs, maps. Changed: float16 to float32, small decimals
to decimal128, large, view, fixed-size and dictionary encodings to their plain types, times and
timestamps of another unit to microseconds (a nanosecond that does not fit is a data error), zones
to UTC, the null type to string, UUID to its text, JSON to a string marked as JSON.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base, exact

_ZONED = pa.timestamp("us", tz="UTC")
_DECLARED = {
    "bool": pa.bool_(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": _ZONED,
    **{f"int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
}
_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
# The first and last day that dates and timestamps may name: year 1 to 9999, in days since 1970.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_US = 86_400_000_000


def declared_field(name: str, word: str) -> pa.Field:
    """Return the field for a type as the config writes it (`config.column.NAMES`)."""
    if word == "json":
        return base.json_field(name)
    match = re.fullmatch(r"decimal\((\d+),(\d+)\)", word)
    if match:
        return pa.field(name, decimal_type(int(match[1]), int(match[2])))
    return pa.field(name, _DECLARED[word])


def decimal_type(precision: int, scale: int) -> pa.DataType:
    """Return the smallest of decimal128 and decimal256 that has so many digits."""
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def word_of(field: pa.Field) -> str:
    """Return a field's type as the config writes it, for messages."""
    if base.is_json(field):
        return "json"
    kind = field.type
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return next((word for word, known in _DECLARED.items() if known == kind), str(kind))


def base_field(field: pa.Field, where: str) -> pa.Field:
    """Return the field that carries the values of `field` without loss.

    Args:
        field: of a file.
        where: the file, for the message.

    Raises:
        errors.ConfigError: no type carries them.
    """
    if isinstance(field.type, pa.BaseExtensionType):
        name = field.type.extension_name
        if name == "arrow.json":
            return base.json_field(field.name, field.nullable)
        if name == "arrow.uuid":
            return pa.field(field.name, pa.string(), field.nullable)
        field = field.with_type(field.type.storage_type)
    if pa.types.is_null(field.type):
        return base.unseen_field(field.name, field.nullable)
    kind = _base_type(field.type)
    if kind is None:
        raise errors.ConfigError(
            f"{where}: column {field.name!r} is of type {field.type}, which no target can hold",
            hint="write it to the file as a number or text",
        )
    if base.is_json(field) and pa.types.is_string(kind):
        return base.json_field(field.name, field.nullable)
    return pa.field(field.name, kind, field.nullable)


def _base_type(kind: pa.DataType) -> pa.DataType | None:
    if isinstance(kind, pa.BaseExtensionType):
        kind = pa.string() if kind.extension_name == "arrow.uuid" else kind.storage_type
    types = pa.types
    if types.is_dictionary(kind):
        return _base_type(kind.value_type)
    if types.is_float16(kind):
        return pa.float32()
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return kind
    if types.is_decimal(kind):
        return decimal_type(kind.precision, kind.scale) if kind.scale >= 0 else None
    if types.is_null(kind) or types.is_unicode(kind) or str(kind) == "string_view":
        return pa.string()
    if types.is_large_unicode(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind) or str(kind) == "binary_view":
        return pa.binary()
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_date(kind):
        return pa.date32()
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_timestamp(kind):
        return _ZONED if kind.tz else pa.timestamp("us")
    return _nested_type(kind)


def _nested_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        fields = [(field.name, _base_type(field.type)) for field in kind]
        return pa.struct(fields) if all(inner is not None for _, inner in fields) else None
    if pa.types.is_map(kind):
        key, item = _base_type(kind.key_type), _base_type(kind.item_type)
        return pa.map_(key, item) if key is not None and item is not None else None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _base_type(kind.value_type)
        return pa.list_(inner) if inner is not None else None
    return None


def to_base(array: pa.Array, field: pa.Field, where: str) -> pa.Array:
    """Return a file's column with the type of `field`, which `base_field` or `wider` gave.

    Raises:
        errors.DataError: a value does not fit; names column and value.
    """
    if isinstance(array.type, pa.BaseExtensionType):
        is_uuid = array.type.extension_name == "arrow.uuid"
        array = array.storage
        if is_uuid:
            texts = [
                None if raw is None else str(uuid.UUID(bytes=raw)) for raw in array.to_pylist()
            ]
            return pa.array(texts, pa.string())
    try:
        result = array if array.type == field.type else _cast(array, field.type)
    except pa.ArrowInvalid as error:
        raise errors.DataError(
            f"{where}: column {field.name!r} of type {array.type} holds a value that"
            f" {word_of(field)} cannot: {_first_misfit(array, field.type)}",
            hint="write it to the file with a precision of microseconds or less"
            if pa.types.is_temporal(array.type)
            else None,
        ) from error
    if pa.types.is_string(result.type) and not _is_utf8(result):
        raise errors.DataError(
            f"{where}: column {field.name!r} holds text that is no UTF-8",
            hint="write it to the file as UTF-8, or as bytes",
        )
    outside = outside_calendar(result)
    if outside is not None:
        raise errors.DataError(
            f"{where}: column {field.name!r} holds a moment outside the years 1 to 9999: {outside}"
        )
    return result


def _is_utf8(array: pa.StringArray) -> bool:
    # Parquet readers take bytes for text as the file says; whoever uses them finds out.
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_float16(array.type) and kind == pa.float64():
        array = pa.array(array).cast(pa.float32())
    if pa.types.is_decimal(array.type) and pa.types.is_decimal(kind):
        return exact.from_decimal(array, kind)
    return array.cast(kind)


def _first_misfit(array: pa.Array, kind: pa.DataType) -> str:
    """Return the first value that cannot be cast, by halving."""
    while len(array) > 1:
        half = len(array) // 2
        try:
            _cast(array[:half], kind)
        except pa.ArrowInvalid:
            array = array[:half]
        else:
            array = array[half:]
    value = array[0]
    # Nanoseconds have no Python value.
    text = value.cast(pa.string()) if pa.types.is_temporal(array.type) else value
    return errors.shorten(str(text.as_py()))


def outside_calendar(array: pa.Array) -> str | None:
    """Return a moment that Python and most databases cannot name, or None."""
    if pa.types.is_date32(array.type):
        days, first, last = array.cast(pa.int32()), _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(array.type):
        first, last = _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
        days = array.cast(pa.int64())
    else:
        return None
    bounds = pc.min_max(days).as_py()
    unit = "days" if pa.types.is_date32(array.type) else "microseconds"
    if bounds["min"] is None or (first <= bounds["min"] and bounds["max"] <= last):
        return None
    return f"{bounds['min'] if bounds['min'] < first else bounds['max']} {unit} since 1970"


def wider(left: pa.Field, right: pa.Field) -> pa.Field | None:
    """Return the field that carries the values of both without loss, or None."""
    nullable = left.nullable or right.nullable
    if base.is_unseen(left) or base.is_unseen(right):
        return (right if base.is_unseen(left) else left).with_nullable(nullable)
    if base.is_json(left) != base.is_json(right):
        return None
    kind = left.type if left.type == right.type else _wider_type(left.type, right.type)
    return None if kind is None else left.with_type(kind).with_nullable(nullable)


def _wider_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_integer(left) and types.is_integer(right):
        return _wider_integer(left, right)
    if types.is_floating(left) and types.is_floating(right):
        return max(left, right, key=lambda kind: kind.bit_width)
    if types.is_decimal(left) or types.is_decimal(right):
        sizes = [_digits(left), _digits(right)]
        if None in sizes:
            return None
        whole = max(size[0] for size in sizes if size)
        scale = max(size[1] for size in sizes if size)
        return decimal_type(whole + scale, scale) if whole + scale <= 76 else None
    if types.is_integer(left) or types.is_integer(right):
        integer, other = (left, right) if types.is_integer(left) else (right, left)
        if types.is_floating(other) and integer.bit_width <= 32:
            is_exact = integer.bit_width <= 16
            return other if is_exact or other.bit_width == 64 else pa.float64()
    return None


def _wider_integer(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    signs = [pa.types.is_signed_integer(kind) for kind in (left, right)]
    if signs[0] == signs[1]:
        return max(left, right, key=lambda kind: kind.bit_width)
    signed, unsigned = (left, right) if signs[0] else (right, left)
    bits = max(signed.bit_width, unsigned.bit_width * 2)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def _digits(kind: pa.DataType) -> tuple[int, int] | None:
    """Return digits before and after the point that hold every value of a type."""
    if pa.types.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    if pa.types.is_integer(kind):
        return _INTEGER_DIGITS[kind.bit_width], 0
    return None


def union(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns of all files, by name, in order of first appearance.

    A column that some file lacks is nullable.

    Raises:
        errors.ConfigError: two files disagree about a column; names both.
    """
    fields: dict[str, pa.Field] = {}
    origin: dict[str, str] = {}
    for where, schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            joined = field if known is None else wider(known, field)
            if joined is None:
                assert known is not None
                raise errors.ConfigError(
                    f"column {field.name!r} is {word_of(known)} in {origin[field.name]}"
                    f" and {word_of(field)} in {where}",
                    hint="files of one table need types that agree or widen without loss",
                )
            fields[field.name] = joined
            origin.setdefault(field.name, where)
    names = [set(schema.names) for _, schema in schemas]
    for name, field in fields.items():
        if not all(name in held for held in names):
            fields[name] = field.with_nullable(True)
    return pa.schema(list(fields.values()))
