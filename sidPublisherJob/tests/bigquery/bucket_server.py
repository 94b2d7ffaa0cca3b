"""Cloud Storage's JSON API over a folder, so that an emulator of BigQuery can share its objects.

`gs://bucket/name` is the file `bucket/name` of the folder; a file that another process puts there
is an object too. Generations and their preconditions, ranges, paging, resumable uploads and
checksums are kept as the API reference says; versions, ACLs and lifecycles are unknown here.

Source: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import http.server
import json
import pathlib
import re
import threading
import urllib.parse
from typing import Any, Self

from tests.bigquery import bucket as bucket_module

HOST = "127.0.0.1"


class BucketServer:
    """The API on 127.0.0.1, in a thread.

    Args:
        root: folder whose subfolders are the buckets.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.folder = bucket_module.Folder(root)
        self._http = http.server.ThreadingHTTPServer((HOST, 0), _Handler)
        self._http.daemon_threads = True
        self._http.folder = self.folder  # type: ignore[attr-defined]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """For `STORAGE_EMULATOR_HOST`."""
        return f"http://{HOST}:{self._http.server_port}"

    def create(self, bucket: str, location: str = "US") -> pathlib.Path:
        """Make a bucket and return its folder."""
        path = self.folder.root / bucket
        path.mkdir(parents=True)
        self.folder.locations[bucket] = location
        return path

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Routes of the API. Names are percent-encoded in the path, slashes included."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    @property
    def folder(self) -> bucket_module.Folder:
        return self.server.folder  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        path = [urllib.parse.unquote(part) for part in parts.path.strip("/").split("/")]
        try:
            try:
                self._dispatch(path, query)
            finally:
                self._drain()
        except bucket_module.Refusal as refusal:
            self._json(refusal.status, refusal.body)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._start
        raise AttributeError(name)

    def _start(self) -> None:
        self._left = int(self.headers.get("Content-Length", 0))
        self._is_chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        self._route()

    def _dispatch(self, path: list[str], query: dict[str, str]) -> None:
        match (self.command, path):
            case "POST", ["upload", "storage", "v1", "b", bucket, "o"]:
                self._upload(bucket, query)
            case "PUT", ["upload", "storage", "v1", "b", bucket, "o"]:
                self._continue(query["upload_id"])
            case "DELETE", ["upload", "storage", "v1", "b", bucket, "o"]:
                self.folder.uploads.pop(query["upload_id"])["path"].unlink(missing_ok=True)
                self._json(499, {})
            case "POST", ["storage", "v1", "b"]:
                given = json.loads(self._read())
                (self.folder.root / given["name"]).mkdir()
                self.folder.locations[given["name"]] = given.get("location", "US")
                self._json(200, self._bucket(given["name"]))
            case "GET", ["storage", "v1", "b", bucket]:
                self._json(200, self._bucket(bucket))
            case "GET", ["storage", "v1", "b", bucket, "o"]:
                self._json(200, self.folder.list(bucket, query))
            case "GET", [*_, "v1", "b", bucket, "o", name] if query.get("alt") == "media":
                self._download(bucket, name, query)
            case "GET", ["storage", "v1", "b", bucket, "o", name]:
                found = self.folder.must(bucket, name, query.get("generation"))
                self.folder.check(bucket, name, query)
                self._json(200, found.resource(bucket, name))
            case "DELETE", ["storage", "v1", "b", bucket, "o", name]:
                self.folder.delete(bucket, name, query)
                self._send(204, b"", {})
            case "POST", ["storage", "v1", "b", a, "o", old, how, "b", b, "o", new]:
                self._copy((a, old), (b, new), query, how)
            case "POST", ["storage", "v1", "b", bucket, "o", name, "compose"]:
                self._compose(bucket, name, query)
            case _:
                raise bucket_module.Refusal(501, "notImplemented", f"{self.command} {self.path}")

    def _bucket(self, name: str) -> dict[str, Any]:
        self.folder.bucket(name)
        location = self.folder.locations.get(name, "US").upper()
        kind = {"locationType": "multi-region" if location in ("US", "EU") else "region"}
        return {"kind": "storage#bucket", "id": name, "name": name, "location": location, **kind}

    def _upload(self, bucket: str, query: dict[str, str]) -> None:
        self.folder.bucket(bucket)
        given: dict[str, Any] = {}
        path = self.folder.scratch()
        if query["uploadType"] == "resumable":
            given = json.loads(self._read() or b"{}")
            given.setdefault("contentType", self.headers.get("X-Upload-Content-Type"))
            name = query.get("name") or given["name"]
            path.touch()
            session = {"bucket": bucket, "name": name, "path": path, "given": given, "query": query}
            self.folder.uploads[path.name] = session
            self.folder.check(bucket, name, query)
            where = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o"
            location = f"{where}?uploadType=resumable&upload_id={path.name}"
            self._send(200, b"", {"Location": location, "X-GUploader-UploadID": path.name})
            return
        if query["uploadType"] == "multipart":
            kind = self.headers["Content-Type"]
            marker = re.search(r"boundary=[\"']*([^\"';]+)", kind)
            assert marker
            # Not by `email`: it would change line ends of the content.
            _, head, rest = self._read().split(b"--" + marker[1].encode(), 2)
            given = json.loads(head.split(b"\r\n\r\n", 1)[1])
            content = rest.split(b"\r\n\r\n", 1)[1]
            path.write_bytes(content[: content.rindex(b"\r\n--" + marker[1].encode())])
        else:
            path.write_bytes(self._read())
        name = query.get("name") or given["name"]
        self._json(200, self.folder.put(bucket, name, path, given, query))

    def _continue(self, upload: str) -> None:
        """Take a piece of a resumable upload: `bytes FIRST-LAST/TOTAL`, `*` for what is unknown."""
        session = self.folder.uploads.get(upload)
        if session is None:
            raise bucket_module.Refusal(404, "notFound", "No such upload session")
        path: pathlib.Path = session["path"]
        matched = re.fullmatch(
            r"bytes (?:\*|(\d+)-(\d+))/(\*|\d+)", self.headers.get("Content-Range", "bytes */*")
        )
        assert matched, self.headers["Content-Range"]
        first, _, total = matched.groups()
        with path.open("r+b") as file:
            held = file.seek(0, 2)
            if first is not None:
                if int(first) > held:
                    raise bucket_module.Refusal(400, "invalid", "A piece is missing")
                file.seek(int(first))
                file.write(self._read())
                held = file.tell()
        if total == "*" or held < int(total):
            headers = {"Range": f"bytes=0-{held - 1}"} if held else {}
            self._send(308, b"", headers)
            return
        del self.folder.uploads[upload]
        given = session["given"]
        for part in self.headers.get("X-Goog-Hash", "").split(","):
            if part.strip().startswith("crc32c="):
                given = {**given, "crc32c": part.strip().removeprefix("crc32c=")}
        made = self.folder.put(session["bucket"], session["name"], path, given, session["query"])
        self._json(200, made)

    def _download(self, bucket: str, name: str, query: dict[str, str]) -> None:
        found = self.folder.must(bucket, name, query.get("generation"))
        self.folder.check(bucket, name, query)
        size = found.stamp[1]
        first, last, status = 0, size - 1, 200
        matched = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if matched:
            start, end = matched.groups()
            first = int(start) if start else max(0, size - int(end))
            last = min(int(end), size - 1) if start and end else size - 1
            status = 206
            if first >= size:
                self._send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
        self.send_response(status)
        for key, value in {
            "Content-Length": str(last - first + 1),
            "Content-Type": found.given.get("contentType") or "application/octet-stream",
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Stored-Content-Length": str(size),
            "X-Goog-Stored-Content-Encoding": "identity",
            "ETag": f'"etag-{found.generation}"',
            **({"Content-Range": f"bytes {first}-{last}/{size}"} if status == 206 else {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        with found.path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left and (piece := file.read(min(left, bucket_module.PIECE_BYTES))):
                self.wfile.write(piece)
                left -= len(piece)

    def _copy(
        self, old: tuple[str, str], new: tuple[str, str], query: dict[str, str], how: str
    ) -> None:
        found = self.folder.must(*old, query.get("sourceGeneration"))
        expected = query.get("ifSourceGenerationMatch", str(found.generation))
        if expected != str(found.generation):
            raise bucket_module.Refusal(412, "conditionNotMet", "The source is another generation")
        path = self.folder.scratch()
        path.write_bytes(found.path.read_bytes())
        given = found.given | json.loads(self._read() or b"{}")
        made = self.folder.put(*new, path, given, query)
        size = {"totalBytesRewritten": made["size"], "objectSize": made["size"]}
        answer = {"kind": "storage#rewriteResponse", "done": True, "resource": made, **size}
        self._json(200, answer if how == "rewriteTo" else made)

    def _compose(self, bucket: str, name: str, query: dict[str, str]) -> None:
        asked = json.loads(self._read())
        path = self.folder.scratch()
        with path.open("wb") as file:
            for part in asked["sourceObjects"]:
                source = self.folder.must(bucket, part["name"], part.get("generation"))
                file.write(source.path.read_bytes())
        given = {k: v for k, v in asked.get("destination", {}).items() if k != "crc32c"}
        self._json(200, self.folder.put(bucket, name, path, given, query))

    def _read(self) -> bytes:
        """Return the body, or what is left of it."""
        if not self._is_chunked:
            data = self.rfile.read(self._left)
            self._left = 0
            return data
        pieces = []
        self._is_chunked = False
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _drain(self) -> None:
        self._read()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self._send(status, data, {"Content-Type": "application/json; charset=UTF-8"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self._drain()
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)
