"""The plugin as somebody else's tests use it: found by pytest, nothing imported or configured."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys

TESTS = """\
import psycopg, pytest

def test_database(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE t (id int)")

def test_another(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)

def test_without():
    pass
"""


def run_pytest(folder: pathlib.Path, *options: str) -> str:
    (folder / "test_their_own.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--strict-markers", "-q", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pytest_finds_it() -> None:
    found = importlib.metadata.entry_points(group="pytest11", name="tmg_etl.testing.plugin")
    assert [item.value for item in found] == ["tmg_etl.testing.plugin"]


def test_each_test_gets_a_database_of_its_own(tmp_path: pathlib.Path) -> None:
    assert "3 passed" in run_pytest(tmp_path)


def test_what_needs_a_server_is_marked(tmp_path: pathlib.Path) -> None:
    assert "1 passed, 2 deselected" in run_pytest(tmp_path, "-m", "not postgres")
