"""How long a run waits for another one on the same target is the command line's to say."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

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
