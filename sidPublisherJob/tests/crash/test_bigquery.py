"""kill -9 at every call that changes something in BigQuery: old or new, and the next run heals.

A call is done or not done when the run dies; which of both, it never learns.
"""

from __future__ import annotations

import functools
import os
import pathlib
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.cloud import bigquery

from tests.bigquery import call as call_module
from tests.bigquery import emulator, wire
from tests.crash import crash_kit, crash_place
from tmg_etl.testing import fault, fork

pytestmark = pytest.mark.slow

_CHANGES = ("tables.insert", "tables.delete", "jobs.query")
BUCKET = "crash-staging"


class BigQueryPlace(crash_place.Place):
    """A table with what a swap must keep."""

    def __init__(self, folder: pathlib.Path, server: emulator.BigQueryServer) -> None:
        super().__init__(folder)
        self.server = server
        self.client = server.client()
        self.dataset = f"crash_{secrets.token_hex(4)}"
        self.client.create_dataset(self.dataset)
        self.name = f"{emulator.PROJECT}.{self.dataset}.t"
        self._create()
        self.bucket = server.buckets / BUCKET
        if not self.bucket.exists():
            server.storage.create(BUCKET)

    def _create(self) -> None:
        field = bigquery.SchemaField
        table = bigquery.Table(
            self.name,
            [
                field("id", "INT64", "REQUIRED", description="a number"),
                field("day", "DATE", "REQUIRED"),
                field("version", "INT64"),
                field("note", "STRING", max_length=20),
            ],
        )
        table.description = "kept"
        table.labels = {"kept": "yes"}
        self.client.create_table(table)

    @property
    def connection(self) -> Mapping[str, Any]:
        staging = f"gs://{BUCKET}/{self.dataset}"
        return {
            "type": "bigquery",
            "project": emulator.PROJECT,
            "dataset": self.dataset,
            "staging": staging,
        }

    def remove(self) -> None:
        self.client.delete_table(self.name, not_found_ok=True)

    def has_table(self) -> bool:
        return "t" in {item.table_id for item in self.client.list_tables(self.dataset)}

    def reset(self, rows: list[crash_place.Row]) -> None:
        if not self.has_table():
            self._create()
        values = ", ".join(
            f"({number}, DATE '{day}', {version}, {_literal(note)})"
            for number, day, version, note in rows
        )
        self.client.query_and_wait(
            f"TRUNCATE TABLE `{self.name}`; INSERT INTO `{self.name}` VALUES {values};"
        )

    def rows(self) -> list[crash_place.Row]:
        found = self.client.list_rows(self.client.get_table(self.name))
        return sorted(tuple(row.values()) for row in found)

    def kept(self) -> tuple[str | None, dict[str, str], str | None]:
        """Return what no publish may change."""
        found = self.client.get_table(self.name)
        return found.description, found.labels, found.schema[0].description

    def definitions(self) -> list[object]:
        names = sorted(item.table_id for item in self.client.list_tables(self.dataset))
        found = [self.client.get_table(f"{self.dataset}.{name}") for name in names]
        schemas = [[field.to_api_repr() for field in table.schema] for table in found]
        return [
            (table.table_id, table.table_type, table.description, table.labels, schema)
            for table, schema in zip(found, schemas, strict=True)
        ]

    def contents(self) -> list[object]:
        names = sorted(item.table_id for item in self.client.list_tables(self.dataset))
        found = [self.client.get_table(f"{self.dataset}.{name}") for name in names]
        # The lock's table has no columns, and so no rows to ask for.
        read = [self.client.list_rows(table) if table.schema else [] for table in found]
        rows = [sorted(str(row.values()) for row in lines) for lines in read]
        paths = sorted(path for path in self.bucket.rglob("*") if path.is_file())
        files = [(str(path), path.stat().st_size) for path in paths]
        return [*zip(names, rows, strict=True), *files]

    def tidy(self) -> None:
        for item in self.client.list_tables(self.dataset):
            self.client.delete_table(item)
        for path in self.bucket.rglob("*"):
            if path.is_file():
                path.unlink()
        self._create()

    def leftovers(self) -> list[str]:
        tables = [item.table_id for item in self.client.list_tables(self.dataset)]
        files = [str(path) for path in self.bucket.rglob("*") if path.is_file()]
        return [name for name in tables if name != "t"] + files

    def settle(self) -> None:
        deadline = time.monotonic() + 30
        while list(self.client.list_jobs(state_filter="running")):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def cut_lock(self) -> bool:
        tables = self.client.list_tables(self.dataset)
        locks = [item for item in tables if item.table_id.startswith("_tmg_lock_")]
        for item in locks:
            self.client.delete_table(item)
        return bool(locks)

    def close(self) -> None:
        self.client.delete_dataset(self.dataset, delete_contents=True)


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t")
    return f"'{escaped}'"


@pytest.fixture(scope="module")
def proxy(bigquery_server: emulator.BigQueryServer) -> Iterator[wire.Wire]:
    with wire.Wire(bigquery_server) as found:
        yield found


@pytest.fixture(scope="module")
def fork_server(proxy: wire.Wire) -> Iterator[fork.ForkServer]:
    """Runs whose clients find the proxy."""
    constants = {
        # A dead holder is told from a slow one sooner than in production.
        "tmg_etl.connectors.lease:TTL_S": 2.5,
        "tmg_etl.connectors.lease:BEAT_S": 0.4,
    }
    warm = ("google.cloud.bigquery", "google.cloud.storage", "tmg_etl.connectors.bigquery")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in proxy.environment.items():
            patch.setenv(name, value)
        with fork.ForkServer(constants, warm=warm) as server:
            yield server


@pytest.fixture
def bench(
    tmp_path: pathlib.Path,
    bigquery_server: emulator.BigQueryServer,
    fork_server: fork.ForkServer,
    memory: crash_kit.Memory,
) -> Iterator[crash_kit.Bench]:
    place = BigQueryPlace(tmp_path, bigquery_server)
    made = crash_kit.Bench(place, fork_server, tmp_path, memory)
    with crash_kit.ready(made, lock_wait_s=30):
        yield made


def changes(call: call_module.Call) -> bool:
    """Whether something else may be there afterwards; a lock that is renewed is the same lock."""
    if call.name == "jobs.insert":
        return not call.config.get("query", {}).get("query", "").startswith("SELECT")
    return call.name in _CHANGES


def _kill(victim: list[int]) -> None:
    os.kill(victim[0], signal.SIGKILL)


@crash_kit.in_parts(3)
@pytest.mark.parametrize(
    "mode",
    [
        crash_kit.MODES["swap"],
        crash_kit.MODES["upsert"],
        # Published as an upsert is, by a transaction.
        pytest.param(crash_kit.MODES["diff"], marks=pytest.mark.full),
        pytest.param(crash_kit.MODES["replace_window"], marks=pytest.mark.full),
    ],
    ids=["swap", "upsert", "diff", "replace_window"],
)
def test_killed_run_leaves_old_or_new_state(
    bench: crash_kit.Bench, proxy: wire.Wire, mode: crash_kit.Mode, part: crash_kit.Part
) -> None:
    place = bench.place
    assert isinstance(place, BigQueryPlace)
    bench.begin(crash_kit.OLD)
    kept = place.kept()
    proxy.calls.clear()
    ended = bench.run(mode)
    assert ended.code == 0, ended.log
    names = [call.name for call in proxy.calls if changes(call)]
    states = []
    for number, name in part.of([*enumerate(names, 1)]):
        bench.begin(crash_kit.OLD)
        proxy.calls.clear()
        victim: list[int] = []
        proxy.interrupt(number, functools.partial(_kill, victim), changes)
        child = bench.start(mode)
        victim.append(child.pid)
        bench.faults.append(fault.Fault(number, fault.Action.KILL))
        ended = bench.server.wait(child)
        what = f"call {number} of {len(names)}, {name}"
        assert ended.code == -signal.SIGKILL, f"{what}: {ended.log}"
        # Else parts that were counted by several workers would not make a whole.
        assert [call.name for call in proxy.calls if changes(call)] == names[:number], what
        place.settle()
        found = place.rows()
        assert found in (crash_kit.OLD, mode.new), what
        assert place.kept() == kept, what
        states.append(found == mode.new)
        bench.heal(mode.transfer, functools.partial(_require_kept_by_rerun, bench, mode, what))
    part.require_both(states)


def _require_kept_by_rerun(bench: crash_kit.Bench, mode: crash_kit.Mode, what: str) -> None:
    assert isinstance(bench.place, BigQueryPlace)
    kept = bench.place.kept()
    bench.require_rerun(mode, what)
    assert bench.place.kept() == kept, what
