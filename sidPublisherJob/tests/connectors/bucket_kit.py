"""Lakes in buckets: Cloud Storage on a fake that keeps its rules, S3 on moto, seen from outside."""

from __future__ import annotations

import abc
import contextlib
import pathlib
import secrets
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tests.storage import gcs_fake
from tmg_etl.config import model
from tmg_etl.connectors import base, files

BUCKET = "lake"


class Place(abc.ABC):
    """A bucket, past the connector."""

    def __init__(self, root: str) -> None:
        #: What the config has as `url`.
        self.root = root

    @property
    def prefix(self) -> str:
        """Return what object names begin with."""
        return self.root.split("://", 1)[1].partition("/")[2]

    def key(self, name: str) -> str:
        """Return the object's name for a name below the root."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @abc.abstractmethod
    def put_object(self, key: str, data: bytes) -> None:
        """Make an object."""

    @abc.abstractmethod
    def get_object(self, key: str) -> bytes:
        """Return an object."""

    @abc.abstractmethod
    def delete_object(self, key: str) -> None:
        """Remove an object."""

    @abc.abstractmethod
    def objects(self) -> list[str]:
        """Return the names of all objects of the bucket."""

    def put(self, name: str, data: bytes | str) -> None:
        """Make an object below the root."""
        self.put_object(self.key(name), data.encode() if isinstance(data, str) else data)

    def put_table(self, name: str, table: pa.Table, **options: object) -> None:
        """Write a Parquet file."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        self.put(name, sink.getvalue().to_pybytes())

    def table(self, name: str) -> pa.Table:
        """Return a Parquet file."""
        return pq.ParquetFile(pa.BufferReader(self.get_object(self.key(name)))).read()

    def delete(self, name: str) -> None:
        """Remove an object below the root."""
        self.delete_object(self.key(name))

    def names(self) -> list[str]:
        """Return the names below the root."""
        start = f"{self.prefix}/" if self.prefix else ""
        return [name[len(start) :] for name in self.objects() if name.startswith(start)]

    def connection(self, **options: object) -> files.FilesConnection:
        """Return the connection `lake` to the root."""
        spec = model.FilesConnection.model_validate(
            {"type": "files", "name": "lake", "url": self.root, **options}
        )
        return files.FilesConnection(spec, pathlib.Path("/"))

    def opened(self, **spec: object) -> base.Source:
        """Return a source; the table `t` unless `spec` names something else."""
        named = spec.keys() & {"table", "path", "query"}
        options = {"connection": "lake", **({} if named else {"table": "t"}), **spec}
        return self.connection().open_source(
            model.SourceSpec.model_validate(options), files_kit.DAY
        )

    def rows(self, **spec: object) -> list[dict[str, object]]:
        """Return all rows of a source."""
        with self.opened(**spec) as found:
            return files_kit.rows(found)


class GooglePlace(Place):
    """A bucket of the fake."""

    def __init__(self, server: gcs_fake.Server, prefix: str) -> None:
        super().__init__(f"gs://{BUCKET}/{prefix}".removesuffix("/"))
        self.server = server

    def put_object(self, key: str, data: bytes) -> None:
        self.server.put(BUCKET, key, data)

    def get_object(self, key: str) -> bytes:
        return self.server.buckets[BUCKET][key].data

    def delete_object(self, key: str) -> None:
        del self.server.buckets[BUCKET][key]

    def objects(self) -> list[str]:
        return self.server.names(BUCKET)


class AmazonPlace(Place):
    """A bucket of moto."""

    def __init__(self, endpoint: str, bucket: str, prefix: str) -> None:
        import boto3

        super().__init__(f"s3://{bucket}/{prefix}".removesuffix("/"))
        self.client = boto3.client("s3", endpoint_url=endpoint)
        self.bucket = bucket

    def put_object(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get_object(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def delete_object(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def objects(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in found.get("Contents", [])]


@contextlib.contextmanager
def google(patch: pytest.MonkeyPatch, prefix: str = "x") -> Iterator[GooglePlace]:
    """Yield an empty bucket of the fake, which clients find by their variables."""
    with gcs_fake.Server(BUCKET) as server:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield GooglePlace(server, prefix)


@contextlib.contextmanager
def amazon_server() -> Iterator[str]:
    """Yield the URL of a running moto."""
    # It takes a second to import, which the tests of other connectors need not spend.
    import moto.server

    server = moto.server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def amazon(patch: pytest.MonkeyPatch, endpoint: str, prefix: str = "x") -> AmazonPlace:
    """Return a new, empty bucket of moto, which clients find by their variables."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        patch.setenv(name, value)
    place = AmazonPlace(endpoint, f"lake-{secrets.token_hex(4)}", prefix)
    place.client.create_bucket(Bucket=place.bucket)
    return place
