"""What the registry opens: sources, targets, and statements of hand-written pipelines."""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, cast

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import client as client_module

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
        raise errors.ConfigError(f"connection {self.name!r}: no source yet")

    def open_target(self, table: str) -> base.Target:
        """Open a table, which may not exist yet."""
        raise errors.ConfigError(f"connection {self.name!r}: no target yet")
