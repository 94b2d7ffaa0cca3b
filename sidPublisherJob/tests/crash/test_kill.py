"""kill -9 at every point of a run in turn: the old state or the new one, and the next run heals."""

from __future__ import annotations

import dataclasses

import pytest

from tests.crash import conftest, crash_kit
from tmg_etl.testing import fault

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", crash_kit.MODES.values(), ids=crash_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_leaves_old_or_new_state(bench: crash_kit.Bench, mode: crash_kit.Mode) -> None:
    points = bench.count_points(mode)
    states = set()
    # After a statement is, for whoever is killed, the same moment as before the next one.
    for point in [point for point in points if not point.is_after]:
        states.add(bench.require_whole_after_kill(mode, point, crash_kit.OLD))
    assert states == {False, True}


@pytest.mark.parametrize("mode_name", ["swap", "upsert"])
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_creates_a_target_that_is_whole(bench: crash_kit.Bench, mode_name: str) -> None:
    """Where there is no target: none, an empty one before a merge, or the new one."""
    mode = crash_kit.MODES[mode_name]
    if mode_name == "upsert":
        mode = dataclasses.replace(mode, new=crash_kit.CREATED)
    states = set()
    points = bench.count_points_of_creation(mode)
    # Every other one: what they share with those above is not done twice.
    for point in [point for point in points if not point.is_after][::2]:
        bench.place.remove()
        ended = bench.run(mode, fault.Fault(point.number, fault.Action.KILL))
        assert ended.code == -9, f"{point}: {ended.error}"
        bench.place.settle()
        found = bench.place.rows() if bench.place.has_table() else None
        assert found in (None, mode.new, *([[]] if mode_name == "upsert" else [])), point
        states.add(found == mode.new)
        bench.require_rerun(mode, point)
    assert states == {False, True}


@pytest.mark.parametrize("clock_s", [-86_400.0, 86_400.0], ids=["slow", "fast"])
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_leftovers_go_whatever_the_clock_says(bench: crash_kit.Bench, clock_s: float) -> None:
    mode = crash_kit.MODES["swap"]
    points = [point for point in bench.count_points(mode) if not point.is_after]
    bench.place.reset(crash_kit.OLD)
    middle = points[len(points) // 2]
    assert bench.run(mode, fault.Fault(middle.number, fault.Action.KILL)).code == -9
    bench.place.settle()
    ended = bench.run_with_clock(mode, clock_s)
    assert ended.code == 0, ended.log
    assert bench.place.rows() == mode.new
    bench.require_clean(f"a run whose clock is {clock_s:g} s fast")
    # The next one, on a right clock, comes before or long after that one.
    bench.place.reset(crash_kit.OLD)
    bench.require_rerun(mode, "a run with another clock")
