"""The buckets behave as Google's client needs and as the reference says, preconditions included."""

import pathlib
from collections.abc import Iterator

import google.auth.credentials
import pytest
from google.api_core import exceptions
from google.cloud import storage

from tests.bigquery import bucket_server


@pytest.fixture
def buckets(tmp_path: pathlib.Path) -> Iterator[bucket_server.BucketServer]:
    with bucket_server.BucketServer(tmp_path) as server:
        server.create("b", "europe-west1")
        yield server


@pytest.fixture
def client(buckets: bucket_server.BucketServer) -> storage.Client:
    return storage.Client(
        project="p",
        credentials=google.auth.credentials.AnonymousCredentials(),
        client_options={"api_endpoint": buckets.url},
    )


def test_holds_what_was_uploaded_in_each_way(
    client: storage.Client, tmp_path: pathlib.Path
) -> None:
    content = bytes(range(256)) * 4096 + b"\r\n--\r\n"
    blob = client.bucket("b").blob("a/odd näme?#")
    blob.upload_from_string(content)
    assert blob.download_as_bytes() == content
    assert (tmp_path / "b" / "a" / "odd näme?#").read_bytes() == content
    big = client.bucket("b").blob("big", chunk_size=256 * 1024)
    with big.open("wb") as file:
        file.write(content)
    assert big.download_as_bytes() == content
    assert big.download_as_bytes(start=10, end=19) == content[10:20]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_preconditions_hold(client: storage.Client) -> None:
    blob = client.bucket("b").blob("o")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        client.bucket("b").blob("o").upload_from_string("2", if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        client.bucket("b").blob("o", generation=first).download_as_bytes()
    blob.delete(if_generation_match=blob.generation)
    assert not blob.exists()


def test_lists_in_pages_what_another_process_wrote(
    client: storage.Client, tmp_path: pathlib.Path
) -> None:
    for number in range(5):
        (tmp_path / "b" / f"x-{number}").write_text(str(number))
    found = list(client.list_blobs("b", prefix="x-", page_size=2))
    assert [blob.name for blob in found] == [f"x-{number}" for number in range(5)]
    assert found[3].download_as_text() == "3"
    assert client.bucket("b").rename_blob(found[3], "y").download_as_text() == "3"


def test_names_a_bucket_that_is_missing_and_the_location_of_one(client: storage.Client) -> None:
    assert client.get_bucket("b").location == "EUROPE-WEST1"
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        client.bucket("c").blob("o").upload_from_string("x")
