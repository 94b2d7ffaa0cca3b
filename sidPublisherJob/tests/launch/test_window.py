"""Windows: cut the same way everywhere, complete, without overlap."""

from __future__ import annotations

import datetime
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmg_etl import errors
from tmg_etl.launch import window

DAY = datetime.timedelta(days=1)
DAYS = st.dates(datetime.date(1990, 1, 1), datetime.date(2060, 12, 31))


@given(
    first=DAYS, length=st.integers(0, 800), count=st.integers(1, 40), unit=st.sampled_from("dwm")
)
def test_windows_cover_the_span_once(
    first: datetime.date, length: int, count: int, unit: str
) -> None:
    last = first + length * DAY
    windows = window.cut(first, last, window.Step(count, unit))
    assert (windows[0].start, windows[-1].end) == (first, last)
    for before, after in itertools.pairwise(windows):
        assert after.start == before.end + DAY
        if unit == "m":
            assert after.start.day == 1


def test_months_are_those_of_the_calendar() -> None:
    windows = window.cut(
        datetime.date(2024, 1, 15), datetime.date(2024, 4, 10), window.Step.parse("1m")
    )
    assert [str(item) for item in windows] == [
        "2024-01-15 to 2024-01-31",
        "2024-02-01 to 2024-02-29",
        "2024-03-01 to 2024-03-31",
        "2024-04-01 to 2024-04-10",
    ]


def test_the_end_of_time_is_an_end() -> None:
    last = datetime.date.max
    windows = window.cut(last - DAY, last, window.Step.parse("2m"))
    assert [(item.start, item.end) for item in windows] == [(last - DAY, last)]


@pytest.mark.parametrize("text", ["", "d", "0d", "1y", "-1d", "1.5d", "1D", "1 d", "99999d"])
def test_a_step_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(errors.UsageError, match="expected 1d, 1w or 1m"):
        window.Step.parse(text)


def test_an_inverted_span_is_a_usage_error() -> None:
    with pytest.raises(errors.UsageError, match="starts on 20240102 and ends on 20240101"):
        window.cut(datetime.date(2024, 1, 2), datetime.date(2024, 1, 1), window.Step(1, "d"))


def test_too_many_windows_are_a_usage_error() -> None:
    with pytest.raises(errors.UsageError, match="more than 10000 windows"):
        window.cut(datetime.date(1900, 1, 1), datetime.date(2024, 1, 1), window.Step(1, "d"))


@given(st.sets(st.integers(0, 300)))
def test_indexes_survive_being_written(indexes: set[int]) -> None:
    assert window.parse_indexes(window.format_indexes(indexes)) == sorted(indexes)


def test_indexes_are_written_as_kubernetes_does() -> None:
    assert window.format_indexes([9, 3, 7, 8]) == "3,7-9"


@pytest.mark.parametrize("text", ["x", "3-", "9-7", "1;2", "-1"])
def test_indexes_that_are_none_are_a_usage_error(text: str) -> None:
    with pytest.raises(errors.UsageError, match="expected numbers like 3,7-9"):
        window.parse_indexes(text)


def test_an_index_beyond_the_last_window_is_a_usage_error() -> None:
    windows = window.cut(datetime.date(2024, 1, 1), datetime.date(2024, 1, 3), window.Step(1, "d"))
    with pytest.raises(errors.UsageError, match="expected some of 0-2"):
        window.pick(windows, [1, 3])
