"""BigQuery itself as a source: by streams of its storage, and by extract jobs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.conformance import bigquery_place, test_bigquery_source
from tests.gcp import cloud
from tmg_etl.testing import conformance

pytestmark = [
    pytest.mark.gcp,
    # Google's library asks people to name a quota project.
    pytest.mark.filterwarnings("ignore:Your application has authenticated"),
]
NATIVES = test_bigquery_source.NATIVES


class Place(bigquery_place.BigQueryPlace):
    """A dataset with a folder of the bucket."""

    folder: cloud.Folder

    @property
    def connection(self) -> Mapping[str, Any]:
        return {**super().connection, "staging": f"gs://{self.folder.name}/sid"}


@pytest.fixture(scope="class")
def place(bigquery_server: cloud.GoogleCloud) -> Iterator[Place]:
    name = f"source_{secrets.token_hex(4)}"
    bigquery_server.create_database(name)
    made = Place(bigquery_server, name)  # type: ignore[arg-type]
    made.folder = bigquery_server.create_folder()
    yield made
    bigquery_server.drop_database(name)
    assert made.folder.left() == []


class TestStreams:
    """By the Storage Read API."""

    @pytest.fixture
    def origin(self, place: Place) -> conformance.SqlOrigin:
        return conformance.SqlOrigin(place, NATIVES, integer="INT64", text="STRING", nullable="")

    class TestSource(conformance.SourceConformance):
        """See `conformance`."""

    class TestSnapshot(conformance.SnapshotConformance):
        """See `conformance`."""


class TestExtract:
    """By extract jobs."""

    @pytest.fixture
    def origin(self, place: Place) -> conformance.SqlOrigin:
        return test_bigquery_source.ExtractOrigin(
            place, NATIVES, integer="INT64", text="STRING", nullable=""
        )

    class TestSource(conformance.SourceConformance):
        """See `conformance`."""

    class TestSnapshot(conformance.SnapshotConformance):
        """See `conformance`."""
