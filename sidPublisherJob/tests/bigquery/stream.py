"""The Storage Read API between a client and the emulator: streams that end too early, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery import emulator

_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclasses.dataclass
class _Cut:
    after: int
    times: int
    code: grpc.StatusCode
    words: str


class Streams:
    """The proxy.

    Args:
        server: a running emulator.

    Attributes:
        sessions: every request for a session.
        asked: stream and offset of every `ReadRows`, in order.
        scanned_bytes: what every session says that it scans.
        message_rows: at most so many rows in one message; the emulator puts a whole stream in one.
    """

    def __init__(self, server: emulator.BigQueryServer) -> None:
        self.sessions: list[types.CreateReadSessionRequest] = []
        self.asked: list[tuple[str, int]] = []
        self.message_rows = 1000
        self.scanned_bytes = 0
        self._cuts: list[_Cut] = []
        self._refusals: list[_Cut] = []
        upstream = server.environment["BIGQUERY_STORAGE_EMULATOR_HOST"]
        self._channel = grpc.insecure_channel(upstream, options=_UNLIMITED)
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=_UNLIMITED)
        handlers = {
            "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                self._create,
                types.CreateReadSessionRequest.deserialize,
                types.ReadSession.serialize,
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self._read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
            ),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def cut(
        self,
        *,
        after: int = 1,
        times: int = 1,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        words: str = "Socket closed",
    ) -> None:
        """End the next streams too early.

        Args:
            after: this many messages.
            times: how many streams.
            code: with which status.
            words: and which details.
        """
        self._cuts.append(_Cut(after, times, code, words))

    def refuse(self, code: grpc.StatusCode, words: str, *, times: int = 1) -> None:
        """Refuse the next sessions."""
        self._refusals.append(_Cut(0, times, code, words))

    def close(self) -> None:
        """Stop answering."""
        self._server.stop(None).wait()
        self._channel.close()

    def _create(
        self, request: types.CreateReadSessionRequest, context: grpc.ServicerContext
    ) -> types.ReadSession:
        self.sessions.append(request)
        refusal = _next(self._refusals)
        if refusal:
            context.abort(refusal.code, refusal.words)
        call = self._channel.unary_unary(
            f"/{_SERVICE}/CreateReadSession",
            request_serializer=types.CreateReadSessionRequest.serialize,
            response_deserializer=types.ReadSession.deserialize,
        )
        made: types.ReadSession = _translated(context, lambda: call(request))
        made.estimated_total_bytes_scanned = self.scanned_bytes
        return made

    def _read(
        self, request: types.ReadRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[types.ReadRowsResponse]:
        self.asked.append((request.read_stream, request.offset))
        cut = _next(self._cuts)
        call = self._channel.unary_stream(
            f"/{_SERVICE}/ReadRows",
            request_serializer=types.ReadRowsRequest.serialize,
            response_deserializer=types.ReadRowsResponse.deserialize,
        )
        answers = call(request)
        context.add_callback(answers.cancel)
        try:
            for number, answer in enumerate(_split(answers, self.message_rows)):
                if cut and number >= cut.after:
                    continue  # so that the emulator knows how far it may be resumed
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if cut:
            context.abort(cut.code, cut.words)


def _split(
    answers: Iterator[types.ReadRowsResponse], rows: int
) -> Iterator[types.ReadRowsResponse]:
    """Yield messages of at most `rows` rows; only the first has the schema, as from Google."""
    schema = None
    for answer in answers:
        known, schema = (
            schema,
            pa.ipc.read_schema(pa.py_buffer(answer.arrow_schema.serialized_schema)),
        )
        batch = pa.ipc.read_record_batch(
            pa.py_buffer(answer.arrow_record_batch.serialized_record_batch), schema
        )
        for first in range(0, batch.num_rows, rows):
            part = batch.slice(first, rows)
            data = types.ArrowRecordBatch(serialized_record_batch=part.serialize().to_pybytes())
            made = types.ReadRowsResponse(row_count=part.num_rows, arrow_record_batch=data)
            if known is None and first == 0:
                made.arrow_schema = answer.arrow_schema
            yield made


def _next(rules: list[_Cut]) -> _Cut | None:
    for rule in rules:
        if rule.times:
            rule.times -= 1
            return rule
    return None


def _translated(context: grpc.ServicerContext, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        context.abort(error.code(), error.details())
