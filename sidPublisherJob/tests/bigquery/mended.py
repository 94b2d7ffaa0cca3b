"""Starts the emulator, with what it gets wrong put right; run by its own Python, see `emulator`.

* A load of Parquet with a declared schema takes BYTES for base64 text.
* A session gives the rows that are there when they are asked for, whatever its `snapshot_time`.
  BigQuery gives those of that instant, or of the session's creation.
* A message holds up to a million rows; BigQuery's some thousand.
"""

from __future__ import annotations

import contextvars
import datetime
import re
from collections.abc import Iterator
from typing import Any

from google.cloud.bigquery_storage_v1 import types
from local_bigquery import cli
from local_bigquery.catalog import tables
from local_bigquery.engine import database
from local_bigquery.grpc import read
from local_bigquery.jobs import load

MESSAGE_ROWS = 10_000

_is_typed = contextvars.ContextVar("is_typed", default=False)
_instant: contextvars.ContextVar[str | None] = contextvars.ContextVar("instant", default=None)


def mend_bytes() -> None:
    """Decode base64 in formats of text only."""
    decoded, projection = load._decoded, load._projection

    def of_format(config: Any, *arguments: Any) -> Any:
        token = _is_typed.set((config.sourceFormat or "CSV") not in load.TEXT_FORMATS)
        try:
            return projection(config, *arguments)
        finally:
            _is_typed.reset(token)

    def of_field(expression: str, *arguments: Any) -> Any:
        return expression if _is_typed.get() else decoded(expression, *arguments)

    load._projection, load._decoded = of_format, of_field


def mend_snapshots() -> None:
    """Read every table as of the session's instant; results of queries never change."""
    create, parse = read.create_session, read.parse

    def at_instant(request: Any) -> Any:
        project, dataset, table = read.table(request.read_session.table)
        found = tables.load(project, dataset, table)
        has_history = dataset != tables.RESULTS and found.type in (None, "TABLE")
        asked = request.read_session.table_modifiers.snapshot_time
        instant = asked or datetime.datetime.now(datetime.UTC)
        token = _instant.set(instant.isoformat() if has_history else None)
        try:
            return create(request)
        finally:
            _instant.reset(token)

    def parsed(sql: str) -> Any:
        if instant := _instant.get():
            historic = rf"\1 FOR SYSTEM_TIME AS OF TIMESTAMP '{instant}'"
            sql = re.sub(r"^(SELECT \* FROM `[^`]+`)", historic, sql, count=1)
        return parse(sql)

    read.create_session, read.parse = at_instant, parsed


def mend_messages() -> None:
    """Send a stream in small messages, the schema with the first of them only."""
    whole = read.read_rows

    def in_pieces(request: Any) -> Iterator[Any]:
        stream = read._lookup(request.read_stream)
        if stream.avro or request.offset > stream.allocated:
            yield from whole(request)
            return
        first, schema = stream.start + request.offset, None
        sql = f"SELECT * FROM ({stream.query}) LIMIT {stream.end - first} OFFSET {first}"
        with database.cursor() as cursor:
            for batch in cursor.sql(sql).to_arrow_reader(MESSAGE_ROWS):
                first += batch.num_rows
                stream.allocated = max(stream.allocated, first - stream.start)
                data = types.ArrowRecordBatch(
                    serialized_record_batch=batch.serialize().to_pybytes()
                )
                answer = types.ReadRowsResponse(row_count=batch.num_rows, arrow_record_batch=data)
                if schema is None:
                    schema = batch.schema.serialize().to_pybytes()
                    answer.arrow_schema = types.ArrowSchema(serialized_schema=schema)
                yield answer

    read.read_rows = in_pieces


if __name__ == "__main__":
    mend_bytes()
    mend_snapshots()
    mend_messages()
    cli.main()
