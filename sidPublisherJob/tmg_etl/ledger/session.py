"""A transaction that writes to the ledger, by the database's driver and without SQLAlchemy.

SQLAlchemy takes a quarter of a small run to be imported. A run sends four statements that are the
same text everywhere; so they go to the driver of SQLite, PostgreSQL, MySQL and MariaDB. A URL that
says more than where and who, and every other database, is left to SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from sqlite3 import dbapi2 as sqlite
from typing import Any, NamedTuple, Protocol

from tmg_etl import errors
from tmg_etl.ledger import table

WAIT_S = 10
"""Seconds to wait for a connection or for SQLite's lock: a run must not hang on its ledger."""

SQLITE_ARGUMENTS: dict[str, Any] = {"timeout": WAIT_S}
POSTGRES_ARGUMENTS: dict[str, Any] = {"connect_timeout": WAIT_S}
MYSQL_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": WAIT_S,
    "read_timeout": 60,
    "write_timeout": 60,
}
HINT = "check `ledger:` in the config; the run itself is not affected"

_FILE = re.compile(r"sqlite:///(?P<path>(?!file:|:memory:)[^?%]+)")
_SERVER = re.compile(
    r"(?P<scheme>postgres(?:ql)?|mysql|mariadb)://(?P<user>[^:/@]+)(?::(?P<password>[^@/?]*))?"
    r"@(?P<host>[\w.-]+)(?::(?P<port>\d+))?/(?P<database>[^?/]+)"
)
_PASSWORD = re.compile(r"//[^:/@]*:([^@]*)@")


class _Opener(NamedTuple):
    """How a driver connects, which errors it raises, and how it names the values in a statement."""

    connect: Callable[[], Any]
    failures: tuple[type[Exception], ...]
    statement: Callable[[str], str]


class Session(Protocol):
    """An open transaction.

    Attributes:
        failures: what a statement may raise.
    """

    failures: tuple[type[Exception], ...]

    def execute(self, text: str, values: Mapping[str, object]) -> Any:
        """Run one statement and return its cursor.

        Args:
            text: names its values as ``:name``, and holds neither another colon nor a percent sign.
            values: as a `record.Record` has them.
        """

    def rollback(self) -> None:
        """Undo what was executed so far."""


class _DriverSession:
    def __init__(self, raw: Any, opener: _Opener) -> None:
        self.failures = opener.failures
        self._raw = raw
        self._statement = opener.statement

    def execute(self, text: str, values: Mapping[str, object]) -> Any:
        stored = {name: table.stored(value) for name, value in values.items()}
        if isinstance(self._raw, sqlite.Connection):
            stored = {name: _sqlite_text(value) for name, value in stored.items()}
        cursor = self._raw.cursor()
        cursor.execute(self._statement(text), stored)
        return cursor

    def rollback(self) -> None:
        self._raw.rollback()


@contextlib.contextmanager
def writing(url: str) -> Iterator[Session]:
    """Yield what executes statements in one transaction: committed at the end, else rolled back.

    Raises:
        errors.ConfigError: the URL is none, or has no driver.
        errors.LedgerError: the database cannot be reached or written.
    """
    opener = _opener(url)
    if opener is None:
        from tmg_etl.ledger import database

        with database.writing_session(url) as found:
            yield found
        return
    with translated(url, "opened", opener.failures):
        raw = opener.connect()
    try:
        with translated(url, "written", (*opener.failures, ValueError)):
            if isinstance(raw, sqlite.Connection):
                # One that reads first and writes later fails at once when another one writes.
                raw.execute("BEGIN IMMEDIATE")
            yield _DriverSession(raw, opener)
            raw.commit()
    finally:
        # What is not committed is rolled back. A connection that was lost cannot be closed either.
        with contextlib.suppress(*opener.failures):
            raw.close()


def is_missing(url: str) -> bool:
    """Return whether the ledger is a file that is not there."""
    file = _FILE.fullmatch(url)
    return file is not None and not pathlib.Path(file["path"]).exists()


@contextlib.contextmanager
def translated(url: str, action: str, failures: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Turn the database's errors inside the block into `errors.LedgerError`.

    Args:
        url: the ledger's; its password is not shown.
        action: what was tried, as in "the ledger … cannot be <action>".
        failures: the errors of its driver.
    """
    caught: tuple[type[BaseException], ...] = (*failures, OSError)
    try:
        yield
    except caught as error:
        reason = errors.one_line(_reason(getattr(error, "orig", None) or error))
        password = _PASSWORD.search(url)
        if password and password[1]:
            reason = reason.replace(urllib.parse.unquote(password[1]), "***")
        message = f"the ledger {errors.redact(url)} cannot be {action}: {reason}"
        raise errors.LedgerError(message, hint=HINT) from None


def _opener(url: str) -> _Opener | None:
    """Return how to connect without SQLAlchemy; None: not known."""
    file, server = _FILE.fullmatch(url), _SERVER.fullmatch(url)
    if file:
        return _sqlite(file["path"])
    if server:
        is_postgres = server["scheme"].startswith("postgres")
        return (_postgres if is_postgres else _mysql)(server.groupdict())
    return None


def _sqlite(path: str) -> _Opener:
    def connect() -> sqlite.Connection:
        # Python's module would begin transactions late and commit before some statements.
        made: sqlite.Connection = sqlite.connect(path, isolation_level=None, **SQLITE_ARGUMENTS)
        return made

    return _Opener(connect, (sqlite.Error,), str)


def _postgres(place: Mapping[str, str | None]) -> _Opener:
    import psycopg

    def connect() -> Any:
        return psycopg.connect(**_who(place), dbname=place["database"], **POSTGRES_ARGUMENTS)

    return _Opener(connect, (psycopg.Error,), _pyformat)


def _mysql(place: Mapping[str, str | None]) -> _Opener:
    import pymysql
    from pymysql.constants import CLIENT

    def connect() -> Any:
        return pymysql.connect(
            **_who(place),
            database=place["database"],
            # As SQLAlchemy has it: an UPDATE counts the rows that it finds, changed or not.
            client_flag=CLIENT.FOUND_ROWS,
            **MYSQL_ARGUMENTS,
        )

    return _Opener(connect, (pymysql.Error,), _pyformat)


def _who(place: Mapping[str, str | None]) -> dict[str, Any]:
    found: dict[str, Any] = {"host": place["host"]}
    for name in ("user", "password"):
        if place[name] is not None:
            found[name] = urllib.parse.unquote(str(place[name]))
    if place["port"]:
        found["port"] = int(str(place["port"]))
    return found


def _pyformat(text: str) -> str:
    return re.sub(r":(\w+)", r"%(\1)s", text)


def _sqlite_text(value: object) -> object:
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ", "microseconds")
    return value.isoformat() if isinstance(value, datetime.date) else value


def _reason(error: BaseException) -> str:
    arguments: tuple[Any, ...] = error.args
    if len(arguments) == 2 and isinstance(arguments[0], int):  # PyMySQL: number and text
        return f"{arguments[1]} ({arguments[0]})"
    return str(error) or type(error).__name__
