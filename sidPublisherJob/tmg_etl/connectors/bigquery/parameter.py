"""Parameters of hand-written statements: ``:name`` and a Python value to a typed ``@name``."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Mapping
from typing import Any

from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import datatype

# What a colon may stand in without being a parameter there.
_TOKEN = re.compile(
    r"""(?P<skip>[rRbB]{0,2}(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}
    |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|`[^`]*`|--[^\n]*|\#[^\n]*|/\*.*?\*/)
    |:(?P<name>[A-Za-z_]\w*)""",
    re.S | re.X,
)

# bool before int and datetime before date: each is the other too.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (str, "STRING"),
    (bytes, "BYTES"),
    (datetime.datetime, "DATETIME"),
    (datetime.date, "DATE"),
    (datetime.time, "TIME"),
)


def bind(sql: str, values: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return a statement with ``:name`` as BigQuery writes it, and its parameters.

    Args:
        sql: one statement.
        values: by name: text, numbers, bytes, days, times, instants, None, or lists of them.

    Raises:
        errors.ConfigError: a value that BigQuery has no type for.
    """
    used: dict[str, Any] = {}

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None or name not in values:
            return match.group(0)
        used[name] = values[name]
        return f"@{name}"

    text = _TOKEN.sub(replace, sql)
    return text, tuple(_parameter(name, value) for name, value in used.items())


def _parameter(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        kinds = {_type(name, item) for item in items if item is not None} or {"STRING"}
        if len(kinds) > 1:
            raise errors.ConfigError(
                f"the parameter {name!r} holds values of the types {', '.join(sorted(kinds))}",
                hint="give values of one type",
            )
        return bigquery.ArrayQueryParameter(name, kinds.pop(), items)
    return bigquery.ScalarQueryParameter(name, _type(name, value), value)


def _type(name: str, value: Any) -> str:
    if value is None:
        return "STRING"
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return "TIMESTAMP"
    if isinstance(value, decimal.Decimal):
        digits = value.as_tuple()
        scale = -int(digits.exponent) if isinstance(digits.exponent, int) else 0
        fits = scale <= datatype.NUMERIC[1] and len(digits.digits) - scale <= 29
        return "NUMERIC" if fits else "BIGNUMERIC"
    for kind, word in _TYPES:
        if isinstance(value, kind):
            return word
    raise errors.ConfigError(
        f"the parameter {name!r} is a {type(value).__name__}, which BigQuery has no type for",
        hint="give text, a number, bytes, a day, a time or an instant",
    )
