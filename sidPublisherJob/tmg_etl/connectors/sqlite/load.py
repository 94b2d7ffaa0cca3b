"""Rows on their way into SQLite, and what a refusal of one means."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.sqlite import database, datatype

# Rows that are Python objects at one time.
_SLICE_ROWS = 8_192
_TWICE = (
    "SQLITE_CONSTRAINT_UNIQUE",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_ROWID",
)


class Rows:
    """The rows of a batch as the driver binds them, counted as it takes them.

    The driver stops at the row that is refused, so the count tells which one it is.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._rows = self._read(batch)
        self.taken = 0

    def _read(self, batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
        slices = (
            batch.slice(start, _SLICE_ROWS) for start in range(0, batch.num_rows, _SLICE_ROWS)
        )
        return itertools.chain.from_iterable(
            zip(*(datatype.to_cells(column) for column in part.columns), strict=True)
            for part in slices
        )

    def __iter__(self) -> Rows:
        """Return itself: rows are taken once."""
        return self

    def __next__(self) -> tuple[Any, ...]:
        """Return the next row."""
        row = next(self._rows)
        self.taken += 1
        return row


def explain(
    error: sqlite3.IntegrityError, batch: base.Batch, row: int, table: str, key: Sequence[str]
) -> errors.DataError:
    """Return the error for the row that was refused.

    Args:
        error: what SQLite said of it.
        batch: the rows.
        row: index of the refused one.
        table: the target, as messages name it.
        key: key columns.
    """
    code, text = database.code_of(error), str(error)
    found = batch.key_of(row, key)
    if code in _TWICE:
        # "UNIQUE constraint failed: _tmg_shadow_….id": the table's name says nothing to the user.
        columns = [part.rpartition(".")[2] for part in text.rpartition(": ")[2].split(", ")]
        if {name.lower() for name in columns} != {name.lower() for name in key}:
            return errors.UniqueError(table, batch.key_of(row, columns), row=found)
        return errors.DuplicateKeyError(table, found)
    # "NOT NULL constraint failed: t.name", "cannot store TEXT value in INT column t.name"
    column = next((name for name in batch.arrow.schema.names if text.endswith(f".{name}")), None)
    if code == "SQLITE_CONSTRAINT_NOTNULL":
        if column in key:
            return errors.NullKeyError(table, str(column), batch.key_of(row, ()))
        if column is None:
            # One that the source does not fill.
            return errors.ConstraintError(table, errors.Constraint.NOT_NULL, text, key=found)
        return errors.ValueRejectedError(
            table, column=column, key=found, reason="null is not allowed"
        )
    rule = database.CONSTRAINTS.get(code)
    if rule is not None:
        return errors.ConstraintError(table, rule, text, key=found)
    value = batch.arrow.column(column)[row].as_py() if column else None
    return errors.ValueRejectedError(table, column=column, value=value, key=found, reason=text)
