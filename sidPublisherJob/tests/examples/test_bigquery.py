"""The example with BigQuery as the lake: its script, run as it stands with a small lake."""

from __future__ import annotations

import os
import pathlib
import secrets
import shutil
import subprocess
import sys

import duckdb
import pytest

from tests.bigquery import emulator
from tests.examples import lake_kit

ROOT = lake_kit.FLIGHTS.parents[1]


@pytest.fixture
def clone(tmp_path: pathlib.Path) -> pathlib.Path:
    """The example in a clone of its own, with a lake of one flight a month."""
    make_lake = lake_kit.load_make_lake()
    flights = "".join(lake_kit.FLIGHT.format(month=month) for month in range(1, 13))
    tables = make_lake.read_tables(lake_kit.make_archive(tmp_path, flights))
    make_lake.write_lake(tables, tmp_path / "lake")
    for name in ("script", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    example = tmp_path / "examples" / "bigquery"
    example.mkdir(parents=True)
    for name in ("run", "config.yaml", "fill_lake.py"):
        shutil.copy(ROOT / "examples" / "bigquery" / name, example)
    return tmp_path


@pytest.mark.slow
def test_example_publishes_from_bigquery_and_back(
    clone: pathlib.Path, bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    bucket = f"staging-{secrets.token_hex(4)}"
    folder = bigquery_server.storage.create(bucket)
    given = {
        "BIGQUERY_PROJECT": emulator.PROJECT,
        "STAGING_BUCKET": bucket,
        "FLIGHTS_LAKE": str(clone / "lake"),
    }
    done = subprocess.run(
        [clone / "examples" / "bigquery" / "run"],
        env={**os.environ, **bigquery_server.environment, **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    with duckdb.connect(
        str(clone / "examples/bigquery/serving.duckdb"), read_only=True
    ) as database:
        counts = {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
            for table in ("dim_airline", "dim_airport", "dim_plane", "fact_flight", "carrier_month")
        }
    assert counts == {
        "dim_airline": 1,
        "dim_airport": 1,
        "dim_plane": 1,
        "fact_flight": 12,
        "carrier_month": 12,
    }
    client = bigquery_server.client()
    [[flights]] = client.query_and_wait("SELECT SUM(flights) FROM flights.carrier_month")
    assert flights == 12
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    # Read from the ledger: which state, which job.
    assert f"{emulator.PROJECT}.flights.airports at 20" in done.stdout
    assert "_extract_1" in done.stdout
    client.delete_dataset("flights", delete_contents=True)


def test_emulator_runs_for_the_time_of_a_command(tmp_path: pathlib.Path) -> None:
    code = (
        "import os, urllib.request as u;"
        "u.urlopen(os.environ['BIGQUERY_EMULATOR_HOST'] + '/bigquery/v2/projects/p/datasets');"
        "u.urlopen(os.environ['STORAGE_EMULATOR_HOST'] + '/storage/v1/b/'"
        " + os.environ['STAGING_BUCKET']); raise SystemExit(7)"
    )
    assert emulator.main([sys.executable, "-c", code]) == 7
