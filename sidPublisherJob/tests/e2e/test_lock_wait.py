"""How long a run waits for others on the same target is for the user to say."""

from __future__ import annotations

import itertools
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import connectors, errors
from tmg_etl.config import loader

CONFIG = """\
connections:
  lake: {type: duckdb, url: "duckdb:///:memory:"}
  serving: {type: sqlite, url: "sqlite:///serving.db"}
defaults: {lock_wait_s: 600}
transfers:
  one:
    source: {connection: lake, query: "SELECT 1 AS id"}
    target: {connection: serving, table: one}
"""


def test_lock_wait_s_overrides_the_config(tmp_path: pathlib.Path) -> None:
    location = tmp_path / "config.yaml"
    location.write_text(CONFIG)
    config = loader.load(str(location))
    serving = connectors.connect(config.connections["serving"], config.folder)
    command = [sys.executable, "-m", "tmg_etl.cli.pipeline", "20240101", "one", "truncate"]
    command += [str(location), "--lock-wait-s", "0.1"]
    with serving.open_target("one") as target, target.lock("somebody", 0):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        waited = time.monotonic() - started
    assert done.returncode == errors.EXIT_TEMPORARY
    assert "somebody" in done.stderr
    assert waited < 30
    assert subprocess.run(command, capture_output=True, check=False).returncode == errors.EXIT_OK


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, server: place_module.Server, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake, and each kind of server in turn with two rows that a delta changes."""
    made = plan_kit.Shop(tmp_path / "shop", server, empty_ledger)
    server.sql(
        "CREATE TABLE facts (id bigint NOT NULL PRIMARY KEY, day date, version bigint,"
        " amount double precision, name varchar(20), gone bigint)",
        "INSERT INTO facts (id, name) VALUES (1, 'old'), (2, 'old')",
    )
    made.fill([plan_kit.row(1), plan_kit.row(2)])
    made.declare("key: [id]\n    delta: {cursor: day}\n    lock_wait_s: 1")
    return made


@pytest.mark.parametrize(
    "statement",
    ["UPDATE facts SET version = 9 WHERE id = 1", "SELECT * FROM facts WHERE id = 1 FOR UPDATE"],
    ids=["update", "select"],
)
def test_a_writer_that_keeps_a_row_is_waited_for_and_named(
    shop: plan_kit.Shop, server: place_module.Server, statement: str
) -> None:
    before = shop.contents()
    with server.transaction(statement) as number:
        started = time.monotonic()
        error = shop.run("delta").error
        assert time.monotonic() - started < 15
        assert isinstance(error, errors.LockBusyError), error
        assert shop.contents() == before
    said = str(error)
    assert said.startswith("facts is locked by ")
    assert f" {number} " in said
    assert "waited 1 s" in said
    if server.kind == "postgres":
        assert "sleepy form" in said
        assert "idle in transaction" in said
    shop.publish("delta")


def test_who_writes_is_not_held_up_by_a_run_that_waits(
    shop: plan_kit.Shop, server: place_module.Server
) -> None:
    shop.declare("key: [id]\n    delta: {cursor: day}\n    lock_wait_s: 4")
    with server.transaction("UPDATE facts SET version = 9 WHERE id = 1"):
        running = threading.Thread(target=shop.run, args=["delta"])
        running.start()
        longest, end = 0.0, time.monotonic() + 3
        for number in itertools.count(10):
            started = time.monotonic()
            server.sql(f"INSERT INTO facts (id) VALUES ({number})")
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.1)
            if time.monotonic() > end:
                break
    running.join()
    assert longest < 2


def test_who_writes_other_rows_is_not_waited_for(
    shop: plan_kit.Shop, server: place_module.Server
) -> None:
    with server.transaction("INSERT INTO facts (id) VALUES (99)"):
        shop.publish("delta")
        assert [row[0] for row in shop.contents() or []] == [1, 2]
