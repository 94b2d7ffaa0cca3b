"""Rows of one table through Parquet files in the staging bucket, written by an extract job.

The files of a run lie in a folder of its own, named by the transfer and the run: the run removes it
when it closes the source, and the next run of the same transfer removes what a dead one left.
Source: https://cloud.google.com/bigquery/docs/exporting-data
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import conform
from tmg_etl.storage import base as storage

_LOG = logging.getLogger("tmg_etl")

#: What Parquet files of BigQuery have no type for, or none that all readers agree on, and what
#: a query makes of it instead.
CAST = {
    "GEOGRAPHY": "ST_ASTEXT({0})",
    # Without the test for null it would be the document null.
    "JSON": "IF({0} IS NULL, NULL, TO_JSON_STRING({0}))",
    "INTERVAL": "CAST({0} AS STRING)",
    "RANGE": "IF({0} IS NULL, NULL, STRUCT(RANGE_START({0}) AS `start`, RANGE_END({0}) AS `end`))",
}


class Folder:
    """Where the extracts of one source lie.

    Args:
        clients: of the connection.
        what: names the source among those of one run.
        subject: what is read, for messages.
    """

    def __init__(self, clients: client_module.Clients, what: str, subject: str) -> None:
        self._clients = clients
        self._subject = subject
        owner, spec = clients.owner, clients.spec
        # Not of what is read: the text of a query may change with the day, and the run of the next
        # day must find what this one leaves.
        place = (owner.env, owner.transfer, spec.project, spec.dataset)
        self._shared = f"{clients.staging}/tmg_extract_{_digest(repr(place))}_"
        self._run = f"{self._shared}{clients.token}/"
        self._own = f"{self._run}{_digest(what)}/"
        self._numbers = itertools.count(1)
        self._is_swept = False

    def extract(
        self,
        table: bigquery.TableReference,
        location: str | None,
        on_start: Callable[[Any], None],
    ) -> list[storage.Facts]:
        """Write a table's rows to files and return them.

        Args:
            table: a table, or the destination of a query.
            location: where the table is.
            on_start: told of the job.

        Raises:
            errors.ConfigError: no such bucket, or it is in another location than the table.
            errors.TemporaryError: not all files are there.
        """
        self._sweep()
        folder = f"{self._own}{next(self._numbers)}/"
        config = bigquery.ExtractJobConfig(  # type: ignore[no-untyped-call]
            destination_format=bigquery.DestinationFormat.PARQUET,
            compression=bigquery.Compression.SNAPPY,
            labels=self._clients.labels,
        )

        def start(job_id: str) -> bigquery.ExtractJob:
            return self._clients.rest.extract_table(
                table,
                f"{folder}part-*.parquet",
                job_id=job_id,
                job_config=config,
                location=location,
                retry=self._clients.retry,
            )

        with self._explaining():
            job = self._clients.run(
                "extract",
                start,
                subject=self._subject,
                content=f"{table} {folder}",
                location=location,
                on_start=on_start,
            )
        found = list(self._clients.store.list(folder))
        wanted = sum(job.destination_uri_file_counts or [len(found)])
        if len(found) != wanted:
            raise errors.TemporaryError(
                f"{self._clients.place}: {wanted} files were extracted, {len(found)} are in"
                f" {folder}",
                hint="something removes files from the staging bucket; run again",
            )
        return found

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except errors.ConfigError as found:
            text = found.message.lower()
            if "location" in text or "bucket" in text:
                hint = "`staging` needs a bucket that exists, in the location of the dataset"
                raise errors.ConfigError(found.message, hint=hint) from found
            raise

    def batches(
        self, files: list[storage.Facts], schema: pa.Schema, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of files; at most a few row groups' columns are in memory."""
        for facts in files:
            with self._clients.store.open(facts) as stream, pq.ParquetFile(stream) as file:
                for found in file.iter_batches(batch_rows, columns=schema.names):
                    yield conform.batch(found, schema)

    def _sweep(self) -> None:
        """Remove what dead runs left: whoever reads holds the target's lock, so they are dead.

        Outside a run nobody holds a lock, and nothing is removed.
        """
        if self._is_swept or not self._clients.owner.run_id:
            return
        for facts in self._clients.store.list(self._shared):
            if not facts.url.startswith(self._run) and self._clients.store.delete(facts.url):
                _LOG.info("removed %s, left by an earlier run", facts.url)
        self._is_swept = True

    def remove(self) -> None:
        """Remove the files of this source, also those of a job that failed."""
        for facts in self._clients.store.list(self._own):
            self._clients.store.delete(facts.url)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
