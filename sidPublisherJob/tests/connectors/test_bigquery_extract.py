"""BigQuery tables that are extracted to a bucket: what it costs, what is left, what is refused."""

from __future__ import annotations

import time

import pytest

from tests.bigquery import wire
from tests.connectors import bigquery_kit
from tests.connectors.bigquery_kit import read
from tmg_etl import errors

STAGING = {"staging": f"gs://{bigquery_kit.BUCKET}/sid"}


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
