"""Casts to decimals that refuse what does not fit.

Arrow's own casts wrap around without a word where digits exceed the bits of the type on the way:
the text of 39 nines becomes another number of 38 digits, and so does a number that gains decimal
places (``99`` as decimal(38, 38)). Seen with pyarrow 26.0; no I/O here.
"""

from __future__ import annotations

import decimal

import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MOST_DIGITS = 76


def from_decimal(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return decimals as another decimal type.

    Raises:
        pyarrow.ArrowInvalid: a number does not fit, or would lose decimal places.
    """
    have, room = array.type, kind.precision - kind.scale
    if kind.scale > have.scale and have.precision - have.scale > room:
        limit = pa.scalar(decimal.Decimal(10) ** room, have)
        if pc.any(pc.greater_equal(pc.abs(array), limit)).as_py():
            raise pa.ArrowInvalid(f"it has more than {room} digits before the point")
    return array.cast(kind)


def from_text(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return texts of numbers as decimals; zeros beyond the scale are dropped.

    Args:
        texts: digits with a sign, a point, an exponent; blanks around them are dropped.
        kind: of decimals.

    Raises:
        pyarrow.ArrowInvalid: a number has too many digits.
        ValueError: a text is no number, or has more decimal places than `kind`.
    """
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    bits_hold = 38 if pa.types.is_decimal128(kind) else _MOST_DIGITS
    if longest + kind.scale <= bits_hold and not _has_exponent(texts):
        return texts.cast(kind)
    if not pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py():
        raise ValueError("no number")
    place = decimal.Decimal(1).scaleb(-kind.scale)
    with decimal.localcontext() as context:
        context.prec = _MOST_DIGITS
        context.traps[decimal.Inexact] = True
        try:
            numbers = [
                None if text is None else decimal.Decimal(text).quantize(place)
                for text in texts.to_pylist()
            ]
        except ArithmeticError:
            raise ValueError("too many digits") from None
    return pa.array(numbers, kind)


def _has_exponent(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(texts, "e", ignore_case=True)).as_py())
