"""Numbers become decimals as they are, or are refused: none wraps around."""

import decimal

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies

from tmg_etl.connectors import exact

KINDS = strategies.sampled_from([38, 76]).flatmap(
    lambda most: strategies.integers(1, most).flatmap(
        lambda precision: strategies.integers(0, precision).map(
            lambda scale: (
                pa.decimal128(precision, scale) if most == 38 else pa.decimal256(precision, scale)
            )
        )
    )
)
DIGITS = strategies.text("0123456789", min_size=1, max_size=90)


def bounded(number: decimal.Decimal, kind: pa.DataType) -> bool:
    """Whether a type holds a number as it is."""
    exponent = number.normalize(decimal.Context(prec=2000)).as_tuple().exponent
    assert isinstance(exponent, int)
    has_room = -exponent <= kind.scale and number.adjusted() < kind.precision - kind.scale
    return has_room or not number


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(
    sign=strategies.sampled_from(["", "-", "+"]),
    whole=DIGITS,
    fraction=strategies.one_of(strategies.just(""), DIGITS.map(lambda text: f".{text}")),
    exponent=strategies.one_of(strategies.just(""), strategies.integers(-80, 80).map("e{}".format)),
    kind=KINDS,
)
def test_text_becomes_the_number_that_it_says(sign, whole, fraction, exponent, kind):
    text = f"{sign}{whole}{fraction}{exponent}"
    number = decimal.Decimal(text)
    try:
        (found,) = exact.from_text(pa.array([text]), kind).to_pylist()
    except ValueError:
        assert not bounded(number, kind) or fraction.endswith("0")
    else:
        assert found == number


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(digits=DIGITS, have=KINDS, want=KINDS)
def test_decimal_keeps_its_number(digits, have, want):
    with decimal.localcontext(prec=200):
        number = decimal.Decimal(digits[: have.precision]).scaleb(-have.scale)
    array = pa.array([number, None], have)
    try:
        (found, null) = exact.from_decimal(array, want).to_pylist()
    except pa.ArrowInvalid:
        assert not bounded(number, want)
    else:
        assert (found, null) == (number, None)


@pytest.mark.parametrize("text", ["1" * 39, "9" * 1000, "99e37", "1e999999999", "0.1e-999999999"])
def test_too_many_digits_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - pyarrow's own is one too
        exact.from_text(pa.array([text]), pa.decimal128(38, 0))


@pytest.mark.parametrize("text", ["x" * 40, "1_000e1", "NaN" + " " * 40, "\u0661" * 30, "0x1e"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - pyarrow's own is one too
        exact.from_text(pa.array([text]), pa.decimal128(38, 0))


def test_zeros_beyond_the_scale_are_dropped():
    texts = pa.array(["1." + "0" * 60, None, "1e2"])
    found = exact.from_text(texts, pa.decimal128(38, 2)).to_pylist()
    assert found == [decimal.Decimal(1), None, decimal.Decimal(100)]
