"""A run that sleeps past the loss of its lock wakes up and publishes nothing (fencing)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.crash import conftest, crash_kit
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fork_server() -> Iterator[fork.ForkServer]:
    """Runs that do not wait long for the one that is suspended, which will not move."""
    with fork.ForkServer(conftest.patience(0.2)) as server:
        yield server


def _while_locked(points: list[fault.Point]) -> list[fault.Point]:
    """The points between having the lock and giving it back.

    Not those of the ledger: its file would be locked for the other run as well.
    """
    taken = ("flock", "pg_try_advisory_lock", "GET_LOCK")
    given = ("unlink .lock", "pg_advisory_unlock_all", "RELEASE_LOCK")
    first = next(point.number for point in points if point.is_after and _says(point, *taken))
    last = next(point.number for point in points if _says(point, *given))
    return [
        point
        for point in points
        if first < point.number <= last and not point.is_after and not point.is_ledger
    ]


def _says(point: fault.Point, *words: str) -> bool:
    return any(word in point.statement for word in words)


@crash_kit.in_parts(2)
# One publishes by a rename, one by a transaction.
@pytest.mark.parametrize("mode_name", ["swap", "upsert"])
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_run_that_lost_its_lock_while_suspended_never_publishes_over_another(
    bench: crash_kit.Bench, mode_name: str, part: crash_kit.Part
) -> None:
    mode = crash_kit.MODES[mode_name]
    overtaken = 0
    points = bench.some(mode, _while_locked(bench.count_points(mode)))
    for point in part.of(points):
        bench.begin(crash_kit.OLD)
        child = bench.start(mode, fault.Fault(point.number, fault.Action.SUSPEND))
        assert bench.server.wait_suspended(child), point
        assert bench.place.cut_lock(), point
        # Whoever lets nobody look has committed nothing.
        before = bench.place.peek() or crash_kit.OLD
        other = bench.run(crash_kit.OTHER_MODE)
        os.kill(child.pid, signal.SIGCONT)
        ended = bench.server.wait(child)
        said = f"{point}: {ended.code} {ended.error} {other.error}"
        found = bench.place.rows()
        if other.code == 0:
            overtaken += 1
            assert found == crash_kit.OTHER, said
            assert ended.code == (75 if before == crash_kit.OLD else 0), said
        else:
            # The database itself kept the other out, because this one was in the middle.
            assert other.code == 75, said
            assert ended.code in (0, 75), said
            assert found == (crash_kit.OLD if ended.code and before != mode.new else mode.new), said
        bench.place.settle()
        bench.require_healed(crash_kit.OTHER_MODE, point)
    # What comes first is loading, during which every other run gets through.
    assert overtaken or not part.is_first or bench.place.excludes_processes
