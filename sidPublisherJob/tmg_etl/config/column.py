"""Names of the column types that a CSV or JSON source may declare."""

from __future__ import annotations

import re

NAMES = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float32", "float64", "bool", "string", "bytes"),
    *("date", "time", "timestamp", "timestamptz", "json"),
)
"""Types without parameters. Times and timestamps are to the microsecond; timestamptz is UTC."""

DECIMAL_DIGITS = 76
"""Most digits of a decimal: Arrow's decimal256."""

_DECIMAL = re.compile(r"decimal\s*\(\s*(\d{1,3})\s*(?:,\s*(\d{1,3})\s*)?\)")

ALIASES = {
    "bigint": "int64",
    "binary": "bytes",
    "boolean": "bool",
    "datetime": "timestamp",
    "decimal": "decimal(38,9)",
    "double": "float64",
    "float": "float64",
    "int": "int64",
    "integer": "int64",
    "numeric": "decimal(38,9)",
    "smallint": "int16",
    "str": "string",
    "text": "string",
    "varchar": "string",
}
"""Words of other systems, for the suggestion in a message; they are not accepted."""


def normalise(name: str) -> str:
    """Return the type's name as it is written in `NAMES`, or as ``decimal(p,s)``.

    Raises:
        ValueError: no such type, or a decimal whose digits are out of bounds.
    """
    word = name.strip().lower()
    if word in NAMES:
        return word
    match = _DECIMAL.fullmatch(word)
    if not match:
        raise ValueError(f"one of {', '.join(NAMES)}, decimal(p,s)")
    precision, scale = int(match[1]), int(match[2] or 0)
    if not (1 <= precision <= DECIMAL_DIGITS and scale <= precision):
        raise ValueError(f"decimal(p,s) with 1 <= p <= {DECIMAL_DIGITS} and 0 <= s <= p")
    return f"decimal({precision},{scale})"
