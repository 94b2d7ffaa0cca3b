"""What SQLite knows of a table."""

from __future__ import annotations

import dataclasses
import itertools

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.sqlite import database, datatype, definition


@dataclasses.dataclass(frozen=True)
class Definition:
    """Everything that a copy of a table needs.

    Attributes:
        name: as its CREATE statement writes it; identifiers ignore case.
        table: the description.
        sql: the CREATE TABLE statement.
        indexes: name and CREATE statement of each secondary index.
        collations: by column name in lower case, those that are declared.
        rowid: the name of the rowid, unless there is none or columns took all its names.
    """

    name: str
    table: base.Table
    sql: str
    indexes: tuple[tuple[str, str], ...]
    collations: dict[str, str]
    rowid: str | None


def quote(name: str) -> str:
    """Return an identifier, quoted whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def names(session: database.Session, *prefixes: str) -> list[str]:
    """Return the tables whose names start with one of `prefixes`."""
    begun = " OR ".join("substr(name, 1, ?) = ?" for _ in prefixes)
    found = session.rows(
        f"SELECT name FROM sqlite_schema WHERE type = 'table' AND ({begun}) ORDER BY name",
        [part for prefix in prefixes for part in (len(prefix), prefix)],
    )
    return [str(row[0]) for row in found]


def has_object(session: database.Session, kind: str, name: str) -> bool:
    """Return whether the file has a table, index, view or trigger of that name."""
    return bool(
        session.rows(
            "SELECT 1 FROM sqlite_schema WHERE type = ? AND lower(name) = lower(?)", [kind, name]
        )
    )


def read(session: database.Session, table: str) -> Definition | None:
    """Return what is known of a table, or None when there is none.

    Raises:
        errors.ConfigError: it is a view, or a virtual table.
    """
    # One state for all questions: another connection may replace the table between two.
    with session.reading():
        return _read(session, table)


def _read(session: database.Session, table: str) -> Definition | None:
    found = session.rows(
        "SELECT type, name, sql FROM sqlite_schema"
        " WHERE lower(name) = lower(?) AND type IN ('table', 'view')",
        [table],
    )
    if not found:
        return None
    kind, name, sql = found[0]
    if kind == "view" or not str(sql).upper().startswith("CREATE TABLE"):
        raise errors.ConfigError(f"the target {table} is a view or virtual table, not a table")
    has_rowid = not _is_without_rowid(session, name)
    primary, columns = _columns(session, name, has_rowid)
    indexes, unique = _indexes(session, name)
    blockers = (*_foreign_keys(session, name), *_triggers(session, name))
    if definition.refers_to_itself(sql, name):
        blockers += ("a constraint or generated column refers to the table by its own name",)
    description = base.Table(
        columns=columns,
        primary_key=primary,
        unique_keys=unique,
        indexes=tuple(index for index, _ in indexes),
        swap_blockers=blockers,
        checks=tuple(base.Check(text, text) for text in definition.checks(sql)),
        referenced=_referenced(session, name),
    )
    taken = {column.name.lower() for column in columns}
    aliases = [alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken]
    return Definition(
        name,
        description,
        sql,
        indexes,
        definition.column_collations(sql),
        aliases[0] if has_rowid and aliases else None,
    )


def _is_without_rowid(session: database.Session, table: str) -> bool:
    found = session.rows(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", [table]
    )
    return bool(found and found[0][0])


def _columns(
    session: database.Session, table: str, has_rowid: bool
) -> tuple[tuple[str, ...], tuple[base.Column, ...]]:
    found = session.rows(
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
        " ORDER BY cid",
        [table],
    )
    key = sorted((pk, name) for name, _, _, _, pk, _ in found if pk)
    columns = []
    for name, native, not_null, default, pk, hidden in found:
        is_rowid = bool(pk and len(key) == 1 and native.upper() == "INTEGER" and has_rowid)
        nullable = not (not_null or is_rowid or (pk and not has_rowid))
        field = datatype.declared(name, native, nullable=nullable)
        if field is None:
            field = datatype.found(
                name, storage_classes(session, quote(table), name), table
            ).with_nullable(nullable)
        columns.append(
            base.Column(
                field,
                native,
                has_default=default is not None or is_rowid,
                is_generated=hidden in (2, 3),
            )
        )
    return tuple(name for _, name in key), tuple(columns)


def storage_classes(session: database.Session, relation: str, column: str) -> set[str]:
    """Return the storage classes of all cells of a column; reads the whole column."""
    found = session.rows(f"SELECT DISTINCT typeof({quote(column)}) FROM {relation}")
    return {str(row[0]) for row in found}


def _indexes(
    session: database.Session, table: str
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, ...], ...]]:
    found = session.rows(
        'SELECT l.name, l."unique", l.origin, l.partial, s.sql FROM pragma_index_list(?) AS l'
        " LEFT JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
        [table],
    )
    secondary, unique = [], []
    for name, is_unique, origin, is_partial, sql in found:
        if origin == "c":
            secondary.append((str(name), str(sql)))
        if is_unique and not is_partial and origin != "pk":
            columns = session.rows(
                "SELECT name, cid FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno", [name]
            )
            # An index over an expression says nothing about its columns.
            if all(cid >= 0 for _, cid in columns):
                unique.append(tuple(str(column) for column, _ in columns))
    return tuple(secondary), tuple(unique)


def facts(session: database.Session, table: str) -> list[tuple[object, ...]]:
    """Return the server's own text of a table, its indexes and triggers; empty without one."""
    return session.rows(
        "SELECT type, name, sql FROM sqlite_schema WHERE lower(tbl_name) = lower(?)"
        " ORDER BY type, name",
        [table],
    )


def parents(session: database.Session, table: str) -> frozenset[str]:
    """Return the other tables that a table's foreign keys refer to."""
    found = session.rows(
        'SELECT DISTINCT "table" FROM pragma_foreign_key_list(?) WHERE lower("table") <> lower(?)',
        [table, table],
    )
    return frozenset(str(name) for (name,) in found)


def foreign_keys(session: database.Session, table: str) -> list[base.ForeignKey]:
    """Return the foreign keys of a table and those to it."""
    found = session.rows(
        'SELECT s.name, f.id, f."table", f.on_delete, f."from", coalesce(f."to", (SELECT p.name'
        ' FROM pragma_table_info(f."table") AS p WHERE p.pk = f.seq + 1))'
        " FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f WHERE s.type = 'table'"
        ' AND lower(?) IN (lower(s.name), lower(f."table")) ORDER BY s.name, f.id, f.seq',
        [table],
    )
    keys = []
    for (child, _, parent, on_delete), rows in itertools.groupby(found, lambda row: row[:4]):
        own, others = zip(*(row[4:] for row in rows), strict=True)
        is_incoming, obstacle = parent.lower() == table.lower(), None
        if child.lower() == parent.lower():
            obstacle = "it refers to its own table"
        elif None in others:
            obstacle = "the other table has no such key"
        elif is_incoming and on_delete not in ("NO ACTION", "RESTRICT"):
            obstacle = "it changes rows of the other table"
        if is_incoming:
            own, others = others, own
        other = quote(child if is_incoming else parent)
        keys.append(base.ForeignKey("", own, other, others, is_incoming, obstacle))
    return keys


def _foreign_keys(session: database.Session, table: str) -> tuple[str, ...]:
    own = session.rows('SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)', [table])
    others = session.rows(
        'SELECT DISTINCT s.name, f."from" FROM sqlite_schema AS s,'
        " pragma_foreign_key_list(s.name) AS f"
        " WHERE s.type = 'table' AND lower(f.\"table\") = lower(?) ORDER BY 1, 2",
        [table],
    )
    return (
        *(f"has a foreign key to table {name}" for (name,) in own),
        *(f"referenced by a foreign key of table {name} ({column})" for name, column in others),
    )


def _referenced(session: database.Session, table: str) -> frozenset[str]:
    """Return the columns that foreign keys refer to; one that names none means the primary key."""
    found = session.rows(
        "SELECT DISTINCT p.name FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f"
        " JOIN pragma_table_xinfo(?) AS p"
        ' ON lower(p.name) = lower(f."to") OR (f."to" IS NULL AND p.pk > 0)'
        " WHERE s.type = 'table' AND lower(f.\"table\") = lower(?)",
        [table, table],
    )
    return frozenset(str(name) for (name,) in found)


def _triggers(session: database.Session, table: str) -> tuple[str, ...]:
    found = session.rows(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?)"
        " ORDER BY name",
        [table],
    )
    return tuple(f"has the trigger {name}" for (name,) in found)


def schema_of(session: database.Session, relation: str, view: str) -> pa.Schema:
    """Return the schema of any relation; undeclared columns by the values they hold.

    Args:
        session: where it is.
        relation: a query in parentheses, or a table's quoted name.
        view: name for a temporary view, which tells declared types through a query.
    """
    session.run(f"CREATE TEMP VIEW {quote(view)} AS SELECT * FROM {relation}")
    try:
        listed = session.rows(
            'SELECT name, type, "notnull" FROM pragma_table_info(?) ORDER BY cid', [view]
        )
        fields = []
        for name, native, not_null in listed:
            field = datatype.declared(name, native or "", nullable=not not_null)
            if field is None:
                classes = storage_classes(session, f"temp.{quote(view)}", name)
                field = datatype.found(name, classes, "the source")
            fields.append(field)
        return pa.schema(fields)
    finally:
        session.run(f"DROP VIEW IF EXISTS temp.{quote(view)}")
