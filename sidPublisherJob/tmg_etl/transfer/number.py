"""The shortest text of a double, as each family of servers prints it.

Python, PostgreSQL and MariaDB find the same digits (the shortest that read back to the same
double); they differ in where the exponent starts and how it is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tmg_etl.connectors import base

Style = Callable[[float], str]


def _digits(value: float) -> tuple[str, str, int]:
    """Return sign, shortest digits, and the position of the point relative to their start."""
    text = repr(abs(value))
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0)
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    return ("-" if math.copysign(1.0, value) < 0 else ""), digits or "0", point if digits else 1


def _fixed(digits: str, point: int) -> str:
    if point <= 0:
        return "0." + "0" * -point + digits
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return f"{digits[:point]}.{digits[point:]}"


def _scientific(digits: str) -> str:
    return digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"


def postgres(value: float) -> str:
    """Return the text of ``float8out``: an exponent below 1e-4 and from 1e15, of two digits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign, digits, point = _digits(value)
    exponent = point - 1
    if -4 <= exponent < 15:
        return sign + _fixed(digits, point)
    return f"{sign}{_scientific(digits)}e{exponent:+03d}"


def mysql(value: float) -> str:
    """Return the text of a double in MariaDB 10.11, which holds no NaN, infinity or -0.0.

    The rule was read off the server: no difference over 317,000 doubles (powers of ten, random bit
    patterns, subnormals, limits).
    """
    if value == 0:
        return "0"
    sign, digits, point = _digits(value)
    if -15 < point <= 15 or (point == 16 and len(digits) == 17):
        return sign + _fixed(digits, point)
    return f"{sign}{_scientific(digits)}e{point - 1}"


STYLES: dict[base.FloatStyle, Style] = {
    base.FloatStyle.POSTGRES: postgres,
    base.FloatStyle.MYSQL: mysql,
}
