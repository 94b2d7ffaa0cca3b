"""A table or query as `base.Source`, read in one repeatable-read transaction."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.postgres import catalog, kind, reader
from tmg_etl.connectors.postgres import session as session_module

_SNAPSHOT = """
SELECT current_database(), pg_current_snapshot()::text, now()::text,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text
"""

#: Above this many rows a table is not counted: it would take longer than the number is worth.
_COUNTABLE_ROWS = 5_000_000
_COUNTABLE_BYTES = 2**30


class PostgresSource(base.Source):
    """One table or query at one snapshot.

    Row-level security applies: what the user may see is what there is.

    Args:
        session: an open session, owned by the source from now on.
        relation: the table or view; None for a query.
        query: a user's SELECT, filled in; empty for a table.
        name: connection, for messages.
    """

    def __init__(
        self,
        session: session_module.Session,
        *,
        relation: catalog.Relation | None,
        query: str,
        name: str,
    ) -> None:
        self._session = session
        self._relation = relation
        self._from = relation.qualified if relation else sql.as_subquery(query) + " AS q"
        what = f"table {relation.display}" if relation else "a query"
        self._description = f"{name}: {what}"
        # The transfer reads in a thread of its own; a connection does one thing at a time.
        self._busy = threading.Lock()
        self._schema: pa.Schema | None = None
        self._columns: dict[str, kind.Typed] = {}
        self._nullable = catalog.nullable_columns(session, relation) if relation else {}
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        database, snapshot, now, position = session.rows(_SNAPSHOT)[0]
        self._snapshot = f"{database} at {now}, lsn {position}, snapshot {snapshot}"[:500]
        for column in catalog.result_columns(session, self._from, nested_as_json=True):
            if column.name in self._columns:
                raise errors.ConfigError(
                    f"{self._description} gives the column {column.name!r} twice",
                    hint="name its columns apart with AS",
                )
            self._columns[column.name] = column

    @property
    def description(self) -> str:
        """Return connection and table."""
        return self._description

    @property
    def snapshot(self) -> str:
        """Return database, time, position in the log, and the transactions it sees."""
        return self._snapshot

    def schema(self) -> pa.Schema:
        """Return every column with its Arrow type.

        A numeric without precision gets the scale of its widest values, which takes one pass over
        the rows; a cast to ``numeric(p,s)`` in a query saves it.
        """
        if self._schema is None:
            self._measure()
            self._schema = pa.schema(
                [
                    column.field(self._nullable.get(name, True))
                    for name, column in self._columns.items()
                ]
            )
        return self._schema

    def _measure(self) -> None:
        open_ended = [name for name, column in self._columns.items() if column.kind.is_unbounded]
        if not open_ended:
            return
        widths = ", ".join(
            f"max(scale({quoted})), max(length(trunc(abs({quoted}))::text))"
            for quoted in map(session_module.quote, open_ended)
        )
        with self._busy:
            found = self._session.rows(f"SELECT {widths} FROM {self._from}")[0]
        for position, name in enumerate(open_ended):
            scale, digits = found[2 * position : 2 * position + 2]
            column = self._columns[name]
            self._columns[name] = kind.Typed(
                name, kind.measured(scale or 0, digits or 1), column.native
            )

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the rows of a table that is quick to count; None for others and while reading."""
        if self._relation is None or not self._relation.is_counted_quickly(
            _COUNTABLE_ROWS, _COUNTABLE_BYTES
        ):
            return None
        if not self._busy.acquire(blocking=False):
            return None
        try:
            where = self._where(window)
            return int(self._session.value(f"SELECT count(*) FROM {self._from}{where}"))
        finally:
            self._busy.release()

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, as the server sends them."""
        schema = pa.schema([self._field(name) for name in columns])
        chosen = [self._columns[name] for name in columns]
        query = f"SELECT {reader.select_list(chosen)} FROM {self._from}{self._where(window)}"
        with self._busy:
            yield from reader.batches(
                self._session, query, chosen, schema, batch_rows, self._description
            )

    def _field(self, name: str) -> pa.Field:
        schema = self.schema()
        if name not in self._columns:
            raise errors.ConfigError(
                f"{self._description} has no column {name!r}",
                hint=f"its columns are {', '.join(schema.names)}",
            )
        return schema.field(name)

    def _where(self, window: base.CursorWindow | None) -> str:
        if window is None:
            return ""
        field = self._field(window.column)
        quoted = session_module.quote(window.column)
        return f" WHERE {sql.window_sql(quoted, field.type, window, zone='+00')}"

    def close(self) -> None:
        """End the transaction and the connection."""
        self._session.close()


def open_source(
    session: session_module.Session,
    *,
    schema: str | None,
    table: str | None,
    query: str | None,
    execution_date: datetime.date,
    name: str,
) -> PostgresSource:
    """Return a source over an open session.

    Raises:
        errors.ConfigError: no such table, or the query is wrong.
    """
    if query is not None:
        filled = sql.fill_placeholder(query, execution_date)
        return PostgresSource(session, relation=None, query=filled, name=name)
    if table is None:
        raise errors.ConfigError(
            f"connection {name!r} reads tables and queries", hint="write `table` or `query`"
        )
    relation = catalog.find(session, schema, table)
    if relation is None:
        where = f"schema {schema!r}" if schema else "the search path"
        raise errors.ConfigError(
            f"connection {name!r}: no table {table!r} in {where}",
            hint="check `table` of the source and `schema` of the connection",
        )
    return PostgresSource(session, relation=relation, query="", name=name)
