"""What the registry opens: sources, targets, and statements of hand-written pipelines."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import parameter, query, source

if TYPE_CHECKING:
    from tmg_etl.config import model


class BigQueryConnection(base.Connection):
    """A dataset of BigQuery; its sources and targets share the clients."""

    @functools.cached_property
    def clients(self) -> client_module.Clients:
        """Return the clients, which log in when they are first used."""
        spec = cast("model.BigQueryConnection", self.spec)
        return client_module.Clients(spec, self.folder, self.stop, self.owner)

    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> base.Source:
        """Open a table or query at a snapshot taken now."""
        return source.open_source(
            self.clients,
            table=spec.table,
            text=spec.query,
            is_extracted=spec.read == "extract",
            maximum_bytes_billed=spec.maximum_bytes_billed,
            execution_date=execution_date,
        )

    def open_target(self, table: str) -> base.Target:
        """Open a table, which may not exist yet."""
        from tmg_etl.connectors.bigquery import target

        return target.BigQueryTarget(self.clients, table)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a SELECT, with the Arrow types of a source."""
        text, values = parameter.bind(sql, parameters or {})
        with source.open_source(
            self.clients,
            table=None,
            text=text,
            is_extracted=False,
            maximum_bytes_billed=None,
            parameters=values,
        ) as opened:
            schema = opened.schema()
            return pa.Table.from_batches(opened.read(schema.names), schema=schema)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement or script; return the rows it touched, -1 where BigQuery says none."""
        text, values = parameter.bind(sql, parameters or {})
        limit = self.clients.spec.maximum_bytes_billed
        runner = query.Runner(
            self.clients, limit, "the statement", self.clients.spec.location, values
        )
        job = runner.run(text, "execute")
        return -1 if job.num_dml_affected_rows is None else int(job.num_dml_affected_rows)
