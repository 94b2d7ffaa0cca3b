"""BigQuery as a target, on an emulator."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.bigquery import emulator
from tests.conformance import bigquery_place
from tmg_etl.testing import conformance


@pytest.fixture(scope="module")
def target_place(
    bigquery_server: emulator.BigQueryServer,
) -> Iterator[bigquery_place.BigQueryPlace]:
    bigquery_server.start()
    name = f"target_{secrets.token_hex(4)}"
    bigquery_server.create_database(name)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in bigquery_server.environment.items():
            patch.setenv(variable, value)
        place = bigquery_place.BigQueryPlace(bigquery_server, name)
        yield place
        assert place.locks() == set()
    bigquery_server.drop_database(name)


@pytest.fixture(autouse=True)
def few_tables(target_place: bigquery_place.BigQueryPlace) -> Iterator[None]:
    """Remove what a test made: the emulator goes through all tables whenever one is asked for."""
    yield
    # These are looked at by several tests; see `conformance.ValueConformance`.
    target_place.drop_all_but("sample_", "copy_")


class TestValues(conformance.ValueConformance):
    profile = bigquery_place.BigQueryPlace


class TestRows(conformance.RowConformance):
    profile = bigquery_place.BigQueryPlace


class TestSchema(conformance.SchemaConformance):
    profile = bigquery_place.BigQueryPlace


class TestFailures(conformance.FailureConformance):
    profile = bigquery_place.BigQueryPlace


class TestRefusals(conformance.RefusalConformance):
    profile = bigquery_place.BigQueryPlace


class TestUpsert(conformance.UpsertConformance):
    profile = bigquery_place.BigQueryPlace


class TestReplaceWindow(conformance.ReplaceWindowConformance):
    profile = bigquery_place.BigQueryPlace
