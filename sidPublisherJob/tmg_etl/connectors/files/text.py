"""Text to typed columns: the values of CSV files, and the scalars of JSON lines.

`parse` is exact: what a type cannot hold as written is refused, never rounded (floats apart, which
are the nearest double). `infer` picks the type that gives the text back: codes with leading zeros
and hexadecimal numbers stay strings, whole numbers beyond 64 bit become decimals.

==============  ====================================================================================
bool            true, false, 1, 0, t, f in any case; inferred from true and false only
integers        digits with a sign
floats          1, 1.5, 1e-5, NaN, inf, Infinity; a number too large for the type is refused
decimal(p,s)    digits, or with an exponent; zeros beyond the scale are dropped
date            YYYY-MM-DD, years 1 to 9999
time            HH:MM, HH:MM:SS, HH:MM:SS.ffffff
timestamp       YYYY-MM-DD, and with a blank or T the time
timestamptz     the same, followed by Z, UTC or an offset (+01, +0100, +01:00)
bytes           base64
json            one JSON document
==============  ====================================================================================

Blanks around anything but strings are dropped; zeros beyond microseconds too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl.connectors import base, exact
from tmg_etl.connectors.files import kind as kinds

_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_FLOAT = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NOT_A_NUMBER = r"^(NaN|nan|[+-]?(inf|Inf|Infinity))$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]" + _CLOCK + r")?$"
_ZONED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]" + _CLOCK + r" ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TIME = r"^" + _CLOCK + r"$"


class RefusedError(Exception):
    """One text does not fit its type.

    Args:
        index: which of the texts.
        value: the text.
    """

    def __init__(self, index: int, value: str) -> None:
        self.index, self.value = index, value
        super().__init__(value)


def parse(texts: pa.StringArray, field: pa.Field) -> pa.Array:
    """Return `texts` as the type of `field`; null stays null.

    Raises:
        RefusedError: the first text that does not fit.
    """
    convert = _converter(field)
    if convert is None:
        return texts
    try:
        return convert(texts, field.type)
    except (pa.ArrowInvalid, ValueError):
        pass
    # Halves: the text that is refused is found in a few more passes.
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(texts[low:middle], field.type)
        except (pa.ArrowInvalid, ValueError):
            high = middle
        else:
            low = middle
    raise RefusedError(low, str(texts[low].as_py()))


def _converter(field: pa.Field) -> Callable[[pa.Array, pa.DataType], pa.Array] | None:
    kind = field.type
    if base.is_json(field):
        return _json
    if pa.types.is_string(kind):
        return None
    if pa.types.is_binary(kind):
        return _bytes
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_floating(kind):
        return _float
    if pa.types.is_boolean(kind):
        return _bool
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_time(kind):
        return _time
    return _moment


def _trimmed(texts: pa.Array) -> pa.Array:
    return pc.ascii_trim_whitespace(texts)


def _integer(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    # Arrow takes "0x10" for sixteen.
    for mark in "xX":
        if pc.any(pc.match_substring(texts, mark)).as_py():
            raise ValueError("hexadecimal")
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return pc.replace_substring_regex(_trimmed(texts), r"^\+([0-9])", r"\1").cast(kind)


def _float(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        numbers = texts.cast(kind)
    except pa.ArrowInvalid:
        texts = _trimmed(texts)
        numbers = texts.cast(kind)
    infinite = pc.is_inf(numbers)
    if pc.any(infinite).as_py():
        named = pc.match_substring(pc.utf8_lower(texts), "inf")
        if pc.any(pc.and_not(infinite, named)).as_py():
            raise ValueError("too large")
    return numbers


def _decimal(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return exact.from_text(texts, kind)
    except ValueError:  # and pa.ArrowInvalid, which is one
        return exact.from_text(_trimmed(texts), kind)


def _bool(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        words = pc.utf8_lower(_trimmed(texts))
        words = pc.replace_substring_regex(words, r"^t$", "true")
        return pc.replace_substring_regex(words, r"^f$", "false").cast(kind)


def _moment(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        moments = texts.cast(kind)
    except pa.ArrowInvalid:
        words = pc.replace_substring_regex(_trimmed(texts), r"(\.[0-9]{6})0+", r"\1")
        if pa.types.is_timestamp(kind) and kind.tz:
            words = pc.replace_substring_regex(words, r" *(UTC|Z)$", "Z")
            words = pc.replace_substring_regex(words, r" +([+-][0-9:]+)$", r"\1")
        moments = words.cast(kind)
    if kinds.outside_calendar(moments) is not None:
        raise ValueError("outside the calendar")
    return moments


def _time(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    words = pc.replace_substring_regex(_trimmed(texts), r"(\.[0-9]{6})0+$", r"\1")
    # Arrow casts no text to a time of day, but a timestamp to one; "10" alone is no time.
    if not pc.all(pc.match_substring_regex(words, r"^[0-9]{2}:[0-9]{2}")).as_py():
        raise ValueError("no time")
    day = pc.binary_join_element_wise("1970-01-01", words, " ")
    return day.cast(pa.timestamp("us")).cast(kind)


def _bytes(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    # binascii.Error is a ValueError.
    decoded = [
        None if text is None else base64.b64decode(text, validate=True)
        for text in texts.to_pylist()
    ]
    return pa.array(decoded, kind)


def _json(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    del kind
    for text in texts.to_pylist():
        if text is not None:
            json.loads(text, parse_constant=_refuse_constant)
    return texts


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def infer(texts: pa.StringArray, name: str) -> pa.Field:
    """Return the field whose type gives every text back; an unseen one when there is no text."""
    found = texts.drop_null()
    if len(found) == 0:
        return base.unseen_field(name)
    number = _infer_number(found, name)
    if number is not None:
        return number
    if _fits(found, pa.field(name, pa.bool_()), r"^(?i:true|false)$"):
        return pa.field(name, pa.bool_())
    moment = infer_moment(found, name)
    if moment is not None:
        return moment
    time = pa.field(name, pa.time64("us"))
    return time if _fits(found, time, _TIME) else pa.field(name, pa.string())


def infer_moment(found: pa.StringArray, name: str) -> pa.Field | None:
    """Return a date or timestamp field if every text is one, else None."""
    for pattern, kind in (
        (_DATE, pa.date32()),
        (_TIMESTAMP, pa.timestamp("us")),
        (_ZONED, pa.timestamp("us", tz="UTC")),
    ):
        field = pa.field(name, kind)
        if _fits(found, field, pattern):
            return field
    return None


def _infer_number(found: pa.Array, name: str) -> pa.Field | None:
    if _all_match(found, _INTEGER):
        for kind in (pa.int64(), pa.decimal128(38, 0)):
            if _fits(found, pa.field(name, kind)):
                return pa.field(name, kind)
        return None
    numbers = pc.match_substring_regex(found, _FLOAT)
    words = pc.match_substring_regex(found, _NOT_A_NUMBER)
    if not pc.all(pc.or_(numbers, words)).as_py() or not pc.any(numbers).as_py():
        return None
    exact = _exact_decimal(found, name)
    double = pa.field(name, pa.float64())
    return exact or (double if _fits(found, double) else None)


def _exact_decimal(found: pa.Array, name: str) -> pa.Field | None:
    """Return a decimal for numbers with more digits than any double is written with.

    A string where a decimal has not so many digits either.
    """
    digits = pc.replace_substring_regex(found, r"^-?0*\.?0*|\.|[eE].*$", "")
    if pc.max(pc.utf8_length(digits)).as_py() <= 17:
        return None
    fraction = pc.replace_substring_regex(found, r"^[^.]*\.?", "")
    field = pa.field(name, pa.decimal128(38, min(38, pc.max(pc.utf8_length(fraction)).as_py())))
    return field if _fits(found, field, r"^-?[0-9]*\.?[0-9]*$") else pa.field(name, pa.string())


def _all_match(found: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(found, pattern)).as_py())


def _fits(found: pa.Array, field: pa.Field, pattern: str | None = None) -> bool:
    if pattern is not None and not _all_match(found, pattern):
        return False
    try:
        parse(found, field)
    except RefusedError:
        return False
    return True
