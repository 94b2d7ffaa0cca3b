"""BigQuery's types and Arrow's, both ways. Pure: no I/O.

The table in the package's docstring is made of this module.
"""

from __future__ import annotations

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base

#: Precision and scale of the two decimal types when a column declares none.
#: Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
NUMERIC = (38, 9)
BIGNUMERIC = (76, 38)
_NUMERIC_INTEGER_DIGITS = 29
_BIGNUMERIC_INTEGER_DIGITS = 38

_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}

_ARROW = {
    "BOOL": pa.bool_(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    # As text: WKT, and BigQuery's own notation of an interval ("1-2 3 4:5:6.5").
    "GEOGRAPHY": pa.string(),
    "INTERVAL": pa.string(),
}


def standard_name(field: bigquery.SchemaField) -> str:
    """Return the GoogleSQL name of a column's type, or of its elements when it is an array."""
    name = str(field.field_type).upper()
    return _STANDARD.get(name, name)


def native(field: bigquery.SchemaField) -> str:
    """Return a column's type as GoogleSQL writes it, such as ``ARRAY<NUMERIC(10, 2)>``."""
    name = standard_name(field)
    if name == "STRUCT":
        inner = ", ".join(f"{quote(part.name)} {native(part)}" for part in field.fields)
        name = f"STRUCT<{inner}>"
    elif name == "RANGE" and field.range_element_type is not None:
        name = f"RANGE<{field.range_element_type.element_type}>"
    elif field.precision is not None:
        scale = f", {field.scale}" if field.scale else ""
        name = f"{name}({field.precision}{scale})"
    elif field.max_length is not None:
        name = f"{name}({field.max_length})"
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name


def quote(name: str) -> str:
    """Return an identifier in backquotes, whatever it contains."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def arrow(field: bigquery.SchemaField) -> pa.Field:
    """Return the field that carries a column of BigQuery without loss.

    Raises:
        errors.ConfigError: a type that nothing can carry.
    """
    nullable = field.mode != "REQUIRED"
    if standard_name(field) == "JSON" and field.mode != "REPEATED":
        return base.json_field(field.name, nullable)
    kind = _element(field)
    if field.mode == "REPEATED":
        # An array is never null in BigQuery: what is stored as null comes back empty.
        return pa.field(field.name, pa.list_(kind))
    return pa.field(field.name, kind, nullable)


def _element(field: bigquery.SchemaField) -> pa.DataType:
    name = standard_name(field)
    if name == "STRUCT":
        return pa.struct([arrow(part) for part in field.fields])
    if name == "RANGE":
        of = _ARROW[str(field.range_element_type.element_type).upper()]
        return pa.struct([pa.field("start", of), pa.field("end", of)])
    if name in ("NUMERIC", "BIGNUMERIC"):
        return _decimal(field, NUMERIC if name == "NUMERIC" else BIGNUMERIC)
    if name == "JSON":
        return pa.string()
    found = _ARROW.get(name)
    if found is None:
        raise errors.ConfigError(
            f"column {field.name!r} is of the type {name}, which this version cannot carry",
            hint="read it with a `query:` that casts the column to STRING or leaves it out",
        )
    return found


def _decimal(field: bigquery.SchemaField, widest: tuple[int, int]) -> pa.DataType:
    precision, scale = widest
    if field.precision is not None:
        precision, scale = field.precision, field.scale or 0
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    return make(precision, scale)


_NATIVE = {
    pa.bool_(): "BOOL",
    pa.int8(): "INT64",
    pa.int16(): "INT64",
    pa.int32(): "INT64",
    pa.int64(): "INT64",
    pa.uint8(): "INT64",
    pa.uint16(): "INT64",
    pa.uint32(): "INT64",
    pa.float32(): "FLOAT64",
    pa.float64(): "FLOAT64",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.binary(): "BYTES",
    pa.large_binary(): "BYTES",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
}


def column(field: pa.Field) -> bigquery.SchemaField:
    """Return the column that a new table gets for an Arrow field.

    Raises:
        errors.ConfigError: BigQuery has no type for it.
    """
    kind = field.type
    mode = "NULLABLE" if field.nullable else "REQUIRED"
    if base.is_json(field):
        return bigquery.SchemaField(field.name, "JSON", mode)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = column(pa.field(field.name, kind.value_type))
        if item.mode == "REPEATED":
            raise _no_type(field)
        inner = {**item.to_api_repr(), "mode": "REPEATED"}
        return bigquery.SchemaField.from_api_repr(inner)
    if pa.types.is_struct(kind):
        return bigquery.SchemaField(field.name, "RECORD", mode, fields=[column(f) for f in kind])
    if kind == pa.uint64():
        return bigquery.SchemaField(field.name, "NUMERIC", mode, precision=20, scale=0)
    if pa.types.is_decimal(kind):
        return _decimal_column(field, mode)
    if pa.types.is_timestamp(kind):
        return bigquery.SchemaField(field.name, "TIMESTAMP" if kind.tz else "DATETIME", mode)
    name = _NATIVE.get(kind)
    if name is None:
        raise _no_type(field)
    return bigquery.SchemaField(field.name, name, mode)


def _decimal_column(field: pa.Field, mode: str) -> bigquery.SchemaField:
    scale = max(field.type.scale, 0)
    integers = field.type.precision - field.type.scale
    # A scale without digits before it, such as decimal(3, 5), needs at least its own digits.
    precision = max(integers, 0) + scale
    if scale <= NUMERIC[1] and integers <= _NUMERIC_INTEGER_DIGITS:
        name, widest = "NUMERIC", NUMERIC
    elif scale <= BIGNUMERIC[1] and integers <= _BIGNUMERIC_INTEGER_DIGITS:
        name, widest = "BIGNUMERIC", BIGNUMERIC
    else:
        raise _no_type(field)
    if (precision, scale) == widest:
        return bigquery.SchemaField(field.name, name, mode)
    return bigquery.SchemaField(field.name, name, mode, precision=max(precision, 1), scale=scale)


def _no_type(field: pa.Field) -> errors.ConfigError:
    return errors.ConfigError(
        f"column {field.name!r}: BigQuery has no type for {field.type}",
        hint="`omit` the column, or have the source cast it",
    )


def held(field: pa.Field) -> pa.Field:
    """Return the field that `column` gives when the new table is described."""
    return arrow(column(field))
