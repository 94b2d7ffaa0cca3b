"""Brings the ledger's tables up to date, once, however many processes start at the same time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import exc

from tmg_etl import errors
from tmg_etl.ledger import database, table

LOCK_WAIT_S = 60
LOCK_NAME = "tmg_etl_ledger"
LOCK_NUMBER = 0x746D675F65746C  # "tmg_etl" as a number, for PostgreSQL


def version(connection: sa.Connection) -> str | None:
    """Return the migration that the tables are at; None when there are none."""
    versions = sa.table(table.VERSION, sa.column("version_num", sa.String))
    try:
        found: str | None = connection.scalar(sa.select(versions.c.version_num))
    except exc.DBAPIError:
        # A missing table has another error in each driver. Asking first would cost a second query
        # in every run, asking afterwards only in the first one.
        connection.rollback()
        is_there = sa.inspect(connection).has_table(table.VERSION)
        connection.rollback()
        # Somebody has made it since, or it cannot be read: to ask again tells.
        found = connection.scalar(sa.select(versions.c.version_num)) if is_there else None
    return found


def ensure(engine: sa.Engine) -> None:
    """Create or migrate the tables if they are not at `table.HEAD`.

    Raises:
        errors.ConfigError: the tables were made by a newer version of this software.
        errors.LedgerError: the database cannot be read or written.
    """
    with database.translated(engine, "opened"), engine.connect() as connection:
        found = version(connection)
    if found == table.HEAD:
        return
    _refuse_newer(engine, found)
    with database.translated(engine, "set up"), engine.connect() as connection:
        _upgrade(database.writing(connection))


def _refuse_newer(engine: sa.Engine, found: str | None) -> None:
    """Raise for tables of a later release: revisions are numbers of four digits, in order."""
    if found is not None and found > table.HEAD:
        name = engine.url.render_as_string(hide_password=True)
        raise errors.ConfigError(
            f"the ledger {name} is at version {found}, this software knows up to {table.HEAD}",
            hint="use the newer release that wrote it, or another `ledger:`",
        )


def _upgrade(connection: sa.Connection) -> None:
    import alembic.command
    import alembic.config

    # Which revisions run is of no interest to someone who starts a transfer.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with _locked(connection):
        # Whoever held the lock before may have done it already; Alembic looks again by itself.
        config = alembic.config.Config()
        config.set_main_option("script_location", "tmg_etl.ledger:migrations")
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")
        connection.commit()


@contextlib.contextmanager
def _locked(connection: sa.Connection) -> Iterator[None]:
    """Hold the right to migrate: SQLite by its transaction, servers by an advisory lock."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_NUMBER)))
        yield
    elif dialect in ("mysql", "mariadb"):
        # The lock belongs to the server, so its name carries the database; 64 characters at most.
        name = sa.func.left(sa.func.concat(LOCK_NAME, ".", sa.func.database()), 64)
        if connection.scalar(sa.select(sa.func.get_lock(name, LOCK_WAIT_S))) != 1:
            raise TimeoutError(f"another process has been setting it up for {LOCK_WAIT_S} s")
        # The server gives the lock back when this connection closes, however it closes.
        yield
    else:
        # On SQLite the transaction begins with the write lock. Other databases share no lock: two
        # first starts at the same instant may fail there, and the next one works.
        connection.begin()
        yield
