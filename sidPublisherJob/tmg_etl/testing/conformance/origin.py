"""Where the source suites read from: tables made without the connector under test."""

from __future__ import annotations

import abc
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl.testing.conformance import profile


@dataclasses.dataclass(frozen=True)
class Native:
    """One column of a system's own type.

    Attributes:
        field: its name, and the Arrow type that a source must give it.
        native: type in the system's words.
        cells: pairs of a literal in the system's words and the value that it means; as many as
            the other columns have.
    """

    field: pa.Field
    native: str
    cells: tuple[tuple[str, object], ...]


class Origin(abc.ABC):
    """A place with tables to read."""

    @property
    @abc.abstractmethod
    def connection(self) -> Mapping[str, Any]:
        """Return the entry for `connections` of a config that leads here."""

    @property
    def source(self) -> Mapping[str, Any]:
        """Return what else to write in `source` of every transfer."""
        return {}

    @abc.abstractmethod
    def seed_types(self, table: str) -> pa.Table:
        """Make a table of every type, and return the rows to expect, ordered by `id` from 1."""

    @abc.abstractmethod
    def seed(self, table: str, rows: Sequence[tuple[int, datetime.date | None, str]]) -> None:
        """Make a table with `id` (64-bit integer), `day` (date) and `name` (text)."""

    @abc.abstractmethod
    def rename_column(self, table: str, old: str, new: str) -> None:
        """Rename a column of a table."""

    @abc.abstractmethod
    def change(self, table: str) -> None:
        """Change, add and remove rows of a table made by `seed`, and commit."""

    def takes_table(self, name: str) -> bool:
        """Return whether a table may be called so here."""
        return True

    def takes_column(self, name: str) -> bool:
        """Return whether a column may be called so here."""
        return True

    @abc.abstractmethod
    def drop(self, table: str) -> None:
        """Remove a table; fails when somebody still reads it."""


class SqlOrigin(Origin):
    """Tables of a SQL database.

    Args:
        place: how to reach it by its own driver; statements must give up after some seconds when
            they have to wait.
        natives: the columns of `seed_types`.
        integer: name of the 64-bit integer type.
        text: name of the text type.
        nullable: what follows the type of a column that may be null.
    """

    def __init__(
        self,
        place: profile.SqlPlace,
        natives: Sequence[Native],
        *,
        integer: str = "BIGINT",
        text: str = "TEXT",
        nullable: str = " NULL",
    ) -> None:
        self.place = place
        self.natives = natives
        self.integer, self.text, self.nullable = integer, text, nullable

    @property
    def connection(self) -> Mapping[str, Any]:
        """Return the entry for `connections`."""
        return self.place.connection

    def seed_types(self, table: str) -> pa.Table:
        """Make a table of every native type, with a row of nulls at the end."""
        quote = self.place.quote
        columns = ", ".join(
            f"{quote(item.field.name)} {item.native}{self.nullable}" for item in self.natives
        )
        self.place.execute(f"CREATE TABLE {quote(table)} (id {self.integer}, {columns})")
        depth = len(self.natives[0].cells)
        for row in range(depth):
            cells = ", ".join(item.cells[row][0] for item in self.natives)
            self.place.execute(f"INSERT INTO {quote(table)} VALUES ({row + 1}, {cells})")
        self.place.execute(f"INSERT INTO {quote(table)} (id) VALUES ({depth + 1})")
        arrays = [pa.array(range(1, depth + 2), pa.int64())]
        for item in self.natives:
            values = [*(value for _, value in item.cells), None]
            arrays.append(pa.array(values, item.field.type))
        fields = [pa.field("id", pa.int64()), *(item.field for item in self.natives)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def seed(self, table: str, rows: Sequence[tuple[int, datetime.date | None, str]]) -> None:
        """Make a table with `id`, `day` and `name`."""
        name = self.place.quote(table)
        self.place.execute(f"CREATE TABLE {name} (id {self.integer}, day DATE, name {self.text})")
        if rows:
            cells = ", ".join(f"({key}, {_literal(day)}, '{text}')" for key, day, text in rows)
            self.place.execute(f"INSERT INTO {name} VALUES {cells}")

    def rename_column(self, table: str, old: str, new: str) -> None:
        """Rename a column."""
        quote = self.place.quote
        self.place.execute(f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(old)} TO {quote(new)}")

    def change(self, table: str) -> None:
        """Change, add and remove rows."""
        name = self.place.quote(table)
        self.place.execute(f"UPDATE {name} SET name = 'changed' WHERE id > 1")
        self.place.execute(f"INSERT INTO {name} (id, name) VALUES (99, 'added')")
        self.place.execute(f"DELETE FROM {name} WHERE id = 1")

    def takes_table(self, name: str) -> bool:
        """Return whether a table may be called so here."""
        return self.place.traits.takes_table(name)

    def takes_column(self, name: str) -> bool:
        """Return whether a column may be called so here."""
        return self.place.traits.takes_column(name)

    def drop(self, table: str) -> None:
        """Drop a table."""
        self.place.execute(f"DROP TABLE {self.place.quote(table)}")


def _literal(day: datetime.date | None) -> str:
    return f"'{day}'" if day else "NULL"
