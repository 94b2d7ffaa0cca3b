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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import room, waiting
from tmg_etl.connectors.sqlite import holder

#: Name of the collation that orders the text of decimals by value.
DECIMAL_ORDER = "tmg_decimal"
#: Seconds that a reader waits for other connections unless the option `timeout` says otherwise.
_BUSY_S = 30.0
#: Seconds that another connection is always waited for, such as a reader while a run commits.
_BRIEF_S = 2.0
#: SQLite's own waiting hears no stop: it is this short, and repeated.
_ATTEMPT_S = 0.1

# What goes away when the other connection ends its transaction.
_BUSY = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_TIMEOUT"})
# A reader cannot undo what a writer that was killed has left.
_UNFINISHED = frozenset(
    {"SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY", "SQLITE_READONLY_CANTINIT"}
)
_TEMPORARY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_SCHEMA"})
_ACCESS = frozenset({"SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"})
_DATA = frozenset({"SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE"})

CONSTRAINTS = {
    "SQLITE_CONSTRAINT_UNIQUE": errors.Constraint.UNIQUE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": errors.Constraint.UNIQUE,
    "SQLITE_CONSTRAINT_ROWID": errors.Constraint.UNIQUE,
    "SQLITE_CONSTRAINT_FOREIGNKEY": errors.Constraint.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_NOTNULL": errors.Constraint.NOT_NULL,
    "SQLITE_CONSTRAINT_CHECK": errors.Constraint.CHECK,
    "SQLITE_CONSTRAINT_TRIGGER": errors.Constraint.TRIGGER,
}
_NO_ROOM = "the target is unchanged; free space where the file is, and run it again"

# Writing connections of this process by path. A reader of the same file shares it: in a rollback
# journal, a second connection that reads would keep the first from committing.
_WRITERS: dict[pathlib.Path, list[Session]] = {}
_GUARD = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Location:
    """Which file is meant, links followed.

    Attributes:
        path: the file.
        busy_s: most seconds to wait for other connections; None: a run waits as long as for its
            lock, a reader half a minute.
    """

    path: pathlib.Path
    busy_s: float | None


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
        timeout = spec.options.get("timeout")
        busy_s = None if timeout is None else float(timeout)
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


def code_of(error: BaseException | None) -> str:
    """Return the result code of an error, extended where SQLite has one; empty without one."""
    return str(getattr(error, "sqlite_errorname", ""))


def translate(error: sqlite3.Error, subject: str) -> errors.TmgEtlError:
    """Return our error for one of the driver's."""
    code = "_".join(code_of(error).split("_")[:2])
    message = f"{subject}: {error}"
    rule = CONSTRAINTS.get(code_of(error))
    if rule is not None:
        return errors.ConstraintError(subject, rule, str(error))
    if code == "SQLITE_FULL":
        return errors.StorageFullError(message, hint=_NO_ROOM)
    if code in _TEMPORARY:
        return errors.TemporaryError(message, hint="another connection uses the file")
    if code_of(error) in _UNFINISHED:
        return errors.AccessError(
            f"{subject}: a writer was killed: what it left must be undone before anybody reads",
            hint="run it as a user who may write the file and its folder",
        )
    if code in _ACCESS:
        return errors.AccessError(message, hint="make the file and its folder writable")
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
        self._wait_s = _BUSY_S if location.busy_s is None else location.busy_s
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

    def wait_at_most(self, wait_s: float, *, has_loaded: bool) -> None:
        """Wait for other connections as long as a run waits for its lock.

        The option `timeout` of the connection may shorten that.

        Args:
            wait_s: seconds.
            has_loaded: whether two seconds are waited at least: a reader of a moment must not
                cost all that was loaded.
        """
        most_s = self.location.busy_s
        wait_s = max(wait_s, _BRIEF_S) if has_loaded else wait_s
        self._wait_s = wait_s if most_s is None else min(wait_s, most_s)

    def open(self, *, writable: bool = False) -> None:
        """Connect, or connect again when a read-only connection must write.

        Raises:
            errors.ConfigError: no such file (unless writable), or not a SQLite file.
            errors.AccessError: the file or its folder may not be written.
            errors.LockBusyError: another connection kept the file all that time.
        """
        if self._connection is not None and (self.is_writable or not writable):
            return
        self.close()
        path = self.location.path
        if not writable and not room.is_there(path):
            raise errors.ConfigError(f"there is no SQLite file {path}")
        if not room.is_there(path.parent):
            raise errors.ConfigError(f"there is no folder {path.parent} for the SQLite file")
        try:
            self._open("rwc" if writable else "ro")
        except errors.AccessError as refused:
            if writable or code_of(refused.__cause__) not in _UNFINISHED:
                raise
            # Undone by whoever reads it first, if he may write.
            self._open("rw")
            self.close()
            self._open("ro")
        self.is_writable = writable
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
        return int(self._execute(sql, parameters).rowcount)

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        return self.query(sql, parameters)[1]

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of a small query's columns, and its rows."""
        wait = waiting.Wait(self.subject, self._wait_s, self.stop)
        connection = self.connection
        # A stop between both would leave a reading that nobody ends: no table could be dropped.
        with self._stoppable():
            cursor = self._patiently(lambda: connection.execute(sql, parameters), wait)
            return [column[0] for column in cursor.description or ()], cursor.fetchall()

    def chunks(self, sql: str, rows: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query lazily, at most `rows` at once."""
        cursor = self._execute(sql)
        self._cursors.add(cursor)
        try:
            while True:
                with self._stoppable():
                    found = cursor.fetchmany(rows)
                if not found:
                    return
                yield found
        finally:
            self._finish(cursor)

    def drop(self, table: str) -> None:
        """Drop a table if it is there, also when a stop was asked for.

        Args:
            table: quoted.
        """
        connection = self.connection
        wait = waiting.Wait(self.subject, _BRIEF_S)
        self.finish_reading()
        # A transaction whose end failed would take the drop with it.
        self.rollback()
        with explained(self.subject):
            self._patiently(lambda: connection.execute(f"DROP TABLE IF EXISTS {table}"), wait)

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Have a stop interrupt the block, and raise the driver's errors as ours."""
        interrupt = self.connection.interrupt
        with explained(self.subject, self.stop), self.stop.cancelling(interrupt):
            yield

    def _execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> sqlite3.Cursor:
        """Run a statement to its first row."""
        wait = waiting.Wait(self.subject, self._wait_s, self.stop)
        connection = self.connection
        with self._stoppable():
            return self._patiently(lambda: connection.execute(sql, parameters), wait)

    def _patiently(
        self, attempt: Callable[[], sqlite3.Cursor], wait: waiting.Wait
    ) -> sqlite3.Cursor:
        """Try until other connections let it through."""
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if code_of(error) not in _BUSY:
                    raise
                wait.pause(self._holder)

    def _holder(self) -> str | None:
        return holder.of(self.location.path)

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
        try:
            self.run("BEGIN IMMEDIATE")
            yield
            self.run("COMMIT")
        except BaseException:
            self.rollback()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one state of the file for the statements of a block, within a transaction or not."""
        if self.connection.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            self.rollback()

    def rollback(self) -> None:
        """Undo what is not committed; also when a stop was asked for."""
        if self.connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def _open(self, mode: str) -> None:
        connection = self._connect(mode)
        self._connection = connection
        try:
            self._prepare(mode)
        except BaseException:
            self._connection = None
            connection.close()
            raise

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{urllib.parse.quote(str(self.location.path))}?mode={mode}"
        with explained(self.subject):
            try:
                return sqlite3.connect(
                    uri,
                    uri=True,
                    isolation_level=None,
                    timeout=_ATTEMPT_S,
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

    def _prepare(self, mode: str) -> None:
        self.connection.create_collation(DECIMAL_ORDER, _compare_decimals)
        # Reads the file's header: what is no database is found here.
        self.rows("SELECT COUNT(*) FROM sqlite_schema")
        if mode != "rwc":
            return
        self.run("PRAGMA foreign_keys = ON")
        # A rename must leave views and triggers alone: they mean the name.
        self.run("PRAGMA legacy_alter_table = ON")
        # Pages that do not fit the cache would be written before the commit, under a lock that
        # keeps readers out until then; a load commits each batch, so that the cache stays small.
        self.run("PRAGMA cache_spill = OFF")
        # Some builds overwrite whatever is deleted, and journal it first: to drop a shadow would
        # then take as much memory and disk as it has, which a full disk has not.
        self.run("PRAGMA secure_delete = FAST")
        # SQLite opens what it may not write as well, and says so at the first change only.
        self.run("BEGIN IMMEDIATE")
        version = self.rows("PRAGMA user_version")[0][0]
        self.run(f"PRAGMA user_version = {int(version)}")
        self.run("ROLLBACK")
