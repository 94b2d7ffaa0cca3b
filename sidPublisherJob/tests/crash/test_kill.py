"""kill -9 at every point of a run in turn: the old state or the new one, and the next run heals."""

from __future__ import annotations

import dataclasses

import pytest

from tests.crash import conftest, crash_kit
from tmg_etl.testing import fault

pytestmark = pytest.mark.slow


@crash_kit.in_parts(2)
@pytest.mark.parametrize("mode", crash_kit.MODES.values(), ids=crash_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_leaves_old_or_new_state(
    bench: crash_kit.Bench, mode: crash_kit.Mode, part: crash_kit.Part
) -> None:
    points = bench.moments(bench.count_points(mode))
    part.require_both(
        [bench.require_whole_after_kill(mode, point, crash_kit.OLD) for point in part.of(points)]
    )


@crash_kit.in_parts(2)
@pytest.mark.parametrize("mode_name", ["swap", "upsert"])
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_creates_a_target_that_is_whole(
    bench: crash_kit.Bench, mode_name: str, part: crash_kit.Part
) -> None:
    """Where there is no target: none, an empty one before a merge, or the new one."""
    mode = crash_kit.MODES[mode_name]
    if mode_name == "upsert":
        mode = dataclasses.replace(mode, new=crash_kit.CREATED)
    points = bench.half_of_moments(mode, bench.count_points(mode, None))
    states = []
    for point in part.of(points):
        ended = bench.break_at(mode, point, fault.Action.KILL, None)
        assert ended.code == -9, f"{point}: {ended.error}"
        bench.place.settle()
        found = bench.place.rows() if bench.place.has_table() else None
        assert found in (None, mode.new, *([[]] if mode_name == "upsert" else [])), point
        states.append(found == mode.new)
        bench.require_healed(mode, point)
    part.require_both(states)


@pytest.mark.parametrize("clock_s", [-86_400.0, 86_400.0], ids=["slow", "fast"])
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_leftovers_go_whatever_the_clock_says(bench: crash_kit.Bench, clock_s: float) -> None:
    mode = crash_kit.MODES["swap"]
    points = [point for point in bench.count_points(mode) if not point.is_after]
    middle = points[len(points) // 2]
    assert bench.break_at(mode, middle, fault.Action.KILL).code == -9
    bench.place.settle()
    ended = bench.run_with_clock(mode, clock_s)
    assert ended.code == 0, ended.log
    assert bench.place.rows() == mode.new
    bench.require_clean(f"a run whose clock is {clock_s:g} s fast")
    # The next one, on a right clock, comes before or long after that one.
    bench.begin(crash_kit.OLD)
    bench.require_rerun(mode, "a run with another clock")
