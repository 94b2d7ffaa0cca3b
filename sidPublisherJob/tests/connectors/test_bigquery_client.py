"""The clients of a BigQuery connection: whom they ask, and what they call things."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import client
from tmg_etl.storage import google

RUN = "20240310000000aaaaaaaaaaaa"


def clients(folder: pathlib.Path, name: str = "bq", **keys: Any) -> client.Clients:
    spec = {"type": "bigquery", "project": "acme", "dataset": "sid", **keys}
    config = model.Config.model_validate({"connections": {name: spec}})
    declared = config.connections[name]
    assert isinstance(declared, model.BigQueryConnection)
    owner = base.Owner(RUN, "Fact Flight/ÄÖ" + "x" * 80, "dev")
    return client.Clients(declared, folder, run_module.StopFlag(), owner)


@pytest.fixture
def key(tmp_path: pathlib.Path) -> pathlib.Path:
    """The key file of a service account that nobody knows."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "sid.json"
    content = {
        "type": "service_" + "account",
        "client_email": "sid@acme.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path.write_text(json.dumps(content))
    return path


def test_google_is_asked_as_whom_the_connection_names(
    key: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*google.EMULATORS, client.STORAGE_EMULATOR):
        monkeypatch.delenv(name, raising=False)
    made = clients(key.parent, credentials={"key_file": key.name}, billing_project="acme-jobs")
    assert google.principal(made.credentials) == "sid@acme.iam.gserviceaccount.com"
    assert made.rest.project == "acme-jobs"
    assert made.rest._connection.API_BASE_URL == "https://bigquery.googleapis.com"
    assert made.reader.transport.host == "bigquerystorage.googleapis.com:443"
    made.close()
    made.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flights", "acme.sid.flights"),
        ("raw.flights", "acme.raw.flights"),
        ("other-project.raw.flights", "other-project.raw.flights"),
    ],
)
def test_a_table_is_named_with_or_without_its_dataset(
    tmp_path: pathlib.Path, name: str, expected: str
) -> None:
    found = clients(tmp_path).reference(name)
    assert f"{found.project}.{found.dataset_id}.{found.table_id}" == expected


def test_two_jobs_never_have_one_name(tmp_path: pathlib.Path) -> None:
    one, other = clients(tmp_path), clients(tmp_path, "serving")
    names = [
        one.job_id("read", "SELECT 1"),
        one.job_id("read", "SELECT 1"),
        other.job_id("read", "SELECT 1"),
        one.job_id("load"),
    ]
    assert len(set(names)) == 4
    # And the same run asks for the same under the same name.
    assert clients(tmp_path).job_id("read", "SELECT 1") == names[0]
    assert all(RUN in name for name in names)


def test_labels_are_what_bigquery_allows(tmp_path: pathlib.Path) -> None:
    labels = clients(tmp_path).labels
    assert labels["tmg_run"] == RUN
    assert labels["tmg_env"] == "dev"
    assert labels["tmg_transfer"].startswith("fact_flight_äöxxx")
    assert len(labels["tmg_transfer"]) == 63


@pytest.mark.parametrize("staging", [None, "lake/staging", "s3://bucket/x", "gs://"])
def test_a_staging_folder_is_in_cloud_storage(tmp_path: pathlib.Path, staging: str | None) -> None:
    with pytest.raises(errors.ConfigError):
        _ = clients(tmp_path, staging=staging).staging


def test_the_staging_folder_has_no_slash_at_its_end(tmp_path: pathlib.Path) -> None:
    assert clients(tmp_path, staging="gs://bucket/sid/").staging == "gs://bucket/sid"
