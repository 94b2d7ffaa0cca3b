"""Fixtures for the tests of connectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.connectors import bucket_kit
from tmg_etl.testing import plugin

if TYPE_CHECKING:
    # With Google's clients, which take a second to import.
    from tests.bigquery import emulator, wire
    from tests.connectors import bigquery_kit, bigquery_target_kit
    from tmg_etl.testing import servers


@pytest.fixture(scope="session")
def amazon_endpoint() -> Iterator[str]:
    """URL of a running moto, one for the whole session."""
    with bucket_kit.amazon_server() as endpoint:
        yield endpoint


@pytest.fixture
def google_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[bucket_kit.GooglePlace]:
    """An empty place in Cloud Storage."""
    with bucket_kit.google(monkeypatch) as place:
        yield place


@pytest.fixture
def amazon_place(amazon_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> bucket_kit.AmazonPlace:
    """An empty place in S3."""
    return bucket_kit.amazon(monkeypatch, amazon_endpoint)


@pytest.fixture(params=["mariadb", "mysql"])
def either_server(request: pytest.FixtureRequest) -> servers.MySQLFamilyServer:
    """A running server of MariaDB, and of MySQL."""
    found: servers.MySQLFamilyServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def either_url(either_server: servers.MySQLFamilyServer) -> Iterator[str]:
    """URL of a new, empty database of each of them."""
    yield from plugin.fresh_database(either_server)


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.bucket) for kind in ("google", "amazon")]
)
def place(request: pytest.FixtureRequest) -> bucket_kit.Place:
    """An empty place in each kind of bucket."""
    found: bucket_kit.Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
def lake(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str, bigquery_wire: wire.Wire
) -> Iterator[bigquery_kit.Lake]:
    """An empty dataset of BigQuery to read from; a test leaves nothing in its staging bucket."""
    from tests.connectors import bigquery_kit

    root = bigquery_server.buckets / bigquery_kit.BUCKET
    if not root.exists():
        bigquery_server.storage.create(bigquery_kit.BUCKET)
    found = bigquery_kit.Lake(bigquery_server, bigquery_dataset)
    yield found
    assert found.staged() == []


@pytest.fixture
def raw(bigquery_server: emulator.BigQueryServer, bigquery_dataset: str) -> bigquery_target_kit.Raw:
    """Google's own client on an empty dataset of BigQuery."""
    from tests.connectors import bigquery_target_kit

    return bigquery_target_kit.Raw(bigquery_server, bigquery_dataset)
