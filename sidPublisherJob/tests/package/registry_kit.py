"""A real container registry on this machine, and a real server of Cloud Storage's interface."""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import socket
import subprocess
import time
import types
import urllib.request
from collections.abc import Iterator

import gcp_storage_emulator.server as storage_server
import pytest

from tests.package import image_kit

CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def registry(folder: pathlib.Path) -> Iterator[str]:
    """Run Docker's own registry and yield its host and port."""
    port = free_port()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "data", port=port))
    command = [image_kit.find("docker-registry"), "serve", str(config)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/"),
            ):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


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
