"""Resumable uploads to Cloud Storage, piece by piece, in bounded memory.

Written out here because the client's own writer cannot go on where the server kept only a part of
a piece, and leaves what it made when the checksum does not match.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import concurrent.futures
import datetime
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tmg_etl import errors
from tmg_etl.storage import base, crc, google

PIECE_BYTES = 8 * 1024 * 1024
"""What one request sends. A multiple of 256 KiB, as the protocol demands. One is sent while the
next one is filled: together 16 MiB."""

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

    def pool(self) -> concurrent.futures.Executor:
        """Return the threads in which pieces are sent."""

    def delete(self, url: str, *, generation: str | None = None) -> bool:
        """Remove an object."""


class Upload(base.Writer):
    """One object being uploaded: the caller fills a piece while the one before is sent.

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
        self._connection = connection
        self._session = _Session(connection, url, expected, dict(metadata), deadline_s)
        self._checksum = crc.Running()
        self._filling = bytearray()
        self._sending: concurrent.futures.Future[Any] | None = None

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._checksum.update(data)
        rest = memoryview(data).cast("B")
        while len(rest):
            # One byte at least stays for the last request, which must carry the total.
            if len(self._filling) >= PIECE_BYTES:
                self._hand_over()
            room = PIECE_BYTES - len(self._filling)
            self._filling += rest[:room]
            rest = rest[room:]

    def _hand_over(self) -> None:
        self._wait()
        piece = bytes(self._filling)
        self._filling.clear()
        self._sending = self._connection.pool().submit(self._session.send, piece)

    def _wait(self) -> None:
        """Have the piece before sent, or raise what became of it."""
        sending, self._sending = self._sending, None
        if sending is not None:
            try:
                sending.result()
            except concurrent.futures.CancelledError:
                message = f"{self.url}: the store was closed while it was written"
                raise errors.TemporaryError(message) from None

    def _finish(self) -> base.Facts:
        try:
            self._wait()
            resource = self._session.send(bytes(self._filling), checksum=self._checksum.text)
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
        self._filling.clear()
        sending, self._sending = self._sending, None
        self._session.give_up()
        if sending is not None:
            # What is on its way would open a session, or go on with it, after it was ended here.
            concurrent.futures.wait([sending], sum(_ABORT_TIMEOUT_S))
        self._session.end()


class _Session:
    """The protocol: pieces in order, each sent until the server has it.

    A piece that was cut is resumed where the server's answer says it ends. The last request carries
    the checksum of all bytes, which the server refuses when it computed another one. Used by one
    thread after the other, `give_up` by any.
    """

    def __init__(
        self,
        connection: Connection,
        url: str,
        expected: str | None,
        metadata: dict[str, str],
        deadline_s: float,
    ) -> None:
        self._connection, self._url, self._expected = connection, url, expected
        self._metadata, self._deadline_s = metadata, deadline_s
        self._place: str | None = None
        # What the server may not have yet, and where in the object it begins.
        self._kept, self._start = b"", 0
        self._is_unsure = False
        self._is_given_up = False

    def send(self, piece: bytes, checksum: str | None = None) -> dict[str, Any] | None:
        """Send bytes until the server has all of them.

        Args:
            piece: the next ones; a multiple of 256 KiB except the last.
            checksum: of the whole object, with the last piece; makes the object.

        Returns:
            The object's resource when this was the last piece.
        """
        self._kept = piece
        end = self._start + len(piece)
        with self._connection.explaining(self._url):
            if self._place is None:
                self._place = self._begin()
            while True:
                resource: dict[str, Any] | None = self._retry()(self._attempt)(end, checksum)
                if resource is not None or (checksum is None and self._start >= end):
                    return resource

    def give_up(self) -> None:
        """Try nothing again from now on."""
        self._is_given_up = True

    def end(self) -> None:
        """Have the server forget what it got; never raises."""
        self._kept = b""
        if self._place is None:
            return
        try:
            self._connection.client._http.request("DELETE", self._place, timeout=_ABORT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - sessions end by themselves after a week
            # Its words hold the place, by which anybody could go on with the upload.
            _LOG.debug("an upload of %s stays open: %s", self._url, type(error).__name__)

    def _retry(self) -> Any:
        def check(error: Exception) -> None:
            if self._is_given_up:
                raise error

        return google.retry(self._deadline_s, check)

    def _begin(self) -> str:
        from google.api_core import exceptions

        blob = self._connection.blob(self._url)
        if self._metadata:
            blob.metadata = self._metadata
        try:
            location: str = blob.create_resumable_upload_session(
                content_type=_CONTENT_TYPE,
                checksum=None,
                if_generation_match=number_of(self._expected),
                retry=self._retry(),
                timeout=TIMEOUT_S,
            )
        except exceptions.PreconditionFailed:
            raise conflict(self._url, self._expected) from None
        return location

    def _attempt(self, end: int, checksum: str | None) -> dict[str, Any] | None:
        """Send one request; return the object if that made it."""
        is_last = checksum is not None
        if self._is_unsure:
            answer = self._request(b"", f"bytes */{end if is_last else '*'}")
            self._is_unsure = False
            resource = self._digest(answer, sent=0)
            if resource is not None or (not is_last and self._start >= end):
                return resource
        length = end - self._start
        total = str(end) if is_last else "*"
        span = f"{self._start}-{end - 1}" if length else "*"
        headers = {"x-goog-hash": f"{crc.PREFIX}{checksum}"} if is_last else {}
        self._is_unsure = True
        answer = self._request(self._kept, f"bytes {span}/{total}", headers)
        self._is_unsure = False
        return self._digest(answer, sent=length)

    def _request(self, data: bytes, span: str, headers: Mapping[str, str] | None = None) -> Any:
        return self._connection.client._http.request(
            "PUT",
            self._place,
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
            before = self._start
            self._move_to(answer.headers.get("Range", ""))
            if sent > 0 and self._start == before:
                raise exceptions.ServiceUnavailable(  # type: ignore[no-untyped-call]
                    "the server kept nothing of what was sent"
                )
            return None
        if answer.status_code == 412:
            raise conflict(self._url, self._expected)
        if answer.status_code == 400 and "crc32c" in answer.text.lower():
            raise errors.TemporaryError(
                f"{self._url}: the bytes were damaged on their way to Cloud Storage",
                hint="nothing was made; run again",
            )
        if answer.status_code in (404, 410):
            raise errors.TemporaryError(
                f"{self._url}: Cloud Storage ended the upload", hint="nothing was made; run again"
            )
        self._is_unsure = True
        raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]

    def _move_to(self, span: str) -> None:
        """Drop what the server has: ``bytes=0-99``; nothing when it has none."""
        match = _RANGE.fullmatch(span)
        reached = int(match[1]) + 1 if match else 0
        if not self._start <= reached <= self._start + len(self._kept):
            raise errors.TemporaryError(
                f"{self._url}: Cloud Storage lost a part of the upload", hint="run again"
            )
        self._kept, self._start = self._kept[reached - self._start :], reached


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
