"""Starts the emulator, with what it gets wrong put right; run by its own Python, see `emulator`.

* A load of Parquet with a declared schema takes BYTES for base64 text.
* A session gives the rows that are there when they are asked for, whatever its `snapshot_time`.
  BigQuery gives those of that instant, or of the session's creation.
* A message holds up to a million rows; BigQuery's some thousand.
* Each request asks ten times what is where, and DuckDB goes through every table of all for it.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

import duckdb
from google.cloud.bigquery_storage_v1 import types
from local_bigquery import cli
from local_bigquery.catalog import tables
from local_bigquery.engine import database
from local_bigquery.grpc import read
from local_bigquery.jobs import load, query, store

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


_LIVE = "end_snapshot IS NULL"
_SCHEMAS = f"(SELECT schema_id, schema_name FROM {{catalog}}.ducklake_schema WHERE {_LIVE})"
_NAMED = f"JOIN {_SCHEMAS} USING (schema_id)"
_TABLES = f"(SELECT * FROM {{catalog}}.ducklake_table {_NAMED} WHERE {_LIVE})"
LOOKUPS = {
    "duckdb_schemas()": _SCHEMAS,
    "duckdb_tables()": (
        "(SELECT schema_name, table_name, coalesce(record_count, 0) AS estimated_size"
        f" FROM {_TABLES} LEFT JOIN {{catalog}}.ducklake_table_stats USING (table_id))"
    ),
    "duckdb_views()": (
        "(SELECT schema_name, view_name, false AS internal"
        f" FROM {{catalog}}.ducklake_view {_NAMED} WHERE {_LIVE})"
    ),
    "duckdb_columns()": (
        "(SELECT schema_name, table_name, column_name, nulls_allowed AS is_nullable"
        f" FROM (SELECT * FROM {{catalog}}.ducklake_column WHERE {_LIVE} AND parent_column IS NULL)"
        f" JOIN (SELECT table_id, schema_name, table_name FROM {_TABLES}) USING (table_id))"
    ),
}
"""What answers as DuckDB's function does, from the tables in which DuckLake keeps one project."""


class _Fresh:
    """A connection without a temporary table, for which it need not go through all the others."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def sql(self, statement: str, **options: Any) -> Any:
        if statement.endswith("FROM duckdb_tables() WHERE temporary"):
            statement = "SELECT '' LIMIT 0"
        return self._connection.sql(statement, **options)


def mend_lookups() -> None:
    """Look into the one project that is meant; a result's table is there if it can be read."""
    sys.modules["pandas"] = None  # type: ignore[assignment] # else sought for each statement
    fetch, objects, execute = database.fetch, database.objects, query.execute

    def of_project(sql: str, params: Any = None) -> Any:
        place = params[0] if params else None
        if place == "emulator" and "NOT is_nullable" in sql:
            return []  # results are made from queries
        if place in database._attached:
            catalog = database.quote(f"__ducklake_metadata_{place}", "main")
            for function, rows in LOOKUPS.items():
                named = f"(SELECT '{place}' AS database_name, * FROM {rows})"
                sql = sql.replace(function, named.format(catalog=catalog))
        return fetch(sql, params)

    def of_result(place: str, dataset: str, table: str | None = None) -> Any:
        if dataset != tables.RESULTS or table is None:
            return objects(place, dataset, table)
        try:
            ((count,),) = fetch(f"SELECT count(*) FROM {database.quote(place, dataset, table)}")
        except duckdb.CatalogException:
            return []
        return [(table, "TABLE", count)]

    def executed(connection: Any, *arguments: Any, session: Any = None, **options: Any) -> Any:
        place = connection if session else _Fresh(connection)
        return execute(place, *arguments, session=session, **options)

    database.fetch, database.objects, query.execute = of_project, of_result, executed


def mend_threads() -> None:
    """Have one: what is asked is small, and several emulators share the cores."""
    connect = database._connect

    @functools.cache
    def connected() -> Any:
        connection = connect()
        connection.execute("SET threads = 1")
        return connection

    database._connect = connected


def mend_jobs() -> None:
    """Write down a job when it is done; until then it is in memory."""
    save, load_one, list_all = store.save, store.load, store.list_
    under_way: dict[tuple[str, str], Any] = {}

    def saved(job: Any) -> Any:
        key = job.jobReference.projectId, job.jobReference.jobId
        if job.status.state != "DONE":
            under_way[key] = job
            return job
        save(job)
        under_way.pop(key, None)
        return job

    def loaded(project: str, job_id: str) -> Any:
        return under_way.get((project, job_id)) or load_one(project, job_id)

    def listed(project: str, states: Any = None, parent: Any = None, *times: Any) -> Any:
        running = [
            job
            for (place, _), job in tuple(under_way.items())
            if place == project and not parent and (not states or job.status.state in states)
        ]
        return running + list_all(project, states, parent, *times)

    store.save, store.load, store.list_ = saved, loaded, listed


if __name__ == "__main__":
    mend_jobs()
    mend_lookups()
    mend_threads()
    mend_bytes()
    mend_snapshots()
    mend_messages()
    cli.main()
