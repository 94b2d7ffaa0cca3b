"""What the tests of the BigQuery target share: a target of an emulator, rows, and a raw client."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
from google.cloud import bigquery

from tests.bigquery import emulator
from tmg_etl import connectors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import target as target_module

Field = bigquery.SchemaField


def opened(dataset: str, table: str = "t", **settings: Any) -> target_module.BigQueryTarget:
    """Return the target as a run opens it."""
    entry = {"type": "bigquery", "project": emulator.PROJECT, "dataset": dataset, **settings}
    config = model.Config.model_validate({"connections": {"target": entry}})
    connection = connectors.connect(config.connections["target"], pathlib.Path())
    return cast("target_module.BigQueryTarget", connection.open_target(table))


class Raw:
    """Google's own client on one dataset."""

    def __init__(self, server: emulator.BigQueryServer, dataset: str) -> None:
        self.client = server.client()
        self.dataset = bigquery.DatasetReference(emulator.PROJECT, dataset)

    def make(self, name: str, *columns: Field, **members: Any) -> bigquery.Table:
        """Create a table; `members` are attributes of the client's table."""
        table = bigquery.Table(self.dataset.table(name), schema=columns)
        for member, value in members.items():
            setattr(table, member, value)
        return self.client.create_table(table)

    def get(self, name: str = "t") -> bigquery.Table:
        """Return a table's resource."""
        return self.client.get_table(self.dataset.table(name))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        config = bigquery.QueryJobConfig(default_dataset=self.dataset)
        return [tuple(row.values()) for row in self.client.query_and_wait(sql, job_config=config)]

    def tables(self) -> set[str]:
        """Return the names of all tables."""
        return {str(item.table_id) for item in self.client.list_tables(self.dataset)}


def names(run_id: str = "20240310000000aaaaaaaaaaaa") -> run_module.TemporaryNames:
    """Return the temporary names of a run."""
    return run_module.TemporaryNames(run_id)


def batch(**columns: Any) -> base.Batch:
    """Return rows as a run hands them over."""
    return base.Batch(pa.RecordBatch.from_pydict(columns), None, 0)


def fill(
    target: base.Target, rows: pa.RecordBatch, key: Sequence[str] = (), run_id: str = ""
) -> str:
    """Load rows into a new table beside the target and return its name."""
    shadow = names(run_id or names().run_id).table("shadow", target.table)
    if target.describe() is None:
        target.create(shadow, rows.schema, key, [])
    else:
        target.create_shadow(shadow, [])
    target.load(shadow, base.Batch(rows, None, 0), key)
    target.finish_load(shadow, key)
    return shadow
