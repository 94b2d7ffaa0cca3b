"""A table of BigQuery as a target: loaded aside, proved by SQL, copied into place or merged.

`lock` and `predecessor` keep other runs away, `shadow` says what is built beside the target, `load`
fills it, `fingerprint` proves it, `merge` and `session` change rows in place, `replacement` puts
the shadow in the target's place, and `policy` knows what that would take away. Decisions 6 and 7
in ``docs/decisions`` say why it is done so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from google.api_core import exceptions
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, lease
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.connectors.bigquery import (
    datatype,
    fingerprint,
    load,
    lock,
    merge,
    policy,
    predecessor,
    read,
    replacement,
    shadow,
)
from tmg_etl.connectors.bigquery import session as session_module

_SCAN_ROWS = 65536
#: BigQuery's own default is 50, which a large dataset makes thousands of requests of.
_PAGE_TABLES = 1000
_KINDS = ("shadow", "stage", "latest", "old")
_DATABASE = base.Capabilities(
    ingest=base.Ingest.ARROW,
    proof=base.Proof.DATABASE,
    can_alter_together=False,
    max_decimal=(38, 38),
    folds_case=True,
    text=base.TextFormat(digest=base.Digest.MD5),
)
_READ_BACK = dataclasses.replace(_DATABASE, proof=base.Proof.READ_BACK)


class BigQueryTarget(merge.MergingTarget):
    """One table of a dataset.

    Args:
        clients: of the connection.
        table: its name as the config has it: ``table``, or with dataset and project before it.

    Raises:
        errors.ConfigError: BigQuery takes no table of that name.
    """

    def __init__(self, clients: client_module.Clients, table: str) -> None:
        self.table = table
        self._clients = clients
        self._reference = clients.reference(table)
        shadow.require_table_name(self._reference.table_id)
        self._dataset = bigquery.DatasetReference(
            self._reference.project, self._reference.dataset_id
        )
        self._session = session_module.Session(clients, self._dataset, f"table {table}")
        self._lease = lease.Lease(
            lock.TableRegister(clients, self._reference), f"{self._dataset.dataset_id}.{table}"
        )
        self._is_locked = False
        # What was found last, and whether it was looked for: there may be no such table.
        self._known: bigquery.Table | None = None
        self._is_known = False
        self._blockers: tuple[str, ...] | None = None
        #: Columns of the tables that this target made.
        self._tables: dict[str, list[bigquery.SchemaField]] = {}
        self._made: set[str] = set()
        # What the target was when a shadow of it was made.
        self._made_from: dict[str, dict[str, Any] | None] = {}
        self._loaders: dict[str, load.Loader] = {}

    @property
    def ingest_method(self) -> str:
        """Return how rows enter BigQuery."""
        way = "in the bucket where large" if self._clients.spec.staging else "uploaded"
        return f"load jobs of Parquet, {way}"

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of all jobs of the connection, those of a source on it among them."""
        return tuple(self._clients.job_ids)

    @property
    def capabilities(self) -> base.Capabilities:  # type: ignore[override]
        """Return what this table can do: one with FLOAT64 is proved by reading it back."""
        known = list(self._tables.values())
        found = self._resource()
        known += [list(found.schema)] if found is not None else []
        return _READ_BACK if any(map(fingerprint.needs_read_back, known)) else _DATABASE

    # --- the driver -----------------------------------------------------------------------------

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; return the rows it touched."""
        self._send_gathered()
        return self._session.touch(statement)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        self._send_gathered()
        return self._session.rows(statement)

    # --- lock and leftovers ---------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the target by a lease; what a dead run left under way is ended first."""
        with self._lease.hold(run_id, wait_s, self._clients.stop):
            self._is_locked = True
            try:
                self._end_predecessor()
                yield
            finally:
                self._is_locked = False

    def _end_predecessor(self) -> None:
        if self._is_locked and self._lease.predecessor is not None:
            predecessor.end(self._session, self._lease.predecessor.note)

    def check_lock(self) -> None:
        """Ask BigQuery whether this run still holds the lock."""
        self._lease.check()

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Remove the tables and staged objects of every run beside this target."""
        # Another transfer may call the table by a longer or shorter name.
        known_as = self._clients.names_of(self._reference)
        prefixes = tuple(names.prefix(kind, name) for kind in _KINDS for name in known_as)
        with self._clients.guarded(f"dataset {self._dataset.dataset_id}"):
            found = [
                str(item.table_id)
                for item in self._clients.rest.list_tables(
                    self._dataset, page_size=_PAGE_TABLES, retry=self._clients.retry
                )
                if item.table_id.startswith(prefixes)
            ]
        for name in found:
            self._remove(name)
        if self._clients.spec.staging:
            for prefix in prefixes:
                found += self._remove_objects(prefix)
        # Once more: a job that was on its way may have come in before its table was removed.
        self._end_predecessor()
        self._lease.settle()
        self._is_known = False
        return found

    @property
    def _staging_folder(self) -> str:
        # Tables of one name in two datasets have one hash in their temporary names.
        place = f"{self._dataset.project}.{self._dataset.dataset_id}"
        return f"{self._clients.staging}/load/{place}"

    # --- tables ---------------------------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return what BigQuery knows of the target, or None when there is no such table."""
        found = self._resource()
        if found is None:
            return None
        if self._blockers is None:
            self._blockers = policy.swap_blockers(self._clients, self._reference, self.table)
        return shadow.described(found, self._blockers)

    def _resource(self) -> bigquery.Table | None:
        if not self._is_known:
            self._known = self._get(self._reference)
            if self._known is None:
                _ = self._session.location  # tells a missing dataset from a missing table
            else:
                self._session.know_location(self._known.location)
                shadow.require_table(self._known, self.table)
            self._is_known = True
        return self._known

    def _get(self, reference: bigquery.TableReference) -> bigquery.Table | None:
        found = None
        with (
            self._clients.guarded(f"table {reference.dataset_id}.{reference.table_id}"),
            contextlib.suppress(exceptions.NotFound),
        ):
            found = self._clients.rest.get_table(reference, retry=self._clients.retry)
        return found

    def _existing(self) -> bigquery.Table:
        found = self._resource()
        if found is None:
            raise errors.ConfigError(
                f"dataset {self._dataset.project}.{self._dataset.dataset_id} has no table"
                f" {self._reference.table_id}"
            )
        shadow.require_settled(found, self.table)
        return found

    def _beside(self, name: str) -> bigquery.TableReference:
        return self._reference if name == self.table else self._dataset.table(name)

    def _columns_of(self, name: str) -> list[bigquery.SchemaField]:
        if name == self.table:
            return list(self._existing().schema)
        if name not in self._tables:
            found = self._get(self._beside(name))
            if found is None:
                raise errors.TemporaryError(
                    f"{self.table}: the table {name} of this run is gone",
                    hint="another run removed it; run again",
                )
            self._tables[name] = list(found.schema)
        return self._tables[name]

    def _rows_of(self, name: str) -> int:
        self._send_gathered()
        found = self._get(self._beside(name))
        return int(found.num_rows or 0) if found is not None else 0

    def _partition_column(self) -> str | None:
        found = self._existing()
        partitioning = found.time_partitioning or found.range_partitioning
        return partitioning.field if partitioning is not None else None

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return what `create` would make of `schema`."""
        columns = shadow.planned(schema, key, self.table)
        return base.Table(
            tuple(
                base.Column(datatype.arrow(column), datatype.native(column)) for column in columns
            )
        )

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Create a table; BigQuery enforces no key, so doubled ones are looked for."""
        shadow.refuse_indexes(indexes, self.table)
        columns = shadow.planned(schema, key, self.table)
        self._made_from[name] = None
        self._create(bigquery.Table(self._beside(name), schema=columns), name)

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Create an empty copy of the target."""
        shadow.refuse_indexes(indexes, self.table)
        self._is_known = False
        found = self._existing()
        self._made_from[name] = shadow.built(found)
        self._create(shadow.copy_of(found, self._beside(name)), name)

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty table with columns of the target and others."""
        by_name = {column.name: column for column in self._existing().schema}
        fields = [by_name[column] for column in columns] + shadow.planned(extra, (), self.table)
        self._create(shadow.staging_of(fields, self._beside(name)), name)

    def _create(self, table: bigquery.Table, name: str) -> None:
        self._made.add(name)
        with self._clients.guarded(f"table {name} beside {self.table}"):
            # Its name is this run's own: what is there was made by an attempt before.
            made = self._clients.rest.create_table(table, exists_ok=True, retry=self._clients.retry)
        self._tables[name] = list(made.schema)

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add nullable columns to the target or a shadow, by one change under its etag."""
        added = shadow.planned(schema, (), self.table)
        with self._clients.guarded(f"table {self.table}"):
            if name is None:
                table = self._existing()
            else:
                table = self._clients.rest.get_table(self._beside(name), retry=self._clients.retry)
            table.schema = [*table.schema, *added]
            changed = self._clients.rest.update_table(table, ["schema"], retry=self._clients.retry)
        if name is None:
            self._known = changed
        else:
            self._tables[name] = list(changed.schema)

    def remove_columns(self, schema: pa.Schema) -> None:
        """Drop columns of the target that were just added."""
        parts = ", ".join(f"DROP COLUMN {self.quote(field.name)}" for field in schema)
        self.run(f"ALTER TABLE {self.qualified(self.table)} {parts}")
        self._is_known = False

    def drop(self, name: str) -> None:
        """Remove a temporary table of this run and its staged objects, also after a stop."""
        loader = self._loaders.pop(name, None)
        if loader is not None:
            loader.abandon()
        self._tables.pop(name, None)
        if name in self._made:
            self._remove(name)
            self._made.discard(name)
        if loader is not None and loader.has_staged:
            self._remove_objects(f"{name}/")

    def _remove(self, name: str) -> None:
        with self._clients.guarded(f"table {name} beside {self.table}"):
            self._clients.rest.delete_table(
                self._beside(name), not_found_ok=True, retry=self._clients.contact
            )

    def _remove_objects(self, prefix: str) -> list[str]:
        store = self._clients.store
        found = [item.url for item in store.list(f"{self._staging_folder}/{prefix}")]
        for url in found:
            store.delete(url)
        return found

    # --- loading --------------------------------------------------------------------------------

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Gather a batch; it is sent with others, and counted then."""
        loader = self._loaders.get(name)
        if loader is None:
            staging = f"{self._staging_folder}/{name}" if self._clients.spec.staging else None
            loader = self._loaders[name] = load.Loader(
                self._session, self._beside(name), self._columns_of(name), self.table, staging
            )
        return loader.add(batch, key)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Send what is gathered."""
        self._send_gathered()

    def _send_gathered(self) -> None:
        for loader in self._loaders.values():
            loader.finish()

    # --- proof ----------------------------------------------------------------------------------

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table, or of a query's result, over the Storage Read API."""
        self._send_gathered()
        schema = pa.schema([datatype.arrow(field) for field in self._fields(name, columns)])
        table = self._beside(name)
        if selection != base.Selection() or self._session.is_open:
            clause, alias = self.selected(name, selection)
            job = self._session.query(f"SELECT {self.names(columns, alias)} FROM {clause}")
            table = job.destination
        request = read.Request(table, schema, "", None, f"table {self.table}")
        session = read.create_session(self._clients, request)
        download = read.Download(self._clients, request, session, read.Count())
        try:
            yield from download.batches(_SCAN_ROWS)
        finally:
            download.close()

    # --- publish --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a block in one transaction of a session."""
        self._send_gathered()
        with self._session.transaction(self._note_session, self._lease.settle):
            yield

    def _note_session(self, session_id: str) -> None:
        self._note(predecessor.session_note(session_id, self._session.location))

    def _note(self, note: str) -> None:
        if self._is_locked:
            self._lease.check(note=note)

    def swap(self, name: str, names: run_module.TemporaryNames) -> int:
        """Replace the target by one copy job; return the rows replaced."""
        self._send_gathered()
        before = self._get(self._reference)
        if self._made_from[name] != (shadow.built(before) if before is not None else None):
            raise errors.AlteredError(self.table)
        if before is not None:
            shadow.require_settled(before, self.table)
            policy.require_none(self._clients, self._reference, self.table)
        replacement.Replacement(
            self._session, self._beside(name), self._reference, self._note, self._lease.settle
        ).run(before)
        self._is_known = False
        self._restore(before, self._columns_of(name))
        self.drop(name)
        return 0 if before is None else int(before.num_rows or 0)

    def _restore(
        self, before: bigquery.Table | None, copied: Sequence[bigquery.SchemaField]
    ) -> None:
        """Put back what the copy did not keep."""
        after = self._existing()
        changed = shadow.changed_members(before, copied, after)
        if not changed:
            return
        for attribute, value in changed.items():
            setattr(after, attribute, value)
        with self._clients.guarded(f"table {self.table}"):
            self._known = self._clients.rest.update_table(
                after, list(changed), retry=self._clients.retry
            )

    def close(self) -> None:
        """Forget what is gathered; the clients are the connection's."""
        while self._loaders:
            self._loaders.popitem()[1].abandon()
