"""Buckets that are folders, with the generations that Cloud Storage gives to objects."""

from __future__ import annotations

import base64
import datetime
import hashlib
import pathlib
import secrets
import threading
import time
from typing import Any

import google_crc32c

PIECE_BYTES = 1 << 20


class Refusal(Exception):
    """An answer that is not 200, with the reason that Google would give."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "domain": "global", "reason": reason}
        self.body = {"error": {"code": status, "message": message, "errors": [error]}}


class Object:
    """One generation of one object: a file and what its folder entry cannot tell."""

    _last = 0
    _lock = threading.Lock()

    def __init__(self, path: pathlib.Path, given: dict[str, Any]) -> None:
        self.path = path
        self.given = given
        self.stamp = stamp(path)
        with Object._lock:
            Object._last = max(Object._last + 1, time.time_ns() // 1000)
            self.generation = Object._last
        self.updated = datetime.datetime.now(datetime.UTC)
        crc, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                crc.update(piece)
                md5.update(piece)
        self.crc32c = base64.b64encode(crc.digest()).decode()
        self.md5 = base64.b64encode(md5.digest()).decode()

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        at = self.updated.isoformat().replace("+00:00", "Z")
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "name": name,
            "bucket": bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.given.get("contentType", "application/octet-stream"),
            "metadata": self.given.get("metadata", {}),
            "size": str(self.stamp[1]),
            "crc32c": self.crc32c,
            "md5Hash": self.md5,
            "etag": f"etag-{self.generation}",
            "storageClass": "STANDARD",
            "timeCreated": at,
            "updated": at,
        }


def stamp(path: pathlib.Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


class Folder:
    """The buckets: every subfolder is one.

    Args:
        root: their folder.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.locations: dict[str, str] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self._objects: dict[tuple[str, str], Object] = {}

    def bucket(self, name: str) -> pathlib.Path:
        path = self.root / name
        if not name or not path.is_dir():
            raise Refusal(404, "notFound", "The specified bucket does not exist.")
        return path

    def get(self, bucket: str, name: str) -> Object | None:
        path = self.bucket(bucket) / name
        with self.lock:
            if not name or not path.is_file():
                self._objects.pop((bucket, name), None)
                return None
            known = self._objects.get((bucket, name))
            if known is None or known.stamp != stamp(path):
                known = self._objects[bucket, name] = Object(path, {})
            return known

    def must(self, bucket: str, name: str, generation: str | None = None) -> Object:
        found = self.get(bucket, name)
        if found is None or (generation and generation != str(found.generation)):
            raise Refusal(404, "notFound", f"No such object: {bucket}/{name}")
        return found

    def check(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Refuse what a precondition does not allow."""
        expected = query.get("ifGenerationMatch")
        found = self.get(bucket, name)
        if expected is not None and expected != str(found.generation if found else 0):
            message = "At least one of the pre-conditions you specified did not hold."
            raise Refusal(412, "conditionNotMet", message)

    def put(
        self, bucket: str, name: str, source: pathlib.Path, given: dict[str, Any], query: Any
    ) -> dict[str, Any]:
        """Make a file an object, if its precondition and checksum hold."""
        with self.lock:
            try:
                self.check(bucket, name, query)
                made = Object(source, given)
                if given.get("crc32c", made.crc32c) != made.crc32c:
                    raise Refusal(400, "invalid", "Provided CRC32C does not match the content.")
            except Refusal:
                source.unlink()
                raise
            made.path = self.bucket(bucket) / name
            made.path.parent.mkdir(parents=True, exist_ok=True)
            source.rename(made.path)
            self._objects[bucket, name] = made
            return made.resource(bucket, name)

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self.lock:
            found = self.must(bucket, name, query.get("generation"))
            self.check(bucket, name, query)
            found.path.unlink()
            self._objects.pop((bucket, name), None)

    def list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        root = self.bucket(bucket)
        prefix = query.get("prefix", "")
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        first = query.get("pageToken", "")
        start = query.get("startOffset", "")
        names = [n for n in names if n.startswith(prefix) and n > first and n >= start]
        folders: set[str] = set()
        if query.get("delimiter"):
            inner = {n: n[len(prefix) :].split(query["delimiter"], 1) for n in names}
            folders = {
                prefix + parts[0] + query["delimiter"] for parts in inner.values() if parts[1:]
            }
            names = [n for n in names if not inner[n][1:]]
        size = int(query.get("maxResults", 1000))
        found = [(n, self.get(bucket, n)) for n in names[:size]]
        body: dict[str, Any] = {"kind": "storage#objects", "prefixes": sorted(folders)}
        body["items"] = [o.resource(bucket, n) for n, o in found if o is not None]
        if names[size:]:
            body["nextPageToken"] = names[size - 1]
        return body

    def scratch(self) -> pathlib.Path:
        """Return a new file's path in the same file system, outside of every bucket."""
        return self.root / f".upload-{secrets.token_hex(8)}"
