"""The connection of type `files`: a folder, local or in a bucket, with tables in it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import storage as objects
from tmg_etl.connectors import base
from tmg_etl.connectors.files import bucket, disk, lake, location, source, storage

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.storage import base as objects_base


class FilesConnection(base.Connection):
    """Files below the folder or the prefix of a bucket that the connection's `url` names.

    ``table: x`` is the folder ``x/`` or the file ``x.parquet``, ``x.csv``, ``x.jsonl`` and so on;
    ``path`` is any file, folder or glob; ``query`` is DuckDB's SQL over the tables of the folder.
    """

    def _lake(self) -> lake.Lake:
        """Return the place of the tables, for one source or target."""
        if objects.is_object_url(self.spec.url):
            return bucket.Bucket(self.spec.url, self._store())
        return disk.Disk(str(storage.root_of(self.spec.url, self.folder)))

    def _store(self) -> objects_base.Store:
        spec = cast("model.FilesConnection", self.spec)
        return objects.open_store(spec.url, spec.credentials.located(self.folder))

    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> base.Source:
        """Find the files and note their state; nothing but headers and footers is read."""
        if spec.query is not None:
            from tmg_etl.connectors.files import query

            return query.QuerySource(self._lake(), spec, execution_date, self.name, self.stop)
        found = self._lake()
        try:
            located = location.locate(found, spec, execution_date, self.name)
            return source.FilesSource(located, spec)
        except BaseException:
            found.close()
            raise

    def open_target(self, table: str) -> base.Target:
        """Open a folder of Parquet files, in a bucket one object; it may not exist yet."""
        location.check_table(table, self.name)
        found = self._lake()
        if isinstance(found, bucket.Bucket):
            from tmg_etl.connectors.files import published

            return published.BucketTarget(found, table, self.name, self.stop)
        from tmg_etl.connectors.files import target

        root = storage.root_of(self.spec.url, self.folder)
        return target.FilesTarget(root, table, self.name, self.stop)

    def check(self, *, connect: bool) -> None:
        """Open the bucket, if it is one, and with `connect` look for the first file in it."""
        if objects.is_object_url(self.spec.url):
            with contextlib.closing(self._store()) as store:
                if connect:
                    next(iter(store.list(self.spec.url)), None)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query over the tables of the folder, by DuckDB."""
        from tmg_etl.connectors.files import query

        return query.rows(self._lake(), sql, dict(parameters or {}), self.name, self.stop)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Refuse: files hold no statements."""
        raise errors.ConfigError(
            f"connection {self.name!r} (files) runs no statements",
            hint="`query` reads; files are written by a transfer",
        )
