"""The text of doubles, against rules read off the servers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmg_etl.transfer import number

POSTGRES = {
    0.0: "0",
    100.0: "100",
    0.1: "0.1",
    1e14: "100000000000000",
    1e15: "1e+15",
    123456789012345.6: "123456789012345.6",
    1e-4: "0.0001",
    1e-5: "1e-05",
    -1.5e300: "-1.5e+300",
    1e23: "9.999999999999999e+22",  # in the middle between two doubles
    -1e22: "-1e+22",
    33597019814515112.0: "3.3597019814515112e+16",
    9007199254740992.0: "9.007199254740992e+15",
    5e-324: "5e-324",
    float("inf"): "Infinity",
    float("-inf"): "-Infinity",
    float("nan"): "NaN",
}
MYSQL = {
    0.0: "0",
    1e14: "100000000000000",
    1e15: "1e15",
    999999999999999.9: "999999999999999.9",
    1234567890123456.8: "1234567890123456.8",
    1234567890123456.0: "1.234567890123456e15",
    12345678901234568.0: "1.2345678901234568e16",
    1e-15: "0.000000000000001",
    1e-16: "1e-16",
    1.7976931348623157e308: "1.7976931348623157e308",
    5e-324: "5e-324",
}


@pytest.mark.parametrize(("value", "text"), POSTGRES.items())
def test_postgres_text(value: float, text: str) -> None:
    assert number.postgres(value) == text


@pytest.mark.parametrize(("value", "text"), MYSQL.items())
def test_mysql_text(value: float, text: str) -> None:
    assert number.mysql(value) == text


def test_negative_zero_keeps_its_sign_only_where_the_server_does() -> None:
    assert number.postgres(-0.0) == "-0"
    assert number.mysql(-0.0) == "0"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_reads_back_to_the_same_double(value: float) -> None:
    assert struct.pack("d", float(number.postgres(value))) == struct.pack("d", value)
    assert float(number.mysql(value)) == value
