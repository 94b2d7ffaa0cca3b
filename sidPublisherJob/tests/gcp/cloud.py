"""Google Cloud in the emulator's place: the same tests, in a project of one's own.

`TMG_ETL_TEST_DATASET` names an existing dataset, ``project.dataset``: it says in which project and
where, and is not touched. The tests make datasets of their own beside it (``test_…``, ``target_…``,
``source_…``, ``large_…``), whose tables go away by themselves after a day, and remove them.
`TMG_ETL_TEST_BUCKET` names a bucket in the same location; they use the folder ``tmg-etl-test-…``.
Credentials are those of the machine: see `google.auth.default`.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from typing import Any

import google.auth.credentials
from google.cloud import bigquery, storage

_DAY_MS = 24 * 3600 * 1000
#: What a process needs to log in, and, to try the suite itself, to find an emulator.
_PASSED_ON = (
    "BIGQUERY_EMULATOR_HOST",
    "BIGQUERY_STORAGE_EMULATOR_HOST",
    "CLOUDSDK_CONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "STORAGE_EMULATOR_HOST",
)


def given(name: str) -> str:
    """Return a variable that the suite cannot do without."""
    value = os.environ.get(name, "")
    assert value, f"the tests marked gcp need {name}: see docs/bigquery.md"
    return value


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of the bucket, in the place of an emulator's bucket."""

    name: str

    def left(self) -> list[str]:
        """Return what is in it."""
        bucket, _, prefix = self.name.partition("/")
        return [blob.name for blob in _login(storage.Client).list_blobs(bucket, prefix=prefix)]


class GoogleCloud:
    """The parts of `emulator.BigQueryServer` that the suites use."""

    def __init__(self) -> None:
        self._model = self.client().get_dataset(given("TMG_ETL_TEST_DATASET"))

    @property
    def environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}

    def client(self) -> bigquery.Client:
        project, _, _ = given("TMG_ETL_TEST_DATASET").partition(".")
        client: bigquery.Client = _login(bigquery.Client, project=project)
        return client

    def start(self) -> None:
        """It is always there."""

    def create_database(self, name: str) -> str:
        dataset = bigquery.Dataset(f"{self._model.project}.{name}")
        dataset.location = self._model.location
        dataset.default_table_expiration_ms = _DAY_MS
        self.client().create_dataset(dataset)
        return f"{self._model.project}.{name}"

    def drop_database(self, name: str) -> None:
        place = f"{self._model.project}.{name}"
        self.client().delete_dataset(place, delete_contents=True, not_found_ok=True)

    def create_folder(self) -> Folder:
        bucket = given("TMG_ETL_TEST_BUCKET").removeprefix("gs://").rstrip("/")
        return Folder(f"{bucket}/tmg-etl-test-{secrets.token_hex(4)}")


def _login(client: Any, **arguments: Any) -> Any:
    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        nobody = google.auth.credentials.AnonymousCredentials()
        return client(credentials=nobody, **{"project": "any", **arguments})
    return client(**arguments)
