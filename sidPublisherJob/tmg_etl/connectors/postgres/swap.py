"""The swap: a shadow takes the table's place in one transaction.

Readers wait for the lock's attempt and for the few catalogue changes under it; they never wait for
data. The replaced table is dropped in the same transaction: its file is removed by the server after
the commit, when its lock is gone already, and no leftover can remain.
"""

from __future__ import annotations

from tmg_etl import errors
from tmg_etl.connectors.postgres import aside, catalog, handover
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import shadow as shadow_module

_VACUUM_WAIT_MS = 5_000


def swap(
    session: session_module.Session,
    relation: catalog.Relation | None,
    shadow: shadow_module.Shadow,
    table: str,
    keep: str | None = None,
) -> int:
    """Put a shadow in the place of a table, or give it the name of one that does not exist.

    Args:
        session: outside any transaction.
        relation: the table as it is now.
        shadow: built and verified.
        table: the name to take.
        keep: name for the replaced table; None drops it.

    Returns:
        The rows of the replaced table.

    Raises:
        errors.ConfigError: replacing the table would break what depends on it.
        errors.TemporaryError: the table changed meanwhile, or its lock was not to be had.
    """
    was, now = shadow.replaces, relation
    if (was.oid if was else None) != (now.oid if now else None):
        raise _changed(table)
    rename = f"ALTER TABLE {shadow.qualified} RENAME TO {session_module.quote(table)}"
    if now is None:
        session.patiently(
            lambda: _run_all(session, [rename, *shadow.renames]), f"renaming to {table}"
        )
        return 0
    _refuse_blockers(session, now)
    replaced = int(session.value(f"SELECT count(*) FROM {now.qualified}"))

    def attempt() -> None:
        locked = handover.prepare(session, now, shadow)
        # The server takes the table from an autovacuum for whoever waits a second (its
        # deadlock_timeout), which is longer than readers may be kept waiting: this lock, which
        # readers and writers do not notice, sends it away.
        session.execute(f"SET LOCAL lock_timeout = {_VACUUM_WAIT_MS}")
        session.execute(f"LOCK TABLE ONLY {now.qualified} IN SHARE UPDATE EXCLUSIVE MODE")
        session.execute(f"SET LOCAL lock_timeout = {session_module.LOCK_ATTEMPT_MS}")
        session.execute(f"LOCK TABLE ONLY {now.qualified} IN ACCESS EXCLUSIVE MODE")
        current = catalog.find(session, shadow.schema, table)
        if current is None or current.oid != now.oid:
            raise _changed(table)
        _refuse_blockers(session, now)
        parting = [f"DROP TABLE {now.qualified}"] if keep is None else aside.put(session, now, keep)
        _run_all(session, [*locked.before, *parting, rename, *shadow.renames, *locked.after])

    session.patiently(attempt, f"replacing {table}")
    return replaced


def _run_all(session: session_module.Session, statements: list[str]) -> None:
    """Run statements in one round trip: under the lock, each one more is time of the readers."""
    session.execute(";\n".join(statements))


def _refuse_blockers(session: session_module.Session, relation: catalog.Relation) -> None:
    blockers = catalog.swap_blockers(session, relation)
    if blockers:
        raise errors.ConfigError(
            f"{relation.display} cannot be swapped: {'; '.join(blockers)}",
            hint="write `publish: diff` or `publish: auto` in the transfer",
        )


def _changed(table: str) -> errors.TemporaryError:
    return errors.TemporaryError(
        f"{table} was created, dropped or replaced by somebody else during the run",
        hint="run it again",
    )
