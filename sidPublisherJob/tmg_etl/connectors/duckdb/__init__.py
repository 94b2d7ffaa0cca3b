"""DuckDB: files (or the process's memory) as source and target, Arrow both ways.

`database` opens a file once per process and hands out sessions on it; `failure` turns the driver's
exceptions into ours; `datatype` maps types; `dialect` has the clauses of merges; `source`,
`catalog`, `load` and `target` do the work. No other connector is imported here. `import duckdb` in
these modules is the driver, not this package: imports are absolute.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.duckdb import database, datatype, failure, source, target

__all__ = ["DuckDBConnection"]

_PARAMETER = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$\$.*?\$\$ | ::
      | :(?P<name>[A-Za-z_]\w*)""",
    re.VERBOSE | re.DOTALL,
)


class DuckDBConnection(base.Connection):
    """A DuckDB file, ``duckdb:///relative.duckdb`` or ``duckdb:////absolute``.

    ``duckdb:///:memory:`` is a database of this process that lives until the process ends, one for
    each connection name. `options` are DuckDB settings; by default memory is limited to 512 MB
    (`memory_limit`) and work to four threads (`threads`), so that memory does not grow with the
    table. The first to open a file in a process decides its settings.
    """

    def open_source(
        self, spec: model.SourceSpec, execution_date: datetime.date
    ) -> source.DuckDBSource:
        """Open a table, view or query in a read-only transaction of its own."""
        return source.DuckDBSource(self._session(), spec, execution_date, self.spec.schema_)

    def open_target(self, table: str) -> target.DuckDBTarget:
        """Return the target; the file is opened for writing when it is locked, or made."""
        return target.DuckDBTarget(self._session(), table, self.spec.schema_)

    def check(self, *, connect: bool) -> None:
        """Open the database, if there is one: a run makes a new one."""
        location = database.locate(self.spec, self.folder)
        super().check(connect=connect and (location.path is None or location.path.exists()))

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query."""
        session = self._session()
        try:
            session.open()
            result = session.table(*_bound(sql, parameters))
            with failure.explained(session.subject, self.stop):
                return datatype.normal_table(result, session.subject)
        finally:
            session.close()

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of its own."""
        session = self._session()
        try:
            session.open(writable=True)
            return session.run(*_bound(sql, parameters))
        finally:
            session.close()

    def _session(self) -> database.Session:
        location = database.locate(self.spec, self.folder)
        return database.Session(location, self.stop)


def _bound(sql: str, parameters: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    """Return the statement with its parameters as DuckDB writes them, ``$name``."""
    values = dict(parameters or {})

    def rewrite(match: re.Match[str]) -> str:
        name = match["name"]
        return f"${name}" if name in values else match[0]

    return _PARAMETER.sub(rewrite, sql), values
