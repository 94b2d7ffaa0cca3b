"""The BigQuery target on the wire: what it asks for, and answers that fail or get lost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.bigquery import emulator, wire
from tests.connectors import bigquery_target_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base, lease
from tmg_etl.connectors.bigquery import client
from tmg_etl.connectors.bigquery import session as session_module
from tmg_etl.connectors.bigquery import target as target_module

_ROWS = pa.record_batch({"id": [1, 2], "name": ["a", None]})
_COLUMNS = (kit.Field("id", "INTEGER"), kit.Field("name", "STRING"))


def _streaming(table: dict[str, Any]) -> None:
    if not table["tableReference"]["tableId"].startswith("_tmg_"):
        table["streamingBuffer"] = {"estimatedRows": "1234", "estimatedBytes": "99"}


def test_jobs_are_asked_for_as_they_should_be(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
    (copy,) = bigquery_wire.jobs("copy")
    assert copy["writeDisposition"] == "WRITE_TRUNCATE"
    assert copy["createDisposition"] == "CREATE_NEVER"
    (load,) = bigquery_wire.jobs("load")
    assert load["createDisposition"] == "CREATE_NEVER"
    assert load["writeDisposition"] == "WRITE_APPEND"
    assert load["sourceFormat"] == "PARQUET"
    assert [field["name"] for field in load["schema"]["fields"]] == ["id", "name"]
    for call in bigquery_wire.named("jobs.insert"):
        assert call.body["jobReference"]["jobId"].startswith("tmg_")
        assert call.body["jobReference"]["location"] == "US"


def test_a_lost_answer_to_the_publish_does_not_publish_twice(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    bigquery_wire.lose("jobs.insert", when=lambda call: "copy" in call.config)
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
    assert raw.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    first, second = (c for c in bigquery_wire.named("jobs.insert") if "copy" in c.config)
    assert first.body["jobReference"] == second.body["jobReference"]


def test_a_lost_answer_to_a_statement_does_not_run_it_twice(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    raw.query("INSERT INTO t (id, name) VALUES (1, 'a')")
    bigquery_wire.lose("jobs.insert", when=lambda call: "INSERT" in str(call.config))
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0), target.transaction():
        assert target.run("INSERT INTO t (id, name) SELECT id + 1, name FROM t") == 1
    assert raw.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded", "internalError"])
def test_what_google_says_to_try_again_is_tried_again(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire, reason: str
) -> None:
    bigquery_wire.fail("jobs.insert", reason, when=lambda call: "copy" in call.config)
    bigquery_wire.fail("tables.insert", reason)
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
    assert raw.tables() == {"t"}


def test_a_load_job_beyond_the_quota_is_temporary(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    bigquery_wire.fail_job("load", "jobRateLimitExceeded")
    with kit.opened(bigquery_dataset) as target:
        with pytest.raises(errors.TemporaryError, match="quota for imports"):
            kit.fill(target, _ROWS, ["id"])
        target.drop(kit.names().table("shadow", "t"))
    assert raw.tables() == set()


def test_rows_that_a_load_job_lost_are_found(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    def fewer(job: dict[str, Any]) -> None:
        load = job.get("statistics", {}).get("load")
        if load and "outputRows" in load:
            load["outputRows"] = "1"

    for name in ("jobs.insert", "jobs.get"):
        bigquery_wire.change(name, fewer)
    with kit.opened(bigquery_dataset) as target:
        with pytest.raises(errors.VerificationError, match="sent 2 rows"):
            kit.fill(target, _ROWS, ["id"])
        target.drop(kit.names().table("shadow", "t"))
    assert raw.tables() == set()


def test_a_table_that_is_streamed_into_is_left_alone(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, _ROWS)
        bigquery_wire.change("tables.get", _streaming)
        assert target.describe() is not None
        for act in (
            lambda: target.swap(shadow, kit.names()),
            lambda: target.create_shadow("_tmg_shadow_x", []),
            lambda: target.create_staging("_tmg_stage_x", ["id"], pa.schema([])),
        ):
            with pytest.raises(errors.TemporaryError, match=r"1,234 rows .* streaming buffer"):
                act()
        target.drop(shadow)
    assert raw.tables() == {"t"}


def test_an_external_table_is_no_target(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    bigquery_wire.change("tables.get", lambda table: table.update(type="EXTERNAL"))
    with pytest.raises(errors.ConfigError, match="is an external table, not a table"):
        kit.opened(bigquery_dataset).describe()


def test_a_change_by_somebody_else_is_temporary(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    said = "Transaction is aborted due to concurrent update against table t."

    def change(target: target_module.BigQueryTarget) -> None:
        with target.lock("run-a", 0), target.transaction():
            bigquery_wire.fail_job("query", "invalidQuery", message=said)
            target.run("UPDATE t SET name = 'x' WHERE TRUE")

    with (
        kit.opened(bigquery_dataset) as target,
        pytest.raises(errors.TemporaryError, match="somebody else"),
    ):
        change(target)
    # The session is ended and settled: the lock is given back at once.
    assert raw.tables() == {"t"}


def test_a_session_that_is_busy_has_not_ended(
    raw: kit.Raw,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A statement of a dead run may go on for longer than its lock."""
    monkeypatch.setattr(session_module, "_BUSY_POLL_S", 0.01)
    session = kit.opened(bigquery_dataset)._session
    said = "Concurrent jobs in the same session are not allowed. Running job: x"
    begun = session._begin()
    bigquery_wire.fail_job("query", "invalidQuery", times=2, message=said)
    session.end(begun)
    session._id = begun
    with pytest.raises(errors.TmgEtlError):
        session.query("SELECT 1")
    session._id = None
    # It has ended now, which is no error.
    session.end(begun)
    monkeypatch.setattr(session_module, "_BUSY_S", 0.1)
    bigquery_wire.fail_job("query", "invalidQuery", times=1000, message=said)
    with pytest.raises(errors.TemporaryError, match="still under way"):
        session.end(begun)


def test_what_is_said_of_a_table_of_sessions_is_not_said_of_a_session(
    bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    session = kit.opened(bigquery_dataset, "web_sessions")._session
    begun = session._begin()
    bigquery_wire.fail_job("query", "invalidQuery", message="Syntax error")
    with pytest.raises(errors.ConfigError, match="Syntax error"):
        session.end(begun)


@pytest.mark.parametrize("way", ["refused", "failed"])
def test_a_publish_that_did_not_happen_gives_the_lock_back(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire, way: str
) -> None:
    raw.make("t", *_COLUMNS)
    if way == "refused":
        bigquery_wire.fail("jobs.insert", "accessDenied", when=lambda call: "copy" in call.config)
    else:
        bigquery_wire.fail_job("copy", "rateLimitExceeded")
    with kit.opened(bigquery_dataset) as target:
        with pytest.raises(errors.TmgEtlError), target.lock("run-a", 0):
            target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
        target.drop(kit.names().table("shadow", "t"))
    assert raw.tables() == {"t"}
    assert raw.query("SELECT COUNT(*) FROM t") == [(0,)]


def test_without_the_right_to_run_jobs_the_error_names_it(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    bigquery_wire.fail("jobs.insert", "accessDenied", times=5)
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        with pytest.raises(errors.AccessError, match=r"bigquery\.jobs\.create"):
            kit.fill(target, _ROWS, ["id"])
        target.drop(kit.names().table("shadow", "t"))
    assert raw.tables() == set()


def test_a_publish_without_an_answer_leaves_its_note_to_the_next_run(
    raw: kit.Raw,
    bigquery_server: emulator.BigQueryServer,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 0.6)
    raw.make("t", *_COLUMNS)
    monkeypatch.setattr(client, "PATIENCE_S", 0.5)
    bigquery_wire.fail(
        "jobs.insert", "backendError", times=100, when=lambda call: "copy" in call.config
    )
    with kit.opened(bigquery_dataset) as target:
        with pytest.raises(errors.TemporaryError), target.lock("run-a", 0):
            target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
        target.drop(kit.names().table("shadow", "t"))
    for name, value in bigquery_server.environment.items():
        monkeypatch.setenv(name, value)
    (left,) = raw.tables() - {"t"}
    assert left.startswith("_tmg_lock_")
    assert '"job' in str(raw.get(left).description)
    with kit.opened(bigquery_dataset) as heir, heir.lock("run-b", 20):
        heir.swap(kit.fill(heir, _ROWS, ["id"]), kit.names("20250101000000bbbbbbbbbbbb"))
    assert raw.tables() == {"t"}
    assert raw.query("SELECT COUNT(*) FROM t") == [(2,)]


def test_rows_are_staged_in_the_bucket_and_removed(
    raw: kit.Raw,
    bigquery_server: emulator.BigQueryServer,
    bigquery_dataset: str,
    bigquery_wire: wire.Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tmg_etl.connectors.bigquery import load

    bucket = bigquery_dataset.replace("_", "-")
    place = bigquery_server.storage.create(bucket)
    monkeypatch.setattr(load, "OBJECT_BYTES", 1)
    monkeypatch.setattr(load, "_ROW_GROUP_BYTES", 1)
    staging = f"gs://{bucket}/sid"
    with kit.opened(bigquery_dataset, staging=staging) as target:
        shadow = kit.names().table("shadow", "t")
        target.create(shadow, _ROWS.schema, ["id"], [])
        for _ in range(3):
            target.load(shadow, base.Batch(_ROWS, None, 0), ["id"])
        target.finish_load(shadow, ["id"])
        (job,) = bigquery_wire.jobs("load")
        assert len(job["sourceUris"]) == 3
        assert all(shadow in url and bigquery_dataset in url for url in job["sourceUris"])
        assert raw.query(f"SELECT COUNT(*) FROM `{shadow}`") == [(6,)]
        target.drop(shadow)
        assert [path for path in place.rglob("*") if path.is_file()] == []
    # What a dead run staged is swept with its tables.
    with kit.opened(bigquery_dataset, staging=staging) as dead:
        dead.create(shadow, _ROWS.schema, ["id"], [])
        dead.load(shadow, base.Batch(_ROWS, None, 0), ["id"])
        dead.finish_load(shadow, ["id"])
    assert [path for path in place.rglob("*") if path.is_file()] != []
    with kit.opened(bigquery_dataset, staging=staging) as heir:
        assert shadow in heir.sweep(kit.names("20250101000000bbbbbbbbbbbb"))
    assert [path for path in place.rglob("*") if path.is_file()] == []
    assert raw.tables() == set()


def test_policies_that_cannot_be_listed_are_not_ruled_out(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make("t", *_COLUMNS)
    bigquery_wire.fail("rowAccessPolicies.list", "accessDenied")
    table = kit.opened(bigquery_dataset).describe()
    assert table is not None
    (blocker,) = table.swap_blockers
    assert "bigquery.rowAccessPolicies.list" in blocker


def test_few_rows_are_sent_with_their_job(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    with kit.opened(bigquery_dataset, staging="gs://no-such-bucket/sid") as target:
        shadow = kit.names().table("shadow", "t")
        target.create(shadow, _ROWS.schema, ["id"], [])
        target.load(shadow, base.Batch(_ROWS, None, 0), ["id"])
        target.finish_load(shadow, ["id"])
        (job,) = bigquery_wire.jobs("load")
        assert "sourceUris" not in job
        assert raw.query(f"SELECT COUNT(*) FROM `{shadow}`") == [(2,)]
