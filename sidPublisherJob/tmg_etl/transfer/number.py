"""The shortest text of a double, as each family of servers prints it.

All find the shortest digits that read back to the same double, and the nearest of those. They
differ in where the exponent starts and how it is written, and PostgreSQL takes no digits that lie
just in the middle between two doubles: of 1e23 it writes ``9.999999999999999e+22``.
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


def _within(value: float, digits: str, point: int) -> tuple[str, int]:
    """Return shortest digits that are nearer to a double than to any other, and the point.

    Args:
        value: from 2**53 on.
        digits: of `_digits`; those that are sought are as many or more.
        point: likewise.
    """
    exact = int(value)
    above = int(math.nextafter(value, math.inf)) - exact
    below = exact - int(math.nextafter(value, 0.0))
    step: int = 10 ** (point - len(digits))
    while True:
        down = exact - exact % step
        near = [one for one in (down, down + step) if -below < 2 * (one - exact) < above]
        if near:
            text = str(min(near, key=lambda one: (abs(one - exact), one // step % 2)))
            return text.rstrip("0"), len(text)
        step //= 10


def _fixed(digits: str, point: int) -> str:
    if point <= 0:
        return "0." + "0" * -point + digits
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return f"{digits[:point]}.{digits[point:]}"


def _scientific(digits: str) -> str:
    return digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"


def postgres(value: float) -> str:
    """Return the text of ``float8out``: an exponent below 1e-4 and from 1e15, of two digits.

    No difference over 3 million doubles in 15 and in 18, half of them from 2**53 on.

    Source: https://github.com/postgres/postgres/blob/REL_15_STABLE/src/common/d2s.c
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign, digits, point = _digits(value)
    # Below are no halves between doubles, above none that 17 digits write.
    if 2**53 <= abs(value) < 1e41:
        digits, point = _within(abs(value), digits, point)
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
