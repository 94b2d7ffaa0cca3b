"""Many processes publish one table at once: they take turns or say 75, and nothing is lost."""

from __future__ import annotations

import datetime

import pytest

from tests.crash import conftest, crash_kit

pytestmark = pytest.mark.slow

_RUNS = 20
_DAYS = [crash_kit.DAY + datetime.timedelta(days=1 + number) for number in range(_RUNS)]


def _rows_of(day: datetime.date) -> list[crash_kit.Row]:
    first = day.toordinal() * 10
    return [(first + number, day, 1, f"{day:%j}") for number in range(3)]


def _write_lake(bench: crash_kit.Bench) -> None:
    for day in _DAYS:
        path = bench.folder / "lake" / f"day_{day:%Y%m%d}.parquet"
        crash_kit.write_rows(path, _rows_of(day))


def _publish_all(bench: crash_kit.Bench, transfer: str, write_mode: str) -> list[datetime.date]:
    """Run every day at once; return those that were published."""
    _write_lake(bench)
    bench.begin(crash_kit.OLD)
    children = [bench.start_day(transfer, write_mode, day) for day in _DAYS]
    published = []
    for day, child in zip(_DAYS, children, strict=True):
        ended = bench.server.wait(child, 120)
        assert ended.code in (0, 75), ended.log
        if ended.code == 0:
            published.append(day)
    assert published
    bench.require_clean(transfer)
    return published


@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_merges_at_once_lose_no_row(bench: crash_kit.Bench) -> None:
    published = _publish_all(bench, "by_day", "delta")
    expected = crash_kit.OLD + [row for day in published for row in _rows_of(day)]
    assert bench.place.rows() == sorted(expected)


@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_swaps_at_once_leave_the_table_of_one_of_them(bench: crash_kit.Bench) -> None:
    published = _publish_all(bench, "whole_day", "truncate")
    assert bench.place.rows() in [_rows_of(day) for day in published]
