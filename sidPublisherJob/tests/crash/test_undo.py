"""kill -9 at every point of a run that keeps the replaced table, and of a rollback.

The target is the old state or the new one, no state is lost, and the next call heals.
"""

from __future__ import annotations

import functools
import pathlib

import pytest
import yaml

from tests.crash import conftest, crash_kit, undo_kit
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow

MODE = crash_kit.MODES["swap"]


def keep_replaced(bench: crash_kit.Bench) -> None:
    """Write the config, with a swap that keeps what it replaces."""
    bench.write_config()
    config = yaml.safe_load(bench.config.read_text())
    config["transfers"]["swap"]["keep_previous"] = "24h"
    bench.config.write_text(yaml.safe_dump(config))


def begin(bench: crash_kit.Bench) -> None:
    """Have the old rows, and nothing kept."""
    bench.place.settle()
    undo_kit.drop_kept(bench.place)
    bench.begin(crash_kit.OLD)


def states(bench: crash_kit.Bench) -> list[list[crash_kit.Row]]:
    """The rows of the target and of each kept table."""
    place = bench.place
    return [place.rows(), *(undo_kit.rows(place, name) for name in undo_kit.kept(place))]


@crash_kit.in_parts(2)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_that_keeps_loses_nothing(bench: crash_kit.Bench, part: crash_kit.Part) -> None:
    keep_replaced(bench)
    begin(bench)
    whole = bench.run(MODE)
    assert whole.code == 0, whole.log
    for point in part.of(bench.half_of_moments(MODE, undo_kit.points_of(whole.points))):
        begin(bench)
        assert bench.run(MODE, fault.Fault(point.number, fault.Action.KILL)).code == -9
        bench.place.settle()
        found = states(bench)
        assert found[0] in (crash_kit.OLD, MODE.new), point
        assert crash_kit.OLD in found, point
        bench.heal("keep", functools.partial(_require_kept_again, bench, point))


def _require_kept_again(bench: crash_kit.Bench, point: fault.Point) -> None:
    ended = bench.run(MODE)
    assert ended.code == 0, f"{point}: {ended.log}"
    after = states(bench)
    assert after[0] == MODE.new, point
    assert crash_kit.OLD in after[1:], point
    undo_kit.require_clean(bench, point)


@crash_kit.in_parts(2)
@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_rollback_loses_nothing(
    bench: crash_kit.Bench, people: fork.ForkServer, tmp_path: pathlib.Path, part: crash_kit.Part
) -> None:
    keep_replaced(bench)
    arguments = ["rollback", "swap", str(bench.config)]
    # Both servers number their runs, and write their points into files of that number.
    apart = tmp_path / "people"
    apart.mkdir()

    def prepare() -> None:
        begin(bench)
        assert bench.run(MODE).code == 0
        assert states(bench) == [MODE.new, crash_kit.OLD]

    def put_back(again: list[str], expected: list[list[crash_kit.Row]], point: object) -> None:
        ended = people.run(again, apart)
        assert ended.code == 0, f"{point}: {ended.log}"
        assert states(bench) == expected, point
        undo_kit.require_clean(bench, point)

    prepare()
    whole = people.run(arguments, apart)
    assert whole.code == 0, whole.log
    assert states(bench) == [crash_kit.OLD, MODE.new]
    seen = []
    for point in part.of(bench.half_of_moments(MODE, undo_kit.points_of(whole.points))):
        prepare()
        bench.faults.append(fault.Fault(point.number, fault.Action.KILL))
        ended = people.run(arguments, apart, bench.faults[-1])
        assert ended.code == -9, f"{point}: {ended.log}"
        bench.place.settle()
        found = states(bench)
        assert sorted(found) == sorted([crash_kit.OLD, MODE.new]), point
        is_back = found[0] == crash_kit.OLD
        seen.append(is_back)
        # Killed before it wrote down what the table holds that it kept, it is put back unproved.
        again = [*arguments, *(["--unverified"] if is_back else [])]
        bench.heal("rollback", functools.partial(put_back, again, found[::-1], point))
    part.require_both(seen)
