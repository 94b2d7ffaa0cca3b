"""Queries: what they would cost, their text, and the table that holds their result.

A result is a table of its own, kept by BigQuery for about a day. What is read, counted and
extracted is that table, so that everybody sees one state.
Source: https://cloud.google.com/bigquery/docs/writing-results#temporary_and_permanent_tables
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import datatype
from tmg_etl.storage import refusal

#: "[3:12]" at the end of a message: line and column of the text that was sent.
_POSITION = re.compile(r"\s*(?:at )?\[(\d+):(\d+)\]")

#: Reason of a result that a table without a name does not take.
_TOO_LARGE = "responseTooLarge"
_KEPT = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a query would do, found out without running it.

    Attributes:
        schema: its columns; None where the server does not say.
        scanned_bytes: what it would read, which is what it bills.
        location: where it would run.
    """

    schema: tuple[bigquery.SchemaField, ...] | None
    scanned_bytes: int
    location: str | None


@dataclasses.dataclass(frozen=True)
class Result:
    """A query that ran.

    Attributes:
        table: holds its rows.
        job_id: of the query.
        rows: how many there are; None where the server does not say.
        billed_bytes: what was paid for.
        is_kept: the table is one of the connection's dataset, and ours to drop.
    """

    table: bigquery.TableReference
    job_id: str
    rows: int | None
    billed_bytes: int
    is_kept: bool = False


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs the queries of one source or connection.

    Attributes:
        clients: of the connection.
        maximum_bytes_billed: limit of each query; None is the project's own.
        subject: what is read, for messages.
        location: where jobs run; None is where the tables are.
        parameters: bound in every query.
    """

    clients: client_module.Clients
    maximum_bytes_billed: int | None
    subject: str
    location: str | None = None
    parameters: tuple[Any, ...] = ()

    def _config(self, **settings: Any) -> bigquery.QueryJobConfig:
        spec = self.clients.spec
        if self.maximum_bytes_billed is not None and not settings.get("dry_run"):
            settings["maximum_bytes_billed"] = self.maximum_bytes_billed
        return bigquery.QueryJobConfig(
            default_dataset=bigquery.DatasetReference(spec.project, spec.dataset),
            labels=self.clients.labels,
            use_legacy_sql=False,
            query_parameters=list(self.parameters),
            **settings,
        )

    def costs(self, sql: str, first_line: int = 1) -> Costs:
        """Return what a query would read and give; it is checked as well.

        Args:
            sql: the query.
            first_line: line of `sql` that is the first of what the user wrote.

        Raises:
            errors.ConfigError: the query is wrong; names line and column.
        """
        with _placed(self.clients, self.subject, first_line):
            job = self.clients.rest.query(
                sql,
                job_config=self._config(dry_run=True, use_query_cache=False),
                location=self.location,
                retry=self.clients.contact,
                job_retry=None,
            )
        statement = job.statement_type
        if statement not in (None, "SELECT"):
            raise errors.ConfigError(
                f"{self.clients.place}: found a statement of the kind {statement}, expected one"
                " SELECT",
                hint="what changes something belongs into a pipeline of one's own",
            )
        schema = tuple(job.schema) if job.schema else None
        return Costs(schema, int(job.total_bytes_processed or 0), job.location)

    def result(self, sql: str, on_start: Callable[[Any], None] | None = None) -> Result:
        """Run a query and return the table that holds its rows.

        That is one without a name, which costs nothing to keep. It takes about 10 GB; more goes to
        a table in the connection's dataset, which lives for a day when nobody drops it.
        Source: https://cloud.google.com/bigquery/quotas#query_jobs ("Maximum response size")
        """
        try:
            job = self.run(sql, "read", on_start=on_start)
        except errors.ConfigError as found:
            if found.__cause__ is None or _TOO_LARGE not in refusal.reasons_of(found.__cause__):
                raise
            return self._kept(sql, on_start)
        table: bigquery.TableReference = job.destination
        return Result(table, job.job_id, self._rows(table), int(job.total_bytes_billed or 0))

    def _kept(self, sql: str, on_start: Callable[[Any], None] | None) -> Result:
        """Run a query into a table that has an end from its beginning."""
        clients = self.clients
        digest = hashlib.sha256(sql.encode()).hexdigest()[:8]
        table = clients.reference(f"_tmg_result_{clients.token}_{digest}")
        end = datetime.datetime.now(datetime.UTC) + _KEPT
        job = self.run(
            f"CREATE TABLE {name_of(table)}\n"
            f"OPTIONS (expiration_timestamp = TIMESTAMP '{end.isoformat()}') AS\n{sql}",
            "keep",
            on_start=on_start,
        )
        billed = int(job.total_bytes_billed or 0)
        return Result(table, job.job_id, self._rows(table), billed, is_kept=True)

    def drop(self, result: Result) -> None:
        """Drop the table of a result where it is ours."""
        if result.is_kept:
            with self.clients.guarded(f"table {result.table.table_id}"):
                self.clients.rest.delete_table(
                    result.table, not_found_ok=True, retry=self.clients.contact
                )

    def _rows(self, table: bigquery.TableReference) -> int | None:
        """Return the rows of a result; only those who want to watch the progress need it."""
        with contextlib.suppress(exceptions.GoogleAPICallError):
            found = self.clients.rest.get_table(table, retry=self.clients.contact).num_rows
            return None if found is None else int(found)
        return None

    def run(
        self,
        sql: str,
        purpose: str,
        on_start: Callable[[Any], None] | None = None,
    ) -> bigquery.QueryJob:
        """Run a statement to its end and return its job.

        Args:
            sql: the statement.
            purpose: one word for the job's name.
            on_start: told of the job.
        """
        config = self._config()

        def start(job_id: str) -> bigquery.QueryJob:
            return self.clients.rest.query(
                sql,
                job_config=config,
                job_id=job_id,
                location=self.location,
                retry=self.clients.retry,
                job_retry=None,
            )

        with _placed(self.clients, self.subject, 1):
            job: bigquery.QueryJob = self.clients.run(
                purpose,
                start,
                subject=self.subject,
                content=sql,
                location=self.location,
                on_start=on_start,
            )
        return job


def select(columns: Sequence[str], relation: str, condition: str = "", qualify: str = "") -> str:
    """Return a query for some columns of a relation.

    Args:
        columns: expressions or quoted names.
        relation: what stands after FROM.
        condition: of the rows; empty means all.
        qualify: condition over window functions; empty means none.
    """
    parts = [f"SELECT {', '.join(columns)}", f"FROM {relation}"]
    # QUALIFY needs a WHERE, GROUP BY or HAVING beside it.
    # Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#qualify_clause
    parts += [f"WHERE {condition or 'TRUE'}"] if condition or qualify else []
    parts += [f"QUALIFY {qualify}"] if qualify else []
    return "\n".join(parts)


def latest(key: Sequence[str], order_by: Sequence[str]) -> str:
    """Return the condition for the latest version of each key; all that are equally late stay.

    Later means greater, column by column, null first: what `Target.keep_latest` means by it, which
    still sees the versions that are equally late and refuses those that differ.
    """
    keys = ", ".join(map(datatype.quote, key))
    order = ", ".join(f"{datatype.quote(name)} DESC NULLS LAST" for name in order_by)
    return f"RANK() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"


def name_of(table: bigquery.TableReference) -> str:
    """Return a table's full name as GoogleSQL writes it."""
    return datatype.quote(f"{table.project}.{table.dataset_id}.{table.table_id}")


@contextlib.contextmanager
def _placed(clients: client_module.Clients, subject: str, first_line: int) -> Iterator[None]:
    """Say where in the text of a query its fault is."""
    try:
        with clients.guarded(subject):
            yield
    except errors.ConfigError as found:
        match = _POSITION.search(found.message)
        if match is None or not isinstance(found.__cause__, exceptions.GoogleAPICallError):
            raise
        line, column = int(match[1]) - first_line + 1, match[2]
        text = _POSITION.sub("", found.message, count=1)
        raise errors.ConfigError(
            f"{text} (line {line}, column {column})", hint=found.hint or "correct the query"
        ) from found.__cause__
