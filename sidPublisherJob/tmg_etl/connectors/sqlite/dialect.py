"""What SQLite says in a way of its own: the clauses of merges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, merge, room
from tmg_etl.connectors.sqlite import catalog, database


class SQLiteDialect(merge.SqlTarget):
    """A target's driver, its clauses, and what is known of the tables that they name.

    Args:
        session: of its own, or of another target; opened when it is needed.
        table: the target's name; its case is ignored, as SQLite does.
    """

    def __init__(self, session: database.Session, table: str) -> None:
        self.table = table
        self._session = session
        self._known: catalog.Definition | None = None
        # Columns of staging tables that the target does not have.
        self._extra: dict[str, pa.Schema] = {}
        self._key: Sequence[str] = ()

    # --- the driver -----------------------------------------------------------------------------

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement; return the rows it touched."""
        return self._opened().run(statement, parameters)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        return self._opened().rows(statement, parameters)

    def _opened(self) -> database.Session:
        if not self._session.is_open:
            self._session.open()
        return self._session

    # --- clauses of the dialect -----------------------------------------------------------------

    def same(self, left: str, right: str) -> str:
        """Return the condition that two values are equal, null equal to null."""
        return f"{left} IS {right}"

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells differ in any byte, whatever the collation."""
        return f"{left} COLLATE BINARY IS NOT {right} COLLATE BINARY"

    def ordered(self, column: str, value: str) -> str:
        """Return the value with the order of its type: decimals are stored as text."""
        fields = [self._fields(name) for name in (self.table, *self._extra)]
        kinds = [known[column].type for known in fields if column in known]
        if kinds and pa.types.is_decimal(kinds[0]):
            return f"{value} COLLATE {database.DECIMAL_ORDER}"
        return value

    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return the storage classes and bytes of all columns."""
        pieces = []
        for column in columns:
            name = self.quote(column)
            pieces.append(
                f"CASE typeof({name}) WHEN 'null' THEN '-' WHEN 'integer' THEN 'i' || {name}"
                f" WHEN 'real' THEN 'r' || quote({name})"
                f" ELSE substr(typeof({name}), 1, 1) || hex({name}) END"
            )
        return " || ';' || ".join(pieces)

    def prepare_keys(self, staging: str, key: Sequence[str]) -> None:
        """Index a staging table by its key."""
        self.run(
            f"CREATE INDEX IF NOT EXISTS {self.quote(staging + '_key')} ON {self.quote(staging)}"
            f" ({self.names(key)})"
        )

    def settle_plans(self, staging: str, key: Sequence[str]) -> None:
        """Remember the key of what is merged."""
        self._key = key

    def joins_well(self, key: Sequence[str]) -> bool:
        """Return whether the key is one of the target's, which has an index."""
        table = self.describe()
        return table is not None and table.is_unique_over(key)

    def writes_at_once(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether ON CONFLICT says it all: there is no other key, and no trigger."""
        table = self.describe()
        return (
            table is not None
            and table.has_key(key)
            and table.is_written_by(columns)
            and not table.other_keys(key, columns)
            and not table.swap_blockers
        )

    def _insert_missing(self, source: str, columns: Sequence[str], match: str) -> int:
        """Insert the staged rows whose key the target lacks.

        SQLite indexes what is behind IN by itself, once, and for EXISTS scans it for each row. So
        it does for NOT IN, to tell what is not there from what is null.
        """
        if self.joins_well(self._key):
            return super()._insert_missing(source, columns, match)
        held = f"SELECT {self.names(self._key)} FROM {self.qualified(self.table)}"
        is_held = f"({self.names(self._key, merge.STAGED)}) IN ({held})"
        missing = f"CASE WHEN {is_held} THEN 0 ELSE 1 END"
        return self._insert(columns, f"{source} AS {merge.STAGED} WHERE {missing}")

    def _delete_superseded(self, staging: str, key: Sequence[str], order_by: Sequence[str]) -> int:
        if self.joins_well(key):
            return super()._delete_superseded(staging, key, order_by)
        later = self.later(self.quote(self.table), merge.STAGED, order_by)
        found = (
            f"SELECT {self.names(key, merge.STAGED)} FROM {self.joined(staging, key, self.table)}"
        )
        return self.run(
            f"DELETE FROM {self.qualified(staging)} WHERE ({self.names(key)}) IN"
            f" ({found} WHERE {later})"
        )

    def _rewrite_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Delete all but the latest version; a copy would lose declared types and collations."""
        keys = self.names(key)
        taken = {name.casefold() for name in columns}
        # A column of that name hides it.
        rowid = next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)
        if rowid is None:
            raise errors.ConfigError(
                f"{self.table}: columns take all names of SQLite's rowid, so that versions of a key"
                " cannot be told apart",
                hint="name one of rowid, _rowid_ and oid in `omit`",
            )
        return self.run(
            f"DELETE FROM {self.quote(staging)} WHERE {rowid} NOT IN (SELECT _tmg_id FROM"
            f" (SELECT {rowid} AS _tmg_id, ROW_NUMBER() OVER (PARTITION BY {keys}"
            f" ORDER BY {self._latest_first(order_by) or keys}) AS _tmg_version"
            f" FROM {self.quote(staging)}) WHERE _tmg_version = 1)"
        )

    # --- what is known of tables ----------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return what SQLite knows of the target."""
        found = self._definition()
        return found.table if found else None

    def _definition(self) -> catalog.Definition | None:
        if self._known is None:
            if not self._session.is_open and not room.is_there(self._session.location.path):
                return None
            self._known = catalog.read(self._opened(), self.table)
        return self._known

    def _existing(self) -> catalog.Definition:
        found = self._definition()
        if found is None:
            raise errors.ConfigError(f"{self._session.subject} has no table {self.table}")
        return found

    def _fields(self, name: str) -> dict[str, pa.Field]:
        """Return the fields of the target's columns, and of those that only `name` has."""
        table = self.describe()
        known = {column.name: column.field for column in table.columns} if table else {}
        return known | {field.name: field for field in self._extra.get(name, ())}
