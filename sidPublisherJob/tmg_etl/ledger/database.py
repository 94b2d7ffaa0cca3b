"""Opens the ledger's database by its URL, and words what goes wrong without secrets."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, pool

from tmg_etl import errors

WAIT_S = 10
"""Seconds to wait for a connection or for SQLite's lock: a run must not hang on its ledger."""

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_CONNECT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": WAIT_S},
    "postgresql": {"connect_timeout": WAIT_S},
    "mysql": {"connect_timeout": WAIT_S, "read_timeout": 60, "write_timeout": 60},
}
_HINT = "check `ledger:` in the config; the run itself is not affected"


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
        )
    except exc.NoSuchModuleError:
        message = f"no dialect is installed for the ledger {shown}"
        raise errors.ConfigError(message, hint="use sqlite, postgresql or mysql") from None
    except ImportError as error:
        message = f"the driver for the ledger {shown} is not installed: {error}"
        raise errors.ConfigError(message, hint="install it, or name no driver") from None
    except (exc.ArgumentError, ValueError):
        # The text is not shown: what is no URL cannot be masked.
        raise errors.ConfigError("the ledger is not a URL", hint=_HINT) from None
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


@contextlib.contextmanager
def translated(made: sa.Engine, action: str) -> Iterator[None]:
    """Turn the database's errors inside the block into `errors.LedgerError`.

    Args:
        made: the engine in use.
        action: what was tried, as in "the ledger … cannot be <action>".
    """
    try:
        yield
    except (exc.SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        reason = errors.one_line(_reason(cause))
        password = made.url.password
        if password:
            reason = reason.replace(str(password), "***")
        name = made.url.render_as_string(hide_password=True)
        message = f"the ledger {name} cannot be {action}: {reason}"
        raise errors.LedgerError(message, hint=_HINT) from None


def writing(connection: sa.Connection) -> sa.Connection:
    """Return `connection` set to take SQLite's write lock when its transaction begins.

    A transaction that reads first and writes later fails at once when another one writes; one that
    begins by the lock waits for it.
    """
    return connection.execution_options(tmg_etl_writes=True)


def _reason(error: BaseException) -> str:
    arguments: tuple[Any, ...] = error.args
    if len(arguments) == 2 and isinstance(arguments[0], int):  # PyMySQL: number and text
        return f"{arguments[1]} ({arguments[0]})"
    return str(error) or type(error).__name__


def _prepare_sqlite(made: sa.Engine) -> None:
    """Make the file's folder, and let this module decide when transactions begin."""
    name = made.url.database
    if name and name != ":memory:" and not name.startswith("file:"):
        folder = pathlib.Path(name).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the folder {folder} of the ledger cannot be made: {error.strerror}"
            raise errors.LedgerError(message, hint=_HINT) from None

    def take_over(connection: sqlite3.Connection, _record: object) -> None:
        # Python's module begins transactions late and commits before some statements.
        # Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        connection.isolation_level = None

    def emit_begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("tmg_etl_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(made, "connect", take_over)
    sa.event.listen(made, "begin", emit_begin)
