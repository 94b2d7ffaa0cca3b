"""Batches into a table that nobody else sees, by ``COPY … FROM STDIN``.

One transaction holds all batches of a shadow, which is written with ``FREEZE``: nothing has to
visit the rows again for visibility or wraparound, and a reader whose own transaction is older than
the swap sees the new rows where it would see an empty table otherwise. ``FREEZE`` asks for a table
that was created or truncated in the same transaction; truncating is chosen, because creating a copy
in it would lock the target for the length of the load. The time of a load is the same. Staged rows
are never read by others: each batch is committed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import psycopg

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import error
from tmg_etl.connectors.postgres import session as session_module

quote = session_module.quote

_COLUMN = re.compile(r", column (.*?)(?:: |$)", re.S)
#: "(Key (part, code)=(7, a@x) is duplicated.)", in the server's language.
_DETAIL = re.compile(r"\((?P<columns>[^()]+)\)=\((?P<values>.*)\) ")
_NUMBER = re.compile(r"\d+")
#: Classes of SQLSTATE that one value brings about; 22P04 is text that we wrote wrongly.
_VALUE_CLASSES = ("22", "23", "54", "0A")
_OUR_FAULT = "22P04"


class Loader:
    """The loading transaction of a session.

    Args:
        session: the target's main session.
        table: the target's name, for messages.
    """

    def __init__(self, session: session_module.Session, table: str) -> None:
        self._session = session
        self._table = table
        self._loading: str | None = None
        self._loaded: set[str] = set()

    def load(
        self, name: str, qualified: str, batch: base.Batch, key: Sequence[str], *, freezes: bool
    ) -> int:
        """Append a batch; return the rows that the server took.

        Args:
            name: the table.
            qualified: the same with its schema, quoted.
            batch: the rows.
            key: key columns, for the message of a refused row.
            freezes: whether the table will be read by others.
        """
        if self._loading != name:
            self.finish()
            # Rows that an earlier transaction loaded stay; those that follow are written plainly.
            if freezes and name not in self._loaded:
                self._begin(name, qualified)
            self._loaded.add(name)
        assert batch.text is not None
        columns = ", ".join(quote(column) for column in batch.arrow.schema.names)
        options = " (FREEZE)" if self._loading else ""
        statement = f"COPY {qualified} ({columns}) FROM STDIN{options}"
        try:
            with self._session.stop.cancelling(self._session.cancel):
                cursor = self._session.raw.cursor()
                with cursor.copy(statement.encode()) as copy:
                    copy.write(batch.text)
                return cursor.rowcount
        except psycopg.Error as found:
            self.abandon()
            raise self._refused(found, name, batch, key) from found
        except BaseException:
            self.abandon()
            raise

    def _begin(self, name: str, qualified: str) -> None:
        self._loading = name
        try:
            self._session.execute(f"BEGIN; TRUNCATE {qualified}")
        except BaseException:
            self.abandon()
            raise

    def finish(self) -> None:
        """Commit what was loaded, if anything was."""
        if self._loading is not None:
            self._loading = None
            try:
                self._session.execute("COMMIT", can_stop=False)
            except BaseException:
                self._session.roll_back()
                raise

    def abandon(self) -> None:
        """Undo what was loaded, if anything was."""
        if self._loading is not None:
            self._loading = None
            self._session.roll_back()

    def forget(self, name: str) -> None:
        """Undo what is being loaded; take a table of that name for a new one from now on."""
        self.abandon()
        self._loaded.discard(name)

    def _refused(
        self, found: psycopg.Error, name: str, batch: base.Batch, key: Sequence[str]
    ) -> Exception:
        code = found.sqlstate or ""
        if not code.startswith(_VALUE_CLASSES) or code == _OUR_FAULT:
            return self._session.translated(found)
        row, column = _place(found, name)
        if row is None or row >= batch.arrow.num_rows:
            return errors.ValueRejectedError(
                self._table, column=column, reason=error.primary(found)
            )
        if (
            code == psycopg.errors.NotNullViolation.sqlstate
            and column is not None
            and column in key
        ):
            return errors.NullKeyError(self._table, column, batch.key_of(row, ()))
        rule = error.CONSTRAINTS.get(code)
        if rule is not None and column not in batch.arrow.schema.names:
            known = batch.key_of(row, key)
            return errors.ConstraintError(self._table, rule, error.primary(found), key=known)
        value: Any = None
        if column in batch.arrow.schema.names:
            scalar = batch.arrow.column(column)[row]
            value = "null" if not scalar.is_valid else str(scalar.as_py())
        return errors.ValueRejectedError(
            self._table,
            column=column,
            value=value,
            key=batch.key_of(row, key),
            reason=error.primary(found),
        )


def _place(found: psycopg.Error, name: str) -> tuple[int | None, str | None]:
    """Return row of the batch and column that the server complains of.

    Its context reads ``COPY table, line 3, column amount: "x"``, in its own language: the number is
    the first one after the table's name.
    """
    context = found.diag.context or ""
    _, _, rest = context.partition(name)
    number = _NUMBER.search(rest)
    column = _COLUMN.search(rest)
    return (
        int(number.group()) - 1 if number else None,
        found.diag.column_name or (column.group(1) if column else None),
    )


def find_duplicate(
    session: session_module.Session, qualified: str, columns: Sequence[str]
) -> dict[str, object] | None:
    """Return one key that occurs more than once, or None."""
    if not columns:
        return None
    names = ", ".join(map(quote, columns))
    with contextlib.suppress(errors.TmgEtlError):
        found = session.rows(
            f"SELECT {names} FROM {qualified} GROUP BY {names} HAVING count(*) > 1"
            f" ORDER BY {names} LIMIT 1"
        )
        if found:
            return dict(zip(columns, found[0], strict=True))
    return None


def find_row(
    session: session_module.Session, qualified: str, key: Sequence[str], said: str
) -> dict[str, object] | None:
    """Return the key of the last row that has the values of a constraint's message, or None."""
    found = _DETAIL.search(said)
    if found is None or not key:
        return None
    columns, values = (found[part].split(", ") for part in ("columns", "values"))
    keys, order = (", ".join(f"{quote(name)}{end}" for name in key) for end in ("", " DESC"))
    match = " AND ".join(f"{column}::text = %s" for column in columns)
    with contextlib.suppress(errors.TmgEtlError, psycopg.Error):
        rows = session.rows(
            f"SELECT {keys} FROM {qualified} WHERE {match} ORDER BY {order} LIMIT 1", values
        )
        if rows:
            return dict(zip(key, rows[0], strict=True))
    return None
