"""Resumable uploads to Cloud Storage, piece by piece, in bounded memory.

Written out here because the client's own writer cannot go on where the server kept only a part of
a piece, and leaves what it made when the checksum does not match.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tmg_etl import errors
from tmg_etl.storage import base, crc, google

PIECE_BYTES = 8 * 1024 * 1024
"""What one request sends and what is kept until the server has it. A multiple of 256 KiB, as the
protocol demands."""

TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two bytes of an answer."""

# A run that is stopped has seconds, and what is left ends by itself.
_ABORT_TIMEOUT_S = (2.0, 5.0)
_LOG = logging.getLogger(__name__)
_CONTENT_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=0-(\d+)")
_RESUME = 308


class Connection(Protocol):
    """What an upload needs of its store."""

    @property
    def client(self) -> Any:
        """Google's client."""

    def blob(self, url: str) -> Any:
        """Return the client's handle of an object."""

    def explaining(self, url: str) -> AbstractContextManager[None]:
        """Turn what Google's libraries raise inside into our errors."""

    def delete(self, url: str, *, generation: str | None = None) -> bool:
        """Remove an object."""


class Upload(base.Writer):
    """One object being uploaded.

    A piece that was cut is resumed where the server's answer says it ends. The last request carries
    the checksum of all bytes, which the server refuses when it computed another one.

    Args:
        connection: the store's client and its way to explain errors.
        url: the object.
        expected: as for `base.Store.write`.
        metadata: the object's own key-value pairs.
        deadline_s: how long one piece is tried again.
    """

    def __init__(
        self,
        connection: Connection,
        url: str,
        expected: str | None,
        metadata: Mapping[str, str],
        deadline_s: float,
    ) -> None:
        base.split_object(url)
        super().__init__(url)
        self._connection, self._expected, self._deadline_s = connection, expected, deadline_s
        self._metadata = dict(metadata)
        self._checksum = crc.Running()
        self._session_url: str | None = None
        # What the server may not have yet, and where in the object it begins.
        self._kept, self._start = bytearray(), 0
        self._is_unsure = False

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._checksum.update(data)
        rest = memoryview(data).cast("B")
        while len(rest):
            # One byte at least stays for the last request, which must carry the total.
            if len(self._kept) >= PIECE_BYTES:
                self._send(PIECE_BYTES)
            room = PIECE_BYTES - len(self._kept)
            self._kept += rest[:room]
            rest = rest[room:]

    def _finish(self) -> base.Facts:
        try:
            resource = self._send(len(self._kept), is_last=True)
        except BaseException:
            self._abort()
            raise
        assert resource is not None
        facts = facts_of(self.url, resource)
        if facts.checksum and facts.checksum != crc.PREFIX + self._checksum.text:
            self._connection.delete(self.url, generation=facts.generation)
            raise errors.TemporaryError(
                f"{self.url}: Cloud Storage computed another checksum of what was sent",
                hint="the object was removed; run again",
            )
        return facts

    def _abort(self) -> None:
        self._kept.clear()
        if self._session_url is None:
            return
        try:
            self._connection.client._http.request(
                "DELETE", self._session_url, timeout=_ABORT_TIMEOUT_S
            )
        except Exception as error:  # noqa: BLE001 - sessions end by themselves after a week
            _LOG.debug("an upload session of %s stays open: %s", self.url, error)

    def _send(self, length: int, *, is_last: bool = False) -> dict[str, Any] | None:
        """Send the next `length` bytes; return the object when they were the last ones."""
        end = self._start + length
        while True:
            with self._connection.explaining(self.url):
                if self._session_url is None:
                    self._session_url = self._begin()
                attempt = google.retry(self._deadline_s)(self._attempt)
                resource: dict[str, Any] | None = attempt(end, is_last)
            if resource is not None or (not is_last and self._start >= end):
                return resource

    def _begin(self) -> str:
        from google.api_core import exceptions

        blob = self._connection.blob(self.url)
        if self._metadata:
            blob.metadata = self._metadata
        try:
            location: str = blob.create_resumable_upload_session(
                content_type=_CONTENT_TYPE,
                checksum=None,
                if_generation_match=number_of(self._expected),
                retry=google.retry(self._deadline_s),
                timeout=TIMEOUT_S,
            )
        except exceptions.PreconditionFailed:
            raise conflict(self.url, self._expected) from None
        return location

    def _attempt(self, end: int, is_last: bool) -> dict[str, Any] | None:
        """Send one request; return the object if that made it."""
        if self._is_unsure:
            answer = self._request(b"", f"bytes */{end if is_last else '*'}")
            self._is_unsure = False
            resource = self._digest(answer, sent=0)
            if resource is not None or (not is_last and self._start >= end):
                return resource
        length = end - self._start
        # A view would keep the buffer from shrinking.
        data = bytes(memoryview(self._kept)[:length])
        total = str(end) if is_last else "*"
        span = f"{self._start}-{end - 1}" if length else "*"
        headers = {"x-goog-hash": crc.PREFIX + self._checksum.text} if is_last else {}
        self._is_unsure = True
        answer = self._request(data, f"bytes {span}/{total}", headers)
        self._is_unsure = False
        return self._digest(answer, sent=length)

    def _request(self, data: bytes, span: str, headers: Mapping[str, str] | None = None) -> Any:
        return self._connection.client._http.request(
            "PUT",
            self._session_url,
            data=data,
            headers={"Content-Range": span, "Content-Type": _CONTENT_TYPE, **(headers or {})},
            timeout=TIMEOUT_S,
        )

    def _digest(self, answer: Any, *, sent: int) -> dict[str, Any] | None:
        """Take note of what the server has; return the object when it is made."""
        from google.api_core import exceptions

        if answer.status_code in (200, 201):
            resource: dict[str, Any] = answer.json()
            return resource
        if answer.status_code == _RESUME:
            match = _RANGE.fullmatch(answer.headers.get("Range", ""))
            reached = int(match[1]) + 1 if match else 0
            if not self._start <= reached <= self._start + len(self._kept):
                raise errors.TemporaryError(
                    f"{self.url}: Cloud Storage lost a part of the upload", hint="run again"
                )
            del self._kept[: reached - self._start]
            is_stuck = sent > 0 and reached == self._start
            self._start = reached
            if is_stuck:
                raise exceptions.ServiceUnavailable(  # type: ignore[no-untyped-call]
                    "the server kept nothing of what was sent"
                )
            return None
        if answer.status_code == 412:
            raise conflict(self.url, self._expected)
        if answer.status_code == 400 and "crc32c" in answer.text.lower():
            raise errors.TemporaryError(
                f"{self.url}: the bytes were damaged on their way to Cloud Storage",
                hint="nothing was made; run again",
            )
        if answer.status_code in (404, 410):
            raise errors.TemporaryError(
                f"{self.url}: Cloud Storage ended the upload", hint="nothing was made; run again"
            )
        self._is_unsure = True
        raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]


def number_of(expected: str | None) -> int | None:
    """Return `expected` as ``ifGenerationMatch``: 0 says that the object must not exist."""
    if expected is None:
        return None
    return 0 if expected == base.ABSENT else int(expected)


def conflict(url: str, expected: str | None) -> base.ConflictError:
    """Return the error for a precondition that did not hold."""
    if expected == base.ABSENT:
        message = f"{url}: somebody else made this object first"
    else:
        message = f"{url}: somebody else changed this object; expected generation {expected}"
    return base.ConflictError(message, hint="another run works here; run again later")


def facts_of(url: str, resource: Mapping[str, Any]) -> base.Facts:
    """Return the facts in an object resource of the JSON API."""
    made = resource.get("timeCreated") or resource["updated"]
    found = resource.get("crc32c")
    return base.Facts(
        url=url,
        size_bytes=int(resource["size"]),
        generation=str(resource["generation"]),
        updated=datetime.datetime.fromisoformat(made).astimezone(datetime.UTC),
        checksum=f"{crc.PREFIX}{found}" if found else None,
    )
