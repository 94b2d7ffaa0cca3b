"""What the tests of BigQuery as a source share: a dataset, its tables, and opening them."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from google.cloud import bigquery

from tests.bigquery import emulator
from tmg_etl import connectors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base

DAY = datetime.date(2024, 3, 10)
BUCKET = "connector-staging"


class Lake:
    """A dataset, looked at with Google's client alone.

    Args:
        server: the emulator.
        dataset: an existing dataset.
    """

    def __init__(self, server: emulator.BigQueryServer, dataset: str) -> None:
        self.server = server
        self.dataset = dataset
        self.raw = server.client()
        self.stop = run_module.StopFlag()
        self.owner = base.Owner()

    @property
    def bucket(self) -> str:
        return BUCKET

    def execute(self, sql: str) -> None:
        config = bigquery.QueryJobConfig(default_dataset=f"{emulator.PROJECT}.{self.dataset}")
        self.raw.query_and_wait(sql, job_config=config)

    def table(self, name: str = "t", rows: int = 9) -> str:
        """Make a table with `id`, `day` and `name`; days count down from `DAY`."""
        self.execute(
            f"CREATE TABLE {name} AS SELECT id, DATE_SUB(DATE '{DAY}', INTERVAL id DAY) AS day,"
            f" CONCAT('n', CAST(id AS STRING)) AS name FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS id"
        )
        return name

    def connection(self, **keys: Any) -> base.Connection:
        spec = {"type": "bigquery", "project": emulator.PROJECT, "dataset": self.dataset, **keys}
        config = model.Config.model_validate({"connections": {"bq": spec}})
        # Each is a run of its own: jobs are found again by its id.
        self.owner = base.Owner(run_module.new_run_id(), "Fact Flight", "local")
        known = connectors.Connections(config.connections, config.folder, self.stop, self.owner)
        return known["bq"]

    @contextlib.contextmanager
    def opened(self, connection: dict[str, Any] | None = None, **spec: Any) -> Iterator[Any]:
        """Open a source as a run does."""
        declared = model.SourceSpec.model_validate({"connection": "bq", **spec})
        with self.connection(**connection or {}).open_source(declared, DAY) as source:
            yield source

    def staged(self) -> list[str]:
        """Return the files in the staging bucket."""
        root = self.server.buckets / BUCKET
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def read(source: base.Source, *columns: str, **arguments: Any) -> pa.Table:
    schema = source.schema()
    names = list(columns) or schema.names
    chosen = pa.schema([schema.field(name) for name in names])
    return pa.Table.from_batches(source.read(names, **arguments), chosen)


def ids(source: base.Source, **arguments: Any) -> list[int]:
    found: list[int] = read(source, "id", **arguments).column("id").to_pylist()
    return sorted(found)


def days(first: datetime.date, last: datetime.date, column: str = "day") -> base.CursorWindow:
    return base.CursorWindow(column, first, last)


#: Of a table of `Lake.table`: the rows 2 and 3.
WINDOW = days(DAY - datetime.timedelta(3), DAY - datetime.timedelta(2))
