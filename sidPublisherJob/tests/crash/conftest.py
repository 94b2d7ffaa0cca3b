"""The fork server, and a bench for each kind of database."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.crash import crash_kit, crash_place
from tmg_etl.testing import fork

SERVERS = ["postgres", "mariadb", "mysql"]
PLACES = [*SERVERS, "duckdb", "sqlite"]


def patience(seconds: float) -> dict[str, object]:
    """Return constants of the product: how long runs wait for other sessions of a database.

    How long they are patient is no subject here, and a test should not be.
    """
    whole = max(1, round(seconds))
    return {
        "tmg_etl.connectors.postgres.session:LOCK_PATIENCE_S": seconds,
        "tmg_etl.connectors.postgres.session:_SETTINGS": {
            "lock_timeout": f"{seconds * 1000:.0f}ms"
        },
        "tmg_etl.connectors.mysql.session:_SETTINGS": {
            "lock_wait_timeout": whole,
            "innodb_lock_wait_timeout": whole,
        },
        "tmg_etl.connectors.mysql.swap:_PATIENCE_S": seconds,
        "tmg_etl.connectors.sqlite.database:_BUSY_S": seconds,
        "tmg_etl.connectors.sqlite.database:_BRIEF_S": seconds,
    }


@pytest.fixture(scope="session")
def memory(request: pytest.FixtureRequest, empty_ledger: pathlib.Path) -> crash_kit.Memory:
    """What is known after the first of many equal runs; with `--full`, nothing is left out."""
    return crash_kit.Memory(bool(request.config.getoption("full")), empty_ledger)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[fork.ForkServer]:
    with fork.ForkServer(patience(1.0)) as server:
        yield server


@pytest.fixture(scope="session")
def people() -> Iterator[fork.ForkServer]:
    """Runs of the command `tmg-etl`."""
    with fork.ForkServer(patience(1.0), command="tmg_etl.cli.people") as server:
        yield server


def make_place(
    kind: str, folder: pathlib.Path, request: pytest.FixtureRequest
) -> crash_place.Place:
    match kind:
        case "postgres":
            return crash_place.PostgresPlace(folder, request.getfixturevalue("postgres_server"))
        case "mariadb" | "mysql":
            return crash_place.MySQLPlace(folder, request.getfixturevalue(f"{kind}_server"))
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
    memory: crash_kit.Memory,
) -> Iterator[crash_kit.Bench]:
    place = make_place(place_kind, tmp_path, request)
    with crash_kit.ready(crash_kit.Bench(place, fork_server, tmp_path, memory)) as made:
        yield made
