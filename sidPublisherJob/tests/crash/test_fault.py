"""Errors, cut connections, SIGTERM at any point: the exit code, the state, what is left."""

from __future__ import annotations

import time

import pytest

from tests.crash import crash_kit
from tmg_etl.testing import fault

pytestmark = pytest.mark.slow

_ALL = tuple(crash_kit.MODES)
_BOTH = ("swap", "upsert")
#: Seconds that an orchestrator is promised between SIGTERM and the end.
_GRACE_S = 10.0


def _pairs(**modes: tuple[str, ...]) -> list[object]:
    """Places and modes as parameters; the ids say both."""
    return [(place, mode) for place, names in modes.items() for mode in names]


def _statements(points: list[fault.Point]) -> list[fault.Point]:
    """All points but those of PyMySQL's packets, which follow the ones of their statements."""
    return [point for point in points if not point.statement.startswith("packet of")]


@crash_kit.in_parts(2)
@pytest.mark.parametrize(
    ("place_kind", "mode_name"),
    _pairs(postgres=_ALL, mariadb=_ALL, mysql=_ALL, duckdb=_ALL, sqlite=_ALL),
)
def test_error_at_any_point_leaves_old_or_new_state(
    bench: crash_kit.Bench, mode_name: str, part: crash_kit.Part
) -> None:
    mode = crash_kit.MODES[mode_name]
    points = _statements(bench.count_points(mode))
    points = [point for point in points if not point.is_after]
    for point in part.of(bench.some(mode, points)):
        bench.require_error_told(mode, point, crash_kit.OLD)
    bench.require_healed(mode, "all of them")


@crash_kit.in_parts(2)
@pytest.mark.parametrize(
    ("place_kind", "mode_name"), _pairs(postgres=_BOTH, mariadb=_BOTH, mysql=_BOTH)
)
def test_lost_connection_is_temporary_and_heals(
    bench: crash_kit.Bench, mode_name: str, part: crash_kit.Part
) -> None:
    mode = crash_kit.MODES[mode_name]
    points = [
        point
        for point in _statements(bench.count_points(mode))
        if point.system in ("postgres", "mysql") and point.statement != "connect"
        # After a statement is the same moment as before the next one, but for an answer that is
        # lost: it matters where the statement is what publishes.
        if not point.is_after or any(word in point.statement for word in crash_kit.PUBLISHING)
    ]
    for point in part.of(bench.some(mode, points)):
        ended = bench.break_at(mode, point, fault.Action.CUT)
        found = bench.place.rows()
        assert ended.code in (0, 75), f"{point}: {ended.error}"
        if ended.code == 0:
            assert found == mode.new, f"{point}: {ended.error}"
        assert found in (crash_kit.OLD, mode.new), point
        # Whoever lost the connection at the publish finds out what became of it.
        assert ended.code == (0 if found == mode.new else 75), f"{point}: {ended.error}"
        # From where nothing is left, the next run is a run like any other.
        if not bench.is_clean():
            bench.require_healed(mode, point)
    bench.require_healed(mode, "all of them")


@crash_kit.in_parts(2)
@pytest.mark.parametrize(
    ("place_kind", "mode_name"),
    _pairs(postgres=_BOTH, mariadb=_BOTH, mysql=_BOTH, duckdb=_ALL, sqlite=_ALL),
)
def test_terminated_run_ends_in_time_and_leaves_nothing(
    bench: crash_kit.Bench, mode_name: str, part: crash_kit.Part
) -> None:
    mode = crash_kit.MODES[mode_name]
    states = []
    points = [point for point in bench.count_points(mode) if not point.is_after]
    for point in part.of(bench.some(mode, points)):
        began = time.monotonic()
        ended = bench.break_at(mode, point, fault.Action.TERMINATE)
        assert time.monotonic() - began < _GRACE_S, point
        assert ended.code in (0, 143), f"{point}: {ended.error}"
        # Whoever stopped in time has changed nothing; whoever was too late says that it published.
        assert bench.place.rows() == (crash_kit.OLD if ended.code else mode.new), (
            f"{point}: {ended.error}"
        )
        bench.require_clean(f"{point}: {ended.error}")
        states.append(ended.code == 0)
    part.require_both(states)
    bench.require_healed(mode, "all of them")
