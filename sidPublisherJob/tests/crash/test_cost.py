"""What the smallest run costs: round trips to each server, which a night of small tables adds up.

Counts and not times, which tell nothing on a busy machine. Each call is also one more place for
the other tests of this folder to break a run.
"""

from __future__ import annotations

import collections

import pytest

from tests.crash import conftest, crash_kit

#: Calls of the target's driver and of the ledger's, by mode; a new one has to be worth it.
MOST = {
    "postgres": {"swap": 69, "diff": 67, "upsert": 54, "replace_window": 55},
    "mariadb": {"swap": 56, "diff": 53, "upsert": 67, "replace_window": 68},
    "mysql": {"swap": 60, "diff": 56, "upsert": 69, "replace_window": 70},
    "duckdb": {"swap": 41, "diff": 40, "upsert": 41, "replace_window": 42},
    "sqlite": {"swap": 60, "diff": 57, "upsert": 47, "replace_window": 48},
}
MOST_OF_LEDGER = 12
CONNECTIONS = {"postgres": 2, "mariadb": 2, "mysql": 2, "duckdb": 1, "sqlite": 0}


@pytest.mark.parametrize("mode", crash_kit.MODES.values(), ids=crash_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_small_run_makes_no_more_calls(
    bench: crash_kit.Bench, mode: crash_kit.Mode, place_kind: str
) -> None:
    points = [point for point in bench.count_points(mode) if not point.is_after]
    calls = collections.Counter(point.system for point in points)
    system = "mysql" if place_kind == "mariadb" else place_kind
    connections = [point for point in points if point.statement == "connect"]
    # MySQL's RENAME may have to be killed, which takes a connection of its own.
    swaps = system == "mysql" and mode.transfer == "swap"
    assert calls[system] <= MOST[place_kind][mode.transfer]
    assert calls["ledger"] <= MOST_OF_LEDGER
    assert len(connections) <= CONNECTIONS[place_kind] + swaps
