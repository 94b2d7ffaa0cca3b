"""Secrets of Secret Manager in a config, on a server that answers as its reference says."""

import base64
import http.server
import json
import threading

import google_crc32c
import pytest

from tests.config.conftest import Load
from tmg_etl import errors
from tmg_etl.storage import google, secret

NAME = "projects/acme/secrets/db-password"
TEXT = 'connections: {s: {type: mysql, url: "mysql://sid:${secret:%s}@h/d"}}'


class SecretManager:
    """Versions by their name, and what is answered instead."""

    def __init__(self):
        self.held = {}
        self.answers = []
        self.asked = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format, *args):
                pass

            def do_GET(self):
                fake.asked.append(self.path)
                status, body = fake.answer(self.path)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path):
        if self.answers:
            return self.answers.pop(0)
        name = path.removeprefix("/v1/").removesuffix(":access")
        if name not in self.held:
            return refusal(404, f"Secret [{name}] not found or has no versions.", "NOT_FOUND")
        data = self.held[name]
        payload = {
            "data": base64.b64encode(data).decode(),
            "dataCrc32c": str(google_crc32c.value(data)),
        }
        return 200, {"name": name, "payload": payload}


def refusal(code, message, status):
    return code, {"error": {"code": code, "message": message, "status": status}}


@pytest.fixture
def manager(monkeypatch):
    # Logged in as nobody: the name of an emulator, of which nothing is asked here.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(google, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(secret, "DEADLINE_S", 0.5)
    found = SecretManager()
    monkeypatch.setattr(secret, "ENDPOINT", found.url)
    monkeypatch.setattr(secret, "REGIONAL", found.url + "/{location}")
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_latest_version_is_read_once(manager, load: Load):
    manager.held[f"{NAME}/versions/latest"] = b"p@ss\n"
    text = TEXT % NAME
    config = load(f'{text}\nledger: "postgresql://x:${{secret:{NAME}}}@h/d"')
    assert config.connections["s"].url == "mysql://sid:p%40ss@h/d"
    assert config.ledger == "postgresql://x:p%40ss@h/d"
    assert config.redact("it is p@ss") == "it is ***"
    assert manager.asked == [f"/v1/{NAME}/versions/latest:access"]


def test_named_version_and_region(manager, load: Load):
    manager.held[f"{NAME}/versions/7"] = b"old"
    assert "old" in load(TEXT % f"{NAME}/versions/7").connections["s"].url
    name = "projects/acme/locations/europe-west1/secrets/x"
    manager.held[f"/europe-west1/v1/{name}/versions/latest"] = b"here"
    assert "here" in load(TEXT % name).connections["s"].url
    assert manager.asked[-1] == f"/europe-west1/v1/{name}/versions/latest:access"


def test_missing_secret_takes_the_default_or_is_an_error(manager, load: Load):
    assert "//sid:local@" in load(TEXT % f"{NAME}:-local").connections["s"].url
    with pytest.raises(errors.ConfigError) as caught:
        load(TEXT % NAME)
    assert str(caught.value) == (
        f"config.yaml:1:connections.s.url: found no secret {NAME} in Secret Manager; "
        "check project and name, and that it has an enabled version"
    )


def test_missing_right_is_named(manager, load: Load):
    message = f"Permission 'secretmanager.versions.access' denied for resource '{NAME}/versions/1'"
    manager.answers = [refusal(403, message, "PERMISSION_DENIED")]
    with pytest.raises(errors.AccessError) as caught:
        load(TEXT % NAME)
    assert str(caught.value) == (
        f"config.yaml:1:connections.s.url: secret {NAME}: this login does not have the permission "
        "secretmanager.versions.access; grant roles/secretmanager.secretAccessor to it, or use "
        "other credentials"
    )


def test_disabled_version(manager, load: Load):
    message = f"Secret Version [{NAME}/versions/1] is in DISABLED state."
    manager.answers = [refusal(400, message, "FAILED_PRECONDITION")]
    with pytest.raises(errors.ConfigError, match="is in DISABLED state.; enable the version, or"):
        load(TEXT % NAME)


def test_hiccup_is_tried_again_and_an_outage_is_temporary(manager, load: Load):
    manager.held[f"{NAME}/versions/latest"] = b"x"
    manager.answers = [refusal(503, "The service is unavailable.", "UNAVAILABLE")]
    assert load(TEXT % NAME)
    manager.answers = [refusal(503, "The service is unavailable.", "UNAVAILABLE")] * 10_000
    with pytest.raises(errors.TemporaryError, match=f"secret {NAME}: The service is unavailable"):
        load(TEXT % NAME)


@pytest.mark.parametrize(
    "payload", [{"data": "eA==", "dataCrc32c": "1"}, {"data": "no base64!", "dataCrc32c": "1"}]
)
def test_damaged_bytes_are_not_used(manager, load: Load, payload):
    manager.answers = [(200, {"payload": payload})]
    with pytest.raises(errors.TemporaryError, match="do not have the checksum"):
        load(TEXT % NAME)


def test_bytes_that_are_no_text(manager, load: Load):
    manager.held[f"{NAME}/versions/latest"] = b"\xff"
    with pytest.raises(errors.ConfigError, match="found bytes that are not UTF-8 text in the sec"):
        load(TEXT % NAME)


@pytest.mark.parametrize(
    "name",
    ["projects/acme", "projects/a/secrets/", "projects//secrets/x", "projects/a/secrets/x/y"],
)
def test_other_names_with_slashes_are_no_references(load: Load, name):
    with pytest.raises(errors.ConfigError, match="that is no reference"):
        load(TEXT % name)
