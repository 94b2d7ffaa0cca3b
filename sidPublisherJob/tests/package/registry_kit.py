"""A real container registry on this machine, and a real server of Cloud Storage's interface."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import json
import pathlib
import socket
import subprocess
import threading
import time
import types
import urllib.parse
import urllib.request
from collections.abc import Iterator

import gcp_storage_emulator.server as storage_server
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.package import image_kit

CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}"""
USER, PASSWORD = "robot", "hush-word"
HASHED = "robot:$2y$05$abcdefghijklmnopqrstuu/416W5aLAo6vq7I.He1.99krXWReHdi"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def registry(folder: pathlib.Path, auth: str = "") -> Iterator[str]:
    """Run Docker's own registry and yield its host and port.

    Args:
        folder: for its files.
        auth: how it wants to know who asks, as its config says it; nothing means everybody may.
    """
    port = free_port()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "data", port=port, auth=auth))
    command = [image_kit.find("docker-registry"), "serve", str(config)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port)),
            ):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def passwords(folder: pathlib.Path) -> str:
    """Return the setting of a registry that asks for a name and a password."""
    (folder / "passwords").write_text(f"{HASHED}\n")
    return f"auth: {{htpasswd: {{realm: sid, path: {folder / 'passwords'}}}}}\n"


@contextlib.contextmanager
def tokens(folder: pathlib.Path) -> Iterator[str]:
    """Serve tokens to who knows the password; yield the setting of a registry that wants them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - hour, now + hour)
    certificate = made.sign(key, hashes.SHA256())
    (folder / "authority.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def plain(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != right:
                self.send_error(401)
                return
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            kind, path, actions = asked["scope"].split(":")
            access = [{"type": kind, "name": path, "actions": actions.split(",")}]
            begun = int(time.time())
            claims = {"iss": "tests", "aud": asked["service"], "access": access}
            claims |= {"sub": USER, "iat": begun, "nbf": begun - 9, "exp": begun + 60}
            parts = [{"typ": "JWT", "alg": "RS256", "x5c": [der]}, claims]
            body = ".".join(plain(json.dumps(part).encode()) for part in parts)
            signed = plain(key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"token": f"{body}.{signed}"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/token"
    bundle = folder / "authority.pem"
    try:
        yield (
            f"auth: {{token: {{realm: '{url}', service: sid, issuer: tests, "
            f"rootcertbundle: {bundle}}}}}\n"
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def storage(patch: pytest.MonkeyPatch, *buckets: str) -> Iterator[str]:
    """Serve Cloud Storage's interface from memory, for our clients and our children's."""
    # One thread for each request: the emulator's own server waits for a reader that has gone.
    threaded = types.SimpleNamespace(
        HTTPServer=http.server.ThreadingHTTPServer,
        BaseHTTPRequestHandler=http.server.BaseHTTPRequestHandler,
    )
    patch.setattr(storage_server, "server", threaded)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = storage_server.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        for bucket in buckets:
            request = urllib.request.Request(
                f"{url}/storage/v1/b?project=test",
                data=f'{{"name": "{bucket}"}}'.encode(),
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request).close()
        yield url
    finally:
        server.stop()
