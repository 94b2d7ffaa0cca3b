"""Rows of one table through the Storage Read API: several streams, each in a thread of its own.

The official reader resumes a stream without end and without a pause, also when the server is gone.
Here a stream that is cut goes on at its offset, by Google's rules of what is temporary, for as long
as `client.PATIENCE_S` without a row; then the error is raised.
Source: https://cloud.google.com/bigquery/docs/reference/storage
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import queue
import random
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import conform
from tmg_etl.storage import google

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1 import types

#: Streams read at once. More than the rest of a run can take would only hold memory.
STREAMS = 4
#: Messages that wait for their turn, for each stream; one has up to some MiB.
_WAITING = 2
_POLL_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
#: A call without an end would survive a server that never answers.
_CALL_S = 6 * 3600.0


@dataclasses.dataclass(frozen=True)
class Request:
    """What is read.

    Attributes:
        table: a table, or the destination of a query.
        schema: columns to read, with the types of `datatype.arrow`.
        restriction: condition of GoogleSQL over the table's columns; empty means all rows.
        snapshot_at: the state to read; None is the state when the session is created.
        subject: what is read, for messages.
    """

    table: bigquery.TableReference
    schema: pa.Schema
    restriction: str
    snapshot_at: datetime.datetime | None
    subject: str


@dataclasses.dataclass
class Count:
    """What a reading has fetched so far.

    Attributes:
        scanned_bytes: what Google says that it scans, which is what it bills.
        received_bytes: what came over the network.
    """

    scanned_bytes: int = 0
    received_bytes: int = 0
    _guard: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, *, scanned_bytes: int = 0, received_bytes: int = 0) -> None:
        """Count more; every stream does."""
        with self._guard:
            self.scanned_bytes += scanned_bytes
            self.received_bytes += received_bytes


def create_session(clients: client_module.Clients, request: Request) -> types.ReadSession:
    """Ask for a session; rows are not sent yet.

    Raises:
        errors.TmgEtlError: the session was refused.
    """
    from google.cloud.bigquery_storage_v1 import types

    wanted = types.ReadSession(table=request.table.to_bqstorage(), data_format="ARROW")
    options = wanted.read_options
    options.selected_fields.extend(request.schema.names)
    options.row_restriction = request.restriction
    # Half the bytes for a tenth of the time that they would take on the network.
    codecs: Any = types.ArrowSerializationOptions.CompressionCodec
    options.arrow_serialization_options.buffer_compression = codecs.LZ4_FRAME
    if request.snapshot_at is not None:
        wanted.table_modifiers.snapshot_time = request.snapshot_at
    with clients.guarded(request.subject):
        return clients.reader.create_read_session(
            parent=f"projects/{clients.rest.project}",
            read_session=wanted,
            max_stream_count=STREAMS,
            retry=clients.retry,
            timeout=client_module.PATIENCE_S,
        )


def scanned_bytes(session: types.ReadSession) -> int:
    """Return what reading a session scans, which is what it costs; 0 where Google does not say."""
    return int(getattr(session, "estimated_total_bytes_scanned", 0))


class Download:
    """Reads every stream of a session in the background, a few messages ahead.

    Args:
        clients: of the connection.
        request: as given to `create_session`.
        session: what it returned.
        count: receives what is fetched.
    """

    def __init__(
        self,
        clients: client_module.Clients,
        request: Request,
        session: types.ReadSession,
        count: Count,
    ) -> None:
        self._clients = clients
        self._request = request
        self._count = count
        self._schema = session.arrow_schema.serialized_schema
        names = [stream.name for stream in session.streams]
        self._running = len(names)
        count.add(scanned_bytes=scanned_bytes(session))
        self._ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(
            maxsize=max(1, _WAITING * len(names))
        )
        self._abandoned = threading.Event()
        self._calls: dict[str, Any] = {}
        self._threads = [
            threading.Thread(
                target=self._read, args=(name,), name=f"tmg-etl-stream-{number}", daemon=True
            )
            for number, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield all rows, as `Request.schema` says, at most `batch_rows` at a time.

        Raises:
            errors.TmgEtlError: the rows could not be read to their end.
        """
        for found in self._received():
            whole = conform.batch(found, self._request.schema)
            for start in range(0, whole.num_rows, batch_rows):
                yield whole.slice(start, batch_rows)

    def _received(self) -> Iterator[pa.RecordBatch]:
        while self._running:
            try:
                item = self._ready.get(timeout=_POLL_S)
            except queue.Empty:
                # A stream may be silent for long; the stop does not wait for it.
                self._clients.stop.check()
                if self._abandoned.is_set():
                    # Ending here without a word would pass for the end of the rows.
                    raise errors.TemporaryError(
                        f"{self._clients.place}: {self._request.subject}: closed while it was read"
                    ) from None
                continue
            if item is None:
                self._running -= 1
            elif isinstance(item, BaseException):
                self._clients.stop.check()
                raise self._clients.explained(item, self._request.subject) from item
            else:
                yield item

    def close(self) -> None:
        """End all streams and wait for their threads."""
        self._abandoned.set()
        for call in list(self._calls.values()):
            with contextlib.suppress(Exception):
                call.cancel()
        for thread in self._threads:
            thread.join()

    def _read(self, name: str) -> None:
        end: BaseException | None = None
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(self._schema))
            for message in self._messages(name):
                content = message.arrow_record_batch.serialized_record_batch
                self._count.add(received_bytes=len(content))
                found = pa.ipc.read_record_batch(pa.py_buffer(content), schema)
                if not self._put(found):
                    return
        except BaseException as caught:  # noqa: BLE001 - raised again in the consumer
            end = caught
        self._put(end)

    def _put(self, item: pa.RecordBatch | BaseException | None) -> bool:
        while not self._abandoned.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _messages(self, name: str) -> Iterator[types.ReadRowsResponse]:
        """Yield the messages of a stream; one that is cut goes on where it was cut."""
        offset, failures, deadline = 0, 0, 0.0
        while not self._abandoned.is_set():
            try:
                for message in self._call(name, offset):
                    failures = 0
                    offset += message.row_count
                    yield message
                return
            except Exception as found:
                now = time.monotonic()
                deadline = deadline if failures else now + client_module.PATIENCE_S
                failures += 1
                if self._abandoned.is_set() or self._clients.stop.is_set:
                    raise
                if not google.is_temporary(found) or now > deadline:
                    raise
            pause_s = min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S)
            self._abandoned.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    def _call(self, name: str, offset: int) -> Iterator[types.ReadRowsResponse]:
        from google.cloud.bigquery_storage_v1.services import big_query_read

        # The generated client: that of the package would resume by itself.
        call: Any = big_query_read.BigQueryReadClient.read_rows(
            self._clients.reader,
            read_stream=name,
            offset=offset,
            retry=None,
            timeout=_CALL_S,
        )
        self._calls[name] = call
        if self._abandoned.is_set():
            call.cancel()
        return iter(call)
