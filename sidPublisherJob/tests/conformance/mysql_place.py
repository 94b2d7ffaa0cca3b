"""MariaDB or MySQL as a target, and what belongs to a table there; looked at with PyMySQL alone."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.testing import conformance, servers


class MySQLPlace(conformance.ServerPlace):
    """A database of its own."""

    traits = conformance.Traits(
        gaps=frozenset({"nan", "infinity", "negative_zero", "zones"}),
        max_decimal=(65, 30),
        dotted_tables=False,
    )
    quote_mark = "`"

    narrowed = "ALTER TABLE {table} MODIFY name VARCHAR(5) NOT NULL"
    kept: ClassVar[dict[str, conformance.Kept]] = {
        "grants": conformance.Kept(
            (
                "CREATE USER 'user_{table}'@'%'",
                "GRANT SELECT, UPDATE (name) ON {table} TO 'user_{table}'@'%'",
            ),
            "SHOW GRANTS FOR 'user_{table}'@'%'",
        ),
        "definition": conformance.Kept(
            (
                "ALTER TABLE {table} COMMENT 'the table''s', MODIFY name VARCHAR(50) DEFAULT 'none'"
                " COMMENT 'a name', ADD n INT AUTO_INCREMENT UNIQUE, ADD at TIMESTAMP NOT NULL"
                " DEFAULT CURRENT_TIMESTAMP, ADD INDEX by_name (name(3) DESC),"
                " ADD CHECK (id > 0)",
            ),
            "SHOW CREATE TABLE {table}",
            columns=("n", "at"),
        ),
        "named_check": conformance.Kept(
            ("ALTER TABLE {table} ADD CONSTRAINT positive_{table} CHECK (id > 0)",),
            "SHOW CREATE TABLE {table}",
            may_block_swap=True,  # on MySQL
        ),
        "foreign_key_of_it": conformance.Kept(
            (
                "CREATE TABLE parent_{table} (id BIGINT PRIMARY KEY)",
                "INSERT INTO parent_{table} VALUES (1), (2), (3), (7), (8), (9)",
                "ALTER TABLE {table} ADD CONSTRAINT fk_{table} FOREIGN KEY (id)"
                " REFERENCES parent_{table} (id)",
            ),
            "SHOW CREATE TABLE {table}",
            may_block_swap=True,
        ),
        "foreign_key_to_it": conformance.Kept(
            (
                "CREATE TABLE child_{table} (id BIGINT REFERENCES {table} (id))",
                "INSERT INTO child_{table} VALUES (1)",
            ),
            "SHOW CREATE TABLE child_{table}",
            may_block_swap=True,
        ),
        "views": conformance.Kept(
            ("CREATE VIEW view_{table} AS SELECT id FROM {table}",),
            "SHOW CREATE VIEW view_{table}",
            reads="SELECT id FROM view_{table} ORDER BY 1",
        ),
        "triggers": conformance.Kept(
            ("CREATE TRIGGER watch_{table} BEFORE DELETE ON {table} FOR EACH ROW SET @gone = 1",),
            "SELECT trigger_name, event_manipulation, event_object_table, action_statement"
            " FROM information_schema.triggers WHERE event_object_table = '{table}'",
            may_block_swap=True,
        ),
    }

    def __init__(self, server: servers.MySQLFamilyServer, name: str) -> None:
        self.url = server.create_database(name)
        self.raw = server.connect(name)
        self.execute("SET lock_wait_timeout = 10, innodb_lock_wait_timeout = 10")

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "mysql", "url": self.url}

    def execute(self, sql: str) -> None:
        with self.raw.cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.raw.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SHOW TABLES")}

    def selected(self, field: pa.Field) -> str:
        # A FLOAT is printed with six digits; as a double it shows what it is.
        is_float = pa.types.is_floating(field.type)
        return f"{self.quote(field.name)} + 0e0" if is_float else self.quote(field.name)

    def value(self, raw: Any, field: pa.Field) -> object:
        if base.is_json(field) or pa.types.is_nested(field.type):
            return conformance.Document(raw)
        if isinstance(raw, datetime.timedelta):
            return (datetime.datetime.min + raw).time()
        return bool(raw) if pa.types.is_boolean(field.type) else raw

    def close(self) -> None:
        self.raw.close()
