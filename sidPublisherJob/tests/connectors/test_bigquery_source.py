"""BigQuery tables as a source: what is asked of Google, what it costs, and what is refused."""

from __future__ import annotations

import datetime
import time

import grpc
import pytest

from tests.bigquery import emulator, wire
from tests.connectors import bigquery_kit
from tests.connectors.bigquery_kit import DAY, WINDOW, days, ids, read
from tmg_etl import errors
from tmg_etl.connectors.bigquery import client

MIB = 1 << 20


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
    ) -> None:
        bigquery_wire.change(
            "tables.get", lambda body: body.update(streamingBuffer={"estimatedRows": "1"})
        )
        lake.execute("CREATE TABLE w (id INT64, day DATE) PARTITION BY _PARTITIONDATE")
        with lake.opened(table="w") as source:
            ids(source, window=days(DAY, DAY, "day"))
            assert source.warnings == ()
            ids(source, window=days(DAY, DAY, "_PARTITIONTIME"))
            (warning,) = source.warnings
        assert "have no _PARTITIONTIME yet and are in no window" in warning


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
