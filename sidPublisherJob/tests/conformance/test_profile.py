"""No connector leaves out a suite."""

from __future__ import annotations

import importlib
import types

import pytest

from tmg_etl import connectors
from tmg_etl.testing import conformance

#: The connectors that a profile stands for; a new one is added with its modules.
SYSTEMS = ("files", "duckdb", "sqlite", "postgres", "mysql", "bigquery")
SERVERS = ("postgres", "mysql")
GROUPS = ("duckdb", "sqlite", "postgres", "mysql")


def suites_in(holder: types.ModuleType | type) -> set[type]:
    found: set[type] = set()
    for name, value in vars(holder).items():
        if name.startswith("Test"):
            # One read in several ways has its suites in a class for each way.
            found |= {*value.__mro__, *suites_in(value)}
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_suite_for_targets_runs(system: str) -> None:
    module = importlib.import_module(f"tests.conformance.test_{system}_target")
    wanted = set(conformance.TARGET)
    wanted |= {conformance.NoDeltaConformance} if system == "files" else set(conformance.DELTA)
    wanted |= set(conformance.SERVER) if system in SERVERS else set()
    wanted |= set(conformance.GROUP) if system in GROUPS else set()
    assert wanted <= suites_in(module)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_suite_for_sources_runs(system: str) -> None:
    module = importlib.import_module(f"tests.conformance.test_{system}_source")
    wanted: set[type] = set(conformance.SOURCE)
    wanted |= {conformance.SnapshotConformance} if system != "files" else set()
    wanted |= {conformance.ServerSourceConformance} if system in SERVERS else set()
    assert wanted <= suites_in(module)


def test_every_connection_type_has_a_profile() -> None:
    # `sqlalchemy` stands for dialects that are not installed here, `flaky` for another connection.
    assert set(connectors.connection_types()) - {"sqlalchemy", "flaky"} == set(SYSTEMS)


def test_a_misspelt_gap_excuses_nothing() -> None:
    with pytest.raises(ValueError, match="nann"):
        conformance.Traits(gaps=frozenset({"nann"}))
