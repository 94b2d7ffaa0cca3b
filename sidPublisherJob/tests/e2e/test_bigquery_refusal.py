"""What can be wrong with BigQuery: one clear line each, the right code, and nothing left behind."""

from __future__ import annotations

import pathlib
import secrets
from typing import Any

import duckdb
import grpc
import pytest

from tests.bigquery import emulator, refusal, wire
from tests.e2e import bigquery_kit
from tests.e2e import conftest as e2e

TABLE = {"connection": "lake", "table": "sales"}


class Scene:
    """A lake of one table behind the proxy, published to DuckDB; what a run left of it."""

    def __init__(
        self, workshop: bigquery_kit.Workshop, proxy: wire.Wire, bucket: pathlib.Path
    ) -> None:
        self.workshop = workshop
        self.wire = proxy
        self.bucket = bucket
        self.client = workshop.server.client()
        workshop.environment = proxy.environment
        workshop.lake["staging"] = f"gs://{bucket.name}/sid"
        self.serving = {"type": "duckdb", "url": f"duckdb:///{workshop.folder}/serving.duckdb"}
        self.sql("CREATE TABLE `{sales}` AS SELECT 1 AS id, 'x' AS name")

    def sql(self, statement: str, **names: str) -> None:
        known = {"sales": self.workshop.name("sales")} | names
        self.client.query_and_wait(statement.format(**known))

    def refused(
        self,
        code: int,
        *words: str,
        source: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        mode: str = "truncate",
        **transfer: Any,
    ) -> str:
        """Run, hold the refusal to what it promises, and return its line."""
        declared = {
            "source": source or TABLE,
            "target": target or {"connection": "serving", "table": "sales"},
            "key": ["id"],
        }
        before = self.tables()
        self.workshop.declare(self.serving, bad={**declared, **transfer})
        done = self.workshop.run("bad", mode)
        assert done.code == code, done.out + done.err
        assert "Traceback" not in done.err
        line = e2e.only_error(done)  # type: ignore[arg-type]
        for word in words:
            assert word in line, line
        assert [path for path in self.bucket.rglob("*") if path.is_file()] == []
        assert self.tables() == before
        return line

    def tables(self) -> set[str]:
        return {item.table_id for item in self.client.list_tables(self.workshop.dataset)}


@pytest.fixture
def scene(
    tmp_path: pathlib.Path,
    empty_ledger: pathlib.Path,
    bigquery_server: emulator.BigQueryServer,
    bigquery_wire: wire.Wire,
    bigquery_dataset: str,
) -> Scene:
    (tmp_path / "work").mkdir()
    workshop = bigquery_kit.Workshop(
        tmp_path / "work", empty_ledger, bigquery_server, bigquery_dataset
    )
    bucket = bigquery_server.storage.create(f"staging-{secrets.token_hex(4)}")
    return Scene(workshop, bigquery_wire, bucket)


# --- what is named and is not there ---------------------------------------------------------------


def test_table_is_not_found(scene: Scene) -> None:
    scene.refused(78, "no table 'sale'", "'sales'", source={"connection": "lake", "table": "sale"})


def test_dataset_is_not_found(scene: Scene) -> None:
    name = scene.workshop.dataset
    scene.workshop.lake["dataset"] = f"{name}x"
    scene.refused(78, f"no dataset '{name}x'", f"'{name}'")


def test_dataset_of_the_target_is_not_found(scene: Scene) -> None:
    scene.refused(78, "nowhere", target={"connection": "lake", "table": "nowhere.sales"})


def test_staging_bucket_is_missing(scene: Scene) -> None:
    scene.workshop.lake["staging"] = "gs://not-there/sid"
    scene.refused(78, "not-there", source={**TABLE, "read": "extract"})


def test_staging_bucket_is_elsewhere(scene: Scene) -> None:
    scene.wire.fail_job(
        "extract",
        "invalid",
        message="Cannot read and write in different locations: source: US, destination: EU",
    )
    scene.refused(78, "location", "staging", source={**TABLE, "read": "extract"})


# --- what a query or a table is not ---------------------------------------------------------------


def test_query_is_wrong(scene: Scene) -> None:
    scene.refused(78, "nope", source={"connection": "lake", "query": "SELECT nope FROM sales"})


def test_target_is_a_view(scene: Scene) -> None:
    scene.sql("CREATE VIEW `{view}` AS SELECT 1 AS id", view=scene.workshop.name("view"))
    line = scene.refused(78, "a view", source=TABLE, target={"connection": "lake", "table": "view"})
    assert "view" in line


def test_target_is_an_external_table(scene: Scene) -> None:
    def external(body: dict[str, Any]) -> None:
        if body["tableReference"]["tableId"] == "outside":
            body["type"] = "EXTERNAL"

    scene.sql("CREATE TABLE `{outside}` (id INT64)", outside=scene.workshop.name("outside"))
    scene.wire.change("tables.get", external)
    scene.refused(78, "external table", target={"connection": "lake", "table": "outside"})


def test_target_has_rows_in_its_streaming_buffer(scene: Scene) -> None:
    def streamed(body: dict[str, Any]) -> None:
        if body["tableReference"]["tableId"] == "streamed":
            body["streamingBuffer"] = {"estimatedRows": "12", "estimatedBytes": "99"}

    scene.sql(
        "CREATE TABLE `{streamed}` (id INT64, name STRING)",
        streamed=scene.workshop.name("streamed"),
    )
    scene.wire.change("tables.get", streamed)
    scene.refused(75, "streaming buffer", target={"connection": "lake", "table": "streamed"})


# --- what is not allowed --------------------------------------------------------------------------


def test_login_may_not_create_read_sessions(scene: Scene) -> None:
    scene.wire.reads.refuse(grpc.StatusCode.PERMISSION_DENIED, refusal.NO_READ_SESSIONS, times=9)
    scene.refused(77, "bigquery.readsessions.create")


def test_login_may_not_start_jobs(scene: Scene) -> None:
    scene.wire.fail("jobs.insert", "accessDenied", times=9)
    scene.refused(
        77, "bigquery.jobs.create", source={"connection": "lake", "query": "SELECT 1 AS id"}
    )


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [("not json {", 78, "JSON"), ('{"type": "authorized_user"}', 78, "service account")],
)
def test_key_file_is_none(scene: Scene, content: str, code: int, word: str) -> None:
    key = scene.workshop.folder / "key.json"
    key.write_text(content)
    scene.workshop.environment = {}
    scene.workshop.lake["credentials"] = {"key_file": "key.json"}
    line = scene.refused(code, "key.json", word)
    assert "not json {" not in line


def test_query_would_cost_too_much(scene: Scene) -> None:
    scene.wire.bytes_processed = 50 * wire.MIB
    source = {"connection": "lake", "query": "SELECT * FROM sales", "maximum_bytes_billed": 1000}
    scene.refused(78, "bytes", source=source)
    # BigQuery itself was told, and refuses before it costs anything.
    assert {job["maximumBytesBilled"] for job in scene.wire.jobs("query")} == {"1000"}


# --- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["quotaExceeded", "jobRateLimitExceeded"])
def test_quota_is_used_up(scene: Scene, reason: str) -> None:
    scene.wire.fail_job("extract", reason, times=9)
    scene.refused(75, "xceeded", source={**TABLE, "read": "extract"})


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "backendError", "internalError"])
def test_what_passes_is_tried_again(scene: Scene, reason: str) -> None:
    scene.wire.fail("tables.get", reason)
    scene.wire.fail("jobs.insert", reason, when=lambda call: "extract" in call.config)
    scene.workshop.declare(
        scene.serving,
        good={
            "source": {**TABLE, "read": "extract"},
            "target": {"connection": "serving", "table": "sales"},
            "key": ["id"],
        },
    )
    scene.workshop.publish("good", "truncate")
    sent = [call for call in scene.wire.named("jobs.insert") if "extract" in call.config]
    assert len(sent) == 2
    # One name for both, so that one that ran all the same would be found.
    assert len({call.body["jobReference"]["jobId"] for call in sent}) == 1


def test_job_whose_answer_was_lost_runs_once(scene: Scene) -> None:
    scene.wire.lose("jobs.insert", when=lambda call: "load" in call.config)
    scene.wire.lose("jobs.insert", when=lambda call: "copy" in call.config)
    scene.workshop.declare(
        scene.serving,
        copy={
            "source": {"connection": "lake", "query": "SELECT id, name FROM sales"},
            "target": {"connection": "lake", "table": "copied"},
            "key": ["id"],
        },
    )
    scene.workshop.publish("copy", "truncate")
    [[rows]] = scene.client.query_and_wait(
        f"SELECT COUNT(*) FROM `{scene.workshop.name('copied')}`"
    )
    assert rows == 1
    assert scene.tables() == {"sales", "copied"}


def test_stream_that_is_cut_goes_on_at_its_offset(scene: Scene) -> None:
    name = scene.workshop.name("many")
    scene.sql(
        "CREATE TABLE `{many}` AS SELECT id, CAST(id AS STRING) AS name"
        " FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS id",
        many=name,
    )
    scene.wire.reads.message_rows = 500
    scene.wire.reads.cut(after=3, times=1)
    scene.wire.reads.cut(after=1, times=1, code=grpc.StatusCode.INTERNAL, words="RST_STREAM")
    scene.workshop.declare(
        scene.serving,
        many={
            "source": {"connection": "lake", "table": "many"},
            "target": {"connection": "serving", "table": "many"},
            "key": ["id"],
        },
    )
    scene.workshop.publish("many", "truncate")
    assert [offset for _, offset in scene.wire.reads.asked] == [0, 1500, 2000]
    with duckdb.connect(str(scene.workshop.folder / "serving.duckdb"), read_only=True) as database:
        found = database.execute(
            "SELECT count(*), sum(id), count(DISTINCT id) FROM many"
        ).fetchall()
    assert found == [(5000, 12502500, 5000)]
