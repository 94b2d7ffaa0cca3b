"""A DuckDB file, opened once per process, and the sessions on it.

DuckDB locks a file for a whole process and refuses to open it twice in different ways. So a file
is opened by its first user and closed by its last; each user has a session, which is a connection
of its own with its own transaction. The file is opened read-only until someone needs to write.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import room, waiting
from tmg_etl.connectors.duckdb import failure

#: Seconds that another process may keep the file before a reader, or whoever did not say how long
#: to wait, gives up; the same as the default of `lock_wait_s`.
OPEN_WAIT_S = 60.0
_MEMORY = ":memory:"
# DuckDB's own default is 80 % of the machine; its cache of the file would fill that with the
# table. Loading four million rows with a primary key worked within 60 MB.
_MEMORY_LIMIT = "512MB"
_MOST_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Location:
    """Which database is meant.

    Attributes:
        key: equal for all who mean the same database.
        path: the file, links followed; None is a database in memory.
        subject: the database, as messages name it.
        options: DuckDB settings.
    """

    key: str
    path: pathlib.Path | None
    subject: str
    options: Mapping[str, str]


def locate(spec: model.Connection, folder: pathlib.Path) -> Location:
    """Return the database of a ``duckdb:///`` URL.

    Raises:
        errors.ConfigError: the URL names no file.
    """
    _, mark, name = spec.url.partition(":///")
    name = name.partition("?")[0]
    if not mark or not name:
        raise errors.ConfigError(
            f"connection {spec.name!r}: the url names no DuckDB file",
            hint="write duckdb:///file.duckdb, or duckdb:////folder/file.duckdb",
        )
    options = spec.options
    if name.startswith(_MEMORY):
        key = f"{_MEMORY}{folder}:{spec.name}:{name}"
        return Location(key, None, f"{_MEMORY} ({spec.name})", options)
    path = (folder / name).resolve()
    return Location(str(path), path, str(path), options)


class Database:
    """One open database of this process; use it through `Session`."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.is_writable = location.path is None
        self.sessions: list[Session] = []
        self._connection: duckdb.DuckDBPyConnection | None = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the database."""
        assert self._connection is not None
        cursor = self._connection.cursor()
        # Instants come and go as UTC, whatever the machine's zone is.
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    def open(self, *, writable: bool, wait_s: float, stop: run_module.StopFlag) -> None:
        """Open the database, or open it again for writing when it is read-only.

        Raises:
            errors.LockBusyError: another process has the file open.
            errors.ConfigError: no such file, or not a DuckDB file.
            errors.AccessError: the file may not be read or written.
        """
        if self._connection is not None and (self.is_writable or not writable):
            return
        for session in self.sessions:
            session.suspend()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._connection = self._connect(writable, wait_s, stop)
        self._limit(self._connection)
        self.is_writable = writable or self.location.path is None
        for session in self.sessions:
            session.resume()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _limit(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Set what the user did not set.

        Not given to `duckdb.connect`: it would then refuse a pipeline's own plain connection to
        the file, because that has another configuration.
        """
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        defaults = {
            "memory_limit": f"'{_MEMORY_LIMIT}'",
            "threads": str(threads),
            # Nothing is downloaded under a run.
            "autoinstall_known_extensions": "false",
        }
        settings = [
            f"SET GLOBAL {name} = {value}"
            for name, value in defaults.items()
            if name not in self.location.options
        ]
        connection.execute("; ".join(settings))

    def _connect(
        self, writable: bool, wait_s: float, stop: run_module.StopFlag
    ) -> duckdb.DuckDBPyConnection:
        path, subject = self.location.path, self.location.subject
        if path is not None and not writable and not room.is_there(path):
            raise errors.ConfigError(f"there is no DuckDB file {subject}")
        if path is not None and not room.is_there(path.parent):
            raise errors.ConfigError(f"there is no folder {path.parent} for the DuckDB file")
        if path is not None:
            _refuse_sqlite(path, subject)
        wait = waiting.Wait(subject, wait_s, stop)
        settings: dict[str, Any] = {"config": dict(self.location.options)}
        if path is not None and not writable:
            settings["read_only"] = True
        while True:
            try:
                return duckdb.connect(_MEMORY if path is None else str(path), **settings)
            except (duckdb.Error, OSError) as error:
                if settings and failure.kind_of(error) == "Connection":
                    # A pipeline of this process opened it by itself: as it did, or not at all.
                    settings = {}
                    continue
                if not failure.is_lock_conflict(error):
                    raise failure.translate(error, subject) from error
                wait.pause(functools.partial(failure.holder_of, error))


def _refuse_sqlite(path: pathlib.Path, subject: str) -> None:
    """Refuse a file for which DuckDB would download an extension."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(16) == b"SQLite format 3\0":
            raise errors.ConfigError(
                f"{subject} is an SQLite file", hint="write `type: sqlite` in the connection"
            )


_OPEN: dict[str, Database] = {}
_GUARD = threading.RLock()


class Session:
    """A connection of its own to a shared database: one transaction, one open result at a time.

    Args:
        location: the database; opened by `open`.
        stop: interrupts statements when a signal asks to stop.
    """

    def __init__(self, location: Location, stop: run_module.StopFlag) -> None:
        self.location = location
        self.stop = stop
        self._database: Database | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._reader: pa.RecordBatchReader | None = None
        self.in_transaction = False
        #: How often the file was opened again under this session, which ends its snapshot.
        self.openings = 0

    @property
    def subject(self) -> str:
        """Return the database, as messages name it."""
        return self.location.subject

    @property
    def is_open(self) -> bool:
        """Return whether statements can be run."""
        return self._cursor is not None

    @property
    def exists(self) -> bool:
        """Return whether there is such a file, or it is a database in memory."""
        path = self.location.path
        return path is None or room.is_there(path)

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return the driver's connection, free of open results."""
        self.finish_reading()
        if self._cursor is None:
            raise RuntimeError(f"the session on {self.subject} is not open")
        return self._cursor

    def open(self, *, writable: bool = False, wait_s: float = OPEN_WAIT_S) -> None:
        """Open the database if this process has not, and a connection to it.

        Args:
            writable: whether statements will write; an open read-only file is opened again.
            wait_s: seconds that another process may keep the file.
        """
        with _GUARD:
            found = _OPEN.get(self.location.key) or Database(self.location)
            found.open(writable=writable, wait_s=wait_s, stop=self.stop)
            _OPEN[self.location.key] = found
            if self._cursor is None:
                self._cursor = found.cursor()
                self._database = found
                found.sessions.append(self)

    def close(self) -> None:
        """Roll back, disconnect, and close the file if nobody else uses it; may be repeated.

        A database in memory stays until the process ends.
        """
        with _GUARD:
            database, self._database = self._database, None
            if database is None:
                return
            self.suspend()
            self.in_transaction = False
            database.sessions.remove(self)
            if not database.sessions and self.location.path is not None:
                # The next to open the file decides its settings.
                del _OPEN[self.location.key]
                with failure.explained(self.subject):
                    database.close()

    def suspend(self) -> None:
        """Disconnect."""
        self.finish_reading()
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()

    def resume(self) -> None:
        """Connect again, to the file that was opened again."""
        assert self._database is not None
        self._cursor = self._database.cursor()
        self.openings += 1
        if self.in_transaction:
            self._cursor.execute("BEGIN TRANSACTION")

    def run(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Execute a statement; return the rows it touched, -1 where DuckDB does not say."""
        cursor = self.cursor
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            cursor.execute(sql, parameters or None)
            names = [column[0] for column in cursor.description or ()]
            # A query's own values are not fetched: some types need packages that nobody asked for.
            found = cursor.fetchall() if names == ["Count"] else []
        return int(found[0][0]) if found else -1

    def table(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
        """Return all rows of a query, as DuckDB makes them."""
        cursor = self.cursor
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            # None for a statement without a result, whatever the annotations of the driver say.
            relation: Any = cursor.sql(sql, params=parameters or None)
            return pa.table({}) if relation is None else relation.to_arrow_table()

    def described(self, sql: str) -> tuple[list[str], list[Any], pa.Schema]:
        """Return the columns of a query without rows: names, DuckDB's types, as Arrow has them."""
        cursor = self.cursor
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            found = cursor.sql(sql)
            # Some types have no Arrow form that Python knows: names and types are not read off it.
            return list(found.columns), list(found.types), found.to_arrow_table().schema

    def facts(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a query over texts and numbers, as those of the catalogue are.

        In half the time of `rows`, which takes any type.
        """
        cursor = self.cursor
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            return cursor.execute(sql, parameters or None).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        columns = [column.to_pylist() for column in self.table(sql, parameters).columns]
        return list(zip(*columns, strict=True))

    def batches(self, sql: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query lazily, as DuckDB makes them, at most `batch_rows` at once.

        Another statement of this session ends the reading.
        """
        cursor = self.cursor
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            reader = cursor.sql(sql).to_arrow_reader(batch_rows)
        self._reader = reader
        try:
            while (batch := self._next(reader, cursor)) is not None:
                for start in range(0, batch.num_rows, batch_rows):
                    yield batch.slice(start, batch_rows)
        finally:
            if self._reader is reader:
                self.finish_reading()

    def _next(
        self, reader: pa.RecordBatchReader, cursor: duckdb.DuckDBPyConnection
    ) -> pa.RecordBatch | None:
        with failure.explained(self.subject, self.stop), self.stop.cancelling(cursor.interrupt):
            try:
                return reader.read_next_batch()
            except StopIteration:
                return None

    def finish_reading(self) -> None:
        """Drop an open result, read to its end or not."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def begin(self) -> None:
        """Begin a transaction; its snapshot is that of its first statement."""
        self.run("BEGIN TRANSACTION")
        self.in_transaction = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have a block read one snapshot: in a transaction of its own, or the one under way."""
        with contextlib.nullcontext() if self.in_transaction else self.transaction():
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in one transaction: committed at its end, rolled back when it raises."""
        try:
            # One that is interrupted as it ends has begun a transaction all the same.
            self.begin()
            yield
            self.run("COMMIT")
        except BaseException:
            # DuckDB ends a transaction by itself when its commit fails.
            with contextlib.suppress(duckdb.Error):
                self.cursor.execute("ROLLBACK")
            raise
        finally:
            self.in_transaction = False
