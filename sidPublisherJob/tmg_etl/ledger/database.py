"""Opens the ledger's database by its URL, and words what goes wrong without secrets."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, pool

from tmg_etl import errors
from tmg_etl.ledger import model, session

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
#: The option of an engine that keeps its URL as the config has it, for messages.
_URL = "tmg_etl_url"
_CONNECT_ARGUMENTS = {
    "sqlite": session.SQLITE_ARGUMENTS,
    "postgresql": session.POSTGRES_ARGUMENTS,
    "mysql": session.MYSQL_ARGUMENTS,
}


def engine(url: str) -> sa.Engine:
    """Return an engine for `url`, not yet connected; no connection is kept between uses.

    Args:
        url: as SQLAlchemy writes it, without a driver for PostgreSQL, MySQL and MariaDB.

    Raises:
        errors.ConfigError: not a URL, or no dialect or driver for it is installed.
        errors.LedgerError: the folder of a SQLite file cannot be made.
    """
    shown = errors.redact(url)
    try:
        parsed = sa.make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        arguments = {
            key: value
            for key, value in _CONNECT_ARGUMENTS.get(parsed.get_backend_name(), {}).items()
            if key not in parsed.query
        }
        # Each connection is closed after its use, which rolls back what is not committed.
        made = sa.create_engine(
            parsed,
            connect_args=arguments,
            poolclass=pool.NullPool,
            pool_reset_on_return=None,
            execution_options={_URL: url},
        )
    except exc.NoSuchModuleError:
        message = f"no dialect is installed for the ledger {shown}"
        raise errors.ConfigError(message, hint="use sqlite, postgresql or mysql") from None
    except ImportError as error:
        message = f"the driver for the ledger {shown} is not installed: {error}"
        raise errors.ConfigError(message, hint="install it, or name no driver") from None
    except (exc.ArgumentError, ValueError):
        # The text is not shown: what is no URL cannot be masked.
        raise errors.ConfigError("the ledger is not a URL", hint=session.HINT) from None
    if made.dialect.name == "sqlite":
        _prepare_sqlite(made)
    return made


def exists(url: str) -> bool:
    """Return whether the ledger's file is there; of a server it is not known before it is asked."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        return True  # `engine` says what is wrong with it
    if parsed.get_backend_name() != "sqlite":
        return True
    name = parsed.database
    return bool(name) and (name == ":memory:" or pathlib.Path(str(name)).exists())


def check(url: str, *, connect: bool) -> None:
    """Make sure that a ledger can be used; create nothing.

    Args:
        url: as for `engine`.
        connect: log in, beside looking for what is needed here.

    Raises:
        errors.ConfigError: not a URL, or no dialect or driver for it is installed.
        errors.LedgerError: the database cannot be reached.
    """
    if exists(url):
        made = engine(url)
        if connect:
            with translated(made, "opened"):
                made.connect().close()


@contextlib.contextmanager
def translated(made: sa.Engine, action: str) -> Iterator[None]:
    """Turn the database's errors inside the block into `errors.LedgerError`.

    Args:
        made: the engine in use.
        action: what was tried, as in "the ledger … cannot be <action>".
    """
    with session.translated(made.get_execution_options()[_URL], action, (exc.SQLAlchemyError,)):
        yield


@contextlib.contextmanager
def writing_session(url: str) -> Iterator[session.Session]:
    """Yield what `session.writing` does, for any database that SQLAlchemy speaks."""
    made = engine(url)
    with translated(made, "opened"):
        connection = made.connect()
    with translated(made, "written"), connection:
        yield _EngineSession(writing(connection))
        connection.commit()


class _EngineSession:
    failures: tuple[type[Exception], ...] = (exc.DBAPIError,)

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def execute(self, text: str, values: Mapping[str, object]) -> Any:
        typed = [sa.bindparam(name, type_=model.RUN.c[name].type) for name in values]
        return self._connection.execute(sa.text(text).bindparams(*typed), values)

    def rollback(self) -> None:
        self._connection.rollback()


def writing(connection: sa.Connection) -> sa.Connection:
    """Return `connection` set to take SQLite's write lock when its transaction begins.

    A transaction that reads first and writes later fails at once when another one writes; one that
    begins by the lock waits for it.
    """
    return connection.execution_options(tmg_etl_writes=True)


def _prepare_sqlite(made: sa.Engine) -> None:
    """Make the file's folder, and let this module decide when transactions begin."""
    name = made.url.database
    if name and name != ":memory:" and not name.startswith("file:"):
        folder = pathlib.Path(name).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the folder {folder} of the ledger cannot be made: {error.strerror}"
            raise errors.LedgerError(message, hint=session.HINT) from None

    def take_over(connection: sqlite3.Connection, _record: object) -> None:
        # Python's module begins transactions late and commits before some statements.
        # Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        connection.isolation_level = None

    def emit_begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("tmg_etl_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(made, "connect", take_over)
    sa.event.listen(made, "begin", emit_begin)
