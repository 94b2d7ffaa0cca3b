"""A table, view or query of a DuckDB file, read in one transaction."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.duckdb import database, datatype


def quote(name: str) -> str:
    """Return an identifier, quoted whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def read_carriers(
    session: database.Session, relation: str, nullable: dict[str, bool] | None = None
) -> list[datatype.Carrier]:
    """Return how the columns of a table or subquery are read.

    Args:
        session: where it is.
        relation: what follows FROM.
        nullable: by column, whether it may be null; others may.
    """
    names, kinds, arrow = session.described(f"SELECT * FROM {relation} LIMIT 0")
    may_be_null = nullable or {}
    return datatype.carriers(names, kinds, arrow, [may_be_null.get(name, True) for name in names])


class DuckDBSource(base.Source):
    """Rows of a DuckDB table, view or query.

    Args:
        session: of its own; opened here, closed by `close`.
        spec: `table` or `query`.
        execution_date: fills the placeholder.
        schema: database schema of `table`; None is ``main``.
    """

    def __init__(
        self,
        session: database.Session,
        spec: model.SourceSpec,
        execution_date: datetime.date,
        schema: str | None,
    ) -> None:
        self._session = session
        if spec.query is not None:
            query = sql.fill_placeholder(spec.query, execution_date)
            self._relation = f"{sql.as_subquery(query)} AS source"
            self._description = f"a query of {session.subject}"
        elif spec.table is not None:
            self._relation = f"{quote(schema or 'main')}.{quote(spec.table)} AS source"
            self._description = f"{spec.table} of {session.subject}"
        else:
            raise errors.ConfigError("a DuckDB source has a `table` or a `query`")
        try:
            session.open()
            session.begin()
            # The first statement of the transaction is what fixes its snapshot.
            self._carriers = {
                carrier.field.name: carrier for carrier in read_carriers(session, self._relation)
            }
        except BaseException:
            session.close()
            raise
        self._taken_at = datetime.datetime.now(datetime.UTC)

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
        return pa.schema([carrier.field for carrier in self._carriers.values()])

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the rows of the snapshot."""
        found = self._session.rows(f"SELECT COUNT(*) FROM {self._relation}{self._where(window)}")
        return int(found[0][0])

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the snapshot."""
        chosen = [self._carriers[name] for name in columns]
        schema = pa.schema([carrier.field for carrier in chosen])
        listed = ", ".join(
            f"{carrier.expression('source.' + quote(carrier.field.name))}"
            f" AS {quote(carrier.field.name)}"
            for carrier in chosen
        )
        statement = f"SELECT {listed} FROM {self._relation}{self._where(window)}"
        for batch in self._session.batches(statement, batch_rows):
            yield datatype.normal_batch(batch, schema, self._description)

    def close(self) -> None:
        """End the transaction and give the file back."""
        self._session.close()

    def _where(self, window: base.CursorWindow | None) -> str:
        if window is None:
            return ""
        carrier = self._carriers.get(window.column)
        if carrier is None:
            raise errors.ConfigError(f"{self._description} has no column {window.column!r}")
        quoted = f"source.{quote(window.column)}"
        return f" WHERE {sql.window_sql(quoted, carrier.field.type, window, zone='+00')}"
