"""What is read from the command line, and what is said about wrong arguments."""

import datetime

import hypothesis
import hypothesis.strategies as st
import pytest

from tmg_etl import errors, run
from tmg_etl.cli import argument


@hypothesis.given(st.dates())
def test_every_day_is_read_back(day: datetime.date) -> None:
    assert argument.parse_day(day.isoformat().replace("-", "")) == day


@hypothesis.given(st.text())
def test_only_eight_ascii_digits_are_a_day(text: str) -> None:
    message = None
    try:
        day = argument.parse_day(text)
    except ValueError as error:
        message = str(error)
    if message is None:
        assert day.isoformat().replace("-", "") == text
    else:
        assert "expected" in message
        assert "YYYYMMDD" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "20130229",
            "20130229 is not a day: February 2013 has 28 days; expected YYYYMMDD",
        ),
        ("20120230", "20120230 is not a day: February 2012 has 29 days; expected YYYYMMDD"),
        ("20130431", "20130431 is not a day: April 2013 has 30 days; expected YYYYMMDD"),
        ("20130100", "20130100 is not a day: January 2013 has 31 days; expected YYYYMMDD"),
        ("20131301", "20131301 is not a day: there is no month 13; expected YYYYMMDD"),
        ("20130001", "20130001 is not a day: there is no month 00; expected YYYYMMDD"),
        ("00000101", "00000101 is not a day: there is no year 0000; expected YYYYMMDD"),
        ("2013-01-05", "found '2013-01-05', expected a day as YYYYMMDD; write 20130105"),
        ("2013/01/05", "found '2013/01/05', expected a day as YYYYMMDD; write 20130105"),
        ("today", "found 'today', expected a day as YYYYMMDD; for example 20130131"),
        ("", "found '', expected a day as YYYYMMDD; for example 20130131"),
        (" 20130101", "found ' 20130101', expected a day as YYYYMMDD; for example 20130131"),
        ("201301011", "found '201301011', expected a day as YYYYMMDD; for example 20130131"),
        ("-2013010", "found '-2013010', expected a day as YYYYMMDD; for example 20130131"),
        ("+2013010", "found '+2013010', expected a day as YYYYMMDD; for example 20130131"),
        ("2013_0101", "found '2013_0101', expected a day as YYYYMMDD; for example 20130131"),
        # Digits of another script: `str.isdigit` and `int` would take them.
        (
            "٢٠١٣٠١٠١",
            "found '٢٠١٣٠١٠١', expected a day as YYYYMMDD; for example 20130131",
        ),
        (
            "20130101\n",
            r"found '20130101\\n', expected a day as YYYYMMDD; for example 20130131",
        ),
    ],
)
def test_what_is_no_day_is_told_apart(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        argument.parse_day(text)
    assert str(caught.value) == message


def test_first_and_last_day_are_days() -> None:
    assert argument.parse_day("00010101") == datetime.date.min
    assert argument.parse_day("99991231") == datetime.date.max


DAY = datetime.date(2013, 1, 31)


def test_start_date_widens_a_delta() -> None:
    argument.check_window(run.WriteMode.DELTA, DAY, datetime.date(2013, 1, 1))
    argument.check_window(run.WriteMode.DELTA, DAY, DAY)
    argument.check_window(run.WriteMode.DELTA, DAY, None)
    argument.check_window(run.WriteMode.TRUNCATE, DAY, None)


def test_start_date_has_no_meaning_for_truncate() -> None:
    with pytest.raises(errors.UsageError) as caught:
        argument.check_window(run.WriteMode.TRUNCATE, DAY, DAY)
    assert str(caught.value) == (
        "--delta_start_date has no meaning in the mode truncate, which replaces all rows; "
        "leave it out, or use the mode delta"
    )


def test_window_may_not_end_before_it_starts() -> None:
    with pytest.raises(errors.UsageError) as caught:
        argument.check_window(run.WriteMode.DELTA, DAY, datetime.date(2013, 2, 1))
    assert str(caught.value) == (
        "the window starts on 20130201 and ends on 20130131; "
        "--delta_start_date must not be after EXECUTION_DATE"
    )
