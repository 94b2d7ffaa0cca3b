"""Readers that join the tables of a group while it is published never see two days at once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance import mysql_place, postgres_place
from tmg_etl.testing import servers
from tmg_etl.testing.conformance import pair as pair_module

_RUNS = 6
_ROWS = 40

Reading = tuple[pair_module.Pair, Callable[[], Any]]


@pytest.fixture
def postgres(postgres_server: servers.PostgresServer) -> Iterator[Reading]:
    name = f"readers_{secrets.token_hex(4)}"
    place = postgres_place.PostgresPlace(postgres_server.create_database(name))
    yield pair_module.Pair(place), lambda: postgres_server.connect(name)
    place.close()
    postgres_server.drop_database(name)


@pytest.fixture
def mariadb(mariadb_server: servers.MariaDBServer) -> Iterator[Reading]:
    yield from _of_mysql(mariadb_server)


@pytest.fixture
def mysql(mysql_server: servers.MySQLServer) -> Iterator[Reading]:
    yield from _of_mysql(mysql_server)


def _of_mysql(server: servers.MySQLFamilyServer) -> Iterator[Reading]:
    name = f"readers_{secrets.token_hex(4)}"
    place = mysql_place.MySQLPlace(server, name)
    yield pair_module.Pair(place), lambda: server.connect(name)
    place.close()
    server.drop_database(name)


SERVERS = pytest.mark.parametrize("server", ["postgres", "mariadb", "mysql"])


@SERVERS
def test_a_transaction_sees_one_day_of_a_group_that_is_published_in_place(
    server: str, request: pytest.FixtureRequest
) -> None:
    pair, connect = request.getfixturevalue(server)
    pair.publish(pair_module.OLD_PARENT, pair_module.OLD_CHILD)
    with connect() as raw, raw.cursor() as cursor:
        cursor.execute(
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"
            if server == "postgres"
            else "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        )
        cursor.execute("START TRANSACTION")
        cursor.execute(f"SELECT count(*) FROM {pair.parent} WHERE id = 1")
        assert cursor.fetchall()[0][0] == 1
        pair.publish(
            pair_module.NEW_PARENT,
            pair_module.NEW_CHILD,
            settings=pair_module.settings(publish="diff"),
        )
        cursor.execute(f"SELECT id FROM {pair.child} ORDER BY id")
        assert [number for (number,) in cursor.fetchall()] == [10, 11, 12]
        cursor.execute("COMMIT")
        cursor.execute(f"SELECT id FROM {pair.child} ORDER BY id")
        assert [number for (number,) in cursor.fetchall()] == [10, 11, 13]


@pytest.mark.parametrize("publish", ["auto", "diff"])
@SERVERS
def test_readers_that_join_tables_of_a_group_see_one_day(
    server: str, publish: str, request: pytest.FixtureRequest
) -> None:
    pair, connect = request.getfixturevalue(server)
    settings = pair_module.settings(publish=publish)

    def publish_day(day: int) -> None:
        rows = pair_module.rows_of(*((number, day, f"day {day}") for number in range(_ROWS)))
        pair.publish(rows, rows, settings=settings)

    publish_day(0)
    query = (
        f"SELECT p.parent, c.parent, count(*) FROM {pair.parent} AS p LEFT JOIN {pair.child} AS c"
        " ON p.id = c.id GROUP BY p.parent, c.parent"
    )
    seen: list[tuple[Any, ...]] = []
    failures: list[BaseException] = []
    is_over = threading.Event()

    def read() -> None:
        try:
            with connect() as raw, raw.cursor() as cursor:
                while not is_over.is_set():
                    cursor.execute(query)
                    seen.append(tuple(cursor.fetchall()))
        except Exception as error:  # noqa: BLE001 - the test fails with it
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for day in range(1, _RUNS + 1):
            publish_day(day)
    finally:
        is_over.set()
        for reader in readers:
            reader.join(30)
    assert failures == []
    mixed = [rows for rows in seen if len(rows) != 1 or rows[0][0] != rows[0][1]]
    assert mixed == []
    assert {rows[0][2] for rows in seen} == {_ROWS}
    # They read while it was published, and not before and after it only.
    assert len({rows[0][0] for rows in seen}) > _RUNS // 2
