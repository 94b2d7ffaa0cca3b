"""Typed sample data: every logical type with its extremes, and what a table must give back.

Values of one column differ by as little as its type allows (a trailing space, a microsecond, one
unit in the last place), so that replacing a cell by its neighbour is the change that is hardest to
notice. Pure: no I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.testing.conformance import profile

_UTC = datetime.UTC


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the sample.

    Attributes:
        field: its Arrow field, as a source yields it.
        values: the values, in the order of the rows; nulls are added by `table`.
    """

    field: pa.Field
    values: tuple[object, ...]

    @property
    def name(self) -> str:
        """Return the column's name."""
        name: str = self.field.name
        return name


def _column(name: str, kind: pa.DataType, *values: object) -> Column:
    return Column(pa.field(name, kind), values)


def _integers() -> list[Column]:
    columns = []
    for bits in (8, 16, 32, 64):
        high = 2 ** (bits - 1)
        kind = getattr(pa, f"int{bits}")()
        columns.append(_column(f"int{bits}", kind, -high, 1 - high, -1, 0, 1, high - 2, high - 1))
        kind = getattr(pa, f"uint{bits}")()
        columns.append(_column(f"uint{bits}", kind, 0, 1, high, 2 * high - 2, 2 * high - 1))
    return columns


def _decimals(limit: tuple[int, int]) -> list[Column]:
    columns = []
    whole = (min(limit[0], 76), 0)
    fine = (limit[0], min(limit))
    for precision, scale in dict.fromkeys([(9, 2), (18, 0), (38, 9), (5, 5), whole, fine]):
        if precision > limit[0] or scale > limit[1]:
            continue
        make = pa.decimal128 if precision <= 38 else pa.decimal256
        with decimal.localcontext(prec=100):
            most = (Decimal(10) ** precision - 1).scaleb(-scale)
            step = Decimal(1).scaleb(-scale)
            values = (most, most - step, -most, Decimal(0).scaleb(-scale), step, -step)
        columns.append(_column(f"decimal_{precision}_{scale}", make(precision, scale), *values))
    return columns


def _floats(traits: profile.Traits) -> list[Column]:
    def special() -> list[float]:
        values = [0.0]
        values += [-0.0] if traits.holds("negative_zero") else []
        values += [math.nan] if traits.holds("nan") else []
        values += [math.inf, -math.inf] if traits.holds("infinity") else []
        return values

    singles = [1.5, -1.5, 0.1, 1 / 3, 16777216.0, 3.4028234663852886e38, 1.1754943508222875e-38]
    single = [float(np.float32(value)) for value in singles]
    single += [float(np.nextafter(np.float32(0.1), np.float32(1))), float(np.float32(1e-45))]
    double = [0.1, math.nextafter(0.1, 1), 1 / 3, -2.5, 1e15, 1e16, 123456789012345.6, 9.999e-5]
    double += [9999999999.5, 1e10, 78809419881.0, -12345678901.25, 999999999999999.9, 1e-4]
    double += [9007199254740993.0, 9007199254740994.0, 1e-15, 1e-16, 1e22, 123456789.0, 5e-324]
    double += [1.7976931348623157e308, math.nextafter(1.7976931348623157e308, 0), -1e-300]
    double += [2.2250738585072014e-308]
    return [
        _column("float32", pa.float32(), *special(), *single),
        _column("float64", pa.float64(), *special(), *double),
    ]


def _texts(traits: profile.Traits) -> list[Column]:
    texts = ["", " ", "a", "A", "a ", " a", "ä", "a\u0308", "\U0001f680", "\U0001f681", "日本語"]
    texts += ["\t", "\\t", "\n", "\\n", "\r", "\r\n", "\\", "\\\\", "\\N", "NULL", "null", "\\."]
    texts += ["'", '"', "'';--", "a\tb", "a\\tb", "\x1a", "\x01", "\u2028", "\ufeff", "%s", "{x}"]
    texts += ["\0", "a\0b"] if traits.holds("nul") else []
    blobs = [b"", b"\x00", bytes(range(256)), b"\xff", b"\xff\x00", b"\\x41", b"0x41", b"A", b"\n"]
    return [
        _column("string", pa.string(), *texts),
        _column("binary", pa.binary(), *blobs),
        _column("bool", pa.bool_(), True, False),
    ]


def _days(traits: profile.Traits) -> list[Column]:
    first, last = traits.min_date, datetime.date.max
    days = [first, first + datetime.timedelta(1), last, last - datetime.timedelta(1)]
    days += [datetime.date(1969, 12, 31), datetime.date(1970, 1, 1), datetime.date(2000, 2, 29)]
    moments = [datetime.datetime.combine(day, datetime.time()) for day in days]
    moments += [moments[0] + datetime.timedelta(microseconds=1), datetime.datetime.max]
    moments += [datetime.datetime.max - datetime.timedelta(microseconds=1)]
    moments += [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)]
    # The hours that daylight saving skips and repeats where the test servers live.
    moments += [datetime.datetime(2024, 3, 10, hour, 30, 0, 500000) for hour in (2, 3, 7)]
    moments += [datetime.datetime(2024, 11, 3, hour, 30) for hour in (1, 2, 5, 6)]
    times = [datetime.time(), datetime.time.max, datetime.time(0, 0, 0, 1), datetime.time(12, 30)]
    times += [datetime.time(23, 59, 59, 999998), datetime.time(10, 0, 0, 500000)]
    return [
        _column("date", pa.date32(), *days),
        _column("time", pa.time64("us"), *times),
        _column("timestamp", pa.timestamp("us"), *moments),
        _column(
            "timestamp_zone",
            pa.timestamp("us", tz="UTC"),
            *(moment.replace(tzinfo=_UTC) for moment in moments),
        ),
    ]


def _documents() -> list[Column]:
    documents = ["{}", "[]", "null", '"text"', '""', "0", "-1.50", "true", '{"a": null}']
    documents += ['{"bb": 1, "a": 2, "B": [1, {"x": "\U0001f680"}]}', '{"a": 2, "bb": 1}']
    documents += ["12345678901234567890", "12345678901234567891", "0.1000000000000000000001"]
    documents += [r'"tab \t newline \n backslash \\ quote \" é"', '{"a":{"b":{"c":[[],[[]]]}}}']
    struct = pa.struct([("n", pa.int64()), ("text", pa.string()), ("day", pa.date32())])
    day = datetime.date(2024, 2, 29)
    return [
        Column(base.json_field("json"), tuple(documents)),
        _column("list", pa.list_(pa.int64()), [], [1], [1, 2], [2, 1], [None], [2**63 - 1]),
        _column("texts", pa.list_(pa.string()), [], ["a\t\\N\n"], ["\U0001f680", None], [""]),
        _column(
            "struct",
            struct,
            {"n": 1, "text": "a", "day": day},
            {"n": None, "text": "\\", "day": None},
            {"n": 1, "text": "A", "day": day},
        ),
    ]


def columns(traits: profile.Traits) -> list[Column]:
    """Return every column of the sample with the values that a target of these traits holds."""
    return [
        *_integers(),
        *_decimals(traits.sampled_decimal or traits.max_decimal),
        *_floats(traits),
        *_texts(traits),
        *_days(traits),
        *_documents(),
    ]


def table(chosen: Sequence[Column], *, shift: int = 0) -> pa.Table:
    """Return the sample as a table with the key `id` from 1.

    Shorter columns repeat; the last row and one row of each round are null in every column but
    the key.

    Args:
        chosen: the columns.
        shift: moves every value that many rows on, so that every row has other values.
    """
    cycles = [(*column.values, None) for column in chosen]
    rows = max(len(cycle) for cycle in cycles) + 1
    arrays = [pa.array(range(1, rows + 1), pa.int64())]
    for column, cycle in zip(chosen, cycles, strict=True):
        values = [*itertools.islice(itertools.cycle(cycle), shift, shift + rows - 1), None]
        arrays.append(pa.array(values, column.field.type))
    fields = [pa.field("id", pa.int64()), *(column.field for column in chosen)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def expected(rows: pa.Table, traits: profile.Traits) -> list[dict[str, object]]:
    """Return the rows that a table must hold, as Python values by column, in the same order.

    Nested values and JSON are `Document`; instants are wall-clock UTC where the traits say so.
    """
    return [
        {field.name: _held(field, row[field.name], traits) for field in rows.schema}
        for row in rows.to_pylist()
    ]


def _held(field: pa.Field, value: object, traits: profile.Traits) -> object:
    if value is None:
        return None
    if base.is_json(field):
        return Document(str(value))
    if pa.types.is_nested(field.type):
        return Document(json.dumps(value, default=str))
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(_UTC)
        return value if traits.holds("zones") else value.replace(tzinfo=None)
    if value == 0 and isinstance(value, float) and not traits.holds("negative_zero"):
        return 0.0
    return value


class Document:
    """A JSON document, equal to another if both mean the same, numbers digit by digit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._value = json.loads(text, parse_float=Decimal, parse_int=Decimal)

    def __eq__(self, other: object) -> bool:
        """Return whether the other document has the same value."""
        # The text of a decimal keeps 1.50 apart from 1.5; the type keeps true apart from 1.
        return isinstance(other, Document) and repr(self._sorted()) == repr(other._sorted())

    def __hash__(self) -> int:
        """Return the hash of the value."""
        return hash(repr(self._sorted()))

    def __repr__(self) -> str:
        """Return the text."""
        return f"Document({self.text!r})"

    def _sorted(self) -> object:
        return _ordered(self._value)


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


def same(left: object, right: object) -> bool:
    """Return whether two cells have one type and value; NaN equals NaN, 0.0 is not -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return left == right


def differences(
    expected_rows: Iterable[dict[str, object]], found_rows: Iterable[dict[str, object]]
) -> list[str]:
    """Return one line for each cell that differs, and for rows that only one side has."""
    lines = []
    for wanted, found in itertools.zip_longest(expected_rows, found_rows):
        if wanted is None or found is None:
            lines.append(f"expected the row {wanted!r}, found {found!r}")
            continue
        lines += [
            f"row {wanted.get('id')}, column {name}: expected {value!r}, found {found.get(name)!r}"
            for name, value in wanted.items()
            if not same(value, found.get(name))
        ]
    return lines
