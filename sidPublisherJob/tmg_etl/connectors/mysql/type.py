r"""Arrow types and MySQL types, the canonical text of each, and the text that is read.

What `create` makes of an Arrow type, and the SQL whose text is the canonical one (`base.TextFormat`
of the target; null is ``\\N``; a double's is another on MySQL: `_double`):

=====================  =====================================  ======================================
Arrow                  created                                canonical SQL of a column ``c``
=====================  =====================================  ======================================
bool                   TINYINT(1)                             ``c``: 1, 0
int8 int16 int32 int64 TINYINT SMALLINT INT BIGINT            ``c``
uint8 … uint64         the same, UNSIGNED                     ``c``
float32                FLOAT                                  ``c + 0e0``: of the double it equals
float64                DOUBLE                                 ``c + 0e0``: shortest round-trip text
decimal(p, s)          DECIMAL(p, s), p <= 65, s <= 30        ``c``: full scale
string                 LONGTEXT; VARCHAR(n) in an index       ``REPLACE(REPLACE(CONVERT(c USING
                                                              utf8mb4), '\\', '\\\\'), tab, '\\t')``
binary                 LONGBLOB; VARBINARY(n) in an index     ``HEX(c)``
date32                 DATE                                   ``c``: YYYY-MM-DD
time64[us]             TIME(6)                                ``c``: six digits
timestamp[us]          DATETIME(6)                            ``c``: six digits
timestamp[us, UTC]     DATETIME(6), in UTC                    ``c``: six digits
JSON                   LONGTEXT CHECK (json_valid(c))         as string: the text is kept
=====================  =====================================  ======================================

Columns that exist already may be of other types: ``BIT(1)`` is bool and ``BIT(n)`` uint64
(``c + 0``), ``YEAR`` uint16 (``c + 0``), ``ZEROFILL`` numbers are numbers (``c + 0``), ``ENUM`` and
``SET`` are strings, ``TIMESTAMP`` is timestamp[us, UTC], and times with fewer than six digits of
fraction are widened (``CAST(c AS DATETIME(6))``). MySQL's own ``JSON`` keeps no text: documents
are sent as it writes them (`base.rewritten_json`), and compared as text. A ``TINYINT(1)`` that
holds another number than 0 and 1 is not a bool: reading it is an error, and ``CAST(c AS SIGNED)``
in a query reads it.

No I/O here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from pymysql.constants import FIELD_TYPE, FLAG

from tmg_etl import errors
from tmg_etl.connectors import base

_BINARY_CHARSET = 63
_INTEGERS = {
    FIELD_TYPE.TINY: (pa.int8(), pa.uint8()),
    FIELD_TYPE.SHORT: (pa.int16(), pa.uint16()),
    FIELD_TYPE.INT24: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONG: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONGLONG: (pa.int64(), pa.uint64()),
}
_SIMPLE = {
    FIELD_TYPE.FLOAT: pa.float32(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.DATE: pa.date32(),
    FIELD_TYPE.NEWDATE: pa.date32(),
    FIELD_TYPE.TIME: pa.time64("us"),
    FIELD_TYPE.DATETIME: pa.timestamp("us"),
    FIELD_TYPE.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    FIELD_TYPE.YEAR: pa.uint16(),
    FIELD_TYPE.NULL: pa.string(),
    FIELD_TYPE.JSON: pa.string(),
    FIELD_TYPE.ENUM: pa.string(),
    FIELD_TYPE.SET: pa.string(),
}
_TEXTS = frozenset(
    {
        FIELD_TYPE.VARCHAR,
        FIELD_TYPE.VAR_STRING,
        FIELD_TYPE.STRING,
        FIELD_TYPE.TINY_BLOB,
        FIELD_TYPE.BLOB,
        FIELD_TYPE.MEDIUM_BLOB,
        FIELD_TYPE.LONG_BLOB,
    }
)
_TIMES = frozenset({FIELD_TYPE.TIME, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP})
_CREATED = {
    pa.bool_(): "TINYINT(1)",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "TINYINT UNSIGNED",
    pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INT UNSIGNED",
    pa.uint64(): "BIGINT UNSIGNED",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME(6)",
    pa.string(): "LONGTEXT",
    pa.binary(): "LONGBLOB",
}
#: (precision, scale); MariaDB would take a scale of 38, MySQL does not.
MAX_DECIMAL = (65, 30)
#: What quotes text that is read. REPLACE takes time by the square of its matches: a megabyte of
#: JSON with the usual quote took half a minute. This character is in no text to speak of.
QUOTE = "\x01"
#: MariaDB's table of the numbers from 0; pieces of half a gigabyte.
SEQUENCE = "seq_0_to_65536"
_PIECE_BYTES = 8192
#: Added for a row whose text is too long to be hashed; no sum of hashes reaches it.
TOO_LONG = 10**30


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is known of one column's type.

    Attributes:
        field: its name, Arrow type, nullability and JSON mark.
        is_number_like: BIT, YEAR, ZEROFILL: a number only in an expression.
        is_converted: BIT, YEAR: taken from text only by way of a number.
        fraction: digits of a fraction of a second; 6 for all other types.
        is_long: text that may be longer than `_PIECE_BYTES`.
        is_native_json: MySQL's own JSON, which does not keep the text.
        is_cut: a double whose text MySQL cuts to 22 characters.
    """

    field: pa.Field
    is_number_like: bool = False
    is_converted: bool = False
    fraction: int = 6
    is_long: bool = False
    is_native_json: bool = False
    is_cut: bool = False


def kind_of(descriptor: Any, *, is_json: bool = False, is_mariadb: bool = True) -> Kind:
    """Return the kind of a column of a result.

    Args:
        descriptor: the protocol's column definition.
        is_mariadb: whose result it is.
        is_json: a text column that is known to hold JSON documents.
    """
    code, flags, name = descriptor.type_code, descriptor.flags, name_of(descriptor)
    arrow = _arrow_of(descriptor, code, flags)
    nullable = not flags & FLAG.NOT_NULL
    if arrow is None:
        return Kind(base.uncarried_field(name, nullable))
    field = pa.field(name, arrow, nullable=nullable)
    native_json = code == FIELD_TYPE.JSON
    if (is_json or native_json) and pa.types.is_string(arrow):
        field = base.json_field(name, nullable=nullable)
    converted = code in {FIELD_TYPE.BIT, FIELD_TYPE.YEAR}
    number_like = converted or bool(flags & FLAG.ZEROFILL)
    fraction = min(descriptor.scale, 6) if code in _TIMES else 6
    is_long = pa.types.is_string(arrow) and descriptor.length > _PIECE_BYTES
    is_cut = pa.types.is_floating(arrow) and not is_mariadb
    return Kind(field, number_like, converted, fraction, is_long, native_json, is_cut)


def require_carried(kinds: Iterable[Kind], place: str) -> None:
    """Refuse the result of a query with a column whose values nothing carries.

    Args:
        kinds: of its columns.
        place: for messages.
    """
    for kind in kinds:
        if base.is_uncarried(kind.field):
            raise errors.ConfigError(
                f"{place}: the column {kind.field.name!r} is of a type that cannot be carried",
                hint="leave it out, or convert it in the query, for example ST_AsText(column)",
            )


def name_of(descriptor: Any) -> str:
    """Return the name of a column of a result."""
    name: str = descriptor.name
    return name


def _arrow_of(descriptor: Any, code: int, flags: int) -> pa.DataType | None:
    unsigned = bool(flags & FLAG.UNSIGNED)
    if code == FIELD_TYPE.TINY and descriptor.length == 1 and not unsigned:
        return pa.bool_()
    if code in _INTEGERS:
        return _INTEGERS[code][unsigned]
    if code in {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL}:
        precision = descriptor.length - (descriptor.scale > 0) - (not unsigned)
        return decimal_type(max(precision, 1), descriptor.scale)
    if code == FIELD_TYPE.BIT:
        return pa.bool_() if descriptor.length == 1 else pa.uint64()
    if code in _TEXTS:
        binary = descriptor.charsetnr == _BINARY_CHARSET and not flags & (FLAG.ENUM | FLAG.SET)
        return pa.binary() if binary else pa.string()
    return _SIMPLE.get(code)


def decimal_type(precision: int, scale: int) -> pa.DataType:
    """Return the smallest Arrow decimal of that precision and scale."""
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale)


def created(field: pa.Field, *, length: int | None = None) -> str:
    """Return the column type that `create` uses.

    Args:
        field: the column.
        length: characters or bytes of a text or binary column that is in an index; None elsewhere.

    Raises:
        errors.ConfigError: MySQL has no such type.
    """
    kind = field.type
    if pa.types.is_decimal(kind):
        if kind.precision <= MAX_DECIMAL[0] and 0 <= kind.scale <= MAX_DECIMAL[1]:
            return f"DECIMAL({kind.precision}, {kind.scale})"
        raise errors.ConfigError(
            f"the column {field.name!r} is {kind}; the largest of MySQL is"
            f" DECIMAL({MAX_DECIMAL[0]}, {MAX_DECIMAL[1]})",
            hint="cast it in the source's `query`",
        )
    if pa.types.is_timestamp(kind):
        return "DATETIME(6)"
    if length is not None and pa.types.is_string(kind):
        return f"VARCHAR({length})"
    if length is not None and pa.types.is_binary(kind):
        return f"VARBINARY({length})"
    text = _CREATED.get(kind)
    if text is None:
        raise errors.ConfigError(f"the column {field.name!r} is {kind}, which MySQL cannot hold")
    return text


def held(field: pa.Field) -> pa.Field:
    """Return the field that a column created for `field` has when it is read."""
    if pa.types.is_timestamp(field.type):
        return pa.field(field.name, pa.timestamp("us"), nullable=field.nullable)
    return field


def canonical(kind: Kind, expression: str, *, has_sequence: bool = False) -> str:
    """Return SQL whose text is the canonical text of a value; null stays null.

    Args:
        kind: its type.
        expression: the column, qualified.
        has_sequence: whether the server has MariaDB's sequence tables.
    """
    arrow = kind.field.type
    if kind.is_number_like:
        return f"({expression} + 0)"
    if pa.types.is_floating(arrow):
        return _double(kind, expression)
    if pa.types.is_binary(arrow):
        return f"HEX({expression})"
    if pa.types.is_string(arrow):
        # A binary collation halves the time of REPLACE.
        text = f"CONVERT({expression} USING utf8mb4)"
        escaped = _escaped(f"{text} COLLATE utf8mb4_bin")
        return _in_pieces(expression, text, escaped) if kind.is_long and has_sequence else escaped
    if kind.fraction < 6:
        name = "TIME" if pa.types.is_time(arrow) else "DATETIME"
        return f"CAST({expression} AS {name}(6))"
    return expression


def _double(kind: Kind, expression: str) -> str:
    """Return SQL for the shortest text that reads back to the same double; no -0.

    MySQL's text of a double that is computed has had at most 22 characters since one of its 8.0,
    and then loses digits: ``-1.23456789012346e-300``; that of a column has had 24, which decides
    between ``1.17e-5`` and ``0.0000117``. As a JSON number it has all that it needs, up to 34, as
    in MariaDB: ``my_gcvt`` of both, with `MY_GCVT_MAX_FIELD_WIDTH` in 5.7, 8.0, 8.4 and 9.7. No
    difference over 4 million doubles on 9.7; what 8.0 and 8.4 do was read in their sources.

    Source: https://github.com/mysql/mysql-server/blob/8.4/sql-common/json_dom.cc
    """
    # A FLOAT becomes the double it equals.
    number = f"({expression} + 0e0)"
    # From 8.0 on a whole number ends in .0 there.
    return f"TRIM(TRAILING '.0' FROM CAST({number} AS JSON))" if kind.is_cut else number


def _escaped(text: str) -> str:
    return rf"REPLACE(REPLACE({text}, '\\', '\\\\'), '\t', '\\t')"


def _in_pieces(expression: str, text: str, escaped: str) -> str:
    """Return SQL that escapes a long text piece by piece.

    REPLACE takes time by the square of its matches: 35 s for a megabyte in which every twentieth
    character is a backslash, and 2 s in pieces. Short texts are done as a whole.
    """
    # Asked for each number: nothing may be converted here. One byte becomes at most three.
    is_piece = f"piece.seq <= LENGTH({expression}) * 3 DIV {_PIECE_BYTES}"
    binary = f"CAST({text} AS BINARY)"
    piece = f"SUBSTRING({binary}, piece.seq * {_PIECE_BYTES} + 1, {_PIECE_BYTES})"
    # Null is not long.
    return (
        f"IF(LENGTH({expression}) > {_PIECE_BYTES * 2} AND"
        rf" LOCATE('\\', {binary}) + LOCATE('\t', {binary}) > 0,"
        f" (SELECT GROUP_CONCAT({_escaped(piece)} ORDER BY piece.seq SEPARATOR '')"
        f" FROM {SEQUENCE} AS piece WHERE {is_piece}), {escaped})"
    )


def row_text(
    kinds: Sequence[Kind], expressions: Sequence[str], *, has_sequence: bool = False
) -> str:
    """Return SQL for the canonical text of a row; null when it exceeds max_allowed_packet."""
    cells = ", ".join(
        rf"IFNULL({canonical(kind, expression, has_sequence=has_sequence)}, '\\N')"
        for kind, expression in zip(kinds, expressions, strict=True)
    )
    return rf"CONCAT_WS('\t', {cells})"


def row_hash(text: str) -> str:
    """Return SQL for the number that a row adds to a fingerprint; `TOO_LONG` for a null text."""
    return f"IFNULL(CAST(CONV(LEFT(SHA2({text}, 256), 15), 16, 10) AS UNSIGNED), {TOO_LONG})"


def csv_cell(kind: Kind, expression: str) -> str:
    """Return SQL for a value, not bytes, as a CSV cell: null is empty, text is quoted."""
    if kind.is_number_like:
        return f"IFNULL({expression} + 0, '')"
    if pa.types.is_floating(kind.field.type):
        return f"IFNULL({_double(kind, expression)}, '')"
    if pa.types.is_string(kind.field.type):
        # As bytes: REPLACE compares by collation else, which measured 20 % slower.
        text = f"CAST(CONVERT({expression} USING utf8mb4) AS BINARY)"
        doubled = f"REPLACE({text}, x'01', x'0101')"
        return f"IFNULL(CONCAT(x'01', {doubled}, x'01'), '')"
    return f"IFNULL({expression}, '')"


def csv_row(kinds: Sequence[Kind], expressions: Sequence[str]) -> str:
    """Return SQL for columns as one line of CSV; null when it exceeds max_allowed_packet."""
    cells = ", ".join(
        csv_cell(kind, expression) for kind, expression in zip(kinds, expressions, strict=True)
    )
    return f"CONCAT_WS(',', {cells})" if cells else "''"
