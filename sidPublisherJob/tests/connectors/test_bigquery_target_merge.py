"""Merges into BigQuery: partitions left alone, composite keys, doubles, what is counted."""

from __future__ import annotations

import datetime
import math

import pyarrow as pa
import pytest
from google.cloud import bigquery

from tests.bigquery import wire
from tests.connectors import bigquery_target_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import merge
from tmg_etl.connectors.bigquery import target as target_module

_STAGE = kit.names().table("stage", "t")
_DAY = datetime.date(2024, 3, 10)
_BEFORE = datetime.date(2024, 3, 9)


def _staged(target: target_module.BigQueryTarget, **columns: object) -> None:
    rows = pa.RecordBatch.from_pydict(columns)
    known = target.describe()
    assert known is not None
    held = [name for name in rows.schema.names if known.column(name)]
    extra = pa.schema([field for field in rows.schema if field.name not in held])
    target.create_staging(_STAGE, held, extra)
    target.load(_STAGE, base.Batch(rows, None, 0), ["id"])


def test_only_the_partitions_of_the_staged_rows_are_looked_at(
    raw: kit.Raw, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> None:
    raw.make(
        "t",
        kit.Field("id", "INTEGER"),
        kit.Field("day", "DATE"),
        kit.Field("name", "STRING"),
        time_partitioning=bigquery.TimePartitioning(field="day"),
    )
    raw.query(f"INSERT INTO t VALUES (1, DATE '{_BEFORE}', 'a'), (1, DATE '{_DAY}', 'b')")
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        _staged(target, id=[1, 2], day=[_DAY, _DAY], name=["B", "c"])
        with target.transaction():
            done = target.upsert(_STAGE, ["id", "day", "name"], ["id", "day"], [], None)
        target.drop(_STAGE)
    assert done == base.Changes(inserted=1, updated=1, deleted=0, unchanged=0)
    found = raw.query("SELECT id, day, name FROM t ORDER BY day, id")
    assert found == [(1, _BEFORE, "a"), (1, _DAY, "B"), (2, _DAY, "c")]
    bounds = f"`t`.`day` >= DATE '{_DAY}' AND `t`.`day` <= DATE '{_DAY}'"
    texts = [job["query"] for job in bigquery_wire.jobs("query")]
    assert sum(bounds in text for text in texts) == 2  # the UPDATE and the INSERT


def test_a_partition_that_is_not_in_the_key_does_not_limit_a_merge(
    raw: kit.Raw, bigquery_dataset: str
) -> None:
    raw.make(
        "t",
        kit.Field("id", "INTEGER"),
        kit.Field("day", "DATE"),
        time_partitioning=bigquery.TimePartitioning(field="day"),
    )
    raw.query(f"INSERT INTO t VALUES (1, DATE '{_BEFORE}')")
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        _staged(target, id=[1], day=[_DAY])
        with target.transaction():
            done = target.upsert(_STAGE, ["id", "day"], ["id"], [], None)
        target.drop(_STAGE)
    assert done == base.Changes(updated=1)
    assert raw.query("SELECT * FROM t") == [(1, _DAY)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (_DAY, "DATE '2024-03-10'"),
        (datetime.datetime(2024, 3, 10, 2, 30), "DATETIME '2024-03-10 02:30:00'"),
        (
            datetime.datetime(2024, 3, 10, 2, 30, 0, 5, tzinfo=datetime.UTC),
            "TIMESTAMP '2024-03-10 02:30:00.000005+00'",
        ),
        (7, "7"),
    ],
)
def test_bounds_are_written_as_their_type(value: object, text: str) -> None:
    assert merge._literal(value) == text


def test_rows_are_deleted_by_a_composite_key(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("part", "STRING"))
    raw.query("INSERT INTO t VALUES (1, 'a'), (1, 'b'), (2, 'a')")
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        _staged(target, id=[1, 2, 3], part=["b", "a", "a"], gone=[True, None, True])
        with target.transaction():
            done = target.upsert(_STAGE, ["id", "part"], ["id", "part"], [], "gone")
        assert raw.query(f"SELECT id FROM `{_STAGE}`") == [(2,)]
        target.drop(_STAGE)
    assert done == base.Changes(deleted=1, unchanged=1)
    assert raw.query("SELECT * FROM t ORDER BY id, part") == [(1, "a"), (2, "a")]


def test_doubles_are_compared_by_their_bits(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("x", "FLOAT"))
    raw.query("INSERT INTO t VALUES (1, 0.0), (2, 1.0), (3, CAST('nan' AS FLOAT64)), (4, NULL)")
    values = [-0.0, math.nextafter(1.0, 2), math.nan, None]
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        _staged(target, id=[1, 2, 3, 4], x=pa.array(values, pa.float64()))
        with target.transaction():
            done = target.upsert(_STAGE, ["id", "x"], ["id"], [], None)
        target.drop(_STAGE)
    assert done == base.Changes(updated=2, unchanged=2)
    found = [row[0] for row in raw.query("SELECT x FROM t ORDER BY id")]
    assert [repr(value) for value in found] == [repr(value) for value in values]


@pytest.mark.parametrize("other", [-0.0, 5e-324, math.nan, None], ids=repr)
def test_versions_that_differ_by_a_bit_are_two(
    raw: kit.Raw, bigquery_dataset: str, other: float | None
) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("x", "FLOAT"))
    with kit.opened(bigquery_dataset) as target:
        _staged(target, id=[1, 1, 2, 2], x=pa.array([0.0, other, 7.0, 7.0], pa.float64()))
        with pytest.raises(errors.DuplicateKeyError, match="id='1'"):
            target.keep_latest(_STAGE, ["id", "x"], ["id"], [])
        target.drop(_STAGE)


def test_versions_that_are_equal_are_one(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("x", "FLOAT"))
    with kit.opened(bigquery_dataset) as target:
        values = pa.array([math.nan, math.nan, 0.1, None], pa.float64())
        _staged(target, id=[1, 1, 2, 3], x=values)
        assert target.keep_latest(_STAGE, ["id", "x"], ["id"], []) == 1
        assert raw.query(f"SELECT id FROM `{_STAGE}` ORDER BY id") == [(1,), (2,), (3,)]
        target.drop(_STAGE)


def test_a_merge_that_fails_leaves_nothing_of_itself(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("name", "STRING"))
    raw.query("INSERT INTO t VALUES (1, 'a')")

    def merge_badly(target: target_module.BigQueryTarget) -> None:
        with target.lock("run-a", 0), target.transaction():
            target.run("UPDATE t SET name = 'b' WHERE id = 1")
            target.run("UPDATE t SET no_such_column = 1 WHERE TRUE")

    with kit.opened(bigquery_dataset) as target:
        with pytest.raises(errors.ConfigError, match="no_such_column"):
            merge_badly(target)
        # The session is gone: the next statement is one of its own.
        assert target.rows("SELECT * FROM t") == [(1, "a")]
    assert raw.tables() == {"t"}
