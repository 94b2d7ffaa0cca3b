"""The copy of a table that is filled beside it: how it is created, and what is built afterwards.

What the server copies itself comes with ``CREATE TABLE … LIKE``: columns, defaults, identity,
generated columns, checks, storage, column comments. The rest is read from the catalogue here.
Indexes and foreign keys wait until the rows are there, which is faster and finds duplicates all the
same. Names that are unique in a schema are temporary until the swap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import catalog, kind
from tmg_etl.connectors.postgres import session as session_module

quote = session_module.quote
literal = session_module.literal


@dataclasses.dataclass(frozen=True)
class Build:
    """Something to build on a loaded table.

    Attributes:
        statements: to run one by one.
        unique: columns in which it finds duplicates, for their message; empty for others.
        needs_lock: it locks another table, which others use.
    """

    statements: tuple[str, ...]
    unique: tuple[str, ...] = ()
    needs_lock: bool = False


@dataclasses.dataclass
class Shadow:
    """A table under construction.

    Attributes:
        name: its temporary name.
        schema: where it and the target live.
        replaces: the table it is a copy of; None for a new one.
        made_from: what that table was when the copy was made; None for a new one.
        create: statements that create it.
        builds: what `finish_load` does.
        renames: statements that give its parts their names, once those are free.
    """

    name: str
    schema: str
    replaces: catalog.Relation | None
    made_from: catalog.Definition | None = None
    create: list[str] = dataclasses.field(default_factory=list)
    builds: list[Build] = dataclasses.field(default_factory=list)
    renames: list[str] = dataclasses.field(default_factory=list)

    @property
    def qualified(self) -> str:
        """Return schema and name as statements write them."""
        return self.beside(self.name)

    def beside(self, name: str) -> str:
        """Return a name in the same schema as statements write it."""
        return f"{quote(self.schema)}.{quote(name)}"

    def part(self, final_name: str, what: str = "INDEX") -> str:
        """Return a free temporary name for a part, and remember to rename it."""
        temporary = f"{self.name}_{len(self.renames)}"
        self.renames.append(f"ALTER {what} {self.beside(temporary)} RENAME TO {quote(final_name)}")
        return temporary


def new(
    session: session_module.Session,
    name: str,
    schema: str,
    table: str,
    fields: pa.Schema,
    key: Sequence[str],
    indexes: Sequence[base.Index],
) -> Shadow:
    """Return how to create a table by the type mapping.

    Raises:
        errors.ConfigError: a name or type that PostgreSQL does not take.
    """
    shadow = Shadow(name, schema, None)
    columns = []
    for field in fields:
        session_module.require_name(field.name)
        suffix = "" if field.nullable and field.name not in key else " NOT NULL"
        columns.append(f"{quote(field.name)} {kind.native(field)}{suffix}")
    shadow.create.append(f"CREATE TABLE {shadow.qualified} ({', '.join(columns)})")
    if key:
        stem = table.encode()[:57].decode(errors="ignore")
        taken = _names_in(session, schema)
        free = (f"{stem}_pkey{number or ''}" for number in range(10))
        part = shadow.part(next(final for final in free if final not in taken))
        names = ", ".join(map(quote, key))
        statement = f"ALTER TABLE {shadow.qualified} ADD CONSTRAINT {quote(part)} PRIMARY KEY"
        shadow.builds.append(Build((f"{statement} ({names})",), unique=tuple(key)))
    _add_declared(session, shadow, indexes)
    return shadow


def copy_of(
    session: session_module.Session,
    relation: catalog.Relation,
    name: str,
    indexes: Sequence[base.Index],
    *,
    is_swappable: bool,
) -> Shadow:
    """Return how to create a copy of a table.

    Args:
        session: an open session.
        relation: the table.
        name: of the copy.
        indexes: declared ones; those that the table has by name are its own.
        is_swappable: False for a copy that can only be compared: then it has no more than its
            keys, and is not logged, so that no replica and no subscriber is told of it.
    """
    # Before anything is read of it: what is altered from now on is noticed.
    shadow = Shadow(name, relation.schema, relation, catalog.definition(session, relation))
    shadow.create += _create_statements(session, relation, shadow, is_logged=is_swappable)
    _add_own_indexes(session, relation, shadow, only_keys=not is_swappable)
    if is_swappable:
        _add_declared(session, shadow, indexes)
        _add_statistics(session, relation, shadow)
        add_foreign_keys(session, relation, shadow)
    return shadow


def _create_statements(
    session: session_module.Session,
    relation: catalog.Relation,
    shadow: Shadow,
    *,
    is_logged: bool,
) -> list[str]:
    options, toast, space, method, persistence = session.rows(
        "SELECT c.reloptions, t.reloptions, s.spcname, m.amname, c.relpersistence::text"
        " FROM pg_class AS c LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid"
        " LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace"
        f" LEFT JOIN pg_am AS m ON m.oid = c.relam WHERE c.oid = {relation.oid}"
    )[0]
    settings = [("", item) for item in options or ()] + [("toast.", item) for item in toast or ()]
    written = ", ".join(
        f"{prefix}{quote(key)} = {literal(value)}"
        for prefix, (key, _, value) in ((prefix, item.partition("=")) for prefix, item in settings)
    )
    unlogged = "UNLOGGED " if persistence == "u" or not is_logged else ""
    statement = (
        f"CREATE {unlogged}TABLE {shadow.qualified}"
        f" (LIKE {relation.qualified} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)"
    )
    if relation.kind == "r":
        statement += f" USING {quote(method)}" if method else ""
        statement += f" WITH ({written})" if written else ""
        statement += f" TABLESPACE {quote(space)}" if space else ""
    statements = [statement]
    for column, target, column_options in session.rows(
        "SELECT attname, coalesce(attstattarget, -1), attoptions FROM pg_attribute"
        f" WHERE attrelid = {relation.oid} AND attnum > 0 AND NOT attisdropped"
        " AND (coalesce(attstattarget, -1) >= 0 OR attoptions IS NOT NULL) ORDER BY attnum"
    ):
        alter = f"ALTER TABLE {shadow.qualified} ALTER COLUMN {quote(column)}"
        if target >= 0:
            statements.append(f"{alter} SET STATISTICS {target}")
        # PostgreSQL 15.20 and later keep a version of their own among the options of each column.
        own = [item for item in column_options or () if not item.startswith("pg_attver=")]
        if own:
            statements.append(f"{alter} SET ({', '.join(own)})")
    # What has been checked of new rows only is copied as if all had been.
    for name, definition, comment in session.rows(
        "SELECT conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')"
        f" FROM pg_constraint WHERE conrelid = {relation.oid} AND contype = 'c'"
        " AND NOT convalidated ORDER BY conname"
    ):
        alter, constraint = f"ALTER TABLE {shadow.qualified}", f"CONSTRAINT {quote(name)}"
        statements.append(f"{alter} DROP {constraint}, ADD {constraint} {definition}")
        if comment:
            statements.append(
                f"COMMENT ON {constraint} ON {shadow.qualified} IS {literal(comment)}"
            )
    return statements


_INDEXES = """
SELECT c.relname, pg_get_indexdef(i.indexrelid),
    quote_ident(c.relname), format('%I.%I', n.nspname, r.relname),
    coalesce(k.contype::text, ''), k.condeferrable, k.condeferred,
    CASE WHEN k.contype = 'x' THEN pg_get_constraintdef(k.oid) END,
    i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL,
    i.indisclustered, i.indisreplident, s.spcname,
    obj_description(c.oid, 'pg_class'), obj_description(k.oid, 'pg_constraint'),
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (n, at)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.n
        WHERE u.at <= i.indnkeyatts ORDER BY u.at),
    ARRAY(SELECT ARRAY[a.attnum, a.attstattarget]::int[] FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND coalesce(a.attstattarget, -1) >= 0)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS r ON r.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = r.relnamespace
LEFT JOIN pg_constraint AS k ON k.conindid = c.oid AND k.conrelid = i.indrelid
    AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
WHERE i.indrelid = {oid} ORDER BY i.indisprimary DESC, c.relname
"""


def _add_own_indexes(
    session: session_module.Session, relation: catalog.Relation, shadow: Shadow, *, only_keys: bool
) -> None:
    for row in session.rows(_INDEXES.format(oid=relation.oid)):
        name, definition, *head, contype, deferrable, deferred, constraint = row[:8]
        is_key, clustered, replica, space, comment, constraint_comment, columns, targets = row[8:]
        if only_keys and not is_key:
            continue
        part = shadow.part(name)
        index, table = shadow.beside(part), shadow.qualified
        statements = []
        if contype == "x":
            statements.append(f"ALTER TABLE {table} ADD CONSTRAINT {quote(part)} {constraint}")
        else:
            statements.append(_moved(definition, head, relation, part, shadow))
        if contype in ("p", "u"):
            what = "PRIMARY KEY" if contype == "p" else "UNIQUE"
            when = " DEFERRABLE" if deferrable else ""
            when += " INITIALLY DEFERRED" if deferred else ""
            statements.append(
                f"ALTER TABLE {table} ADD CONSTRAINT {quote(part)} {what}"
                f" USING INDEX {quote(part)}{when}"
            )
        for number, target in targets:
            statements.append(f"ALTER INDEX {index} ALTER COLUMN {number} SET STATISTICS {target}")
        if space:
            statements.append(f"ALTER INDEX {index} SET TABLESPACE {quote(space)}")
        if clustered:
            statements.append(f"ALTER TABLE {table} CLUSTER ON {quote(part)}")
        if replica:
            statements.append(f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {quote(part)}")
        if comment:
            statements.append(f"COMMENT ON INDEX {index} IS {literal(comment)}")
        if constraint_comment:
            statements.append(
                f"COMMENT ON CONSTRAINT {quote(part)} ON {table} IS {literal(constraint_comment)}"
            )
        shadow.builds.append(Build(tuple(statements), unique=tuple(columns) if is_key else ()))


def _moved(
    definition: str, head: Sequence[str], relation: catalog.Relation, part: str, shadow: Shadow
) -> str:
    """Return the definition of an index of one table as that of an index of its copy.

    The server writes the head of a definition in one way only; anything else is not guessed at.
    """
    for unique in ("", "UNIQUE "):
        for only in ("", "ONLY "):
            start = f"CREATE {unique}INDEX {head[0]} ON {only}{head[1]} USING "
            if definition.startswith(start):
                body = definition[len(start) :]
                return f"CREATE {unique}INDEX {quote(part)} ON {shadow.qualified} USING {body}"
    raise errors.ConfigError(
        f"{relation.display}: an index was not understood: {definition}",
        hint="write `publish: diff` in the transfer",
    )


def _add_declared(
    session: session_module.Session, shadow: Shadow, indexes: Sequence[base.Index]
) -> None:
    own = _index_names(session, shadow.replaces)
    taken = _names_in(session, shadow.schema) - own
    for index in indexes:
        session_module.require_name(index.name)
        if index.name in own:
            continue
        if index.name in taken:
            raise errors.ConfigError(
                f"index {index.name!r}: schema {shadow.schema!r} has something of that name",
                hint="choose another name; PostgreSQL wants them to differ within a schema",
            )
        part = shadow.part(index.name)
        unique = "UNIQUE " if index.unique else ""
        names = ", ".join(map(quote, index.columns))
        statement = f"CREATE {unique}INDEX {quote(part)} ON {shadow.qualified} ({names})"
        shadow.builds.append(Build((statement,), unique=index.columns if index.unique else ()))


def _names_in(session: session_module.Session, schema: str) -> set[str]:
    """Return the names of all tables, indexes, … of a schema: no two may be equal."""
    found = session.rows(
        "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s",
        [schema],
    )
    return {str(name) for (name,) in found}


def _index_names(session: session_module.Session, relation: catalog.Relation | None) -> set[str]:
    if relation is None:
        return set()
    found = session.rows(
        "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
        f" WHERE i.indrelid = {relation.oid}"
    )
    return {str(name) for (name,) in found}


def _add_statistics(
    session: session_module.Session, relation: catalog.Relation, shadow: Shadow
) -> None:
    for name, definition, head, tail, comment, target in session.rows(
        "SELECT x.stxname, pg_get_statisticsobjdef(x.oid),"
        " format('CREATE STATISTICS %I.%I ', n.nspname, x.stxname),"
        f" ' FROM ' || {relation.oid}::regclass, obj_description(x.oid, 'pg_statistic_ext'),"
        # Servers before 13 have none.
        " coalesce((to_jsonb(x) ->> 'stxstattarget')::int, -1)"
        " FROM pg_statistic_ext AS x JOIN pg_namespace AS n ON n.oid = x.stxnamespace"
        f" WHERE x.stxrelid = {relation.oid} AND x.stxnamespace = (SELECT relnamespace"
        f" FROM pg_class WHERE oid = {relation.oid}) ORDER BY x.stxname"
    ):
        if not (definition.startswith(head) and definition.endswith(tail)):
            raise errors.ConfigError(
                f"{relation.display}: statistics {name!r} were not understood: {definition}",
                hint="write `publish: diff` in the transfer",
            )
        part = shadow.part(name, "STATISTICS")
        body = definition[len(head) : len(definition) - len(tail)]
        statements = [f"CREATE STATISTICS {shadow.beside(part)} {body} FROM {shadow.qualified}"]
        if target >= 0:
            statements.append(f"ALTER STATISTICS {shadow.beside(part)} SET STATISTICS {target}")
        if comment:
            statements.append(f"COMMENT ON STATISTICS {shadow.beside(part)} IS {literal(comment)}")
        shadow.builds.append(Build(tuple(statements)))


def add_foreign_keys(
    session: session_module.Session, relation: catalog.Relation, shadow: Shadow
) -> None:
    """Remember to build a table's foreign keys on its shadow."""
    for name, definition, is_valid, comment in session.rows(
        "SELECT conname, pg_get_constraintdef(oid), convalidated,"
        " obj_description(oid, 'pg_constraint') FROM pg_constraint"
        f" WHERE conrelid = {relation.oid} AND contype = 'f' ORDER BY conname"
    ):
        alter = f"ALTER TABLE {shadow.qualified}"
        # Unchecked first: the table it refers to is locked for a moment, not for the check.
        unchecked = definition if not is_valid else f"{definition} NOT VALID"
        shadow.builds.append(
            Build((f"{alter} ADD CONSTRAINT {quote(name)} {unchecked}",), needs_lock=True)
        )
        after = [f"{alter} VALIDATE CONSTRAINT {quote(name)}"] if is_valid else []
        if comment:
            after.append(
                f"COMMENT ON CONSTRAINT {quote(name)} ON {shadow.qualified} IS {literal(comment)}"
            )
        shadow.builds.append(Build(tuple(after)))
