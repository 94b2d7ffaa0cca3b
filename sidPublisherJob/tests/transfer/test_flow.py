"""Batches in the background and in useful sizes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Self

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmg_etl import errors
from tmg_etl.transfer import flow


def test_items_arrive_in_order() -> None:
    assert list(flow.prefetched(iter(range(100)))) == list(range(100))


def test_an_error_comes_after_the_items_before_it() -> None:
    def produce() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = flow.prefetched(produce())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_ends_the_producer_in_its_thread() -> None:
    closed_in = []

    def produce() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed_in.append(threading.current_thread().name)

    items = flow.prefetched(produce())
    next(items)
    items.close()
    assert closed_in == ["tmg-etl-prefetch"]


def test_never_more_than_a_few_are_made_ahead() -> None:
    made = []

    def produce() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = flow.prefetched(produce(), depth=2)
    next(items)
    time.sleep(0.2)
    assert len(made) <= 4
    items.close()


@given(st.lists(st.integers(0, 50)), st.integers(1, 20))
def test_rebatching_keeps_rows_and_bounds_batches(sizes: list[int], rows: int) -> None:
    start, batches = 0, []
    for size in sizes:
        batches.append(pa.record_batch({"n": pa.array(range(start, start + size), pa.int64())}))
        start += size
    result = list(flow.rebatched(batches, rows))
    assert [n for batch in result for n in batch.column("n").to_pylist()] == list(range(start))
    assert all(0 < batch.num_rows <= rows for batch in result)
    # Small ones are joined: two neighbours hold at least half of what one may.
    assert all((a.num_rows + b.num_rows) * 2 > rows for a, b in itertools.pairwise(result))


@pytest.mark.parametrize("workers", [1, 3])
def test_spread_calls_once_for_each_item_and_never_more_at_once(workers: int) -> None:
    guard, busy, most = threading.Lock(), 0, 0

    def square(number: int) -> int:
        nonlocal busy, most
        with guard:
            busy += 1
            most = max(most, busy)
        time.sleep(0.001)
        with guard:
            busy -= 1
        return number * number

    found = list(flow.spread(square, iter(range(50)), workers))
    assert sorted(found) == [(number, number * number) for number in range(50)]
    assert most <= workers


@pytest.mark.parametrize("workers", [1, 3])
def test_spread_ends_with_the_first_error_and_leaves_no_call_under_way(workers: int) -> None:
    begun: list[int] = []
    ended: list[int] = []

    def refuse(number: int) -> int:
        begun.append(number)
        time.sleep(0.001)
        ended.append(number)
        if number >= 5:
            raise ValueError(str(number))
        return number

    with pytest.raises(ValueError, match="^[567]$"):
        list(flow.spread(refuse, itertools.count(), workers))
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 5 + 2 * workers


def test_an_error_of_closing_is_raised_and_not_waited_for() -> None:
    class Source:
        """Notices at its end that what it read has changed."""

        def __init__(self) -> None:
            self._rows = iter([1, 2])

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> int:
            return next(self._rows)

        def close(self) -> None:
            raise errors.TemporaryError("changed while it was read")

    found: list[object] = []

    def read() -> None:
        try:
            found.extend(flow.prefetched(Source()))
        except errors.TemporaryError as error:
            found.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert [str(one) for one in found] == ["1", "2", "changed while it was read"]
