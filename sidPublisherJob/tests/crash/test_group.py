"""A group of two tables, broken at every point in turn: both are old or both are new."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.crash import conftest, crash_kit, group_kit
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow

_WRITING = ("INSERT", "UPDATE", "commit")


@pytest.fixture
def bench(
    place_kind: str,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
    fork_server: fork.ForkServer,
    memory: crash_kit.Memory,
) -> Iterator[group_kit.Bench]:
    place = group_kit.make_place(place_kind, tmp_path, request)
    with crash_kit.ready(group_kit.Bench(place, fork_server, tmp_path, memory)) as made:
        yield made


def statements(points: list[fault.Point]) -> list[fault.Point]:
    """Return the moments before something that differ from each other.

    Packets follow their statements, and of the ledger only what it writes makes a difference.
    """
    return [
        point
        for point in points
        if not point.is_after
        and not point.statement.startswith("packet of")
        and point.system != "hook"
        and (not point.is_ledger or point.statement.startswith(_WRITING))
    ]


@crash_kit.in_parts(2)
@pytest.mark.parametrize("mode", group_kit.MODES.values(), ids=group_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_group_leaves_all_tables_old_or_all_new(
    bench: group_kit.Bench, mode: crash_kit.Mode, part: crash_kit.Part
) -> None:
    points = bench.half_of_moments(mode, bench.count_points(mode))
    part.require_both(
        [bench.require_whole_after_kill(mode, point, group_kit.OLD) for point in part.of(points)]
    )


@crash_kit.in_parts(2)
@pytest.mark.parametrize("mode", group_kit.MODES.values(), ids=group_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_error_at_any_point_of_a_group_leaves_all_old_or_all_new(
    bench: group_kit.Bench, mode: crash_kit.Mode, part: crash_kit.Part
) -> None:
    for point in part.of(bench.some(mode, statements(bench.count_points(mode)))):
        bench.require_error_told(mode, point, group_kit.OLD)
    bench.require_healed(mode, "all of them")


@pytest.mark.parametrize("mode", group_kit.MODES.values(), ids=group_kit.MODES)
@pytest.mark.parametrize("place_kind", conftest.SERVERS)
def test_group_that_loses_its_connection_at_the_publish_finds_out_for_all(
    bench: group_kit.Bench, mode: crash_kit.Mode
) -> None:
    points = [
        point
        for point in bench.count_points(mode)
        if point.system in ("postgres", "mysql")
        and any(word in point.statement for word in crash_kit.PUBLISHING)
        and not point.statement.startswith("packet of")
    ]
    for point in points:
        ended = bench.break_at(mode, point, fault.Action.CUT, group_kit.OLD)
        found = bench.place.rows()
        assert found in (group_kit.OLD, mode.new), point
        assert ended.code == (0 if found == mode.new else 75), f"{point}: {ended.error}"
        if not bench.is_clean():
            bench.require_healed(mode, point)
    bench.require_healed(mode, "all of them")


@crash_kit.in_parts(2)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_terminated_group_changes_nothing_or_has_published(
    bench: group_kit.Bench, part: crash_kit.Part
) -> None:
    mode = group_kit.MODES["in_place"]
    states = []
    for point in part.of(bench.some(mode, statements(bench.count_points(mode)))):
        ended = bench.break_at(mode, point, fault.Action.TERMINATE, group_kit.OLD)
        assert ended.code in (0, 143), f"{point}: {ended.error}"
        expected = group_kit.OLD if ended.code else mode.new
        assert bench.place.rows() == expected, f"{point}: {ended.error}"
        bench.require_clean(f"{point}: {ended.error}")
        states.append(ended.code == 0)
    part.require_both(states)
    bench.require_healed(mode, "all of them")
