"""What merges read grows with the rows that they touch, whatever the planner believes."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from tests.connectors import duckdb_kit, embedded_kit, mysql_kit, postgres_kit, sqlite_kit
from tmg_etl.connectors import base

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("v", pa.string())])
#: What the table is unique over, and what a merge compares by.
INDEXES = {
    "key": (", PRIMARY KEY (id, part)", ["id", "part"]),
    "text": (", PRIMARY KEY (part)", ["part"]),
    "none": ("", ["id", "part"]),
}
FACTOR, MOST = 4, 6
#: What the target holds, and what its statistics say: nothing, that it is empty, or the truth.
CASES = [
    ("empty", "missing"),
    ("empty", "stale"),
    ("equal", "stale"),
    ("equal", "good"),
    ("changed", "missing"),
    ("half", "stale"),
    ("larger", "stale"),
    ("larger", "good"),
]


def _rows(numbers: range, value: str) -> pa.RecordBatch:
    return postgres_kit.records(SCHEMA, *[[n, f"p{n}", value] for n in numbers])


class Postgres:
    """Blocks that statements read, as the server counts them."""

    marks: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.postgres]
    url = "postgres_url"
    few = 400

    def __init__(self, url: str) -> None:
        self._url = url
        self.read = 0

    def run(self, sql: str) -> None:
        postgres_kit.run_sql(self._url, sql)

    def fill(self, first: int, rows: int) -> None:
        self.run(
            f"INSERT INTO t SELECT g, 'p' || g, 'a'"
            f" FROM generate_series({first}, {first + rows - 1}) g"
        )

    def analyse(self) -> None:
        self.run("ANALYZE t")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with postgres_kit.opened(self._url) as target:
            yield target

    def stage(
        self, target: base.Target, rows: pa.RecordBatch, key: list[str], *, is_shadow: bool
    ) -> str:
        if is_shadow:
            return postgres_kit.fill_shadow(target, rows, key)
        return postgres_kit.stage(target, rows, key=key)

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        asked = target.rows

        def run(sql: str) -> int:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            plan = asked(explain)[0][0][0]["Plan"]
            self.read += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            return int(plan.get("Plans", [plan])[0]["Actual Rows"])

        def rows(sql: str) -> Any:
            run(sql)
            return asked(sql)

        with monkeypatch.context() as patch:
            patch.setattr(target, "run", run)
            patch.setattr(target, "rows", rows)
            yield


class MariaDB:
    """Rows that statements read, as the storage engine was asked for them."""

    marks: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.mariadb]
    url = "mariadb_url"
    few = 400

    def __init__(self, url: str) -> None:
        self._url = url
        self.read = 0

    def run(self, sql: str) -> None:
        if sql.startswith("CREATE TABLE"):
            sql += " STATS_AUTO_RECALC = 0"
        mysql_kit.run_sql(self._url, sql)

    def fill(self, first: int, rows: int) -> None:
        numbers = mysql_kit.numbers(first + rows - 1)
        columns = "SELECT seq, CONCAT('p', seq), 'a'"
        self.run(f"INSERT INTO t {columns} FROM ({numbers}) AS s WHERE seq >= {first}")

    def analyse(self) -> None:
        self.run("ANALYZE TABLE t")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with mysql_kit.opened(self._url) as target:
            yield target

    def stage(
        self, target: base.Target, rows: pa.RecordBatch, key: list[str], *, is_shadow: bool
    ) -> str:
        if not is_shadow:
            return mysql_kit.stage(target, pa.Table.from_batches([rows]), key)
        name = mysql_kit.NAMES.table("shadow", "t")
        target.create_shadow(name, [])
        mysql_kit.send(target, name, rows, key)
        target.finish_load(name, key)
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


class MySQL(MariaDB):
    """The same of MySQL."""

    marks: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.mysql]
    url = "mysql_url"


class Embedded:
    """A database in a file of this process."""

    marks: ClassVar[list[pytest.MarkDecorator]] = []
    url = "tmp_path"
    few = 400
    kit: ClassVar[Any]

    def __init__(self, folder: pathlib.Path) -> None:
        self._file = folder / "t.db"
        self.read = 0

    def run(self, sql: str) -> None:
        self.kit.sql(self._file, sql)

    def analyse(self) -> None:
        self.run("ANALYZE")

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        with self.kit.opened(self._file) as target:
            yield target

    def stage(
        self, target: base.Target, rows: pa.RecordBatch, key: list[str], *, is_shadow: bool
    ) -> str:
        name = embedded_kit.SHADOW if is_shadow else embedded_kit.STAGE
        if is_shadow:
            target.create_shadow(name, [])
        else:
            target.create_staging(name, rows.schema.names, pa.schema([]))
        target.load(name, embedded_kit.batch(rows), key)
        if is_shadow:
            target.finish_load(name, key)
        return name


class SQLite(Embedded):
    """Steps of SQLite's machine."""

    kit = sqlite_kit

    def fill(self, first: int, rows: int) -> None:
        numbers = (
            f"WITH RECURSIVE g (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM g LIMIT {rows})"
        )
        self.run(f"INSERT INTO t {numbers} SELECT n, 'p' || n, 'a' FROM g")

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def step() -> int:
            self.read += 1
            return 0

        connection = target._opened().connection
        connection.set_progress_handler(step, 10)
        yield
        connection.set_progress_handler(None, 0)


class DuckDB(Embedded):
    """Rows that DuckDB's operators read; of a loop, each pair."""

    kit = duckdb_kit
    few = 1000  # it reads vectors of 2,048
    # Its statistics are always true.
    cases: ClassVar[Any] = [(held, "missing") for held in dict.fromkeys(held for held, _ in CASES)]

    def fill(self, first: int, rows: int) -> None:
        self.run(f"INSERT INTO t SELECT n, 'p' || n, 'a' FROM range({first}, {first + rows}) r (n)")

    @contextlib.contextmanager
    def counting(self, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        cursor = target._opened().cursor
        cursor.execute("PRAGMA enable_profiling = 'no_output'")

        def profiled(ask: Callable[[str], Any]) -> Callable[[str], Any]:
            def asked(sql: str) -> Any:
                found = ask(sql)
                profile = json.loads(cursor.get_profiling_information(format="json"))
                self.read += sum(map(_rows_read, profile.get("operator", [])))
                return found

            return asked

        with monkeypatch.context() as patch:
            for name in ("run", "rows"):
                patch.setattr(target, name, profiled(getattr(target, name)))
            yield
        cursor.execute("PRAGMA disable_profiling")


def _rows_read(operator: Any) -> int:
    taken = [one["intermediate_rows"] for one in operator.get("children", [])]
    is_loop = operator["type"] in {"NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "CROSS_PRODUCT"}
    here = math.prod(taken) if is_loop else operator["intermediate_rows"]
    return int(here) + sum(map(_rows_read, operator.get("children", [])))


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
    unique, key = INDEXES[index]
    place.run(
        f"CREATE TABLE t (id bigint NOT NULL, part varchar(9) NOT NULL, v varchar(9){unique})"
    )
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
        first = rows // 2 if held == "half" else 0
        sent = _rows(
            range(first + 1, first + rows + 1), "b" if held in {"changed", "half"} else "a"
        )
        name = place.stage(target, sent, key, is_shadow=how == "diff")
        if how == "upsert":
            target.keep_latest(name, SCHEMA.names, key, [])
        elif index == "none":
            target.prepare_keys(name, key)
        with target.transaction(), place.counting(target, monkeypatch):
            if how == "diff":
                changes = target.diff(name, SCHEMA.names, key, None)
            else:
                changes = target.upsert(name, SCHEMA.names, key, ["v"], None)
        target.drop(name)
    assert changes.inserted == {"empty": rows, "half": rows // 2}.get(held, 0)
    assert changes.updated == {"changed": rows, "half": rows // 2}.get(held, 0)
    gone = {"larger": 4 * rows, "half": rows // 2}.get(held, 0)
    assert changes.deleted == (gone if how == "diff" else 0)
    return place.read


PLACES = (Postgres, MariaDB, MySQL, DuckDB, SQLite)


@pytest.fixture(params=[pytest.param(one, marks=one.marks, id=one.__name__) for one in PLACES])
def place(request: pytest.FixtureRequest) -> Any:
    return request.param(request.getfixturevalue(request.param.url))


@pytest.mark.parametrize("how", ["upsert", "diff"])
@pytest.mark.parametrize("index", INDEXES)
def test_four_times_the_rows_cost_six_times_the_reads_at_most(
    place: Any, monkeypatch: pytest.MonkeyPatch, how: str, index: str
) -> None:
    worse = []
    for held, statistics in getattr(place, "cases", CASES):
        case = {"how": how, "held": held, "index": index, "statistics": statistics}
        small, large = (
            _cost(place, n, monkeypatch, **case) for n in (place.few, FACTOR * place.few)
        )
        assert small > 0
        if large > MOST * small:
            worse.append((held, statistics, small, large))
    assert worse == []
