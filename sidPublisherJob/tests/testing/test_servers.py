"""The servers that other tests rely on."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pymysql
import pytest

from tmg_etl.testing import process, servers


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(servers.PostgresServer, marks=pytest.mark.postgres),
        pytest.param(servers.MariaDBServer, marks=pytest.mark.mariadb),
        pytest.param(servers.MySQLServer, marks=pytest.mark.mysql),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[process.Server]:
    with request.param(durable=True) as started:
        yield started


def query(server: process.Server, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def keep_a_row(server: process.Server, database: str) -> None:
    server.create_database(database)
    query(server, "CREATE TABLE t (a integer)", database)
    query(server, "INSERT INTO t VALUES (42)", database)


def test_restart_keeps_data_and_port(server: process.Server) -> None:
    keep_a_row(server, "restarted")
    before = server.url("restarted")
    server.restart()
    assert server.url("restarted") == before
    assert query(server, "SELECT a FROM t", "restarted") == [(42,)]


def test_durable_server_keeps_committed_rows_when_killed(server: process.Server) -> None:
    keep_a_row(server, "killed")
    server.kill()
    server.start()
    assert query(server, "SELECT a FROM t", "killed") == [(42,)]


def test_stopped_server_refuses_connections(server: process.Server) -> None:
    server.stop()
    with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
        server.connect()
    server.start()


def test_suspended_server_answers_nothing_until_it_resumes(server: process.Server) -> None:
    answered = threading.Event()

    def ask() -> None:
        query(server, "SELECT 1")
        answered.set()

    server.suspend()
    try:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert not answered.wait(0.5)
    finally:
        server.resume()
    assert answered.wait(30)
    asking.join()


def test_suspended_server_can_be_stopped(server: process.Server) -> None:
    server.suspend()
    server.restart()
    assert query(server, "SELECT 1") == [(1,)]


def test_memory_is_used_only_where_there_is_room() -> None:
    assert process.memory(2**62) is None


def test_database_is_dropped_under_an_open_transaction(server: process.Server) -> None:
    keep_a_row(server, "busy")
    client = server.connect("busy")
    with client.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT a FROM t")
        server.drop_database("busy")
    client.close()
    server.drop_database("busy")  # a second time is harmless


def test_url_quotes_the_password_and_another_user(server: process.Server) -> None:
    assert server.password not in server.url("x")
    assert server.url("x", user="a b", password="c:d").split("//")[1] == (
        f"a%20b:c%3Ad@127.0.0.1:{server.port}/x"
    )


def test_close_removes_the_folder(server: process.Server) -> None:
    other = type(server)()
    other.start()
    folder = other.folder
    other.close()
    assert not folder.exists()
    with pytest.raises(process.ServerError, match="start"):
        _ = other.folder


def test_server_ends_with_a_killed_test_session(server: process.Server) -> None:
    kind = type(server).__name__
    script = (
        f"from tmg_etl.testing import servers; s = servers.{kind}(); s.start();"
        "print(s.folder, s.port, flush=True); input()"
    )
    session = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    folder = pathlib.Path(session.stdout.readline().split()[0])
    assert folder.is_dir()
    os.kill(session.pid, signal.SIGKILL)
    session.communicate()
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(servers.MariaDBServer, marks=pytest.mark.mariadb),
        pytest.param(servers.MySQLServer, marks=pytest.mark.mysql),
    ],
)
class TestMySQLFamily:
    def test_local_infile_can_be_forbidden(self, kind: type[servers.MySQLFamilyServer]) -> None:
        with kind(local_infile=False) as server:
            assert query(server, "SELECT @@local_infile") == [(0,)]

    def test_server_that_stops_at_once_shows_its_log(
        self, kind: type[servers.MySQLFamilyServer]
    ) -> None:
        server = kind(settings={"no-such-option": "1"})
        with pytest.raises(process.ServerError, match="no-such-option"):
            server.start()
        server.close()


@pytest.mark.mysql
def test_mariadb_is_not_taken_for_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find", lambda *_: pathlib.Path("/usr/sbin/mariadbd"))
    with pytest.raises(process.ServerError, match="is MariaDB"):
        servers.MySQLServer().start()


def test_missing_binary_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    process.find.cache_clear()
    with pytest.raises(process.ServerError, match=r"initdb .*package postgresql"):
        servers.PostgresServer().start()


def test_fixture_gives_an_empty_postgres_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        count = connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone()
        assert count == (0,)
        assert connection.execute("SHOW lc_collate").fetchone() == ("C.UTF-8",)


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_fixture_gives_an_empty_mysql_database(kind: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(f"{kind}_url").rpartition("/")[2]
    server = request.getfixturevalue(f"{kind}_server")
    assert query(server, "SHOW TABLES", name) == []
    assert query(server, "SELECT @@character_set_server, @@local_infile") == [("utf8mb4", 1)]
    assert ("MariaDB" in str(query(server, "SELECT VERSION()"))) is (kind == "mariadb")
