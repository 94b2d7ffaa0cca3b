"""A replaced table that is kept: out of everybody's way, and ready to take its place again.

Names that are unique in a schema (indexes, statistics, sequences of identities) go to the new
table; the kept one's get names that are made of its own and of theirs, so that a rollback finds out
what they were called. Its foreign keys are dropped: they would go on guarding the tables they refer
to, for rows that nobody sees.
"""

from __future__ import annotations

import hashlib

from tmg_etl.connectors.postgres import catalog
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import shadow as shadow_module

quote = session_module.quote

# Parts whose names are unique in the schema, each with the word that ALTER takes.
_PARTS = """
SELECT 'INDEX', c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = {oid}
UNION ALL SELECT 'STATISTICS', stxname FROM pg_statistic_ext AS x
JOIN pg_class AS c ON c.oid = x.stxrelid AND c.relnamespace = x.stxnamespace
WHERE stxrelid = {oid}
UNION ALL SELECT 'SEQUENCE', s.relname FROM pg_depend AS d
JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
AND d.refobjid = {oid} AND d.deptype = 'i'
ORDER BY 1, 2
"""


def put(session: session_module.Session, relation: catalog.Relation, keep: str) -> list[str]:
    """Return the statements that keep a table under another name; its lock is held."""
    schema = quote(relation.schema)
    statements = [
        f"ALTER {what} {schema}.{quote(name)} RENAME TO {quote(_hidden(keep, name))}"
        for what, name in session.rows(_PARTS.format(oid=relation.oid))
    ]
    statements += _foreign_key_drops(session, relation)
    return [*statements, f"ALTER TABLE {relation.qualified} RENAME TO {quote(keep)}"]


def adopted(
    session: session_module.Session, relation: catalog.Relation, kept: catalog.Relation
) -> shadow_module.Shadow:
    """Return a kept table as a shadow of the table that is to be replaced by it.

    Args:
        session: an open session.
        relation: the table as it is now.
        kept: the table to put in its place.
    """
    shadow = shadow_module.Shadow(
        kept.name, kept.schema, relation, catalog.definition(session, relation)
    )
    was = {
        _hidden(kept.name, name): name for _, name in session.rows(_PARTS.format(oid=relation.oid))
    }
    for what, name in session.rows(_PARTS.format(oid=kept.oid)):
        # Sequences are renamed by the handover, which knows their columns.
        if name in was and what != "SEQUENCE":
            place = shadow.beside(name)
            shadow.renames.append(f"ALTER {what} {place} RENAME TO {quote(was[name])}")
    shadow_module.add_foreign_keys(session, relation, shadow)
    return shadow


def drop_foreign_keys(session: session_module.Session, relation: catalog.Relation) -> None:
    """Drop the foreign keys of a kept table."""
    for statement in _foreign_key_drops(session, relation):
        session.execute(statement)


def _foreign_key_drops(session: session_module.Session, relation: catalog.Relation) -> list[str]:
    found = session.rows(
        "SELECT conname FROM pg_constraint"
        f" WHERE conrelid = {relation.oid} AND contype = 'f' ORDER BY conname"
    )
    return [f"ALTER TABLE {relation.qualified} DROP CONSTRAINT {quote(name)}" for (name,) in found]


def _hidden(table: str, name: str) -> str:
    digest = hashlib.sha256(f"{table}\0{name}".encode()).hexdigest()[:32]
    return f"_tmg_part_{digest}"
