"""Fixtures for the tests of connectors."""

from collections.abc import Iterator

import pytest

from tests.connectors import bucket_kit


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


@pytest.fixture(params=["google", "amazon"])
def place(request: pytest.FixtureRequest) -> bucket_kit.Place:
    """An empty place in each kind of bucket."""
    found: bucket_kit.Place = request.getfixturevalue(f"{request.param}_place")
    return found
