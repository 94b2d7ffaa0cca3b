"""What DuckDB's catalogue says of a table, and how to make one like it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.duckdb import database, datatype, source

# ``CREATE TABLE schema.name(``, each part quoted where DuckDB finds that it must be.
_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s."(]+)'
_CREATE = re.compile(
    rf"CREATE TABLE (?:{_IDENTIFIER}\.)*(?P<name>{_IDENTIFIER})\s*(?P<body>\(.*)", re.DOTALL
)


@dataclasses.dataclass(frozen=True)
class Definition:
    """Everything that a copy of a table needs.

    Attributes:
        name: as the catalogue writes it; identifiers ignore case.
        table: the description.
        body: columns and constraints, what follows the name in CREATE TABLE.
        comments: statements' ends after ``COMMENT ON``: the object with ``{table}`` for the
            table's name, and the text.
        index_statements: CREATE INDEX of each secondary index, and its comment or None.
    """

    name: str
    table: base.Table
    body: str
    comments: tuple[tuple[str, str], ...]
    index_statements: tuple[tuple[str, str, str | None], ...]

    def without_rows(self) -> Definition:
        """Return what does not change with the rows."""
        return dataclasses.replace(self, table=dataclasses.replace(self.table, row_estimate=None))


class Catalog:
    """The tables of one schema.

    Args:
        session: where to ask.
        schema: whose tables.
    """

    def __init__(self, session: database.Session, schema: str) -> None:
        self._session = session
        self._schema = schema

    def names(self, *prefixes: str) -> list[str]:
        """Return the tables whose names start with one of `prefixes`."""
        begun = " OR ".join("starts_with(table_name, ?)" for _ in prefixes)
        found = self._session.facts(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
            f" AND schema_name = ? AND ({begun}) ORDER BY 1",
            [self._schema, *prefixes],
        )
        return [str(name) for (name,) in found]

    def index_owner(self, index: str) -> str | None:
        """Return the table that has an index of that name; names are one space in a schema."""
        found = self._session.facts(
            "SELECT table_name FROM duckdb_indexes() WHERE database_name = current_database()"
            " AND lower(schema_name) = lower(?) AND lower(index_name) = lower(?)",
            [self._schema, index],
        )
        return str(found[0][0]) if found else None

    def definition(self, table: str) -> Definition | None:
        """Return what is known of a table, or None when there is none.

        Raises:
            errors.ConfigError: there is a view of that name.
        """
        # One snapshot holds for all statements, unless the file is opened again between them.
        return sql.steadily(table, lambda: self._look(table), lambda: self._session.openings)

    def _look(self, table: str) -> Definition | None:
        with self._session.reading():
            return self._definition(table)

    def _definition(self, table: str) -> Definition | None:
        found = self._session.facts(
            "SELECT table_name, schema_name, sql, comment, estimated_size FROM duckdb_tables()"
            " WHERE database_name = current_database()"
            " AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)",
            [self._schema, table],
        )
        if not found:
            self._refuse_view(table)
            return None
        # As the catalogue writes both; from here on they are compared as they are.
        name, schema, statement, comment, rows = found[0]
        match = _CREATE.match(statement)
        if match is None:
            raise errors.ConfigError(f"{table}: DuckDB describes it as {statement!r}, unreadable")
        body = match["body"].rstrip().rstrip(";")
        columns, column_comments = self._columns(schema, name)
        primary, unique, checks, blockers = self._constraints(schema, name)
        blockers += _self_references(match["name"], body)
        names = [column.field.name for column in columns]
        indexes, unique_indexes = self._indexes(schema, name, names)
        comments = [("TABLE {table}", comment)] if comment is not None else []
        description = base.Table(
            columns=columns,
            primary_key=primary,
            unique_keys=(*unique, *unique_indexes),
            indexes=tuple(index[0] for index in indexes),
            row_estimate=int(rows) if rows is not None else None,
            swap_blockers=tuple(blockers),
            checks=tuple(base.Check(text, text) for text in checks),
        )
        return Definition(name, description, body, (*comments, *column_comments), tuple(indexes))

    def parents(self, table: str) -> frozenset[str]:
        """Return the other tables that a table's foreign keys refer to."""
        found = self._session.facts(
            "SELECT DISTINCT referenced_table FROM duckdb_constraints()"
            " WHERE database_name = current_database() AND lower(schema_name) = lower(?)"
            " AND constraint_type = 'FOREIGN KEY' AND lower(table_name) = lower(?)"
            " AND lower(referenced_table) <> lower(table_name)",
            [self._schema, table],
        )
        return frozenset(str(name) for (name,) in found)

    def foreign_keys(self, table: str) -> list[base.ForeignKey]:
        """Return the foreign keys of a table and those to it."""
        found = self._session.facts(
            "SELECT constraint_name, table_name, constraint_column_names, referenced_table,"
            " referenced_column_names FROM duckdb_constraints()"
            " WHERE database_name = current_database() AND lower(schema_name) = lower(?)"
            " AND constraint_type = 'FOREIGN KEY'"
            " AND lower(?) IN (lower(table_name), lower(referenced_table))",
            [self._schema, table],
        )
        keys = []
        for name, child, own, parent, others in found:
            is_incoming = parent.lower() == table.lower()
            obstacle = "it refers to its own table" if child.lower() == parent.lower() else None
            columns, theirs = (others, own) if is_incoming else (own, others)
            other = (
                source.quote(self._schema) + "." + source.quote(child if is_incoming else parent)
            )
            keys.append(
                base.ForeignKey(name, tuple(columns), other, tuple(theirs), is_incoming, obstacle)
            )
        return keys

    def _refuse_view(self, table: str) -> None:
        if self._session.facts(
            "SELECT 1 FROM duckdb_views() WHERE database_name = current_database()"
            " AND lower(schema_name) = lower(?) AND lower(view_name) = lower(?)",
            [self._schema, table],
        ):
            raise errors.ConfigError(f"the target {table} is a view, not a table")

    def _columns(
        self, schema: str, table: str
    ) -> tuple[tuple[base.Column, ...], tuple[tuple[str, str], ...]]:
        found = self._session.facts(
            "SELECT column_name, is_nullable, column_default IS NOT NULL, is_generated, comment"
            " FROM duckdb_columns() WHERE database_name = current_database()"
            " AND schema_name = ? AND table_name = ? ORDER BY column_index",
            [schema, table],
        )
        relation = f"{source.quote(schema)}.{source.quote(table)}"
        carriers = source.read_carriers(
            self._session, relation, {name: bool(null) for name, null, *_ in found}
        )
        by_name = {carrier.field.name: carrier for carrier in carriers}
        columns = tuple(
            base.Column(
                _target_field(by_name[name]),
                by_name[name].native,
                has_default=bool(default) and not generated,
                is_generated=bool(generated),
            )
            for name, _, default, generated, _ in found
        )
        comments = tuple(
            (f"COLUMN {{table}}.{source.quote(name).replace('{', '{{').replace('}', '}}')}", text)
            for name, *_, text in found
            if text is not None
        )
        return columns, comments

    def _constraints(
        self, schema: str, table: str
    ) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str], list[str]]:
        """Return the primary key, other unique keys, checks, and what keeps it from a swap."""
        found = self._session.facts(
            "SELECT constraint_type, constraint_column_names, table_name, referenced_table,"
            " constraint_name, expression FROM duckdb_constraints()"
            " WHERE database_name = current_database() AND schema_name = ?"
            " AND (table_name = ? OR lower(referenced_table) = lower(?))",
            [schema, table, table],
        )
        primary: tuple[str, ...] = ()
        unique: list[tuple[str, ...]] = []
        checks: list[str] = []
        blockers: list[str] = []
        for kind, columns, owner, referenced, name, expression in found:
            if kind == "FOREIGN KEY" and str(referenced).lower() == table.lower():
                blockers.append(f"referenced by foreign key {name} of table {owner}")
            elif kind == "FOREIGN KEY":
                blockers.append(f"has the foreign key {name} to table {referenced}")
            elif kind == "PRIMARY KEY" and owner == table:
                primary = tuple(columns)
            elif kind == "UNIQUE" and owner == table:
                unique.append(tuple(columns))
            elif kind == "CHECK" and owner == table:
                checks.append(str(expression))
        return primary, unique, checks, blockers

    def _indexes(
        self, schema: str, table: str, columns: Sequence[str]
    ) -> tuple[list[tuple[str, str, str | None]], list[tuple[str, ...]]]:
        found = self._session.facts(
            "SELECT index_name, sql, comment, is_unique, expressions FROM duckdb_indexes()"
            " WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
            " ORDER BY index_name",
            [schema, table],
        )
        names = {name.lower(): name for name in columns}
        unique = []
        for _, _, _, is_unique, expressions in found:
            parts = [part.strip().strip("\"'") for part in str(expressions)[1:-1].split(",")]
            # An index over an expression says nothing about its columns.
            if is_unique and all(part.lower() in names for part in parts):
                unique.append(tuple(names[part.lower()] for part in parts))
        return [(name, statement, comment) for name, statement, comment, *_ in found], unique


def _self_references(written: str, body: str) -> list[str]:
    """Return why a table that names itself in a check cannot be built under another name."""
    text = re.sub(r"'(?:[^']|'')*'", "''", body)
    if re.search(rf'(?<![\w".]){re.escape(written)}\.', text, re.IGNORECASE):
        return ["a constraint or generated column refers to the table by its own name"]
    return []


def _target_field(carrier: datatype.Carrier) -> pa.Field:
    """Return the field of a column to write."""
    field = carrier.field
    return base.uuid_field(field.name, field.nullable) if carrier.native == "UUID" else field
