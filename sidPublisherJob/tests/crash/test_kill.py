"""kill -9 at every point of a run in turn: the old state or the new one, and the next run heals."""

from __future__ import annotations

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
        bench.place.reset(crash_kit.OLD)
        ended = bench.run(mode, fault.Fault(point.number, fault.Action.KILL))
        assert ended.code == -9, f"{point}: {ended.error}"
        bench.place.settle()
        found = bench.place.rows()
        assert found in (crash_kit.OLD, mode.new), point
        states.add(found == mode.new)
        bench.require_rerun(mode, point)
    assert states == {False, True}
