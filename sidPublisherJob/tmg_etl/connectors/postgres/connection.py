"""What the registry opens: sources, targets, and statements of hand-written pipelines."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import source as source_module
from tmg_etl.connectors.postgres import target as target_module

if TYPE_CHECKING:
    from tmg_etl.config import model

# What a colon or a percent sign may stand in, and is not a parameter there.
_TOKEN = re.compile(
    r"""(?P<skip>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"
    |\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/|::)
    |:(?P<name>[A-Za-z_]\w*)|(?P<percent>%)""",
    re.S | re.X,
)


class PostgresConnection(base.Connection):
    """A PostgreSQL database. Every source, target and statement has a connection of its own."""

    def _open(self) -> session_module.Session:
        return session_module.Session.open(self.spec, self.stop)

    @contextlib.contextmanager
    def _session(self) -> Iterator[session_module.Session]:
        session = self._open()
        try:
            yield session
        finally:
            session.close()

    def open_source(
        self, spec: model.SourceSpec, execution_date: datetime.date
    ) -> source_module.PostgresSource:
        """Open a table or query at a snapshot taken now."""
        session = self._open()
        try:
            return source_module.open_source(
                session,
                schema=self.spec.schema_,
                table=spec.table,
                query=spec.query,
                execution_date=execution_date,
                name=self.name,
            )
        except BaseException:
            session.close()
            raise

    def open_target(self, table: str) -> target_module.PostgresTarget:
        """Open a table, which may not exist yet."""
        session = self._open()
        try:
            return target_module.PostgresTarget(session, self._open, self.spec.schema_, table)
        except BaseException:
            session.close()
            raise

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a SELECT, with the Arrow types of a source."""
        with self._session() as session:
            bound = _bind_text(session, sql, parameters)
            with source_module.PostgresSource(
                session, relation=None, query=bound, name=self.name
            ) as source:
                schema = source.schema()
                return pa.Table.from_batches(source.read(schema.names), schema=schema)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement; return the rows it touched."""
        with self._session() as session:
            statement, values = _bind(sql, parameters)
            return session.execute(statement, values).rowcount


def _bind(sql: str, parameters: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    """Return a statement with ``:name`` as psycopg writes it, and the values."""
    values = parameters or {}
    if not values:
        return sql, {}

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is not None and name in values:
            return f"%({name})s"
        return match.group(0).replace("%", "%%")

    return _TOKEN.sub(replace, sql), values


def _bind_text(
    session: session_module.Session, sql: str, parameters: Mapping[str, Any] | None
) -> str:
    """Return a statement with its values written in as literals; COPY takes no parameters."""
    statement, values = _bind(sql, parameters)
    if not values:
        return sql
    return psycopg.ClientCursor(session.raw).mogrify(statement.encode(), values)
