"""A table of MySQL or MariaDB as a `base.Target`."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import (
    catalogue,
    definition,
    dialect,
    error,
    exchange,
    half,
    lane,
    load,
    readiness,
)
from tmg_etl.connectors.mysql import lock as lock_module
from tmg_etl.connectors.mysql import session as session_module
from tmg_etl.connectors.mysql import source as source_module
from tmg_etl.connectors.mysql import type as type_module

_KINDS_OF_LEFTOVERS = ("shadow", "stage", "latest", "old")
_SCAN_ROWS = 65536
_MOST_WAIT_S = 365 * 24 * 3600
#: A second session is opened behind so many rows: what is small is loaded before it is ready.
_LANE_ROWS = 50_000


class MySQLTarget(dialect.MySQLDialect):
    """One table of a database.

    Args:
        session: the main connection, closed with the target.
        table: one identifier, as the config has it.
    """

    capabilities = base.Capabilities(
        ingest=base.Ingest.TEXT,
        proof=base.Proof.DATABASE,
        can_rehearse=True,
        can_keep=True,
        can_group=True,
        can_alter_together=False,
        folds_case=True,
        has_nan=False,
        has_infinity=False,
        has_negative_zero=False,
        has_nul=True,
        max_decimal=type_module.MAX_DECIMAL,
        zoned_timestamps=False,
        text=base.TextFormat(
            true="1",
            false="0",
            float_style=base.FloatStyle.MYSQL,
            bytes_upper=True,
            digest=base.Digest.SHA256,
        ),
    )

    def __init__(self, session: session_module.Session, table: str) -> None:
        super().__init__(session, table)
        self._lock = lock_module.Lock(session, table)
        self._lanes = lane.Lanes(session)
        self._loaders: dict[tuple[str, tuple[str, ...], int], load.Loader] = {}
        self._making_loaders = threading.Lock()
        self._halves = half.Halves(self._lanes)
        self._pending: dict[str, list[str]] = {}
        self._made_from: dict[str, str | None] = {}
        self._reads_here = False
        self._is_guest = False
        self._wait_s = 0.0
        self._is_local_infile = bool(session.value("SELECT @@local_infile"))

    def beside(self, table: str) -> MySQLTarget:
        """Return another table over the same session."""
        definition.require_table(self._session.place.name, table)
        other = MySQLTarget(self._session, table)
        other._is_guest = True
        return other

    @property
    def ingest_method(self) -> str:
        """Return how rows are loaded, for the plan."""
        return "LOAD DATA LOCAL" if self._is_local_infile else "INSERT, because local_infile is off"

    # --- lock and leftovers ---------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the target's lock."""
        with self._lock.hold(wait_s):
            self._wait_s = wait_s
            # The server knows whole seconds, from one to a year.
            seconds = min(max(1, math.ceil(wait_s)), _MOST_WAIT_S)
            self.run(
                f"SET SESSION innodb_lock_wait_timeout = {seconds},"
                f" SESSION lock_wait_timeout = {seconds}"
            )
            yield

    def check_lock(self) -> None:
        """Ask the server whether this run still holds the lock."""
        self._lock.check()

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Remove the leftovers beside this target."""
        prefixes = [names.prefix(kind, self.table) for kind in _KINDS_OF_LEFTOVERS]
        found = catalogue.starting_with(self._session, self._database, *prefixes)
        for name in found:
            self.drop(name)
        return found

    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there."""
        self._forget(name)
        exchange.drop(self._session, name, self.table)

    def _forget(self, name: str) -> None:
        super()._forget(name)
        self._halves.forget(name)
        for place in [place for place in self._loaders if place[0] == name]:
            del self._loaders[place]

    # --- description and definition -------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return what the server knows of the target."""
        entry = self._entry(self.table)
        return None if entry is None else entry.table

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return what `create` would make of `schema`."""
        lengths = definition.index_lengths(schema, [tuple(key)])
        columns = tuple(
            base.Column(
                type_module.held(field).with_nullable(field.nullable and field.name not in key),
                type_module.created(field, length=lengths.get(field.name)),
            )
            for field in schema
        )
        return base.Table(columns=columns, primary_key=tuple(key))

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Create a table by the type mapping."""
        mariadb = self._session.is_mariadb
        self.run(definition.table(self.qualified(name), schema, key, indexes, is_mariadb=mariadb))
        self._forget(name)
        self._made_from[name] = None
        self._pending[name] = [definition.index(index) for index in indexes]

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Create an empty copy of the target, its plain indexes left for `finish_load`."""
        target = self._unaltered()
        self._made_from[name] = target.definition
        place = self.qualified(name)
        self.run(f"CREATE TABLE {place} LIKE {self.qualified(self.table)}")
        self._forget(name)
        self._entries[name] = catalogue.like(self._session, self._database, name, target)
        deferred = definition.deferred_indexes(target)
        if deferred:
            dropped = ", ".join(f"DROP INDEX {self.quote(index)}" for index in deferred)
            self.run(f"ALTER TABLE {place} {dropped}")
        wanted = [index for index in indexes if index.name not in target.table.indexes]
        self._pending[name] = [*deferred.values(), *map(definition.index, wanted)]

    def _unaltered(self) -> catalogue.Entry:
        """Return what is known of the target, read again if it was altered since."""
        known = self._entries.pop(self.table, None)
        now = catalogue.standing(self._session, self._database, self.table)
        if known is not None and now is not None and known.definition == now[0]:
            self._entries[self.table] = known
        return self._entry_of(self.table)

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty table typed as the target, everything nullable."""
        target = self._entry(self.table) if name in self.own_tables else self._entry_of(self.table)
        mariadb = self._session.is_mariadb
        created = definition.staging(
            self.qualified(name), target, columns, extra, is_mariadb=mariadb
        )
        self.run(created.replace("CREATE TABLE", self.create_verb(name), 1))
        self._forget(name)
        if target is not None and not len(extra) and name not in self.own_tables:
            self._entries[name] = catalogue.like(
                self._session, self._database, name, target, columns
            )

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add columns to the target or a shadow, nullable; commits what is open."""
        table = name or self.table
        parts = [f"ADD COLUMN {definition.column(field, nullable=True)}" for field in schema]
        self.run(f"ALTER TABLE {self.qualified(table)} {', '.join(parts)}")
        self._forget(table)

    def remove_columns(self, schema: pa.Schema) -> None:
        """Drop columns of the target that were just added, also when a stop was asked for."""
        parts = [f"DROP COLUMN {self.quote(field.name)}" for field in schema]
        statement = f"ALTER TABLE {self.qualified(self.table)} {', '.join(parts)}"
        self._session.run(statement, cancellable=False)
        self._forget(self.table)

    # --- loading --------------------------------------------------------------------------------

    def _loader(
        self, session: session_module.Session, name: str, columns: tuple[str, ...]
    ) -> load.Loader:
        place = (name, columns, session.id)
        # The catalogue is read on the main session, which no other thread may use meanwhile: it
        # loads nothing before this has been read.
        with self._making_loaders:
            if place not in self._loaders:
                layout = load.Layout(self.qualified(name), self._entry_of(name), columns)
                self._loaders[place] = load.Loader(
                    session, self._lanes, layout, self.table, is_local_infile=self._is_local_infile
                )
            return self._loaders[place]

    def lanes(self, name: str) -> int:
        """Return how many sessions fill a table; a temporary one is seen by the main one only."""
        return 1 if name in self.own_tables else lane.LIMIT

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch."""
        is_late = batch.first_row >= _LANE_ROWS and self.lanes(name) > 1
        with self._lanes.one(only_main=not is_late) as session:
            loader = self._loader(session, name, tuple(batch.arrow.schema.names))
            if is_late:
                self._halves.sample(name, batch.arrow, self._entry_of(name).table.primary_key)
            try:
                return loader.load(batch, key)
            finally:
                self._is_local_infile = loader.is_local_infile

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Build the indexes that waited, in one pass, and refresh the statistics."""
        lines = self._pending.pop(name, [])
        place = self.qualified(name)
        if lines:
            added = ", ".join(f"ADD {line}" for line in lines)
            self.run(f"ALTER TABLE {place} {added}")
        self.rows(f"ANALYZE TABLE {place}")
        if self._made_from.get(name) is not None:
            for column, how in catalogue.histograms(self._session, self._database, self.table):
                self.rows(f"ANALYZE TABLE {place} UPDATE HISTOGRAM ON {self.quote(column)} {how}")
        known = self._entries.get(name)
        if known is not None and not set(lines) <= set(known.index_lines.values()):
            del self._entries[name]

    # --- proof ----------------------------------------------------------------------------------

    def fingerprint(
        self, name: str, columns: Sequence[str], selection: base.Selection, *, hashes: bool
    ) -> base.Fingerprint:
        """Return count and hash of a table; of a large one that was just loaded, in halves."""
        halves = self._halves.conditions(self._session, name)
        if not halves or not hashes or selection != base.Selection():
            return super().fingerprint(name, columns, selection, hashes=hashes)
        clause, alias = self.selected(name, selection)
        total = self.hash_sum(name, alias, columns)
        found = self._halves.rows(
            [f"SELECT COUNT(*), {total} FROM {clause} WHERE {alias}.{one}" for one in halves]
        )
        hashed = sum(self.hash_total(value) for _, value in found)
        return base.Fingerprint(sum(int(count) for count, _ in found), hashed % 2**64)

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table, from a connection of its own.

        In `reading` and in a `transaction` from the main one, which alone sees what it has written;
        a table of a `rehearsal` too.
        """
        clause, alias = self.selected(name, selection)
        kinds = self._entry_of(name).kinds
        is_here = self._reads_here or name in self.own_tables
        session = self._session if is_here else self._session.sibling()
        try:
            yield from source_module.read_rows(
                session,
                clause,
                [kinds[column] for column in columns],
                [f"{alias}.{self.quote(column)}" for column in columns],
                batch_rows=_SCAN_ROWS,
                what=self.table,
            )
        finally:
            if session is not self._session:
                session.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one snapshot for all reads of a block."""
        # Described before: the catalogue is not part of the snapshot.
        self._entry(self.table)
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        self._reads_here = True
        try:
            yield
        finally:
            self._reads_here = False
            with contextlib.suppress(errors.TmgEtlError):
                self._session.run("ROLLBACK", cancellable=False)

    def readiness(self, intent: base.Intent) -> base.Readiness:
        """Return what would keep a run from doing what it intends."""
        return readiness.find(self._session, self._database, self.table, intent)

    # --- publishing -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a block in one transaction.

        Raises:
            errors.ConfigError: a table's engine has none.
        """
        for table in (self.table, *(other.table for other in others)):
            entry = self._entry(table)
            if entry is not None and entry.engine not in catalogue.TRANSACTIONAL:
                raise errors.ConfigError(
                    f"{table}: its engine {entry.engine} has no transactions",
                    hint="ALTER TABLE … ENGINE=InnoDB, or publish by swap",
                )
        targets = [self, *(one for one in others if isinstance(one, MySQLTarget))]
        self.run("START TRANSACTION")
        for one in targets:
            one._reads_here = True
        try:
            yield
            self._session.commit()
        except BaseException as failed:
            # Else the DROP of the cleanup would commit. A lost connection rolls back by itself.
            with contextlib.suppress(errors.TmgEtlError):
                self._session.run("ROLLBACK", cancellable=False)
            if error.number_of(failed.__cause__ or failed) == error.LOCK_WAIT_TIMEOUT:
                holder = readiness.holder(self._session)
                raise errors.LockBusyError(self.table, self._wait_s, holder) from failed
            raise
        finally:
            for one in targets:
                one._reads_here = False

    def references(self) -> frozenset[str]:
        """Return the tables that foreign keys of this one refer to."""
        return catalogue.parents(self._session, self._database, self.table)

    def foreign_keys(self) -> tuple[base.ForeignKey, ...]:
        """Return its foreign keys and those of others to it."""
        return tuple(catalogue.foreign_keys(self._session, self._database, self.table))

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place by one RENAME."""
        return self.swap_together([base.Exchange(self, shadow)], names)[0]

    def swap_keeping(self, shadow: str, names: run_module.TemporaryNames, keep: str) -> int:
        """Put the shadow in the target's place by one RENAME; keep the replaced table."""
        return self.swap_together([base.Exchange(self, shadow, keep)], names)[0]

    def swap_together(
        self, exchanges: Sequence[base.Exchange], names: run_module.TemporaryNames
    ) -> list[int]:
        """Put shadows in the places of their targets by one RENAME."""
        parts = [(_own(one), one) for one in exchanges]
        try:
            return exchange.carry_out(
                self._session, [target._swapped(one, names) for target, one in parts]
            )
        finally:
            for target, one in parts:
                target._forget(target.table)
                target._forget(one.shadow)

    def _swapped(self, one: base.Exchange, names: run_module.TemporaryNames) -> exchange.Exchange:
        now, number = catalogue.standing(self._session, self._database, self.table) or (None, None)
        return exchange.Exchange(
            self.table,
            now,
            number,
            one.shadow,
            self._made_from[one.shadow],
            one.keep or names.table("old", self.table),
            is_kept=one.keep is not None,
        )

    def kept(self, names: run_module.TemporaryNames) -> list[str]:
        """Return the tables that swaps kept; a run id sorts by its time."""
        prefix = names.prefix("prev", self.table)
        return catalogue.starting_with(self._session, self._database, prefix)

    def adopt(self, kept: str) -> None:
        """Remember what it replaces; a kept table has its indexes, whose names are its own."""
        self._entries.pop(self.table, None)
        self._made_from[kept] = self._entry_of(self.table).definition

    def close(self) -> None:
        """Hang up."""
        self._lanes.close()
        if not self._is_guest:
            self._session.close()


def _own(one: base.Exchange) -> MySQLTarget:
    assert isinstance(one.target, MySQLTarget)
    return one.target
