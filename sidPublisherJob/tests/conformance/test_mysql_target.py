"""MariaDB as a target, looked at with PyMySQL alone."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from tmg_etl.connectors import base
from tmg_etl.testing import conformance, servers


class MySQLPlace(conformance.SqlPlace):
    """A database of its own."""

    traits = conformance.Traits(
        gaps=frozenset({"nan", "infinity", "negative_zero", "zones"}), max_decimal=(65, 30)
    )
    quote_mark = "`"

    def __init__(self, server: servers.MariaDBServer, name: str) -> None:
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


@pytest.fixture(scope="module")
def target_place(mariadb_server: servers.MariaDBServer) -> Iterator[MySQLPlace]:
    name = f"conformance_{secrets.token_hex(4)}"
    place = MySQLPlace(mariadb_server, name)
    yield place
    place.close()
    mariadb_server.drop_database(name)


class TestValues(conformance.ValueConformance):
    profile = MySQLPlace


class TestRows(conformance.RowConformance):
    profile = MySQLPlace


class TestSchema(conformance.SchemaConformance):
    profile = MySQLPlace


class TestFailures(conformance.FailureConformance):
    profile = MySQLPlace


class TestRefusals(conformance.RefusalConformance):
    profile = MySQLPlace


class TestUpsert(conformance.UpsertConformance):
    profile = MySQLPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = MySQLPlace
