"""The fork server, and a bench for each kind of database."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.crash import crash_kit, crash_place
from tmg_etl.testing import fork

PLACES = [
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
    "duckdb",
    "sqlite",
]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[fork.ForkServer]:
    # How long runs are patient is no subject here, and a test should not be.
    constants = {
        "tmg_etl.connectors.postgres.session:LOCK_PATIENCE_S": 1.0,
        "tmg_etl.connectors.postgres.session:_SETTINGS": {"lock_timeout": "1s"},
        "tmg_etl.connectors.postgres.target:_WRITERS_WAIT_MS": 1000,
        "tmg_etl.connectors.mysql.session:_SETTINGS": {
            "lock_wait_timeout": 1,
            "innodb_lock_wait_timeout": 1,
        },
        "tmg_etl.connectors.mysql.swap:_PATIENCE_S": 1.0,
        "tmg_etl.connectors.sqlite.database:_BUSY_S": 1.0,
    }
    with fork.ForkServer(constants) as server:
        yield server


@pytest.fixture(scope="session")
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


def make_place(
    kind: str, folder: pathlib.Path, request: pytest.FixtureRequest
) -> crash_place.Place:
    match kind:
        case "postgres":
            return crash_place.PostgresPlace(folder, request.getfixturevalue("postgres_server"))
        case "mariadb":
            return crash_place.MariaDBPlace(folder, request.getfixturevalue("mariadb_server"))
        case "duckdb":
            return crash_place.DuckDBPlace(folder)
        case _:
            return crash_place.SQLitePlace(folder)


@pytest.fixture
def bench(
    place_kind: str,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
    fork_server: fork.ForkServer,
) -> Iterator[crash_kit.Bench]:
    with crash_kit.opened(make_place(place_kind, tmp_path, request)) as place:
        made = crash_kit.Bench(place, fork_server, tmp_path)
        made.write_config()
        yield made
