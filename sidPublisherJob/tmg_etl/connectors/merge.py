"""The statements of a merge, of a proof and of its rehearsal, as standard SQL says them.

`SqlTarget` leaves what dialects say in different ways to the clauses of `sql`, so that a connector
overrides a clause and not an algorithm. No driver is imported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql, version

STAGED = sql.STAGED


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a merge has to do, seen in one pass over what is staged; by default, everything.

    Attributes:
        rows: staged; 0 where they, and those that are missing, are not known exactly.
        missing: of them, those whose key the target lacks.
        differing: columns of those that the target holds in another way; None may be any.
        superseded: those of which the target holds a later version.
        outside: those whose key the target holds outside of the window.
    """

    rows: int = 0
    missing: int = 1
    differing: tuple[str, ...] | None = None
    superseded: int = 1
    outside: int = 1

    @property
    def is_all_missing(self) -> bool:
        """Return whether the target holds none of the keys."""
        return 0 < self.rows == self.missing


@dataclasses.dataclass(frozen=True)
class Upsert:
    """What one statement updates and inserts.

    Attributes:
        source: the staged rows, as a FROM clause has them.
        columns: those that are inserted.
        differing: those that are updated.
        key: columns of the key.
    """

    source: str
    columns: Sequence[str]
    differing: Sequence[str]
    key: Sequence[str]


class _UndoneError(Exception):
    """Ends a transaction whose work is not to stay."""


class SqlTarget(version.VersionedTarget):
    """A target whose merges are SQL statements.

    A connector supplies the driver and its dialect's clauses (`sql.SqlDialect`), and what no two
    databases share: describing, creating, loading, locking, swapping.
    """

    #: Whether `transaction` keeps others from writing the target.
    keeps_writers_out = True
    #: Whether `_write_at_once` tells by itself how many rows it inserted.
    counts_inserts = False

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
            f"SELECT {self.names(key, self.quote(self.table))} FROM {self.own_rows(self.table)}"
            f" JOIN ({marked}) AS {STAGED} ON {self.key_match(key)} LIMIT {int(limit)}"
        )
        return [dict(zip(key, row, strict=True)) for row in found]

    def breaking(
        self,
        staging: str,
        rule: base.Check | base.ForeignKey,
        columns: Sequence[str],
        key: Sequence[str],
        window: base.CursorWindow | None,
        *,
        is_in_place: bool,
    ) -> dict[str, object] | None:
        """Return the key of a row by which a publish would break a constraint."""
        staged, match = f"{self.qualified(staging)} AS {STAGED}", self.key_match(key)
        if isinstance(rule, base.ForeignKey) and rule.is_incoming:
            refers = self._refers(rule, self.quote(self.table))
            returned, kept = key, ""
            clause = (
                f"{self.own_rows(self.table)} WHERE {self.window_condition(window)} AND {refers}"
                f" AND NOT EXISTS (SELECT 1 FROM {staged} WHERE {match})"
            )
        else:
            returned = key or columns
            kept = (
                f" AND NOT EXISTS (SELECT 1 FROM {self.own_rows(self.table)}"
                f" WHERE {match} AND NOT ({self._differences(columns, key) or '1 = 0'}))"
            )
            if isinstance(rule, base.ForeignKey):
                filled = [f"{STAGED}.{self.quote(name)} IS NOT NULL" for name in rule.columns]
                broken = " AND ".join((*filled, f"NOT {self._refers(rule, STAGED)}"))
            else:
                broken = f"NOT ({rule.condition}\n)"
            clause = f"{staged} WHERE {broken}"
        alias = self.quote(self.table) if kept == "" else STAGED
        found = self.rows(f"SELECT {self.names(returned, alias)} FROM {clause} LIMIT 1")
        if found and kept and is_in_place:
            found = self.rows(f"SELECT {self.names(returned, alias)} FROM {clause}{kept} LIMIT 1")
        return dict(zip(returned, found[0], strict=True)) if found else None

    def _refers(self, rule: base.ForeignKey, alias: str) -> str:
        """Return the condition that the other table has a row for one of this."""
        other = self.quote("_tmg_other")
        match = " AND ".join(
            f"{other}.{self.quote(theirs)} = {alias}.{self.quote(ours)}"
            for ours, theirs in zip(rule.columns, rule.others, strict=True)
        )
        return f"EXISTS (SELECT 1 FROM {rule.table} AS {other} WHERE {match})"

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
        self.settle_plans(shadow, key)
        inside = self.window_condition(window)
        if part is base.Part.DELETE:
            return base.Changes(deleted=self._delete_gone(source, match, inside))
        seen = self._survey(shadow, columns, key, [], inside)
        if window is not None and seen.outside:
            self._refuse_keys_outside(source, key, match, inside)
        deleted = 0
        if part is base.Part.ALL and self._may_be_gone(seen, inside):
            deleted = self._delete_gone(source, match, inside)
        updated, inserted = self._write(source, columns, key, match, seen)
        staged = seen.rows or self._count(source)
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
        self.settle_plans(staging, key)
        if part is base.Part.DELETE:
            return base.Changes(deleted=self._delete_marked(staging, key, deleted))
        held = version.comparable(order_by, [name for name in columns if self._holds(name)])
        seen, superseded, removed = Survey(), 0, 0
        # Where nothing else asks for a look ahead, it would cost as much as the statement itself.
        if held or not (self.counts_inserts and self.writes_at_once(columns, key)):
            seen = self._survey(staging, columns, key, held)
        if deleted:
            # Rows that are marked are not written, and were counted.
            seen = dataclasses.replace(seen, rows=0)
        if held and seen.superseded:
            superseded = self._delete_superseded(staging, key, held)
        if part is base.Part.ALL:
            removed = self._delete_marked(staging, key, deleted)
        elif deleted:
            source = f"(SELECT * FROM {source}{kept})"
        updated, inserted = self._write(source, columns, key, match, seen)
        staged = seen.rows - superseded if seen.rows else self._count(f"{source} AS {STAGED}")
        return base.Changes(inserted, updated, removed, staged - inserted - updated + superseded)

    def check_deleted(self, staging: str, deleted: str) -> None:
        """Have the database look at the condition."""
        self.rows(f"SELECT 1 FROM {self.qualified(staging)} WHERE ({deleted}\n) LIMIT 1")

    def refused_key(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        deleted: str | None,
        window: base.CursorWindow | None,
        *,
        is_diff: bool,
        within: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> dict[str, object] | None:
        """Return the key of the first staged row that the target refuses; see `base.Target`."""
        kept = f" WHERE NOT COALESCE(({deleted}\n), 1 = 0)" if deleted else ""
        staged, place = self.qualified(staging), sql.unused("_tmg_row", columns)
        numbered = (
            f"(SELECT {self.names(columns)}, ROW_NUMBER() OVER (ORDER BY {self.names(key)})"
            f" AS {place} FROM {staged}{kept}) AS numbered"
        )
        match, gone = self.key_match(key), None
        if is_diff:
            gone = (
                f"{self.window_condition(window)} AND NOT EXISTS"
                f" (SELECT 1 FROM {staged} AS {STAGED} WHERE {match})"
            )

        def is_taken(low: int, high: int) -> bool:
            part = (
                f"(SELECT {self.names(columns)} FROM {numbered}"
                f" WHERE {place} > {low} AND {place} <= {high})"
            )
            try:
                with within():
                    if gone is not None:
                        self._delete(gone)
                    self._write(part, columns, key, match)
                    raise _UndoneError
            except _UndoneError:
                return True
            except errors.DataError:
                return False

        low, high = 0, self._count(f"{staged}{kept}")
        if is_taken(low, high) or not is_taken(0, 0):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            # From the first row on: two rows may be in each other's way.
            low, high = (middle, high) if is_taken(0, middle) else (low, middle)
        found = self.rows(f"SELECT {self.names(key)} FROM {numbered} WHERE {place} = {high}")
        return dict(zip(key, found[0], strict=True))

    # --- steps ----------------------------------------------------------------------------------

    def _delete_marked(self, staging: str, key: Sequence[str], deleted: str | None) -> int:
        """Delete target rows that staged rows mark, then those staged rows; return the former."""
        if not deleted:
            return 0
        marked = f"FROM {self.qualified(staging)} WHERE ({deleted}\n)"
        removed = self._delete_keys(f"SELECT {self.names(key)} {marked}", key)
        self.run(f"DELETE {marked}")
        return removed

    def _survey(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        order_by: Sequence[str],
        inside: str = "1 = 1",
    ) -> Survey:
        """Return what a merge has to do; each statement that it saves would join all keys again."""
        if self.is_rehearsing or not self.joins_well(key):
            return Survey()
        changing, table = self._changing(columns, key), self.quote(self.table)
        outside = "1 = 0" if inside == "1 = 1" else f"NOT COALESCE({inside}, 1 = 0)"
        # By column: an UPDATE costs less the fewer it names.
        conditions = [
            self.later(table, STAGED, order_by) or "1 = 0",
            outside,
            *map(self._difference, changing),
        ]
        held = f"{table}.{self.quote(key[0])} IS NOT NULL"
        counts = [
            f"COUNT(CASE WHEN {held} AND ({condition}) THEN 1 END)" for condition in conditions
        ]
        rows, found, superseded, outer, *differing = self.rows(
            f"SELECT COUNT(*), COUNT({table}.{self.quote(key[0])}), {', '.join(counts)}"
            f" FROM {self.surveyed(staging, key)}"
        )[0]
        described = self.describe()
        is_exact = described is not None and described.is_unique_over(key)
        return Survey(
            rows if is_exact else 0,
            rows - found,
            tuple(name for name, count in zip(changing, differing, strict=True) if count),
            superseded,
            outer,
        )

    def joins_well(self, key: Sequence[str]) -> bool:
        """Return whether all staged keys are joined to the target without a scan for each."""
        return True

    def surveyed(self, staging: str, key: Sequence[str]) -> str:
        """Return the FROM clause of all staged rows and what the target holds of them."""
        target, match = self.own_rows(self.table), self.key_match(key)
        return f"{self.qualified(staging)} AS {STAGED} LEFT JOIN {target} ON {match}"

    def renewed(self) -> frozenset[str]:
        """Return the columns that the database writes where an UPDATE does not name them."""
        return frozenset()

    def _may_be_gone(self, seen: Survey, inside: str) -> bool:
        """Return whether the target may hold keys in the window that are not staged."""
        held = seen.rows - seen.missing - seen.outside
        return not seen.rows or self._count(f"{self.own_rows(self.table)} WHERE {inside}") != held

    def _write(
        self,
        source: str,
        columns: Sequence[str],
        key: Sequence[str],
        match: str,
        seen: Survey | None = None,
    ) -> tuple[int, int]:
        """Update the rows that differ and insert those that are missing; return both counts."""
        seen = seen or Survey()
        updated, differing, table = 0, columns, self.describe()
        if seen.differing is not None:
            wanted = {*seen.differing, *self.renewed()}
            differing = [name for name in columns if name in wanted]
        others = table.other_keys(key, columns) if table and not self.is_rehearsing else []
        if seen.differing == ():
            pass
        elif self._goes_at_once(columns, key, seen):
            return self._write_at_once(Upsert(source, columns, differing, key), seen)
        elif table is None or not others or self.capabilities.unique_at_end:
            updated = self._update(source, differing, key, match)
        else:
            try:
                with self.attempt():
                    updated = self._update(source, differing, key, match)
            except (errors.ConstraintError, errors.DuplicateKeyError) as refused:
                if getattr(refused, "rule", errors.Constraint.UNIQUE) != errors.Constraint.UNIQUE:
                    raise
                return self._exchange(table, source, columns, key, match, refused)
        if not seen.missing:
            return updated, 0
        if seen.is_all_missing and self.keeps_writers_out:
            return updated, self._insert(columns, f"{source} AS {STAGED}")
        return updated, self._insert_missing(source, columns, match)

    def writes_at_once(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether one statement can update and insert, and does just that."""
        return False

    def _goes_at_once(self, columns: Sequence[str], key: Sequence[str], seen: Survey) -> bool:
        """Return whether there is work for one statement, of which one knows what it inserted."""
        is_known = self.counts_inserts or (seen.rows > 0 and seen.missing > 0)
        has_updates = not seen.is_all_missing and bool(self._changing(columns, key))
        is_for_one = is_known and has_updates and not self.is_rehearsing
        return is_for_one and self.writes_at_once(columns, key)

    def _write_at_once(self, work: Upsert, seen: Survey) -> tuple[int, int]:
        """Update what differs and insert what is missing; return both counts."""
        # Without a condition, SQLite takes ON for that of a join.
        insertion = self.insertion(work.columns, f"{work.source} AS {STAGED} WHERE 1 = 1")
        touched = self.run(
            f"{insertion} ON CONFLICT ({self.names(work.key)})"
            f" DO UPDATE SET {self._assignments(work.differing, work.key, 'excluded')}"
            f" WHERE {self._differences(work.differing, work.key, 'excluded')}"
        )
        return touched - seen.missing, seen.missing

    def _exchange(
        self,
        table: base.Table,
        source: str,
        columns: Sequence[str],
        key: Sequence[str],
        match: str,
        refused: errors.DataError,
    ) -> tuple[int, int]:
        """Write as `_write` does where values of another unique key change places between rows.

        A row is refused for a value that another one has for a moment more. So those that change
        have null for that moment, or, where null is refused, go and come back.
        """
        others = table.other_keys(key, columns)
        written = [name for name in columns if name not in key]
        held = [name for unique in others for name in unique if name in written]
        moves = f"({' OR '.join(map(self._difference, dict.fromkeys(held)))})"
        differing = self._count_updates(source, match, self._differences(columns, key))
        emptied, gone = table.emptied(key, columns), 0
        nulls = ", ".join(f"{self.assigned(name)} = NULL" for name in emptied)
        ways = [comes_back for comes_back in (False, True) if emptied or comes_back]
        ways = ways if table.can_return(columns) else ways[:-1]
        for comes_back in ways:
            try:
                with self.attempt():
                    if comes_back:
                        gone = self._delete_staged(source, match, moves)
                    else:
                        self.run(self.update_from(source, nulls, match, moves))
                    self._update(source, columns, key, match)
                    return differing, self._insert_missing(source, columns, match) - gone
            except (errors.ConstraintError, errors.DuplicateKeyError):
                continue
        for unique in others:
            names = self.names(unique, STAGED)
            filled = " AND ".join(f"{STAGED}.{self.quote(name)} IS NOT NULL" for name in unique)
            twice = (
                f"SELECT 1 FROM {source} AS {STAGED} WHERE {filled}"
                f" GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1"
            )
            if not ways and set(unique) <= set(columns) and not self.rows(twice):
                raise errors.ExchangedError(self.table, unique) from refused
        raise refused

    def _delete_staged(self, source: str, match: str, condition: str) -> int:
        """Delete rows of the target that are inserted again."""
        staged = f"SELECT 1 FROM {source} AS {STAGED} WHERE {match} AND {condition}"
        return self.run(f"DELETE FROM {self.own_rows(self.table)} WHERE EXISTS ({staged})")

    def _differences(self, columns: Sequence[str], key: Sequence[str], alias: str = STAGED) -> str:
        """Return the condition that a row differs from the staged one; empty: it cannot."""
        return " OR ".join(self._difference(name, alias) for name in self._changing(columns, key))

    def _changing(self, columns: Sequence[str], key: Sequence[str]) -> list[str]:
        """Return the columns in which a row may differ from another one with its key.

        Columns of the key, too: under a case-insensitive collation "a" and "A" are one key and
        still two different bytes, and the proof is about bytes.
        """
        return [name for name in columns if name not in key or not self._is_exact_key(name)]

    def _update(self, source: str, columns: Sequence[str], key: Sequence[str], match: str) -> int:
        difference = self._differences(columns, key)
        if not difference:
            return 0
        if self.is_rehearsing:
            return self._count_updates(source, match, difference)
        assignments = self._assignments(columns, key)
        return self.run(self.update_from(source, assignments, match, f"({difference})"))

    def _assignments(self, columns: Sequence[str], key: Sequence[str], alias: str = STAGED) -> str:
        return ", ".join(
            f"{self.assigned(name)} = {alias}.{self.quote(name)}"
            for name in self._changing(columns, key)
        )

    def _count_updates(self, source: str, match: str, difference: str) -> int:
        target = self.own_rows(self.table)
        return self._count(f"{target} JOIN {source} AS {STAGED} ON {match} WHERE ({difference})")

    def _difference(self, name: str, alias: str = STAGED) -> str:
        staged = f"{alias}.{self.quote(name)}"
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
        target = self.own_rows(self.table)
        if self.is_rehearsing:
            return self._count(f"{target} WHERE {condition}")
        return self.run(f"DELETE FROM {target} WHERE {condition}")

    def _delete_keys(self, keys: str, key: Sequence[str]) -> int:
        if self.is_rehearsing:
            target = self.own_rows(self.table)
            return self._count(f"{target} JOIN ({keys}) AS {STAGED} ON {self.key_match(key)}")
        return self.run(self.delete_keys(keys, key))

    def _insert(self, columns: Sequence[str], origin: str) -> int:
        if self.is_rehearsing:
            return self._count(origin)
        return self.run(self.insertion(columns, origin))

    def insertion(self, columns: Sequence[str], origin: str) -> str:
        """Return the INSERT of staged rows; `origin` is their FROM clause."""
        return (
            f"INSERT INTO {self.qualified(self.table)} {self.insert_clause(columns)}"
            f" SELECT {self.names(columns, STAGED)} FROM {origin}"
        )

    def _delete_gone(self, source: str, match: str, inside: str) -> int:
        return self._delete(
            f"{inside} AND NOT EXISTS (SELECT 1 FROM {source} AS {STAGED} WHERE {match})"
        )

    def _is_exact_key(self, name: str) -> bool:
        """Return whether equality of a key column means equality of its bytes."""
        return not pa.types.is_string(self.column_field(name).type)

    def _insert_missing(self, source: str, columns: Sequence[str], match: str) -> int:
        target = self.own_rows(self.table)
        missing = f"NOT EXISTS (SELECT 1 FROM {target} WHERE {match})"
        return self._insert(columns, f"{source} AS {STAGED} WHERE {missing}")

    def _refuse_keys_outside(
        self, source: str, key: Sequence[str], match: str, inside: str
    ) -> None:
        found = self.rows(
            f"SELECT {self.names(key, STAGED)} FROM {source} AS {STAGED}"
            f" JOIN {self.own_rows(self.table)} ON {match}"
            f" WHERE NOT COALESCE({inside}, 1 = 0) LIMIT 1"
        )
        if found:
            raise errors.DuplicateKeyError(
                self.table,
                dict(zip(key, found[0], strict=True)),
                reason="the target has it outside the window, which replace_window must not touch;"
                " `strategy: upsert` would move the row",
            )
