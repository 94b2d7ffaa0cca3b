"""The fence of the BigQuery target: what a run sends after another took its lock over."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.bigquery import call as call_module
from tests.bigquery import emulator, wire
from tests.connectors import bigquery_target_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import lease
from tmg_etl.connectors.bigquery import predecessor
from tmg_etl.connectors.bigquery import target as target_module

_ROWS = pa.record_batch({"id": [1, 2], "name": ["a", None]})
_COLUMNS = (kit.Field("id", "INTEGER"), kit.Field("name", "STRING"))


@pytest.fixture
def overtake(
    raw: kit.Raw,
    bigquery_server: emulator.BigQueryServer,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], None]:
    """Return what another run does while this one is asleep: take over, sweep, publish, leave."""
    # This run's heart does not beat within a test, as if the process were suspended.
    monkeypatch.setattr(lease, "TTL_S", 0.5)
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)

    def act() -> None:
        for name, value in bigquery_server.environment.items():
            monkeypatch.setenv(name, value)
        with kit.opened(bigquery_dataset) as heir, heir.lock("run-b", 20):
            heir.sweep(kit.names("20250101000000bbbbbbbbbbbb"))
            rows = pa.record_batch({"id": [7], "name": ["of the other run"]})
            shadow = kit.fill(heir, rows, ["id"], run_id="20250101000000bbbbbbbbbbbb")
            heir.check_lock()
            heir.swap(shadow, kit.names())

    return act


def _says(call: call_module.Call, text: str) -> bool:
    return text in str(call.config) + str(call.body.get("description"))


@pytest.mark.parametrize(
    ("method", "text"),
    [("tables.patch", "publish"), ("jobs.insert", "copy")],
    ids=["writing down the job", "sending the job"],
)
def test_a_swap_that_comes_too_late_changes_nothing(
    raw: kit.Raw,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    overtake: Callable[[], None],
    method: str,
    text: str,
) -> None:
    raw.make("t", *_COLUMNS)

    def publish(target: target_module.BigQueryTarget) -> None:
        with target.lock("run-a", 0):
            shadow = kit.fill(target, _ROWS, ["id"])
            target.check_lock()
            target.swap(shadow, kit.names())

    with kit.opened(bigquery_dataset) as target:
        bigquery_wire.before(method, overtake, when=lambda call: _says(call, text))
        with pytest.raises(errors.TmgEtlError):
            publish(target)
        with pytest.raises(errors.LockLostError):
            target.check_lock()
    assert raw.query("SELECT * FROM t") == [(7, "of the other run")]
    assert raw.tables() == {"t"}


@pytest.mark.parametrize("text", ["BEGIN TRANSACTION", "UPDATE t", "INSERT INTO t", "COMMIT"])
def test_a_transaction_that_comes_too_late_changes_nothing(
    raw: kit.Raw,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    overtake: Callable[[], None],
    text: str,
) -> None:
    raw.make("t", *_COLUMNS)
    raw.query("INSERT INTO t (id, name) VALUES (1, 'old')")

    def merge(target: target_module.BigQueryTarget) -> None:
        with target.lock("run-a", 0), target.transaction():
            target.run("UPDATE t SET name = 'late' WHERE id = 1")
            target.run("INSERT INTO t (id, name) VALUES (2, 'late')")

    with kit.opened(bigquery_dataset) as target:
        bigquery_wire.before("jobs.insert", overtake, when=lambda call: _says(call, text))
        with pytest.raises(errors.TmgEtlError):
            merge(target)
    assert raw.query("SELECT * FROM t") == [(7, "of the other run")]
    assert raw.tables() == {"t"}


def test_a_job_that_comes_in_while_its_table_is_removed_is_ended(
    raw: kit.Raw,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 0.5)
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)
    raw.make("t", *_COLUMNS)
    job_id = "tmg_dead_run_publish_1"
    dead = kit.opened(bigquery_dataset)
    dead._lease.acquire("run-a", 0)
    dead._lease.check(note=predecessor.job_note(job_id, "US"))
    dead._lease.release()
    sql = (
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 40000)) AS a"
        " CROSS JOIN UNNEST(GENERATE_ARRAY(1, 40000)) AS b WHERE MOD(a * b, 7) = 3"
    )
    bigquery_wire.before(
        "tables.list", lambda: raw.client.query(sql, job_id=job_id, job_retry=None)
    )
    with kit.opened(bigquery_dataset) as heir, heir.lock("run-b", 20):
        heir.sweep(kit.names())
        assert raw.client.get_job(job_id).state == "DONE"
