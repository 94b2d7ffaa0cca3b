"""Reads the rows of the ledger, with SQLAlchemy; what a run writes is in `writer`."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, Self

import sqlalchemy as sa

from tmg_etl import errors
from tmg_etl.ledger import database, migration, model, record, table, writer

_TABLE = model.RUN
_SHOWN = 5  # runs that are named when a prefix fits several


def open(url: str) -> Ledger:
    """Return the ledger at `url` with its tables up to date; creates them the first time.

    Args:
        url: as SQLAlchemy writes it, without a driver for PostgreSQL, MySQL and MariaDB. The folder
            of a SQLite file is made.

    Raises:
        errors.ConfigError: not a URL, no driver, or tables of a newer version of this software.
        errors.LedgerError: the database cannot be reached, read or written.
    """
    engine = database.engine(url)
    migration.ensure(engine)
    return Ledger(url, engine)


def peek(url: str) -> Ledger | None:
    """Return the ledger at `url` for reading; None when there is none yet, or an older one.

    Unlike `open`, it makes and changes nothing.

    Raises:
        errors.ConfigError: not a URL, or no driver.
        errors.LedgerError: the database cannot be reached or read.
    """
    if not database.exists(url):
        return None
    engine = database.engine(url)
    with database.translated(engine, "opened"), engine.connect() as connection:
        return Ledger(url, engine) if migration.version(connection) == table.HEAD else None


class Ledger(writer.Writer):
    """The table of runs: what a run writes, and what is read of it."""

    def __init__(self, url: str, engine: sa.Engine) -> None:
        super().__init__(url, is_current=True)
        self._engine = engine

    def get(self, prefix: str) -> record.Record:
        """Return the run whose id is `prefix` or the only one whose id starts with it.

        Raises:
            errors.UsageError: no run, or more than one.
            errors.LedgerError: the database cannot be read.
        """
        wanted = prefix.strip().lower()
        if not wanted:
            raise errors.UsageError("the run id is empty", hint="`tmg-etl runs` lists the ids")
        query = (
            sa.select(_TABLE)
            .where(_TABLE.c.id.startswith(wanted, autoescape=True))
            .order_by(_TABLE.c.id)
            .limit(_SHOWN + 1)
        )
        found = self._read(query)
        exact = [run for run in found if run.id == wanted]
        if len(found) == 1 or exact:
            return (exact or found)[0]
        if not found:
            message = f"no run has an id that starts with {errors.shorten(wanted, 40)}"
            raise errors.UsageError(message, hint="`tmg-etl runs` lists the ids")
        names = ", ".join(run.id for run in found[:_SHOWN])
        more = " and more" if len(found) > _SHOWN else ""
        message = f"several runs have an id that starts with {wanted!r}: {names}{more}"
        raise errors.UsageError(message, hint="give more characters")

    def list(
        self,
        transfer: str | Sequence[str] | None = None,
        status: str | None = None,
        limit: int = 20,
    ) -> builtins.list[record.Record]:
        """Return runs, the latest start first.

        Args:
            transfer: only runs of this transfer, or of any of these; None: of all.
            status: only runs of this `record.Status`; None: of all.
            limit: most runs to return, 1 or more.

        Raises:
            errors.LedgerError: the database cannot be read.
        """
        query = sa.select(_TABLE).order_by(_TABLE.c.started_at.desc(), _TABLE.c.id.desc())
        if transfer is not None:
            names = [transfer] if isinstance(transfer, str) else transfer
            query = query.where(_TABLE.c.transfer.in_(names))
        if status is not None:
            query = query.where(_TABLE.c.status == str(status))
        return self._read(query.limit(limit))

    def last_writer(self, run: record.Record) -> record.Record | None:
        """Return the run that last wrote, or may have written, the target of `run`; None: none did.

        Runs that have not ended come last, because nobody knows what they did. Those that found
        nothing to do wrote nothing.

        Raises:
            errors.LedgerError: the database cannot be read.
        """
        wrote = sa.or_(
            _TABLE.c.publish.is_(None),
            _TABLE.c.publish != record.NOTHING,
            _TABLE.c.status != str(record.Status.SUCCEEDED),
        )
        query = (
            sa.select(_TABLE)
            .where(_TABLE.c.target == run.target, _TABLE.c.env == run.env, _TABLE.c.id != run.id)
            .where(wrote)
            .order_by(_TABLE.c.finished_at.is_not(None), _TABLE.c.finished_at.desc())
        )
        return next(iter(self._read(query.limit(1))), None)

    def keepers(self, tables: Sequence[str]) -> builtins.list[record.Record]:
        """Return the runs that kept replaced tables of these names.

        Raises:
            errors.LedgerError: the database cannot be read.
        """
        return self._read(sa.select(_TABLE).where(_TABLE.c.previous_table.in_(tables)))

    def close(self) -> None:
        """Give back what the engine holds; harmless when called again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the ledger."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the ledger."""
        self.close()

    def _read(self, query: sa.Select[Any]) -> builtins.list[record.Record]:
        with database.translated(self._engine, "read"), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [record.Record(**row) for row in rows]
