"""Fixtures that every test may use."""

import secrets
from collections.abc import Iterator

import pytest

from tmg_etl.testing import process, servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server by what it asks for: `-m "not mariadb"` needs no annotations."""
    for item in items:
        for system in ("postgres", "mariadb"):
            if f"{system}_server" in getattr(item, "fixturenames", ()):
                item.add_marker(system)


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


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database."""
    yield from _fresh_database(postgres_server)


@pytest.fixture
def mariadb_url(mariadb_server: servers.MariaDBServer) -> Iterator[str]:
    """URL of a new, empty MariaDB database."""
    yield from _fresh_database(mariadb_server)


def _fresh_database(server: process.Server) -> Iterator[str]:
    # A test may have stopped the server to see what happens.
    server.start()
    name = f"test_{secrets.token_hex(4)}"
    yield server.create_database(name)
    server.start()
    server.drop_database(name)
