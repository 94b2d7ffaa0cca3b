"""Cloud Storage in process, with the rules of its JSON API enforced, for the part that is used.

Other emulators accept any precondition and know no pages; this one is for what relies on them. It
can be told to fail: `Server.fail` has requests refused, `kept_of_piece` has it keep a part of the
next piece of an upload, `broken_downloads` cuts so many downloads in the middle, `served` has it
send other bytes than it holds.
"""

from __future__ import annotations

import dataclasses
import datetime
import http.server
import itertools
import threading
import urllib.parse
from collections.abc import Callable

from tests.storage import gcs_api


@dataclasses.dataclass
class Fault:
    """What happens to requests that `matches` accepts: `times` of them, then no more."""

    matches: Callable[[gcs_api.Request], bool]
    status: int
    body: bytes
    times: int
    headers: dict[str, str]
    after: bool  # the request is carried out first: its answer is lost


class Server:
    """The fake. A context manager; `url` is what STORAGE_EMULATOR_HOST is set to."""

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, gcs_api.Object]] = {name: {} for name in buckets}
        self.sessions: dict[str, gcs_api.Session] = {}
        self.requests: list[gcs_api.Request] = []
        self.faults: list[Fault] = []
        self.page = 1000
        self.kept_of_piece: int | None = None
        self.broken_downloads = 0
        self.checks_hashes = True
        self.served: bytes | None = None
        self.token_status, self.token_body = 200, {"access_token": "t", "expires_in": 3600}
        self.lock = threading.RLock()
        self.generations = itertools.count(1_700_000_000_000_001)
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), gcs_api.handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fail(
        self,
        status: int,
        *,
        reason: str = "backendError",
        message: str = "Backend Error",
        method: str | None = None,
        containing: str = "",
        times: int = 1,
        after: bool = False,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Refuse the next `times` requests of a method whose path and query contain a text.

        Status 0 closes the connection without an answer. `after`: the request has its effect and
        only the answer is lost.
        """

        def matches(request: gcs_api.Request) -> bool:
            where = f"{request.path}?{urllib.parse.urlencode(request.query)}"
            return (method is None or request.method == method) and containing in where

        body = gcs_api.error_body(status, message, reason) if body is None else body
        self.faults.append(Fault(matches, status, body, times, headers or {}, after))

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        metadata: dict[str, str] | None = None,
        encoding: str | None = None,
    ) -> gcs_api.Object:
        """Make an object, past the API."""
        with self.lock:
            made = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            found = gcs_api.Object(
                name,
                data,
                next(self.generations),
                metadata or {},
                encoding,
                made.replace("+00:00", "Z"),
            )
            self.buckets[bucket][name] = found
            return found

    def names(self, bucket: str) -> list[str]:
        """The names of the objects in a bucket, in the API's order."""
        return sorted(self.buckets[bucket], key=lambda name: name.encode())

    def count(self, method: str, containing: str = "") -> int:
        """How many requests of a method had a text in their path."""
        return sum(r.method == method and containing in r.path for r in self.requests)
