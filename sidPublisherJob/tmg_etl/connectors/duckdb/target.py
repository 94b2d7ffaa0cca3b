"""A table of a DuckDB file as a target: built aside, proved by reading back, swapped or merged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, filelock, room
from tmg_etl.connectors.duckdb import (
    catalog,
    database,
    datatype,
    dialect,
    failure,
    load,
    memorylock,
    source,
)

_KINDS = ("shadow", "stage", "latest", "old")


class DuckDBTarget(dialect.DuckDBDialect):
    """One table of a DuckDB file.

    A swap is one transaction: the old table is dropped, the shadow renamed, the secondary indexes
    created. DuckDB refuses to rename a table that has any, so they are built in that step; nobody
    waits for it, because readers in other processes cannot have the file open while it is written,
    and readers in this process see their own snapshot.

    Args:
        session: of its own; opened for writing by `lock` or `create`, else for reading when it is
            needed.
        table: the target's name; its case is ignored, as DuckDB does.
        schema: database schema; None is ``main``.
    """

    capabilities = base.Capabilities(
        ingest=base.Ingest.ARROW,
        proof=base.Proof.READ_BACK,
        can_rehearse=True,
        can_keep=True,
        unique_at_end=True,
        can_group=True,
        folds_case=True,
        max_decimal=(38, 38),
    )

    def __init__(self, session: database.Session, table: str, schema: str | None) -> None:
        super().__init__(session, table, schema)
        self._catalog = catalog.Catalog(session, self._schema)
        self._known: catalog.Definition | None = None
        self._indexes: dict[str, list[tuple[str, str | None]]] = {}
        self._unique: dict[str, list[tuple[str, ...]]] = {}
        # What the target was when a shadow of it was made.
        self._made_from: dict[str, catalog.Definition | None] = {}
        self._is_guest = False
        self._wait_s = database.OPEN_WAIT_S
        identity = f"{self._schema}.{table}".lower()
        subject = f"{table} of {session.subject}"
        self._lock: filelock.FileLock | memorylock.MemoryLock
        if session.location.path is None:
            self._lock = memorylock.MemoryLock(session.location.key + identity, subject)
        else:
            path = filelock.lock_path(session.location.path, identity)
            self._lock = filelock.FileLock(path, subject)

    def beside(self, table: str) -> DuckDBTarget:
        """Return another table over the same session."""
        other = DuckDBTarget(self._session, table, self._schema)
        other._is_guest = True
        return other

    # --- lock and leftovers ---------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the target for this run, and the file, if it is there, open for writing."""
        began = time.monotonic()
        with self._lock.hold(run_id, wait_s, self._session.stop):
            self._wait_s = max(0.0, wait_s - (time.monotonic() - began))
            if self._session.exists:
                self._session.open(writable=True, wait_s=self._wait_s)
            self._known = None
            yield

    def check_lock(self) -> None:
        """Ask the file system whether this run still holds the lock."""
        self._lock.check()

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Drop the temporary tables of every run beside this target."""
        if not self._session.is_open and not self._session.exists:
            return []
        self._session.open(writable=True)
        found = self._catalog.names(*(names.prefix(kind, self.table) for kind in _KINDS))
        for name in found:
            self.drop(name)
        return found

    # --- tables ---------------------------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return what the catalogue knows of the target."""
        found = self._definition()
        return found.table if found else None

    def _definition(self) -> catalog.Definition | None:
        if self._known is None:
            if not self._session.is_open and not self._session.exists:
                return None
            self._opened()
            self._known = self._catalog.definition(self.table)
        return self._known

    def _existing(self) -> catalog.Definition:
        found = self._definition()
        if found is None:
            raise errors.ConfigError(f"{self._session.subject} has no table {self.table}")
        return found

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return what `create` would make of `schema`."""
        columns = []
        for field in schema:
            native = datatype.native(field, self.table)
            may_be_null = field.nullable and field.name not in key
            planned = datatype.planned_field(field).with_nullable(may_be_null)
            columns.append(base.Column(planned, native))
        return base.Table(tuple(columns), primary_key=tuple(key))

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Create a table with `key` as its primary key, in a new file where there is none."""
        # Not before: a run that finds nothing to publish would leave an empty file.
        self._session.open(writable=True, wait_s=self._wait_s)
        lines = [
            f"{self.quote(column.name)} {column.native}"
            f"{'' if column.field.nullable else ' NOT NULL'}"
            for column in self.planned(schema, key).columns
        ]
        if key:
            lines.append(f"PRIMARY KEY ({self.names(key)})")
        self._remember(name, (), indexes)
        self._made_from[name] = None
        self.run(f"CREATE TABLE {self.qualified(name)} ({', '.join(lines)})")

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Create an empty copy of the target."""
        self._known = None
        found = self._existing()
        self._made_from[name] = found.without_rows()
        have = {index.lower() for index in found.table.indexes}
        missing = [index for index in indexes if index.name.lower() not in have]
        self._remember(name, found.index_statements, missing)
        with self.transaction():
            self.run(f"CREATE TABLE {self.qualified(name)} {found.body}")
            self._comment(name, found.comments)

    def _remember(
        self,
        name: str,
        statements: Sequence[tuple[str, str, str | None]],
        indexes: Sequence[base.Index],
    ) -> None:
        kept = [
            (statement, self._index_comment(index, text)) for index, statement, text in statements
        ]
        for index in indexes:
            owner = self._catalog.index_owner(index.name)
            if owner is not None:
                raise errors.ConfigError(
                    f"{self.table}: the index name {index.name!r} is taken by table {owner}",
                    hint="index names are unique in a DuckDB schema; rename it in the transfer",
                )
            unique = "UNIQUE " if index.unique else ""
            statement = (
                f"CREATE {unique}INDEX {self.quote(index.name)} ON {self.qualified(self.table)}"
                f" ({self.names(index.columns)})"
            )
            kept.append((statement, None))
        self._indexes[name] = kept
        self._unique[name] = [index.columns for index in indexes if index.unique]
        known = self._known.table if self._known else None
        if known is not None and statements:
            self._unique[name] += [
                unique for unique in known.unique_keys if unique != known.primary_key
            ]

    def _index_comment(self, index: str, text: str | None) -> str | None:
        if text is None:
            return None
        name = f"{self.quote(self._schema)}.{self.quote(index)}"
        return f"COMMENT ON INDEX {name} IS {_literal(text)}"

    def _comment(self, name: str, comments: Sequence[tuple[str, str]]) -> None:
        for place, text in comments:
            place = place.format(table=self.qualified(name))
            self.run(f"COMMENT ON {place} IS {_literal(text)}")

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty table with columns of the target and others."""
        place, verb = self.qualified(name), self.create_verb(name)
        if not columns:
            lines = [f"{self.quote(field.name)} {self._native(field)}" for field in extra]
            self.run(f"{verb} {place} ({', '.join(lines)})")
            return
        self._existing()
        # A copy by query keeps types and collations, and no constraint.
        self.run(
            f"{verb} {place} AS SELECT {self.names(columns)}"
            f" FROM {self.qualified(self.table)} LIMIT 0"
        )
        self._add(name, extra)

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add nullable columns to the target or a shadow."""
        self._add(name or self.table, schema)
        if name is None:
            self._known = None

    def _add(self, name: str, schema: pa.Schema) -> None:
        for field in schema:
            self.run(
                f"ALTER TABLE {self.qualified(name)} ADD COLUMN {self.quote(field.name)}"
                f" {self._native(field)}"
            )

    def _native(self, field: pa.Field) -> str:
        return datatype.native(field, self.table)

    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there, also when a stop was asked for."""
        if self._session.is_open:
            with failure.explained(self._session.subject):
                self._session.cursor.execute(f"DROP TABLE IF EXISTS {self.qualified(name)}")
        self._indexes.pop(name, None)
        self._unique.pop(name, None)

    # --- loading --------------------------------------------------------------------------------

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch in a transaction of its own.

        One transaction for the whole load would keep what is not yet written in memory: 1.5
        million rows took 160 MB more than with one transaction for each batch.
        """
        if batch.arrow.num_rows == 0:
            return 0
        known = self._known.table if self._known else None
        loader = load.Loader(self._opened(), self.qualified(name), self.table, known)
        return loader.load(batch, key)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Check what the unique indexes will refuse; the swap builds the indexes."""
        for columns in self._unique.get(name, []):
            filled = " AND ".join(f"{self.quote(column)} IS NOT NULL" for column in columns)
            listed = self.names(columns)
            found = self.rows(
                f"SELECT {listed} FROM {self.qualified(name)} WHERE {filled}"
                f" GROUP BY {listed} HAVING COUNT(*) > 1 LIMIT 1"
            )
            if found:
                values = dict(zip(columns, found[0], strict=True))
                if set(columns) == set(key):
                    raise errors.DuplicateKeyError(self.table, values)
                raise errors.UniqueError(self.table, values)

    # --- proof and publish ----------------------------------------------------------------------

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table as its columns are described."""
        clause, alias = self.selected(name, selection)
        carriers = {
            carrier.field.name: carrier
            for carrier in source.read_carriers(self._opened(), self.qualified(name))
        }
        chosen = [carriers[column] for column in columns]
        listed = ", ".join(
            f"{carrier.expression(f'{alias}.{self.quote(carrier.field.name)}')}"
            f" AS {self.quote(carrier.field.name)}"
            for carrier in chosen
        )
        schema = pa.schema([carrier.field for carrier in chosen])
        for batch in self._session.batches(f"SELECT {listed} FROM {clause}", 65536):
            yield datatype.normal_batch(batch, schema, self.table)

    def readiness(self, intent: base.Intent) -> base.Readiness:
        """Return what would keep a run from doing what it intends."""
        path = self._session.location.path
        found = self._definition()
        if path is None:
            return base.Readiness()
        size, rows = None, None
        if found is not None:
            blocks, block_size = self.rows(
                "SELECT (SELECT COUNT(DISTINCT block_id) FROM pragma_storage_info(?)"
                " WHERE block_id >= 0), (SELECT any_value(block_size) FROM pragma_database_size())",
                [self.qualified(self.table)],
            )[0]
            size, rows = int(blocks) * int(block_size), found.table.row_estimate
        return room.readiness(path, size, rows, intent)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one snapshot for all reads of a block."""
        with self.transaction():
            yield

    @contextlib.contextmanager
    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a block in one transaction."""
        with self._opened().transaction():
            yield

    def references(self) -> frozenset[str]:
        """Return the tables that foreign keys of this one refer to."""
        return self._catalog.parents(self.table)

    def foreign_keys(self) -> tuple[base.ForeignKey, ...]:
        """Return its foreign keys and those of others to it."""
        return tuple(self._catalog.foreign_keys(self.table))

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place."""
        return self.swap_together([base.Exchange(self, shadow)], names)[0]

    def swap_keeping(self, shadow: str, names: run_module.TemporaryNames, keep: str) -> int:
        """Put the shadow in the target's place; keep the replaced table, without its indexes."""
        return self.swap_together([base.Exchange(self, shadow, keep)], names)[0]

    def kept(self, names: run_module.TemporaryNames) -> list[str]:
        """Return the tables that swaps kept; a run id sorts by its time."""
        return self._catalog.names(names.prefix("prev", self.table))

    def adopt(self, kept: str) -> None:
        """Remember the target's indexes, which the swap will build."""
        self._known = None
        found = self._existing()
        self._made_from[kept] = found.without_rows()
        self._remember(kept, found.index_statements, ())

    def swap_together(
        self, exchanges: Sequence[base.Exchange], names: run_module.TemporaryNames
    ) -> list[int]:
        """Put shadows in the places of their targets in one transaction."""
        parts = [(_own(one), one) for one in exchanges]
        for target, _ in parts:
            target._definition()
        with self.transaction():
            for target, one in parts:
                target._require_unaltered(one.shadow)
            replaced = [target._leave(one.keep) for target, one in parts]
            for target, one in parts:
                target._take_place(one.shadow)
        for target, one in parts:
            target._known = None
            target._indexes.pop(one.shadow, None)
            target._unique.pop(one.shadow, None)
        self._checkpoint()
        return replaced

    def _require_unaltered(self, shadow: str) -> None:
        now = self._catalog.definition(self.table)
        if self._made_from[shadow] != (now.without_rows() if now else None):
            raise errors.AlteredError(self.table)

    def _leave(self, keep: str | None) -> int:
        """Drop the table or put it aside; return its rows."""
        found = self._known
        if found is None:
            return 0
        replaced = int(self.rows(f"SELECT COUNT(*) FROM {self.qualified(self.table)}")[0][0])
        self._put_aside(found, keep)
        return replaced

    def _take_place(self, shadow: str) -> None:
        # The catalogue's spelling stays, whatever the config's is.
        name = self._known.name if self._known else self.table
        self.run(f"ALTER TABLE {self.qualified(shadow)} RENAME TO {self.quote(name)}")
        for statement, comment in self._indexes.get(shadow, []):
            self.run(statement)
            if comment is not None:
                self.run(comment)

    def _put_aside(self, found: catalog.Definition, keep: str | None) -> None:
        if keep is None:
            self.run(f"DROP TABLE {self.qualified(found.name)}")
            return
        # Their names are wanted, and a table that has any cannot be renamed.
        for index, _, _ in found.index_statements:
            self.run(f"DROP INDEX {self.qualified(index)}")
        self.run(f"ALTER TABLE {self.qualified(found.name)} RENAME TO {self.quote(keep)}")

    def _checkpoint(self) -> None:
        """Write the log into the file, unless others in this process are reading it.

        The swap is committed: a stop that comes now does not make a stopped run of it.
        """
        with contextlib.suppress(errors.TemporaryError, errors.Stopped):
            self.run("CHECKPOINT")

    def close(self) -> None:
        """Give the file back."""
        if not self._is_guest:
            self._session.close()


def _own(exchange: base.Exchange) -> DuckDBTarget:
    assert isinstance(exchange.target, DuckDBTarget)
    return exchange.target


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
