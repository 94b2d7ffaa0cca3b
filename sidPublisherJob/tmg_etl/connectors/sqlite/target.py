"""A table of a SQLite file as a target: built aside, proved by reading back, swapped or merged."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, filelock, room
from tmg_etl.connectors.sqlite import (
    catalog,
    database,
    datatype,
    definition,
    dialect,
    load,
    rename,
    source,
)

_KINDS = ("shadow", "stage", "latest", "old")
_SCAN_ROWS = 65_536


class SQLiteTarget(dialect.SQLiteDialect):
    """One table of a SQLite file.

    A swap is one transaction: the old table is renamed away, the shadow takes its name, the old
    one is dropped, and the indexes that were built beside get their names. Views and triggers of
    other tables that mention the name mean the new table.

    Args:
        location: the file; opened for writing by `lock` or `create`, else for reading when it is
            needed.
        table: the target's name; its case is ignored, as SQLite does.
        stop: interrupts statements.
        session: of another table of the file, which closes it; None is one of its own.
    """

    capabilities = base.Capabilities(
        ingest=base.Ingest.ARROW,
        proof=base.Proof.READ_BACK,
        can_rehearse=True,
        can_keep=True,
        can_group=True,
        folds_case=True,
        has_nan=False,
        has_infinity=True,
        has_negative_zero=False,
    )

    def __init__(
        self,
        location: database.Location,
        table: str,
        stop: run_module.StopFlag,
        session: database.Session | None = None,
    ) -> None:
        super().__init__(session or database.Session(location, stop), table)
        self._is_guest = session is not None
        # What a table that is being built will need: the indexes to create, by the name they get.
        self._indexes: dict[str, dict[str, str]] = {}
        # What the target was when a shadow of it was made.
        self._made_from: dict[str, list[tuple[object, ...]]] = {}
        path = filelock.lock_path(location.path, table.lower())
        self._lock = filelock.FileLock(path, f"{table} of {location.path}")

    def beside(self, table: str) -> SQLiteTarget:
        """Return another table over the same session."""
        session = self._session
        return SQLiteTarget(session.location, table, session.stop, session)

    # --- lock and leftovers ---------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the target for this run, and the file, if it is there, open for writing."""
        began = time.monotonic()
        with self._lock.hold(run_id, wait_s, self._session.stop):
            left_s = max(0.0, wait_s - (time.monotonic() - began))
            self._session.wait_at_most(left_s, has_loaded=False)
            if room.is_there(self._session.location.path):
                self._session.open(writable=True)
            self._session.wait_at_most(wait_s, has_loaded=True)
            self._known = None
            yield

    def check_lock(self) -> None:
        """Ask the file system whether this run still holds the lock."""
        self._lock.check()

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Drop the temporary tables of every run beside this target."""
        if not self._session.is_open and not room.is_there(self._session.location.path):
            return []
        self._session.open(writable=True)
        found = catalog.names(self._session, *(names.prefix(kind, self.table) for kind in _KINDS))
        for name in found:
            self.drop(name)
        return found

    # --- tables ---------------------------------------------------------------------------------

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return what `create` would make of `schema`."""
        columns = []
        for field in schema:
            native = datatype.created(field, self.table)
            nullable = field.nullable and field.name not in key
            planned = datatype.declared(field.name, native, nullable=nullable)
            assert planned is not None
            columns.append(base.Column(planned, native))
        return base.Table(tuple(columns), primary_key=tuple(key))

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Create a table with `key` as its primary key, in a new file where there is none."""
        # Not before: a run that finds nothing to publish would leave an empty file.
        self._session.open(writable=True)
        planned = self.planned(schema, key)
        lines = [
            f"{self.quote(column.name)} {column.native}"
            f"{'' if column.field.nullable else ' NOT NULL'}"
            for column in planned.columns
        ]
        if key:
            lines.append(f"PRIMARY KEY ({self.names(key)})")
        self._remember(name, (), indexes)
        self._made_from[name] = []
        self._extra[name] = planned.schema
        self.run(f"CREATE TABLE {self.quote(name)} ({', '.join(lines)})")

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Create an empty copy of the target."""
        self._known = None
        self._made_from[name] = catalog.facts(self._opened(), self.table)
        found = self._existing()
        have = {index.lower() for index in found.table.indexes}
        self._remember(
            name, found.indexes, [index for index in indexes if index.name.lower() not in have]
        )
        self.run(f"CREATE TABLE {self.quote(name)} {definition.body(found.sql)}")

    def _remember(
        self,
        name: str,
        existing: Sequence[tuple[str, str]],
        indexes: Sequence[base.Index],
    ) -> None:
        statements = dict(existing)
        for index in indexes:
            if catalog.has_object(self._opened(), "index", index.name):
                raise errors.ConfigError(
                    f"{self.table}: the index name {index.name!r} is taken by another table",
                    hint="index names are unique in a SQLite file; rename it in the transfer",
                )
            unique = "UNIQUE " if index.unique else ""
            statements[index.name] = (
                f"CREATE {unique}INDEX {self.quote(index.name)} ON {self.quote(self.table)}"
                f" ({self.names(index.columns)})"
            )
        self._indexes[name] = statements

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty table with columns of the target and others."""
        lines = []
        found = self._existing() if columns else None
        natives = {column.name: column.native for column in found.table.columns} if found else {}
        for column in columns:
            assert found is not None
            collation = found.collations.get(column.lower())
            suffix = f" COLLATE {self.quote(collation)}" if collation else ""
            lines.append(f"{self.quote(column)} {natives[column]}{suffix}")
        lines += [
            f"{self.quote(field.name)} {datatype.created(field, self.table)}" for field in extra
        ]
        self._extra[name] = self.planned(extra, ()).schema
        self.run(f"{self.create_verb(name)} {self.quote(name)} ({', '.join(lines)})")

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add nullable columns to the target or a shadow."""
        for field in schema:
            self.run(
                f"ALTER TABLE {self.quote(name or self.table)} ADD COLUMN {self.quote(field.name)}"
                f" {datatype.created(field, self.table)}"
            )
        if name is None:
            self._known = None
        else:
            self._extra[name] = self.planned(schema, ()).schema

    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there, also when a stop was asked for."""
        if self._session.is_open and self._session.is_writable:
            self._session.drop(self.quote(name))
        self._indexes.pop(name, None)
        self._extra.pop(name, None)

    # --- loading --------------------------------------------------------------------------------

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch in a transaction of its own.

        Readers are kept out only while its pages are written at the commit.
        """
        columns = batch.arrow.schema.names
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {self.quote(name)} ({self.names(columns)}) VALUES ({marks})"
        rows = load.Rows(batch.arrow)
        session = self._opened()
        try:
            with session.transaction(), session.stop.cancelling(session.connection.interrupt):
                session.connection.executemany(statement, rows)
        except sqlite3.IntegrityError as error:
            raise load.explain(error, batch, rows.taken - 1, self.table, key) from error
        except sqlite3.Error as error:
            session.stop.check()
            raise database.translate(error, session.subject) from error
        return int(batch.arrow.num_rows)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Build the secondary indexes, under names of their own."""
        built = self._built_indexes(name)
        for index, statement in self._indexes.get(name, {}).items():
            temporary = self.quote(built[index])
            try:
                with self.transaction():
                    self.run(definition.index_sql(statement, temporary, self.quote(name)))
            except errors.DataError as error:
                raise self._refused_index(name, index, error) from error
        if catalog.has_object(self._opened(), "table", "sqlite_stat1"):
            self.run(f"ANALYZE {self.quote(name)}")

    def _built_indexes(self, name: str) -> dict[str, str]:
        """Return the names under which indexes are built, by the names that they get."""
        return {
            index: f"{name}_{position}"
            for position, index in enumerate(self._indexes.get(name, {}))
        }

    def _refused_index(self, name: str, index: str, error: errors.DataError) -> errors.DataError:
        planned = definition.index_columns(self._indexes[name][index])
        found = []
        if planned:
            listed = self.names(planned)
            filled = " AND ".join(f"{self.quote(column)} IS NOT NULL" for column in planned)
            found = self.rows(
                f"SELECT {listed} FROM {self.quote(name)} WHERE {filled}"
                f" GROUP BY {listed} HAVING COUNT(*) > 1 LIMIT 1"
            )
        if not found:
            return errors.DataError(f"{self.table}: the index {index} was refused: {error.message}")
        return errors.UniqueError(self.table, dict(zip(planned, found[0], strict=True)))

    # --- proof and publish ----------------------------------------------------------------------

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table as its columns are described."""
        clause, alias = self.selected(name, selection)
        fields = self._fields(name)
        schema = pa.schema([fields[column] for column in columns])
        listed = self.names(columns, alias)
        chunks = self._opened().chunks(f"SELECT {listed} FROM {clause}", _SCAN_ROWS)
        yield from source.batches(chunks, schema, self.table)

    def readiness(self, intent: base.Intent) -> base.Readiness:
        """Return what would keep a run from doing what it intends."""
        found = self._definition()
        size, rows = None, None
        if found is not None:
            # Looked for page by page below: to count them takes no longer.
            rows = int(self.rows(f"SELECT COUNT(*) FROM {self.quote(self.table)}")[0][0])
            # Not every build of SQLite has this table.
            with contextlib.suppress(errors.TmgEtlError):
                # None where the table has just gone.
                size = self.rows(
                    "SELECT SUM(pgsize) FROM dbstat WHERE aggregate = TRUE AND name IN"
                    " (SELECT name FROM sqlite_schema WHERE lower(tbl_name) = lower(?))",
                    [self.table],
                )[0][0]
        return room.readiness(self._session.location.path, size, rows, intent)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one snapshot for all reads of a block; writers may have to wait for its end."""
        session = self._opened()
        session.run("BEGIN")
        try:
            yield
        finally:
            session.finish_reading()
            session.rollback()

    @contextlib.contextmanager
    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a block in one transaction."""
        with self._opened().transaction():
            yield

    def references(self) -> frozenset[str]:
        """Return the tables that foreign keys of this one refer to."""
        return catalog.parents(self._opened(), self.table)

    def foreign_keys(self) -> tuple[base.ForeignKey, ...]:
        """Return its foreign keys and those of others to it."""
        return tuple(catalog.foreign_keys(self._opened(), self.table))

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place."""
        return self.swap_together([base.Exchange(self, shadow)], names)[0]

    def swap_keeping(self, shadow: str, names: run_module.TemporaryNames, keep: str) -> int:
        """Put the shadow in the target's place; keep the replaced table, without its indexes."""
        return self.swap_together([base.Exchange(self, shadow, keep)], names)[0]

    def kept(self, names: run_module.TemporaryNames) -> list[str]:
        """Return the tables that swaps kept; a run id sorts by its time."""
        return catalog.names(self._opened(), names.prefix("prev", self.table))

    def adopt(self, kept: str) -> None:
        """Build the target's indexes on a kept table, as on any shadow."""
        self.disown(kept)
        self._known = None
        self._made_from[kept] = catalog.facts(self._opened(), self.table)
        self._remember(kept, self._existing().indexes, [])
        self.finish_load(kept, ())

    def disown(self, kept: str) -> None:
        """Drop the indexes that `adopt` built."""
        for (index,) in self.rows(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?"
            " AND sql IS NOT NULL",
            [kept],
        ):
            self.run(f"DROP INDEX {self.quote(index)}")

    def swap_together(
        self, exchanges: Sequence[base.Exchange], names: run_module.TemporaryNames
    ) -> list[int]:
        """Put shadows in the places of their targets in one transaction."""
        parts = [(_own(one), one) for one in exchanges]
        for target, _ in parts:
            target._definition()
        self._session.finish_reading()
        try:
            with self.transaction():
                for target, one in parts:
                    if catalog.facts(self._session, target.table) != target._made_from[one.shadow]:
                        raise errors.AlteredError(target.table)
                replaced = [target._swap(one.shadow, names, one.keep) for target, one in parts]
        finally:
            for target, _ in parts:
                target._known = None
            # The driver's connection forgets what it knew of a schema that was rolled back.
            self._session.connection.execute("PRAGMA writable_schema = RESET")
        for target, one in parts:
            target._indexes.pop(one.shadow, None)
            target._extra.pop(one.shadow, None)
        return replaced

    def _swap(self, shadow: str, names: run_module.TemporaryNames, keep: str | None) -> int:
        """Put the shadow in the target's place, in a transaction; return the rows replaced."""
        found = self._known
        old = keep or names.table("old", self.table)
        name = self.quote(found.name if found else self.table)
        replaced = 0
        if found is not None:
            replaced = int(self.rows(f"SELECT COUNT(*) FROM {name}")[0][0])
            if definition.has_autoincrement(found.sql):
                rename.keep_sequence(self._session, found.name, shadow)
            self.run(f"ALTER TABLE {name} RENAME TO {self.quote(old)}")
        self.run(f"ALTER TABLE {self.quote(shadow)} RENAME TO {name}")
        if found is not None:
            self._part_from(old, found, is_kept=keep is not None)
        built = self._built_indexes(shadow)
        rename.indexes(self._session, built, self._indexes.get(shadow, {}))
        rename.statistics(self._session, shadow, found.name if found else self.table, built)
        return replaced

    def _part_from(self, old: str, found: catalog.Definition, *, is_kept: bool) -> None:
        if not is_kept:
            self.run(f"DROP TABLE {self.quote(old)}")
            return
        # Their names are wanted.
        for index, _ in found.indexes:
            self.run(f"DROP INDEX {self.quote(index)}")

    def close(self) -> None:
        """Disconnect."""
        if not self._is_guest:
            self._session.close()


def _own(exchange: base.Exchange) -> SQLiteTarget:
    assert isinstance(exchange.target, SQLiteTarget)
    return exchange.target
