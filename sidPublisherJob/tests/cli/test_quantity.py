"""Numbers as people read them."""

import pytest

from tmg_etl.cli import quantity


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (7.26, "7.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.6, "2 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (90_061, "25 h 01 min"),
    ],
)
def test_duration_shows_the_two_largest_units(seconds: float, text: str) -> None:
    assert quantity.duration(seconds) == text


def test_rows_are_separated_by_thousands() -> None:
    assert [quantity.rows(n) for n in (0, 1, 2, 336_776)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "336,776 rows",
    ]
    assert quantity.count(None) == "unknown"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (5_123_456, "5.1 MB"),
        (999_949_999, "999.9 MB"),
        (999_960_000, "1.0 GB"),
        (2_500_000_000_000_000, "2,500.0 TB"),
    ],
)
def test_size_is_in_the_unit_that_fits(number: int, text: str) -> None:
    assert quantity.size(number) == text


def test_rate_is_unknown_without_rows_or_time() -> None:
    assert quantity.rate(1500, 0.5) == 3000
    assert quantity.rate(1500, 0) is None
    assert quantity.rate(0, 3) is None
    assert quantity.rate(None, 3) is None
