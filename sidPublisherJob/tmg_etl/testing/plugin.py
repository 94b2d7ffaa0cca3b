"""The pytest plugin: throw-away databases as fixtures, found by pytest where this is installed.

=====================  ======================================================================
fixture                what it is
=====================  ======================================================================
``postgres_server``    a running PostgreSQL, `servers.PostgresServer`; one for the session
``mariadb_server``     a running MariaDB, `servers.MariaDBServer`; one for the session
``mysql_server``       a running MySQL, `servers.MySQLServer`; one for the session
``postgres_url``       URL of a new, empty PostgreSQL database, dropped after the test
``mariadb_url``        URL of a new, empty MariaDB database, dropped after the test
``mysql_url``          URL of a new, empty MySQL database, dropped after the test
=====================  ======================================================================

Servers are started from the installed binaries when a test first asks for one, on a free port of
the loopback interface. What asks for one is marked ``postgres``, ``mariadb`` or ``mysql``, so
that ``-m "not mariadb"`` works without annotations.
"""

from __future__ import annotations

import secrets
import types
from collections.abc import Iterator

import pytest

from tmg_etl.testing import process, servers

MARKS = {
    "postgres": "needs a PostgreSQL server (started by the tests)",
    "mariadb": "needs a MariaDB server (started by the tests)",
    "mysql": "needs a MySQL server (started by the tests)",
}
_NOTHING = types.SimpleNamespace(params={})


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known to ``--strict-markers``."""
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server by what it asks for, or by the name of one among its parameters.

    A fixture with such a parameter asks for the server only when it runs.
    """
    for item in items:
        named = {str(one) for one in getattr(item, "callspec", _NOTHING).params.values()}
        for mark in MARKS:
            if mark in named or f"{mark}_server" in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """A running PostgreSQL server, one for the whole session."""
    with servers.PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[servers.MariaDBServer]:
    """A running MariaDB server, one for the whole session."""
    with servers.MariaDBServer() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[servers.MySQLServer]:
    """A running MySQL server, one for the whole session."""
    with servers.MySQLServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database."""
    yield from fresh_database(postgres_server)


@pytest.fixture
def mariadb_url(mariadb_server: servers.MariaDBServer) -> Iterator[str]:
    """URL of a new, empty MariaDB database."""
    yield from fresh_database(mariadb_server)


@pytest.fixture
def mysql_url(mysql_server: servers.MySQLServer) -> Iterator[str]:
    """URL of a new, empty MySQL database."""
    yield from fresh_database(mysql_server)


def fresh_database(server: process.Server) -> Iterator[str]:
    """Yield the URL of a new database, and drop it afterwards; starts a server that is down."""
    # A test may have stopped the server to see what happens.
    server.start()
    name = f"test_{secrets.token_hex(4)}"
    yield server.create_database(name)
    server.start()
    server.drop_database(name)
