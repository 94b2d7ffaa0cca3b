"""How each type travels: the Arrow type, the SQL that reads it, the SQL of its canonical text.

The table in the package's docstring is made of this module. Pure: no I/O.
"""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base

_ESCAPED = r"""replace(replace({0}::text COLLATE "C", '\', '\\'), E'\t', '\t')"""
# In JSON text a tab is always written as an escape already.
_JSON = r"""replace({0}::jsonb::text COLLATE "C", '\', '\\')"""
_HEX = r"'\\x' || encode({0}, 'hex')"
#: The bytes of a value before it is escaped, by the canonical text: of those that can be long.
_LENGTHS = {
    _ESCAPED: "octet_length({0}::text)",
    _JSON: "octet_length({0}::jsonb::text)",
    _HEX: "octet_length({0}) + 2",
}
_MAX_ARROW_PRECISION = 76


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one PostgreSQL type travels.

    Attributes:
        arrow: the type that carries its values without loss.
        read: SQL whose CSV text the reader understands; ``{0}`` is the column.
        wire: what that text is parsed as; None means `arrow`.
        canonical: SQL of the canonical text.
        is_json: the strings are JSON documents.
        is_unbounded: a numeric whose width only its values show.
    """

    arrow: pa.DataType
    read: str = "{0}"
    wire: pa.DataType | None = None
    canonical: str = "{0}::text"
    is_json: bool = False
    is_unbounded: bool = False

    def field(self, name: str, nullable: bool) -> pa.Field:
        """Return the field of a column of this kind."""
        if self.is_json:
            return base.json_field(name, nullable)
        return pa.field(name, self.arrow, nullable)


@dataclasses.dataclass(frozen=True)
class Typed:
    """A column of a table or query, and how it travels."""

    name: str
    kind: Kind
    native: str

    def field(self, nullable: bool = True) -> pa.Field:
        """Return its Arrow field."""
        return self.kind.field(self.name, nullable)


_TEXT = Kind(pa.string(), canonical=_ESCAPED)
#: Whatever has no Arrow type of its own travels as the server writes it.
_AS_TEXT = Kind(pa.string(), read="{0}::text", canonical=_ESCAPED)
_AS_JSON = Kind(pa.string(), read="to_json({0})::text", canonical=_ESCAPED, is_json=True)
_UNBOUNDED = dataclasses.replace(_AS_TEXT, is_unbounded=True)

_KINDS = {
    "bool": Kind(pa.bool_()),
    "int2": Kind(pa.int16()),
    "int4": Kind(pa.int32()),
    "int8": Kind(pa.int64()),
    "oid": Kind(pa.int64(), read="{0}::int8"),
    "float4": Kind(pa.float32(), canonical="{0}::float8::text"),
    "float8": Kind(pa.float64()),
    "date": Kind(pa.date32()),
    "time": Kind(pa.time64("us")),
    "timestamp": Kind(pa.timestamp("us")),
    "timestamptz": Kind(pa.timestamp("us", tz="UTC")),
    "bytea": Kind(
        pa.binary(),
        read="encode({0}, 'hex')",
        wire=pa.string(),
        canonical=_HEX,
    ),
    "json": Kind(pa.string(), read="{0}::text", canonical=_JSON, is_json=True),
    "jsonb": Kind(pa.string(), read="{0}::text", canonical=_JSON, is_json=True),
    # Its cast to text adds the mask that its output leaves out.
    "inet": Kind(pa.string(), canonical="nullif(concat({0}), '')"),
    "text": _TEXT,
    "varchar": _TEXT,
}


def of(type_name: str, modifier: int, *, is_nested: bool, nested_as_json: bool) -> Kind:
    """Return how a base type travels.

    Args:
        type_name: its name in pg_type; of another schema than pg_catalog: empty.
        modifier: its typmod; -1 for none.
        is_nested: it is an array or a composite.
        nested_as_json: read those as JSON; else as the server writes them, which it also loads.
    """
    if type_name == "numeric":
        return numeric(modifier)
    if is_nested and nested_as_json:
        return _AS_JSON
    return _KINDS.get(type_name, _AS_TEXT)


def numeric(modifier: int) -> Kind:
    """Return how a numeric travels: as a decimal where precision and scale are declared."""
    if modifier < 0:
        return _UNBOUNDED
    precision = ((modifier - 4) >> 16) & 0xFFFF
    # Eleven bits with a sign, since PostgreSQL 15 has negative scales.
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    return decimal(max(precision, scale) - min(scale, 0), max(scale, 0)) or _UNBOUNDED


def decimal(precision: int, scale: int) -> Kind | None:
    """Return the kind of a decimal, or None where Arrow has none so wide."""
    if precision > _MAX_ARROW_PRECISION:
        return None
    if precision > 38:
        # Arrow's CSV reader has no decimal256; its cast from text has.
        return Kind(pa.decimal256(precision, scale), wire=pa.string())
    return Kind(pa.decimal128(precision, scale))


def measured(scale: int, integer_digits: int) -> Kind:
    """Return the kind of a numeric without precision, from the widest values it holds.

    The precision is one of few, so that the type does not change with every row: 38, the largest
    of most databases, 65 (MySQL), 76 (Arrow). What is wider stays text.
    """
    digits = scale + integer_digits
    for precision in (38, 65, _MAX_ARROW_PRECISION):
        if digits <= precision:
            return decimal(precision, scale) or _AS_TEXT
    return _AS_TEXT


def native(field: pa.Field) -> str:
    """Return the type that a new table gets for a field.

    Raises:
        errors.ConfigError: there is none.
    """
    kind = field.type
    if base.is_json(field):
        return "jsonb"
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision - min(kind.scale, 0)},{max(kind.scale, 0)})"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    found = _NATIVE.get(kind)
    if found is None:
        raise errors.ConfigError(
            f"column {field.name!r}: PostgreSQL has no type for {kind}", hint="`omit` the column"
        )
    return found


_NATIVE = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "integer",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time without time zone",
}


def held(field: pa.Field) -> pa.Field:
    """Return the field that `native` gives when the new table is described."""
    kind = field.type
    if pa.types.is_decimal(kind):
        wide = decimal(kind.precision - min(kind.scale, 0), max(kind.scale, 0))
        return pa.field(field.name, wide.arrow if wide else pa.string(), field.nullable)
    held_kind = {
        pa.int8(): pa.int16(),
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
    }.get(kind, kind)
    if base.is_json(field):
        return base.json_field(field.name, field.nullable)
    return pa.field(field.name, held_kind, field.nullable)


def row_text(columns: list[Typed], prefix: str = "") -> str:
    """Return the SQL of a row's canonical text.

    Args:
        columns: the columns, in the order of the text.
        prefix: what stands before each column, such as ``"table".``.
    """
    parts = []
    for column in columns:
        name = prefix + '"' + column.name.replace('"', '""') + '"'
        parts.append(rf"coalesce({column.kind.canonical.format(name)}, '\N')")
    # A function takes a hundred arguments; a wider row is joined from pieces.
    while len(parts) > 90:
        parts = [_joined(parts[start : start + 90]) for start in range(0, len(parts), 90)]
    return _joined(parts)


def row_hash(columns: list[Typed], prefix: str = "") -> str:
    """Return the SQL of the number that a row adds to a fingerprint by `base.Digest.LOOKUP3`."""
    short = [dataclasses.replace(column, kind=_shortened(column.kind)) for column in columns]
    text = f'{row_text(short, prefix)} COLLATE "C"'
    return f"(hashtextextended({text}, 0) & {base.HASH_MASK})"


def _shortened(how: Kind) -> Kind:
    """Return a kind whose canonical text is the SHA-256 of its own where that is long."""
    raw = _LENGTHS.get(how.canonical)
    if raw is None:
        return how
    # Its text is at most twice as long as its bytes: in nearly every row the first test is enough.
    canonical = (
        f"CASE WHEN {raw} < {base.LONG_TEXT_BYTES // 2} THEN {how.canonical}"
        f" WHEN octet_length({how.canonical}) <= {base.LONG_TEXT_BYTES} THEN {how.canonical}"
        f" ELSE encode(sha256(convert_to({how.canonical}, 'UTF8')), 'hex') END"
    )
    return dataclasses.replace(how, canonical=canonical)


def _joined(parts: list[str]) -> str:
    return f"concat_ws(E'\\t', {', '.join(parts)})"
