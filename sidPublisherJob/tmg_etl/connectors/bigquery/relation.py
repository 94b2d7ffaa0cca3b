"""A table as it is found: what kind it is, its columns, and the instant at which it is read."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import email.utils
import itertools
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from google.api_core import exceptions
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import datatype, shadow, window
from tmg_etl.storage import refusal

#: Kinds that have storage of their own, which the Storage Read API reads.
_STORED = ("TABLE", "CLONE", "SNAPSHOT")
_WORDS = {
    "VIEW": "view",
    "MATERIALIZED_VIEW": "materialized view",
    "EXTERNAL": "external table",
    "SNAPSHOT": "snapshot",
}
#: Tables of a dataset that are looked at for the closest name.
_LISTED = 2000


@dataclasses.dataclass(frozen=True)
class Relation:
    """A table, view or external table.

    Attributes:
        reference: its full name.
        kind: TABLE, VIEW, …, as BigQuery calls it.
        columns: as BigQuery describes them.
        hidden: what it has beside them.
        rows: how many it holds; None for what has no storage, and while rows are streamed into it.
        location: of its dataset.
        snapshot_at: the instant at which it is read, by Google's clock.
        has_buffer: rows were streamed into it a short time ago.
        may_run_jobs: this login may ask for more than its storage.
    """

    reference: bigquery.TableReference
    kind: str
    columns: tuple[bigquery.SchemaField, ...]
    hidden: tuple[pa.Field, ...]
    rows: int | None
    location: str | None
    snapshot_at: datetime.datetime
    has_buffer: bool
    may_run_jobs: bool

    @property
    def display(self) -> str:
        """Return kind and name for messages."""
        name = f"{self.reference.dataset_id}.{self.reference.table_id}"
        return f"{_WORDS.get(self.kind, 'table')} {name}"

    @property
    def full_name(self) -> str:
        """Return project, dataset and table."""
        return f"{self.reference.project}.{self.reference.dataset_id}.{self.reference.table_id}"

    @property
    def is_stored(self) -> bool:
        """Return whether it has storage of its own; else only a query reads it."""
        return self.kind in _STORED

    @property
    def has_history(self) -> bool:
        """Return whether an earlier state can be asked for."""
        return self.kind in ("TABLE", "CLONE")

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema; hidden columns come last."""
        return pa.schema([*(datatype.arrow(column) for column in self.columns), *self.hidden])


def find(clients: client_module.Clients, name: str) -> Relation:
    """Return the table of that name.

    Raises:
        errors.ConfigError: there is none; names the closest one.
    """
    if "$" in name or "@" in name:
        raise errors.ConfigError(
            f"{clients.place}: found the decorator in {errors.shorten(name)}, expected a table",
            hint="declare `delta:` for a window of partitions, or read a `query:`",
        )
    reference = clients.reference(name)
    if "*" in reference.table_id:
        raise errors.ConfigError(
            f"{clients.place}: found the wildcard {errors.shorten(name)}, expected a table",
            hint="tables by a wildcard are read by a `query:`",
        )
    # The official client would send other characters as a part of the path that means something.
    shadow.require_table_name(reference.table_id)
    subject = f"table {reference.dataset_id}.{reference.table_id}"
    dates: list[str] = []

    def note(response: Any, *_: Any, **__: Any) -> None:
        if found := response.headers.get("Date"):
            dates.append(found)

    with clients.guarded(subject):
        # The answer itself does not say when it was given; its header does.
        hooks = clients.rest._http.hooks["response"]
        hooks.append(note)
        try:
            table = clients.rest.get_table(reference, retry=clients.contact)
        except exceptions.NotFound as found:
            raise _unknown(clients, reference) from found
        finally:
            hooks.remove(note)
        job = _dry_run(clients, table)
        return _described(table, _now(job, table, dates), may_run_jobs=job is not None)


def is_unchanged(clients: client_module.Clients, found: Relation) -> bool:
    """Return whether a table still holds what it held at its snapshot."""
    with clients.guarded(found.display):
        table = clients.rest.get_table(found.reference, retry=clients.retry)
    if table.streaming_buffer is not None or table.modified is None:
        return False
    return bool(table.modified <= found.snapshot_at)


def _dry_run(clients: client_module.Clients, table: bigquery.Table) -> bigquery.QueryJob | None:
    """Return a query that did not run, dated by Google; None for who may not run jobs."""
    try:
        return clients.rest.query(
            "SELECT 1",
            job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False),
            location=table.location,
            retry=clients.contact,
            job_retry=None,
        )
    except exceptions.Forbidden as found:
        # Quotas are refused with the same status.
        if "accessDenied" not in refusal.reasons_of(found):
            raise
        return None


def _now(
    job: bigquery.QueryJob | None, table: bigquery.Table, dates: list[str]
) -> datetime.datetime:
    """Return Google's time.

    The clock of this machine is not asked: one that is fast would ask for the future, which
    BigQuery refuses, and one that is slow would miss what was written last. A dry run is dated to
    the millisecond. Who may not run jobs can still read storage: then the answer that described the
    table tells the second, and the last change to it is later where it came within that second.

    Args:
        job: the dry run.
        table: as described.
        dates: headers ``Date`` of the answer.
    """
    if job is not None and job.created is not None:
        return _utc(job.created)
    try:
        second = email.utils.parsedate_to_datetime(dates[-1]).astimezone(datetime.UTC)
    except (IndexError, ValueError, TypeError):
        second = datetime.datetime.now(datetime.UTC)
    if table.modified is None:
        return second
    # A change is dated to the millisecond, downwards; the next one has it for sure.
    return max(second, _utc(table.modified) + datetime.timedelta(milliseconds=1))


def _utc(instant: datetime.datetime) -> datetime.datetime:
    return instant.astimezone(datetime.UTC)


def _described(
    table: bigquery.Table, snapshot_at: datetime.datetime, *, may_run_jobs: bool
) -> Relation:
    kind = str(table.table_type or "TABLE")
    has_buffer = table.streaming_buffer is not None
    is_counted = kind in _STORED and not has_buffer and table.num_rows is not None
    return Relation(
        reference=table.reference,
        kind=kind,
        columns=tuple(table.schema),
        hidden=window.pseudo_columns(table),
        rows=int(table.num_rows) if is_counted else None,
        location=table.location,
        snapshot_at=snapshot_at,
        has_buffer=has_buffer,
        may_run_jobs=may_run_jobs,
    )


def _unknown(
    clients: client_module.Clients, reference: bigquery.TableReference
) -> errors.ConfigError:
    """Return the error for a table that is not there, with the closest name that is."""
    dataset = bigquery.DatasetReference(reference.project, reference.dataset_id)
    where = f"{reference.project}.{reference.dataset_id}"
    try:
        tables = clients.rest.list_tables(dataset, max_results=_LISTED, retry=clients.contact)
        known = [item.table_id for item in itertools.islice(tables, _LISTED)]
    except exceptions.NotFound:
        return _unknown_dataset(clients, reference)
    except exceptions.GoogleAPICallError:
        known = []
    return errors.ConfigError(
        f"{clients.place}: no table {reference.table_id!r} in the dataset {where}",
        hint=_closest(reference.table_id, known, "check `table` of the source"),
    )


def _unknown_dataset(
    clients: client_module.Clients, reference: bigquery.TableReference
) -> errors.ConfigError:
    known: list[str] = []
    try:
        datasets = clients.rest.list_datasets(
            reference.project, max_results=_LISTED, retry=clients.contact
        )
        known = [item.dataset_id for item in itertools.islice(datasets, _LISTED)]
    except exceptions.GoogleAPICallError:
        pass
    return errors.ConfigError(
        f"{clients.place}: no dataset {reference.dataset_id!r} in the project"
        f" {reference.project} for the table {reference.table_id!r}",
        hint=_closest(reference.dataset_id, known, "check `project` and `dataset`"),
    )


def _closest(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
