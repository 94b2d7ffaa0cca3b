"""Rows of a query as Arrow record batches, by ``COPY … TO STDOUT`` in CSV.

CSV, because Arrow parses it faster than any driver makes rows, and because it tells an empty string
(``""``) from null (nothing). The server sends one message per row, so that batches end at rows.
"""

from __future__ import annotations

import binascii
import re
import select
from collections.abc import Iterator, Sequence

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv

from tmg_etl import errors
from tmg_etl.connectors.postgres import kind
from tmg_etl.connectors.postgres import session as session_module

#: A batch is cut here even when it has fewer rows than were asked for.
_BATCH_BYTES = 16 * 2**20
_REFUSED = re.compile(r"In CSV column #(\d+): .*?(?:invalid value '(.*)'|The string '(.*?)')", re.S)


def select_list(columns: Sequence[kind.Typed], prefix: str = "") -> str:
    """Return the expressions that `batches` expects."""
    return ", ".join(
        column.kind.read.format(prefix + session_module.quote(column.name)) for column in columns
    )


def batches(
    session: session_module.Session,
    query: str,
    columns: Sequence[kind.Typed],
    schema: pa.Schema,
    batch_rows: int,
    place: str,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query, inside the session's transaction.

    Args:
        session: in a transaction; it is busy until the iterator is closed.
        query: selects `select_list` of `columns`.
        columns: what is selected.
        schema: the fields to yield.
        batch_rows: most rows of a batch.
        place: what is read, for messages.

    Raises:
        errors.DataError: a value that Arrow cannot hold: infinite dates, years before 1 or after
            9999, 24:00:00, NaN in a numeric.
    """
    parse = _Parser(columns, schema, place)
    rows, content = 0, bytearray()
    # The savepoint outlives a reader that stops early, and the snapshot with it.
    with session.guarded(), session.raw.transaction():
        with session.raw.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)".encode()):
            for row in _received(session.raw.pgconn):
                content += row
                rows += 1
                if rows >= batch_rows or len(content) >= _BATCH_BYTES:
                    yield parse.batch(content)
                    rows, content = 0, bytearray()
        if rows:
            yield parse.batch(content)


def _received(wire: psycopg.pq.abc.PGconn) -> Iterator[memoryview]:
    """Yield the rows of a COPY as they arrive.

    What psycopg's own loop does, without starting a coroutine for each row, which took twice the
    time of all the rest.
    """
    ready = select.poll()
    ready.register(wire.socket, select.POLLIN)
    while True:
        size, row = wire.get_copy_data(1)
        if size > 0:
            yield row
        elif size == 0:
            ready.poll()
            wire.consume_input()
        else:
            break
    failed = None
    while (result := wire.get_result()) is not None:
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            failed = psycopg.errors.error_from_result(result)
    if failed is not None:
        raise failed


class _Parser:
    """Parses CSV of known columns."""

    def __init__(self, columns: Sequence[kind.Typed], schema: pa.Schema, place: str) -> None:
        self._columns = columns
        self._schema = schema
        self._place = place
        # Positions for names: two columns may not differ for Arrow, and may be called anything.
        self._names = [str(position) for position in range(len(columns))]
        self._convert = pa_csv.ConvertOptions(
            column_types={
                name: column.kind.wire or column.kind.arrow
                for name, column in zip(self._names, columns, strict=True)
            },
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        self._options = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)

    def batch(self, content: bytearray) -> pa.RecordBatch:
        """Return the rows of a piece of CSV that ends with a row."""
        read = pa_csv.ReadOptions(
            column_names=self._names, use_threads=False, block_size=len(content) + 1
        )
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(pa.py_buffer(content)),
                read_options=read,
                parse_options=self._options,
                convert_options=self._convert,
            ).combine_chunks()
        except pa.ArrowInvalid as found:
            raise self._refused(found) from found
        arrays = [
            self._column(column, table.column(position).chunk(0))
            for position, column in enumerate(self._columns)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _column(self, column: kind.Typed, array: pa.Array) -> pa.Array:
        if column.kind.wire is None:
            return array
        if pa.types.is_binary(column.kind.arrow):
            return _from_hex(array)
        try:
            return array.cast(column.kind.arrow)
        except pa.ArrowInvalid as found:
            raise self._error(column, None, str(found)) from found

    def _refused(self, found: pa.ArrowInvalid) -> errors.DataError:
        match = _REFUSED.search(str(found))
        if match is None:
            return errors.DataError(f"{self._place}: {found}")
        column = self._columns[int(match.group(1))]
        return self._error(column, match.group(2) or match.group(3), "")

    def _error(self, column: kind.Typed, value: str | None, reason: str) -> errors.DataError:
        shown = f" value {errors.shorten(value)}" if value is not None else ""
        why = f" ({reason})" if reason else ""
        return errors.DataError(
            f"{self._place}: column {column.name!r} ({column.native}):{shown} cannot be carried as"
            f" {column.kind.arrow}{why}",
            hint="leave the rows out, or cast the column to text in a `query`",
        )


def _from_hex(array: pa.StringArray) -> pa.BinaryArray:
    """Return the bytes of hexadecimal texts: the whole data buffer at once, offsets halved."""
    validity, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[: len(array) + 1]
    digits = memoryview(data)[: int(bounds[-1])] if data is not None else b""
    return pa.BinaryArray.from_buffers(
        pa.binary(),
        len(array),
        [validity, pa.py_buffer(bounds // 2), pa.py_buffer(binascii.unhexlify(digits))],
    )
