"""A table, view or query of a SQLite file, read in one transaction."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.sqlite import catalog, database, datatype

_numbers = itertools.count(1)


def batches(
    chunks: Iterable[list[tuple[Any, ...]]],
    schema: pa.Schema,
    subject: str,
    rowid: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield rows of the driver as record batches.

    Args:
        chunks: lists of rows; with `rowid`, that is their last column.
        schema: of the rows.
        subject: table, for messages.
        rowid: name of the extra column, for messages; None: there is none.

    Raises:
        errors.DataError: a stored value does not fit its column's type.
    """
    first_row = 0
    for rows in chunks:
        columns = list(zip(*rows, strict=True))
        arrays = []
        for field, cells in zip(schema, columns, strict=False):
            try:
                arrays.append(datatype.to_arrow(cells, field))
            except datatype.CellError as error:
                place = f"row {first_row + error.row + 1} of the result as it is read"
                if rowid is not None:
                    place = f"the row with {rowid} {rows[error.row][-1]}"
                raise _misfit(subject, field, cells[error.row], place) from error
        first_row += len(rows)
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _misfit(subject: str, field: pa.Field, cell: object, place: str) -> errors.DataError:
    return errors.DataError(
        f"{subject}: column {field.name!r} of {place} holds {errors.shorten(cell)}"
        f" ({type(cell).__name__}), which is no {field.type}",
        hint="correct the cell, or CAST the column in a query",
    )


def small_table(
    session: database.Session, statement: str, parameters: Mapping[str, Any]
) -> pa.Table:
    """Return the rows of a small query, typed by their values."""
    names, rows = session.query(statement, parameters)
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    kinds = {int: "integer", float: "real", str: "text", bytes: "blob", type(None): "null"}
    fields = [
        datatype.found(name, {kinds[type(cell)] for cell in cells}, session.subject)
        for name, cells in zip(names, columns, strict=True)
    ]
    arrays = [datatype.to_arrow(cells, field) for cells, field in zip(columns, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class SQLiteSource(base.Source):
    """Rows of a SQLite table, view or query.

    In a file that the same run writes, and that is not in WAL mode, the rows are read on the
    writing connection: another one would keep it from committing. Its state is then that of the
    first row that is read.

    Args:
        location: the file.
        spec: `table` or `query`.
        execution_date: fills the placeholder.
        stop: interrupts statements.
    """

    def __init__(
        self,
        location: database.Location,
        spec: model.SourceSpec,
        execution_date: datetime.date,
        stop: run_module.StopFlag,
    ) -> None:
        self._session = database.Session(location, stop)
        self._rowid: str | None = None
        self._table = spec.table
        if spec.query is not None:
            query = sql.fill_placeholder(spec.query, execution_date)
            self._relation = sql.as_subquery(query)
            self._description = f"a query of {location.path}"
        elif spec.table is not None:
            self._relation = f"main.{catalog.quote(spec.table)}"
            self._description = f"{spec.table} of {location.path}"
        else:
            raise errors.ConfigError("a SQLite source has a `table` or a `query`")
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self._taken_at = datetime.datetime.now(datetime.UTC)

    def _open(self) -> None:
        session = self._session
        session.open_reader()
        if not session.is_shared:
            session.run("BEGIN")
        # The first read of the transaction is what fixes its snapshot.
        self._schema = catalog.schema_of(session, self._relation, f"_tmg_source_{next(_numbers)}")
        if self._table is not None and catalog.has_object(session, "table", self._table):
            found = catalog.read(session, self._table)
            self._rowid = found.rowid if found else None

    @property
    def description(self) -> str:
        """Return the table and its file."""
        return self._description

    @property
    def snapshot(self) -> str:
        """Return when the transaction began."""
        return f"transaction of {self._taken_at:%Y-%m-%dT%H:%M:%S.%fZ}"

    def schema(self) -> pa.Schema:
        """Return every column."""
        return self._schema

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the rows of the snapshot."""
        statement = f"SELECT COUNT(*) FROM {self._relation} AS source{self._where(window)}"
        return int(self._session.rows(statement)[0][0])

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the snapshot."""
        schema = pa.schema([self._schema.field(name) for name in columns])
        listed = [f"source.{catalog.quote(name)}" for name in columns]
        if self._rowid is not None:
            listed.append(f"source.{self._rowid}")
        statement = (
            f"SELECT {', '.join(listed)} FROM {self._relation} AS source{self._where(window)}"
        )
        chunks = self._session.chunks(statement, batch_rows)
        yield from batches(chunks, schema, self._description, self._rowid)

    def close(self) -> None:
        """End the transaction and disconnect."""
        self._session.close()

    def _where(self, window: base.CursorWindow | None) -> str:
        if window is None:
            return ""
        if window.column not in self._schema.names:
            raise errors.ConfigError(f"{self._description} has no column {window.column!r}")
        quoted = f"source.{catalog.quote(window.column)}"
        return f" WHERE {sql.window_sql(quoted, self._schema.field(window.column).type, window)}"
