"""A table as `base.Target`: filled by ``COPY … FROM`` beside it, published by a swap or a merge."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, waiting
from tmg_etl.connectors.postgres import (
    aside,
    catalog,
    dialect,
    kind,
    loader,
    lock,
    reader,
    readiness,
)
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import shadow as shadow_module
from tmg_etl.connectors.postgres import swap as swap_module

_KINDS = ("shadow", "stage", "latest", "old")
#: Most seconds between two attempts to lock writers out; in between, new ones get through.
_LONGEST_PAUSE_S = 1.0
_BUILD_MEMORY_KB = 262_144
_LOGGER = logging.getLogger("tmg_etl")


class PostgresTarget(dialect.PostgresDialect):
    """One table, over one main connection; its lock has another.

    Args:
        session: an open session, owned by the target from now on.
        connect: opens another one.
        schema: the connection's `schema`; None means the search path.
        table: the table's name, as one identifier.
    """

    capabilities = base.Capabilities(
        ingest=base.Ingest.TEXT,
        proof=base.Proof.DATABASE,
        can_rehearse=True,
        can_keep=True,
        can_group=True,
        has_nul=False,
        text=base.TextFormat(
            float_style=base.FloatStyle.POSTGRES,
            trims_fraction=True,
            utc_suffix="+00",
            bytes_prefix="\\x",
            canonical_json=True,
            digest=base.Digest.LOOKUP3,
        ),
    )

    def __init__(
        self,
        session: session_module.Session,
        connect: Callable[[], session_module.Session],
        schema: str | None,
        table: str,
    ) -> None:
        super().__init__(session, schema, table)
        self._connect = connect
        self._wanted_schema = schema
        self._lock = lock.TableLock(connect, self._schema, table)
        self._shadows: dict[str, shadow_module.Shadow] = {}
        self._is_guest = False
        # Of the run whose lock is held, for whoever else holds the table.
        self._wait_s: float | None = None

    def beside(self, table: str) -> PostgresTarget:
        """Return another table over the same session."""
        other = PostgresTarget(self._session, self._connect, self._wanted_schema, table)
        other._is_guest = True
        return other

    # --- creating and loading -------------------------------------------------------------------

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return what `create` would make."""
        columns = []
        for field in schema:
            session_module.require_name(field.name)
            native = kind.native(field)
            nullable = field.nullable and field.name not in key
            columns.append(base.Column(kind.held(field).with_nullable(nullable), native))
        return base.Table(tuple(columns), primary_key=tuple(key))

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Create a table by the type mapping."""
        self._create(
            shadow_module.new(self._session, name, self._schema, self.table, schema, key, indexes)
        )

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Create an empty copy of the target."""
        table, relation = self.describe(), self._relation()
        if table is None or relation is None:
            raise errors.ConfigError(f"there is no table {self.table} to make a copy of")
        self._create(
            shadow_module.copy_of(
                self._session, relation, name, indexes, is_swappable=not table.swap_blockers
            )
        )

    def _create(self, shadow: shadow_module.Shadow) -> None:
        self._loader.finish()
        with self._session.transaction():
            for statement in shadow.create:
                self._session.execute(statement)
        self._loader.forget(shadow.name)
        self._typed.pop(shadow.name, None)
        self._shadows[shadow.name] = shadow

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty table with columns typed as in the target, and more.

        It is not logged: no replica and no subscriber is told of it, and a crash ends its run.
        """
        table = self.qualified(name)
        self._loader.forget(name)
        self._typed.pop(name, None)
        verb = self.create_verb(name, "CREATE UNLOGGED TABLE")
        if columns:
            self.run(
                f"{verb} {table} AS SELECT {self.names(columns)}"
                f" FROM {self.qualified(self.table)} WITH NO DATA"
            )
        else:
            self.run(f"{verb} {table} ()")
        self._add_columns(table, extra)

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add columns, nullable; from then on readers wait for the end of the transaction."""
        self._loader.finish()
        place, is_nested = self.qualified(name or self.table), name is None
        self._session.patiently(
            lambda: self._add_columns(place, schema),
            f"adding columns to {self.table}",
            lambda: self._holder(self.table),
            is_nested=is_nested,
        )
        if is_nested:
            self._wait_for_rows()
        self._forget()

    def _add_columns(self, table: str, schema: pa.Schema) -> None:
        for field in schema:
            session_module.require_name(field.name)
        added = [f"ADD COLUMN {self.quote(field.name)} {kind.native(field)}" for field in schema]
        if added:
            self._session.execute(f"ALTER TABLE {table} {', '.join(added)}")

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch by ``COPY``; return the rows that the server says it took."""
        freezes = name in self._shadows
        return self._loader.load(name, self.qualified(name), batch, key, freezes=freezes)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Build keys, indexes and foreign keys; refresh the planner's statistics."""
        self._loader.finish()
        shadow = self._shadows.get(name)
        if shadow is not None and shadow.builds:
            self._session.execute(
                "SELECT set_config('maintenance_work_mem', %s, false) FROM pg_settings"
                " WHERE name = 'maintenance_work_mem' AND setting::bigint < %s",
                [f"{_BUILD_MEMORY_KB}kB", _BUILD_MEMORY_KB],
            )
            for build in shadow.builds:
                self._build(shadow, build, key)
        self._session.execute(f"ANALYZE {self.qualified(name)}")

    def _build(
        self, shadow: shadow_module.Shadow, build: shadow_module.Build, key: Sequence[str]
    ) -> None:
        def attempt() -> None:
            if build.statements:
                self._session.execute(";\n".join(build.statements))

        try:
            if build.needs_lock:
                self._session.patiently(
                    attempt,
                    f"building a foreign key of {self.table}",
                    lambda: self._holder(*self.references()),
                )
            else:
                attempt()
        except errors.ConstraintError as found:
            duplicate = loader.find_duplicate(self._session, shadow.qualified, build.unique)
            if duplicate is not None and set(duplicate) == set(key):
                raise errors.DuplicateKeyError(self.table, duplicate) from found
            row = loader.find_row(self._session, shadow.qualified, key, found.reason)
            if duplicate is not None:
                raise errors.UniqueError(self.table, duplicate, row=row) from found
            raise found.of(self.table, key=row) from found

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table; inside `transaction` or in one of its own."""
        typed = self._typed_columns(name, columns)
        described = self.describe() if name == self.table else None
        fields = {column.name: column.field for column in described.columns} if described else {}
        schema = pa.schema([fields.get(column.name, column.field()) for column in typed])
        clause, alias = self.selected(name, selection)
        query = f"SELECT {reader.select_list(typed, f'{alias}.')} FROM {clause}"
        self._loader.finish()
        yield from reader.batches(self._session, query, typed, schema, 65536, self.table)

    def readiness(self, intent: base.Intent) -> base.Readiness:
        """Return what would keep a run from doing what it intends."""
        return readiness.find(self._session, self._schema, self._relation(), intent)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one snapshot for all reads of a block."""
        self._loader.finish()
        with self._session.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
            yield

    # --- publishing -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a block in one transaction; readers go on.

        Where a unique index over the key tells of rows that two insert, it sees one snapshot, and
        writers go on as well. Else they wait for its end: a row that somebody writes between the
        merge and its proof would fail the proof.
        """
        table = self.describe() if key and not others else None
        if table is not None and table.is_unique_over(key):
            with self._beside_writers():
                yield
            return
        self._loader.finish()
        tables = sorted([self.table, *(other.table for other in others)])
        found = [catalog.find(self._session, self._schema, table) for table in tables]
        relations = [relation for relation in found if relation is not None]
        try:
            with self._session.transaction():
                self._lock_writers_out(relations)
                self._wait_for_rows()
                yield
        except errors.TemporaryError as busy:
            if not session_module.has_waited(busy) or self._wait_s is None:
                raise
            holder = readiness.holder(self._session, relations)
            raise errors.LockBusyError(self.table, self._wait_s, holder) from busy

    @contextlib.contextmanager
    def _beside_writers(self) -> Iterator[None]:
        self._loader.finish()
        try:
            # It waits for nobody: a writer who waits for it a second looks for a deadlock, and
            # would be the one to give up.
            with self._session.transaction(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = 1"
            ):
                yield
        except (errors.TemporaryError, errors.ConstraintError, errors.DuplicateKeyError) as found:
            if session_module.is_crossed(found):
                raise errors.CrossedError(found.message) from found
            raise

    def _lock_writers_out(self, relations: Sequence[catalog.Relation]) -> None:
        """Lock tables against writers, in short attempts: whoever comes meanwhile waits behind.

        Raises:
            errors.LockBusyError: a transaction has written them all the time.
        """
        if not relations:
            return
        places = ", ".join(relation.qualified for relation in relations)
        wait_s = session_module.LOCK_PATIENCE_S if self._wait_s is None else self._wait_s
        wait = waiting.Wait(self.table, wait_s, self._session.stop, longest_poll_s=_LONGEST_PAUSE_S)
        while True:
            try:
                with self._session.savepoint():
                    self._session.execute(
                        f"SET LOCAL lock_timeout = {session_module.LOCK_ATTEMPT_MS};"
                        f" LOCK TABLE {places} IN SHARE ROW EXCLUSIVE MODE"
                    )
                return
            except errors.TemporaryError as busy:
                if not session_module.has_waited(busy):
                    raise
            wait.pause(lambda: readiness.holder(self._session, relations))

    def _wait_for_rows(self) -> None:
        """Bound the waiting for rows that a reader has locked: none of it was in the way so far."""
        wait_ms = 0 if self._wait_s is None else max(1, round(self._wait_s * 1000))
        self._session.execute(f"SET LOCAL lock_timeout = {wait_ms}")

    def _holder(self, *tables: str) -> str | None:
        """Return who reads or writes tables beside the target, or itself."""
        found = [catalog.find(self._session, self._schema, table) for table in tables]
        return readiness.holder(self._session, found, with_readers=True)

    def references(self) -> frozenset[str]:
        """Return the tables that foreign keys of this one refer to."""
        relation = self._relation()
        return frozenset() if relation is None else catalog.parents(self._session, relation)

    def foreign_keys(self) -> tuple[base.ForeignKey, ...]:
        """Return its foreign keys and those of others to it."""
        relation = self._relation()
        return () if relation is None else tuple(catalog.foreign_keys(self._session, relation))

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place; return the rows replaced."""
        return self.swap_together([base.Exchange(self, shadow)], names)[0]

    def swap_keeping(self, shadow: str, names: run_module.TemporaryNames, keep: str) -> int:
        """Put the shadow in the target's place; keep the replaced table under another name."""
        return self.swap_together([base.Exchange(self, shadow, keep)], names)[0]

    def swap_together(
        self, exchanges: Sequence[base.Exchange], names: run_module.TemporaryNames
    ) -> list[int]:
        """Put shadows in the places of their targets in one transaction."""
        try:
            return swap_module.swap(self._session, [_part(one) for one in exchanges])
        finally:
            for one in exchanges:
                _own(one)._forget()

    def kept(self, names: run_module.TemporaryNames) -> list[str]:
        """Return the tables that swaps kept; a run id sorts by its time."""
        return self._beside([names.prefix("prev", self.table)])

    def adopt(self, kept: str) -> None:
        """Give a kept table the target's foreign keys, and plan how its parts get their names."""
        relation, found = self._relation(), catalog.find(self._session, self._schema, kept)
        if relation is None or found is None:
            raise errors.ConfigError(f"there is no table {self.table if found else kept}")
        self.disown(kept)
        self._shadows[kept] = aside.adopted(self._session, relation, found)
        self.finish_load(kept, ())

    def disown(self, kept: str) -> None:
        """Drop the foreign keys that `adopt` built."""
        self._shadows.pop(kept, None)
        found = catalog.find(self._session, self._schema, kept)
        if found is not None:
            self._session.patiently(
                lambda: aside.drop_foreign_keys(self._session, found),
                f"parting from {kept}",
                lambda: self._holder(kept),
            )

    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there; works after a stop and a failed load, too."""
        self._loader.forget(name)
        self._shadows.pop(name, None)
        self._typed.pop(name, None)
        try:
            self._session.execute(f"DROP TABLE IF EXISTS {self.qualified(name)}", can_stop=False)
        except errors.EventTriggerError as refused:
            if catalog.find(self._session, self._schema, name) is not None:
                self._leave([name], refused)

    def _leave(self, left: Sequence[str], refused: errors.EventTriggerError) -> None:
        """Say that tables cannot be dropped; they take no room from now on."""
        for name in left:
            self._session.execute(f"TRUNCATE {self.qualified(name)}", can_stop=False)
        _LOGGER.warning("left empty: %s: %s", errors.listed(left), refused)

    # --- the lock -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the advisory lock of schema and table."""
        self._session.execute(
            "SELECT set_config('application_name', %s, false)", [f"tmg_etl {run_id}"]
        )
        with self._lock.held(run_id, wait_s):
            self._wait_s = wait_s
            yield

    def check_lock(self) -> None:
        """Ask the server whether the lock's connection still holds it."""
        self._loader.finish()
        self._lock.check(self._session)

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Drop what runs left beside this target; return the names."""
        self._loader.abandon()
        names_found = self._beside([names.prefix(kind_name, self.table) for kind_name in _KINDS])
        removed: list[str] = []
        try:
            for name in names_found:
                self._drop_leftover(name)
                removed.append(name)
        except errors.EventTriggerError as refused:
            self._leave(names_found[len(removed) :], refused)
        return removed

    def _beside(self, prefixes: list[str]) -> list[str]:
        found = self._session.rows(
            "SELECT c.relname FROM pg_catalog.pg_class AS c"
            " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r'"
            " AND EXISTS (SELECT 1 FROM unnest(%s::text[]) AS p WHERE starts_with(c.relname, p))"
            " ORDER BY c.relname",
            [self._schema, prefixes],
        )
        return [str(name) for (name,) in found]

    def _drop_leftover(self, name: str) -> None:
        def attempt() -> None:
            self._session.execute(f"DROP TABLE IF EXISTS {self.qualified(name)}")

        self._session.patiently(
            attempt, f"removing {name}, which an earlier run left", lambda: self._holder(name)
        )

    def close(self) -> None:
        """Close the main connection; the lock's ends with its block."""
        if not self._is_guest:
            self._session.close()


def _own(exchange: base.Exchange) -> PostgresTarget:
    assert isinstance(exchange.target, PostgresTarget)
    return exchange.target


def _part(exchange: base.Exchange) -> swap_module.Exchange:
    target = _own(exchange)
    relation = target._relation()
    shadow = target._shadows.pop(exchange.shadow)
    return swap_module.Exchange(target.table, relation, shadow, exchange.keep)
