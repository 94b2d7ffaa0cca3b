"""Inserting Arrow batches, and finding the row that DuckDB refused.

DuckDB names the fault of a refused row, but neither the row nor its key. They are found by loading
ever shorter heads of the batch and undoing that.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.duckdb import database, failure, source

_INCOMING = "_tmg_incoming"
_REJECTIONS = frozenset(
    {"Conversion", "Constraint", "Out of Range", "Invalid Input", "Mismatch Type", "Type Mismatch"}
)


class Loader:
    """Fills one table.

    Args:
        session: where it is; no transaction is open.
        table: its qualified name.
        subject: the target's name, for messages.
        known: the target as described; None when it is new.
    """

    def __init__(
        self, session: database.Session, table: str, subject: str, known: base.Table | None
    ) -> None:
        self._session = session
        self._table = table
        self._subject = subject
        self._known = known

    def load(self, batch: base.Batch, key: Sequence[str]) -> int:
        """Insert a batch in a transaction of its own; return the rows that DuckDB took.

        Raises:
            errors.DataError: a row is refused; names its key.
        """
        try:
            with failure.explained(self._session.subject, self._session.stop):
                return self._insert(batch.arrow)
        except errors.TmgEtlError as error:
            cause = error.__cause__
            if isinstance(cause, duckdb.Error) and failure.kind_of(cause) in _REJECTIONS:
                raise self._refusal(batch, key, cause) from cause
            raise

    def _insert(self, rows: pa.RecordBatch) -> int:
        cursor = self._session.cursor
        cursor.register(_INCOMING, rows)
        try:
            with self._session.stop.cancelling(cursor.interrupt):
                cursor.execute(self._insertion(rows))
                return int(cursor.fetchall()[0][0])
        finally:
            cursor.unregister(_INCOMING)

    def _insertion(self, rows: pa.RecordBatch) -> str:
        names = ", ".join(source.quote(name) for name in rows.schema.names)
        return f"INSERT INTO {self._table} ({names}) SELECT {names} FROM {_INCOMING}"

    def _refusal(
        self, batch: base.Batch, key: Sequence[str], error: duckdb.Error
    ) -> errors.DataError:
        low, high = 0, batch.arrow.num_rows
        while high - low > 1:
            middle = (low + high) // 2
            refused = self._tried(batch.arrow.slice(0, middle))
            if refused is None:
                low = middle
            else:
                high, error = middle, refused
        return self._explained(error, batch, low, key)

    def _tried(self, rows: pa.RecordBatch) -> duckdb.Error | None:
        """Insert rows and undo it; return the error if they were refused."""
        cursor = self._session.cursor
        cursor.register(_INCOMING, rows)
        cursor.execute("BEGIN TRANSACTION")
        try:
            cursor.execute(self._insertion(rows))
        except duckdb.Error as error:
            return error
        finally:
            # A failed transaction must end before anything else can be said to DuckDB.
            cursor.execute("ROLLBACK")
            cursor.unregister(_INCOMING)
        return None

    def _explained(
        self, error: duckdb.Error, batch: base.Batch, row: int, key: Sequence[str]
    ) -> errors.DataError:
        text = failure.text_of(error)
        found = batch.key_of(row, key)
        if failure.kind_of(error) == "Constraint":
            if "NOT NULL" in text:
                return self._null(batch, row, key, text)
            if "duplicate key" in text.lower():
                return self._twice(batch, row, key, text)
            return errors.ConstraintError(self._subject, failure.rule_of(text), text, key=found)
        one = batch.arrow.slice(row, 1)
        column = next((name for name in one.schema.names if not self._fits(one, name)), None)
        value = one.column(column)[0].as_py() if column else None
        return errors.ValueRejectedError(
            self._subject, column=column, value=value, key=found, reason=text
        )

    def _twice(
        self, batch: base.Batch, row: int, key: Sequence[str], text: str
    ) -> errors.DataError:
        """Return the error for a value that occurs twice, in the key or another constraint."""
        found = batch.key_of(row, key)
        unique = (self._known.primary_key, *self._known.unique_keys) if self._known else ()
        for columns in unique:
            values = batch.key_of(row, columns)
            # "… duplicate key "a@x, b"": the values of the constraint, without its columns.
            shown = ", ".join(map(str, values.values()))
            if set(columns) != set(key) and text.endswith(f'"{shown}"'):
                return errors.UniqueError(self._subject, values, row=found)
        return errors.DuplicateKeyError(self._subject, found)

    def _null(self, batch: base.Batch, row: int, key: Sequence[str], text: str) -> errors.DataError:
        names = batch.arrow.schema.names
        empty = [name for name in names if not batch.arrow.column(name)[row].is_valid]
        for name in empty:
            if name in key:
                return errors.NullKeyError(self._subject, name, batch.key_of(row, ()))
        described = [self._known.column(name) for name in empty] if self._known else []
        required = [column.name for column in described if column and not column.field.nullable]
        if not required:
            # One that the source does not fill.
            rule, found = errors.Constraint.NOT_NULL, batch.key_of(row, key)
            return errors.ConstraintError(self._subject, rule, text, key=found)
        return errors.ValueRejectedError(
            self._subject,
            column=required[0],
            key=batch.key_of(row, key),
            reason="null is not allowed",
        )

    def _fits(self, row: pa.RecordBatch, column: str) -> bool:
        """Return whether a cell can be cast to its column's type."""
        kinds = {
            carrier.field.name: carrier.native
            for carrier in source.read_carriers(self._session, self._table)
        }
        cursor = self._session.cursor
        cursor.register(_INCOMING, row.select([column]))
        try:
            cursor.execute(
                f"SELECT CAST({source.quote(column)} AS {kinds[column]}) IS NULL FROM {_INCOMING}"
            ).fetchall()
        except duckdb.Error:
            return False
        finally:
            cursor.unregister(_INCOMING)
        return True
