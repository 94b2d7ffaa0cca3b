"""Filling a table: batches gathered into Parquet files, each appended by one load job.

BigQuery takes 1,500 load jobs a day for one table, so a job carries many batches. A file is
gathered on the local disk. Without `staging:`, and where all rows fit one file, it is sent with its
job; else files become objects of the bucket, and one job reads them all.

Source: https://cloud.google.com/bigquery/quotas#load_jobs
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import datatype, shadow
from tmg_etl.connectors.bigquery import session as session_module

#: Bytes of one file that is sent with its job: 1,500 of them are 140 GB a day.
UPLOAD_BYTES = 96 * 2**20
#: Bytes of one staged object; BigQuery reads objects side by side.
OBJECT_BYTES = 128 * 2**20
_PIECE_BYTES = 2**20
# Written when so many bytes of Arrow are gathered: small row groups would cost BigQuery, and large
# ones memory here.
_ROW_GROUP_BYTES = 16 * 2**20


class Loader:
    """Appends batches to one table.

    Args:
        session: of the target.
        reference: the table.
        columns: all of its columns.
        subject: the target's name, for messages.
        staging: ``gs://`` folder of this table's objects; None sends every file with a job.
    """

    def __init__(
        self,
        session: session_module.Session,
        reference: bigquery.TableReference,
        columns: Sequence[bigquery.SchemaField],
        subject: str,
        staging: str | None,
    ) -> None:
        self._session = session
        self._reference = reference
        self._columns = {column.name: column for column in columns}
        self._subject = subject
        self._staging = staging
        self._limit = OBJECT_BYTES if staging else UPLOAD_BYTES
        #: Whether there are, or were, objects to remove.
        self.has_staged = False
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_bytes = 0
        self._rows = 0
        self._file: Any = None
        self._stack = contextlib.ExitStack()
        self._parquet: pq.ParquetWriter | None = None
        self._objects: list[str] = []
        self._schema: pa.Schema | None = None

    def add(self, batch: base.Batch, key: Sequence[str]) -> int:
        """Gather a batch; return its rows.

        Raises:
            errors.ValueRejectedError: a text or bytes longer than the column.
            errors.ConfigError: a column of a type that is not written.
        """
        arrow = batch.arrow
        if self._schema is None:
            self._schema = arrow.schema
            shadow.require_writable(
                (self._columns[name] for name in arrow.schema.names), self._subject
            )
        if arrow.num_rows == 0:
            return 0
        self._refuse_too_long(batch, key)
        self._gathered.append(arrow)
        self._gathered_bytes += arrow.nbytes
        self._rows += arrow.num_rows
        if self._gathered_bytes >= _ROW_GROUP_BYTES:
            self._write()
        return int(arrow.num_rows)

    def finish(self) -> None:
        """Send what is gathered.

        Raises:
            errors.VerificationError: BigQuery took other rows than were sent.
        """
        self._write()
        self._close_file(is_last=True)
        if self._objects:
            objects, self._objects = self._objects, []
            self._load_objects(objects)

    def abandon(self) -> None:
        """Drop what is gathered; staged objects are removed by who removes the table."""
        self._gathered, self._gathered_bytes, self._rows = [], 0, 0
        with contextlib.suppress(Exception):
            self._stack.__exit__(errors.Stopped, errors.Stopped(0), None)
        self._stack = contextlib.ExitStack()
        self._parquet = None

    # --- files ----------------------------------------------------------------------------------

    def _write(self) -> None:
        if not self._gathered:
            return
        batches, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if self._parquet is None:
            self._open_file(batches[0].schema)
        assert self._parquet is not None
        table = pa.Table.from_batches(batches)
        self._parquet.write_table(table, row_group_size=table.num_rows)
        if self._file.tell() >= self._limit:
            self._close_file(is_last=False)

    def _open_file(self, schema: pa.Schema) -> None:
        file = tempfile.TemporaryFile(prefix="tmg_etl_")  # noqa: SIM115 - closed by the stack
        self._file = self._stack.enter_context(file)
        self._parquet = pq.ParquetWriter(
            self._file,
            # The mark of JSON means nothing to BigQuery.
            schema.remove_metadata(),
            compression="zstd",
            version="2.6",
            store_schema=False,
            write_statistics=False,
            use_dictionary=True,
        )

    def _close_file(self, *, is_last: bool) -> None:
        if self._parquet is None:
            return
        self._parquet.close()
        self._parquet = None
        size = self._file.tell()
        self._file.seek(0)
        is_all = is_last and not self._objects and size <= UPLOAD_BYTES
        if self._staging is None or is_all:
            self._upload(self._file, size)
        else:
            self._stage(f"{self._staging}/part-{len(self._objects):05d}.parquet")
        self._stack.close()
        self._file = None

    def _stage(self, url: str) -> None:
        self.has_staged = True
        with self._session.clients.store.create(url) as writer:
            while piece := self._file.read(_PIECE_BYTES):
                self._session.clients.stop.check()
                writer.write(piece)
        self._objects.append(url)

    # --- jobs -----------------------------------------------------------------------------------

    def _config(self) -> bigquery.LoadJobConfig:
        assert self._schema is not None
        return bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            # A table that was swept must stay away: this run is not the lock's holder any more.
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            schema=[
                shadow.plain(self._columns[name], keeps_mode=True) for name in self._schema.names
            ],
            # Else a load writes spaces and other letters of column names as underscores.
            column_name_character_map="V2",
            labels=self._session.clients.labels,
        )

    def _upload(self, file: Any, size: int) -> None:
        clients = self._session.clients

        def start(job_id: str) -> Any:
            return clients.rest.load_table_from_file(
                file,
                self._reference,
                rewind=True,
                size=size,
                job_id=job_id,
                location=self._session.location,
                job_config=self._config(),
            )

        self._run(start)

    def _load_objects(self, objects: list[str]) -> None:
        clients = self._session.clients

        def start(job_id: str) -> Any:
            return clients.rest.load_table_from_uri(
                objects,
                self._reference,
                job_id=job_id,
                location=self._session.location,
                job_config=self._config(),
                retry=clients.retry,
            )

        self._run(start)

    def _run(self, start: Any) -> None:
        rows, self._rows = self._rows, 0
        job = self._session.clients.run(
            "load", start, subject=self._subject, location=self._session.location
        )
        if job.output_rows != rows:
            raise errors.VerificationError(
                self._subject,
                expected=base.Fingerprint(rows),
                found=base.Fingerprint(int(job.output_rows or 0)),
            )

    # --- values ---------------------------------------------------------------------------------

    def _refuse_too_long(self, batch: base.Batch, key: Sequence[str]) -> None:
        """Name the cell that a load job would refuse without saying which row it is of."""
        for index, name in enumerate(batch.arrow.schema.names):
            column = self._columns[name]
            if column.max_length is None:
                continue
            array = batch.arrow.column(index)
            is_text = pa.types.is_string(array.type)
            length = pc.utf8_length(array) if is_text else pc.binary_length(array)
            too_long = pc.fill_null(pc.greater(length, column.max_length), False)
            if pc.any(too_long).as_py():
                row = pc.index(too_long, True).as_py()
                raise errors.ValueRejectedError(
                    self._subject,
                    column=name,
                    value=array[row].as_py(),
                    key=batch.key_of(row, key),
                    reason=f"{length[row].as_py()} {'characters' if is_text else 'bytes'} do not"
                    f" fit {datatype.native(column)}",
                )
