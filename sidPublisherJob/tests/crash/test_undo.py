"""kill -9 at every point of a run that keeps the replaced table, and of a rollback.

The target is the old state or the new one, no state is lost, and the next call heals.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import sqlite3
from collections.abc import Iterator

import duckdb
import pytest
import yaml

from tests.crash import conftest, crash_kit, crash_place
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow

MODE = crash_kit.MODES["swap"]
KEPT = "_tmg_prev_"
#: Names of the parts of kept tables on PostgreSQL.
PART = "_tmg_part_"


_NAME = re.compile(KEPT + r"[0-9a-f]{12}_[0-9a-z]{26}")


@pytest.fixture(scope="module")
def people() -> Iterator[fork.ForkServer]:
    """Runs of the command `tmg-etl`."""
    constants = {
        "tmg_etl.testing.fork:_COMMAND": "tmg_etl.cli.people",
        "tmg_etl.connectors.postgres.session:LOCK_PATIENCE_S": 1.0,
        "tmg_etl.connectors.mysql.swap:_PATIENCE_S": 1.0,
        "tmg_etl.connectors.sqlite.database:_BUSY_S": 1.0,
    }
    with fork.ForkServer(constants) as server:
        yield server


def kept(place: crash_place.Place) -> list[str]:
    """Names of kept tables."""
    # Indexes that a rollback builds on one begin with its name.
    return sorted(name for name in place.leftovers() if _NAME.fullmatch(name))


def require_clean(bench: crash_kit.Bench, what: object) -> None:
    """Nothing temporary is left but kept tables, with whatever a server hangs on them."""
    bench.place.settle()
    left = [name for name in bench.place.leftovers() if not name.startswith((KEPT, PART))]
    assert left == [], what
    assert bench.open_rows() == [], what


def drop_kept(place: crash_place.Place) -> None:
    """Begin without kept tables; a file is copied anew anyway."""
    names = kept(place)
    if isinstance(place, crash_place.PostgresPlace):
        with place._raw() as raw:
            for name in names:
                raw.execute(f"DROP TABLE {name}")
    elif isinstance(place, crash_place.MariaDBPlace):
        place._do(*(f"DROP TABLE {name}" for name in names), "SELECT 1")


def keep_replaced(bench: crash_kit.Bench) -> None:
    """Write the config, with a swap that keeps what it replaces."""
    bench.write_config()
    config = yaml.safe_load(bench.config.read_text())
    config["transfers"]["swap"]["keep_previous"] = "24h"
    bench.config.write_text(yaml.safe_dump(config))


def begin(bench: crash_kit.Bench) -> None:
    """Have the old rows, and nothing kept."""
    bench.place.settle()
    drop_kept(bench.place)
    bench.place.reset(crash_kit.OLD)


def states(bench: crash_kit.Bench) -> list[list[crash_kit.Row]]:
    """The rows of the target and of each kept table."""
    place = bench.place
    found = [place.rows()]
    for name in kept(place):
        query = f"SELECT * FROM {name} ORDER BY id"
        if isinstance(place, crash_place.PostgresPlace):
            with place._raw() as raw:
                found.append(raw.execute(query).fetchall())
        elif isinstance(place, crash_place.MariaDBPlace):
            found.append(place._do(query))
        else:
            found.append(_read(place, name))
    return found


def _read(place: crash_place.Place, name: str) -> list[crash_kit.Row]:
    """Read a kept table of a file as `rows` reads the target: by a copy of that name."""
    assert isinstance(place, crash_place.DuckDBPlace | crash_place.SQLitePlace)
    if isinstance(place, crash_place.SQLitePlace):
        with contextlib.closing(sqlite3.connect(place.path)) as raw:
            rows = raw.execute(f"SELECT * FROM {name} ORDER BY id").fetchall()
        return [(number, datetime.date.fromisoformat(day), *rest) for number, day, *rest in rows]
    with duckdb.connect(str(place.path)) as raw:
        return raw.execute(f"SELECT * FROM {name} ORDER BY id").fetchall()


def points_of(run: list[fault.Point]) -> list[fault.Point]:
    """The points from the first one that names a kept table; a run is like any other before.

    After a statement is, for whoever is killed, the same moment as before the next one.
    """
    before = [point for point in run if not point.is_after]
    words = (KEPT, PART, "RENAME")
    named = (
        at for at, point in enumerate(before) if any(word in point.statement for word in words)
    )
    return before[max(next(named) - 1, 0) :]


@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_run_that_keeps_loses_nothing(bench: crash_kit.Bench) -> None:
    keep_replaced(bench)
    begin(bench)
    assert bench.run(MODE).code == 0  # sets the ledger up
    begin(bench)
    whole = bench.run(MODE)
    assert whole.code == 0, whole.log
    for point in points_of(whole.points):
        begin(bench)
        assert bench.run(MODE, fault.Fault(point.number, fault.Action.KILL)).code == -9
        bench.place.settle()
        found = states(bench)
        assert found[0] in (crash_kit.OLD, MODE.new), point
        assert crash_kit.OLD in found, point
        ended = bench.run(MODE)
        assert ended.code == 0, f"{point}: {ended.log}"
        after = states(bench)
        assert after[0] == MODE.new, point
        assert crash_kit.OLD in after[1:], point
        require_clean(bench, point)


@pytest.mark.parametrize("place_kind", conftest.PLACES)
def test_killed_rollback_loses_nothing(
    bench: crash_kit.Bench, people: fork.ForkServer, tmp_path: pathlib.Path
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

    prepare()
    whole = people.run(arguments, apart)
    assert whole.code == 0, whole.log
    assert states(bench) == [crash_kit.OLD, MODE.new]
    seen = set()
    for point in points_of(whole.points):
        prepare()
        ended = people.run(arguments, apart, fault.Fault(point.number, fault.Action.KILL))
        assert ended.code == -9, f"{point}: {ended.log}"
        bench.place.settle()
        found = states(bench)
        assert sorted(found) == sorted([crash_kit.OLD, MODE.new]), point
        is_back = found[0] == crash_kit.OLD
        seen.add(is_back)
        # Killed before it wrote down what the table holds that it kept, it is put back unproved.
        more = ["--unverified"] if is_back else []
        again = people.run([*arguments, *more], apart)
        assert again.code == 0, f"{point}: {again.log}"
        assert states(bench) == found[::-1], point
        require_clean(bench, point)
    assert seen == {False, True}
