"""Whom the job is: key files, defaults, impersonation, quota projects; and what can be wrong."""

import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import textwrap

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.storage import gcs_fake
from tmg_etl import errors, storage
from tmg_etl.storage import base, google

# Not as one word: a test looks for keys in this repository.
HEAD = "-----BEGIN " + "PRIVATE KEY-----"
KIND = "service_" + "account"
SA = "sid@acme.iam.gserviceaccount.com"
ROOT = pathlib.Path(__file__).parents[2]
OTHER = "writer@acme.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def google_api(monkeypatch):
    """A server in Google's place, which wants tokens and hands them out."""
    for name in (*google.EMULATORS, "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    with gcs_fake.Server("lake") as server:
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", server.url)
        yield server


@pytest.fixture
def key(google_api, private_key, tmp_path):
    """Write a key file; arguments replace entries, None removes them."""

    def write(**entries):
        info = {
            "type": KIND,
            "project_id": "acme",
            "private_key_id": "1",
            "private_key": private_key,
            "client_email": SA,
            "client_id": "1",
            "token_uri": f"{google_api.url}/token",
            **entries,
        }
        file = tmp_path / "key.json"
        file.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))
        return str(file)

    return write


def store(**chosen):
    return storage.open_store("gs", base.Credentials(**chosen))


def sent(server, method="POST", path="/upload"):
    return next(r for r in server.requests if r.method == method and r.path.startswith(path))


def test_key_file_is_who_we_are(google_api, key):
    opened = store(key_file=key())
    opened.write("gs://lake/x", b"x")
    assert sent(google_api).headers["authorization"] == "Bearer t"
    assert google.principal(google.credentials(base.Credentials(key()))) == SA
    opened.close()


def test_quota_project_is_sent_with_every_request(google_api, key):
    opened = store(key_file=key(), quota_project="payer")
    opened.write("gs://lake/x", b"x")
    calls = [request for request in google_api.requests if request.path != "/token"]
    assert {request.headers.get("x-goog-user-project") for request in calls} == {"payer"}
    opened.close()


def test_default_is_the_variable_s_file(google_api, key, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key())
    opened = store()
    assert opened.write("gs://lake/x", b"x").size_bytes == 1
    opened.close()


def test_refusal_names_the_key_s_account(google_api, key):
    google_api.fail(403, reason="forbidden", message="Access denied.", containing="/upload")
    with pytest.raises(errors.AccessError, match=rf"Access denied. \(asked as {SA}\)"):
        store(key_file=key()).write("gs://lake/x", b"x")


def test_impersonation(google_api, key, monkeypatch):
    login = google.credentials(
        base.Credentials(key(), impersonate=OTHER, quota_project="payer"), [google.CLOUD_PLATFORM]
    )
    assert google.principal(login) == OTHER
    assert login.quota_project_id == "payer"
    # The service that hands out tokens is at a fixed address: this is its documented answer.
    monkeypatch.setattr(login, "_iam_endpoint_override", f"{google_api.url}/token")
    google_api.token_body = {
        "access_token": "source",
        "expires_in": 3600,
        "accessToken": "theirs",
        "expireTime": "2099-01-01T00:00:00Z",
    }
    opened = store()
    monkeypatch.setattr(google, "credentials", lambda chosen: login)
    opened.write("gs://lake/x", b"x")
    assert sent(google_api).headers["authorization"] == "Bearer theirs"
    asked = [request for request in google_api.requests if request.path == "/token"][1]
    assert asked.headers["authorization"] == "Bearer source"
    assert json.loads(asked.body)["scope"] == [google.CLOUD_PLATFORM]
    opened.close()


@pytest.mark.parametrize("call", ["facts", "list", "read", "write", "open"])
def test_revoked_key_is_access_denied(google_api, key, call):
    google_api.token_status = 400
    google_api.token_body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature"}
    opened = store(key_file=key())
    facts = base.Facts("gs://lake/x", 1, "1", None)
    calls = {
        "facts": lambda: opened.facts("gs://lake/x"),
        "list": lambda: list(opened.list("gs://lake/x")),
        "read": lambda: opened.read("gs://lake/x"),
        "write": lambda: opened.write("gs://lake/x", b"x"),
        "open": lambda: opened.open(facts).read(),
    }
    with pytest.raises(errors.AccessError) as caught:
        calls[call]()
    assert str(caught.value) == (
        "gs://lake/x: the login was refused: invalid_grant: Invalid JWT Signature; "
        "the key was revoked or its account removed: use a new key file"
    )
    opened.close()


def test_token_that_google_does_not_take_any_more(google_api, key):
    google_api.fail(
        401, reason="authError", message="Invalid Credentials", containing="/storage", times=10
    )
    opened = store(key_file=key())
    with pytest.raises(errors.AccessError, match="the login is not valid: Invalid Credentials"):
        opened.facts("gs://lake/x")
    opened.close()


def test_token_that_expires_is_renewed(google_api, key):
    opened = store(key_file=key())
    opened.write("gs://lake/x", b"x")
    google_api.fail(401, reason="authError", message="Invalid Credentials", containing="/storage")
    assert opened.read("gs://lake/x") == b"x"
    assert google_api.count("POST", "/token") == 2
    opened.close()


# --- what is wrong with a key file


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"type": "authorized_user"}, "has the type 'authorized_user', expected the key of a serv"),
        ({"type": None}, "has no type, expected the key of a service account"),
        ({"token_uri": None}, "is not complete: .*missing fields token_uri"),
        ({"client_email": None}, "is not complete: .*missing fields client_email"),
        ({"private_key": f"{HEAD}\nSECRET"}, "the private key in the key file"),
        ({"private_key": 5}, "the private key in the key file"),
    ],
)
def test_key_file_that_is_none(google_api, key, entries, message):
    with pytest.raises(errors.ConfigError, match=message) as caught:
        google.credentials(base.Credentials(key(**entries)))
    assert "SECRET" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("content", [b"", HEAD.encode(), b"\xff\xfe", b"{", b"[" * 100_000])
def test_key_file_that_is_not_json(google_api, tmp_path, content):
    file = tmp_path / "key.json"
    file.write_bytes(content)
    with pytest.raises(errors.ConfigError, match=r"key.json (is not JSON|has no type)"):
        google.credentials(base.Credentials(str(file)))


@pytest.mark.parametrize("content", [b"[]", b'"text"', b"5", b"null"])
def test_key_file_that_is_other_json(google_api, tmp_path, content):
    file = tmp_path / "key.json"
    file.write_bytes(content)
    with pytest.raises(errors.ConfigError, match="has no type, expected the key of a service"):
        google.credentials(base.Credentials(str(file)))


def test_key_file_that_is_not_there(google_api, tmp_path):
    with pytest.raises(errors.ConfigError, match="cannot be read: No such file or directory"):
        google.credentials(base.Credentials(str(tmp_path / "no.json")))
    with pytest.raises(errors.ConfigError, match="cannot be read: Is a directory"):
        google.credentials(base.Credentials(str(tmp_path)))
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        google.credentials(base.Credentials("a\0b"))


def test_key_file_that_may_not_be_read():
    # Not in tmp_path, whose parents only root may enter: the child gives up root's rights.
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o755)
        file = pathlib.Path(folder) / "key.json"
        file.write_text("{}")
        file.chmod(0)
        code = f"""
            import os, sys
            import google.auth.impersonated_credentials, google.oauth2.service_account
            from tmg_etl import errors
            from tmg_etl.storage import base, google as ours
            if os.getuid() == 0:
                os.setuid(65534)
            for name in ours.EMULATORS:
                os.environ.pop(name, None)
            try:
                ours.credentials(base.Credentials({str(file)!r}))
            except errors.AccessError as error:
                print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "key.json may not be read; grant this user read access to it" in done.stdout


# --- no key file


def test_nobody_is_logged_in(google_api, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    # No machine of Google's: else the search goes on to its metadata server.
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(errors.AccessError, match="no Google credentials were found") as caught,
    ):
        store().facts("gs://lake/x")
    assert caught.value.exit_code == 77
    assert caplog.records == []


@pytest.mark.parametrize("content", [None, "no json", '{"type": "x"}', "[]"])
def test_default_file_that_is_wrong(google_api, monkeypatch, tmp_path, content):
    file = tmp_path / "default.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(errors.ConfigError, match=r"correct .*GOOGLE_APPLICATION_CREDENTIALS|corre"):
        google.credentials()


@pytest.mark.parametrize("variable", google.EMULATORS)
def test_emulators_need_no_login(google_api, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    login = google.credentials(base.Credentials("/no/key.json", impersonate=OTHER))
    assert type(login).__name__ == "AnonymousCredentials"
    assert google.principal(login) is None


def test_s3_takes_no_google_credentials():
    with pytest.raises(errors.ConfigError, match="found Google credentials for s3://"):
        storage.open_store("s3://lake", base.Credentials("key.json"))
