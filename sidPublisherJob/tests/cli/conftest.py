"""The commands as fixtures, and a config to call them with."""

import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.cli import process
from tmg_etl.cli import people as people_module
from tmg_etl.cli import pipeline as pipeline_module

CONFIG = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
  out: {type: files, url: out/}
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
    target: {connection: out, table: sample}
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
def here(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., process.Done]:
    """Runs a command in this process: for what does not depend on being one of its own."""
    monkeypatch.syspath_prepend(str(process.HERE / "pipelines"))
    monkeypatch.delenv("TMG_ETL_CONFIG", raising=False)

    def call(
        main: Callable[[list[str]], int],
        *arguments: object,
        cwd: pathlib.Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> process.Done:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            code = main([str(argument) for argument in arguments])
        return process.Done(code, *capfd.readouterr())

    return call


@pytest.fixture
def people(here: Callable[..., process.Done]) -> process.Runner:
    """Runs `tmg-etl` in this process."""
    return lambda *arguments, **options: here(people_module.main, *arguments, **options)


@pytest.fixture
def pipeline_here(here: Callable[..., process.Done]) -> process.Runner:
    """Runs `pipeline` in this process."""
    return lambda *arguments, **options: here(pipeline_module.main, *arguments, **options)


@pytest.fixture
def config(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> pathlib.Path:
    """A config with a small lake, an embedded database and the sample pipeline."""
    (tmp_path / ".tmg_etl").mkdir()
    shutil.copy(empty_ledger, tmp_path / ".tmg_etl")
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
