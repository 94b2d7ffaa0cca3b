"""kill -9 at random points of a replacement, under the eyes of a reader."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tmg_etl import run as run_module

# The parent forks, and therefore must not touch Arrow or DuckDB itself.
_HARNESS = """
import os, pathlib, random, signal, sys, time
import duckdb, pyarrow as pa, pyarrow.parquet
from tests.connectors import files_kit
from tmg_etl import run as run_module
from tmg_etl.connectors import base

def publish(folder, version):
    target = files_kit.connection(folder).open_target("t")
    target.part_bytes, target.row_group_rows = 1, 200
    names = run_module.TemporaryNames(run_module.new_run_id())
    shadow = names.table("shadow", "t")
    rows = 500 + version % 500
    with target.lock(names.run_id, 5):
        target.sweep(names)
        data = pa.record_batch({"n": list(range(rows)), "v": [version] * rows})
        if target.describe() is None:
            target.create(shadow, data.schema, ["n"], [])
        else:
            target.create_shadow(shadow, [])
        for start in range(0, rows, 100):
            target.load(shadow, base.Batch(data.slice(start, 100), None, start), ["n"])
        target.finish_load(shadow, ["n"])
        target.check_lock()
        target.swap(shadow, names)

folder, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(rounds)
def inode():
    return (folder / "t").stat().st_ino if (folder / "t").exists() else None

for number in range(rounds):
    before = inode()
    child = os.fork()
    if child == 0:
        version = number * 1000
        while True:
            publish(folder, version)
            version += 1
    # One replacement is let through, and the next one is killed somewhere.
    began = time.monotonic()
    while inode() == before:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 1.5 * min(time.monotonic() - began, 0.2)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def seen(place: pathlib.Path) -> tuple[int, int] | None:
    """Return version and rows as a reader finds them; None when replaced while it was reading."""
    names = os.listdir(place)  # noqa: PTH208 - one call, as readers do; it must never fail
    try:
        manifest = json.loads((place / "_tmg_etl.json").read_text())
        tables = [pq.read_table(place / name) for name in sorted(names) if name[0] != "_"]
    except FileNotFoundError:
        return None
    if sorted(file["name"] for file in manifest["files"]) != sorted(set(names) - {"_tmg_etl.json"}):
        return None  # the manifest is that of the next folder
    versions = {value for table in tables for value in table.column("v").to_pylist()}
    numbers = [value for table in tables for value in table.column("n").to_pylist()]
    assert len(versions) == 1
    assert len(tables) > 2
    assert numbers == list(range(len(numbers)))
    return versions.pop(), len(numbers)


@pytest.mark.slow
def test_readers_never_see_a_missing_or_partial_folder(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", _HARNESS, str(tmp_path), "6"]
    place = tmp_path / "t"
    found: set[tuple[int, int]] = set()
    reads = 0
    with subprocess.Popen(command) as harness:
        while harness.poll() is None:
            if place.exists() or found:
                reads += 1
                state = seen(place)
                if state is not None:
                    found.add(state)
            time.sleep(0.001)
        assert harness.returncode == 0
    state = seen(place)
    assert state is not None
    assert all(rows == 500 + version % 500 for version, rows in {*found, state})
    assert reads > 10
    assert len({version // 1000 for version, _ in found}) > 2
    # The next run removes what the killed ones left, and publishes.
    target = files_kit.connection(tmp_path).open_target("t")
    names = run_module.TemporaryNames(run_module.new_run_id())
    with target.lock(names.run_id, 0):
        target.sweep(names)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert seen(place) == state
