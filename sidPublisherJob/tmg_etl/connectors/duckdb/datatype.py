"""Arrow types and DuckDB types, in both directions.

========================  ====================  ==================================================
Arrow                     created in DuckDB     note
========================  ====================  ==================================================
bool                      BOOLEAN
int8 … int64              TINYINT … BIGINT
uint8 … uint64            UTINYINT … UBIGINT
float32, float64          FLOAT, DOUBLE         NaN, infinities and -0.0 are kept
decimal128/256(p, s)      DECIMAL(p, s)         p up to 38; more is a configuration error
string                    VARCHAR               NUL and every other character is kept
JSON                      JSON                  checked by DuckDB, kept as written
binary                    BLOB
date32                    DATE
time64[us]                TIME
timestamp[us]             TIMESTAMP
timestamp[us, UTC]        TIMESTAMPTZ
list, struct, map         JSON
========================  ====================  ==================================================

Read from DuckDB: the same backwards, and HUGEINT, UHUGEINT as decimal(38, 0) (a larger value is an
error); TIMESTAMP_S, _MS, _NS and TIME_NS as microseconds (a lost digit is an error); ENUM, UUID,
INTERVAL, BIT, BIGNUM and TIMETZ as text; UNION and VARIANT as JSON; GEOMETRY as WKB bytes; lists,
structs and maps stay nested. Infinite dates, and days outside the years 1 to 9999, are errors.

Fingerprints are computed from rows that are read back (`base.Proof.READ_BACK`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base

_SIMPLE: tuple[tuple[pa.DataType, str], ...] = (
    (pa.bool_(), "BOOLEAN"),
    (pa.int8(), "TINYINT"),
    (pa.int16(), "SMALLINT"),
    (pa.int32(), "INTEGER"),
    (pa.int64(), "BIGINT"),
    (pa.uint8(), "UTINYINT"),
    (pa.uint16(), "USMALLINT"),
    (pa.uint32(), "UINTEGER"),
    (pa.uint64(), "UBIGINT"),
    (pa.float32(), "FLOAT"),
    (pa.float64(), "DOUBLE"),
    (pa.string(), "VARCHAR"),
    (pa.binary(), "BLOB"),
    (pa.date32(), "DATE"),
    (pa.time64("us"), "TIME"),
    (pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("us", "UTC"), "TIMESTAMPTZ"),
)
# What is read by casting it first. Casting HUGEINT refuses what a decimal cannot hold.
_CASTS = {
    "hugeint": "DECIMAL(38, 0)",
    "uhugeint": "DECIMAL(38, 0)",
    "enum": "VARCHAR",
    "uuid": "VARCHAR",
    "interval": "VARCHAR",
    "bit": "VARCHAR",
    "bignum": "VARCHAR",
    "varint": "VARCHAR",
    "time with time zone": "VARCHAR",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
}
_DOCUMENTS = frozenset({"union", "variant"})

_DAY_US = 86_400_000_000
# Days and microseconds since 1970 of 0001-01-01 and 9999-12-31.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896


@dataclasses.dataclass(frozen=True)
class Carrier:
    """How one column of DuckDB is read.

    Attributes:
        field: name and Arrow type of what comes out.
        native: its type in DuckDB.
        cast: DuckDB type to cast it to first; None reads it as it is.
        is_document: read through `to_json`.
    """

    field: pa.Field
    native: str
    cast: str | None = None
    is_document: bool = False

    def expression(self, quoted: str) -> str:
        """Return the SQL that reads the column `quoted`."""
        if self.is_document:
            return f"CAST(to_json({quoted}) AS VARCHAR)"
        return f"CAST({quoted} AS {self.cast})" if self.cast else quoted


def native(field: pa.Field, table: str) -> str:
    """Return the DuckDB type that is created for an Arrow field.

    Raises:
        errors.ConfigError: DuckDB has no type that holds it.
    """
    kind = field.type
    if base.is_json(field) or pa.types.is_nested(kind):
        return "JSON"
    if pa.types.is_decimal(kind):
        scale = max(kind.scale, 0)
        precision = max(kind.precision + max(-kind.scale, 0), scale)
        if precision <= 38:
            return f"DECIMAL({precision}, {scale})"
        raise errors.ConfigError(
            f"{table}: the column {field.name!r} is {kind}; a DuckDB decimal has 38 digits at most",
            hint="cast it in the source's query",
        )
    for arrow, name in _SIMPLE:
        if kind.equals(arrow):
            return name
    raise errors.ConfigError(
        f"{table}: the column {field.name!r} is {kind}, which DuckDB has no type for"
    )


def planned_field(field: pa.Field) -> pa.Field:
    """Return the field as it is described once `native` was created for it."""
    kind = field.type
    if base.is_json(field) or pa.types.is_nested(kind):
        return base.json_field(field.name, field.nullable)
    if pa.types.is_decimal(kind):
        scale = max(kind.scale, 0)
        precision = max(kind.precision + max(-kind.scale, 0), scale)
        return pa.field(field.name, pa.decimal128(precision, scale), field.nullable)
    return pa.field(field.name, kind, field.nullable)


def carriers(
    names: Sequence[str], kinds: Sequence[Any], arrow: pa.Schema, nullable: Sequence[bool]
) -> list[Carrier]:
    """Return how the columns of a relation are read.

    Args:
        names: the columns.
        kinds: their DuckDB types, as a relation has them.
        arrow: their Arrow types, as DuckDB gives them.
        nullable: whether they may be null.
    """
    found = []
    for name, kind, field, may_be_null in zip(names, kinds, arrow, nullable, strict=True):
        text = str(kind)
        if text == "JSON":
            found.append(Carrier(base.json_field(name, may_be_null), text))
        elif kind.id in _DOCUMENTS:
            found.append(Carrier(base.json_field(name, may_be_null), text, is_document=True))
        else:
            cast = _cast(kind)
            carried = _cast_arrow(cast) if cast and kind.id in _CASTS else normal_type(field.type)
            found.append(Carrier(pa.field(name, carried, may_be_null), text, cast))
    return found


def _cast(kind: Any) -> str | None:
    """Return the type to cast to, also for what is inside of nested types; None for none."""
    if kind.id in _CASTS:
        return _CASTS[kind.id]
    if kind.id not in ("list", "array", "struct", "map"):
        return None
    children = [(label, child) for label, child in kind.children if label != "size"]
    inner = [_cast(child) for _, child in children]
    if not any(inner):
        return None
    types = [cast or str(child) for cast, (_, child) in zip(inner, children, strict=True)]
    if kind.id == "map":
        return f"MAP({', '.join(types)})"
    if kind.id == "struct":
        labels = ['"' + label.replace('"', '""') + '"' for label, _ in children]
        members = (f"{label} {text}" for label, text in zip(labels, types, strict=True))
        return f"STRUCT({', '.join(members)})"
    return f"{types[0]}[]"


def _cast_arrow(cast: str) -> pa.DataType:
    if cast == "VARCHAR":
        return pa.string()
    return pa.timestamp("us") if cast == "TIMESTAMP" else pa.decimal128(38, 0)


def normal_type(kind: pa.DataType) -> pa.DataType:
    """Return the one Arrow type that the product uses for what DuckDB calls `kind`."""
    if pa.types.is_dictionary(kind):
        return normal_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(member.name, normal_type(member.type)) for member in kind])
    if pa.types.is_map(kind):
        return pa.map_(normal_type(kind.key_type), normal_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(normal_type(kind.value_type))
    return kind


def normal_batch(batch: pa.RecordBatch, schema: pa.Schema, subject: str) -> pa.RecordBatch:
    """Return a batch with exactly the types of `schema`.

    Raises:
        errors.DataError: a value would lose digits, or is no day of the years 1 to 9999.
    """
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        try:
            cast = column if column.type.equals(field.type) else pc.cast(column, field.type)
        except pa.ArrowInvalid as error:
            raise errors.DataError(
                f"{subject}: the column {field.name!r} has a value that {field.type} cannot hold:"
                f" {error}",
                hint="round or cast it in the source's query",
            ) from error
        _require_calendar(field, cast, subject)
        columns.append(cast)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def normal_table(table: pa.Table, subject: str) -> pa.Table:
    """Return a table with the product's types."""
    schema = pa.schema(
        [pa.field(field.name, normal_type(field.type), field.nullable) for field in table.schema]
    )
    batches = [normal_batch(batch, schema, subject) for batch in table.to_batches()]
    return pa.Table.from_batches(batches, schema)


def _require_calendar(field: pa.Field, column: pa.Array, subject: str) -> None:
    kind = column.type
    if pa.types.is_date32(kind):
        numbers, low, high = column.view(pa.int32()), _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(kind):
        numbers = column.view(pa.int64())
        low, high = _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
    elif pa.types.is_time64(kind):
        numbers, low, high = column.view(pa.int64()), 0, _DAY_US - 1
    else:
        return
    extremes = pc.min_max(numbers)
    least, greatest = extremes["min"].as_py(), extremes["max"].as_py()
    if least is None or (least >= low and greatest <= high):
        return
    unit = "days" if pa.types.is_date32(kind) else "microseconds"
    wrong = greatest if greatest > high else least
    raise errors.DataError(
        f"{subject}: the column {field.name!r} holds {wrong} {unit} (since 1970, or midnight):"
        " infinite, 24:00:00, or no day of the years 1 to 9999",
        hint="leave such rows out in the source's query",
    )
