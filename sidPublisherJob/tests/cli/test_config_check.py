"""`tmg-etl config check` tries what a run will need: packages, and with --connect each system."""

from __future__ import annotations

import pathlib
import sys

import pytest

from tests.cli import process
from tmg_etl import errors

NOBODY = "nobody:hush-word@127.0.0.1:1/sid"


def write(folder: pathlib.Path, connection: str, ledger: str = "sqlite:///ledger.db") -> str:
    file = folder / "etl.yaml"
    file.write_text(f"connections:\n  lake: {connection}\nledger: '{ledger}'\n")
    return str(file)


def test_a_client_that_is_not_installed_is_found_without_connecting(
    people: process.Runner, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    file = write(tmp_path, "{type: files, url: 's3://bucket/lake'}")
    assert people("config", "check", file) == process.Done(
        errors.EXIT_CONFIG,
        "",
        f"tmg-etl: error: {file}:connections.lake: s3:// needs the Python package boto3, which is "
        "not installed; pip install 'sidPublisherJob[s3]'\n",
    )


@pytest.mark.parametrize(
    "connection",
    [
        "{type: files, url: lake/}",
        "{type: duckdb, url: 'duckdb:///new.duckdb'}",
        "{type: sqlite, url: 'sqlite:///new.db'}",
    ],
)
def test_what_a_run_would_create_need_not_be_there_and_is_not_created(
    people: process.Runner, tmp_path: pathlib.Path, connection: str
) -> None:
    file = write(tmp_path, connection)
    done = people("config", "check", "--connect", file)
    line = f"ok: {file}, environment local: 0 transfers, 1 connection, all reached\n"
    assert done == process.Done(0, line, "")
    assert [path.name for path in tmp_path.iterdir()] == ["etl.yaml"]


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_system_that_does_not_answer_is_found_by_connecting(
    people: process.Runner, tmp_path: pathlib.Path, kind: str
) -> None:
    scheme = "postgresql" if kind == "postgres" else kind
    ledger = f"{scheme}://{NOBODY}"
    file = write(tmp_path, f"{{type: {kind}, url: '{scheme}://{NOBODY}'}}", ledger)
    assert people("config", "check", file).code == 0
    done = people("config", "check", "--connect", file)
    assert (done.code, done.out) == (errors.EXIT_TEMPORARY, "")
    connection, of_ledger = done.err.splitlines()
    assert connection.startswith(f"tmg-etl: error: {file}:connections.lake: ")
    assert of_ledger.startswith(f"tmg-etl: error: {file}:ledger: ")
    assert "hush-word" not in done.err


def test_a_system_that_answers_is_asked_for_one_row(
    people: process.Runner, tmp_path: pathlib.Path, postgres_url: str
) -> None:
    file = write(tmp_path, f"{{type: postgres, url: '{postgres_url}'}}", postgres_url)
    assert people("config", "check", "--connect", file).out.endswith("1 connection, all reached\n")
    wrong = write(tmp_path, f"{{type: postgres, url: '{postgres_url}no'}}", postgres_url)
    done = people("config", "check", "--connect", wrong)
    assert done.code == errors.EXIT_CONFIG
    assert "does not exist" in done.err
