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


def test_rate_is_unknown_without_rows_or_time() -> None:
    assert quantity.rate(1500, 0.5) == 3000
    assert quantity.rate(1500, 0) is None
    assert quantity.rate(0, 3) is None
    assert quantity.rate(None, 3) is None
