"""The connection of type `files`: a folder whose folders and files are tables."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.files import location, source, storage

if TYPE_CHECKING:
    import pathlib

    from tmg_etl.config import model


class FilesConnection(base.Connection):
    """Files below the folder that the connection's `url` names.

    ``table: x`` is the folder ``x/`` or the file ``x.parquet``, ``x.csv``, ``x.jsonl`` and so on;
    ``path`` is any file, folder or glob; ``query`` is DuckDB's SQL over the tables of the folder.
    """

    @property
    def root(self) -> pathlib.Path:
        """Return the absolute folder of the tables."""
        return storage.root_of(self.spec.url, self.folder)

    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> base.Source:
        """Find the files and note their state; nothing but headers and footers is read."""
        if spec.query is not None:
            from tmg_etl.connectors.files import query

            return query.QuerySource(self.root, spec, execution_date, self.name, self.stop)
        located = location.locate(self.root, spec, execution_date, self.name)
        return source.FilesSource(located, spec)

    def open_target(self, table: str) -> base.Target:
        """Open a folder of Parquet files, which may not exist yet."""
        from tmg_etl.connectors.files import target

        location.check_table(table, self.name)
        return target.FilesTarget(self.root, table, self.name, self.stop)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query over the tables of the folder, by DuckDB."""
        from tmg_etl.connectors.files import query

        return query.rows(self.root, sql, dict(parameters or {}), self.name, self.stop)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Refuse: files hold no statements."""
        raise errors.ConfigError(
            f"connection {self.name!r} (files) runs no statements",
            hint="`query` reads; files are written by a transfer",
        )
