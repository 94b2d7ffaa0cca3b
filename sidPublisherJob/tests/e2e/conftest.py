"""The targets, and the real command with a config of its own."""

import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli import process
from tests.e2e import place as place_module

ROWS = [(1, 11, "new"), (3, 30, "Ида")]
SCHEMA = pa.schema([("id", pa.int64()), ("v", pa.int64()), ("name", pa.string())])

_PROBLEMS = ("ERROR", "CRITICAL")

CONFIG = """\
connections:
  lake: {{type: files, url: lake/}}
  serving: {connection}
ledger: "sqlite:///ledger.db"
defaults: {{lock_wait_s: 1}}
transfers:
  dim_plane:
    source: {{connection: lake, table: planes}}
    target: {{connection: serving, table: t}}
    key: [id]
    {more}
"""


@pytest.fixture(params=["duckdb", "sqlite", "postgres", "mariadb", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> place_module.Place:
    """Each kind of target, with a table `t` of two rows."""
    if request.param == "duckdb":
        return place_module.DuckDB(tmp_path)
    if request.param == "sqlite":
        return place_module.SQLite(tmp_path)
    return _server(request, request.param)


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> place_module.Server:
    """Each kind of server, with a table `t` of two rows."""
    return _server(request, request.param)


def _server(request: pytest.FixtureRequest, kind: str) -> place_module.Server:
    url = request.getfixturevalue(f"{kind}_url")
    return place_module.Postgres(url) if kind == "postgres" else place_module.MySQL(url)


class Workshop:
    """A folder with a config, a lake and a ledger, and the command to run in it.

    Args:
        folder: empty.
        ledger: copied into it.
    """

    def __init__(self, folder: pathlib.Path, ledger: pathlib.Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.lake = folder / "lake"
        self.lake.mkdir()
        shutil.copy(ledger, folder)

    def declare(self, connection: str, more: str = "") -> None:
        """Write the config."""
        self.config.write_text(CONFIG.format(connection=connection, more=more), encoding="utf-8")

    def fill(self, rows: Sequence[Sequence[Any]], schema: pa.Schema = SCHEMA) -> None:
        """Write the source."""
        columns = [
            pa.array([row[at] for row in rows], field.type) for at, field in enumerate(schema)
        ]
        parquet.write_table(
            pa.Table.from_arrays(columns, schema=schema), self.lake / "planes.parquet"
        )

    def run(
        self,
        *arguments: object,
        date: str = "20130101",
        transfer: str = "dim_plane",
        mode: str = "truncate",
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> process.Done:
        """Run the command as a process, started by the command `before`."""
        words = (date, transfer, mode, self.config, *arguments)
        if not before:
            return process.branch(process.PIPELINE, *words, env=env, cwd=self.folder)
        return process.call([*before, *process.PIPELINE], *words, env=env, cwd=self.folder)


@pytest.fixture
def workshop(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> Workshop:
    """A folder to run in, with a good source."""
    (tmp_path / "work").mkdir()
    made = Workshop(tmp_path / "work", empty_ledger)
    made.fill(ROWS)
    return made


def only_error(done: process.Done) -> str:
    """Return the one line of error, which is the last; log lines may come before it."""
    lines = done.err.splitlines()
    if not lines[-1].startswith("{"):  # before logging is set up
        (line,) = lines
        return line
    entries = [json.loads(line) for line in lines]
    problems = [entry["message"] for entry in entries if entry["severity"] in _PROBLEMS]
    (message,) = problems
    assert message == entries[-1]["message"]
    assert "\n" not in message
    return str(message)


@pytest.fixture
def refuse(workshop: Workshop) -> Callable[..., str]:
    """Runs the command, holds it to everything a refusal promises, and returns its line."""

    def run(
        code: int,
        *words: str,
        place: place_module.Place | None = None,
        arguments: Sequence[str] = (),
        **options: Any,
    ) -> str:
        before = (place.tables(), place.rows()) if place else None
        done = workshop.run(*arguments, **options)
        everything = done.out + done.err
        assert done.code == code, everything
        assert "Traceback" not in everything
        message = only_error(done)
        for word in words:
            assert word in message
        ledger = (workshop.folder / "ledger.db").read_bytes()
        assert place_module.SECRET not in everything
        assert place_module.SECRET.encode() not in ledger
        if place:
            assert (place.tables(), place.rows()) == before
        return message

    return run
