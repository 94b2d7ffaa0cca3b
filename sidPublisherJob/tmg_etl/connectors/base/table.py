"""What is known of a table, and rows on their way into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of an existing table.

    Attributes:
        field: name, Arrow type that carries its values without loss, nullability, JSON mark.
        native: type as its database writes it.
        has_default: an insert may leave it out (default, identity, auto-increment).
        is_generated: the database computes it; it cannot be written.
    """

    field: pa.Field
    native: str
    has_default: bool = False
    is_generated: bool = False

    @property
    def name(self) -> str:
        """Return the column's name."""
        name: str = self.field.name
        return name


@dataclasses.dataclass(frozen=True)
class Check:
    """A CHECK constraint of a table.

    Attributes:
        name: or its text, where it has none.
        condition: SQL over the table's columns; None where rows may be there that break it.
    """

    name: str
    condition: str | None

    @property
    def words(self) -> str:
        """Return what plans call it."""
        return f"the check {self.name}"


@dataclasses.dataclass(frozen=True)
class ForeignKey:
    """A foreign key of a table, or of another one to it.

    Attributes:
        name: empty where it has none.
        columns: of this table.
        table: the other one, as statements write it.
        others: its columns, one for each of `columns`.
        is_incoming: whether the other table refers to this one.
        obstacle: why rows do not tell whether it will hold; None where they do.
    """

    name: str
    columns: tuple[str, ...]
    table: str
    others: tuple[str, ...]
    is_incoming: bool
    obstacle: str | None = None

    @property
    def words(self) -> str:
        """Return what plans call it."""
        name = f"{self.name} " if self.name else ""
        if self.is_incoming:
            return f"referenced by foreign key {name}of table {self.table}"
        return f"foreign key {name}to table {self.table}"


@dataclasses.dataclass(frozen=True)
class Table:
    """What is known of an existing table.

    Attributes:
        columns: in the table's order.
        primary_key: column names; empty when there is none.
        unique_keys: column names of every other unique constraint or index.
        indexes: names of the secondary indexes.
        row_estimate: rows, as the statistics have it; None when unknown.
        swap_blockers: why replacing the table by a rename would lose or break something, one
            phrase each ("referenced by foreign key a of table b"); empty when it would not.
        change_blockers: why its rows cannot be updated or deleted in place, one phrase each, with
            what to do about it; empty when they can.
        checks: its CHECK constraints.
        referenced: columns that foreign keys of other tables refer to.
    """

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[str, ...] = ()
    row_estimate: int | None = None
    swap_blockers: tuple[str, ...] = ()
    change_blockers: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    referenced: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of all columns."""
        return pa.schema([column.field for column in self.columns])

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def is_unique_over(self, key: Sequence[str]) -> bool:
        """Return whether the database itself refuses two rows with one `key`."""
        candidates = [self.primary_key, *self.unique_keys]
        return any(unique and set(unique) <= set(key) for unique in candidates)

    def has_key(self, key: Sequence[str]) -> bool:
        """Return whether just these columns, in any order, are one of its unique keys."""
        return any(set(key) == set(one) for one in (self.primary_key, *self.unique_keys))

    def other_keys(self, key: Sequence[str], columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the unique keys beside `key` that two rows may be in each other's way of."""
        written = set(columns) - set(key)
        return [
            unique
            for unique in (self.primary_key, *self.unique_keys)
            if written & set(unique) and not set(key) <= set(unique)
        ]

    def emptied(self, key: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return a column of each of `other_keys` that may be null while values change places.

        None at all where one of them has no such column. What other tables refer to may not be: a
        foreign key might hand the null on.
        """
        free = {
            column.name
            for column in self.columns
            if column.field.nullable and column.name in columns and column.name not in key
        }
        free -= self.referenced
        found = [
            next((name for name in unique if name in free), None)
            for unique in self.other_keys(key, columns)
        ]
        return [] if None in found else [name for name in dict.fromkeys(found) if name]

    def can_return(self, columns: Sequence[str]) -> bool:
        """Return whether a row can be deleted and inserted again of `columns`: nothing is lost."""
        return not self.referenced and self.is_written_by(columns)

    def is_written_by(self, columns: Sequence[str]) -> bool:
        """Return whether rows of `columns` leave nothing to defaults."""
        return all(column.is_generated or column.name in columns for column in self.columns)


@dataclasses.dataclass(frozen=True)
class Index:
    """A secondary index to create."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows on their way into a table.

    Attributes:
        arrow: the rows, cast to the table's column types, in the order of the loaded columns.
        text: the same rows as text (`TextFormat`), one line each, ended by a newline; None when
            the target's `ingest` is Arrow.
        first_row: number of rows loaded before this batch.
    """

    arrow: pa.RecordBatch
    text: bytes | memoryview | None
    first_row: int

    def key_of(self, row: int, key: Sequence[str]) -> dict[str, object]:
        """Return the key of the row at index `row` of this batch; the whole row without a key."""
        names = [name for name in key if name in self.arrow.schema.names]
        return {
            name: self.arrow.column(name)[row].as_py() for name in names or self.arrow.schema.names
        }
