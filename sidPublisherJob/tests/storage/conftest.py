"""Stores to test: Google's on two servers and Amazon's on moto, each with empty buckets."""

import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.package import registry_kit
from tests.storage import gcs_fake
from tmg_etl import storage
from tmg_etl.storage import base, google


@dataclasses.dataclass
class Place:
    """A store with an empty bucket.

    `ignores_generations` says that the server, not the store, does what it likes with them;
    `is_fragile` that it breaks under several requests at once.
    """

    store: base.Store
    bucket_url: str
    ignores_generations: bool = False
    is_fragile: bool = False

    def url(self, name: str) -> str:
        return f"{self.bucket_url}/{name}"

    @property
    def bare(self) -> str:
        """The bucket itself: `bucket_url` may be a folder of it."""
        scheme, _, path = self.bucket_url.partition("://")
        return f"{scheme}://{path.partition('/')[0]}"

    @property
    def missing_bucket(self) -> str:
        return f"{self.bare}-no"


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once: what is waited for between attempts is Google's business."""
    monkeypatch.setattr(google, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(google, "_LONGEST_WAIT_S", 0.1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[gcs_fake.Server]:
    """Cloud Storage with its rules enforced, and the buckets `lake` and `other`."""
    with gcs_fake.Server("lake", "other") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def gcs(fake: gcs_fake.Server) -> Iterator[base.Store]:
    """Google's store on the fake."""
    store = storage.open_store("gs://lake")
    yield store
    store.close()


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A server that speaks S3."""
    import moto.server

    server = moto.server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Amazon's store on moto, with an empty bucket."""
    settings = {
        "AWS_ENDPOINT_URL_S3": moto_url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    store = storage.open_store("s3")
    bucket = f"lake-{secrets.token_hex(4)}"
    store.client.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    yield Place(store, f"s3://{bucket}")
    store.close()


REAL = pytest.param("google", marks=[pytest.mark.gcp, pytest.mark.bucket])
"""A folder of the bucket in `TMG_ETL_TEST_BUCKET`: see docs/bigquery.md."""


@pytest.fixture(
    params=[
        *(pytest.param(kind, marks=pytest.mark.bucket) for kind in ("fake", "emulator", "s3")),
        REAL,
    ]
)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Each store and server in turn."""
    if request.param == "s3":
        yield request.getfixturevalue("s3")
    elif request.param == "fake":
        request.getfixturevalue("fake")
        yield Place(request.getfixturevalue("gcs"), "gs://lake")
    elif request.param == "google":
        bucket = os.environ["TMG_ETL_TEST_BUCKET"].removeprefix("gs://").rstrip("/")
        store = storage.open_store("gs")
        found = Place(store, f"gs://{bucket}/tmg-etl-test-{secrets.token_hex(4)}")
        yield found
        for facts in store.list(f"{found.bucket_url}/"):
            store.delete(facts.url, generation=facts.generation)
        store.close()
    else:
        with registry_kit.storage(monkeypatch, "lake"):
            store = storage.open_store("gs")
            yield Place(store, "gs://lake", ignores_generations=True, is_fragile=True)
            store.close()


@pytest.fixture
def needs_generations(
    request: pytest.FixtureRequest, place: Place
) -> Callable[[type[BaseException]], None]:
    """Expect a failure where the server ignores generations."""

    def expect(failure: type[BaseException]) -> None:
        if place.ignores_generations:
            reason = "gcp-storage-emulator ignores generations and preconditions"
            request.applymarker(pytest.mark.xfail(raises=failure, strict=True, reason=reason))

    return expect
