"""SQLite as a target."""

from __future__ import annotations

import pytest

from tests.conformance import sqlite_place
from tmg_etl.testing import conformance


@pytest.fixture(scope="module")
def target_place(tmp_path_factory: pytest.TempPathFactory) -> sqlite_place.SQLitePlace:
    return sqlite_place.SQLitePlace(tmp_path_factory.mktemp("sqlite") / "published.db")


class TestValues(conformance.ValueConformance):
    profile = sqlite_place.SQLitePlace


class TestRows(conformance.RowConformance):
    profile = sqlite_place.SQLitePlace


class TestSchema(conformance.SchemaConformance):
    profile = sqlite_place.SQLitePlace


class TestFailures(conformance.FailureConformance):
    profile = sqlite_place.SQLitePlace


class TestRefusals(conformance.RefusalConformance):
    profile = sqlite_place.SQLitePlace


class TestUpsert(conformance.UpsertConformance):
    profile = sqlite_place.SQLitePlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = sqlite_place.SQLitePlace


class TestGroups(conformance.GroupConformance):
    profile = sqlite_place.SQLitePlace


class TestAlterations(conformance.AlterationConformance):
    profile = sqlite_place.SQLitePlace
