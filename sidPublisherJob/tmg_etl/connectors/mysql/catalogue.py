"""What the server says of a table."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.mysql import readiness
from tmg_etl.connectors.mysql import session as session_module
from tmg_etl.connectors.mysql import type as type_module

TRANSACTIONAL = frozenset({"InnoDB", "ROCKSDB", "TokuDB"})

_JSON_CHECK = re.compile(r"json_valid\((?:`(?P<quoted>.+)`|(?P<plain>\w+))\)", re.IGNORECASE)
#: One line of SHOW CREATE TABLE that defines an index that is not unique.
_INDEX_LINE = re.compile(r"^  ((?:FULLTEXT |SPATIAL )?KEY `((?:[^`]|``)+)` .*?),?$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One table of the server.

    Attributes:
        table: what every connector tells of a table.
        kinds: type of each column.
        native: type of each column as a staging table repeats it, with its character set.
        engine: storage engine.
        auto_increment: the column that numbers rows by itself; None without one.
        next_number: what that column would give next; None without one.
        index_lines: definition by name of each index that is not unique, as written by the server.
        index_columns: column names by index name, unique ones and PRIMARY too.
        definition: what a swap would undo if it had changed meanwhile.
    """

    table: base.Table
    kinds: Mapping[str, type_module.Kind]
    native: Mapping[str, str]
    engine: str
    auto_increment: str | None
    next_number: int | None
    index_lines: Mapping[str, str]
    index_columns: Mapping[str, tuple[str, ...]]
    definition: str

    def lookup(self, key: Sequence[str]) -> str | None:
        """Return the index that finds the rows of a key; None: they would be scanned for."""
        unique = {self.table.primary_key, *self.table.unique_keys}
        for index, columns in self.index_columns.items():
            finds = columns in unique and set(columns) <= set(key)
            # One over prefixes finds few or all of them, one over words none.
            line = self.index_lines.get(index, "`(")
            is_plain = line.startswith("KEY ") and "`(" not in line
            if not finds and not (is_plain and set(columns[: len(key)]) == set(key)):
                continue
            written = re.search(rf"KEY {re.escape(quoted(index))} .*", self.definition)
            if written is None or not re.search(r"INVISIBLE|IGNORED", written[0]):
                return index
        return None


def quoted(name: str) -> str:
    """Return an identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


def kinds(
    session: session_module.Session, clause: str, columns: Sequence[str], json: frozenset[str]
) -> dict[str, type_module.Kind]:
    """Return the kinds of the columns of a FROM clause; no columns means all."""
    names = ", ".join(map(quoted, columns)) or "*"
    with session.translating():
        descriptors, _ = session.connection.raw_rows(f"SELECT {names} FROM {clause} LIMIT 0")
    found = [
        type_module.kind_of(
            descriptor,
            is_json=type_module.name_of(descriptor) in json,
            is_mariadb=session.is_mariadb,
        )
        for descriptor in descriptors
    ]
    return {kind.field.name: kind for kind in found}


def read(session: session_module.Session, database: str, name: str) -> Entry | None:
    """Return what is known of a table, or None when there is none.

    Raises:
        errors.ConfigError: a view or a sequence has that name.
        sql.ReplacedError: it was replaced each time that it was looked at.
    """
    created = ""

    def identity() -> str | None:
        nonlocal created
        try:
            created = _created(session, database, name)
        except errors.ConfigError:
            return None
        return _definition(created, ())

    return sql.steadily(name, lambda: _read(session, database, name, created), identity)


def _read(session: session_module.Session, database: str, name: str, created: str) -> Entry | None:
    found = session.rows(
        "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS, AUTO_INCREMENT FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        (database, name),
    )
    if not found:
        return None
    table_type, engine, estimate, next_number = found[0]
    if table_type is None or (engine is None and table_type != "VIEW"):
        # The list of tables was made before this one was opened, and it had gone by then.
        raise sql.ReplacedError(name)
    if table_type not in {"BASE TABLE", "SYSTEM VERSIONED"}:
        raise errors.ConfigError(
            f"{session.place}: {name} is a {str(table_type).lower()}, not a table"
        )
    described = session.rows(
        "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_DEFAULT, EXTRA"
        " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        " ORDER BY ORDINAL_POSITION",
        (database, name),
    )
    place = f"{quoted(database)}.{quoted(name)}"
    checks = _checks(session, database, name)
    known = kinds(session, place, [row[0] for row in described], _json_columns(checks))
    triggers = _triggers(session, database, name)
    primary, unique, secondary, by_index = _indexes(session, database, name)
    columns = tuple(_column(row, known[row[0]]) for row in described)
    table = base.Table(
        columns=columns,
        primary_key=primary,
        unique_keys=unique,
        indexes=secondary,
        row_estimate=None if estimate is None else int(estimate),
        swap_blockers=(
            *_swap_blockers(session, database, name, table_type, triggers, checks),
            # Of the table or of a partition; in a comment the mark would be written twice.
            *[
                f"its {what} DIRECTORY would be lost"
                for what in dict.fromkeys(
                    re.findall(r"\b(DATA|INDEX) DIRECTORY ?= ?'(?!')", created)
                )
            ],
        ),
        change_blockers=()
        if engine in TRANSACTIONAL
        else (f"its engine {engine} has no transactions (ALTER TABLE … ENGINE=InnoDB)",),
        checks=tuple(
            base.Check(constraint, clause if is_enforced else None)
            for constraint, clause, is_enforced in checks
            if not _JSON_CHECK.fullmatch(_unwrapped(clause))
        ),
        referenced=frozenset(
            str(column)
            for (column,) in session.rows(
                "SELECT REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE"
                " WHERE REFERENCED_TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME = %s",
                (database, name),
            )
        ),
    )
    automatic = [row[0] for row in described if "auto_increment" in str(row[5]).lower()]
    return Entry(
        table=table,
        kinds=known,
        native={row[0]: _native(row) for row in described},
        engine=str(engine),
        auto_increment=automatic[0] if automatic else None,
        next_number=None if next_number is None else int(next_number),
        index_lines={line[1].replace("``", "`"): line[0] for line in _INDEX_LINE.findall(created)},
        index_columns=by_index,
        definition=_definition(created, triggers),
    )


def histograms(session: session_module.Session, database: str, name: str) -> list[tuple[str, str]]:
    """Return columns of which MySQL keeps a histogram, each with how it was asked for."""
    if session.is_mariadb:
        return []
    found = session.rows(
        "SELECT COLUMN_NAME, HISTOGRAM->>'$.\"number-of-buckets-specified\"',"
        " HISTOGRAM->>'$.\"auto-update\"' = 'true' FROM information_schema.COLUMN_STATISTICS"
        " WHERE SCHEMA_NAME = %s AND TABLE_NAME = %s",
        (database, name),
    )
    return [
        (str(column), f"WITH {int(buckets)} BUCKETS{' AUTO UPDATE' if is_automatic else ''}")
        for column, buckets, is_automatic in found
    ]


def standing(
    session: session_module.Session, database: str, name: str
) -> tuple[str, int | None] | None:
    """Return a table's `Entry.definition` and `Entry.next_number`; None when there is none.

    Raises:
        sql.ReplacedError: it was replaced or dropped between the statements.
    """
    found = session.rows(
        "SELECT AUTO_INCREMENT FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        (database, name),
    )
    if not found:
        return None
    try:
        now = definition(session, database, name)
    except errors.ConfigError as gone:
        raise sql.ReplacedError(name) from gone
    return now, None if found[0][0] is None else int(found[0][0])


def definition(session: session_module.Session, database: str, name: str) -> str:
    """Return what a swap would undo, whatever the table is called now."""
    triggers = _triggers(session, database, name)
    # Last: it fails where the table, and its triggers with it, has been taken away meanwhile.
    return _definition(_created(session, database, name), triggers)


def _created(session: session_module.Session, database: str, name: str) -> str:
    # A view's has more columns.
    found = session.rows(f"SHOW CREATE TABLE {quoted(database)}.{quoted(name)}")
    return str(found[0][1])


def _definition(created: str, triggers: Sequence[str]) -> str:
    """Return the server's own text without what a RENAME or an INSERT changes in it."""
    _, _, body = created.partition("\n")
    body = re.sub(r" AUTO_INCREMENT=\d+", "", body)
    # MySQL makes the names of nameless checks of that of the table.
    return "\n".join((re.sub(r"`[^`]*(_chk_\d+)`", r"`\1`", body), *triggers))


def _triggers(session: session_module.Session, database: str, name: str) -> list[str]:
    found = session.rows(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS"
        " WHERE EVENT_OBJECT_SCHEMA = %s AND EVENT_OBJECT_TABLE = %s ORDER BY TRIGGER_NAME",
        (database, name),
    )
    return [str(trigger) for (trigger,) in found]


def own(session: session_module.Session, database: str, name: str) -> Entry:
    """Return what is known of a temporary table of this session, which no catalogue lists."""
    place = f"{quoted(database)}.{quoted(name)}"
    described = session.rows(f"SHOW FULL COLUMNS FROM {place}")
    (_, created), *_ = session.rows(f"SHOW CREATE TABLE {place}")
    checked = _JSON_CHECK.finditer(str(created))
    json = frozenset((match["quoted"] or match["plain"]).replace("``", "`") for match in checked)
    known = kinds(session, place, [row[0] for row in described], json)
    native = {
        row[0]: f"{row[1]} CHARACTER SET {str(row[2]).partition('_')[0]} COLLATE {row[2]}"
        if row[2]
        else str(row[1])
        for row in described
    }
    columns = tuple(base.Column(known[row[0]].field, str(row[1])) for row in described)
    return Entry(base.Table(columns), known, native, "InnoDB", None, None, {}, {}, "")


def like(
    session: session_module.Session,
    database: str,
    name: str,
    target: Entry,
    columns: Sequence[str] | None = None,
) -> Entry:
    """Return what is known of a table of ours that was made as a copy of a target.

    Args:
        session: any.
        database: where it is.
        name: its name.
        target: what it was made from.
        columns: those that it has, nullable and without keys; None: all, as they are.
    """
    written = _definition(_created(session, database, name), ())
    if columns is None:
        return dataclasses.replace(target, definition=written)
    kinds = {
        column: dataclasses.replace(kind, field=kind.field.with_nullable(True))
        for column, kind in target.kinds.items()
        if column in columns
    }
    held = tuple(base.Column(kind.field, target.native[column]) for column, kind in kinds.items())
    return Entry(base.Table(held), kinds, target.native, target.engine, None, None, {}, {}, written)


def exists(session: session_module.Session, database: str, name: str) -> bool:
    """Return whether there is a table, view or sequence of that name."""
    found = session.rows(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        (database, name),
    )
    return bool(found)


def starting_with(session: session_module.Session, database: str, *prefixes: str) -> list[str]:
    """Return the names of the tables that start with one of `prefixes`, in order."""
    begun = " OR ".join("LEFT(TABLE_NAME, %s) = %s" for _ in prefixes)
    found = session.rows(
        "SELECT TABLE_NAME FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = %s AND TABLE_TYPE <> 'VIEW' AND ({begun})",
        (database, *(part for prefix in prefixes for part in (len(prefix), prefix))),
    )
    return sorted(str(name) for (name,) in found)


def json_columns(session: session_module.Session, database: str, name: str) -> frozenset[str]:
    """Return the text columns that a CHECK holds to be JSON documents."""
    return _json_columns(_checks(session, database, name))


def _json_columns(checks: Sequence[tuple[str, str, bool]]) -> frozenset[str]:
    matches = [_JSON_CHECK.fullmatch(_unwrapped(clause)) for _, clause, _ in checks]
    return frozenset(
        (match["quoted"] or match["plain"]).replace("``", "`") for match in matches if match
    )


def _checks(
    session: session_module.Session, database: str, name: str
) -> list[tuple[str, str, bool]]:
    """Return the name and the condition of each CHECK, and whether rows are held to it."""
    if session.is_mariadb:
        statement = (
            "SELECT CONSTRAINT_NAME, CHECK_CLAUSE, 'YES' FROM information_schema.CHECK_CONSTRAINTS"
            " WHERE CONSTRAINT_SCHEMA = %s AND TABLE_NAME = %s"
        )
    else:
        statement = (
            "SELECT c.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED"
            " FROM information_schema.CHECK_CONSTRAINTS AS c"
            " JOIN information_schema.TABLE_CONSTRAINTS AS t"
            " USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)"
            " WHERE t.CONSTRAINT_SCHEMA = %s AND t.TABLE_NAME = %s"
        )
    found = session.rows(statement, (database, name))
    if not session.is_mariadb:
        # Its own text is escaped once more.
        found = [(check, re.sub(r"(?s)\\(.)", r"\1", text), held) for check, text, held in found]
    return [(str(check), str(text), held == "YES") for check, text, held in found]


def _unwrapped(clause: str) -> str:
    text = clause.strip()
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    return text


def _column(row: tuple[object, ...], kind: type_module.Kind) -> base.Column:
    _, column_type, _, _, default, extra = row
    marks = str(extra).upper()
    generated = any(
        mark in marks
        for mark in ("VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT", "INVISIBLE ROW")
    )
    # MariaDB writes the default of a nullable column without one as the text NULL.
    has_default = default not in {None, "NULL"} or "AUTO_INCREMENT" in marks
    return base.Column(
        _target_field(kind, str(column_type)), str(column_type), has_default, generated
    )


def _target_field(kind: type_module.Kind, column_type: str) -> pa.Field:
    """Return the field of a column to write."""
    field = kind.field
    if kind.is_native_json:
        return base.rewritten_json(field)
    if pa.types.is_string(field.type):
        if column_type == "uuid":
            return base.uuid_field(field.name, field.nullable)
        if column_type.startswith("char("):
            return base.padded_field(field.name, field.nullable)
    return field


def _native(row: tuple[object, ...]) -> str:
    _, column_type, charset, collation, *_ = row
    text = str(column_type)
    return f"{text} CHARACTER SET {charset} COLLATE {collation}" if charset and collation else text


def _indexes(
    session: session_module.Session, database: str, name: str
) -> tuple[
    tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...], dict[str, tuple[str, ...]]
]:
    """Return the primary key, the other unique ones, the secondary indexes, columns by index."""
    columns: dict[str, tuple[str, ...]] = {}
    unique: dict[str, bool] = {}
    for index, non_unique, column in session.rows(
        "SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME FROM information_schema.STATISTICS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        (database, name),
    ):
        # MySQL's index over an expression has no column name: nothing is known of its uniqueness.
        columns[index] = (*columns.get(index, ()), column or "")
        unique[index] = not int(non_unique) and unique.get(index, True) and column is not None
    primary = columns.get("PRIMARY", ())
    others = tuple(
        names for index, names in columns.items() if unique[index] and index != "PRIMARY"
    )
    return primary, others, tuple(index for index in columns if index != "PRIMARY"), columns


def parents(session: session_module.Session, database: str, name: str) -> frozenset[str]:
    """Return the other tables of the database that a table's foreign keys refer to."""
    found = session.rows(
        "SELECT DISTINCT REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS"
        " WHERE CONSTRAINT_SCHEMA = %s AND TABLE_NAME = %s AND UNIQUE_CONSTRAINT_SCHEMA = %s"
        " AND REFERENCED_TABLE_NAME <> TABLE_NAME",
        (database, name, database),
    )
    return frozenset(str(parent) for (parent,) in found)


def foreign_keys(
    session: session_module.Session, database: str, name: str
) -> list[base.ForeignKey]:
    """Return the foreign keys of a table and those to it."""
    found = session.rows(
        "SELECT k.CONSTRAINT_NAME, k.TABLE_SCHEMA, k.TABLE_NAME, k.REFERENCED_TABLE_SCHEMA,"
        " k.REFERENCED_TABLE_NAME, r.DELETE_RULE, k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME"
        " FROM information_schema.KEY_COLUMN_USAGE AS k"
        " JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r"
        " ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA"
        " AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME"
        " WHERE (k.TABLE_SCHEMA = %s AND k.TABLE_NAME = %s AND k.REFERENCED_TABLE_NAME IS NOT NULL)"
        " OR (k.REFERENCED_TABLE_SCHEMA = %s AND k.REFERENCED_TABLE_NAME = %s)"
        " ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION",
        (database, name) * 2,
    )
    keys = []
    for (constraint, *places, rule), rows in itertools.groupby(found, lambda row: row[:6]):
        own, others = zip(*(row[6:] for row in rows), strict=True)
        child, parent = tuple(places[:2]), tuple(places[2:])
        is_incoming, obstacle = parent == (database, name), None
        if child == parent:
            obstacle = "it refers to its own table"
        elif is_incoming and rule not in ("NO ACTION", "RESTRICT"):
            obstacle = "it changes rows of the other table"
        columns, theirs = (others, own) if is_incoming else (own, others)
        other = ".".join(map(quoted, child if is_incoming else parent))
        keys.append(base.ForeignKey(constraint, columns, other, theirs, is_incoming, obstacle))
    return keys


def _swap_blockers(
    session: session_module.Session,
    database: str,
    name: str,
    table_type: str,
    triggers: Sequence[str],
    checks: Sequence[tuple[str, str, bool]],
) -> tuple[str, ...]:
    blockers = []
    for constraint, child, parent_database, parent in session.rows(
        "SELECT CONSTRAINT_NAME, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME"
        " FROM information_schema.REFERENTIAL_CONSTRAINTS"
        " WHERE (CONSTRAINT_SCHEMA = %s AND TABLE_NAME = %s)"
        " OR (UNIQUE_CONSTRAINT_SCHEMA = %s AND REFERENCED_TABLE_NAME = %s)"
        " ORDER BY CONSTRAINT_NAME",
        (database, name) * 2,
    ):
        if (parent_database, parent) == (database, name):
            blockers.append(f"referenced by foreign key {constraint} of table {child}")
        if child == name:
            blockers.append(f"its foreign key {constraint} to table {parent} would be lost")
    blockers += [f"its trigger {trigger} would be lost" for trigger in triggers]
    if table_type == "SYSTEM VERSIONED":
        blockers.append("its history (system versioning) would be lost")
    if not session.is_mariadb:
        # CREATE TABLE … LIKE names them anew: a database has each name once.
        nameless = re.compile(rf"{re.escape(name)}_chk_\d+")
        blockers += [
            f"its CHECK {check} would get another name"
            for check, _, _ in checks
            if not nameless.fullmatch(check)
        ]
        grants = [str(row[0]) for row in session.rows("SHOW GRANTS")]
        if not readiness.is_granted(grants, "TRIGGER", database, name):
            # MySQL hides them from others, and drops them with the replaced table.
            blockers.append("only the privilege TRIGGER shows whether it has triggers to lose")
    return tuple(dict.fromkeys(blockers))


def arrow_schema(found: Mapping[str, type_module.Kind]) -> pa.Schema:
    """Return the Arrow schema of kinds."""
    return pa.schema([kind.field for kind in found.values()])
