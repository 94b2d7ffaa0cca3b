"""What DuckDB says in a way of its own: the clauses of merges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tmg_etl.connectors import merge, sql
from tmg_etl.connectors.duckdb import database, source

# By type, a value that no two equal but different values are; see `DuckDBTarget._update`.
_THIRD_VALUES = {
    "DOUBLE": "5e-324",
    "FLOAT": "CAST('1e-45' AS FLOAT)",
    "INTERVAL": "INTERVAL 1 MICROSECOND",
}


class DuckDBDialect(merge.SqlTarget):
    """A target's driver and its clauses.

    Args:
        session: of its own, or of another target; opened when it is needed.
        table: the target's name; its case is ignored, as DuckDB does.
        schema: database schema; None is ``main``.
    """

    def __init__(self, session: database.Session, table: str, schema: str | None) -> None:
        self.table = table
        self._session = session
        self._schema = schema or "main"

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

    def qualified(self, name: str) -> str:
        """Return the table's name with its schema."""
        if name in self.own_tables:
            return f"temp.main.{self.quote(name)}"
        return f"{self.quote(self._schema)}.{self.quote(name)}"

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells differ in any byte.

        DuckDB takes 0.0 and -0.0 for equal, and texts that its column's collation does; an
        interval of a month is as long as one of thirty days.
        """
        kind = field.type
        if pa.types.is_floating(kind):
            zeros = f"({left} = 0 AND {right} = 0 AND signbit({left}) <> signbit({right}))"
            return f"({left} IS DISTINCT FROM {right} OR {zeros})"
        if pa.types.is_string(kind) or pa.types.is_nested(kind):
            as_bytes = "encode(CAST({} AS VARCHAR))".format
            return (
                f"({left} IS DISTINCT FROM {right}"
                f" OR {as_bytes(left)} IS DISTINCT FROM {as_bytes(right)})"
            )
        return super().differs(field, left, right)

    def _update(self, origin: str, columns: Sequence[str], key: Sequence[str], match: str) -> int:
        """Update the rows that differ, also where DuckDB would leave a cell as it is.

        An UPDATE does not write a value that it takes for equal to the old one: 0.0 stays when
        -0.0 is assigned, and 30 days when a month is; and what is behind a null counts as well.
        Such cells get a third value first.
        """
        if self.is_rehearsing:
            return super()._update(origin, columns, key, match)
        carriers = source.read_carriers(self._opened(), self.qualified(self.table))
        for carrier in carriers:
            third = _THIRD_VALUES.get(carrier.native)
            name = carrier.field.name
            if third is None or name not in columns or name in key:
                continue
            held, sent = (
                f"{self.quote(self.table)}.{self.quote(name)}",
                f"{sql.STAGED}.{self.quote(name)}",
            )
            same = f"({held} = {sent} AND {self.differs(carrier.field, held, sent)})"
            if pa.types.is_floating(carrier.field.type):
                same = f"({same} OR ({held} IS NULL AND {sent} = 0))"
            else:
                same = f"({same} OR ({held} IS NULL AND {sent} IS NOT NULL))"
            self.run(self.update_from(origin, f"{self.quote(name)} = {third}", match, same))
        return super()._update(origin, columns, key, match)

    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return the texts of all columns, each with its length in front, as bytes."""
        pieces = []
        for carrier in source.read_carriers(self._opened(), self.qualified(table)):
            name = self.quote(carrier.field.name)
            if carrier.field.name not in columns:
                continue
            text = f"hex({name})" if carrier.native == "BLOB" else f"CAST({name} AS VARCHAR)"
            pieces.append(
                f"CASE WHEN {name} IS NULL THEN '-' ELSE length({text}) || ':' || {text} END"
            )
        return f"encode(concat({', '.join(pieces)}))"
