"""BigQuery's queries as a source: the job, what it costs, and how it fails; statements by hand."""

from __future__ import annotations

import datetime
import threading
import time

import pytest

from tests.bigquery import emulator, wire
from tests.connectors import bigquery_kit
from tests.connectors.bigquery_kit import DAY, WINDOW, ids, read
from tmg_etl import errors

MIB = 1 << 20


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
