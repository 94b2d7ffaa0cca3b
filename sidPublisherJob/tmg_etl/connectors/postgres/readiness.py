"""What would keep a run from publishing: rights, locks of others, disk. Asks the catalogue only."""

from __future__ import annotations

from collections.abc import Iterable

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import catalog
from tmg_etl.connectors.postgres import session as session_module

_SHOWN = 10

_SCHEMA_RIGHTS = """
SELECT p FROM unnest(ARRAY['USAGE', 'CREATE']) AS p
WHERE NOT has_schema_privilege((SELECT oid FROM pg_namespace WHERE nspname = %s), p)
"""

_EVENT_TRIGGERS = """
SELECT evtname, evtevent FROM pg_event_trigger
WHERE evtenabled IN ('O', 'A') AND evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop')
ORDER BY evtname
"""

_TABLE_RIGHTS = """
SELECT p FROM unnest(%s::text[]) WITH ORDINALITY AS u (p, n)
WHERE NOT has_table_privilege(%s::oid, p) ORDER BY n
"""

# A parent's rights are asked for where its foreign key is built again on the copy.
_REFERENCED = """
SELECT DISTINCT c.oid::regclass::text FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.confrelid
WHERE k.conrelid = %s::oid AND k.contype = 'f' AND NOT has_table_privilege(c.oid, 'REFERENCES')
"""

# A rename waits for every lock, a merge for those of writers. Of sessions of other users their age
# is shown only to members of pg_read_all_stats.
_IN_THE_WAY = """
SELECT l.pid, a.usename, a.application_name, a.state, l.mode,
    extract(epoch FROM clock_timestamp() - a.xact_start)::bigint
FROM (SELECT pid, string_agg(DISTINCT mode, ', ') AS mode FROM pg_locks
    WHERE relation = %s::oid AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode <> ALL (%s::text[]) GROUP BY pid) AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE coalesce(a.backend_type, 'client backend') = 'client backend'
ORDER BY a.xact_start NULLS LAST LIMIT %s
"""
_HARMLESS_TO_A_MERGE = ["AccessShareLock", "RowShareLock"]


def find(
    session: session_module.Session,
    schema: str,
    relation: catalog.Relation | None,
    intent: base.Intent,
) -> base.Readiness:
    """Return what stands in the way of a run.

    Args:
        session: of the run's user.
        schema: where the target is.
        relation: the target; None when it does not exist.
        intent: what the run is going to do.
    """
    missing = [f"{right} on schema {schema}" for (right,) in session.rows(_SCHEMA_RIGHTS, [schema])]
    notes = tuple(
        f"event trigger {name} ({event}) is asked for each table that the run makes, alters or"
        " drops; what it refuses ends the run with 78, or leaves a table"
        for name, event in session.rows(_EVENT_TRIGGERS)
    )
    if relation is None:
        return base.Readiness(tuple(missing), notes=notes)
    missing += _table_rights(session, relation, intent)
    return base.Readiness(
        missing=tuple(missing),
        in_the_way=_in_the_way(session, relation, intent),
        needed_bytes=_needed_bytes(session, relation, intent),
        notes=notes,
    )


def _table_rights(
    session: session_module.Session, relation: catalog.Relation, intent: base.Intent
) -> list[str]:
    place = relation.display
    wanted = ["SELECT"] if intent.renames else ["SELECT", "INSERT", "UPDATE", "DELETE"]
    missing = [
        f"{right} on table {place}"
        for (right,) in session.rows(_TABLE_RIGHTS, [wanted, relation.oid])
    ]
    is_owner = session.value(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::oid", [relation.oid]
    )
    if not is_owner and (intent.renames or intent.evolves):
        missing.append(f"ownership of table {place}")
    if intent.renames:
        missing += [
            f"REFERENCES on table {parent}"
            for (parent,) in session.rows(_REFERENCED, [relation.oid])
        ]
    return missing


def holder(
    session: session_module.Session,
    relations: Iterable[catalog.Relation | None],
    *,
    with_readers: bool = False,
) -> str | None:
    """Return who keeps a run waiting for tables.

    Args:
        session: of the run, in no transaction that has failed.
        relations: the tables; None for those that are not there.
        with_readers: whether reading keeps it waiting, not only changing them or locking rows.
    """
    harmless = [] if with_readers else ["AccessShareLock"]
    found = [
        phrase
        for relation in relations
        if relation is not None
        for phrase in _sessions(session, relation, harmless)
    ]
    return errors.listed(found, separator="; ") if found else None


def _in_the_way(
    session: session_module.Session, relation: catalog.Relation, intent: base.Intent
) -> tuple[str, ...]:
    harmless = [] if intent.renames or intent.evolves else _HARMLESS_TO_A_MERGE
    return _sessions(session, relation, harmless)


def _sessions(
    session: session_module.Session, relation: catalog.Relation, harmless: list[str]
) -> tuple[str, ...]:
    phrases = []
    for pid, user, program, state, mode, age_s in session.rows(
        _IN_THE_WAY, [relation.oid, harmless, _SHOWN]
    ):
        who = f"process {pid}" + (f" of {user}" if user else "")
        named = f" ({program})" if program else ""
        doing = f", {state}" if state else ""
        since = "" if age_s is None else f" in a transaction of {age_s} s"
        phrases.append(f"{who}{named}{doing}: {mode} on {relation.display}{since}")
    return tuple(phrases)


def _needed_bytes(
    session: session_module.Session, relation: catalog.Relation, intent: base.Intent
) -> int | None:
    # Null for a table that has just gone.
    total, table = session.rows(
        "SELECT pg_total_relation_size(%s::oid), pg_table_size(%s::oid)", [relation.oid] * 2
    )[0]
    if total is None or table is None:
        return None
    # A copy that is only compared has its keys; a staging table has no index.
    size = int(total if intent.renames else table)
    if intent.rows is None or not relation.rows:
        return size if intent.renames else None
    return size * intent.rows // relation.rows
