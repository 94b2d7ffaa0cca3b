"""Finding the row that DuckDB refused: it names the fault, but neither row nor key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb
import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.duckdb import failure

REJECTIONS = frozenset(
    {"Conversion", "Constraint", "Out of Range", "Invalid Input", "Mismatch Type", "Type Mismatch"}
)


def first_refused(rows: int, accepts: Callable[[int], bool]) -> int:
    """Return the first row that a load refuses.

    Args:
        rows: how many there are; loading all of them failed.
        accepts: whether the first so many rows can be loaded; undoes the attempt.
    """
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        if accepts(middle):
            low = middle
        else:
            high = middle
    return low


def explain(
    error: duckdb.Error,
    batch: base.Batch,
    row: int,
    table: base.Table | None,
    name: str,
    key: Sequence[str],
    accepts_cell: Callable[[pa.RecordBatch, str], bool],
) -> errors.DataError:
    """Return the error for a refused row.

    Args:
        error: what DuckDB said of it.
        batch: the rows.
        row: index of the refused one.
        table: the target as described; None when it is new.
        name: the table as messages name it.
        key: key columns.
        accepts_cell: whether one column of a one-row batch fits the column of that name.
    """
    text = failure.text_of(error)
    found = batch.key_of(row, key)
    if failure.kind_of(error) == "Constraint":
        if "NOT NULL" in text:
            return _null(batch, row, table, name, key, text)
        if "duplicate key" in text.lower() or "unique" in text.lower():
            return errors.DuplicateKeyError(name, found, reason=text)
        return errors.ValueRejectedError(name, column=None, key=found, reason=text)
    one = batch.arrow.slice(row, 1)
    for column in batch.arrow.schema.names:
        if not accepts_cell(one, column):
            value = one.column(column)[0].as_py()
            return errors.ValueRejectedError(
                name, column=column, value=value, key=found, reason=text
            )
    return errors.ValueRejectedError(name, column=None, key=found, reason=text)


def _null(
    batch: base.Batch,
    row: int,
    table: base.Table | None,
    name: str,
    key: Sequence[str],
    text: str,
) -> errors.DataError:
    empty = [
        column
        for column in batch.arrow.schema.names
        if not batch.arrow.column(column)[row].is_valid
    ]
    for column in empty:
        if column in key:
            return errors.NullKeyError(name, column, batch.key_of(row, ()))
    described = [table.column(column) for column in empty] if table else []
    required = [column.name for column in described if column and not column.field.nullable]
    refused = required[0] if required else (text.rpartition(".")[2] or None)
    return errors.ValueRejectedError(
        name, column=refused, key=batch.key_of(row, key), reason="null is not allowed"
    )
