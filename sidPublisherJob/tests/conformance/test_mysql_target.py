"""MariaDB and MySQL as targets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.conformance import mysql_place
from tmg_etl.testing import conformance, servers


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def target_place(request: pytest.FixtureRequest) -> Iterator[mysql_place.MySQLPlace]:
    server: servers.MySQLFamilyServer = request.getfixturevalue(f"{request.param}_server")
    name = f"conformance_{secrets.token_hex(4)}"
    place = mysql_place.MySQLPlace(server, name)
    yield place
    place.close()
    server.drop_database(name)


class TestValues(conformance.ValueConformance):
    profile = mysql_place.MySQLPlace


class TestRows(conformance.RowConformance):
    profile = mysql_place.MySQLPlace


class TestSchema(conformance.SchemaConformance):
    profile = mysql_place.MySQLPlace


class TestFailures(conformance.FailureConformance):
    profile = mysql_place.MySQLPlace


class TestRefusals(conformance.RefusalConformance):
    profile = mysql_place.MySQLPlace


class TestUpsert(conformance.UpsertConformance):
    profile = mysql_place.MySQLPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = mysql_place.MySQLPlace


class TestServer(conformance.ServerConformance):
    profile = mysql_place.MySQLPlace


class TestGroups(conformance.GroupConformance):
    profile = mysql_place.MySQLPlace


class TestAlterations(conformance.AlterationConformance):
    profile = mysql_place.MySQLPlace
