r"""The canonical text of BigQuery's columns in GoogleSQL, and when it is not enough.

Only functions whose result the reference specifies to the last character are used:

====================  ======================  =====================================  ==========
Arrow                 BigQuery type created   canonical SQL                          text
====================  ======================  =====================================  ==========
bool                  BOOL                    ``CAST(x AS STRING)``                  true, false
int8 … int64, uint32  INT64                   ``CAST(x AS STRING)``                  -12
uint64                NUMERIC(20)             as decimals                            12
decimal(p, s)         NUMERIC, BIGNUMERIC     ``FORMAT('%.<s>f', x)``                every digit
float32, float64      FLOAT64                 none: `Proof.READ_BACK`
string, JSON, nested  STRING                  ``REPLACE`` of backslash and tab       escaped
binary                BYTES                   ``TO_HEX(x)``                          00ff
date32                DATE                    ``FORMAT_DATE('%E4Y-%m-%d', x)``       0001-01-01
time64                TIME                    ``FORMAT_TIME('%H:%M:%E6S', x)``       six digits
timestamp             DATETIME                ``FORMAT_DATETIME('%E4Y-%m-%d …', x)`` six digits
timestamp, UTC        TIMESTAMP               ``FORMAT_TIMESTAMP(…, x, 'UTC')``      six digits
====================  ======================  =====================================  ==========

The text of a FLOAT64 is documented as "approximate" (``CAST``) or by reference to C (``FORMAT``),
so a table with such a column is read back over the Storage Read API and hashed by this program,
byte for byte. See ``docs/decisions/0007-how-a-bigquery-target-is-proved-and-published.md``.

A row's number is ``0x`` and the first 15 digits of ``TO_HEX(MD5(text))`` cast to INT64, which is
below 2**60. They are added up as NUMERIC, which is exact up to 8e10 rows and an error beyond: INT64
would overflow at the ninth row.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements,
https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import datatype

#: Types that have no exact text in SQL.
READ_BACK = frozenset({"FLOAT64"})

_MOMENT = "%E4Y-%m-%d %H:%M:%E6S"


def _formatted(function: str, pattern: str, suffix: str = "") -> Callable[[str], str]:
    return lambda column: f"{function}('{pattern}', {column}{suffix})"


def _plain(column: str) -> str:
    return f"CAST({column} AS STRING)"


def _escaped(column: str) -> str:
    # In GoogleSQL's literals a backslash escapes: '\\' is one, '\t' a tab.
    return rf"REPLACE(REPLACE({column}, '\\', '\\\\'), '\t', '\\t')"


_TEXTS: dict[str, Callable[[str], str]] = {
    "BOOL": _plain,
    "INT64": _plain,
    "STRING": _escaped,
    "BYTES": lambda column: f"TO_HEX({column})",
    "DATE": _formatted("FORMAT_DATE", "%E4Y-%m-%d"),
    "TIME": _formatted("FORMAT_TIME", "%H:%M:%E6S"),
    "DATETIME": _formatted("FORMAT_DATETIME", _MOMENT),
    "TIMESTAMP": _formatted("FORMAT_TIMESTAMP", _MOMENT, ", 'UTC'"),
}


def needs_read_back(columns: Iterable[bigquery.SchemaField]) -> bool:
    """Return whether a table with these columns can only be proved by reading it back."""
    return any(datatype.standard_name(column) in READ_BACK for column in columns)


def text(field: bigquery.SchemaField, column: str) -> str:
    """Return the canonical text of a column as SQL; null stays null.

    Args:
        field: its type.
        column: the expression.

    Raises:
        errors.ConfigError: a type without an exact text.
    """
    name = datatype.standard_name(field)
    if name in ("NUMERIC", "BIGNUMERIC"):
        return f"FORMAT('%.{datatype.arrow(field).type.scale}f', {column})"
    write = _TEXTS.get(name) if field.mode != "REPEATED" else None
    if write is None:
        raise errors.ConfigError(
            f"column {field.name!r} of type {datatype.native(field)} has no exact text in SQL",
            hint="`omit` the column, or write `verify: count`",
        )
    return write(column)


def row_text(fields: Sequence[bigquery.SchemaField], columns: Sequence[str]) -> str:
    r"""Return the canonical text of a row as SQL: columns joined by tab, null as ``\N``."""
    texts = [
        rf"IFNULL({text(field, column)}, '\\N')"
        for field, column in zip(fields, columns, strict=True)
    ]
    joined = r", '\t', ".join(texts)
    return f"CONCAT({joined})"


def row_hash(fields: Sequence[bigquery.SchemaField], columns: Sequence[str]) -> str:
    """Return the integer below 2**60 that a row adds to a fingerprint, as SQL."""
    digits = f"SUBSTR(TO_HEX(MD5({row_text(fields, columns)})), 1, 15)"
    return f"CAST(CONCAT('0x', {digits}) AS INT64)"
