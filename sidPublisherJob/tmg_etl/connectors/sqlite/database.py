"""Connections to a SQLite file, and what its errors mean to the user."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import functools
import pathlib
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model

#: Name of the collation that orders the text of decimals by value.
DECIMAL_ORDER = "tmg_decimal"
_BUSY_S = 30.0

_TEMPORARY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_SCHEMA"})
_ACCESS = frozenset({"SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"})
_DATA = frozenset({"SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE"})

# Writing connections of this process by path. A reader of the same file shares it: in a rollback
# journal, a second connection that reads would keep the first from committing.
_WRITERS: dict[pathlib.Path, list[Session]] = {}
_GUARD = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Location:
    """Which file is meant, links followed, and how long to wait for other connections."""

    path: pathlib.Path
    busy_s: float


def locate(spec: model.Connection, folder: pathlib.Path) -> Location:
    """Return the file of a ``sqlite:///`` URL.

    Raises:
        errors.ConfigError: the URL names no file.
    """
    _, mark, name = spec.url.partition(":///")
    name = name.partition("?")[0]
    if not mark or not name or name == ":memory:":
        raise errors.ConfigError(
            f"connection {spec.name!r}: the url names no SQLite file",
            hint="write sqlite:///file.db, or sqlite:////folder/file.db",
        )
    try:
        busy_s = float(spec.options.get("timeout", _BUSY_S))
    except ValueError:
        raise errors.ConfigError(
            f"connection {spec.name!r}: the option timeout is no number of seconds"
        ) from None
    return Location((folder / name).resolve(), busy_s)


@contextlib.contextmanager
def explained(subject: str, stop: run_module.StopFlag | None = None) -> Iterator[None]:
    """Raise what the driver raises in a block as one of our errors."""
    try:
        yield
    except sqlite3.Error as error:
        if stop is not None and code_of(error) == "SQLITE_INTERRUPT":
            stop.check()
        raise translate(error, subject) from error


def code_of(error: BaseException) -> str:
    """Return the result code of an error, extended where SQLite has one; empty without one."""
    return str(getattr(error, "sqlite_errorname", ""))


def translate(error: sqlite3.Error, subject: str) -> errors.TmgEtlError:
    """Return our error for one of the driver's."""
    code = "_".join(code_of(error).split("_")[:2])
    message = f"{subject}: {error}"
    if code == "SQLITE_FULL":
        return errors.StorageFullError(message)
    if code in _TEMPORARY:
        return errors.TemporaryError(message, hint="another connection uses the file")
    if code in _ACCESS:
        return errors.AccessError(message)
    if code in _DATA or "decode to UTF-8" in str(error):
        return errors.DataError(message)
    if code == "SQLITE_IOERR":
        return errors.TemporaryError(message)
    if code == "SQLITE_INTERRUPT":
        return errors.TemporaryError(f"{subject}: the statement was interrupted")
    # SQLITE_ERROR (no such table or column, syntax), CANTOPEN, NOTADB, CORRUPT and misuse.
    return errors.ConfigError(message)


@functools.lru_cache(maxsize=4096)
def _decimal(text: str) -> decimal.Decimal:
    return decimal.Decimal(text)


def _compare_decimals(left: str, right: str) -> int:
    first, second = _decimal(left), _decimal(right)
    return (first > second) - (first < second)


class Session:
    """A connection to a SQLite file; transactions are begun by hand.

    Args:
        location: the file; opened by `open`.
        stop: interrupts statements when a signal asks to stop.
    """

    def __init__(self, location: Location, stop: run_module.StopFlag) -> None:
        self.location = location
        self.stop = stop
        self.is_writable = False
        self.is_shared = False
        self._connection: sqlite3.Connection | None = None
        self._cursors: set[sqlite3.Cursor] = set()
        self._readers: list[Session] = []

    @property
    def subject(self) -> str:
        """Return the file, as messages name it."""
        return str(self.location.path)

    @property
    def is_open(self) -> bool:
        """Return whether statements can be run."""
        return self._connection is not None

    @property
    def connection(self) -> sqlite3.Connection:
        """Return the driver's connection."""
        if self._connection is None:
            raise RuntimeError(f"the session on {self.subject} is not open")
        return self._connection

    def open(self, *, writable: bool = False) -> None:
        """Connect, or connect again when a read-only connection must write.

        Raises:
            errors.ConfigError: no such file (unless writable), or not a SQLite file.
            errors.AccessError: the file or its folder may not be written.
        """
        if self._connection is not None and (self.is_writable or not writable):
            return
        self.close()
        path = self.location.path
        if not writable and not path.exists():
            raise errors.ConfigError(f"there is no SQLite file {path}")
        if not path.parent.is_dir():
            raise errors.ConfigError(f"there is no folder {path.parent} for the SQLite file")
        connection = self._connect("rwc" if writable else "ro")
        try:
            with explained(self.subject):
                self._prepare(connection, writable)
        except BaseException:
            connection.close()
            raise
        self._connection, self.is_writable = connection, writable
        if writable:
            with _GUARD:
                _WRITERS.setdefault(path, []).append(self)

    def open_reader(self) -> None:
        """Connect for reading; share this process's writing connection where it would be blocked.

        In WAL mode, readers and a writer do not wait for each other.
        """
        with _GUARD:
            writers = _WRITERS.get(self.location.path, [])
            if writers and writers[0].rows("PRAGMA journal_mode")[0][0] != "wal":
                self._connection, self.is_shared = writers[0].connection, True
                writers[0]._readers.append(self)
                return
        self.open()

    def close(self) -> None:
        """Roll back and disconnect; harmless when called again."""
        self.finish_reading()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.is_shared:
            self.is_shared = False
            return
        if self.is_writable:
            with _GUARD:
                _WRITERS[self.location.path].remove(self)
        self.is_writable = False
        connection.close()

    def run(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Execute a statement; return the rows it touched, -1 where SQLite does not say."""
        connection = self.connection
        with explained(self.subject, self.stop), self.stop.cancelling(connection.interrupt):
            return int(connection.execute(sql, parameters).rowcount)

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        connection = self.connection
        with explained(self.subject, self.stop), self.stop.cancelling(connection.interrupt):
            return connection.execute(sql, parameters).fetchall()

    def chunks(self, sql: str, rows: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query lazily, at most `rows` at once."""
        connection = self.connection
        with explained(self.subject, self.stop), self.stop.cancelling(connection.interrupt):
            cursor = connection.execute(sql)
        self._cursors.add(cursor)
        try:
            while True:
                with explained(self.subject, self.stop), self.stop.cancelling(connection.interrupt):
                    found = cursor.fetchmany(rows)
                if not found:
                    return
                yield found
        finally:
            self._finish(cursor)

    def finish_reading(self) -> None:
        """End every unfinished reading on the connection: a table cannot be dropped during one.

        An error that is on its way up keeps the readings of its frames alive.
        """
        for session in (self, *self._readers):
            for cursor in list(session._cursors):
                session._finish(cursor)

    def _finish(self, cursor: sqlite3.Cursor) -> None:
        self._cursors.discard(cursor)
        # Collected after its connection was closed, a cursor has nothing left to close.
        with contextlib.suppress(sqlite3.ProgrammingError):
            cursor.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in one writing transaction: committed at its end, else rolled back."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Undo what is not committed; also when a stop was asked for."""
        if self.connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{urllib.parse.quote(str(self.location.path))}?mode={mode}"
        with explained(self.subject):
            try:
                return sqlite3.connect(
                    uri,
                    uri=True,
                    isolation_level=None,
                    timeout=self.location.busy_s,
                    check_same_thread=False,
                )
            except sqlite3.OperationalError as error:
                raise self._cannot_open(error, mode) from error

    def _cannot_open(self, error: sqlite3.Error, mode: str) -> errors.TmgEtlError:
        path = self.location.path
        if path.is_dir():
            return errors.ConfigError(f"{path} is a folder, not a SQLite file")
        if code_of(error) == "SQLITE_CANTOPEN":
            needed = "written" if mode == "rwc" else "read"
            return errors.AccessError(f"{path} cannot be {needed}: {error}")
        return translate(error, self.subject)

    def _prepare(self, connection: sqlite3.Connection, writable: bool) -> None:
        connection.create_collation(DECIMAL_ORDER, _compare_decimals)
        # Reads the file's header: what is no database is found here.
        connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        if not writable:
            return
        connection.execute("PRAGMA foreign_keys = ON")
        # A rename must leave views and triggers alone: they mean the name.
        connection.execute("PRAGMA legacy_alter_table = ON")
        # Pages that do not fit the cache would be written before the commit, under a lock that
        # keeps readers out until then; a load commits each batch, so that the cache stays small.
        connection.execute("PRAGMA cache_spill = OFF")
        # SQLite opens what it may not write as well, and says so at the first change only.
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {int(version)}")
        connection.execute("ROLLBACK")
