"""A table that is replaced between two statements that look at it: one of both is described."""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.connectors import duckdb_kit, mysql_kit, postgres_kit, sqlite_kit
from tmg_etl import errors
from tmg_etl.connectors import sql
from tmg_etl.connectors.duckdb import database as duckdb_database
from tmg_etl.connectors.mysql import session as mysql_session
from tmg_etl.connectors.postgres import catalog as postgres_catalog
from tmg_etl.connectors.postgres import session as postgres_session
from tmg_etl.connectors.sqlite import database as sqlite_database

OLD = "CREATE TABLE t (id int NOT NULL PRIMARY KEY, a int)"
NEW = "CREATE TABLE n (id int NOT NULL PRIMARY KEY, b int, c int)"
SWAP = ("ALTER TABLE t RENAME TO o", "ALTER TABLE n RENAME TO t", "DROP TABLE o")
#: More than any connector takes to describe a table.
MOST_STATEMENTS = 40


class Place:
    """A database in which a table is replaced, by a session of its own, before some statement."""

    def __init__(self, session: type[Any], opened: Callable[..., Any], *methods: str) -> None:
        self.session, self.opened = session, opened
        self.methods = {name: getattr(session, name) for name in methods or ("rows",)}

    def replaced_before(
        self, number: int, swap: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[int]:
        """Return the count of statements; the swap comes before the one of that number."""
        count = itertools.count(1)
        is_swapping = False

        def watch(real: Callable[..., Any]) -> Callable[..., Any]:
            def watched(session: Any, *arguments: Any, **options: Any) -> Any:
                nonlocal is_swapping
                if not is_swapping and next(count) == number:
                    is_swapping = True
                    swap()
                    is_swapping = False
                return real(session, *arguments, **options)

            return watched

        for name, real in self.methods.items():
            monkeypatch.setattr(self.session, name, watch(real))
        return count


def _check(
    place: Place,
    run: Callable[..., object],
    swap: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(1, MOST_STATEMENTS):
        run("DROP TABLE IF EXISTS t", "DROP TABLE IF EXISTS n", "DROP TABLE IF EXISTS o", OLD, NEW)
        with place.opened() as target, monkeypatch.context() as patch:
            count = place.replaced_before(number, swap, patch)
            found = target.describe()
        assert [column.name for column in found.columns] in (["id", "a"], ["id", "b", "c"]), number
        assert found.primary_key == ("id",)
        if next(count) <= number:
            return
    raise AssertionError("it takes more statements")


def test_postgres(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(postgres_session.Session, lambda: postgres_kit.opened(postgres_url))
    kit_run = postgres_kit.run_sql
    _check(
        place,
        lambda *statements: kit_run(postgres_url, *statements),
        lambda: kit_run(postgres_url, *SWAP),
        monkeypatch,
    )


def test_mysql(either_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(mysql_session.Session, lambda: mysql_kit.opened(either_url))
    kit_run = mysql_kit.run_sql
    _check(
        place,
        lambda *statements: kit_run(either_url, *statements),
        lambda: kit_run(either_url, "RENAME TABLE t TO o, n TO t", "DROP TABLE o"),
        monkeypatch,
    )


def test_sqlite(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    sqlite_kit.sql(path, "PRAGMA journal_mode = wal")
    place = Place(sqlite_database.Session, lambda: sqlite_kit.connect(path).open_target("t"))
    _check(
        place,
        lambda *statements: sqlite_kit.sql(path, *statements),
        lambda: sqlite_kit.sql(path, *SWAP),
        monkeypatch,
    )


def test_duckdb(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wh.duckdb"
    connection = duckdb_kit.connect(path)

    def run(*statements: str) -> None:
        for statement in statements:
            connection.execute(statement)

    run(OLD)
    place = Place(
        duckdb_database.Session, lambda: connection.open_target("t"), "facts", "described"
    )
    _check(place, run, lambda: run(*SWAP), monkeypatch)


def test_a_table_that_has_gone_since_the_snapshot_is_temporary(postgres_url: str) -> None:
    postgres_kit.run_sql(postgres_url, OLD, "INSERT INTO t VALUES (1, 1)")
    with postgres_kit.opened(postgres_url) as target:
        session = target._session
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.rows("SELECT 1 FROM pg_class LIMIT 1")
        postgres_kit.run_sql(postgres_url, "DROP TABLE t")
        with pytest.raises(sql.ReplacedError, match="while it was looked at") as caught:
            postgres_catalog.find(session, "public", "t")
        assert caught.value.exit_code == errors.EXIT_TEMPORARY
        session.roll_back()
        assert postgres_catalog.find(session, "public", "t") is None
