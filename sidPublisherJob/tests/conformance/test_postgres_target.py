"""PostgreSQL as a target, looked at with psycopg alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tmg_etl.connectors import base
from tmg_etl.testing import conformance, servers


class PostgresPlace(conformance.SqlPlace):
    """A database of its own."""

    traits = conformance.Traits(gaps=frozenset({"nul"}), longest_name=63)

    def __init__(self, url: str) -> None:
        self.url = url
        # Drivers cannot read what the server's own zone makes of the first and last hours.
        self.raw = psycopg.connect(
            url, autocommit=True, options="-c timezone=UTC -c lock_timeout=10s"
        )

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "postgres", "url": self.url}

    def execute(self, sql: str) -> None:
        self.raw.execute(sql.encode())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.raw.execute(sql.encode()).fetchall()

    def tables(self) -> set[str]:
        found = self.query(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND"
            " relnamespace = 'public'::regnamespace"
        )
        return {name for (name,) in found}

    def selected(self, field: pa.Field) -> str:
        if base.is_json(field) or pa.types.is_nested(field.type):
            return f"{self.quote(field.name)}::text"
        # The driver reads the short text of a float4, which is that of another double.
        cast = "::float8" if field.type == pa.float32() else ""
        return f"{self.quote(field.name)}{cast}"

    def value(self, raw: Any, field: pa.Field) -> object:
        if base.is_json(field) or pa.types.is_nested(field.type):
            return conformance.Document(raw)
        if pa.types.is_integer(field.type):
            return int(raw)
        return raw.replace(tzinfo=None) if field.type == pa.timestamp("us") else raw

    def close(self) -> None:
        self.raw.close()


@pytest.fixture(scope="module")
def target_place(postgres_server: servers.PostgresServer) -> Iterator[PostgresPlace]:
    name = f"conformance_{secrets.token_hex(4)}"
    place = PostgresPlace(postgres_server.create_database(name))
    yield place
    place.close()
    postgres_server.drop_database(name)


class TestValues(conformance.ValueConformance):
    profile = PostgresPlace


class TestRows(conformance.RowConformance):
    profile = PostgresPlace


class TestSchema(conformance.SchemaConformance):
    profile = PostgresPlace


class TestFailures(conformance.FailureConformance):
    profile = PostgresPlace


class TestRefusals(conformance.RefusalConformance):
    profile = PostgresPlace


class TestUpsert(conformance.UpsertConformance):
    profile = PostgresPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = PostgresPlace
