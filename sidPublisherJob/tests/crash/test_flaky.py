"""A flaky connection before DuckDB, at every point that it has: each call fails in turn."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.crash import crash_kit
from tmg_etl import testing
from tmg_etl.testing import fault, fork

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("place_kind", ["duckdb"])]

_GRACE_S = 10.0


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[fork.ForkServer]:
    """Runs that end a second after SIGTERM, whatever they wait for."""
    with fork.ForkServer({"tmg_etl.cli.guard:PATIENCE_S": 1.0}) as server:
        yield server


def declare(bench: crash_kit.Bench, **faults: str) -> None:
    """Stand a flaky connection before the database; `faults` by point, ``_`` for colons."""
    config = yaml.safe_load(bench.config.read_text())
    config["connections"]["behind"] = dict(bench.place.connection)
    config["connections"]["serving"] = {
        "type": "flaky",
        "of": "behind",
        "faults": faults,
        "record": "points",
    }
    bench.config.write_text(yaml.safe_dump(config))


def points_of(bench: crash_kit.Bench, mode: crash_kit.Mode) -> list[str]:
    """Return the points of a run without a fault."""
    declare(bench)
    bench.begin(crash_kit.OLD)
    record = bench.folder / "points"
    ended = bench.run(mode)
    assert ended.code == 0, ended.log
    assert bench.place.rows() == mode.new
    return record.read_text().split()


def start(bench: crash_kit.Bench, mode: crash_kit.Mode, point: str, action: str) -> fork.Child:
    declare(bench, **{point: action})
    (bench.folder / "points").unlink(missing_ok=True)
    bench.begin(crash_kit.OLD)
    bench.faults.append(fault.Fault(len(bench.faults) + 1, fault.Action.KILL))
    return bench.start(mode)


@pytest.mark.parametrize("mode_name", ["upsert", pytest.param("swap", marks=pytest.mark.full)])
def test_killed_at_any_call_leaves_old_or_new_state(bench: crash_kit.Bench, mode_name: str) -> None:
    mode = crash_kit.MODES[mode_name]
    states = set()
    for point in points_of(bench, mode):
        # After a call is, for whoever is killed, the same moment as before the next one.
        if point.endswith(":after"):
            continue
        ended = bench.server.wait(start(bench, mode, point, "kill"))
        assert ended.code == -9, f"{point}: {ended.error}"
        found = bench.place.rows()
        assert found in (crash_kit.OLD, mode.new), point
        states.add(found == mode.new)
        declare(bench)
        bench.require_healed(mode, point)
    assert states == {False, True}


@pytest.mark.parametrize(
    ("mode_name", "action"),
    [
        ("swap", "cut"),
        pytest.param("diff", "full", marks=pytest.mark.full),
        pytest.param("upsert", "raise", marks=pytest.mark.full),
        pytest.param("replace_window", "cut", marks=pytest.mark.full),
    ],
)
def test_any_call_that_fails_is_told_by_the_exit_code(
    bench: crash_kit.Bench, mode_name: str, action: str
) -> None:
    mode = crash_kit.MODES[mode_name]
    count = testing.assert_fault_safe(
        bench.config,
        mode.transfer,
        mode.write_mode,
        day=crash_kit.DAY,
        reset=lambda: bench.begin(crash_kit.OLD),
        connections=["serving"],
        actions=[action],
    )
    bench.faults.extend(fault.Fault(number, fault.Action.RAISE) for number in range(count))
    assert count > 30
    assert bench.place.rows() == mode.new


def test_hanging_call_ends_when_the_run_is_stopped(bench: crash_kit.Bench) -> None:
    mode = crash_kit.MODES["swap"]
    for point in points_of(bench, mode):
        if point.endswith(":after"):
            continue
        child = start(bench, mode, point, "hang")
        _stop_when_reached(bench, child, point)
        began = time.monotonic()
        ended = bench.server.wait(child)
        assert time.monotonic() - began < _GRACE_S, point
        # What hangs after the publish is the cleanup; the run has its result.
        assert ended.code in (0, 143), f"{point}: {ended.error}"
        assert bench.place.rows() == (mode.new if ended.code == 0 else crash_kit.OLD), point
        if not bench.is_clean():
            declare(bench)
            bench.require_healed(mode, point)


@pytest.mark.parametrize("point", ["lock", "read:1", "describe", "load:2", "commit", "drop"])
def test_frozen_call_ends_all_the_same(
    bench: crash_kit.Bench, impatient_server: fork.ForkServer, point: str, tmp_path: pathlib.Path
) -> None:
    mode = crash_kit.MODES["upsert"]
    # SIGTERM is deaf to nothing that this process could wait for.
    folder = tmp_path / "impatient"
    folder.mkdir()
    declare(bench, **{point: "freeze"})
    if point == "read:1":
        _read_from_flaky(bench)
    bench.begin(crash_kit.OLD)
    child = impatient_server.start([*mode.arguments, str(bench.config)], folder)
    _stop_when_reached(bench, child, f"{point.partition(':')[0]}:{point.partition(':')[2] or 1}")
    began = time.monotonic()
    ended = impatient_server.wait(child)
    assert time.monotonic() - began < _GRACE_S
    assert ended.code == 143, ended.error
    assert "in the middle of what does not answer" in ended.error
    assert bench.place.rows() in (crash_kit.OLD, mode.new)
    bench.write_config()
    bench.require_rerun(mode, point)


def _read_from_flaky(bench: crash_kit.Bench) -> None:
    """Have the lake fail instead of the target."""
    config = yaml.safe_load(bench.config.read_text())
    known = config["connections"]
    known["lake"], known["serving"] = known["serving"] | {"of": "shore"}, known["behind"]
    known["shore"] = {"type": "files", "url": str(bench.folder / "lake")}
    bench.config.write_text(yaml.safe_dump(config))


def _stop_when_reached(bench: crash_kit.Bench, child: fork.Child, point: str) -> None:
    """Send SIGTERM to a run that waits at a point."""
    record = bench.folder / "points"
    deadline = time.monotonic() + 30
    while not (record.exists() and point in record.read_text().split()):
        assert time.monotonic() < deadline, point
        time.sleep(0.01)
    record.unlink()
    os.kill(child.pid, signal.SIGTERM)
