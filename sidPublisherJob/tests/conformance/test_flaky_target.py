"""A flaky connection without faults as a target: whatever stands behind it is as it was."""

from __future__ import annotations

import pytest

from tests.conformance import flaky_place, sqlite_place
from tmg_etl.testing import conformance


class FlakyPlace(flaky_place.Behind, sqlite_place.SQLitePlace):
    """A file behind a connection that does not fail."""


@pytest.fixture(scope="module")
def target_place(tmp_path_factory: pytest.TempPathFactory) -> FlakyPlace:
    return FlakyPlace(tmp_path_factory.mktemp("flaky") / "published.db")


class TestValues(conformance.ValueConformance):
    profile = FlakyPlace


class TestRows(conformance.RowConformance):
    profile = FlakyPlace


class TestSchema(conformance.SchemaConformance):
    profile = FlakyPlace


class TestFailures(conformance.FailureConformance):
    profile = FlakyPlace


class TestRefusals(conformance.RefusalConformance):
    profile = FlakyPlace


class TestUpsert(conformance.UpsertConformance):
    profile = FlakyPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = FlakyPlace


class TestGroups(conformance.GroupConformance):
    profile = FlakyPlace
