"""A project of Google Cloud where other tests have an emulator."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.gcp import cloud


@pytest.fixture(scope="session")
def bigquery_server() -> cloud.GoogleCloud:
    """The project of `TMG_ETL_TEST_DATASET`."""
    return cloud.GoogleCloud()


@pytest.fixture
def bigquery_dataset(bigquery_server: cloud.GoogleCloud) -> Iterator[str]:
    """Name of a new, empty dataset."""
    name = f"test_{secrets.token_hex(4)}"
    bigquery_server.create_database(name)
    yield name
    bigquery_server.drop_database(name)


@pytest.fixture
def bucket(bigquery_server: cloud.GoogleCloud) -> Iterator[cloud.Folder]:
    """A folder of the bucket, which must be empty at the end."""
    folder = bigquery_server.create_folder()
    yield folder
    assert folder.left() == []
