"""A BigQuery of one's own: `local-bigquery` as a process, with buckets that are folders.

`script/bootstrap --system` installs it with a Python of its own into `.venv/bigquery`. Clients find
it by the variables in `environment`; no credentials are asked for.

    with emulator.BigQueryServer() as server:
        server.client().create_dataset("sid")

or, for one command and with a bucket: `python -m tests.bigquery.emulator COMMAND …`.

It is no judge of what BigQuery computes: compare what is stored and read, never text or hashes
that its functions make. What it does not know is in `wire`.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.bigquery import bucket_server
from tmg_etl.testing import process

if TYPE_CHECKING:
    from google.cloud import bigquery, bigquery_storage

PLACE = pathlib.Path(__file__).parents[3] / ".venv" / "bigquery"
#: The suites run in a real project too: see `tests.gcp.cloud`.
PROJECT = os.environ.get("TMG_ETL_TEST_DATASET", "acme-test").partition(".")[0]
BUCKET = "acme-staging"

_STARTER = pathlib.Path(__file__).with_name("mended.py")


class BigQueryServer(process.Server):
    """The emulator: REST and gRPC on 127.0.0.1, datasets in a temporary folder.

    `gs://bucket/name` is the file `buckets/bucket/name`, which jobs and the server `storage` read
    and write. A bucket must be created first, as in Cloud Storage: `storage.create("staging")`.
    """

    user = ""
    _scheme = "http"
    _system_user = "root"
    _stop_signal = signal.SIGKILL  # its data goes with it, and an open stream would hold it up

    def __init__(self) -> None:
        super().__init__()
        self.grpc_port = 0
        self._storage: bucket_server.BucketServer | None = None

    @property
    def buckets(self) -> pathlib.Path:
        """Folder whose subfolders are the buckets."""
        return self.folder / "buckets"

    @property
    def storage(self) -> bucket_server.BucketServer:
        """The buckets' own server; it lives in this process, also while the emulator is stopped."""
        assert self._storage is not None, "call start() first"
        return self._storage

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "BIGQUERY_EMULATOR_HOST": f"http://{process.HOST}:{self.port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{process.HOST}:{self.grpc_port}",
            "STORAGE_EMULATOR_HOST": self.storage.url,
        }

    def client(self) -> bigquery.Client:
        """Return Google's own client for the REST API."""
        import google.auth.credentials
        from google.cloud import bigquery

        return bigquery.Client(
            project=PROJECT,
            credentials=google.auth.credentials.AnonymousCredentials(),
            client_options={"api_endpoint": self.environment["BIGQUERY_EMULATOR_HOST"]},
        )

    def read_client(self) -> bigquery_storage.BigQueryReadClient:
        """Return Google's own client for the Storage Read API."""
        return read_client(self.environment["BIGQUERY_STORAGE_EMULATOR_HOST"])

    def close(self) -> None:  # as in Server
        try:
            super().close()
        finally:
            storage, self._storage = self._storage, None
            if storage is not None:
                storage.close()

    def connect(self, database: str | None = None) -> Any:
        url = f"http://{process.HOST}:{self.port}/bigquery/v2/projects/{PROJECT}/datasets"
        return urllib.request.urlopen(url, timeout=60)

    def create_database(self, name: str) -> str:
        """Create a dataset and return its full name."""
        self.client().create_dataset(name)
        return f"{PROJECT}.{name}"

    def drop_database(self, name: str) -> None:
        """Drop a dataset with its tables if it exists."""
        self.client().delete_dataset(name, delete_contents=True, not_found_ok=True)

    def _initialise(self) -> None:
        if not (PLACE / "stamp").exists():
            raise process.ServerError(
                "the emulator of BigQuery is not installed: run `script/bootstrap --system`"
            )
        self.buckets.mkdir()
        self._storage = bucket_server.BucketServer(self.buckets)
        self.grpc_port = process.free_port()

    def _identity(self) -> dict[str, Any]:
        return {
            "env": {
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(PLACE / "home"),
                "PYTHONPATH": str(PLACE / "packages"),
                "GCS_LOCAL_ROOT": str(self.buckets),
            }
        }

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        ports = ["--port", str(self.port), "--grpc-port", str(self.grpc_port)]
        place = ["--host", process.HOST, "--data-dir", str(self.folder / "data")]
        default = ["--project", PROJECT]
        return [PLACE / "python" / "python3.13", _STARTER, *place, *ports, *default]


def read_client(address: str) -> bigquery_storage.BigQueryReadClient:
    """Return Google's own client for a Storage Read API without TLS.

    Args:
        address: `host:port`.
    """
    import grpc
    from google.cloud import bigquery_storage
    from google.cloud.bigquery_storage_v1.services.big_query_read import transports

    channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
    transport = transports.BigQueryReadGrpcTransport(channel=channel)
    return bigquery_storage.BigQueryReadClient(transport=transport)


def main(command: Sequence[str]) -> int:
    """Run a command that finds an emulator with an empty bucket; return its exit code."""
    with BigQueryServer() as server:
        server.storage.create(BUCKET)
        names = {"BIGQUERY_PROJECT": PROJECT, "STAGING_BUCKET": BUCKET}
        environment = {**os.environ, **server.environment, **names}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
