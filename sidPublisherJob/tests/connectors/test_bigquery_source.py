"""BigQuery as a source: what is asked of Google, what it costs, and what happens when it fails."""

from __future__ import annotations

import datetime
import pathlib
import threading
import time
from collections.abc import Iterator

import duckdb
import grpc
import pytest

from tests.bigquery import emulator, wire
from tests.connectors import bigquery_kit
from tests.connectors.bigquery_kit import DAY, days, ids, read
from tmg_etl import errors, run, testing
from tmg_etl.config import loader
from tmg_etl.connectors.bigquery import client
from tmg_etl.transfer import plan

MIB = 1 << 20


@pytest.fixture
def lake(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> Iterator[bigquery_kit.Lake]:
    root = bigquery_server.buckets / bigquery_kit.BUCKET
    if not root.exists():
        bigquery_server.storage.create(bigquery_kit.BUCKET)
    found = bigquery_kit.Lake(bigquery_server, bigquery_dataset)
    yield found
    assert found.staged() == []


STAGING = {"staging": f"gs://{bigquery_kit.BUCKET}/sid"}
WINDOW = days(DAY - datetime.timedelta(3), DAY - datetime.timedelta(2))


class TestStreams:
    def test_only_what_is_needed_is_asked_for(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(table=lake.table()) as source:
            assert read(source, "name", "id", window=WINDOW).num_rows == 2
            at = source.snapshot
        (request,) = bigquery_wire.reads.sessions
        options = request.read_session.read_options
        assert list(options.selected_fields) == ["name", "id"]
        assert options.row_restriction == (
            "(`day` >= DATE '2024-03-07' AND `day` <= DATE '2024-03-08')"
        )
        seen = request.read_session.table_modifiers.snapshot_time
        assert at.endswith(f"at {seen.isoformat()}")
        assert request.parent == f"projects/{emulator.PROJECT}"
        assert request.max_stream_count > 1
        assert bigquery_wire.jobs("query") == []

    def test_a_stream_that_is_cut_goes_on_where_it_was_cut(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.reads.message_rows = 10
        reads = bigquery_wire.reads
        reads.cut(after=3, code=grpc.StatusCode.UNAVAILABLE)
        reads.cut(after=0, code=grpc.StatusCode.INTERNAL, words="RST_STREAM")
        reads.cut(after=2, code=grpc.StatusCode.UNKNOWN, words="Stream removed")
        reads.cut(after=1, code=grpc.StatusCode.DEADLINE_EXCEEDED)
        with lake.opened(table=lake.table(rows=500)) as source:
            assert ids(source) == list(range(1, 501))
        assert any(offset > 0 for _, offset in reads.asked)

    def test_a_stream_that_stays_away_is_given_up(
        self,
        lake: bigquery_kit.Lake,
        bigquery_wire: wire.Wire,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(client, "PATIENCE_S", 0.5)
        with lake.opened(table=lake.table()) as source:
            bigquery_wire.reads.cut(after=0, times=1000)
            with pytest.raises(errors.TemporaryError, match="table .*t: Socket closed"):
                ids(source)

    def test_a_stream_that_is_refused_is_no_end_of_the_rows(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.reads.message_rows = 2
        with lake.opened(table=lake.table()) as source:
            bigquery_wire.reads.cut(
                after=1, times=10, code=grpc.StatusCode.FAILED_PRECONDITION, words="table is gone"
            )
            with pytest.raises(errors.ConfigError, match="table is gone"):
                ids(source)

    def test_the_missing_right_to_read_is_named(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.reads.refuse(
            grpc.StatusCode.PERMISSION_DENIED,
            "request failed: the user does not have 'bigquery.readsessions.create' permission for"
            " 'projects/acme-test'",
        )
        with (
            lake.opened(table=lake.table()) as source,
            pytest.raises(errors.AccessError, match=r"bigquery\.readsessions\.create") as caught,
        ):
            ids(source)
        assert "roles/bigquery.readSessionUser" in str(caught.value)

    def test_closing_while_it_is_read_is_no_end_of_the_rows(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.reads.message_rows = 2
        with lake.opened(table=lake.table(rows=500)) as source:
            batches = source.read(["id"])
            next(batches)
            source.close()
            with pytest.raises(errors.TemporaryError, match="closed while it was read"):
                list(batches)

    def test_bytes_are_limited_and_counted(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(table=lake.table()) as source:
            assert source.bytes_read == 0
            ids(source)
            assert source.bytes_read > 0
            bigquery_wire.reads.scanned_bytes = 5 * MIB
            ids(source)
            assert source.bytes_read == 5 * MIB
            assert source.job_ids == ()
        with (
            lake.opened(table="t", maximum_bytes_billed=MIB) as source,
            pytest.raises(errors.ConfigError, match="reading it scans 5,242,880 bytes"),
        ):
            ids(source)

    def test_a_snapshot_has_no_other_state(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.change("tables.get", lambda body: body.update(type="SNAPSHOT"))
        with lake.opened(table=lake.table()) as source:
            assert ids(source) == list(range(1, 10))
            assert source.snapshot == f"{emulator.PROJECT}.{lake.dataset}.t"
        (request,) = bigquery_wire.reads.sessions
        assert "snapshot_time" not in request.read_session.table_modifiers


class TestWindows:
    def test_every_kind_of_cursor(self, lake: bigquery_kit.Lake) -> None:
        lake.execute(
            "CREATE TABLE w AS SELECT id, DATETIME_ADD(DATETIME '2024-03-08 23:59:59.999999',"
            " INTERVAL id MICROSECOND) AS dt, TIMESTAMP_ADD(TIMESTAMP"
            " '2024-03-08 23:59:59.999999+00', INTERVAL id MICROSECOND) AS ts,"
            " 20240307 + id AS n, CAST(20240307 + id AS STRING) AS s"
            " FROM UNNEST([0, 1, 2]) AS id UNION ALL SELECT 9, NULL, NULL, NULL, '2024-03-09'"
        )
        day = datetime.date(2024, 3, 9)
        with lake.opened(table="w") as source:
            assert ids(source, window=days(day, day, "dt")) == [1, 2]
            assert ids(source, window=days(day, day, "ts")) == [1, 2]
            assert ids(source, window=days(day, day, "n")) == [2]
            assert ids(source, window=days(day, day, "s")) == [2]
            everything = days(datetime.date.min, datetime.date.max, "dt")
            assert ids(source, window=everything) == [0, 1, 2]

    def test_a_cursor_that_is_none_is_refused(self, lake: bigquery_kit.Lake) -> None:
        lake.execute("CREATE TABLE w (id INT64, x FLOAT64)")
        with (
            lake.opened(table="w") as source,
            pytest.raises(errors.ConfigError, match="the cursor 'x' is of type double"),
        ):
            ids(source, window=days(DAY, DAY, "x"))

    def test_the_time_of_ingestion_is_a_cursor(self, lake: bigquery_kit.Lake) -> None:
        lake.execute("CREATE TABLE w (id INT64) PARTITION BY _PARTITIONDATE")
        for number in (1, 2, 3):
            lake.execute(
                "INSERT INTO w (_PARTITIONTIME, id)"
                f" VALUES (TIMESTAMP '2024-03-0{number} 00:00:00+00', {number})"
            )
        first, last = datetime.date(2024, 3, 2), datetime.date(2024, 3, 9)
        with lake.opened(table="w") as source:
            assert source.schema().names == ["id", "_PARTITIONTIME", "_PARTITIONDATE"]
            assert ids(source, window=days(first, last, "_PARTITIONTIME")) == [2, 3]
            assert ids(source, window=days(first, first, "_PARTITIONDATE")) == [2]

    def test_rows_without_a_time_of_ingestion_are_warned_of(
        self,
        lake: bigquery_kit.Lake,
        bigquery_wire: wire.Wire,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        bigquery_wire.change(
            "tables.get", lambda body: body.update(streamingBuffer={"estimatedRows": "1"})
        )
        lake.execute("CREATE TABLE w (id INT64, day DATE) PARTITION BY _PARTITIONDATE")
        with lake.opened(table="w") as source:
            ids(source, window=days(DAY, DAY, "day"))
            assert "have no _PARTITION" not in caplog.text
            ids(source, window=days(DAY, DAY, "_PARTITIONTIME"))
        assert "have no _PARTITIONTIME yet and are in no window" in caplog.text


class TestQueries:
    def test_a_view_is_read_by_a_query(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        lake.execute(f"CREATE VIEW v AS SELECT id, day FROM {lake.dataset}.{lake.table()}")
        with lake.opened(table="v") as source:
            assert source.description == f"bq: view {lake.dataset}.v, read by a query"
            assert bigquery_wire.jobs("query") == []
            assert ids(source, window=WINDOW) == [2, 3]
            (job_id,) = source.job_ids
            assert job_id in source.snapshot
        (job,) = bigquery_wire.jobs("query")
        assert "WHERE (`day` >= DATE '2024-03-07'" in job["query"]

    def test_a_job_is_named_and_labelled_after_its_run(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            ids(source)
            ids(source)
            (job_id,) = source.job_ids
            assert job_id.startswith(f"tmg_{lake.owner.run_id}_read_1_")
        call = next(
            call for call in bigquery_wire.named("jobs.insert") if not call.config.get("dryRun")
        )
        assert call.config["labels"] == {
            "tmg_transfer": "fact_flight",
            "tmg_run": lake.owner.run_id,
            "tmg_env": "local",
        }

    def test_a_job_whose_answer_was_lost_is_not_paid_twice(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            bigquery_wire.lose("jobs.insert")
            assert ids(source) == list(range(1, 10))
        sent = [
            call.body["jobReference"]["jobId"]
            for call in bigquery_wire.named("jobs.insert")
            if not call.config.get("dryRun")
        ]
        assert len(sent) == 2
        assert len(set(sent)) == 1

    def test_what_fails_for_a_moment_is_tried_again(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            bigquery_wire.fail("jobs.insert", "rateLimitExceeded", times=2)
            bigquery_wire.fail("jobs.get", "backendError", times=1)
            assert len(ids(source)) == 9

    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("quotaExceeded", errors.TemporaryError),
            ("accessDenied", errors.AccessError),
            ("bytesBilledLimitExceeded", errors.ConfigError),
            ("resourcesExceeded", errors.ConfigError),
        ],
    )
    def test_a_job_that_fails_says_why_in_one_line(
        self,
        lake: bigquery_kit.Lake,
        bigquery_wire: wire.Wire,
        reason: str,
        expected: type[errors.TmgEtlError],
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            bigquery_wire.fail_job("query", reason)
            with pytest.raises(expected, match="connection 'bq': the query: ") as caught:
                ids(source)
            assert "\n" not in str(caught.value)
            assert len(source.job_ids) == 1

    def test_bytes_are_known_before_and_limited(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.bytes_processed = 50 * MIB
        query = f"SELECT id FROM {lake.table()}"
        with lake.opened({"maximum_bytes_billed": 100 * MIB}, query=query) as source:
            assert source.estimate(["id"]) == "52,428,800 bytes scanned by a query"
            assert bigquery_wire.jobs("query") == []
            ids(source)
            assert source.bytes_read >= 50 * MIB
        with lake.opened(query=query, maximum_bytes_billed=MIB) as source:
            assert "more than `maximum_bytes_billed` 1,048,576" in source.estimate(["id"])
            with pytest.raises(errors.ConfigError, match="raise `maximum_bytes_billed`"):
                ids(source)

    def test_a_result_that_is_too_large_for_a_table_without_a_name_gets_one(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            bigquery_wire.fail_job("query", "responseTooLarge")
            assert ids(source) == list(range(1, 10))
            (name,) = {item.table_id for item in lake.raw.list_tables(lake.dataset)} - {"t"}
            assert name.startswith(f"_tmg_result_{lake.owner.run_id}_")
            # It goes away by itself when nobody is left to drop it.
            end = lake.raw.get_table(f"{lake.dataset}.{name}").expires
            left = end - datetime.datetime.now(datetime.UTC)
            assert datetime.timedelta(hours=23) < left <= datetime.timedelta(hours=24)
            assert len(source.job_ids) == 2
        assert {item.table_id for item in lake.raw.list_tables(lake.dataset)} == {"t"}

    def test_the_place_of_a_fault_is_that_in_the_query(self, lake: bigquery_kit.Lake) -> None:
        with (
            pytest.raises(errors.ConfigError, match=r"\(line 2, column 6\)") as caught,
            lake.opened(query="SELECT 1 AS a,\n  (2 AS b"),
        ):
            pass
        assert "Job ID" not in str(caught.value)

    def test_one_select_is_expected(self, lake: bigquery_kit.Lake) -> None:
        lake.table()
        for text in ("DROP TABLE t", "DELETE FROM t WHERE TRUE"):
            with (
                pytest.raises(errors.ConfigError, match="expected one SELECT"),
                lake.opened(query=text),
            ):
                pass
        with lake.opened(table="t") as source:
            assert len(ids(source)) == 9

    def test_a_stop_cancels_the_job(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(query=f"SELECT id FROM {lake.table()}") as source:
            bigquery_wire.polls = 10_000
            threading.Timer(0.5, lake.stop.set, [15]).start()
            started = time.monotonic()
            with pytest.raises(errors.Stopped):
                ids(source)
            assert time.monotonic() - started < 10
        (call,) = bigquery_wire.named("jobs.cancel")
        assert f"tmg_{lake.owner.run_id}_read_1" in call.target


class TestLatest:
    def test_older_versions_stay_in_bigquery(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        lake.execute(
            "CREATE TABLE v AS SELECT * FROM UNNEST([STRUCT(1 AS id, 1 AS version, 'a' AS name),"
            " (1, 2, 'b'), (2, 7, 'c'), (2, 7, 'd'), (3, NULL, 'e'), (4, NULL, 'f'), (4, 1, 'g')])"
        )
        with lake.opened(table="v") as source:
            source.prefer_latest(["id"], ["version"])
            found = read(source, "id", "name").sort_by("name").to_pylist()
            assert source.snapshot.startswith(f"{emulator.PROJECT}.{lake.dataset}.v at ")
        # Those that are equally late stay: the target refuses them.
        assert [tuple(row.values()) for row in found] == [
            (1, "b"),
            (2, "c"),
            (2, "d"),
            (3, "e"),
            (4, "g"),
        ]
        (job,) = bigquery_wire.jobs("query")
        assert "FOR SYSTEM_TIME AS OF" in job["query"]
        assert "QUALIFY RANK()" in job["query"]

    def test_what_bigquery_orders_in_its_own_way_is_left_to_the_target(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        lake.execute("CREATE TABLE v AS SELECT 1 AS id, 1.5 AS x, 'a' AS s")
        for column in ("x", "s"):
            with lake.opened(table="v") as source:
                source.prefer_latest(["id"], [column])
                assert ids(source) == [1]
        assert bigquery_wire.jobs("query") == []


class TestExtract:
    def test_a_whole_table_costs_nothing(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(STAGING, table=lake.table(), read="extract") as source:
            assert source.estimate(["id", "day", "name"]).startswith("nothing")
            assert read(source, "name").num_rows == 9
            assert read(source).num_rows == 9
            (job_id,) = source.job_ids
            assert job_id.startswith(f"tmg_{lake.owner.run_id}_extract_1_")
            assert len(lake.staged()) == 1
        assert bigquery_wire.jobs("query") == []
        assert len(bigquery_wire.jobs("extract")) == 1

    def test_a_table_that_has_changed_is_extracted_at_the_snapshot(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        with lake.opened(STAGING, table=lake.table(), read="extract") as source:
            lake.execute("DELETE FROM t WHERE id < 9")
            later = (time.time() + 5) * 1000
            # The emulator dates the last change of a table to its creation.
            bigquery_wire.change(
                "tables.get", lambda body: body.update(lastModifiedTime=str(int(later)))
            )
            assert read(source).num_rows == 9
        (job,) = bigquery_wire.jobs("query")
        assert "FOR SYSTEM_TIME AS OF" in job["query"]

    def test_rows_that_were_streamed_just_now_are_extracted_too(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.change(
            "tables.get", lambda body: body.update(streamingBuffer={"estimatedRows": "1"})
        )
        with lake.opened(STAGING, table=lake.table(), read="extract") as source:
            assert source.count() is None
            assert read(source).num_rows == 9
        assert len(bigquery_wire.jobs("query")) == 1

    def test_types_that_parquet_files_do_not_carry(self, lake: bigquery_kit.Lake) -> None:
        lake.execute("CREATE TABLE w AS SELECT 1 AS id, [JSON '{}'] AS docs, JSON '{}' AS doc")
        with lake.opened(STAGING, table="w", read="extract") as source:
            assert read(source, "id", "doc").to_pylist() == [{"id": 1, "doc": "{}"}]
            with pytest.raises(errors.ConfigError, match="'docs' is ARRAY<JSON>"):
                read(source, "docs")

    def test_the_next_run_removes_what_a_dead_one_left(self, lake: bigquery_kit.Lake) -> None:
        with lake.opened(STAGING, table=lake.table(), read="extract") as source:
            read(source)
            (left,), first = lake.staged(), lake.owner.run_id
            root = lake.server.buckets / bigquery_kit.BUCKET
            dead = root / left.replace(first, "20240309000000bbbbbbbbbbbb")
            dead.parent.mkdir(parents=True)
            dead.write_bytes(b"half a file")
            other = root / "sid" / "others" / "file"
            other.parent.mkdir(exist_ok=True)
            other.write_bytes(b"kept")
        assert len(lake.staged()) == 2
        with lake.opened(STAGING, table="t", read="extract") as source:
            assert read(source).num_rows == 9
        assert lake.staged() == ["sid/others/file"]
        other.unlink()

    def test_a_file_that_is_missing_is_noticed(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        def lie(body: dict[str, dict[str, dict[str, object]]]) -> None:
            found = body.get("statistics", {}).get("extract")
            if found:
                found["destinationUriFileCounts"] = ["3"]

        for method in ("jobs.insert", "jobs.get"):
            bigquery_wire.change(method, lie)
        with (
            lake.opened(STAGING, table=lake.table(), read="extract") as source,
            pytest.raises(errors.TemporaryError, match="3 files were extracted, 1 are in"),
        ):
            read(source)

    def test_a_bucket_elsewhere_is_refused_in_one_line(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        message = "Cannot read and write in different locations: source: US, destination: EU"
        bigquery_wire.fail_job("extract", "invalid", message=message)
        with (
            lake.opened(STAGING, table=lake.table(), read="extract") as source,
            pytest.raises(errors.ConfigError, match="in the location of the dataset") as caught,
        ):
            read(source)
        assert "\n" not in str(caught.value)

    def test_a_bucket_is_needed(self, lake: bigquery_kit.Lake) -> None:
        lake.table()
        with (
            pytest.raises(errors.ConfigError, match="found no `staging`"),
            lake.opened(table="t", read="extract"),
        ):
            pass
        with (
            lake.opened({"staging": "gs://no-such-bucket/x"}, table="t", read="extract") as source,
            pytest.raises(errors.ConfigError, match="no-such-bucket"),
        ):
            read(source)


class TestRefusals:
    def test_the_closest_name_is_suggested(self, lake: bigquery_kit.Lake) -> None:
        lake.table("flights")
        with (
            pytest.raises(errors.ConfigError, match="did you mean 'flights'"),
            lake.opened(table="flight"),
        ):
            pass
        with (
            pytest.raises(errors.ConfigError, match=f"did you mean '{lake.dataset}'"),
            lake.opened(table=f"{lake.dataset}x.flights"),
        ):
            pass

    def test_a_decorator_is_no_table(self, lake: bigquery_kit.Lake) -> None:
        lake.table()
        for name in ("t$20240310", "t@1700000000000"):
            with (
                pytest.raises(errors.ConfigError, match="declare `delta:`"),
                lake.opened(table=name),
            ):
                pass

    def test_an_external_table_is_read_by_a_query(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.change("tables.get", lambda body: body.update(type="EXTERNAL"))
        with lake.opened(table=lake.table()) as source:
            assert "external table" in source.description
            assert "read by a query" in source.description
            assert len(ids(source)) == 9
        assert "SYSTEM_TIME" not in bigquery_wire.jobs("query")[0]["query"]

    def test_a_dry_run_without_a_date_is_no_reason_to_trust_this_clock(
        self,
        lake: bigquery_kit.Lake,
        bigquery_wire: wire.Wire,
    ) -> None:
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        stamp = str(int(later.timestamp() * 1000))
        bigquery_wire.change("jobs.insert", lambda body: body["statistics"].pop("creationTime", 0))
        bigquery_wire.change("tables.get", lambda body: body.update(lastModifiedTime=stamp))
        with lake.opened(table=lake.table()) as source:
            at = datetime.datetime.fromisoformat(source.snapshot.rpartition(" at ")[2])
        assert datetime.timedelta(0) < at - later < datetime.timedelta(milliseconds=2)

    def test_a_quota_is_no_missing_right(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        name = lake.table()
        bigquery_wire.fail("jobs.insert", "quotaExceeded")
        with pytest.raises(errors.TemporaryError, match="Quota"), lake.opened(table=name):
            pass

    def test_who_may_not_run_jobs_may_read_storage(
        self, lake: bigquery_kit.Lake, bigquery_wire: wire.Wire
    ) -> None:
        name = lake.table()
        time.sleep(1.1)  # then the table was made before the second that the answer is dated to
        bigquery_wire.fail("jobs.insert", "accessDenied", times=10)
        with lake.opened(table=name) as source:
            assert source.estimate(["id"]) is None
            source.prefer_latest(["id"], ["day"])
            assert len(ids(source)) == 9
            assert source.job_ids == ()


class TestStatements:
    def test_parameters_are_bound(self, lake: bigquery_kit.Lake) -> None:
        found = lake.connection().query(
            "SELECT :n AS n, :s AS s, ':n' AS quoted, :at AS at, :d IN UNNEST(:ds) AS listed",
            {
                "n": 1,
                "s": "it's",
                "at": datetime.datetime(2024, 3, 10, tzinfo=datetime.UTC),
                "d": DAY,
                "ds": [DAY],
            },
        )
        assert found.to_pylist() == [
            {
                "n": 1,
                "s": "it's",
                "quoted": ":n",
                "at": datetime.datetime(2024, 3, 10, tzinfo=datetime.UTC),
                "listed": True,
            }
        ]

    def test_a_statement_says_what_it_touched(self, lake: bigquery_kit.Lake) -> None:
        lake.table()
        connection = lake.connection()
        assert connection.execute("UPDATE t SET name = :x WHERE id < 4", {"x": "y"}) == 3
        assert connection.execute("CREATE TABLE u (id INT64)") == -1
        with pytest.raises(errors.ConfigError, match="the statement: "):
            connection.execute("DELETE FROM no_such_table WHERE TRUE")


class TestTransfer:
    """A delta by the time of ingestion, through the whole of a run."""

    @pytest.fixture
    def config(self, lake: bigquery_kit.Lake, tmp_path: pathlib.Path) -> pathlib.Path:
        lake.execute("CREATE TABLE w (id INT64, name STRING) PARTITION BY _PARTITIONDATE")
        for day, number, name in ((9, 1, "old"), (10, 1, "new"), (10, 2, "only"), (8, 3, "before")):
            lake.execute(
                "INSERT INTO w (_PARTITIONTIME, id, name)"
                f" VALUES (TIMESTAMP '2024-03-{day:02} 00:00:00+00', {number}, '{name}')"
            )
        path = tmp_path / "config.yaml"
        path.write_text(
            f"""
            connections:
              bq: {{type: bigquery, project: {emulator.PROJECT}, dataset: {lake.dataset}}}
              serving: {{type: duckdb, url: "duckdb:///{tmp_path}/serving.duckdb"}}
            transfers:
              w:
                source: {{connection: bq, table: w}}
                target: {{connection: serving, table: w}}
                key: [id]
                delta: {{cursor: _PARTITIONTIME, order_by: [_PARTITIONTIME]}}
            """
        )
        return path

    def test_the_latest_of_the_window_is_merged(
        self, config: pathlib.Path, bigquery_wire: wire.Wire
    ) -> None:
        start = DAY - datetime.timedelta(1)
        outcome = testing.run_pipeline(config, "w", "delta", day=DAY, start=start)
        assert outcome.error is None
        with duckdb.connect(config.parent / "serving.duckdb") as served:
            assert served.sql("SELECT * FROM w ORDER BY id").fetchall() == [
                (1, "new"),
                (2, "only"),
            ]
        assert outcome.result.rows_read == 2
        (job_id,) = outcome.result.job_ids
        assert "_read_1_" in job_id
        assert "FOR SYSTEM_TIME" in bigquery_wire.jobs("query")[0]["query"]

    def test_the_plan_knows_that_a_query_will_read_it(
        self, config: pathlib.Path, bigquery_wire: wire.Wire
    ) -> None:
        bigquery_wire.bytes_processed = 3 * MIB
        made = plan.make(
            loader.load(str(config), "local"),
            "w",
            execution_date=DAY,
            delta_start_date=None,
            write_mode=run.WriteMode.DELTA,
        )
        assert made.source_cost == "3,145,728 bytes scanned by a query"
        assert bigquery_wire.jobs("query") == []

    def test_hidden_columns_are_not_published(self, config: pathlib.Path) -> None:
        outcome = testing.run_pipeline(config, "w", day=DAY)
        # A key occurs twice: in a full refresh every version is a row.
        assert isinstance(outcome.error, errors.DuplicateKeyError)
        config.write_text(config.read_text().replace("key: [id]", "key: [id, name]"))
        outcome = testing.run_pipeline(config, "w", day=DAY)
        assert outcome.error is None
        with duckdb.connect(config.parent / "serving.duckdb") as served:
            assert served.sql("SELECT * FROM w").columns == ["id", "name"]
            assert len(served.sql("SELECT * FROM w").fetchall()) == 4

    def test_a_window_cannot_be_replaced_by_a_hidden_column(self, config: pathlib.Path) -> None:
        text = config.read_text().replace("order_by:", "strategy: replace_window, order_by:")
        config.write_text(text)
        outcome = testing.run_pipeline(config, "w", "delta", day=DAY)
        assert isinstance(outcome.error, errors.ConfigError)
        assert "`delta.cursor` names '_PARTITIONTIME', which is not published" in str(outcome.error)
