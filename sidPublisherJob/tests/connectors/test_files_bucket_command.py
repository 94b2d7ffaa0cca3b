"""The command with files in a bucket, as users run it, and what the ledger says afterwards."""

import json
import os
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli import process
from tests.connectors import bucket_kit

ROWS = pa.table({"id": range(1_000), "day": ["20240506"] * 1_000})
CONFIG = """
connections:
  lake: {{type: files, url: "{url}"}}
  local: {{type: files, url: published/}}
ledger: "sqlite:///{folder}/ledger.db"
transfers:
  up:
    source: {{connection: lake, table: flights}}
    target: {{connection: lake, table: copy}}
    key: [id]
  down:
    source: {{connection: lake, table: copy}}
    target: {{connection: local, table: copy}}
    key: [id]
  asked:
    source: {{connection: lake, query: "SELECT id FROM flights WHERE id < 10"}}
    target: {{connection: local, table: asked}}
"""


@pytest.fixture
def config(place: bucket_kit.Place, tmp_path: pathlib.Path) -> pathlib.Path:
    place.put_table("flights/1.parquet", ROWS.slice(0, 500))
    place.put_table("flights/2.parquet", ROWS.slice(500))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(url=place.root, folder=tmp_path))
    return path


def environment() -> dict[str, str]:
    """Return the variables by which clients find the emulators."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name == "STORAGE_EMULATOR_HOST"
    }


def run(config: pathlib.Path, env: dict[str, str], *arguments: str) -> process.Done:
    with process.start(process.PIPELINE, *arguments, config, env=env) as started:
        out, err = started.communicate(timeout=120)
    return process.Done(started.returncode, out, err)


def runs(config: pathlib.Path, env: dict[str, str]) -> list[dict[str, object]]:
    with process.start(process.PEOPLE, "runs", config, "--json", env=env) as started:
        out, err = started.communicate(timeout=120)
    assert started.returncode == 0, err
    found: list[dict[str, object]] = json.loads(out)
    return found


@pytest.mark.slow
def test_into_the_bucket_and_out_of_it(
    place: bucket_kit.Place, config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    env = environment()
    for transfer in ("up", "up", "down", "asked"):
        done = run(config, env, "20240506", transfer, "truncate")
        assert done.code == 0, done.err
    assert place.names() == ["copy.parquet", "flights/1.parquet", "flights/2.parquet"]
    assert place.table("copy.parquet").to_pylist() == ROWS.to_pylist()
    assert pq.read_table(tmp_path / "published" / "copy").to_pylist() == ROWS.to_pylist()
    assert pq.read_table(tmp_path / "published" / "asked").num_rows == 10
    asked, down, again, first = runs(config, env)
    assert (first["rows_inserted"], again["rows_deleted"]) == (1_000, 1_000)
    for one in (first, again, down, asked):
        assert one["is_verified"] is True
        size = one["bytes_read"]
        assert isinstance(size, int)
        assert 1_000 < size < 40_000
    assert str(first["snapshot"]).startswith("2 files, ")
    assert first["snapshot"] == again["snapshot"]
    assert str(down["snapshot"]).startswith("1 file, ")
    done = run(config, env, "20240506", "up", "delta")
    assert done.code == 78
    assert "delta" in done.err
