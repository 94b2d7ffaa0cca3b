"""BigQuery's time of ingestion as the cursor of a delta: through the whole of a run."""

from __future__ import annotations

import datetime
import pathlib

import duckdb
import pytest

from tests.bigquery import emulator, wire
from tests.connectors import bigquery_kit
from tests.connectors.bigquery_kit import DAY
from tmg_etl import errors, run, testing
from tmg_etl.config import loader
from tmg_etl.transfer import plan

MIB = 1 << 20
UNORDERED = (
    "the target does not hold the order column '_PARTITIONTIME': of a key in two windows, the run"
    " that comes last wins"
)


@pytest.fixture
def config(lake: bigquery_kit.Lake, tmp_path: pathlib.Path) -> pathlib.Path:
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


def test_the_latest_of_the_window_is_merged(config: pathlib.Path, bigquery_wire: wire.Wire) -> None:
    start = DAY - datetime.timedelta(1)
    outcome = testing.run_pipeline(config, "w", "delta", day=DAY, start=start)
    assert outcome.error is None
    with duckdb.connect(config.parent / "serving.duckdb") as served:
        assert served.sql("SELECT * FROM w ORDER BY id").fetchall() == [
            (1, "new"),
            (2, "only"),
        ]
    assert outcome.result.rows_read == 2
    assert outcome.warnings == (UNORDERED,)
    (job_id,) = outcome.result.job_ids
    assert "_read_1_" in job_id
    assert "FOR SYSTEM_TIME" in bigquery_wire.jobs("query")[0]["query"]


def test_the_plan_knows_that_a_query_will_read_it(
    config: pathlib.Path, bigquery_wire: wire.Wire
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
    assert UNORDERED in made.warnings
    assert bigquery_wire.jobs("query") == []


def test_hidden_columns_are_not_published(config: pathlib.Path) -> None:
    outcome = testing.run_pipeline(config, "w", day=DAY)
    # A key occurs twice: in a full refresh every version is a row.
    assert isinstance(outcome.error, errors.DuplicateKeyError)
    config.write_text(config.read_text().replace("key: [id]", "key: [id, name]"))
    outcome = testing.run_pipeline(config, "w", day=DAY)
    assert outcome.error is None
    with duckdb.connect(config.parent / "serving.duckdb") as served:
        assert served.sql("SELECT * FROM w").columns == ["id", "name"]
        assert len(served.sql("SELECT * FROM w").fetchall()) == 4


def test_a_window_cannot_be_replaced_by_a_hidden_column(config: pathlib.Path) -> None:
    text = config.read_text().replace("order_by:", "strategy: replace_window, order_by:")
    config.write_text(text)
    outcome = testing.run_pipeline(config, "w", "delta", day=DAY)
    assert isinstance(outcome.error, errors.ConfigError)
    assert "`delta.cursor` names '_PARTITIONTIME', which is not published" in str(outcome.error)
