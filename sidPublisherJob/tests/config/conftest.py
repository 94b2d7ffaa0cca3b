"""A config file to write and load, with an empty set of variables."""

import pathlib
import textwrap
from collections.abc import Mapping
from typing import Protocol

import pytest

from tmg_etl.config import loader, model

BASE = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
transfers:
  dim_plane:
    source: {connection: lake, table: planes}
    target: {connection: serving, table: dim_plane}
    key: [tailnum]
"""


class Load(Protocol):
    """Writes a text as config.yaml and loads it."""

    def __call__(
        self, text: str, env: str = "local", environ: Mapping[str, str] | None = None
    ) -> model.Config: ...


@pytest.fixture
def load(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text from `config.yaml` in a new folder, which becomes the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_and_load(
        text: str, env: str = "local", environ: Mapping[str, str] | None = None
    ) -> model.Config:
        (tmp_path / "config.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        return loader.load("config.yaml", env, environ=environ or {})

    return write_and_load


@pytest.fixture
def base() -> str:
    """A small valid config of eight lines; what is appended starts on line 9, inside dim_plane."""
    return BASE
