"""kill -9 at every moment of a rollback of a publish group: all tables are back, or none is.

What is replaced is never lost, and the next call heals.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.crash import conftest, crash_kit, group_kit, undo_kit
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow

MODE = group_kit.MODES["swap"]
State = tuple[list[crash_kit.Row], list[crash_kit.Row]]


@pytest.fixture
def bench(
    place_kind: str,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
    fork_server: fork.ForkServer,
    memory: crash_kit.Memory,
) -> Iterator[group_kit.Bench]:
    place = group_kit.make_place(place_kind, tmp_path, request)
    made = group_kit.Bench(place, fork_server, tmp_path, memory)
    with crash_kit.ready(made, keep_previous="24h"):
        yield made


def state(bench: group_kit.Bench) -> State:
    """The rows of both targets, and those of both kept tables, which are of one step."""
    names = undo_kit.kept(bench.place)
    assert len(names) == 2, names
    assert len({name.rpartition("_")[2] for name in names}) == 1, names
    return bench.place.rows(), undo_kit.rows(bench.place, *names)


@crash_kit.in_parts(2)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_rollback_of_a_group_never_mixes_days(
    bench: group_kit.Bench, people: fork.ForkServer, tmp_path: pathlib.Path, part: crash_kit.Part
) -> None:
    arguments = ["rollback", "swapped", str(bench.config)]
    # Both servers number their runs, and write their points into files of that number.
    apart = tmp_path / "people"
    apart.mkdir()
    bench.begin(group_kit.OLD)
    assert bench.run(MODE).code == 0
    assert state(bench) == (MODE.new, group_kit.OLD)
    whole = people.run(arguments, apart)
    assert whole.code == 0, whole.log
    now: State = (group_kit.OLD, MODE.new)
    seen = []
    # Each rollback takes the last one back: the next one begins with what it ends with.
    for point in part.of(bench.some(MODE, bench.moments(undo_kit.points_of(whole.points)))):
        injected = fault.Fault(point.number, fault.Action.KILL)
        bench.faults.append(injected)
        ended = people.run(arguments, apart, injected)
        assert ended.code == -9, f"{point}: {ended.log}"
        bench.place.settle()
        found = state(bench)
        assert found in (now, now[::-1]), point
        is_back = found != now
        seen.append(is_back)
        # Killed before it wrote down what the tables hold that it kept, they are put back unproved.
        more = ["--unverified"] if is_back else []
        again = people.run([*arguments, *more], apart)
        assert again.code == 0, f"{point}: {again.log}"
        now = state(bench)
        assert now == found[::-1], point
        undo_kit.require_clean(bench, point)
    part.require_both(seen)
