"""The publish of shadows: one ``RENAME TABLE``, then the replaced tables are dropped.

The rename is atomic for readers whatever the number of tables. What is replaced and not kept is
dropped after it, so that a crash leaves at most tables that the next run removes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence

from tmg_etl import errors
from tmg_etl.connectors.mysql import catalogue, swap
from tmg_etl.connectors.mysql import session as session_module

_LOGGER = logging.getLogger("tmg_etl")


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One table's part.

    Attributes:
        table: the name to take.
        now: its definition; None when there is no such table.
        next_number: what its column that numbers rows would give next; None without one.
        shadow: takes its place.
        made_from: definition of the table when the shadow was made; None when there was none.
        old: name that the replaced table gets.
        is_kept: whether it stays under that name.
    """

    table: str
    now: str | None
    next_number: int | None
    shadow: str
    made_from: str | None
    old: str
    is_kept: bool


def carry_out(session: session_module.Session, exchanges: Sequence[Exchange]) -> list[int]:
    """Exchange all tables in one step; return the rows of each replaced one.

    Raises:
        errors.AlteredError: a definition changed since its shadow was made; the swap is undone.
        errors.TemporaryError: other sessions held a table all the time.
        errors.ConfigError: a foreign key that this user cannot see refers to a replaced table; the
            swap is undone.
    """
    place = functools.partial(qualified, session.place.database)
    replaced, pairs = [], []
    for one in exchanges:
        if one.made_from != one.now:
            raise errors.AlteredError(one.table)
        if one.now is None:
            replaced.append(0)
        else:
            if one.next_number is not None:
                # Lower than the rows' own it is ignored.
                statement = f"ALTER TABLE {place(one.shadow)} AUTO_INCREMENT = {one.next_number}"
                session.run(statement, table=one.table)
            # Before the step: after it, the sweep of another run may take the table away.
            replaced.append(int(session.value(f"SELECT COUNT(*) FROM {place(one.table)}")))
            pairs.append((place(one.table), place(one.old)))
        pairs.append((place(one.shadow), place(one.table)))
    names = ", ".join(one.table for one in exchanges)
    swap.rename(session, pairs, functools.partial(_is_done, session, exchanges), names)
    _require_unaltered(session, exchanges)
    _drop_replaced(session, exchanges)
    return replaced


def _require_unaltered(session: session_module.Session, exchanges: Sequence[Exchange]) -> None:
    """Undo the step if a table was altered while the step waited for it.

    What fails here fails no run: the new rows are public, and most likely rightly so.

    RENAME is refused under LOCK TABLES by MariaDB, so that nothing can be compared under its lock.
    """
    for one in exchanges:
        if one.now is None:
            continue
        try:
            found = catalogue.definition(session, session.place.database, one.old)
        except Exception as error:  # noqa: BLE001 - the sweep of another run may have taken it away
            _LOGGER.warning(
                "%s: whether it was altered at the last moment is not known: %s",
                one.table,
                errors.one_line(str(error) or repr(error)),
            )
            continue
        if found != one.made_from:
            _undo(session, exchanges)
            raise errors.AlteredError(one.table)


def _is_done(session: session_module.Session, exchanges: Sequence[Exchange]) -> bool:
    """Ask the server whether the step was made: all of it or nothing was."""
    exists = functools.partial(catalogue.exists, session, session.place.database)
    for one in exchanges:
        # A replaced table is there only by the step; a shadow may have been swept away.
        if one.now is not None:
            return exists(one.old)
    first = exchanges[0]
    return exists(first.table) and not exists(first.shadow)


def _drop_replaced(session: session_module.Session, exchanges: Sequence[Exchange]) -> None:
    """Drop what was replaced; if the server is away now, the next run does."""
    is_first = True
    for one in exchanges:
        if one.now is None or one.is_kept:
            continue
        try:
            drop(session, one.old, one.table)
        except errors.TemporaryError as error:
            # The new rows are public: a run that failed here would deny it.
            _LOGGER.warning(
                "%s: the replaced table %s is still there: %s", one.table, one.old, error
            )
        except errors.DataError as referenced:
            message = (
                f"{one.table}: a foreign key of another table refers to it: {referenced.message}"
            )
            if not is_first:
                # Another one is gone already, and half of a step is never undone.
                _LOGGER.error("%s; its replaced rows are still there as %s", message, one.old)
                continue
            _undo(session, exchanges)
            hint = "write `publish: diff`; the target is unchanged"
            raise errors.ConfigError(message, hint=hint) from referenced
        is_first = False


def _undo(session: session_module.Session, exchanges: Sequence[Exchange]) -> None:
    place = functools.partial(qualified, session.place.database)
    pairs = []
    for one in exchanges:
        pairs.append((one.table, one.shadow))
        if one.now is not None:
            pairs.append((one.old, one.table))
    renames = ", ".join(f"{place(before)} TO {place(after)}" for before, after in pairs)
    session.run(f"RENAME TABLE {renames}", cancellable=False)


def drop(session: session_module.Session, name: str, table: str) -> None:
    """Drop a table of ours if it is there, also after a stop.

    Args:
        session: any.
        name: of the table.
        table: the target that it belongs to, for messages.
    """
    database = session.place.database
    statement = f"DROP TABLE IF EXISTS {qualified(database, name)}"
    try:
        session.run(statement, table=table, cancellable=False)
    except errors.AccessError:
        # The server asks for the right before it looks whether there is such a table.
        if catalogue.exists(session, database, name):
            raise


def qualified(database: str, name: str) -> str:
    """Return a table's name with its database."""
    return f"{catalogue.quoted(database)}.{catalogue.quoted(name)}"
