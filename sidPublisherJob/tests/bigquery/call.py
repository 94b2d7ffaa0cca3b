"""A call of the REST API on its way through the proxy, and the HTTP around it."""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import json
import re
import threading
import urllib.parse
from typing import Any, Protocol

from tests.bigquery import reference, refusal

HOST = "127.0.0.1"
_PREFIX = re.compile(r"(/resumable)?(/upload)?/bigquery/v2")
#: Headers between two neighbours only.
_HOPS = frozenset({"connection", "transfer-encoding", "content-length", "server", "date"})


@dataclasses.dataclass
class Call:
    """One request.

    Attributes:
        name: of the method, such as ``jobs.insert``.
        place: path parameters.
        query: query parameters.
        headers: with names in lower case.
        body: JSON part of the body, empty where there is none.
        raw: the whole body.
    """

    name: str
    place: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    verb: str
    target: str

    @property
    def config(self) -> dict[str, Any]:
        """Return a job's configuration."""
        found: dict[str, Any] = self.body.get("configuration", {})
        return found


@dataclasses.dataclass
class Answer:
    """What is sent back."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON of an answer."""
        found: dict[str, Any] = json.loads(self.raw or b"{}")
        return found

    def with_body(self, body: dict[str, Any]) -> Answer:
        return dataclasses.replace(self, raw=json.dumps(body).encode())


def answer(status: int, raw: bytes) -> Answer:
    """Return an answer of JSON."""
    return Answer(status, {"Content-Type": "application/json; charset=UTF-8"}, raw)


def refused(reason: str, message: str | None = None) -> Answer:
    """Return a refusal as Google words it."""
    return answer(*refusal.body(reason, message))


class LostError(Exception):
    """The connection ends instead of an answer."""


class Proxy(Protocol):
    """What answers."""

    faults: list[str]

    def answer(self, call: Call, method: reference.Method) -> Answer: ...

    def forward(self, call: Call) -> Answer: ...


def forward(call: Call, port: int) -> Answer:
    """Have a server on this machine answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        # An emulator's own etags are others: they miss what SQL changed.
        headers = {k: v for k, v in call.headers.items() if k != "if-match"}
        connection.request(call.verb, call.target, call.raw, headers)
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    headers = {k: v for k, v in response.getheaders() if k.lower() not in _HOPS}
    return Answer(response.status, headers, raw)


def serve(proxy: Proxy) -> http.server.ThreadingHTTPServer:
    """Start a server in a thread."""
    server = http.server.ThreadingHTTPServer((HOST, 0), _Handler)
    server.daemon_threads = True
    server.proxy = proxy  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        pass

    def _do(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {key.lower(): value for key, value in self.headers.items()}
        parts = urllib.parse.urlsplit(self.path)
        prefix = _PREFIX.match(parts.path)
        assert prefix, self.path
        path = urllib.parse.unquote(parts.path[prefix.end() :])
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        try:
            found = reference.method_of(self.command, path)
            body = _json_of(raw, headers)
            if found is None:
                # Only the continuation of an upload has no method of its own.
                call = Call("upload", {}, query, headers, {}, raw, self.command, self.path)
                if "upload_id" not in query:
                    proxy.faults.append(f"the reference has no method {self.command} {path}")
                answer = proxy.forward(call)
            else:
                method, place = found
                call = Call(method.name, place, query, headers, body, raw, self.command, self.path)
                answer = proxy.answer(call, method)
        except LostError:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for key, value in {**answer.headers, "Content-Length": str(len(answer.raw))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(answer.raw)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do


def _json_of(raw: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Return the JSON of a body, which for an upload is its first part."""
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/"):
        raw = raw.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
    elif not kind.startswith("application/json"):
        return {}
    found: dict[str, Any] = json.loads(raw or b"{}")
    return found
