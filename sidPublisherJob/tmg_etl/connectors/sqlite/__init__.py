"""SQLite: one file as source and target, by the standard library's driver.

`database` opens files and turns the driver's exceptions into ours; `datatype` maps declared types
and converts cells; `definition` reads CREATE statements, `catalog` describes tables; `dialect` has
the clauses of merges; `source` and `target` do the work. No other connector is imported here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.sqlite import database, source, target

__all__ = ["SQLiteConnection"]


class SQLiteConnection(base.Connection):
    """A SQLite file, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

    `options`: ``timeout``, most seconds to wait for other connections' transactions; by default a
    run waits `lock_wait_s`, and two seconds at least once it has begun, and a reader 30. The file's
    journal mode is left as it is.
    """

    def open_source(
        self, spec: model.SourceSpec, execution_date: datetime.date
    ) -> source.SQLiteSource:
        """Open a table, view or query in a read transaction of its own."""
        return source.SQLiteSource(
            database.locate(self.spec, self.folder), spec, execution_date, self.stop
        )

    def open_target(self, table: str) -> target.SQLiteTarget:
        """Return the target; the file is opened for writing when it is locked, or made."""
        return target.SQLiteTarget(database.locate(self.spec, self.folder), table, self.stop)

    def check(self, *, connect: bool) -> None:
        """Open the database, if there is one: a run makes a new one."""
        location = database.locate(self.spec, self.folder)
        super().check(connect=connect and location.path.exists())

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query; columns of expressions get the type of their values."""
        session = database.Session(database.locate(self.spec, self.folder), self.stop)
        try:
            session.open()
            return source.small_table(session, sql, parameters or {})
        finally:
            session.close()

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of its own."""
        session = database.Session(database.locate(self.spec, self.folder), self.stop)
        try:
            session.open(writable=True)
            with session.transaction():
                return session.run(sql, parameters or {})
        finally:
            session.close()
