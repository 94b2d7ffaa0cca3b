"""The pipelines that docs/pipeline.md shows do what it says, and the kit can test them."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import sqlite3

import pyarrow as pa
import pytest
from pyarrow import parquet

from tmg_etl import errors, testing
from tmg_etl.config import loader
from tmg_etl.run import WriteMode
from tmg_etl.transfer import plan

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "pipeline.md").read_text(encoding="utf-8")
DAY = datetime.date(2013, 1, 3)


def block(language: str, word: str) -> str:
    """The page's code in a language that has a word in it."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (only,) = [text for text in found if word in text]
    return str(only)


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where the page's package can be imported from, and a lake with flights."""
    package = tmp_path / "documented"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "daily.py").write_text(block("python", "class DailyFlights"))
    (package / "vacuum.py").write_text(block("python", "class Vacuum"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lake").mkdir()
    days = [DAY - datetime.timedelta(days=number % 3) for number in range(10)]
    parquet.write_table(pa.table({"flight_date": days}), tmp_path / "lake" / "flights.parquet")
    return tmp_path


def declare(folder: pathlib.Path, more: str) -> pathlib.Path:
    """Write a config around what the page shows."""
    head = (
        "connections:\n"
        "  lake: {type: files, url: lake/}\n"
        '  serving: {type: sqlite, url: "sqlite:///serving.db"}\n'
        'ledger: "sqlite:///ledger.db"\n'
    )
    place = folder / "etl.yaml"
    place.write_text(head + more.replace("my_package", "documented"))
    return place


def test_daily_flights_are_equal_to_what_the_pipeline_derives(folder: pathlib.Path) -> None:
    config = declare(folder, block("yaml", "DailyFlights"))
    testing.assert_idempotent(config, "flights_by_day", day=DAY)
    testing.assert_equal(config, "flights_by_day", day=DAY)
    with contextlib.closing(sqlite3.connect(folder / "serving.db")) as raw, raw:
        assert raw.execute("SELECT flights FROM flights_by_day ORDER BY 1").fetchall() == [
            (3,),
            (3,),
            (4,),
        ]
        raw.execute("UPDATE flights_by_day SET flights = 5 WHERE flights = 4")
    with pytest.raises(AssertionError, match=r"1 rows changed: .*'flights': 4}, {'flights': 5}"):
        testing.assert_equal(config, "flights_by_day", day=DAY)


def test_of_vacuum_nothing_is_planned_that_it_does_not_do(folder: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "serving.db")) as raw, raw:
        raw.execute("CREATE TABLE session (ended_on TEXT)")
        raw.execute("INSERT INTO session VALUES ('2013-01-01'), ('2013-01-05')")
    config = declare(
        folder,
        "packages: [documented]\n"
        "transfers:\n"
        "  vacuum:\n"
        "    source: {connection: lake, table: flights}\n"
        "    target: {connection: serving, table: session}\n"
        "    pipeline: documented.vacuum:Vacuum\n",
    )
    found = plan.make(
        loader.load(str(config)),
        "vacuum",
        execution_date=DAY,
        delta_start_date=None,
        write_mode=WriteMode.TRUNCATE,
    )
    assert (found.source, found.publish, found.ingest, found.verify) == (None,) * 4
    assert (found.target, found.exit_code) == ("serving: session", 0)
    outcome = testing.run_pipeline(config, "vacuum", day=DAY)
    assert (outcome.error, outcome.result.rows_deleted) == (None, 1)
    with pytest.raises(errors.ConfigError, match="runs code of its own"):
        testing.assert_equal(config, "vacuum", day=DAY)


def test_the_latest_version_of_each_key_is_what_a_delta_publishes(folder: pathlib.Path) -> None:
    days = [DAY - datetime.timedelta(days=1), DAY, DAY]
    facts = pa.table({"id": [1, 1, 2], "day": days, "gone": [0, 0, 1]})
    parquet.write_table(facts, folder / "lake" / "facts.parquet")
    config = declare(
        folder,
        "transfers:\n"
        "  facts:\n"
        "    source: {connection: lake, table: facts}\n"
        "    target: {connection: serving, table: facts}\n"
        "    key: [id]\n"
        "    delta: {cursor: day, order_by: [day], deleted: gone = 1}\n",
    )
    start = days[0]
    outcome = testing.run_pipeline(config, "facts", "delta", day=DAY, start=start)
    assert outcome.error is None
    testing.assert_equal(config, "facts", day=DAY)
    testing.assert_equal(config, "facts", day=DAY, write_mode="delta", start=start)
    with contextlib.closing(sqlite3.connect(folder / "serving.db")) as raw, raw:
        raw.execute("INSERT INTO facts VALUES (2, '2013-01-01', 0)")
    with pytest.raises(AssertionError, match="1 rows too many"):
        testing.assert_equal(config, "facts", day=DAY)
