"""Fault points at every statement of a run, and what happens at one of them.

The product is not changed: the drivers are. `install` wraps the few functions of psycopg, PyMySQL,
DuckDB and `sqlite3` through which every statement goes, and the system call that takes a file's
lock. Each call is a point before it, when the database has not heard of it, and a point after it,
when the database has answered and this process does not know it yet. A run without a fault counts
the points; a run with one acts at the point of that number.

It cannot be taken back, so it belongs into a process of its own; see `tmg_etl.testing.fork`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import fcntl
import functools
import os
import pathlib
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tmg_etl import etl

_R = TypeVar("_R")

_LABEL_LENGTH = 160


class Action(enum.StrEnum):
    """What happens at a point."""

    KILL = "kill"  # this process ends by SIGKILL
    RAISE = "raise"  # an error that no code expects
    CUT = "cut"  # the connection that the statement uses is gone
    TERMINATE = "terminate"  # SIGTERM, as from an orchestrator
    SUSPEND = "suspend"  # SIGSTOP, until somebody sends SIGCONT
    FULL = "full"  # no file of this process can grow any more


class Injected(Exception):
    """What `Action.RAISE` raises."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One action at one point, counted from 1."""

    point: int
    action: Action


@dataclasses.dataclass(frozen=True)
class Point:
    """One moment of a run.

    Attributes:
        number: from 1, in the order of the run.
        is_after: whether the statement has been executed.
        system: whose driver was called: postgres, mysql, duckdb, sqlite, ledger or lock; or hook.
        statement: what was called, shortened.
    """

    number: int
    is_after: bool
    system: str
    statement: str

    @property
    def is_ledger(self) -> bool:
        """Return whether the statement is one of the ledger."""
        return self.system == "ledger"

    def __str__(self) -> str:
        """Return one line for messages."""
        moment = "after" if self.is_after else "before"
        return f"point {self.number}, {moment} {self.system}: {self.statement}"


def read_points(path: pathlib.Path) -> list[Point]:
    """Return the points that a process wrote down."""
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        number, moment, system, statement = line.split("\t", 3)
        points.append(Point(int(number), moment == "after", system, statement))
    return points


class Tap:
    """Counts points, writes each down, and acts at one.

    Args:
        path: the file that points are written to, before anything happens at them.
        fault: None only counts.
    """

    def __init__(self, path: pathlib.Path, fault: Fault | None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._fault = fault
        self._count = 0
        self._guard = threading.Lock()
        if fault is not None and fault.action is Action.FULL:
            # Only here: the point may be reached in any thread.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def around(
        self,
        system: str,
        statement: object,
        call: Callable[[], _R],
        cut: Callable[[], Exception] | None = None,
    ) -> _R:
        """Call something that is a point before and a point after.

        Args:
            system: whose driver is called.
            statement: what for.
            call: the driver's own function with its arguments.
            cut: breaks the connection and returns what the driver raises when it notices; None is
                for systems without one.
        """
        self._reach(system, statement, cut, is_after=False)
        result = call()
        self._reach(system, statement, cut, is_after=True)
        return result

    def _reach(
        self, system: str, statement: object, cut: Callable[[], Exception] | None, *, is_after: bool
    ) -> None:
        with self._guard:
            self._count += 1
            number = self._count
        moment = "after" if is_after else "before"
        line = f"{number}\t{moment}\t{system}\t{_label(statement)}\n"
        with contextlib.suppress(OSError):  # once the disk is "full"
            os.write(self._descriptor, line.encode())
        if self._fault is None or self._fault.point != number:
            return
        match self._fault.action:
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.TERMINATE:
                os.kill(os.getpid(), signal.SIGTERM)
            case Action.SUSPEND:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Action.FULL:
                _stop_growth()
            case Action.CUT if cut is not None:
                lost = cut()
                # Before it, the driver finds out by itself when it sends the statement.
                if is_after:
                    raise lost
            case _:
                raise Injected(f"injected {moment} {_label(statement)}")


def move_clock(seconds: float) -> None:
    """Have this process believe, from now on, that it is `seconds` later; earlier if negative."""
    real: Any = datetime.datetime
    now, shift = time.time, datetime.timedelta(seconds=seconds)

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    def moved_now(cls: object, tz: datetime.tzinfo | None = None) -> Any:
        return real.now(tz) + shift

    moved: Any = Kind("datetime", (real,), {"now": classmethod(moved_now)})
    datetime.datetime = moved  # type: ignore[misc]
    time.time = lambda: now() + seconds


def install(tap: Tap) -> None:
    """Have every statement of this process from now on pass `tap`."""
    _install_postgres(tap)
    _install_mysql(tap)
    _install_duckdb(tap)
    _install_sqlite(tap)
    _install_lock(tap)
    _install_hooks(tap)


def _label(statement: object) -> str:
    text = statement.decode("utf-8", "replace") if isinstance(statement, bytes) else str(statement)
    return " ".join(text.split())[:_LABEL_LENGTH]


def _stop_growth() -> None:
    """Let writes fail as on a full disk; what fits into a file's present blocks still succeeds."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _hang_up(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _install_postgres(tap: Tap) -> None:
    import psycopg

    def cut(connection: Any) -> Callable[[], Exception]:
        def lose() -> Exception:
            _hang_up(connection.pgconn.socket)
            return psycopg.OperationalError("server closed the connection unexpectedly")

        return lose

    def wrap(owner: Any, name: str, label: Callable[..., object], of: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            return tap.around(
                "postgres",
                label(*arguments),
                lambda: original(self, *arguments, **named),
                cut(of(self)),
            )

        setattr(owner, name, wrapped)

    wrap(psycopg.Cursor, "execute", lambda query, *rest: query, lambda cursor: cursor.connection)
    wrap(psycopg.Copy, "write", lambda data, *rest: "COPY data", lambda copy: copy.connection)
    wrap(psycopg.Copy, "finish", lambda *rest: "end of COPY", lambda copy: copy.connection)
    original = psycopg.connect
    psycopg.connect = lambda *arguments, **named: tap.around(
        "postgres", "connect", lambda: original(*arguments, **named)
    )


def _install_mysql(tap: Tap) -> None:
    import pymysql
    from pymysql import connections

    def cut(connection: Any) -> Callable[[], Exception]:
        def lose() -> Exception:
            if connection._sock is not None:
                _hang_up(connection._sock.fileno())
            return pymysql.err.OperationalError(2013, "Lost connection to server during query")

        return lose

    def wrap(name: str, label: Callable[..., object]) -> None:
        original = getattr(connections.Connection, name)

        @functools.wraps(original)
        def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            return tap.around(
                "mysql",
                label(*arguments),
                lambda: original(self, *arguments, **named),
                cut(self),
            )

        setattr(connections.Connection, name, wrapped)

    wrap("connect", lambda *rest: "connect")
    wrap("query", lambda sql, *rest: sql)
    wrap("write_packet", lambda payload, *rest: f"packet of {len(payload)} bytes")


def _install_duckdb(tap: Tap) -> None:
    import duckdb

    def wrap(owner: Any, name: str, label: Callable[..., object]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            return tap.around(
                "duckdb", label(*arguments, **named), lambda: original(*arguments, **named)
            )

        setattr(owner, name, wrapped)

    wrap(duckdb.DuckDBPyConnection, "execute", lambda self, query, *rest, **named: query)
    wrap(duckdb.DuckDBPyConnection, "sql", lambda self, query, *rest, **named: query)
    wrap(duckdb.DuckDBPyConnection, "close", lambda self: "close")
    wrap(duckdb, "connect", lambda *rest, **named: "connect")


def _install_sqlite(tap: Tap) -> None:
    def factory(system: str) -> type[sqlite3.Connection]:
        class TappedCursor(sqlite3.Cursor):
            def execute(self, sql: str, parameters: Any = (), /) -> Any:
                return tap.around(
                    system, sql, lambda: super(TappedCursor, self).execute(sql, parameters)
                )

            def executemany(self, sql: str, parameters: Any, /) -> Any:
                return tap.around(
                    system, sql, lambda: super(TappedCursor, self).executemany(sql, parameters)
                )

        class TappedConnection(sqlite3.Connection):
            def cursor(self, factory: Any = None) -> Any:
                return super().cursor(TappedCursor)

            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                return self.cursor().execute(sql, parameters)  # type: ignore[no-any-return]

            def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
                return self.cursor().executemany(sql, parameters)  # type: ignore[no-any-return]

            def commit(self) -> None:
                tap.around(system, "commit", super().commit)

            def rollback(self) -> None:
                tap.around(system, "rollback", super().rollback)

            def close(self) -> None:
                tap.around(system, "close", super().close)

        return TappedConnection

    original = sqlite3.connect
    # The connector imports the module, SQLAlchemy its inner one: that tells the two apart.
    modules: tuple[tuple[Any, str], ...] = ((sqlite3, "sqlite"), (sqlite3.dbapi2, "ledger"))
    for module, system in modules:
        module.connect = functools.partial(original, factory=factory(system))


def _install_lock(tap: Tap) -> None:
    take = fcntl.flock
    unlink = pathlib.Path.unlink

    def flock(descriptor: Any, operation: int) -> None:
        tap.around("lock", f"flock {operation}", lambda: take(descriptor, operation))

    def remove(path: pathlib.Path, missing_ok: bool = False) -> None:
        tap.around("lock", f"unlink {path.suffix}", lambda: unlink(path, missing_ok))

    fcntl.flock = flock
    pathlib.Path.unlink = remove  # type: ignore[method-assign,assignment]


def _install_hooks(tap: Tap) -> None:
    owner: Any = etl.TMGETL
    execute = owner.execute

    def tapped(pipeline: etl.TMGETL) -> Any:
        for name in ("pre_execution_cleansing", "pipeline", "post_execution_cleanup"):
            hook = getattr(pipeline, name)
            call = functools.partial(tap.around, "hook", name, hook)
            setattr(pipeline, name, call)
        return execute(pipeline)

    owner.execute = tapped
