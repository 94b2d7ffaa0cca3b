"""Rows into a table: `LOAD DATA LOCAL` from memory, or wide INSERTs where that is switched off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pymysql

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import catalogue, error, lane, refusal
from tmg_etl.connectors.mysql import session as session_module

#: Bytes of one INSERT at most; shorter ones measured slower.
_INSERT_BYTES = 4 * 1024 * 1024
_WARNINGS = 1000
#: What two lanes may do to each other when they meet in an index: the later one is tried again.
_COLLISIONS = frozenset({error.DEADLOCK, error.LOCK_WAIT_TIMEOUT})


@dataclasses.dataclass(frozen=True)
class Layout:
    """The table that is being loaded.

    Attributes:
        place: its name, quoted and qualified.
        entry: what the catalogue says of it.
        columns: what a batch holds, in its order.
    """

    place: str
    entry: catalogue.Entry
    columns: tuple[str, ...]

    def conversion(self, column: str) -> str | None:
        """Return the SQL, with ``{}`` for the text, that a column needs; None for none."""
        kind = self.entry.kinds[column]
        if kind.is_converted:
            return "CAST({} AS UNSIGNED)"
        if pa.types.is_binary(kind.field.type):
            return "UNHEX({})"
        return None

    def load_statement(self) -> str:
        """Return the LOAD DATA statement, ``{file}`` in the place of the file's name."""
        converted = {
            name: sql for name in self.columns if (sql := self.conversion(name)) is not None
        }
        automatic = self.entry.auto_increment
        if converted and automatic in self.columns:
            # MariaDB forgets NO_AUTO_VALUE_ON_ZERO for a column outside a SET clause: 0 becomes 1.
            converted[automatic] = "{}"
        places, assignments = [], []
        for number, name in enumerate(self.columns):
            if name in converted:
                places.append(f"@c{number}")
                assignment = converted[name].format(f"@c{number}")
                assignments.append(f"{catalogue.quoted(name)} = {assignment}")
            else:
                places.append(catalogue.quoted(name))
        clause = f" SET {', '.join(assignments)}" if assignments else ""
        # Doubled backslashes: the statement is SQL text, in which the server unescapes them.
        return (
            f"LOAD DATA LOCAL INFILE {{file}} INTO TABLE {self.place} CHARACTER SET utf8mb4"
            r" FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n'"
            f" ({', '.join(places)}){clause}"
        )


class Loader:
    """Loads batches of one layout over one session.

    Args:
        session: a lane.
        lanes: where it is from; what looks for a refused row waits until the others are idle.
        layout: where to.
        table: the target, as the user names it.
        is_local_infile: whether `LOAD DATA LOCAL` is worth trying.
    """

    def __init__(
        self,
        session: session_module.Session,
        lanes: lane.Lanes,
        layout: Layout,
        table: str,
        *,
        is_local_infile: bool,
    ) -> None:
        self._session = session
        self._lanes = lanes
        self._layout = layout
        self._table = table
        self.is_local_infile = is_local_infile
        self._statement = layout.load_statement()
        self._limit = min(_INSERT_BYTES, int(session.value("SELECT @@max_allowed_packet")) // 2)

    def load(self, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch; return its rows, all of which the server then holds.

        Raises:
            errors.ValueRejectedError: a cell does not fit.
            errors.DuplicateKeyError: a key is in the batch or in the table already.
        """
        if batch.text is None:
            raise TypeError("this target takes text")
        if not batch.arrow.num_rows:
            return 0
        self._refuse_unfilled(batch, key)
        refusal.refuse_unfit(self._table, batch, key, self._layout.entry.kinds)
        if self.is_local_infile:
            try:
                try:
                    return self._load_data(batch, key, batch.text)
                except pymysql.err.MySQLError as failure:
                    if error.number_of(failure) not in _COLLISIONS:
                        raise
                    with self._lanes.alone():
                        return self._load_data(batch, key, batch.text)
            except pymysql.err.MySQLError as failure:
                if error.number_of(failure) not in error.LOCAL_INFILE_OFF:
                    raise error.translated(
                        failure, str(self._session.place), self._table
                    ) from failure
                self.is_local_infile = False
        return self._insert(batch, key)

    def _refuse_unfilled(self, batch: base.Batch, key: Sequence[str]) -> None:
        """Refuse a column that must be filled and is not: MySQL's LOAD DATA makes it 0 or empty.

        Raises:
            errors.ConstraintError: there is one; what INSERT says of it.
        """
        for column in self._layout.entry.table.columns:
            is_filled = column.has_default or column.is_generated or column.field.nullable
            if not is_filled and column.name not in self._layout.columns:
                rule = errors.Constraint.NOT_NULL
                text = f"Field '{column.name}' doesn't have a default value (error 1364)"
                raise errors.ConstraintError(self._table, rule, text, key=batch.key_of(0, key))

    # --- LOAD DATA ------------------------------------------------------------------------------

    def _load_data(self, batch: base.Batch, key: Sequence[str], text: bytes | memoryview) -> int:
        with self._session.cancelling():
            taken, warnings = self._session.connection.upload(self._statement, text)
        if warnings or taken != batch.arrow.num_rows:
            self._refuse_warnings(batch, key, 0)
        if taken != batch.arrow.num_rows:
            raise errors.DataError(
                f"{self._table}: the server took {taken} of {batch.arrow.num_rows} rows,"
                " without a warning"
            )
        return taken

    def _refuse_warnings(self, batch: base.Batch, key: Sequence[str], first: int) -> None:
        """Raise for the warnings of the last statement, which began with row `first`."""
        lines = self._session.rows(f"SHOW WARNINGS LIMIT {_WARNINGS}")
        warning = refusal.worst([(line[0], line[1], line[2]) for line in lines])
        if warning is not None:
            raise self._refused(batch, key, warning, first)

    def _refused(
        self, batch: base.Batch, key: Sequence[str], warning: refusal.Warning_, first: int = 0
    ) -> errors.DataError:
        if warning.code == error.DUPLICATE_ENTRY:
            columns = self._layout.entry.index_columns
            return refusal.duplicate(self._table, batch, key, warning.message, columns)
        row = self._search(batch) if warning.row is None else first + warning.row
        return refusal.rejected(self._table, batch, key, row, warning)

    def _search(self, batch: base.Batch) -> int | None:
        """Return the first row that the server refuses, for a warning that does not tell it.

        A failed CHECK says no row. The load has failed and its table is lost anyway: it is emptied,
        and strict INSERTs of ever smaller halves find the row.
        """
        with self._lanes.alone():
            self._session.run(f"DELETE FROM {self._layout.place}")
            return self._first_refused(list(self._tuples(batch)))

    def _first_refused(self, lines: Sequence[bytes]) -> int | None:
        low, high = 0, len(lines)
        if self._is_taken(lines):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_taken(lines[low:middle]):
                low = middle
            else:
                high = middle
        return low

    def _is_taken(self, lines: Sequence[bytes]) -> bool:
        self._session.run("START TRANSACTION")
        try:
            for _, statement in self._statements(lines):
                self._session.connection.query(statement)
        except pymysql.err.MySQLError:
            return False
        finally:
            self._session.run("ROLLBACK", cancellable=False)
        return True

    # --- INSERT ---------------------------------------------------------------------------------

    def _insert(self, batch: base.Batch, key: Sequence[str]) -> int:
        taken = 0
        for first, statement in self._statements(self._tuples(batch)):
            try:
                with self._session.cancelling():
                    taken += int(self._session.connection.query(statement))
            except pymysql.err.MySQLError as failure:
                raise self._refused_insert(batch, key, first, failure) from failure
            if self._session.connection.warnings:  # digits cut off a decimal
                self._refuse_warnings(batch, key, first)
        if taken != batch.arrow.num_rows:
            raise errors.DataError(
                f"{self._table}: the server took {taken} of {batch.arrow.num_rows} rows"
            )
        return taken

    def _refused_insert(
        self, batch: base.Batch, key: Sequence[str], first: int, failure: Exception
    ) -> errors.TmgEtlError:
        warning = refusal.Warning_(error.number_of(failure), error.text_of(failure))
        general = error.translated(failure, str(self._session.place), self._table)
        if isinstance(general, errors.DataError):
            return self._refused(batch, key, warning, first)
        return general

    def _statements(self, tuples: Sequence[bytes] | Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the index of the first row, and the statement, for as many rows as fit in one."""
        names = ", ".join(map(catalogue.quoted, self._layout.columns))
        head = f"INSERT INTO {self._layout.place} ({names}) VALUES ".encode()
        first, size = 0, 0
        pending: list[bytes] = []
        for number, row in enumerate(tuples):
            if pending and size + len(row) > self._limit:
                yield first, head + b",".join(pending)
                first, size, pending = number, 0, []
            pending.append(row)
            size += len(row) + 1
        if pending:
            yield first, head + b",".join(pending)

    def _tuples(self, batch: base.Batch) -> Iterator[bytes]:
        r"""Yield each row as ``('a','b',NULL)``.

        The escapes of the text format are those of an SQL literal; only the quote is missing. Only
        a null has one backslash before its N: in text they are doubled.
        """
        conversions = [self._layout.conversion(name) for name in self._layout.columns]
        text = bytes(batch.text or b"").replace(b"'", b"\\'")
        cells = _converter(conversions)
        for line in text.split(b"\n")[:-1]:
            yield cells(line)


def _converter(conversions: Sequence[str | None]) -> Callable[[bytes], bytes]:
    """Return the function that makes a tuple of a line."""
    if not any(conversions):

        def plain(line: bytes) -> bytes:
            literal = b"('" + line.replace(b"\t", b"','") + b"')"
            return literal.replace(b"'\\N'", b"NULL")

        return plain

    frames = [(sql or "{}").encode().partition(b"{}")[::2] for sql in conversions]

    def converted(line: bytes) -> bytes:
        cells = [
            b"NULL" if cell == b"\\N" else before + b"'" + cell + b"'" + after
            for cell, (before, after) in zip(line.split(b"\t"), frames, strict=True)
        ]
        return b"(" + b",".join(cells) + b")"

    return converted
