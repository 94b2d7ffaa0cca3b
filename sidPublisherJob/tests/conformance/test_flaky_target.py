"""A flaky connection without faults as a target: whatever stands behind it is as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance import sqlite_place
from tmg_etl.testing import conformance


class FlakyPlace(sqlite_place.SQLitePlace):
    """A file behind a connection that does not fail."""

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "flaky", "of": "behind"}

    @property
    def others(self) -> Mapping[str, Mapping[str, Any]]:
        return {"behind": super().connection}


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
