"""The commands as fixtures, and a config to call them with."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli import process

CONFIG = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: sqlite, url: "sqlite:///serving.db"}
packages: [cli_sample]
defaults: {lock_wait_s: 0.2}
transfers:
  dim:
    source: {connection: lake, table: people}
    target: {connection: serving, table: dim}
    key: [id]
  fact:
    source: {connection: lake, table: people}
    target: {connection: serving, table: fact}
    key: [id]
    delta: {cursor: born, order_by: [born]}
  sample:
    source: {connection: lake, table: people}
    target: {connection: serving, table: sample}
    pipeline: cli_sample:Sample
    delta: {cursor: born, strategy: replace_window}
    options: {rows: 1000}
environments:
  broken:
    ledger: "sqlite:////dev/null/ledger.db"
  nowhere:
    connections: {lake: {url: nowhere/}}
  secret:
    transfers: {sample: {options: {say: "${secret:TOKEN}", fail: bug}}}
"""
PEOPLE_CSV = "id,name,born\n1,Ada,2013-01-01\n2,Grace,2013-01-02\n3,Ида,2013-01-02\n"


@pytest.fixture
def pipeline() -> process.Runner:
    """Runs `pipeline` and returns what it left."""
    return lambda *arguments, **options: process.call(process.PIPELINE, *arguments, **options)


@pytest.fixture
def people() -> process.Runner:
    """Runs `tmg-etl` and returns what it left."""
    return lambda *arguments, **options: process.call(process.PEOPLE, *arguments, **options)


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    """A config with a small lake, an embedded database and the sample pipeline."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "people.csv").write_text(PEOPLE_CSV, encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def sample(config: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Returns the config with other options of the sample pipeline."""

    def write(**options: Any) -> pathlib.Path:
        text = CONFIG.replace("options: {rows: 1000}", f"options: {json.dumps(options)}")
        config.write_text(text, encoding="utf-8")
        return config

    return write
