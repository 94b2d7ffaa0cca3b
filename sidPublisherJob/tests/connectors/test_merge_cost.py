"""What merges read grows with the rows that they touch, whatever the planner believes."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from tests.connectors import embedded_kit, mysql_kit, postgres_kit, sqlite_kit
from tmg_etl.connectors import base

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("v", pa.string())])
KEY = ["id", "part"]
FEW, FACTOR, MOST = 400, 4, 6
#: What the target holds, and what its statistics say: nothing, that it is empty, or the truth.
CASES = [
    ("empty", "missing"),
    ("empty", "stale"),
    ("equal", "stale"),
    ("equal", "good"),
    ("changed", "missing"),
    ("larger", "stale"),
    ("larger", "good"),
]


def _rows(numbers: range, value: str) -> pa.RecordBatch:
    return postgres_kit.records(SCHEMA, *[[n, "p", value] for n in numbers])


class Postgres:
    """Blocks that statements read, as the server counts them."""

    marks: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.postgres]
    url = "postgres_url"

    def __init__(self, url: str) -> None:
        self._url = url
        self.read = 0

    def run(self, sql: str) -> None:
        postgres_kit.run_sql(self._url, sql)

    def fill(self, first: int, rows: int) -> None:
        self.run(
            f"INSERT INTO t SELECT g, 'p', 'a' FROM generate_series({first}, {first + rows - 1}) g"
        )

    def analyse(self) -> None:
        self.run("ANALYZE t")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with postgres_kit.opened(self._url) as target:
            yield target

    def stage(self, target: base.Target, rows: pa.RecordBatch, *, is_shadow: bool) -> str:
        if is_shadow:
            return postgres_kit.fill_shadow(target, rows, KEY)
        return postgres_kit.stage(target, rows, key=KEY)

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def run(sql: str) -> int:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            plan = target.rows(explain)[0][0][0]["Plan"]
            self.read += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            return int(plan["Plans"][0]["Actual Rows"])

        with monkeypatch.context() as patch:
            patch.setattr(target, "run", run)
            yield


class MariaDB:
    """Rows that statements read, as the storage engine was asked for them."""

    marks: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.mariadb]
    url = "mariadb_url"

    def __init__(self, url: str) -> None:
        self._url = url
        self.read = 0

    def run(self, sql: str) -> None:
        if sql.startswith("CREATE TABLE"):
            sql += " STATS_AUTO_RECALC = 0"
        mysql_kit.run_sql(self._url, sql)

    def fill(self, first: int, rows: int) -> None:
        self.run(f"INSERT INTO t SELECT seq, 'p', 'a' FROM seq_{first}_to_{first + rows - 1}")

    def analyse(self) -> None:
        self.run("ANALYZE TABLE t")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with mysql_kit.opened(self._url) as target:
            yield target

    def stage(self, target: base.Target, rows: pa.RecordBatch, *, is_shadow: bool) -> str:
        if not is_shadow:
            return mysql_kit.stage(target, pa.Table.from_batches([rows]), KEY)
        name = mysql_kit.NAMES.table("shadow", "t")
        target.create_shadow(name, [])
        mysql_kit.send(target, name, rows, KEY)
        target.finish_load(name, KEY)
        return name

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        before = self._reads(target)
        yield
        self.read += self._reads(target) - before

    def _reads(self, target: Any) -> int:
        return sum(
            int(value) for _, value in target.rows("SHOW SESSION STATUS LIKE 'Handler_read%'")
        )


class SQLite:
    """Steps of SQLite's machine."""

    marks: ClassVar[list[pytest.MarkDecorator]] = []
    url = "tmp_path"

    def __init__(self, folder: pathlib.Path) -> None:
        self._file = folder / "t.db"
        self.read = 0

    def run(self, sql: str) -> None:
        with contextlib.closing(sqlite3.connect(self._file)) as raw, raw:
            raw.execute(sql)

    def fill(self, first: int, rows: int) -> None:
        numbers = (
            f"WITH RECURSIVE g (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM g LIMIT {rows})"
        )
        self.run(f"INSERT INTO t {numbers} SELECT n, 'p', 'a' FROM g")

    def analyse(self) -> None:
        self.run("ANALYZE")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with sqlite_kit.opened(self._file) as target:
            yield target

    def stage(self, target: base.Target, rows: pa.RecordBatch, *, is_shadow: bool) -> str:
        name = embedded_kit.SHADOW if is_shadow else embedded_kit.STAGE
        if is_shadow:
            target.create_shadow(name, [])
        else:
            target.create_staging(name, rows.schema.names, pa.schema([]))
        target.load(name, embedded_kit.batch(rows), KEY)
        if is_shadow:
            target.finish_load(name, KEY)
        return name

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def step() -> int:
            self.read += 1
            return 0

        connection = target._opened().connection
        connection.set_progress_handler(step, 10)
        yield
        connection.set_progress_handler(None, 0)


def _cost(
    place: Any,
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    how: str,
    held: str,
    index: str,
    statistics: str,
) -> int:
    place.run("DROP TABLE IF EXISTS t")
    key = ", PRIMARY KEY (id, part)" if index == "key" else ""
    place.run(f"CREATE TABLE t (id bigint NOT NULL, part varchar(9) NOT NULL, v varchar(9){key})")
    if statistics == "stale":
        place.analyse()
    if held != "empty":
        place.fill(1, rows)
    if held == "larger":
        place.fill(10 * rows, 4 * rows)
    if statistics == "good":
        place.analyse()
    place.read = 0
    with place.opened() as target:
        sent = _rows(range(1, rows + 1), "b" if held == "changed" else "a")
        name = place.stage(target, sent, is_shadow=how == "diff")
        if how == "upsert":
            target.keep_latest(name, SCHEMA.names, KEY, [])
        elif index == "none":
            target.prepare_keys(name, KEY)
        with target.transaction(), place.counting(target, monkeypatch):
            if how == "diff":
                changes = target.diff(name, SCHEMA.names, KEY, None)
            else:
                changes = target.upsert(name, SCHEMA.names, KEY, ["v"], None)
        target.drop(name)
    assert changes.inserted == (rows if held == "empty" else 0)
    assert changes.updated == (rows if held == "changed" else 0)
    assert changes.deleted == (4 * rows if (held, how) == ("larger", "diff") else 0)
    return place.read


PLACES = (Postgres, MariaDB, SQLite)


@pytest.fixture(params=[pytest.param(one, marks=one.marks, id=one.__name__) for one in PLACES])
def place(request: pytest.FixtureRequest) -> Any:
    return request.param(request.getfixturevalue(request.param.url))


@pytest.mark.parametrize("how", ["upsert", "diff"])
@pytest.mark.parametrize("index", ["key", "none"])
def test_four_times_the_rows_cost_six_times_the_reads_at_most(
    place: Any, monkeypatch: pytest.MonkeyPatch, how: str, index: str
) -> None:
    worse = []
    for held, statistics in CASES:
        case = {"how": how, "held": held, "index": index, "statistics": statistics}
        small, large = (_cost(place, n, monkeypatch, **case) for n in (FEW, FACTOR * FEW))
        assert small > 0
        if large > MOST * small:
            worse.append((held, statistics, small, large))
    assert worse == []
