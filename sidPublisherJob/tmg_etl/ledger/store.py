"""Reads and writes the rows of the ledger."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

import sqlalchemy as sa

from tmg_etl import errors
from tmg_etl.ledger import database, migration, model, record

_TABLE = model.RUN
_FIELDS = tuple(field.name for field in dataclasses.fields(record.Record))
#: What changes when a run ends.
_ENDING = tuple(
    field.name
    for field in dataclasses.fields(record.Record)
    if field.default is not dataclasses.MISSING
)
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
    return Ledger(engine)


def begin(url: str, run: record.Record) -> tuple[Ledger, list[str]]:
    """Return the ledger at `url` with the row of a run that begins, and the runs found dead.

    In one transaction what `open` and `Ledger.begin` do in two.

    Args:
        url: as for `open`.
        run: the run that begins and holds the lock on its target.

    Raises:
        errors.ConfigError: as for `open`.
        errors.LedgerError: the database cannot be reached or written, or has the id already.
    """
    ledger = Ledger(database.engine(url))
    with ledger._writing() as connection:
        if migration.version(connection) == model.HEAD:
            return ledger, _begin(connection, run)
    migration.ensure(ledger._engine)
    return ledger, ledger.begin(run)


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
        return Ledger(engine) if migration.version(connection) == model.HEAD else None


class Ledger:
    """The table of runs. Every call is one short transaction on a connection of its own.

    A run may last for hours; a connection held for so long is one that a proxy has cut.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, run: record.Record) -> builtins.list[str]:
        """Write the row of a run that begins and holds the lock on its target.

        Returns:
            The ids of the runs that were marked, as by `abandon_dead`.

        Raises:
            errors.LedgerError: the database cannot be written, or has the id already.
        """
        with self._writing() as connection:
            return _begin(connection, run)

    def start(self, run: record.Record) -> None:
        """Write the row of a run that begins.

        Raises:
            errors.LedgerError: the database cannot be written, or has the id already.
        """
        with self._writing() as connection:
            connection.execute(sa.insert(_TABLE).values(_values(run)))
            connection.commit()

    def finish(self, run: record.Record) -> None:
        """Write the end of a run; writes the whole row when its start is not there.

        Raises:
            errors.LedgerError: the database cannot be written.
        """
        values = _values(run)
        ending = {name: values[name] for name in _ENDING}
        with self._writing() as connection:
            changed = connection.execute(
                sa.update(_TABLE).where(_TABLE.c.id == run.id).values(ending)
            )
            if changed.rowcount == 0:
                connection.execute(sa.insert(_TABLE).values(values))
            connection.commit()

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

    def abandon_dead(self, run: record.Record) -> builtins.list[str]:
        """Mark runs of the same transfer that cannot be running any more as abandoned.

        Dead is a row on this host whose process is gone; and every other row of the same transfer,
        environment and target, because `run` holds the target's lock. A run that was declared dead
        by mistake corrects that itself when it writes its end.

        Args:
            run: the run that begins and holds the lock on its target.

        Returns:
            The ids that were marked.

        Raises:
            errors.LedgerError: the database cannot be read or written.
        """
        with self._writing() as connection:
            dead = _abandon(connection, run)
            connection.commit()
        return dead

    def close(self) -> None:
        """Give back what the engine holds; harmless when called again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the ledger."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the ledger."""
        self.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Yield a connection whose transaction writes; what is not committed is rolled back."""
        with database.translated(self._engine, "opened"):
            connection = self._engine.connect()
        with database.translated(self._engine, "written"), connection:
            yield database.writing(connection)

    def _read(self, query: sa.Select[Any]) -> builtins.list[record.Record]:
        with database.translated(self._engine, "read"), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [record.Record(**row) for row in rows]


def _begin(connection: sa.Connection, run: record.Record) -> list[str]:
    dead = _abandon(connection, run)
    connection.execute(sa.insert(_TABLE).values(_values(run)))
    connection.commit()
    return dead


def _abandon(connection: sa.Connection, run: record.Record) -> list[str]:
    """Mark runs of the same transfer that cannot be running any more; return their ids."""
    columns = _TABLE.c
    running = columns.status == str(record.Status.RUNNING)
    query = sa.select(columns.id, columns.env, columns.target, columns.host, columns.pid).where(
        columns.transfer == run.transfer, running, columns.id != run.id
    )
    dead = [str(other.id) for other in connection.execute(query).all() if _is_dead(other, run)]
    if dead:
        change = {
            "status": str(record.Status.ABANDONED),
            "finished_at": datetime.datetime.now(datetime.UTC),
            "error": f"ended without a word; found dead by the run {run.id}",
        }
        connection.execute(sa.update(_TABLE).where(columns.id.in_(dead), running).values(change))
    return dead


def _values(run: record.Record) -> dict[str, Any]:
    """Return the row to store: texts cut to their column, without NUL, which PostgreSQL refuses."""
    values: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(run, name)
        if isinstance(value, str):
            length = getattr(_TABLE.c[name].type, "length", None) or model.ERROR_LENGTH
            value = str(value).replace("\0", "")[:length]
        values[name] = dict(value) if name == "phase_seconds" and value is not None else value
    return values


def _is_dead(other: sa.Row[Any, Any, Any, Any, Any], run: record.Record) -> bool:
    if (other.env, other.target) == (run.env, run.target):
        return True
    return other.host == run.host and not _is_alive(other.pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # It belongs to someone else.
    return True
