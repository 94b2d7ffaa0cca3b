"""No connector leaves out a suite."""

from __future__ import annotations

import importlib
import types
import typing

import pytest

from tmg_etl import connectors
from tmg_etl.config import connection
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


def test_every_connection_type_that_a_config_may_have_has_a_connector_and_a_profile() -> None:
    fields = [one.model_fields["type"] for one in typing.get_args(connection.AnyConnection)]
    known = {name for field in fields for name in typing.get_args(field.annotation)}
    # `flaky` stands for another connection.
    assert known == set(connectors.connection_types()) == {*SYSTEMS, "flaky"}


def test_a_misspelt_gap_excuses_nothing() -> None:
    with pytest.raises(ValueError, match="nann"):
        conformance.Traits(gaps=frozenset({"nann"}))
