"""Starts the emulator, with what it gets wrong put right; run by its own Python, see `emulator`.

* A load of Parquet with a declared schema takes BYTES for base64 text.
* A session gives the rows that are there when they are asked for, whatever its `snapshot_time`.
  BigQuery gives those of that instant, or of the session's creation.
* A message holds up to a million rows; BigQuery's some thousand.
* Each request asks ten times what is where, and DuckDB goes through every table of all for it.
  Here an answer is remembered until a statement may have changed it. What the emulator notes for
  itself is in memory: it ends with the process.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
from google.cloud.bigquery_storage_v1 import types
from local_bigquery import cli, models
from local_bigquery.catalog import metadata, row_access, tabledata, tables
from local_bigquery.engine import database
from local_bigquery.grpc import read
from local_bigquery.jobs import load, store

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


_READS = re.compile(
    r"\s*((SELECT|USE|SET|EXPLAIN|BEGIN)\b|WITH\b(?!.*\b(INSERT|UPDATE|DELETE|MERGE)\b))[^;]*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_ROWS = re.compile(r"\s*(INSERT|UPDATE|DELETE|TRUNCATE|MERGE)\b", re.IGNORECASE)
_RESULT = re.compile(r"CREATE OR REPLACE TABLE \"emulator\".\"_results\".[^;]*;?$", re.DOTALL)
_TEMPORARY = re.compile(r"\s*CREATE\b.*?\bTEMP", re.IGNORECASE | re.DOTALL)


class _Changes:
    """Counts what was changed by statements, of whatever connection.

    Attributes:
        names: tables, columns, and all else that is no row.
        rows: those of tables, and `names`.
        results: of queries.
        has_temporary: some session may have a temporary table.
    """

    def __init__(self) -> None:
        self.names = self.rows = self.results = 0
        self.has_temporary = False

    def note(self, statement: str) -> None:
        if _READS.match(statement):
            return
        if _RESULT.match(statement):
            self.results += 1
            return
        self.rows += 1
        if not _ROWS.match(statement):
            self.names += 1
            self.results += 1
            self.has_temporary |= bool(_TEMPORARY.match(statement))


changes = _Changes()


def mend_changes() -> None:
    """Note each statement once it is done; until there is a temporary table, nobody need look."""
    kind = duckdb.DuckDBPyConnection

    def noted(call: Any) -> Any:
        def of(connection: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
            if not changes.has_temporary and statement.endswith("duckdb_tables() WHERE temporary"):
                statement = "SELECT '' LIMIT 0"
            try:
                return call(connection, statement, *arguments, **options)
            finally:
                changes.note(statement)

        return of

    kind.execute, kind.sql = noted(kind.execute), noted(kind.sql)


class _Remembered:
    """Answers that hold until the count that they came with has changed."""

    def __init__(self) -> None:
        self._answers: dict[Any, tuple[int, Any]] = {}

    def get(self, key: Any, count: int, ask: Callable[[], Any]) -> Any:
        found = self._answers.get(key)
        if found is None or found[0] != count:
            # Counted before it is asked: a change meanwhile has it asked again.
            found = self._answers[key] = count, ask()
        return found[1]


def mend_lookups() -> None:
    """Look into the one project that is meant, and once until something has changed."""
    sys.modules["pandas"] = None  # type: ignore[assignment] # else sought for each statement
    fetch, objects, columns = database.fetch, database.objects, tables.columns
    remembered = _Remembered()

    def of_project(sql: str, params: Any = None) -> Any:
        place = params[0] if params else None
        if place == "emulator" and "NOT is_nullable" in sql:
            return []  # results are made from queries
        asked = sql
        if place in database._attached:
            catalog = database.quote(f"__ducklake_metadata_{place}", "main")
            for function, rows in LOOKUPS.items():
                named = f"(SELECT '{place}' AS database_name, * FROM {rows})"
                sql = sql.replace(function, named.format(catalog=catalog))
        if "duckdb_" not in asked:
            return fetch(sql, params)
        count = changes.rows if "estimated_size" in asked else changes.names
        return list(remembered.get((asked, *(params or ())), count, lambda: fetch(sql, params)))

    def of_result(place: str, dataset: str, table: str | None = None) -> Any:
        if dataset != tables.RESULTS or table is None:
            return objects(place, dataset, table)

        def counted() -> Any:
            try:
                return fetch(f"SELECT count(*) FROM {database.quote(place, dataset, table)}")
            except duckdb.CatalogException:
                return []

        found = remembered.get(("count", table), changes.results, counted)
        return [(table, "TABLE", count) for (count,) in found]

    def of_table(*place: str) -> Any:
        is_result = place[1] == tables.RESULTS
        count = changes.results if is_result else changes.names
        return list(remembered.get(("columns", *place), count, lambda: columns(*place)))

    database.fetch, database.objects = of_project, of_result
    tables.columns = tabledata.columns = of_table


def mend_metadata() -> None:
    """Remember what is written down of tables, datasets and the like."""
    save, delete = metadata.save, metadata.delete
    kept: dict[Any, dict[tuple[str, ...], Any]] = {kind: {} for kind in metadata.KINDS}

    def listed(kind: Any, *place: str) -> list[Any]:
        return [found for key, found in tuple(kept[kind].items()) if key[: len(place)] == place]

    def loaded(kind: Any, *place: str) -> Any:
        return kept[kind].get(place)

    def saved(resource: Any, *place: str) -> Any:
        kept[type(resource)][place] = done = save(resource, *place)
        return done

    def deleted(kind: Any, *place: str) -> None:
        delete(kind, *place)
        for key in tuple(kept[kind]):
            if key[: len(place)] == place:
                del kept[kind][key]

    def secured() -> frozenset[tuple[str, ...]]:
        return frozenset(key[:3] for key in tuple(kept[models.RowAccessPolicy]))

    metadata.list_, metadata.load = listed, loaded
    metadata.save, metadata.delete, row_access.secured = saved, deleted, secured


def mend_connection() -> None:
    """Have one thread, for what is asked is small, and several emulators share the cores.

    The emulator's own tables, those of results too, live in memory: they end with its process.
    """
    connect = database._connect

    @functools.cache
    def connected() -> Any:
        connection = connect()
        connection.execute("SET threads = 1")
        connection.execute("DETACH emulator; ATTACH ':memory:' AS emulator")
        connection.execute(database.EMULATOR_SCHEMA)
        return connection

    database._connect = connected


def mend_jobs() -> None:
    """Write down a job when it is done, and remember it."""
    save, delete = store.save, store.delete
    kept: dict[tuple[str, str], Any] = {}

    def saved(job: Any) -> Any:
        if job.status.state == "DONE":
            save(job)
            job = models.Job.model_validate(job.dump())
        kept[job.jobReference.projectId, job.jobReference.jobId] = job
        return job

    def loaded(project: str, job_id: str) -> Any:
        return kept.get((project, job_id))

    def listed(
        project: str, states: Any = None, parent: Any = None, first: Any = None, last: Any = None
    ) -> list[Any]:
        def is_meant(job: Any) -> bool:
            made = int(job.statistics.creationTime)
            return (
                job.jobReference.projectId == project
                and job.statistics.parentJobId == parent
                and (states is None or job.status.state in states)
                and (first is None or made >= first)
                and (last is None or made <= last)
            )

        found = [job for job in tuple(kept.values()) if is_meant(job)]
        return sorted(
            found, key=lambda job: (-int(job.statistics.creationTime), job.jobReference.jobId)
        )

    def deleted(project: str, job_id: str) -> None:
        delete(project, job_id)
        for place, job in tuple(kept.items()):
            if place[0] == project and job_id in (place[1], job.statistics.parentJobId):
                del kept[place]

    store.save, store.load, store.list_, store.delete = saved, loaded, listed, deleted


if __name__ == "__main__":
    mend_changes()
    mend_connection()
    mend_jobs()
    mend_metadata()
    mend_lookups()
    mend_bytes()
    mend_snapshots()
    mend_messages()
    cli.main()
