"""Back-fills in processes on this machine: the real command, real files, a real database."""

from __future__ import annotations

import datetime
import pathlib

import duckdb
import pytest

from tmg_etl import errors
from tmg_etl.config import loader
from tmg_etl.launch import backfill, local

FIRST, LAST = datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)


def make(folder: pathlib.Path, rows: str) -> str:
    (folder / "lake").mkdir()
    (folder / "lake" / "facts.csv").write_text(f"id,day,seq\n{rows}")
    file = folder / "config.yaml"
    file.write_text(
        "connections:\n"
        "  lake: {type: files, url: lake/}\n"
        '  serving: {type: duckdb, url: "duckdb:///s.duckdb"}\n'
        "transfers:\n"
        "  fact:\n"
        "    source: {connection: lake, table: facts, columns: {day: date, id: string}}\n"
        "    target: {connection: serving, table: fact}\n"
        "    key: [id]\n"
        "    delta: {cursor: day, order_by: [day, seq]}\n"
    )
    return str(file)


def plan(config: str, **options: object) -> backfill.Plan:
    transfer = loader.load(config).transfer("fact")
    members = [transfer]
    return backfill.plan("fact", members, "local", FIRST, LAST, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_windows_are_published_and_a_poisoned_one_fails_alone(tmp_path: pathlib.Path) -> None:
    config = make(tmp_path, "a,2024-01-01,1\n,2024-01-02,1\nc,2024-01-03,1\n")
    said: list[str] = []
    code = local.run_windows(plan(config), config, 2, said.append, pause_s=0.1)
    assert code == errors.EXIT_DATA, said
    with duckdb.connect(str(tmp_path / "s.duckdb")) as database:
        rows = database.execute("SELECT id FROM fact ORDER BY id").fetchall()
    assert rows == [("a",), ("c",)]
    assert "1 of 3 windows are not published:" in said
    assert said[-1].endswith("--only 1 --local 2")


def test_what_fails_everywhere_stops_at_once(tmp_path: pathlib.Path) -> None:
    config = make(tmp_path, "a,2024-01-01,1\n")
    wanted = plan(config)
    pathlib.Path(config).write_text("transfers: {}\n")
    said: list[str] = []
    assert local.run_windows(wanted, config, 1, said.append) == errors.EXIT_CONFIG
    assert "3 of 3 windows are not published:" in said
    assert sum("exit code 78" in line for line in said) == 1


def test_no_process_is_a_usage_error(tmp_path: pathlib.Path) -> None:
    config = make(tmp_path, "a,2024-01-01,1\n")
    with pytest.raises(errors.UsageError, match="--local 0"):
        local.run_windows(plan(config), config, 0, print)
