"""What a connector's author declares and supplies: traits, and hands that work without it.

A place is where one test module publishes to, or reads from. Everything it does goes through the
system's own driver and never through the connector under test.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tmg_etl.connectors import base

#: What a target may lack. Everything else is asked of every target.
GAPS = {
    "nan": "floats hold no NaN",
    "infinity": "floats hold no infinity",
    "negative_zero": "-0.0 becomes 0.0",
    "nul": "text holds no NUL character",
    "zones": "instants become wall-clock timestamps in UTC",
    "diff": "there is no in-database diff",
    "merge": "there is no delta",
    "narrow": "columns have no types of limited range",
    "foreign_keys": "a foreign key is asked of what is committed, not of what a transaction wrote",
    "unique": "nothing but the run itself refuses two rows with one key",
}


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a target can hold, declared once more, apart from the connector.

    Attributes:
        gaps: names from `GAPS`; what is not here must work.
        max_decimal: largest (precision, scale).
        min_date: first day that a date or timestamp column holds.
        longest_name: characters of the longest table or column name.
        refused_in_tables: characters that no table's name may hold.
        dotted_tables: whether a config takes a table's name with a dot in it.
        refused_in_columns: characters that no column's name may hold.
        sampled_decimal: largest (precision, scale) of the sample, where a stand-in for the system
            holds less than the system; None is `max_decimal`.
        changed_cells: cells of each column that are changed one by one; None is all of them, a
            number is for systems where each change takes a second.
    """

    gaps: frozenset[str] = frozenset()
    max_decimal: tuple[int, int] = (76, 76)
    min_date: datetime.date = datetime.date.min
    longest_name: int = 64
    refused_in_tables: str = ""
    dotted_tables: bool = True
    refused_in_columns: str = ""
    sampled_decimal: tuple[int, int] | None = None
    changed_cells: int | None = None

    def __post_init__(self) -> None:
        """Refuse a gap that nobody knows: a misspelt one would excuse nothing."""
        unknown = self.gaps - GAPS.keys()
        if unknown:
            raise ValueError(f"unknown gaps {sorted(unknown)}; known are {sorted(GAPS)}")

    def holds(self, name: str) -> bool:
        """Return whether `name` of `GAPS` is no gap of this target."""
        if name not in GAPS:
            raise ValueError(f"unknown gap {name!r}")
        return name not in self.gaps

    def takes_table(self, name: str) -> bool:
        """Return whether a table may be called so."""
        return not set(self.refused_in_tables) & set(name)

    def takes_column(self, name: str) -> bool:
        """Return whether a column may be called so."""
        return not set(self.refused_in_columns) & set(name)

    @property
    def publishes(self) -> tuple[str, ...]:
        """Return the kinds of publish that a full refresh can ask for."""
        return ("swap", "diff") if self.holds("diff") else ("swap",)


class TargetPlace(abc.ABC):
    """An empty place where tables are published, and the means to look at them from outside."""

    traits: ClassVar[Traits]

    @property
    @abc.abstractmethod
    def connection(self) -> Mapping[str, Any]:
        """Return the entry for `connections` of a config that leads here."""

    @abc.abstractmethod
    def tables(self) -> set[str]:
        """Return the names of all tables, temporary ones of runs too."""

    @abc.abstractmethod
    def read(self, table: str, schema: pa.Schema) -> list[dict[str, object]]:
        """Return the rows of a table as `sample.expected` gives them, ordered by the first column.

        Args:
            table: its name.
            schema: the columns to return, with the Arrow types that were sent.
        """

    @abc.abstractmethod
    def dump(self, table: str) -> list[str]:
        """Return every row of a table as text, sorted; empty when there is no such table."""

    @abc.abstractmethod
    def leave_behind(self, name: str) -> None:
        """Create a table of that name, as a run that was killed would have left it."""

    @abc.abstractmethod
    def keep_copy(self, table: str, copy: str) -> None:
        """Copy a table, for `set_cell`."""

    @abc.abstractmethod
    def set_cell(self, table: str, copy: str, column: str, row: int, taken_from: int) -> None:
        """Overwrite one cell of `table` with that of another row of its copy.

        Args:
            table: what to change.
            copy: made by `keep_copy`.
            column: whose cell.
            row: `id` of the row to change.
            taken_from: `id` of the row of `copy` whose value it gets.
        """

    @abc.abstractmethod
    def tamper(self, target: base.Target, name: str) -> None:
        """Remove the rows with `id` 1 from a table that a run is building.

        Args:
            target: the run's own; for systems that show unpublished rows to their writer only.
            name: the table being built.
        """


class SqlPlace(TargetPlace):
    """A place in a SQL database: supply the driver, and how its values become Python's."""

    quote_mark: ClassVar[str] = '"'

    @abc.abstractmethod
    def execute(self, sql: str) -> None:
        """Run one statement and commit it."""

    @abc.abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""

    def value(self, raw: Any, field: pa.Field) -> object:
        """Return what the driver gave for a cell that is not null, as `sample.expected` has it."""
        return raw

    def selected(self, field: pa.Field) -> str:
        """Return the expression that reads a column so that the driver loses nothing."""
        return self.quote(field.name)

    def quote(self, name: str) -> str:
        """Return an identifier, quoted."""
        mark = self.quote_mark
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    def read(self, table: str, schema: pa.Schema) -> list[dict[str, object]]:
        """Return the rows of a table, ordered by the first column."""
        columns = ", ".join(self.selected(field) for field in schema)
        found = self.query(f"SELECT {columns} FROM {self.quote(table)} ORDER BY 1")
        return [
            {
                field.name: None if raw is None else self.value(raw, field)
                for field, raw in zip(schema, row, strict=True)
            }
            for row in found
        ]

    def dump(self, table: str) -> list[str]:
        """Return every row of a table as text, sorted; empty when there is no such table."""
        if table not in self.tables():
            return []
        return sorted(repr(row) for row in self.query(f"SELECT * FROM {self.quote(table)}"))

    def leave_behind(self, name: str) -> None:
        """Create a table of that name with one row."""
        self.execute(f"CREATE TABLE {self.quote(name)} AS SELECT 1 AS id")

    def keep_copy(self, table: str, copy: str) -> None:
        """Copy a table."""
        self.execute(f"CREATE TABLE {self.quote(copy)} AS SELECT * FROM {self.quote(table)}")

    def set_cell(self, table: str, copy: str, column: str, row: int, taken_from: int) -> None:
        """Overwrite one cell of `table` with that of another row of its copy."""
        cell = self.quote(column)
        self.execute(
            f"UPDATE {self.quote(table)} SET {cell} ="
            f" (SELECT {cell} FROM {self.quote(copy)} AS c WHERE c.id = {taken_from})"
            f" WHERE id = {row}"
        )

    def tamper(self, target: base.Target, name: str) -> None:
        """Remove the row with `id` 1 from a table that a run is building."""
        # Over the run's own connection: it may hold what it loads in an open transaction.
        run: Callable[[str], int] = target.run  # type: ignore[attr-defined]
        run(f"DELETE FROM {self.quote(name)} WHERE id = 1")
