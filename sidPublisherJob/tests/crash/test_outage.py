"""Servers that restart under a run, and a ledger that goes away."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable

import pytest

from tests.crash import conftest, crash_kit, crash_place
from tmg_etl.testing import fault, servers

pytestmark = pytest.mark.slow

_SERVERS = conftest.SERVERS
#: Seconds that an orchestrator is promised between SIGTERM and the end.
_GRACE_S = 10.0


def _first(points: list[fault.Point], *words: str) -> fault.Point:
    return next(
        point
        for point in points
        if not point.is_after and any(word in point.statement for word in words)
    )


def _last(points: list[fault.Point], *words: str) -> fault.Point:
    return _first(points[::-1], *words)


def _interrupt(
    bench: crash_kit.Bench, mode: crash_kit.Mode, point: fault.Point, act: Callable[[], None]
) -> int:
    """Suspend a run at a point, do something to its world, wake it up; return its exit code."""
    bench.begin(crash_kit.OLD)
    child = bench.start(mode, fault.Fault(point.number, fault.Action.SUSPEND))
    assert bench.server.wait_suspended(child)
    act()
    os.kill(child.pid, signal.SIGCONT)
    return bench.server.wait(child).code


@pytest.mark.parametrize("mode", crash_kit.MODES.values(), ids=crash_kit.MODES)
@pytest.mark.parametrize("place_kind", _SERVERS)
def test_server_restarted_under_a_run(bench: crash_kit.Bench, mode: crash_kit.Mode) -> None:
    place = bench.place
    assert isinstance(place, crash_place.ServerPlace)
    points = bench.count_points(mode)
    load = _first(points, "COPY data", "LOAD DATA")
    publish = _last(points, 'DROP TABLE "public"."t"', "RENAME TABLE", "COMMIT")
    for point in (load, publish):
        assert _interrupt(bench, mode, point, place.restart) == 75, point
        assert place.rows() == crash_kit.OLD, point
        place.settle()
        bench.require_healed(mode, point)


@pytest.mark.parametrize("place_kind", _SERVERS)
def test_server_that_answers_nothing_does_not_keep_a_run_from_ending(
    bench: crash_kit.Bench,
) -> None:
    """Not even the cancelling of the statement that the run waits for is answered."""
    place = bench.place
    assert isinstance(place, crash_place.ServerPlace)
    mode = crash_kit.MODES["swap"]
    load = _first(bench.count_points(mode), "COPY data", "LOAD DATA")
    bench.begin(crash_kit.OLD)
    child = bench.start(mode, fault.Fault(load.number, fault.Action.SUSPEND))
    assert bench.server.wait_suspended(child)
    try:
        place.server.suspend()
        os.kill(child.pid, signal.SIGCONT)
        time.sleep(0.2)
        os.kill(child.pid, signal.SIGTERM)
        began = time.monotonic()
        ended = bench.server.wait(child)
        assert time.monotonic() - began < _GRACE_S
    finally:
        place.server.resume()
    assert ended.code == 143, ended.error
    assert place.rows() == crash_kit.OLD
    place.settle()
    bench.require_rerun(mode, load)


@pytest.mark.parametrize("place_kind", ["sqlite"])
def test_ledger_that_goes_away_in_mid_run_costs_a_warning(
    bench: crash_kit.Bench, postgres_server: servers.PostgresServer
) -> None:
    ledger = postgres_server.create_database("crash_ledger")
    file = f"sqlite:///{bench.folder / 'ledger.db'}"
    text = bench.config.read_text()
    assert file in text
    bench.config.write_text(text.replace(file, ledger))
    mode = crash_kit.MODES["swap"]
    bench.place.reset(crash_kit.OLD)
    assert bench.run(mode).code == 0  # sets the ledger up
    bench.place.reset(crash_kit.OLD)
    points = bench.run(mode).points

    def drop() -> None:
        postgres_server.drop_database("crash_ledger")

    assert _interrupt(bench, mode, _first(points, "INSERT INTO"), drop) == 0
    assert bench.place.rows() == crash_kit.FULL
    assert bench.place.leftovers() == []


@pytest.mark.parametrize("place_kind", ["sqlite"])
def test_broken_ledger_file_costs_a_warning(bench: crash_kit.Bench) -> None:
    mode = crash_kit.MODES["upsert"]
    points = bench.count_points(mode)

    def spoil() -> None:
        (bench.folder / "ledger.db").write_bytes(b"no database" * 100)

    point = _last(points, "COMMIT")
    assert _interrupt(bench, mode, point, spoil) == 0
    assert bench.place.rows() == crash_kit.UPSERTED
    with pytest.raises(sqlite3.DatabaseError):
        bench.open_rows()


@crash_kit.in_parts(2)
@pytest.mark.parametrize("place_kind", ["sqlite", "duckdb"])
def test_full_disk_at_any_point_is_temporary(bench: crash_kit.Bench, part: crash_kit.Part) -> None:
    # The lake, the log and the points are elsewhere or written before: only the target grows.
    mode = crash_kit.MODES["swap"]
    points = [point for point in bench.count_points(mode) if not point.is_after]
    for point in part.of(bench.some(mode, points)):
        ended = bench.break_at(mode, point, fault.Action.FULL)
        assert ended.code in (0, 75), f"{point}: {ended.error}"
        assert bench.place.rows() in (crash_kit.OLD, mode.new), point
        bench.require_healed(mode, point)
