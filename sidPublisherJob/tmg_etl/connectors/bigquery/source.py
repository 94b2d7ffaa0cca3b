"""A table, view or query as `base.Source`, read at one snapshot.

Three ways lead to the rows, and all of them to one state:

* a table's own storage, as of the instant at which the source was opened;
* the result of a query job, for queries, views and external tables, and where a query leaves most
  rows out (`keep_latest`); the query of a table is FOR SYSTEM_TIME AS OF that same instant;
* files of an extract job, of either of the two.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import datatype, extract, query, relation
from tmg_etl.connectors.bigquery import origin as origin_module
from tmg_etl.connectors.bigquery import read as read_module
from tmg_etl.connectors.bigquery import window as window_module


class BigQuerySource(base.Source):
    """One table, view or query at one snapshot.

    Args:
        clients: of the connection.
        runner: runs the queries, within the limit of bytes.
        origin: what is read.
        is_extracted: through files in the staging bucket.
    """

    def __init__(
        self,
        clients: client_module.Clients,
        runner: query.Runner,
        origin: origin_module.Origin,
        *,
        is_extracted: bool,
    ) -> None:
        self._clients = clients
        self._runner = dataclasses.replace(runner, location=origin.location)
        self._origin = origin
        self._schema = origin.schema(clients.place)
        self._latest = ""
        self._warnings: tuple[str, ...] = ()
        self._count = read_module.Count()
        self._billed_bytes = 0
        self._job_ids: list[str] = []
        self._results: dict[origin_module.Selection, query.Result] = {}
        self._files: dict[origin_module.Selection, list[Any]] = {}
        self._downloads: set[read_module.Download] = set()
        self._folder: extract.Folder | None = None
        if is_extracted:
            what = origin.relation.full_name if origin.relation else origin.text
            self._folder = extract.Folder(clients, what, runner.subject)

    @property
    def description(self) -> str:
        """Return connection and table, and whether a query has to read it."""
        found, name = self._origin.relation, self._clients.spec.name
        if found is None:
            return f"{name}: a query"
        by = "" if found.is_stored else ", read by a query"
        return f"{name}: {found.display}{by}"

    @property
    def snapshot(self) -> str:
        """Return the instant of a table, or the jobs whose results are read."""
        found = self._origin.relation
        name = found.full_name if found else ""
        if found and found.has_history:
            return f"{name} at {found.snapshot_at.isoformat()}"[:500]
        if found and found.is_stored:
            return name[:500]
        jobs = ", ".join(self._job_ids) or "a job that did not run yet"
        return f"{name and name + ': '}the result of {jobs}"[:500]

    @property
    def bytes_read(self) -> int | None:
        """Return the bytes that queries were billed and that the Storage Read API scanned.

        Where Google does not say what it scanned, those that came over the network.
        """
        return self._billed_bytes + (self._count.scanned_bytes or self._count.received_bytes)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of the query and extract jobs so far."""
        return tuple(self._job_ids)

    def schema(self) -> pa.Schema:
        """Return every column, and last those that are hidden."""
        return self._schema

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the rows of a table or of a result that is there; no query is run to count."""
        found = self._origin.relation
        if found is not None and window is None and not self._latest:
            return found.rows
        for selection, result in self._results.items():
            if (selection.window, selection.latest) == (window, self._latest):
                return result.rows
        return None

    def estimate(
        self, columns: Sequence[str], window: base.CursorWindow | None = None
    ) -> str | None:
        """Return the bytes that reading would scan, by a dry run; None for who may run none."""
        if self._origin.relation and not self._origin.relation.may_run_jobs:
            return None
        selection = self._selection(columns, window)
        if self._folder and self._is_whole_table(selection):
            return "nothing is billed for an extract job"
        found = self._runner.costs(self._sql(selection)).scanned_bytes
        limit = self._runner.maximum_bytes_billed
        over = f", more than `maximum_bytes_billed` {limit:,}" if limit and found > limit else ""
        how = "the Storage Read API" if self._is_direct(selection) else "a query"
        return f"{found:,} bytes scanned by {how}{over}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is known of rows that no window has yet."""
        return self._warnings

    def prefer_latest(self, key: Sequence[str], order_by: Sequence[str]) -> None:
        """Have BigQuery leave out older versions, where it compares values as every target does."""
        for name in (*key, *order_by):
            self._field(name)
        found = self._origin.relation
        if found and found.is_stored and not found.may_run_jobs:
            return
        if self._origin.compares_alike(key, order_by):
            self._latest = query.latest(key, order_by)

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, as they come."""
        selection = self._selection(columns, window)
        self._note_buffer(window)
        wanted = pa.schema([self._field(name) for name in columns])
        wire = pa.schema([field.with_name(origin_module.alias(field)) for field in wanted])
        if self._folder:
            found = self._folder.batches(self._extracted(selection), wire, batch_rows)
        elif self._is_direct(selection):
            found = self._streamed(self._direct(selection, wanted), batch_rows)
        else:
            found = self._streamed(self._indirect(selection, wire), batch_rows)
        for batch in found:
            self._clients.stop.check()
            yield pa.RecordBatch.from_arrays(batch.columns, schema=wanted)

    def close(self) -> None:
        """End what is being read and remove the files of this run."""
        for download in list(self._downloads):
            download.close()
        if self._folder and self._job_ids:
            self._folder.remove()
            self._files.clear()
        for result in self._results.values():
            self._runner.drop(result)
        self._results.clear()

    # --- what is asked for ----------------------------------------------------------------------

    def _selection(
        self, columns: Sequence[str], window: base.CursorWindow | None
    ) -> origin_module.Selection:
        for name in columns:
            self._field(name)
        return origin_module.Selection(tuple(columns), window, self._latest)

    def _field(self, name: str) -> pa.Field:
        if name not in self._schema.names:
            raise errors.ConfigError(
                f"{self.description} has no column {name!r}",
                hint=f"its columns are {', '.join(self._schema.names)}",
            )
        return self._schema.field(name)

    def _note_buffer(self, window: base.CursorWindow | None) -> None:
        found = self._origin.relation
        if found and found.has_buffer and window and base.is_hidden(self._field(window.column)):
            self._warnings = (
                f"{found.display}: rows that were streamed into it a short time ago have no"
                f" {window.column} yet and are in no window; they get one within 90 minutes",
            )

    def _condition(self, window: base.CursorWindow | None) -> str:
        if window is None:
            return ""
        return window_module.condition(self._field(window.column), window)

    def _is_direct(self, selection: origin_module.Selection) -> bool:
        return self._origin.is_stored and not selection.latest

    def _is_whole_table(self, selection: origin_module.Selection) -> bool:
        """Return whether an extract job alone gives what is asked for.

        It takes every column, which costs nothing and leaves those that are not needed in the
        files, and not the rows that were streamed a short time ago.
        """
        found = self._origin.relation
        return (
            found is not None
            and self._is_direct(selection)
            and not found.has_buffer
            and selection.window is None
            and not any(name in selection.columns for name in (f.name for f in found.hidden))
            and not any(datatype.standard_name(column) in extract.CAST for column in found.columns)
        )

    # --- by the Storage Read API ----------------------------------------------------------------

    def _direct(self, selection: origin_module.Selection, schema: pa.Schema) -> read_module.Request:
        found = self._origin.relation
        if found is None:
            raise ValueError("a query has no storage of its own")
        return read_module.Request(
            table=found.reference,
            schema=schema,
            restriction=self._condition(selection.window),
            snapshot_at=found.snapshot_at if found.has_history else None,
            subject=self._runner.subject,
        )

    def _indirect(
        self, selection: origin_module.Selection, schema: pa.Schema
    ) -> read_module.Request:
        held, result = self._result(selection)
        narrowed = held.window is None and selection.window is not None
        return read_module.Request(
            table=result.table,
            schema=schema,
            restriction=self._condition(selection.window) if narrowed else "",
            snapshot_at=None,
            subject=self._runner.subject,
        )

    def _streamed(self, request: read_module.Request, batch_rows: int) -> Iterator[pa.RecordBatch]:
        session = read_module.create_session(self._clients, request)
        limit = self._runner.maximum_bytes_billed
        scanned = read_module.scanned_bytes(session)
        if limit is not None and scanned > limit:
            raise errors.ConfigError(
                f"{self.description}: reading it scans {scanned:,} bytes, `maximum_bytes_billed`"
                f" allows {limit:,}",
                hint="raise `maximum_bytes_billed` if that is meant",
            )
        download = read_module.Download(self._clients, request, session, self._count)
        self._downloads.add(download)
        try:
            yield from download.batches(batch_rows)
        finally:
            download.close()
            self._downloads.discard(download)

    # --- by a query -----------------------------------------------------------------------------

    def _result(
        self, selection: origin_module.Selection
    ) -> tuple[origin_module.Selection, query.Result]:
        """Return a result that holds what is asked for, and what it was asked for."""
        for held, result in self._results.items():
            if held.covers(selection, can_narrow=self._folder is None):
                return held, result
        result = self._runner.result(self._sql(selection), self._note_job)
        self._billed_bytes += result.billed_bytes
        self._results[selection] = result
        return selection, result

    def _sql(self, selection: origin_module.Selection) -> str:
        return query.select(
            [self._expression(name) for name in selection.columns],
            self._relation_for(selection),
            self._condition(selection.window),
            selection.latest,
        )

    def _relation_for(self, selection: origin_module.Selection) -> str:
        """Return what to select from: a result that has all rows is the state to stay with."""
        for held, result in self._results.items():
            if held.covers(selection, can_narrow=True):
                return query.name_of(result.table)
        return self._origin.sql

    def _expression(self, name: str) -> str:
        field, quoted = self._field(name), datatype.quote(name)
        if base.is_hidden(field):
            # No column of a result may be called so.
            return f"{quoted} AS {datatype.quote(origin_module.alias(field))}"
        column = self._origin.column(name)
        cast = extract.CAST.get(datatype.standard_name(column))
        if self._folder is None or cast is None:
            return quoted
        if column.mode == "REPEATED":
            raise errors.ConfigError(
                f"{self.description}: column {name!r} is {datatype.native(column)}, which"
                " Parquet files do not carry",
                hint="use `read: storage`, or a `query:` that casts it",
            )
        return f"{cast.format(quoted)} AS {quoted}"

    def _note_job(self, job: Any) -> None:
        self._job_ids.append(str(job.job_id))

    # --- by an extract job ----------------------------------------------------------------------

    def _extracted(self, selection: origin_module.Selection) -> list[Any]:
        if self._folder is None:
            raise ValueError("no folder to extract to")
        for held, files in self._files.items():
            if held.covers(selection, can_narrow=False):
                return files
        made = self._extracted_whole(self._folder, selection)
        if made is not None:
            everything = tuple(column.name for column in self._origin.columns)
            selection = origin_module.Selection(everything, None, "")
        else:
            selection, result = self._result(selection)
            made = self._folder.extract(result.table, self._runner.location, self._note_job)
        self._files[selection] = made
        self._count.add(received_bytes=sum(facts.size_bytes for facts in made))
        return made

    def _extracted_whole(
        self, folder: extract.Folder, selection: origin_module.Selection
    ) -> list[Any] | None:
        """Return the files of a table that is taken as it is; None where that would not do.

        The job takes the state at its own start. Where the table has changed since the snapshot,
        a query at the snapshot is extracted instead, which costs what it scans.
        """
        found = self._origin.relation
        if found is None or not self._is_whole_table(selection):
            return None
        if not relation.is_unchanged(self._clients, found):
            return None
        files = folder.extract(found.reference, self._runner.location, self._note_job)
        return files if relation.is_unchanged(self._clients, found) else None


def open_source(
    clients: client_module.Clients,
    *,
    table: str | None,
    text: str | None,
    is_extracted: bool,
    maximum_bytes_billed: int | None,
    execution_date: datetime.date | None = None,
    parameters: tuple[Any, ...] = (),
) -> BigQuerySource:
    """Return a source over a table, view or query; nothing is billed for opening it.

    Args:
        clients: of the connection.
        table: its name, or None.
        text: a query, or None.
        is_extracted: through files in the staging bucket.
        maximum_bytes_billed: limit of each query; None is the connection's.
        execution_date: fills the placeholder of a query; None leaves it.
        parameters: of a query.

    Raises:
        errors.ConfigError: no such table, a query that is wrong, or no place to extract to.
    """
    limit = maximum_bytes_billed or clients.spec.maximum_bytes_billed
    location = clients.spec.location
    if text is not None:
        filled = sql.fill_placeholder(text, execution_date) if execution_date else text
        runner = query.Runner(clients, limit, "the query", location, parameters)
        costs = runner.costs(filled)
        if costs.schema is None:
            raise errors.ConfigError(
                f"{clients.place}: the query gives no columns", hint="write one SELECT"
            )
        origin = origin_module.Origin(None, filled, costs.schema, costs.location or location)
    elif table is not None:
        found = relation.find(clients, table)
        runner = query.Runner(clients, limit, found.display)
        origin = origin_module.Origin(found, "", found.columns, found.location or location)
    else:
        raise errors.ConfigError(
            f"{clients.place} reads tables and queries", hint="write `table` or `query`"
        )
    return BigQuerySource(clients, runner, origin, is_extracted=is_extracted)
