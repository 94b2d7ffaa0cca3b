"""What would keep a run from publishing: rights, locks of others, disk. Asks the server only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import session as session_module

_SHOWN = 10
#: Seconds from which on a transaction is worth naming when its tables are not known.
_LONG_S = 10

#: What the tables beside the target need; their names are not known beforehand.
_BESIDE = ("SELECT", "INSERT", "CREATE", "DROP", "ALTER")
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?:TABLE )?(?P<place>\S.*?) TO ", re.DOTALL)
_PLACE = re.compile(r"(?P<base>\*|`(?:[^`]|``)+`)\.(?P<table>\*|`(?:[^`]|``)+`)")
_RIGHT = re.compile(r"\s*([A-Z ]+?)\s*(?:\([^)]*\))?\s*(?:,|$)")

_TRANSACTIONS = """
SELECT t.trx_mysql_thread_id, p.USER, TIMESTAMPDIFF(SECOND, t.trx_started, NOW())
FROM information_schema.INNODB_TRX AS t
LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE t.trx_mysql_thread_id NOT IN (0, CONNECTION_ID())
AND t.trx_started < NOW() - INTERVAL %s SECOND ORDER BY t.trx_started LIMIT %s
"""

_LOCKING = """
SELECT t.trx_mysql_thread_id, p.USER, p.COMMAND, t.trx_rows_locked,
    TIMESTAMPDIFF(SECOND, t.trx_started, NOW())
FROM information_schema.INNODB_TRX AS t
LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE t.trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) AND t.trx_rows_locked > 0
ORDER BY t.trx_started LIMIT %s
"""

# MariaDB has this table when its plugin metadata_lock_info is installed, MySQL the other one.
_MARIADB_LOCKS = """
SELECT l.THREAD_ID, p.USER, l.LOCK_MODE, p.TIME FROM information_schema.METADATA_LOCK_INFO AS l
LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = l.THREAD_ID
WHERE l.TABLE_SCHEMA = %s AND l.TABLE_NAME = %s AND l.LOCK_TYPE = 'Table metadata lock'
AND l.THREAD_ID <> CONNECTION_ID() LIMIT %s
"""
_MYSQL_LOCKS = """
SELECT t.PROCESSLIST_ID, t.PROCESSLIST_USER, l.LOCK_TYPE, t.PROCESSLIST_TIME
FROM performance_schema.metadata_locks AS l
JOIN performance_schema.threads AS t ON t.THREAD_ID = l.OWNER_THREAD_ID
WHERE l.OBJECT_TYPE = 'TABLE' AND l.OBJECT_SCHEMA = %s AND l.OBJECT_NAME = %s
AND l.LOCK_STATUS = 'GRANTED' AND t.PROCESSLIST_ID <> CONNECTION_ID() LIMIT %s
"""


def find(
    session: session_module.Session, database: str, table: str, intent: base.Intent
) -> base.Readiness:
    """Return what stands in the way of a run.

    Args:
        session: of the run's user.
        database: where the target is.
        table: the target.
        intent: what the run is going to do.
    """
    lines = [str(row[0]) for row in session.rows("SHOW GRANTS")]
    missing = [
        f"{right} on database {database}"
        for right in _BESIDE
        if not is_granted(lines, right, database, None)
    ]
    if not intent.creates:
        wanted = ["SELECT", "ALTER", "DROP"] if intent.renames else ["UPDATE", "DELETE"]
        if intent.evolves:
            wanted.append("ALTER")
        missing += [
            f"{right} on table {database}.{table}"
            for right in dict.fromkeys(wanted)
            if not is_granted(lines, right, database, table)
            and f"{right} on database {database}" not in missing
        ]
    in_the_way, unknown = _in_the_way(session, database, table)
    disturbs = intent.renames and not intent.creates
    return base.Readiness(
        missing=tuple(missing),
        in_the_way=in_the_way if not intent.creates else (),
        needed_bytes=_needed_bytes(session, database, table, intent),
        notes=_snapshots(session) if disturbs else (),
        unknown=unknown,
    )


def is_granted(lines: Iterable[str], right: str, database: str, table: str | None) -> bool:
    """Return whether lines of SHOW GRANTS give a right on a database, or on a table of it.

    A right on single columns is none on the table. A REVOKE of MySQL's partial revokes takes a
    right on one database back from what is granted on all.
    """
    has = False
    for line in lines:
        is_revoke = line.startswith("REVOKE ")
        text = line.replace("REVOKE ", "GRANT ", 1).replace(" FROM ", " TO ") if is_revoke else line
        grant = _GRANT.match(text)
        place = _PLACE.fullmatch(grant["place"]) if grant else None
        if grant is None or place is None or not _covers(place, database, table):
            continue
        rights = _rights(grant["rights"])
        if right in rights or "ALL PRIVILEGES" in rights:
            if is_revoke:
                return False
            has = True
    return has


def _rights(text: str) -> set[str]:
    return {
        match[1]
        for match in _RIGHT.finditer(text)
        if "(" not in match.group(0)  # on single columns
    }


def _covers(place: re.Match[str], database: str, table: str | None) -> bool:
    base_name, table_name = place["base"], place["table"]
    if base_name != "*" and not _is_like(_unquoted(base_name), database):
        return False
    return table_name == "*" or (table is not None and _unquoted(table_name) == table)


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")


def _is_like(pattern: str, name: str) -> bool:
    """Return whether a database is meant: ``_`` and ``%`` are wildcards in a grant."""
    parts = re.split(r"(\\[_%\\]|[_%])", pattern)
    written = "".join(
        {"_": ".", "%": ".*"}.get(part, re.escape(part.removeprefix("\\"))) for part in parts
    )
    return re.fullmatch(written, name, re.DOTALL) is not None


def _in_the_way(
    session: session_module.Session, database: str, table: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return who holds the table's metadata lock, and what could not be found out."""
    locks = _MARIADB_LOCKS if session.is_mariadb else _MYSQL_LOCKS
    # Switched off, its tables are there and empty.
    if not session.is_mariadb and not session.value("SELECT @@performance_schema"):
        return _long_transactions(session)
    try:
        found = session.rows(locks, (database, table, _SHOWN))
    except errors.TmgEtlError:
        return _long_transactions(session)
    return tuple(
        f"connection {number}{f' of {user}' if user else ''}: {mode} on {database}.{table}"
        f"{'' if time_s is None else f', its state for {time_s} s'}"
        for number, user, mode, time_s in found
    ), ()


def holder(session: session_module.Session) -> str | None:
    """Return who may have kept a merge waiting for a row: it is not told when the wait is over."""
    try:
        found = session.rows(_LOCKING, (_SHOWN,))
    except errors.TmgEtlError:
        return "a transaction of somebody else (the privilege PROCESS is needed to see which)"
    phrases = (
        f"connection {number} of {user} ({str(state).lower()}), with {rows} rows locked in a"
        f" transaction of {age_s} s"
        for number, user, state, rows, age_s in found
    )
    return "; or by ".join(phrases) or None


def _snapshots(session: session_module.Session) -> tuple[str, ...]:
    """Return who reads from a snapshot, in which a table that is swapped in later is unknown."""
    try:
        found = session.rows(_TRANSACTIONS, (-1, _SHOWN))
    except errors.TmgEtlError:
        return ()  # that the privilege PROCESS is needed is said of the locks
    return tuple(
        f"connection {number} of {user} has had a transaction open for {age_s} s: if it is a dump"
        " (--single-transaction) or report that has yet to read the table, a swap has it fail"
        " (error 1412); `publish: diff` does not"
        for number, user, age_s in found
    )


def _long_transactions(
    session: session_module.Session,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    source = "the plugin metadata_lock_info" if session.is_mariadb else "performance_schema.threads"
    try:
        found = session.rows(_TRANSACTIONS, (_LONG_S, _SHOWN))
    except errors.TmgEtlError:
        reason = f"locks of others: {source} or the privilege PROCESS is needed to see them"
        return (), (reason,)
    phrases = tuple(
        f"connection {number}{f' of {user}' if user else ''}: a transaction of {age_s} s, which may"
        " hold the table"
        for number, user, age_s in found
    )
    return phrases, (f"which tables transactions hold: {source} is needed to see it",)


def _needed_bytes(
    session: session_module.Session, database: str, table: str, intent: base.Intent
) -> int | None:
    found = session.rows(
        "SELECT DATA_LENGTH, INDEX_LENGTH, TABLE_ROWS FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        (database, table),
    )
    if not found or found[0][0] is None:
        return None
    data, indexes, rows = (int(value or 0) for value in found[0])
    size = data + (indexes if intent.renames else 0)
    if intent.rows is None or not rows:
        return size if intent.renames else None
    return size * intent.rows // rows
