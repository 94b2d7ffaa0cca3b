"""PostgreSQL as a target."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.conformance import postgres_place
from tmg_etl.testing import conformance, servers


@pytest.fixture(scope="module")
def target_place(postgres_server: servers.PostgresServer) -> Iterator[postgres_place.PostgresPlace]:
    name = f"conformance_{secrets.token_hex(4)}"
    place = postgres_place.PostgresPlace(postgres_server.create_database(name))
    yield place
    place.close()
    postgres_server.drop_database(name)


class TestValues(conformance.ValueConformance):
    profile = postgres_place.PostgresPlace


class TestRows(conformance.RowConformance):
    profile = postgres_place.PostgresPlace


class TestSchema(conformance.SchemaConformance):
    profile = postgres_place.PostgresPlace


class TestFailures(conformance.FailureConformance):
    profile = postgres_place.PostgresPlace


class TestRefusals(conformance.RefusalConformance):
    profile = postgres_place.PostgresPlace


class TestUpsert(conformance.UpsertConformance):
    profile = postgres_place.PostgresPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = postgres_place.PostgresPlace


class TestServer(conformance.ServerConformance):
    profile = postgres_place.PostgresPlace


class TestGroups(conformance.GroupConformance):
    profile = postgres_place.PostgresPlace


class TestAlterations(conformance.AlterationConformance):
    profile = postgres_place.PostgresPlace
