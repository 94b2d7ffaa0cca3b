"""What `script/check` runs is chosen by rule."""

from __future__ import annotations

import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).parents[2]
ASKED = (
    "tests/crash/test_kill.py",
    "tests/conformance/test_duckdb_source.py",
    "tests/conformance/test_sqlite_source.py",
    "tests/ledger/test_unusable.py",
    "tests/e2e/test_odd_table.py",
    "tests/project/test_duration.py",
)


def test_what_needs_a_server_or_is_long_is_left_out() -> None:
    command = [sys.executable, "-m", "pytest", "--check", "--collect-only", "-q", *ASKED]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    items = [line for line in done.stdout.splitlines() if "::" in line]
    killed = f"{ASKED[0]}::test_killed_run_leaves_old_or_new_state"
    assert [line for line in items if line.startswith(ASKED[0])] == [
        f"{killed}[duckdb-swap-1of2]",
        f"{killed}[duckdb-swap-2of2]",
    ]
    assert {line.partition("::")[0] for line in items} == {*ASKED} - {ASKED[2]}
    assert f"{ASKED[3]}::test_wrong_password_on_postgres" not in items
    assert not [line for line in items if ASKED[4] in line and "mariadb" in line]
