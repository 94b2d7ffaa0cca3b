"""DuckDB as a target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import duckdb_place
from tmg_etl.testing import conformance


@pytest.fixture(scope="module")
def target_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb_place.DuckDBPlace]:
    place = duckdb_place.DuckDBPlace(tmp_path_factory.mktemp("duckdb") / "published.duckdb")
    yield place
    place.raw.close()


class TestValues(conformance.ValueConformance):
    profile = duckdb_place.DuckDBPlace


class TestRows(conformance.RowConformance):
    profile = duckdb_place.DuckDBPlace


class TestSchema(conformance.SchemaConformance):
    profile = duckdb_place.DuckDBPlace


class TestFailures(conformance.FailureConformance):
    profile = duckdb_place.DuckDBPlace


class TestRefusals(conformance.RefusalConformance):
    profile = duckdb_place.DuckDBPlace


class TestUpsert(conformance.UpsertConformance):
    profile = duckdb_place.DuckDBPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = duckdb_place.DuckDBPlace


class TestGroups(conformance.GroupConformance):
    profile = duckdb_place.DuckDBPlace


class TestAlterations(conformance.AlterationConformance):
    profile = duckdb_place.DuckDBPlace
