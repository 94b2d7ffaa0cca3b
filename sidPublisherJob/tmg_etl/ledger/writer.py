"""Writes the row of a run: its begin and its end, in plain statements and without SQLAlchemy.

The tables of a ledger that is new or of an earlier release are made by `migration` first, which
imports it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator
from typing import Any

from tmg_etl.ledger import record, session, table

_FIELDS = tuple(field.name for field in dataclasses.fields(record.Record))
#: What changes when a run ends.
_ENDING = tuple(
    field.name
    for field in dataclasses.fields(record.Record)
    if field.default is not dataclasses.MISSING
)
_VERSION = f"SELECT version_num FROM {table.VERSION}"
_INSERT = (
    f"INSERT INTO {table.RUN} ({', '.join(_FIELDS)})"
    f" VALUES ({', '.join(f':{name}' for name in _FIELDS)})"
)
_FINISH = (
    f"UPDATE {table.RUN} SET {', '.join(f'{name} = :{name}' for name in _ENDING)} WHERE id = :id"
)
_RUNNING = f"""
    SELECT id, env, target, host, pid FROM {table.RUN}
    WHERE transfer = :transfer AND status = :status AND id <> :id
"""
_ABANDON = f"""
    UPDATE {table.RUN} SET status = :status, finished_at = :finished_at, error = :error
    WHERE id = :id AND status = '{record.Status.RUNNING}'
"""


class Writer:
    """Writes rows; every call is one short transaction on a connection of its own.

    A run may last for hours; a connection held for so long is one that a proxy has cut.

    Args:
        url: as SQLAlchemy writes it, without a driver for PostgreSQL, MySQL and MariaDB.
        is_current: whether the tables are known to be up to date.
    """

    def __init__(self, url: str, *, is_current: bool = False) -> None:
        self._url = url
        self._is_current = is_current

    def begin(self, run: record.Record) -> list[str]:
        """Write the row of a run that begins and holds the lock on its target.

        Returns:
            The ids of the runs that were marked, as by `abandon_dead`.

        Raises:
            errors.ConfigError: no URL, no driver, or tables of a newer version of this software.
            errors.LedgerError: the database cannot be reached or written, or has the id already.
        """
        with self._writing() as opened:
            dead = _abandon(opened, run)
            opened.execute(_INSERT, _values(run))
        return dead

    def start(self, run: record.Record) -> None:
        """Write the row of a run that begins.

        Raises:
            errors.LedgerError: the database cannot be written, or has the id already.
        """
        with self._writing() as opened:
            opened.execute(_INSERT, _values(run))

    def finish(self, run: record.Record) -> None:
        """Write the end of a run; writes the whole row when its start is not there.

        Raises:
            errors.LedgerError: the database cannot be written.
        """
        values = _values(run)
        ending = {name: values[name] for name in ("id", *_ENDING)}
        with self._writing() as opened:
            if opened.execute(_FINISH, ending).rowcount == 0:
                opened.execute(_INSERT, values)

    def abandon_dead(self, run: record.Record) -> list[str]:
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
        with self._writing() as opened:
            return _abandon(opened, run)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[session.Session]:
        """Yield a transaction on tables that are up to date."""
        if not session.is_missing(self._url):
            with session.writing(self._url) as opened:
                if self._is_current or _is_current(opened):
                    self._is_current = True
                    yield opened
                    return
        from tmg_etl.ledger import database, migration

        migration.ensure(database.engine(self._url))
        self._is_current = True
        with session.writing(self._url) as opened:
            yield opened


def _is_current(opened: session.Session) -> bool:
    """Return whether the tables are those that this software writes; false: `migration` tells."""
    try:
        found = opened.execute(_VERSION, {}).fetchone()
    except opened.failures:
        # Most likely there are none: that is another error in each driver.
        opened.rollback()
        return False
    return found is not None and found[0] == table.HEAD


def _abandon(opened: session.Session, run: record.Record) -> list[str]:
    running = {"transfer": run.transfer, "status": str(record.Status.RUNNING), "id": run.id}
    others = opened.execute(_RUNNING, running).fetchall()
    dead = [str(name) for name, *facts in others if _is_dead(run, *facts)]
    for found in dead:
        change = {
            "id": found,
            "status": str(record.Status.ABANDONED),
            "finished_at": datetime.datetime.now(datetime.UTC),
            "error": f"ended without a word; found dead by the run {run.id}",
        }
        opened.execute(_ABANDON, change)
    return dead


def _values(run: record.Record) -> dict[str, Any]:
    """Return the row to store: texts cut to their column, without NUL, which PostgreSQL refuses."""
    values: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(run, name)
        if isinstance(value, str):
            length = table.LENGTHS.get(name, table.ERROR_LENGTH)
            value = str(value).replace("\0", "")[:length]
        values[name] = value
    return values


def _is_dead(run: record.Record, env: str, target: str, host: str, pid: int) -> bool:
    if (env, target) == (run.env, run.target):
        return True
    return host == run.host and not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # It belongs to someone else.
    return True
