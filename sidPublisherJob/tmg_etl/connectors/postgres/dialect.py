"""What PostgreSQL says in a way of its own: the clauses of merges and proofs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, merge, sql
from tmg_etl.connectors.postgres import catalog, kind, loader
from tmg_etl.connectors.postgres import session as session_module

#: Whether the server hashes the bytes that we do, and as we do: it would not on a big-endian
#: processor, and hashes texts in its own encoding.
_HAS_LOOKUP3 = (
    "current_setting('server_encoding') = 'UTF8'"
    " AND hashtextextended('tmg_etl', 0) = 2113161740275937766"
)

#: A target of at most so many times the size of what is staged is read as a whole: a guess, where
#: reading in one go and looking up each key cost about the same.
_WHOLE_TIMES = 10
_HAS_MERGE = 150_000
#: Of one hash or sort, of which a merge has one at a time; a hash may take twice as much.
_MERGE_MEMORY_KB = 131_072


class PostgresDialect(merge.SqlTarget):
    """A target's driver, its clauses, and what is known of the tables that they name.

    Args:
        session: the main connection.
        schema: the connection's `schema`; None means the search path.
        table: the table's name, as one identifier.
    """

    counts_inserts = True

    def __init__(self, session: session_module.Session, schema: str | None, table: str) -> None:
        self.table = table
        self._session = session
        # Rows that row-level security hides would be missing without a word: an error instead.
        if not session.value(f"SELECT {_HAS_LOOKUP3}; SET row_security = off"):
            text = dataclasses.replace(self.capabilities.text, digest=base.Digest.SHA256)
            self.capabilities = dataclasses.replace(self.capabilities, text=text)
        self._schema = catalog.schema_of(session, schema, table)
        self._loader = loader.Loader(session, table)
        self._typed: dict[str, dict[str, kind.Typed]] = {}
        self._described: base.Table | None = None
        self._is_described = False
        self._needs_override = False
        self._has_heirs = False
        self._can_merge = False
        self._is_partitioned = False

    # --- the driver -----------------------------------------------------------------------------

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement on the main connection; return the rows it touched."""
        self._loader.finish()
        return self._session.execute(sql, parameters).rowcount

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query on the main connection."""
        self._loader.finish()
        return self._session.rows(sql, parameters)

    # --- the dialect ----------------------------------------------------------------------------

    def qualified(self, name: str) -> str:
        """Return a table's name with its schema."""
        schema = "pg_temp" if name in self.own_tables else self.quote(self._schema)
        return f"{schema}.{self.quote(name)}"

    def own_rows(self, name: str) -> str:
        """Return a table's name, without those that inherit from it; partitions are the table."""
        has_heirs = name == self.table and self.describe() is not None and self._has_heirs
        return f"ONLY {self.qualified(name)}" if has_heirs else self.qualified(name)

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells differ in any byte.

        Equality is wider than that for -0.0, for text under some collations, for 1.5 and 1.50 in
        JSON and in a numeric without scale; and ``json`` has none.
        """
        if base.is_json(field):
            left, right = f"{left}::jsonb::text", f"{right}::jsonb::text"
        elif pa.types.is_string(field.type):
            left, right = f'{left}::text COLLATE "C"', f'{right}::text COLLATE "C"'
        elif pa.types.is_float64(field.type):
            left, right = f"float8send({left})", f"float8send({right})"
        elif pa.types.is_float32(field.type):
            left, right = f"float4send({left})", f"float4send({right})"
        return f"{left} IS DISTINCT FROM {right}"

    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return the md5 of the row's canonical text."""
        return f"md5({kind.row_text(self._typed_columns(table, columns))})"

    def row_hash(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the row's hash by the digest that this server can."""
        typed = self._typed_columns(table, columns)
        if self.capabilities.text.digest is base.Digest.LOOKUP3:
            return kind.row_hash(typed, f"{alias}.")
        text = kind.row_text(typed, f"{alias}.")
        return f"substr(sha256(convert_to({text}, 'UTF8'))::text, 2, 16)::bit(60)::bigint"

    def attempt(self) -> contextlib.AbstractContextManager[None]:
        """Return a savepoint: a statement that failed would end the transaction."""
        return self._session.savepoint()

    def insert_clause(self, columns: Sequence[str]) -> str:
        """Return the columns; an identity that is always generated takes values all the same."""
        self.describe()
        override = " OVERRIDING SYSTEM VALUE" if self._needs_override else ""
        return f"({self.names(columns)}){override}"

    def prepare_keys(self, staging: str, key: Sequence[str]) -> None:
        """Let the planner know how many rows are staged; it then joins by hash without an index."""
        # Of a tenth of the usual sample: how many rows and how wide is all that a join asks for.
        self.run(
            "SET default_statistics_target = 10;"
            f" ANALYZE {self.qualified(staging)}; RESET default_statistics_target"
        )

    def settle_plans(self, staging: str, key: Sequence[str]) -> None:
        """Rule out the nested loop, but where each turn of it is one lookup in a unique index.

        The planner takes a table that was empty when it planned for empty, and so loops over what
        the same statement is inserting; one whose statistics are old is no better known. A hash
        that does not fit in memory would write and read both tables again, and the rows that it
        finds would be changed in an order in which each is on another page.
        """
        table = self.describe()
        can_look_up = table is not None and table.is_unique_over(key)
        is_local = not self.is_rehearsing
        held, staged = map(_size, map(self.qualified, (self.table, staging)))
        self.rows(
            "SELECT set_config('enable_nestloop', CASE"
            f" WHEN {can_look_up} AND {held} > {_WHOLE_TIMES} * {staged} THEN 'on' ELSE 'off' END,"
            f" {is_local}), set_config('work_mem', greatest({_MERGE_MEMORY_KB},"
            f" pg_size_bytes(current_setting('work_mem')) / 1024)::text, {is_local})"
        )

    def writes_at_once(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether the server has MERGE, knows what it inserts, and no rule rewrites it.

        A row that moves to another partition is inserted there, as far as the server counts.
        """
        table = self.describe()
        if table is None or not self._can_merge or table.other_keys(key, columns):
            return False
        return not self._is_partitioned or table.is_unique_over(key)

    def _write_at_once(self, work: merge.Upsert, seen: merge.Survey) -> tuple[int, int]:
        """Write by MERGE, which can join by hash."""
        place = session_module.literal(self.qualified(self.table))
        inserts = (
            "SELECT coalesce((SELECT sum(pg_stat_get_xact_tuples_inserted(relid))"
            f" FROM pg_partition_tree({place})),"
            f" pg_stat_get_xact_tuples_inserted({place}::regclass))"
        )
        before = self._session.value(inserts)
        touched = self.run(
            f"MERGE INTO {self.own_rows(self.table)} USING {work.source} AS {sql.STAGED}"
            f" ON {self.key_match(work.key)}"
            f" WHEN MATCHED AND ({self._differences(work.differing, work.key)})"
            f" THEN UPDATE SET {self._assignments(work.differing, work.key)}"
            f" WHEN NOT MATCHED THEN INSERT {self.insert_clause(work.columns)}"
            f" VALUES ({self.names(work.columns, sql.STAGED)})"
        )
        inserted = int(self._session.value(inserts) - before)
        return touched - inserted, inserted

    def _rewrite_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        keys, table = self.names(key), self.qualified(staging)
        order = self._latest_first(order_by) or keys
        return self.run(
            f"DELETE FROM {table} WHERE ctid IN (SELECT version FROM (SELECT ctid AS version,"
            f" row_number() OVER (PARTITION BY {keys} ORDER BY {order}) AS _tmg_version"
            f" FROM {table}) AS versions WHERE _tmg_version > 1)"
        )

    def _typed_columns(self, table: str, columns: Sequence[str]) -> list[kind.Typed]:
        """Return how columns of a table beside the target, or of itself, travel."""
        if table not in self._typed:
            self._loader.finish()
            found = catalog.result_columns(
                self._session, self.qualified(table), nested_as_json=False
            )
            self._typed[table] = {column.name: column for column in found}
        known = self._typed[table]
        missing = [name for name in columns if name not in known]
        if missing:
            raise errors.ConfigError(f"{self.table} has no column {missing[0]!r}")
        return [known[name] for name in columns]

    # --- describing -----------------------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return what the catalogue says of the target, or None."""
        if not self._is_described:
            found: catalog.Relation | None = None

            def identity() -> int | None:
                nonlocal found
                found = self._relation()
                return found.oid if found else None

            self._described = sql.steadily(self.table, lambda: self._describe(found), identity)
            self._is_described = True
        return self._described

    def _describe(self, relation: catalog.Relation | None) -> base.Table | None:
        if relation is None:
            return None
        catalog.require_table(relation)
        self._needs_override, self._has_heirs, can_merge = self._session.rows(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attidentity = 'a'"
            f" AND attrelid = {relation.oid}), {relation.kind == 'r'}"
            f" AND EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = {relation.oid}),"
            " current_setting('track_counts')::boolean AND NOT EXISTS"
            f" (SELECT FROM pg_catalog.pg_class WHERE oid = {relation.oid} AND relhasrules)"
        )[0]
        self._can_merge = can_merge and self._session.raw.info.server_version >= _HAS_MERGE
        self._is_partitioned = relation.kind == "p"
        return catalog.describe(self._session, relation)

    def _relation(self) -> catalog.Relation | None:
        self._loader.finish()
        return catalog.find(self._session, self._schema, self.table)

    def _forget(self) -> None:
        self._is_described = False
        self._typed.clear()


def _size(place: str) -> str:
    """Return the expression of a table's bytes, those of its partitions with it."""
    name = session_module.literal(place)
    parts = f"SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree({name})"
    return f"greatest(pg_relation_size({name}), ({parts}))"
