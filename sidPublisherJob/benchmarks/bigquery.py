"""Read a table of BigQuery by its Storage API: the connector beside Google's own `to_arrow`.

    ../.venv/bin/python -m benchmarks.bigquery [--rows 1000000] [--repeat 5]   # in sidPublisherJob

Both read all rows and columns of the same table from the same emulator, in processes of their own
that take turns. Each process measures itself, from the first call to the last row; imports and the
login are left out. What was seen is in RESULTS-bigquery.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import warnings

from tests.bigquery import emulator, lake

DATASET = "benchmark"
READERS = ("official", "connector")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one reading took.

    Attributes:
        rows: how many came.
        wall_s: seconds.
        cpu_s: processor seconds of this process.
        peak_mib: largest resident size of the process so far.
        start_mib: the same before it read.
    """

    rows: int
    wall_s: float
    cpu_s: float
    peak_mib: float
    start_mib: float


def read_official(table: str) -> int:
    """Read with Google's clients."""
    import google.auth.credentials
    from google.cloud import bigquery

    nobody = google.auth.credentials.AnonymousCredentials()
    client = bigquery.Client(project=emulator.PROJECT, credentials=nobody)
    reader = emulator.read_client(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"])
    found = client.list_rows(f"{emulator.PROJECT}.{DATASET}.{table}")
    return int(found.to_arrow(bqstorage_client=reader).num_rows)


def read_connector(table: str) -> int:
    """Read as a run does."""
    from tmg_etl import connectors, run
    from tmg_etl.config import model

    connection = {"type": "bigquery", "project": emulator.PROJECT, "dataset": DATASET}
    config = model.Config.model_validate({"connections": {"lake": connection}})
    known = connectors.Connections(config.connections, config.folder, run.StopFlag())
    spec = model.SourceSpec(connection="lake", table=table)
    with known["lake"].open_source(spec, datetime.date(2024, 1, 1)) as source:
        return sum(batch.num_rows for batch in source.read(source.schema().names))


def measured(reader: str, table: str) -> Reading:
    """Read once and say what it took."""
    # Google's client warns of a part of Google's other client.
    warnings.simplefilter("ignore")
    work = {"official": read_official, "connector": read_connector}[reader]
    # A row, so that modules are there.
    work("one")
    start = _peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work(table)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Reading(rows, wall, cpu, _peak_mib(), start)


def _peak_mib() -> float:
    # Not ru_maxrss, which begins with the size of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak) / 1024


def read_apart(server: emulator.BigQueryServer, reader: str, table: str) -> Reading:
    """Read in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bigquery", "--read", reader, "--table", table],
        env={**os.environ, **server.environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Reading(**json.loads(done.stdout))


def compare(rows: int, repeat: int) -> None:
    """Measure both and print a table."""
    with emulator.BigQueryServer() as server:
        client = server.client()
        client.create_dataset(DATASET)
        place = f"{emulator.PROJECT}.{DATASET}"
        lake.fill(client, f"{place}.one", 1)
        lake.fill(client, f"{place}.many", rows)
        found: dict[str, list[Reading]] = {reader: [] for reader in READERS}
        for _ in range(repeat):
            for reader in READERS:
                found[reader].append(read_apart(server, reader, "many"))
        lake.fill(client, f"{place}.more", 4 * rows)
        more = read_apart(server, "connector", "more")
    print(f"{rows:,} rows x 10 columns, {repeat} readings each, in turns\n")
    print("| reader | median | shortest | longest | processor | peak memory | of it reading |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for reader, readings in found.items():
        assert all(reading.rows == rows for reading in readings)
        walls = [reading.wall_s for reading in readings]
        cpu = statistics.median(reading.cpu_s for reading in readings)
        peak = max(reading.peak_mib for reading in readings)
        own = max(reading.peak_mib - reading.start_mib for reading in readings)
        print(
            f"| {reader} | {statistics.median(walls):.2f} s | {min(walls):.2f} s |"
            f" {max(walls):.2f} s | {cpu:.2f} s | {peak:.0f} MiB | {own:.0f} MiB |"
        )
    medians = [statistics.median(r.wall_s for r in found[reader]) for reader in READERS]
    print(
        f"\nThe connector with {more.rows:,} rows: {more.wall_s:.2f} s, {more.peak_mib:.0f} MiB,"
        f" {more.peak_mib - more.start_mib:.0f} MiB of it reading."
    )
    print(f"\nThe connector takes {medians[1] / medians[0]:.2f} of the official client's time.")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(dataclasses.asdict(measured(given.read, given.table))))
    else:
        compare(given.rows, given.repeat)


if __name__ == "__main__":
    main()
