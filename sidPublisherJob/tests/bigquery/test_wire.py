"""The proxy answers as the API's reference says, seen by Google's own clients."""

from __future__ import annotations

from typing import Any

import google.auth.credentials
import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery import emulator, reference, refusal, wire

QUICK = bigquery.DEFAULT_RETRY.with_timeout(10)


@pytest.fixture
def client(bigquery_wire: wire.Wire) -> bigquery.Client:
    # It finds the proxy by its variable, as the connector does.
    login = google.auth.credentials.AnonymousCredentials()
    return bigquery.Client(project=emulator.PROJECT, credentials=login)


@pytest.fixture
def table(client: bigquery.Client, bigquery_dataset: str, bigquery_wire: wire.Wire) -> str:
    name = f"{emulator.PROJECT}.{bigquery_dataset}.t"
    numbers = "UNNEST(GENERATE_ARRAY(1, 5000))"
    client.query_and_wait(f"CREATE TABLE `{name}` AS SELECT * FROM {numbers} AS id")
    bigquery_wire.calls.clear()
    return name


def test_passes_on_what_the_emulator_can_do(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    (row,) = client.query_and_wait(f"SELECT SUM(id) FROM `{table}`")
    assert row[0] == 12502500
    assert [call.name for call in bigquery_wire.calls] == ["jobs.query"]


@pytest.mark.parametrize("reason", sorted(refusal.REASONS.keys() - {"authError"}))
def test_refuses_by_reason(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire, reason: str
) -> None:
    bigquery_wire.fail("tables.get", reason)
    with pytest.raises(exceptions.GoogleAPICallError) as caught:
        client.get_table(table, retry=None)
    assert caught.value.code == refusal.REASONS[reason][0]
    assert caught.value.errors[0]["reason"] == reason
    assert client.get_table(table, retry=None).num_rows == 5000


def test_counts_bytes_and_keeps_the_limit(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    bigquery_wire.bytes_processed = 12 * wire.MIB + 1
    dry = client.query(f"SELECT * FROM `{table}`", bigquery.QueryJobConfig(dry_run=True))
    assert dry.total_bytes_processed == 12 * wire.MIB + 1
    job = client.query(f"SELECT COUNT(*) FROM `{table}`")
    job.result()
    assert job.total_bytes_billed == 13 * wire.MIB
    limited = bigquery.QueryJobConfig(maximum_bytes_billed=12 * wire.MIB)
    with pytest.raises(exceptions.GoogleAPICallError, match="12582912. 13631488 or higher"):
        client.query(f"SELECT COUNT(*) FROM `{table}`", limited, job_retry=None).result()


def test_jobs_end_later_fail_and_are_cancelled(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    bigquery_wire.polls = 2
    job = client.query(f"SELECT COUNT(*) FROM `{table}`")
    assert [job.done(), job.done(), job.done()] == [False, False, True]
    job = client.query(f"SELECT COUNT(*) FROM `{table}`")
    job.cancel()
    job.reload()
    assert (job.state, job.error_result["reason"]) == ("DONE", "stopped")
    bigquery_wire.polls = 0
    bigquery_wire.fail_job("copy", "quotaExceeded")
    failing = client.copy_table(table, f"{table}_2")
    with pytest.raises(exceptions.Forbidden, match="Quota exceeded"):
        failing.result(retry=None)
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{table}_2")


def test_an_answer_gets_lost_and_the_job_is_there_already(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    bigquery_wire.lose("jobs.insert")
    with pytest.raises(exceptions.Conflict, match="Already Exists: Job"):
        client.copy_table(table, f"{table}_2", job_id="tmg_1", retry=QUICK)
    client.get_job("tmg_1").result()
    assert client.get_table(f"{table}_2").num_rows == 5000
    assert [call.body["jobReference"]["jobId"] for call in bigquery_wire.named("jobs.insert")] == [
        "tmg_1",
        "tmg_1",
    ]


def test_if_match_is_held_to(client: bigquery.Client, table: str, bigquery_wire: wire.Wire) -> None:
    mine = client.get_table(table)
    theirs = client.get_table(table)
    assert mine.etag
    theirs.description = "theirs"
    client.update_table(theirs, ["description"])
    mine.description = "mine"
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(mine, ["description"])
    mine = client.get_table(table)
    mine.description = "mine"
    assert client.update_table(mine, ["description"]).description == "mine"
    bigquery_wire.before("tables.patch", lambda: _describe(client, table))
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(client.get_table(table), ["description"])


def _describe(client: bigquery.Client, table: str) -> None:
    found = client.get_table(table)
    found.description = "between"
    client.update_table(found, ["description"])


def test_answers_are_changed(client: bigquery.Client, table: str, bigquery_wire: wire.Wire) -> None:
    def stream(body: dict[str, Any]) -> None:
        body["streamingBuffer"] = {"estimatedRows": "3", "estimatedBytes": "30"}

    bigquery_wire.change("tables.get", stream)
    assert client.get_table(table).streaming_buffer.estimated_rows == 3


def test_streams_end_in_the_middle_and_are_resumed(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    reads = bigquery_wire.reads
    reads.message_rows = 1000
    reads.cut(after=2)
    reader = emulator.read_client(reads.address)
    asked = types.ReadSession(table=_path(table), data_format=types.DataFormat.ARROW)
    session = reader.create_read_session(
        parent=f"projects/{emulator.PROJECT}", read_session=asked, max_stream_count=1
    )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    messages = list(reader.read_rows(session.streams[0].name))
    batches = [
        pa.ipc.read_record_batch(
            pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema
        )
        for message in messages
    ]
    assert sorted(pa.Table.from_batches(batches)["id"].to_pylist()) == list(range(1, 5001))
    assert [offset for _, offset in reads.asked] == [0, 2000]
    assert reads.sessions[0].read_session.table == _path(table)


def test_sessions_are_refused(
    client: bigquery.Client, table: str, bigquery_wire: wire.Wire
) -> None:
    reads = bigquery_wire.reads
    reads.refuse(grpc.StatusCode.PERMISSION_DENIED, refusal.NO_READ_SESSIONS)
    with pytest.raises(exceptions.PermissionDenied, match="bigquery.readsessions.create"):
        emulator.read_client(reads.address).create_read_session(
            parent=f"projects/{emulator.PROJECT}",
            read_session=types.ReadSession(table=_path(table)),
        )


def _path(table: str) -> str:
    project, dataset, name = table.split(".")
    return f"projects/{project}/datasets/{dataset}/tables/{name}"


def test_requests_that_the_reference_does_not_know_are_found(
    client: bigquery.Client, bigquery_wire: wire.Wire
) -> None:
    job = {"configuration": {"load": {"sourceUri": "gs://b/o"}}, "jobReference": {"jobId": "x"}}
    path = f"/projects/{emulator.PROJECT}/jobs"
    client._connection.api_request(method="POST", path=path, data=job, query_params={"odd": "1"})
    assert bigquery_wire.faults == [
        "jobs.insert: Job.configuration.load.sourceUri: the reference has no such field",
        "jobs.insert: the reference has no parameter odd",
    ]
    bigquery_wire.faults.clear()


def test_reference_finds_what_is_wrong() -> None:
    body = {
        "configuration": {
            "load": {"writeDisposition": 1, "sourceUris": "x", "maxBadRecords": "1"},
            "dryRun": "yes",
            "labels": {"a": 1},
        },
        "jobReference": {"jobId": "x"},
    }
    assert list(reference.faults(body, "Job")) == [
        "Job.configuration.load.writeDisposition: found 1, expected string",
        "Job.configuration.load.sourceUris: found 'x', expected a list",
        "Job.configuration.load.maxBadRecords: found '1', expected integer",
        "Job.configuration.dryRun: found 'yes', expected boolean",
        "Job.configuration.labels.a: found 1, expected string",
    ]
