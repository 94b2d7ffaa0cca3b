"""The swap: shadows take the places of their tables in one transaction.

Readers wait for the lock's attempt and for the few catalogue changes under it; they never wait for
data. A replaced table is dropped in the same transaction: its file is removed by the server after
the commit, when its lock is gone already, and no leftover can remain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tmg_etl import errors
from tmg_etl.connectors.postgres import aside, catalog, handover, readiness
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import shadow as shadow_module

_VACUUM_WAIT_MS = 5_000


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One table's part in a swap.

    Attributes:
        table: the name to take.
        relation: the table as it is now; None when there is none.
        shadow: built and verified.
        keep: name for the replaced table; None drops it.
    """

    table: str
    relation: catalog.Relation | None
    shadow: shadow_module.Shadow
    keep: str | None = None

    def require_unchanged(self, now: catalog.Relation | None) -> None:
        """Refuse a table that is not the one that the shadow was made from."""
        was = self.shadow.replaces
        if (was.oid if was else None) != (now.oid if now else None):
            raise errors.TemporaryError(
                f"{self.table} was created, dropped or replaced by somebody else during the run",
                hint="run it again",
            )

    def require_unaltered(self, now: catalog.Definition, handed: catalog.Definition) -> None:
        """Refuse a table whose definition is not the one that the shadow has.

        Args:
            now: under the lock.
            handed: when the shadow took over what it takes over last.
        """
        was = self.shadow.made_from
        if was is None or was.copied != now.copied or handed.handed_over != now.handed_over:
            raise errors.AlteredError(self.table)


def swap(session: session_module.Session, exchanges: Sequence[Exchange]) -> list[int]:
    """Put shadows in the places of tables, or give them the names of those that do not exist.

    Args:
        session: outside any transaction.
        exchanges: one for each table.

    Returns:
        The rows of each replaced table.

    Raises:
        errors.ConfigError: replacing a table would break what depends on it.
        errors.AlteredError: a definition changed since its shadow was made.
        errors.TemporaryError: a table is another one now, or its lock was not to be had.
    """
    replaced = []
    for one in exchanges:
        one.require_unchanged(one.relation)
        if one.relation is None:
            replaced.append(0)
        else:
            found = catalog.definition(session, one.relation)
            one.require_unaltered(found, found)
            replaced.append(_count(session, one.relation))
    session.patiently(
        lambda: _attempt(session, exchanges),
        f"replacing {', '.join(one.table for one in exchanges)}",
        lambda: readiness.holder(session, [one.relation for one in exchanges], with_readers=True),
    )
    return replaced


def _count(session: session_module.Session, relation: catalog.Relation) -> int:
    _refuse_blockers(session, relation)
    return int(session.value(f"SELECT count(*) FROM {relation.qualified}"))


def _attempt(session: session_module.Session, exchanges: Sequence[Exchange]) -> None:
    there = [(one, one.relation) for one in exchanges if one.relation is not None]
    handed = [catalog.definition(session, now) for _, now in there]
    locked = [handover.prepare(session, now, one.shadow) for one, now in there]
    if there:
        _lock(session, [now for _, now in there])
    statements = [statement for each in locked for statement in each.before]
    for (one, now), before in zip(there, handed, strict=True):
        one.require_unchanged(catalog.find(session, one.shadow.schema, one.table))
        one.require_unaltered(catalog.definition(session, now), before)
        _refuse_blockers(session, now)
        statements += (
            [f"DROP TABLE {now.qualified}"]
            if one.keep is None
            else aside.put(session, now, one.keep)
        )
    for one in exchanges:
        name = session_module.quote(one.table)
        statements += [f"ALTER TABLE {one.shadow.qualified} RENAME TO {name}", *one.shadow.renames]
    statements += [statement for each in locked for statement in each.after]
    # In one round trip: under the lock, each one more is time of the readers.
    session.execute(";\n".join(statements))


def _lock(session: session_module.Session, relations: list[catalog.Relation]) -> None:
    """Lock tables against readers too, in one order whoever locks them."""
    tables = ", ".join(f"ONLY {place}" for place in sorted(one.qualified for one in relations))
    # The server takes a table from an autovacuum for whoever waits a second (its
    # deadlock_timeout), which is longer than readers may be kept waiting: this lock, which
    # readers and writers do not notice, sends it away.
    session.execute(
        f"SET LOCAL lock_timeout = {_VACUUM_WAIT_MS};"
        f" LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;"
        f" SET LOCAL lock_timeout = {session_module.LOCK_ATTEMPT_MS};"
        f" LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"
    )


def _refuse_blockers(session: session_module.Session, relation: catalog.Relation) -> None:
    blockers = catalog.swap_blockers(session, relation)
    if blockers:
        raise errors.ConfigError(
            f"{relation.display} cannot be swapped: {'; '.join(blockers)}",
            hint="write `publish: diff` or `publish: auto` in the transfer",
        )
