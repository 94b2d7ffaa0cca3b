"""Versions of a row: the latest that is staged under a key, and later ones of the target.

No driver is imported here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tmg_etl import errors
from tmg_etl.connectors import sql


def comparable(order_by: Sequence[str], held: Sequence[str]) -> list[str]:
    """Return the order columns by which rows of the target are told to be newer.

    What is later by the first of them is later, whatever the target lacks behind.
    """
    return list(itertools.takewhile(lambda name: name in held, order_by))


class VersionedTarget(sql.SqlDialect):
    """A target that keeps the latest version of each key."""

    def duplicate_key(
        self, name: str, key: Sequence[str], *, skips_null: bool = False
    ) -> dict[str, object] | None:
        """Return a key that occurs twice in a table, or None."""
        keys, clause = self.names(key), self.own_rows(name)
        if skips_null:
            filled = " AND ".join(f"{self.quote(column)} IS NOT NULL" for column in key)
            clause += f" WHERE {filled}"
        found = self.rows(
            f"SELECT {keys} FROM {clause} GROUP BY {keys} HAVING COUNT(*) > 1 LIMIT 1"
        )
        return dict(zip(key, found[0], strict=True)) if found else None

    def keep_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Leave the latest version of each key in a staging table."""
        # First, because the search for doubled keys is a lookup by key as well.
        self.prepare_keys(staging, key)
        if not self.duplicate_key(staging, key):
            return 0
        self._refuse_ties(staging, columns, key, order_by)
        return self._rewrite_latest(staging, columns, key, order_by)

    def _delete_superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> int:
        superseded = self.superseded(staging, key, order_by)
        return self.run(f"DELETE FROM {self.qualified(staging)} WHERE {superseded}")

    def superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> str:
        """Return the condition that the target holds a later version of a staged row."""
        table, source = self.quote(self.table), self.quote(staging)
        return (
            f"EXISTS (SELECT 1 FROM {self.own_rows(self.table)}"
            f" WHERE {self.key_match(key, source)} AND ({self.later(table, source, order_by)}))"
        )

    def later(self, table: str, source: str, order_by: Sequence[str]) -> str:
        """Return the condition that the target's row is a later version of the staged one.

        Args:
            table: alias of the target.
            source: alias of the staging table.
            order_by: columns of both.
        """
        newer, equal_so_far = [], "1 = 1"
        for name in order_by:
            held, staged = f"{table}.{self.quote(name)}", f"{source}.{self.quote(name)}"
            later = f"{self.ordered(name, held)} > {self.ordered(name, staged)}"
            greater = f"({later} OR ({held} IS NOT NULL AND {staged} IS NULL))"
            newer.append(f"({equal_so_far} AND {greater})")
            equal_so_far += f" AND {self.same(held, staged)}"
        return " OR ".join(newer)

    def _latest_first(self, order_by: Sequence[str]) -> str:
        return ", ".join(
            f"{self.ordered(name, self.quote(name))} DESC{self.nulls_last}" for name in order_by
        )

    def _refuse_ties(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> None:
        keys, identity = self.names(key), self.row_identity(staging, columns)
        row, place = sql.unused("_tmg_row", columns), sql.unused("_tmg_rank", columns)
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
        version = sql.unused("_tmg_version", columns)
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
        self.prepare_keys(staging, key)
        return before - after
