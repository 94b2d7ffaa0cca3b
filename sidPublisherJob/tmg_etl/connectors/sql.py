"""What SQL connectors share: identifiers, windows, and the statements of a merge.

`SqlTarget` writes the statements that standard SQL can say and leaves the rest to a few hooks, so
that a dialect overrides a clause and not an algorithm. No driver is imported here.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base

#: Alias of the table whose rows are merged; no user's table has this name, as one might have `s`.
STAGED = "_tmg_staged_rows"

_PLACEHOLDER = re.compile(r"\{execution_date(?::([^{}]*))?\}")


def fill_placeholder(text: str, execution_date: datetime.date) -> str:
    """Return `text` with ``{execution_date}`` written out.

    ``{execution_date}`` is YYYYMMDD as on the command line; ``{execution_date:%Y-%m-%d}`` takes
    any strftime format.
    """
    return _PLACEHOLDER.sub(lambda match: execution_date.strftime(match.group(1) or "%Y%m%d"), text)


def unused(name: str, columns: Iterable[str]) -> str:
    """Return `name`, made longer until no column is called so, in upper or lower case."""
    taken = {column.casefold() for column in columns}
    while name in taken:
        name += "_"
    return name


def as_subquery(query: str) -> str:
    """Return a user's query in parentheses; a closing semicolon or comment does no harm."""
    return f"(\n{query.strip().rstrip(';')}\n)"


def window_sql(column: str, kind: pa.DataType, window: base.CursorWindow, *, zone: str = "") -> str:
    """Return the SQL condition for the rows in `window`.

    Args:
        column: the cursor, quoted and qualified.
        kind: its Arrow type.
        window: closed interval of days.
        zone: suffix of a timestamp literal with zone ("+00"), for databases that need it.

    Raises:
        errors.ConfigError: a column of that type cannot be a cursor.
    """
    low, high = window.start, window.end
    if pa.types.is_date(kind):
        return f"({column} >= '{low.isoformat()}' AND {column} <= '{high.isoformat()}')"
    if pa.types.is_timestamp(kind):
        suffix = zone if kind.tz else ""
        lower = f"{column} >= '{low.isoformat()} 00:00:00{suffix}'"
        if window.end_exclusive is None:
            return f"({lower})"
        return f"({lower} AND {column} < '{window.end_exclusive.isoformat()} 00:00:00{suffix}')"
    first, last = low.isoformat().replace("-", ""), high.isoformat().replace("-", "")
    if pa.types.is_integer(kind):
        return f"({column} >= {int(first)} AND {column} <= {int(last)})"
    if pa.types.is_string(kind):
        # Another notation, such as 2013-01-01, is in no window rather than in a wrong one.
        return f"({column} >= '{first}' AND {column} <= '{last}' AND LENGTH({column}) = 8)"
    raise errors.ConfigError(
        f"the cursor {window.column!r} is of type {kind}",
        hint="a cursor is a date, a timestamp, or YYYYMMDD as integer or text",
    )


class SqlTarget(base.Target):
    """A target whose merges are SQL statements.

    A connector supplies the driver (`run`, `rows`), its dialect's clauses, and what no two
    databases share: describing, creating, loading, locking, swapping.
    """

    #: Tables that only this session sees, made in a `rehearsal`.
    own_tables: frozenset[str] = frozenset()
    #: Whether merges only count what they would do.
    is_rehearsing = False
    #: What quotes an identifier; doubled inside.
    quote_mark = '"'
    #: Whether ``ORDER BY … DESC`` must be told that nulls come last.
    nulls_last = " NULLS LAST"

    # --- the driver -----------------------------------------------------------------------------

    @abc.abstractmethod
    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement on the main connection; return the rows it touched."""

    @abc.abstractmethod
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query on the main connection."""

    # --- clauses of the dialect -----------------------------------------------------------------

    def quote(self, name: str) -> str:
        """Return an identifier, quoted whatever it contains."""
        mark = self.quote_mark
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    def qualified(self, name: str) -> str:
        """Return a table's name as statements write it, with its schema where there is one."""
        return self.quote(name)

    def same(self, left: str, right: str) -> str:
        """Return the condition that two values are equal, null equal to null."""
        return f"{left} IS NOT DISTINCT FROM {right}"

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells of one column differ in any byte."""
        return f"{left} IS DISTINCT FROM {right}"

    def ordered(self, column: str, value: str) -> str:
        """Return `value`, an expression over `column`, such that it orders as its type does."""
        return value

    @abc.abstractmethod
    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return an expression that is equal for two rows if and only if all `columns` are.

        Args:
            table: a table beside the target, whose column types decide the expression.
            columns: of that table.
        """

    def hash_sum(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the aggregate that sums the row hashes of `base.Fingerprint`."""
        return f"SUM({self.row_hash(table, alias, columns)})"

    def row_hash(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the integer that a row adds to a `base.Fingerprint`.

        Written by connectors whose `proof` is the database's own; the others are read back.
        """
        raise TypeError(f"{type(self).__name__} is proved by reading back")

    def hash_total(self, value: object) -> int:
        """Return the sum of row hashes as a plain number, from what `hash_sum` gave."""
        return int(str(value or 0))

    def insert_clause(self, columns: Sequence[str]) -> str:
        """Return what follows ``INSERT INTO table``: the columns, and overrides."""
        return f"({self.names(columns)})"

    def update_from(self, source: str, assignments: str, key_match: str, condition: str) -> str:
        """Return the statement that updates the target, from a table under the alias `STAGED`.

        Args:
            source: the table to take values from, qualified.
            assignments: ``"column" = STAGED."column", …``
            key_match: equality of the keys of `STAGED` and the target.
            condition: which of the matching rows.
        """
        return (
            f"UPDATE {self.qualified(self.table)} SET {assignments}"
            f" FROM {source} AS {STAGED} WHERE {key_match} AND {condition}"
        )

    def assigned(self, name: str) -> str:
        """Return a column of the target as the left side of an assignment in `update_from`."""
        return self.quote(name)

    def delete_keys(self, keys: str, key: Sequence[str]) -> str:
        """Return the statement that deletes target rows whose key is among `keys`, a SELECT."""
        return f"DELETE FROM {self.qualified(self.table)} WHERE ({self.names(key)}) IN ({keys})"

    def prepare_keys(self, staging: str, key: Sequence[str]) -> None:
        """Make lookups by key fast in a staging table that is now unique over it."""

    def rename(self, old: str, new: str) -> None:
        """Rename a temporary table."""
        self.run(f"ALTER TABLE {self.qualified(old)} RENAME TO {self.quote(new)}")

    def zone_suffix(self) -> str:
        """Return what ends a timestamp literal with zone."""
        return "+00"

    # --- pieces of statements -------------------------------------------------------------------

    def names(self, columns: Iterable[str], alias: str | None = None) -> str:
        """Return a comma-separated list of quoted columns."""
        prefix = f"{alias}." if alias else ""
        return ", ".join(f"{prefix}{self.quote(column)}" for column in columns)

    def key_match(self, key: Sequence[str], alias: str = STAGED, table: str | None = None) -> str:
        """Return the condition that `alias` and `table` (the target) have one key."""
        other = self.quote(table or self.table)
        return " AND ".join(
            f"{alias}.{self.quote(name)} = {other}.{self.quote(name)}" for name in key
        )

    def column_field(self, name: str) -> pa.Field:
        """Return the field of a column of the target.

        Raises:
            errors.ConfigError: the target has no such column.
        """
        table = self.describe()
        column = table.column(name) if table else None
        if column is None:
            raise errors.ConfigError(f"the target {self.table} has no column {name!r}")
        return column.field

    def window_condition(self, window: base.CursorWindow | None, alias: str | None = None) -> str:
        """Return the condition for target rows in `window`; always true without one."""
        if window is None:
            return "1 = 1"
        column = f"{alias or self.quote(self.table)}.{self.quote(window.column)}"
        kind = self.column_field(window.column).type
        return window_sql(column, kind, window, zone=self.zone_suffix())

    def selected(self, name: str, selection: base.Selection) -> tuple[str, str]:
        """Return the FROM clause, and the alias of the table in it, for a selection of rows."""
        clause, alias = self.qualified(name), self.quote(name)
        if selection.keys_of is not None:
            match = self.key_match(selection.key, STAGED, name)
            clause = f"{self.qualified(selection.keys_of)} AS {STAGED} JOIN {clause} ON {match}"
        conditions = []
        if selection.window is not None:
            conditions.append(self.window_condition(selection.window, alias))
        buckets = selection.buckets
        if buckets is not None and buckets.wanted is not None:
            wanted = ", ".join(map(str, buckets.wanted))
            conditions.append(f"{self._bucket(name, alias, buckets)} IN ({wanted})")
        if conditions:
            clause += f" WHERE {' AND '.join(conditions)}"
        return clause, alias

    def _bucket(self, name: str, alias: str, buckets: base.Buckets) -> str:
        return f"MOD({self.row_hash(name, alias, buckets.columns)}, {buckets.count})"

    # --- base.Target ----------------------------------------------------------------------------

    def fingerprint(
        self, name: str, columns: Sequence[str], selection: base.Selection, *, hashes: bool
    ) -> base.Fingerprint:
        """Return count and hash of a table by one aggregate query."""
        clause, alias = self.selected(name, selection)
        if not hashes:
            return base.Fingerprint(int(self.rows(f"SELECT COUNT(*) FROM {clause}")[0][0]))
        total = self.hash_sum(name, alias, columns)
        count, value = self.rows(f"SELECT COUNT(*), {total} FROM {clause}")[0]
        return base.Fingerprint(int(count), self.hash_total(value) % 2**64)

    def bucket_sums(
        self,
        name: str,
        columns: Sequence[str],
        selection: base.Selection,
        buckets: base.Buckets,
    ) -> dict[int, base.Fingerprint]:
        """Return the fingerprint of each bucket by one aggregate query."""
        clause, alias = self.selected(name, selection)
        total = self.hash_sum(name, alias, columns)
        bucket = self._bucket(name, alias, buckets)
        return {
            int(number): base.Fingerprint(int(count), self.hash_total(value) % 2**64)
            for number, count, value in self.rows(
                f"SELECT {bucket}, COUNT(*), {total} FROM {clause} GROUP BY 1"
            )
        }

    def marked_keys(
        self, staging: str, key: Sequence[str], deleted: str, limit: int
    ) -> list[dict[str, object]]:
        """Return keys of the target that a staged row marks as deleted."""
        marked = f"SELECT {self.names(key)} FROM {self.qualified(staging)} WHERE ({deleted}\n)"
        found = self.rows(
            f"SELECT {self.names(key, self.quote(self.table))} FROM {self.qualified(self.table)}"
            f" JOIN ({marked}) AS {STAGED} ON {self.key_match(key)} LIMIT {int(limit)}"
        )
        return [dict(zip(key, row, strict=True)) for row in found]

    @contextlib.contextmanager
    def rehearsal(self, staging: str) -> Iterator[None]:
        """Count in a block what merges would do; see `base.Target`."""
        latest = staging.replace("_tmg_stage_", "_tmg_latest_", 1)
        self.own_tables, self.is_rehearsing = frozenset((staging, latest)), True
        try:
            yield
        finally:
            # The tables themselves end with the session.
            self.own_tables, self.is_rehearsing = frozenset(), False

    def create_verb(self, name: str, otherwise: str = "CREATE TABLE") -> str:
        """Return how the statement begins that creates a staging table."""
        return "CREATE TEMPORARY TABLE" if name in self.own_tables else otherwise

    def duplicate_key(self, name: str, key: Sequence[str]) -> dict[str, object] | None:
        """Return a key that occurs twice in a table, or None."""
        keys = self.names(key)
        found = self.rows(
            f"SELECT {keys} FROM {self.qualified(name)} GROUP BY {keys} HAVING COUNT(*) > 1 LIMIT 1"
        )
        return dict(zip(key, found[0], strict=True)) if found else None

    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there."""
        self.run(f"DROP TABLE IF EXISTS {self.qualified(name)}")

    def diff(
        self,
        shadow: str,
        columns: Sequence[str],
        key: Sequence[str],
        window: base.CursorWindow | None,
        part: base.Part = base.Part.ALL,
    ) -> base.Changes:
        """Make the target's rows equal the shadow's, touching only those that differ."""
        source, match = self.qualified(shadow), self.key_match(key)
        if self._lacks_target():
            return base.Changes(inserted=self._count(source))
        inside = self.window_condition(window)
        if window is not None and part is not base.Part.DELETE:
            self._refuse_keys_outside(source, key, match, inside)
        deleted = 0
        if part is not base.Part.WRITE:
            deleted = self._delete(
                f"{inside} AND NOT EXISTS (SELECT 1 FROM {source} AS {STAGED} WHERE {match})"
            )
        if part is base.Part.DELETE:
            return base.Changes(deleted=deleted)
        updated = self._update(source, columns, key, match)
        inserted = self._insert_missing(source, columns, match)
        staged = int(self.rows(f"SELECT COUNT(*) FROM {source}")[0][0])
        return base.Changes(inserted, updated, deleted, staged - inserted - updated)

    def replace_rows(
        self, staging: str, columns: Sequence[str], window: base.CursorWindow | None
    ) -> base.Changes:
        """Delete the target's rows in the window and insert the staged ones."""
        if self._lacks_target():
            return base.Changes(inserted=self._count(self.qualified(staging)))
        deleted = self._delete(self.window_condition(window))
        inserted = self._insert(columns, f"{self.qualified(staging)} AS {STAGED}")
        return base.Changes(inserted=inserted, deleted=deleted)

    def keep_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Leave the latest version of each key in a staging table."""
        removed = 0
        if self.duplicate_key(staging, key):
            self._refuse_ties(staging, columns, key, order_by)
            removed = self._rewrite_latest(staging, columns, key, order_by)
        self.prepare_keys(staging, key)
        return removed

    def upsert(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        order_by: Sequence[str],
        deleted: str | None,
        part: base.Part = base.Part.ALL,
    ) -> base.Changes:
        """Merge the staging table, one row per key, into the target."""
        source, match = self.qualified(staging), self.key_match(key)
        kept = f" WHERE NOT COALESCE(({deleted}\n), 1 = 0)" if deleted else ""
        if self._lacks_target():
            return base.Changes(inserted=self._count(f"{source}{kept}"))
        if part is base.Part.DELETE:
            return base.Changes(deleted=self._delete_marked(staging, key, deleted))
        held = [name for name in order_by if name in columns and self._holds(name)]
        superseded = removed = 0
        if held and len(held) == len(order_by):
            superseded = self._delete_superseded(staging, key, held)
        if part is base.Part.ALL:
            removed = self._delete_marked(staging, key, deleted)
        elif deleted:
            source = f"(SELECT * FROM {source}{kept})"
        updated = self._update(source, columns, key, match)
        inserted = self._insert_missing(source, columns, match)
        staged = self._count(f"{source} AS {STAGED}")
        return base.Changes(inserted, updated, removed, staged - inserted - updated + superseded)

    # --- steps ----------------------------------------------------------------------------------

    def _delete_marked(self, staging: str, key: Sequence[str], deleted: str | None) -> int:
        """Delete target rows that staged rows mark, then those staged rows; return the former."""
        if not deleted:
            return 0
        marked = f"FROM {self.qualified(staging)} WHERE ({deleted}\n)"
        removed = self._delete_keys(f"SELECT {self.names(key)} {marked}", key)
        self.run(f"DELETE {marked}")
        return removed

    def _update(self, source: str, columns: Sequence[str], key: Sequence[str], match: str) -> int:
        plain = [name for name in columns if name not in key]
        # Key columns are compared as well: under a case-insensitive collation "a" and "A" are one
        # key and still two different bytes, and the proof is about bytes.
        changing = [name for name in columns if name in plain or not self._is_exact_key(name)]
        if not changing:
            return 0
        difference = " OR ".join(map(self._difference, changing))
        if self.is_rehearsing:
            return self._count_updates(source, match, difference)
        assignments = ", ".join(
            f"{self.assigned(name)} = {STAGED}.{self.quote(name)}" for name in changing
        )
        return self.run(self.update_from(source, assignments, match, f"({difference})"))

    def _count_updates(self, source: str, match: str, difference: str) -> int:
        target = self.qualified(self.table)
        return self._count(f"{target} JOIN {source} AS {STAGED} ON {match} WHERE ({difference})")

    def _difference(self, name: str) -> str:
        staged = f"{STAGED}.{self.quote(name)}"
        if not self._holds(name):
            return f"{staged} IS NOT NULL"
        held = f"{self.quote(self.table)}.{self.quote(name)}"
        return self.differs(self.column_field(name), held, staged)

    def _holds(self, name: str) -> bool:
        """Return whether the target has a column; in a rehearsal it may still have to get it."""
        if not self.is_rehearsing:
            return True
        table = self.describe()
        return table is not None and table.column(name) is not None

    def _lacks_target(self) -> bool:
        return self.is_rehearsing and self.describe() is None

    def _count(self, clause: str) -> int:
        return int(self.rows(f"SELECT COUNT(*) FROM {clause}")[0][0])

    def _delete(self, condition: str) -> int:
        """Delete rows of the target; in a rehearsal, count them. So do the next two."""
        target = self.qualified(self.table)
        if self.is_rehearsing:
            return self._count(f"{target} WHERE {condition}")
        return self.run(f"DELETE FROM {target} WHERE {condition}")

    def _delete_keys(self, keys: str, key: Sequence[str]) -> int:
        if self.is_rehearsing:
            target = self.qualified(self.table)
            return self._count(f"{target} JOIN ({keys}) AS {STAGED} ON {self.key_match(key)}")
        return self.run(self.delete_keys(keys, key))

    def _insert(self, columns: Sequence[str], origin: str) -> int:
        if self.is_rehearsing:
            return self._count(origin)
        return self.run(
            f"INSERT INTO {self.qualified(self.table)} {self.insert_clause(columns)}"
            f" SELECT {self.names(columns, STAGED)} FROM {origin}"
        )

    def _is_exact_key(self, name: str) -> bool:
        """Return whether equality of a key column means equality of its bytes."""
        return not pa.types.is_string(self.column_field(name).type)

    def _insert_missing(self, source: str, columns: Sequence[str], match: str) -> int:
        target = self.qualified(self.table)
        missing = f"NOT EXISTS (SELECT 1 FROM {target} WHERE {match})"
        return self._insert(columns, f"{source} AS {STAGED} WHERE {missing}")

    def _refuse_keys_outside(
        self, source: str, key: Sequence[str], match: str, inside: str
    ) -> None:
        found = self.rows(
            f"SELECT {self.names(key, STAGED)} FROM {source} AS {STAGED}"
            f" JOIN {self.qualified(self.table)} ON {match}"
            f" WHERE NOT COALESCE({inside}, 1 = 0) LIMIT 1"
        )
        if found:
            raise errors.DuplicateKeyError(
                self.table,
                dict(zip(key, found[0], strict=True)),
                reason="the target has it outside the window, which replace_window must not touch;"
                " `strategy: upsert` would move the row",
            )

    def _delete_superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> int:
        superseded = self.superseded(staging, key, order_by)
        return self.run(f"DELETE FROM {self.qualified(staging)} WHERE {superseded}")

    def superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> str:
        """Return the condition that the target holds a later version of a staged row."""
        table, source = self.quote(self.table), self.quote(staging)
        newer, equal_so_far = [], "1 = 1"
        for name in order_by:
            held, staged = f"{table}.{self.quote(name)}", f"{source}.{self.quote(name)}"
            later = f"{self.ordered(name, held)} > {self.ordered(name, staged)}"
            greater = f"({later} OR ({held} IS NOT NULL AND {staged} IS NULL))"
            newer.append(f"({equal_so_far} AND {greater})")
            equal_so_far += f" AND {self.same(held, staged)}"
        match = " AND ".join(
            f"{source}.{self.quote(name)} = {table}.{self.quote(name)}" for name in key
        )
        return (
            f"EXISTS (SELECT 1 FROM {self.qualified(self.table)} WHERE {match}"
            f" AND ({' OR '.join(newer)}))"
        )

    def _latest_first(self, order_by: Sequence[str]) -> str:
        return ", ".join(
            f"{self.ordered(name, self.quote(name))} DESC{self.nulls_last}" for name in order_by
        )

    def _refuse_ties(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> None:
        keys, identity = self.names(key), self.row_identity(staging, columns)
        row, place = unused("_tmg_row", columns), unused("_tmg_rank", columns)
        rank, latest = "", ""
        if order_by:
            rank = (
                f", RANK() OVER (PARTITION BY {keys} ORDER BY {self._latest_first(order_by)})"
                f" AS {place}"
            )
            latest = f" WHERE {place} = 1"
        found = self.rows(
            f"SELECT {keys} FROM (SELECT {keys}, {identity} AS {row}{rank}"
            f" FROM {self.qualified(staging)}) AS versions{latest}"
            f" GROUP BY {keys} HAVING COUNT(DISTINCT {row}) > 1 LIMIT 1"
        )
        if found:
            reason = (
                f"different rows are equally late by order_by {list(order_by)}"
                if order_by
                else "different rows, and no `order_by` to tell which is the latest"
            )
            raise errors.DuplicateKeyError(
                self.table, dict(zip(key, found[0], strict=True)), reason=reason
            )

    def _rewrite_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        latest = staging.replace("_tmg_stage_", "_tmg_latest_", 1)
        keys = self.names(key)
        order = self._latest_first(order_by) or keys
        version = unused("_tmg_version", columns)
        before = int(self.rows(f"SELECT COUNT(*) FROM {self.qualified(staging)}")[0][0])
        self.run(
            f"{self.create_verb(latest)} {self.qualified(latest)} AS"
            f" SELECT {self.names(columns)} FROM"
            f" (SELECT {self.names(columns)}, ROW_NUMBER() OVER"
            f" (PARTITION BY {keys} ORDER BY {order}) AS {version}"
            f" FROM {self.qualified(staging)}) AS versions WHERE {version} = 1"
        )
        after = int(self.rows(f"SELECT COUNT(*) FROM {self.qualified(latest)}")[0][0])
        self.drop(staging)
        self.rename(latest, staging)
        return before - after
