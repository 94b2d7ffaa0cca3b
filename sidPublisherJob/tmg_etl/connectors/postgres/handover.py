"""What a copy takes over from its table right before the swap: owner, grants, sequences, comments.

All of it touches the copy only, in the transaction of the swap, before the table is locked; what
needs the lock is returned as statements.
"""

from __future__ import annotations

import dataclasses

from tmg_etl.connectors.postgres import catalog
from tmg_etl.connectors.postgres import session as session_module
from tmg_etl.connectors.postgres import shadow as shadow_module

quote = session_module.quote
literal = session_module.literal


@dataclasses.dataclass(frozen=True)
class Locked:
    """What is left to do under the table's lock.

    Attributes:
        before: while both tables are there.
        after: when the names of the replaced one are free.
    """

    before: list[str]
    after: list[str]


def prepare(
    session: session_module.Session,
    relation: catalog.Relation,
    shadow: shadow_module.Shadow,
) -> Locked:
    """Make the shadow the table's equal; return what is left to do under the lock."""
    copy = catalog.find(session, shadow.schema, shadow.name)
    assert copy is not None
    _set_properties(session, relation, copy)
    _set_grants(session, relation.oid, copy.oid, "r", f"TABLE {copy.qualified}")
    _set_column_grants(session, relation, copy)
    return _sequence_statements(session, relation, copy)


_GRANTS = """
SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    privilege_type, is_grantable
FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('{kind}', c.relowner)))
WHERE c.oid = {oid}
"""


def _set_grants(
    session: session_module.Session, oid: int, copy_oid: int, kind: str, what: str
) -> None:
    """Give a relation exactly the grants of another; default privileges may have given it more."""
    wanted = session.rows(_GRANTS.format(oid=oid, kind=kind))
    present = session.rows(_GRANTS.format(oid=copy_oid, kind=kind))
    if set(wanted) == set(present):
        return
    for grantee in sorted({grantee for grantee, _, _ in present}):
        session.execute(f"REVOKE ALL ON {what} FROM {grantee}")
    for grantee, privilege, is_grantable in wanted:
        option = " WITH GRANT OPTION" if is_grantable else ""
        session.execute(f"GRANT {privilege} ON {what} TO {grantee}{option}")


def _set_column_grants(
    session: session_module.Session, relation: catalog.Relation, copy: catalog.Relation
) -> None:
    for column, grantee, privilege, is_grantable in session.rows(
        "SELECT attname, CASE WHEN grantee = 0 THEN 'PUBLIC'"
        " ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable"
        " FROM pg_attribute, aclexplode(attacl)"
        f" WHERE attrelid = {relation.oid} AND NOT attisdropped"
    ):
        option = " WITH GRANT OPTION" if is_grantable else ""
        session.execute(
            f"GRANT {privilege} ({quote(column)}) ON TABLE {copy.qualified} TO {grantee}{option}"
        )


def _set_properties(
    session: session_module.Session, relation: catalog.Relation, copy: catalog.Relation
) -> None:
    comment, identity, owner, is_same = session.rows(
        "SELECT obj_description(a.oid, 'pg_class'), a.relreplident::text,"
        " pg_get_userbyid(a.relowner), a.relowner = b.relowner"
        f" FROM pg_class AS a, pg_class AS b WHERE a.oid = {relation.oid} AND b.oid = {copy.oid}"
    )[0]
    if not is_same:
        session.execute(f"ALTER TABLE {copy.qualified} OWNER TO {quote(owner)}")
    if comment is not None:
        session.execute(f"COMMENT ON TABLE {copy.qualified} IS {literal(comment)}")
    if identity in "nf":
        how = {"n": "NOTHING", "f": "FULL"}[identity]
        session.execute(f"ALTER TABLE {copy.qualified} REPLICA IDENTITY {how}")


_SEQUENCES = """
SELECT a.attname, d.deptype::text, s.oid, s.relname, format('%I.%I', n.nspname, s.relname),
    q.seqtypid::regtype::text, obj_description(s.oid, 'pg_class')
FROM pg_depend AS d
JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_sequence AS q ON q.seqrelid = s.oid
JOIN pg_namespace AS n ON n.oid = s.relnamespace
JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
AND d.refobjid = {oid} AND d.deptype IN ('a', 'i')
"""


def _sequence_statements(
    session: session_module.Session, relation: catalog.Relation, copy: catalog.Relation
) -> Locked:
    """Return how sequences follow: a serial's moves over, an identity's has a new one to set."""
    created = {
        column: (oid, name)
        for column, deptype, oid, _, name, _, _ in session.rows(_SEQUENCES.format(oid=copy.oid))
        if deptype == "i"
    }
    statements: list[str] = []
    renames: list[str] = []
    for column, deptype, oid, plain, name, kind, comment in session.rows(
        _SEQUENCES.format(oid=relation.oid)
    ):
        if deptype == "a":
            statements.append(f"ALTER SEQUENCE {name} OWNED BY {copy.qualified}.{quote(column)}")
            continue
        new_oid, new_name = created[column]
        _set_grants(session, oid, new_oid, "s", f"SEQUENCE {new_name}")
        # That of a copy is of bigint, whatever its column is.
        session.execute(f"ALTER SEQUENCE {new_name} AS {kind}")
        if comment is not None:
            session.execute(f"COMMENT ON SEQUENCE {new_name} IS {literal(comment)}")
        # The copy's own has counted where it filled the column during the load: the further of the
        # two goes on.
        statements.append(
            f"SELECT setval({literal(new_name)}::regclass, CASE WHEN s.seqincrement > 0"
            " THEN greatest(held.last_value, own.last_value)"
            " ELSE least(held.last_value, own.last_value) END, held.is_called OR own.is_called)"
            f" FROM {name} AS held, {new_name} AS own, pg_catalog.pg_sequence AS s"
            f" WHERE s.seqrelid = {literal(new_name)}::regclass"
        )
        renames.append(f"ALTER SEQUENCE {new_name} RENAME TO {quote(plain)}")
    return Locked(statements, renames)
