"""Cloud Storage's JSON API as its reference documents it, over the objects of a `gcs_fake.Server`.

Source: https://cloud.google.com/storage/docs/json_api/v1,
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import http.server
import json
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

import google_crc32c

if TYPE_CHECKING:
    from tests.storage import gcs_fake

_PATHS = (
    (re.compile(r"/(?:download|upload|resumable)?/?storage/v1/b/([^/]+)/o/?$"), "objects"),
    (re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)$"), "object"),
    (re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)$"), "rewrite"),
    (re.compile(r"/storage/v1/b$"), "buckets"),
    (re.compile(r"/storage/v1/b/([^/]+)$"), "bucket"),
    (re.compile(r"/token$"), "token"),
)


@dataclasses.dataclass
class Object:
    """One generation of an object."""

    name: str
    data: bytes
    generation: int
    metadata: dict[str, str]
    encoding: str | None = None
    made: str = ""


@dataclasses.dataclass
class Session:
    """One resumable upload."""

    bucket: str
    name: str
    query: dict[str, str]
    resource: dict[str, Any]
    data: bytearray = dataclasses.field(default_factory=bytearray)
    done: Object | None = None


@dataclasses.dataclass
class Request:
    """One request as it was received."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """An answer that is not the result."""

    def __init__(self, status: int, message: str, reason: str, *, plain: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.plain = status, message, reason, plain


def error_body(status: int, message: str, reason: str) -> bytes:
    """The documented body of a JSON API error."""
    item = {"message": message, "domain": "global", "reason": reason}
    return json.dumps({"error": {"code": status, "message": message, "errors": [item]}}).encode()


def _resource(bucket: str, found: Object) -> dict[str, Any]:
    checksum = google_crc32c.value(found.data).to_bytes(4, "big")
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{found.name}/{found.generation}",
        "name": found.name,
        "bucket": bucket,
        "generation": str(found.generation),
        "metageneration": "1",
        "size": str(len(found.data)),
        "crc32c": base64.b64encode(checksum).decode(),
        "md5Hash": base64.b64encode(hashlib.md5(found.data).digest()).decode(),
        "timeCreated": found.made,
        "updated": found.made,
        "contentType": "application/octet-stream",
        **({"metadata": found.metadata} if found.metadata else {}),
        **({"contentEncoding": found.encoding} if found.encoding else {}),
    }


def handler(fake: gcs_fake.Server) -> type[http.server.BaseHTTPRequestHandler]:
    """Return what serves the requests to a fake."""

    class Handler(_Handler):
        server_state = fake

    return Handler


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer are two packets; the second would wait 40 ms for the first.
    disable_nagle_algorithm = True
    server_state: gcs_fake.Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        fake = self.server_state
        split = urllib.parse.urlsplit(self.path)
        query = {key: item[-1] for key, item in urllib.parse.parse_qs(split.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, split.path, query, headers, body)
        with fake.lock:
            fake.requests.append(request)
            fault = next((item for item in fake.faults if item.matches(request)), None)
            if fault:
                fault.times -= 1
                if fault.times <= 0:
                    fake.faults.remove(fault)
        if fault and not fault.after:
            self._answer_fault(fault)
            return
        try:
            with fake.lock:
                status, extra, data = self._route(request)
        except Refused as refused:
            status, extra = refused.status, {}
            plain = refused.plain
            data = (
                refused.message.encode()
                if plain
                else error_body(status, refused.message, refused.reason)
            )
        if fault:
            self._answer_fault(fault)
            return
        self._send(status, extra, data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _answer_fault(self, fault: gcs_fake.Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            self.connection.close()
            return
        self._send(fault.status, fault.headers, fault.body)

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        fake = self.server_state
        cut = False
        if status in (200, 206) and "x-goog-generation" in headers:
            with fake.lock:
                cut = fake.broken_downloads > 0
                fake.broken_downloads -= cut
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if cut:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(data)

    def _route(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        for pattern, kind in _PATHS:
            match = pattern.match(request.path)
            if match:
                parts = [urllib.parse.unquote(item) for item in match.groups()]
                result: tuple[int, dict[str, str], bytes] = getattr(self, f"_{kind}")(
                    request, *parts
                )
                return result
        raise Refused(404, f"Not Found: {request.path}", "notFound")

    def _bucket_of(self, name: str) -> dict[str, Object]:
        found = self.server_state.buckets.get(name)
        if found is None:
            raise Refused(404, "The specified bucket does not exist.", "notFound")
        return found

    def _token(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        return self.server_state.token_status, {}, json.dumps(self.server_state.token_body).encode()

    def _buckets(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        items = [{"name": name} for name in sorted(self.server_state.buckets)]
        return 200, {}, json.dumps({"items": items}).encode()

    def _bucket(self, request: Request, bucket: str) -> tuple[int, dict[str, str], bytes]:
        self._bucket_of(bucket)
        return 200, {}, json.dumps({"name": bucket, "location": "EU"}).encode()

    def _objects(self, request: Request, bucket: str) -> tuple[int, dict[str, str], bytes]:
        if request.path.startswith(("/upload", "/resumable")):
            return self._upload(request, bucket)
        found = self._bucket_of(bucket)
        query = request.query
        prefix, after = query.get("prefix", ""), query.get("pageToken", "")
        names = [n for n in self.server_state.names(bucket) if n.startswith(prefix)]
        names = [n for n in names if n.encode() > after.encode()]
        size = min(int(query.get("maxResults", 1000)), self.server_state.page)
        shown, rest = names[:size], names[size:]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if shown:
            answer["items"] = [_resource(bucket, found[name]) for name in shown]
        if rest:
            answer["nextPageToken"] = shown[-1]
        return 200, {}, json.dumps(answer).encode()

    def _upload(self, request: Request, bucket: str) -> tuple[int, dict[str, str], bytes]:
        fake, query = self.server_state, request.query
        if "upload_id" in query:
            return self._session(request, query["upload_id"])
        self._bucket_of(bucket)
        if query.get("uploadType") == "multipart":
            return self._multipart(request, bucket)
        assert query.get("uploadType") == "resumable", query
        resource = json.loads(request.body or b"{}")
        name = resource.get("name") or query["name"]
        self._check(bucket, name, query)
        key = f"session{next(fake.generations)}"
        fake.sessions[key] = Session(bucket, name, query, resource)
        place = f"{fake.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        return 200, {"Location": place, "X-GUploader-UploadID": key}, b""

    def _multipart(self, request: Request, bucket: str) -> tuple[int, dict[str, str], bytes]:
        mark = re.search(r'boundary="?([^"]+)"?', request.headers["content-type"])
        assert mark
        parts = request.body.split(b"--" + mark[1].encode())
        resource = json.loads(parts[1].split(b"\r\n\r\n", 1)[1])
        data = parts[2].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        self._check(bucket, resource["name"], request.query)
        made = self.server_state.put(bucket, resource["name"], data)
        return 200, {}, json.dumps(_resource(bucket, made)).encode()

    def _session(self, request: Request, key: str) -> tuple[int, dict[str, str], bytes]:
        fake = self.server_state
        session = fake.sessions.get(key)
        if session is None:
            raise Refused(404, "No such upload session", "notFound", plain=True)
        if request.method == "DELETE":
            del fake.sessions[key]
            return 499, {}, b""
        if session.done:
            return 200, {}, json.dumps(_resource(session.bucket, session.done)).encode()
        span = request.headers.get("content-range", "")
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", span)
        assert match, span
        body, total = request.body, None if match[3] == "*" else int(match[3])
        if match[1] is not None:
            start = int(match[1])
            assert int(match[2]) - start + 1 == len(body), (span, len(body))
            if start > len(session.data):
                raise Refused(503, "Service Unavailable", "backendError", plain=True)
            assert total is not None or len(body) % (256 * 1024) == 0, span
            fresh = body[len(session.data) - start :]
            if fake.kept_of_piece is not None:
                fresh, total = fresh[: fake.kept_of_piece], None
                fake.kept_of_piece = None
            session.data += fresh
        if total is None or len(session.data) < total:
            reached = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return 308, reached, b""
        return self._made(request, session)

    def _made(self, request: Request, session: Session) -> tuple[int, dict[str, str], bytes]:
        data = bytes(session.data)
        wanted = request.headers.get("x-goog-hash", "").removeprefix("crc32c=")
        found = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        if self.server_state.checks_hashes and wanted and wanted != found:
            message = f"Provided CRC32C {wanted!r} doesn't match calculated CRC32C {found!r}."
            raise Refused(400, message, "invalid")
        self._check(session.bucket, session.name, session.query)
        metadata = session.resource.get("metadata")
        session.done = self.server_state.put(session.bucket, session.name, data, metadata=metadata)
        return 200, {}, json.dumps(_resource(session.bucket, session.done)).encode()

    def _check(self, bucket: str, name: str, query: dict[str, str]) -> None:
        wanted = query.get("ifGenerationMatch")
        if wanted is None:
            return
        there = self._bucket_of(bucket).get(name)
        if int(wanted) != (there.generation if there else 0):
            message = "At least one of the pre-conditions you specified did not hold."
            raise Refused(412, message, "conditionNotMet")

    def _object(
        self, request: Request, bucket: str, name: str
    ) -> tuple[int, dict[str, str], bytes]:
        objects, query = self._bucket_of(bucket), request.query
        found = objects.get(name)
        wanted = query.get("generation")
        is_media = query.get("alt") == "media"
        if found is None or (wanted and int(wanted) != found.generation):
            raise Refused(404, f"No such object: {bucket}/{name}", "notFound", plain=is_media)
        self._check(bucket, name, query)
        if request.method == "DELETE":
            del objects[name]
            return 204, {}, b""
        if not is_media:
            return 200, {}, json.dumps(_resource(bucket, found)).encode()
        return self._media(request, found)

    def _media(self, request: Request, found: Object) -> tuple[int, dict[str, str], bytes]:
        served = self.server_state.served
        data, span = found.data if served is None else served, request.headers.get("range")
        headers = {"x-goog-generation": str(found.generation)}
        if found.encoding:
            headers["Content-Encoding"] = found.encoding
        if span is None:
            checksum = base64.b64encode(google_crc32c.value(found.data).to_bytes(4, "big")).decode()
            return 200, {**headers, "x-goog-hash": f"crc32c={checksum}"}, data
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", span)
        assert match, span
        start, end = int(match[1]), int(match[2] or len(data)) + 1
        if start >= len(data):
            raise Refused(
                416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable"
            )
        part = data[start:end]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
        return 206, headers, part

    def _rewrite(
        self, request: Request, bucket: str, name: str, target: str, copy: str
    ) -> tuple[int, dict[str, str], bytes]:
        found = self._bucket_of(bucket).get(name)
        self._bucket_of(target)
        wanted = request.query.get("sourceGeneration")
        if found is None or (wanted and int(wanted) != found.generation):
            raise Refused(404, f"No such object: {bucket}/{name}", "notFound")
        self._check(target, copy, request.query)
        size = len(found.data)
        # Copies between places take several calls, which a token joins.
        if size > 2**20 and "rewriteToken" not in request.query:
            answer: dict[str, Any] = {"done": False, "rewriteToken": "more"}
            answer |= {"totalBytesRewritten": str(2**20), "objectSize": str(size)}
            return 200, {}, json.dumps(answer).encode()
        made = self.server_state.put(target, copy, found.data, metadata=found.metadata)
        answer = {"done": True, "totalBytesRewritten": str(size), "objectSize": str(size)}
        return 200, {}, json.dumps({**answer, "resource": _resource(target, made)}).encode()
