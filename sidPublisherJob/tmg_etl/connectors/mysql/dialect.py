"""What MySQL and MariaDB say in a way of their own: the clauses of merges and proofs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import merge, sql
from tmg_etl.connectors.mysql import catalogue, definition, exchange
from tmg_etl.connectors.mysql import session as session_module
from tmg_etl.connectors.mysql import type as type_module

_RENEWED = re.compile(r"^  `((?:[^`]|``)+)` .* ON UPDATE ", re.MULTILINE | re.IGNORECASE)
#: An index that refuses a row, as SHOW CREATE TABLE has it.
_UNIQUE = re.compile(r"^  (?:PRIMARY|UNIQUE) KEY .*", re.MULTILINE)


class MySQLDialect(merge.SqlTarget):
    """A target's driver, its clauses, and what is known of the tables that they name.

    Args:
        session: the main connection.
        table: one identifier, as the config has it.
    """

    quote_mark = "`"
    nulls_last = ""  # null is the smallest value
    keeps_writers_out = False
    counts_inserts = True

    def __init__(self, session: session_module.Session, table: str) -> None:
        self.table = table
        self._session = session
        self._database = session.place.database
        self._entries: dict[str, catalogue.Entry | None] = {}
        # Loaded tables that have an index over their key, each with the column that marks rows
        # whose key the target has; None where the target looks keys up itself.
        self._keyed: dict[str, str | None] = {}
        self._merged: tuple[str, Sequence[str]] = ("", ())

    # --- the driver -----------------------------------------------------------------------------

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement on the main connection; return the rows it touched."""
        return self._session.run(sql, parameters, table=self.table)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query on the main connection; a stop signal ends it."""
        with self._session.cancelling():
            return self._session.rows(sql, parameters)

    # --- clauses of the dialect -----------------------------------------------------------------

    def qualified(self, name: str) -> str:
        """Return a table's name with its database."""
        return exchange.qualified(self._database, name)

    def same(self, left: str, right: str) -> str:
        """Return the null-safe equality."""
        return f"{left} <=> {right}"

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells differ in any byte, whatever the collation."""
        if pa.types.is_string(field.type):
            return f"NOT (CAST({left} AS BINARY) <=> CAST({right} AS BINARY))"
        return f"NOT ({left} <=> {right})"

    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return a digest of the row's canonical text."""
        return f"SHA2({self._row_text(table, self.quote(table), columns)}, 256)"

    def row_hash(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the number that a row adds to a fingerprint."""
        return type_module.row_hash(self._row_text(table, alias, columns))

    def hash_total(self, value: object) -> int:
        """Return the sum of row hashes.

        Raises:
            errors.DataError: the text of a row exceeds the server's ``max_allowed_packet``, where
                CONCAT_WS returns null instead of failing.
        """
        too_long, total = divmod(super().hash_total(value), type_module.TOO_LONG)
        if too_long:
            limit = self._session.value("SELECT @@max_allowed_packet")
            raise errors.DataError(
                f"{self.table}: {too_long} rows are longer as text than the server's"
                f" max_allowed_packet of {limit} bytes and cannot be verified",
                hint="raise max_allowed_packet on the server",
            )
        return total

    def _row_text(self, table: str, alias: str, columns: Sequence[str]) -> str:
        kinds = self._entry_of(table).kinds
        return type_module.row_text(
            [kinds[name] for name in columns],
            [f"{alias}.{self.quote(name)}" for name in columns],
            has_sequence=self._session.has_sequence,
        )

    def update_from(self, source: str, assignments: str, key_match: str, condition: str) -> str:
        """Return the UPDATE by join."""
        joined = self._lookups(source, *self._merged)
        return f"UPDATE {joined} SET {assignments} WHERE {condition}"

    def settle_plans(self, staging: str, key: Sequence[str]) -> None:
        """Remember what is merged: its statements look each key up by an index that they name."""
        self._merged = staging, key

    def joined(self, staging: str, key: Sequence[str], name: str) -> str:
        """Return both tables, one of them looked up by an index."""
        if name != self.table:
            return super().joined(staging, key, name)
        return self._lookups(self.qualified(staging), staging, key)

    def _lookups(self, source: str, staging: str, key: Sequence[str]) -> str:
        """Return the join that reads one table and looks its keys up in the other.

        Nested loops are all that an UPDATE or a DELETE of several tables can do; which table is
        read, and that the other is not, is no choice of the planner here.
        """
        target, match = self.qualified(self.table), self.key_match(key)
        staged = f"{source} AS {sql.STAGED}"
        index = self._entry_of(self.table).lookup(key)
        if index is not None:
            return f"{staged} STRAIGHT_JOIN {target}{self._by(index)} ON {match}"
        # A subquery takes no hint.
        hint = "" if source.startswith("(") else self._by(self._lookup(staging, key))
        return f"{target} STRAIGHT_JOIN {staged}{hint} ON {match}"

    def joins_well(self, key: Sequence[str]) -> bool:
        """Return whether an index of the target has the key."""
        return self._entry_of(self.table).lookup(key) is not None

    def renewed(self) -> frozenset[str]:
        """Return the columns of ON UPDATE CURRENT_TIMESTAMP."""
        found = _RENEWED.findall(self._entry_of(self.table).definition)
        return frozenset(name.replace("``", "`") for name in found)

    def surveyed(self, staging: str, key: Sequence[str]) -> str:
        """Return staged rows, each looked up, and locked as by the UPDATE that may follow.

        A plain SELECT would see the target as it was before those who write there now.
        """
        target, match = self.qualified(self.table), self.key_match(key)
        held = f"{target}{self._by(self._entry_of(self.table).lookup(key))}"
        # MySQL asks for the right to change what it locks.
        of = "" if self._session.is_mariadb else f" OF {self.quote(self.table)}"
        staged = f"{self.qualified(staging)} AS {sql.STAGED}"
        return f"{staged} LEFT JOIN {held} ON {match} FOR UPDATE{of}"

    def writes_at_once(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether ON DUPLICATE KEY UPDATE says it all: it asks every unique index.

        It takes each row for one to insert first: no trigger may see that, nor the counter of rows,
        which holds other writers up. Of a JSON column it leaves what differs in its digits only.
        """
        entry = self._entry_of(self.table)
        table, unique = entry.table, _UNIQUE.findall(entry.definition)
        return (
            len(unique) == 1
            and not re.search(r"`\(|\(\(|OVERLAPS", unique[0])
            and table.has_key(key)
            and table.is_written_by(columns)
            and not table.swap_blockers
            and entry.auto_increment is None
            and not any(kind.is_native_json for kind in entry.kinds.values())
        )

    def _write_at_once(self, work: merge.Upsert, seen: merge.Survey) -> tuple[int, int]:
        """Write by ON DUPLICATE KEY UPDATE, which leaves rows whose bytes are equal."""
        insertion = self.insertion(work.columns, f"{work.source} AS {sql.STAGED}")
        assignments = self._assignments(work.columns, work.key)
        touched = self.run(f"{insertion} ON DUPLICATE KEY UPDATE {assignments}")
        updated = self._session.duplicates()
        # What is updated counts twice.
        return updated, touched - 2 * updated

    def _lookup(self, staging: str, key: Sequence[str]) -> str | None:
        if staging in self._keyed:
            return definition.KEY_INDEX
        return self._entry_of(staging).lookup(key)

    def _by(self, index: str | None) -> str:
        return f" FORCE INDEX ({self.quote(index)})" if index else ""

    def _insert_missing(self, source: str, columns: Sequence[str], match: str) -> int:
        """Insert the staged rows whose key the target lacks."""
        staging, key = self._merged
        target, staged = self.qualified(self.table), f"{source} AS {sql.STAGED}"
        index, mark = self._entry_of(self.table).lookup(key), self._keyed.get(staging)
        if index is not None:
            missing = f"{self.quote(self.table)}.{self.quote(key[0])} IS NULL"
            held = f"{target}{self._by(index)}"
            return self._insert(columns, f"{staged} LEFT JOIN {held} ON {match} WHERE {missing}")
        if mark is None:
            return super()._insert_missing(source, columns, match)
        marked = f"{sql.STAGED}.{self.quote(mark)}"
        self.run(f"UPDATE {self.joined(staging, key, self.table)} SET {marked} = 1")
        return self._insert(columns, f"{staged} WHERE {marked} = 0")

    def _delete_gone(self, source: str, match: str, inside: str) -> int:
        """Delete the target's rows whose key is not staged."""
        staging, key = self._merged
        index = self._lookup(staging, key)
        if self.is_rehearsing or index is None:
            return super()._delete_gone(source, match, inside)
        target, staged = self.qualified(self.table), f"{source} AS {sql.STAGED}{self._by(index)}"
        return self.run(
            f"DELETE {target} FROM {target} LEFT JOIN {staged} ON {match}"
            f" WHERE {inside} AND {sql.STAGED}.{self.quote(key[0])} IS NULL"
        )

    def _delete_staged(self, source: str, match: str, condition: str) -> int:
        """Delete rows that are inserted again; no table that this user cannot see follows them."""
        joined = self._lookups(source, *self._merged)
        self.run("SET SESSION foreign_key_checks = 0")
        try:
            return self.run(f"DELETE {self.qualified(self.table)} FROM {joined} WHERE {condition}")
        finally:
            self._session.run("SET SESSION foreign_key_checks = 1", cancellable=False)

    def assigned(self, name: str) -> str:
        """Return the column with its table: both sides of the join have one of that name."""
        return f"{self.quote(self.table)}.{self.quote(name)}"

    def _update(self, source: str, columns: Sequence[str], key: Sequence[str], match: str) -> int:
        """Update the rows that differ; those too of which MySQL finds that nothing changed.

        It leaves ``1`` in a JSON column that is to be ``1.0``, where it has read the column.
        """
        kinds = self._entry_of(self.table).kinds
        for name in [] if self.is_rehearsing else self._changing(columns, key):
            if kinds[name].is_native_json:
                held, staged = self.assigned(name), f"{sql.STAGED}.{self.quote(name)}"
                unseen = f"{held} = {staged} AND {self._difference(name)}"
                # What has no number is never such a value.
                emptied = f"{held} = CAST('[]' AS JSON)"
                self.run(self.update_from(source, emptied, match, unseen))
        return super()._update(source, columns, key, match)

    def delete_keys(self, keys: str, key: Sequence[str]) -> str:
        """Return the DELETE by join, which looks each key up; a subquery would scan the target."""
        joined = self._lookups(f"({keys})", self._merged[0], key)
        return f"DELETE {self.qualified(self.table)} FROM {joined}"

    def _delete_superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> int:
        """Delete staged rows that the target has later; in a rehearsal without locking its rows.

        A DELETE locks what it looks up in the target, against those who write there.
        """
        # By the isolation that avoids it, nothing can be written to a log of statements.
        logged = self.rows("SHOW VARIABLES LIKE 'binlog_format'") if self.is_rehearsing else []
        joined = self.joined(staging, key, self.table)
        later = self.later(self.quote(self.table), sql.STAGED, order_by)
        if not self.is_rehearsing or ("binlog_format", "STATEMENT") in logged:
            return self.run(f"DELETE {sql.STAGED} FROM {joined} WHERE {later}")
        source = self.qualified(staging)
        found = self.qualified(staging.replace("_tmg_stage_", "_tmg_latest_", 1))
        # Of the next statement only.
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self.run(
            f"CREATE TEMPORARY TABLE {found} AS SELECT {self.names(key, sql.STAGED)}"
            f" FROM {joined} WHERE {later}"
        )
        keys = ", ".join(map(self.quote, key))
        removed = self.run(f"DELETE {source} FROM {source} JOIN {found} USING ({keys})")
        self.run(f"DROP TEMPORARY TABLE {found}")
        return removed

    def prepare_keys(self, staging: str, key: Sequence[str]) -> None:
        """Index the key; where the target has no such index, be ready to mark what it has."""
        if staging in self._keyed:
            return
        entry, target, mark = self._entry_of(staging), self._entry(self.table), None
        added = [definition.prefixed_index(entry.kinds, entry.native, key)]
        if target is not None and target.lookup(key) is None and not self.is_rehearsing:
            mark = sql.unused("_tmg_held", entry.kinds)
            added.append(f"COLUMN {self.quote(mark)} TINYINT NOT NULL DEFAULT 0")
        changes = ", ".join(f"ADD {one}" for one in added)
        self.run(f"ALTER TABLE {self.qualified(staging)} {changes}")
        self._keyed[staging] = mark

    def rename(self, old: str, new: str) -> None:
        """Rename a temporary table."""
        # RENAME TABLE knows no temporary ones.
        self.run(f"ALTER TABLE {self.qualified(old)} RENAME TO {self.qualified(new)}")
        for name in (old, new):
            self._forget(name)

    def zone_suffix(self) -> str:
        """Return nothing: the session's zone is UTC."""
        return ""

    # --- what is known of tables ----------------------------------------------------------------

    def _entry(self, name: str) -> catalogue.Entry | None:
        if name not in self._entries:
            if name in self.own_tables:
                self._entries[name] = catalogue.own(self._session, self._database, name)
            else:
                self._entries[name] = catalogue.read(self._session, self._database, name)
        return self._entries[name]

    def _entry_of(self, name: str) -> catalogue.Entry:
        entry = self._entry(name)
        if entry is None:
            raise errors.ConfigError(f"{self._session.place}: there is no table {name}")
        return entry

    def _forget(self, name: str) -> None:
        self._entries.pop(name, None)
        self._keyed.pop(name, None)
