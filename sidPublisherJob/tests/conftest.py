"""Fixtures that every test may use."""

from __future__ import annotations

import collections
import os
import pathlib
import secrets
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from tests import duration
from tests.bigquery import emulator
from tests.guarantee import record
from tmg_etl.testing import process, servers

if TYPE_CHECKING:
    from tests.bigquery import wire

ON_REQUEST = ("cluster", "gcp")
"""Marks of what runs only when `-m` names it: it needs something that no test can start."""

NOT_IN_CHECK = ("postgres", "mariadb", "mysql", "bigquery", "bucket", "image", "slow")
"""Marks of what `script/check` has no time for: it needs a server, or is long."""

_SERVERS = {
    "bigquery_server": "bigquery",
    **dict.fromkeys(
        ("fake", "google_api", "google_place", "moto_url", "bucket", "amazon_endpoint"), "bucket"
    ),
}
"""Marks of what asks for a fixture with a server; those with one for a parameter say so there."""

_THINNED = (
    "tests/conformance/test_bigquery_",
    "tests/conformance/test_files_bucket_",
    "tests/security/test_identifier.py::test_odd_name_of_everything",
)
_THINNED_ON_MYSQL = ("tests/conformance/test_mysql_", "tests/connectors/test_merge_cost.py")
_STRIDE = 3
"""Of the cases of each function here, each third one is run without `--full`."""

_ON_MYSQL = (
    "tests/connectors/",
    "tests/conformance/",
    "tests/crash/test_concurrency.py",
    "tests/crash/test_kill.py::test_killed_run_leaves_old_or_new_state",
    "tests/e2e/test_constraint.py::test_a_column_that_nobody_fills_names_itself",
    "tests/e2e/test_least_rights.py",
    "tests/e2e/test_mysql_json.py",
    "tests/e2e/test_mysql_table.py",
    "tests/e2e/test_plan_readiness.py::test_missing_rights_are_named",
    "tests/e2e/test_schema_dump.py",
    "tests/e2e/test_value.py",
    "tests/examples/",
    "tests/ledger/",
    "tests/security/test_identifier.py::test_odd_name_of_a_column_alone",
    "tests/testing/",
)
"""What runs on MySQL without `--full` or `-m mysql`: what its server decides. The rest is the same
code of ours, which MariaDB has proved."""

NEWEST_POSTGRES = pathlib.Path(sys.prefix, "postgresql/usr/lib/postgresql/18/bin")
"""Where `script/bootstrap --newest` unpacks it."""

_TEMPORARY = "tmg-tests-"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what script/test passes through."""
    parser.addoption(
        "--full",
        action="store_true",
        help="the whole matrix, also what is marked `full`; a rerun after every fault, unmemoised;"
        " feeds docs/guarantees.md",
    )
    parser.addoption(
        "--newest",
        action="store_true",
        help="PostgreSQL 18 for the tests of PostgreSQL, instead of the installed version",
    )
    parser.addoption(
        "--check",
        action="store_true",
        help="what needs no server, DuckDB's conformance, and one run killed at each statement",
    )
    parser.addoption(
        "--slowest",
        action="store_true",
        help="run nothing; print what the items took when they last ran in this clone",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer `--slowest`."""
    if not config.option.slowest:
        return None
    sys.stdout.write(duration.render(duration.load()) + "\n")
    return 0


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep `tmp_path` in memory where there is room, and have child processes heed SIGINT.

    A shell has what it starts in the background ignore it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(duration.Recorder())
    if config.option.newest:
        servers.PostgresServer.programs = NEWEST_POSTGRES
    root = process.memory()
    if config.option.basetemp is None and root is not None:
        # Of sessions that failed or were killed; those that are under way keep theirs.
        for folder in root.glob(f"{_TEMPORARY}*"):
            if not pathlib.Path(f"/proc/{folder.name.rpartition('-')[2]}").exists():
                shutil.rmtree(folder, ignore_errors=True)
        config.option.basetemp = root / f"{_TEMPORARY}{secrets.token_hex(4)}-{os.getpid()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the memory back, unless a test failed, whose files may tell why."""
    folder = config.option.basetemp
    is_ours = folder is not None and pathlib.Path(folder).name.startswith(_TEMPORARY)
    session = config.pluginmanager.get_plugin("session")
    if is_ours and not getattr(session, "testsfailed", 0):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs an emulator, leave out what was not asked for, and put the rest in order."""
    for item in items:
        for fixture, mark in _SERVERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
    asked = str(config.getoption("markexpr"))
    unasked = [mark for mark in ON_REQUEST if mark not in asked]
    gone = {item for item in items if any(item.get_closest_marker(mark) for mark in unasked)}
    if not config.option.full:
        gone |= _left_to_full(items, asked)
    if config.option.check:
        gone |= _left_out_of_check(items)
    if gone:
        config.hook.pytest_deselected(items=list(gone))
        items[:] = [item for item in items if item not in gone]
    # Where several processes share them, nobody may be left with a long one at the end, and those
    # of the image, which each process would wait for, stay together.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    items.sort(key=lambda item: item.get_closest_marker("image") is None)


def _left_to_full(items: list[pytest.Item], asked: str) -> set[pytest.Item]:
    """Return what is marked `full`, most of MySQL's, and two thirds of the cases of slow functions.

    On emulators each case takes long, and to MySQL MariaDB is a second witness; the many cases of
    one function differ in a type, a name or the step that fails.
    """
    gone = {item for item in items if item.get_closest_marker("full")}
    seen: collections.Counter[str] = collections.Counter()
    for item in items:
        is_mysql = item.get_closest_marker("mysql") is not None and "mysql" not in asked
        if is_mysql and not item.nodeid.startswith(_ON_MYSQL):
            gone.add(item)
        thinned = (*_THINNED, *_THINNED_ON_MYSQL) if is_mysql else _THINNED
        if item.nodeid.startswith(thinned):
            function = item.nodeid.partition("[")[0]
            if seen[function] % _STRIDE:
                gone.add(item)
            seen[function] += 1
    return gone


def _left_out_of_check(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return what `script/check` leaves to `script/test`."""
    gone, killed = set(), None
    for item in items:
        marks = {mark for mark in NOT_IN_CHECK if item.get_closest_marker(mark)}
        # All parts into which its points are cut.
        name = item.name.rpartition("-")[0]
        is_kill = item.path.match("crash/test_kill.py") and marks == {"slow"}
        if is_kill and killed in (None, name):
            killed = name
        elif marks or (item.path.match("conformance/*") and "duckdb" not in item.path.name):
            gone.add(item)
    return gone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count what was broken and survived, for docs/guarantees.md."""
    report = yield
    if report.when == "call" and not report.skipped:
        record.write(item, report.passed)
    return report


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A ledger's file with its tables: to make them takes longer than a run."""
    from tmg_etl.ledger import store  # with SQLAlchemy, which most tests do without

    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[emulator.BigQueryServer]:
    """A running emulator of BigQuery, one for the whole session."""
    with emulator.BigQueryServer() as server:
        yield server


@pytest.fixture
def bigquery_dataset(
    bigquery_server: emulator.BigQueryServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Name of a new, empty dataset of `emulator.PROJECT`, which clients find by their variables."""
    bigquery_server.start()
    for name, value in bigquery_server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"test_{secrets.token_hex(4)}"
    bigquery_server.create_database(name)
    yield name
    bigquery_server.start()
    bigquery_server.drop_database(name)


@pytest.fixture
def bigquery_wire(
    bigquery_server: emulator.BigQueryServer,
    bigquery_dataset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[wire.Wire]:
    """A proxy before the emulator that fails and counts as Google does; clients find it likewise.

    What was asked through it must be what the API's reference allows.
    """
    from tests.bigquery import wire  # with Google's clients, which take a second to import

    with wire.Wire(bigquery_server) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found
