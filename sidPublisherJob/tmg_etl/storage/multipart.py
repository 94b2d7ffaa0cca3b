"""Multipart uploads and copies to S3, in bounded memory.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html (parts of 5 MiB to 5 GiB,
at most 10,000 of them)
"""

from __future__ import annotations

import concurrent.futures
import logging
import uuid
from typing import Any

from tmg_etl import errors
from tmg_etl.storage import base, s3

PIECE_BYTES = 8 * 1024 * 1024
"""Size of the first parts."""

_GROW_EVERY = 1000
"""After so many parts they double, so that 10,000 are enough for S3's largest object."""

_PARALLEL = 2
_ABORT_WAIT_S = 7.0
_LOG = logging.getLogger(__name__)


class Upload(base.Writer):
    """One object being uploaded; a small one in one request, others in parts, two at once.

    Args:
        store: whose client.
        url: the object.
        expected: as for `base.Store.write`.
    """

    def __init__(self, store: s3.S3Store, url: str, expected: str | None) -> None:
        super().__init__(url)
        self._bucket, self._name = base.split_object(url)
        self._store, self._expected = store, expected
        self._token = uuid.uuid4().hex
        self._upload_id: str | None = None
        self._sent: list[concurrent.futures.Future[dict[str, Any]]] = []
        self._filling = bytearray()

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data).cast("B")
        while len(rest):
            limit = PIECE_BYTES << (len(self._sent) // _GROW_EVERY)
            if len(self._filling) >= limit:
                self._hand_over()
            room = limit - len(self._filling)
            self._filling += rest[:room]
            rest = rest[room:]

    def _hand_over(self) -> None:
        """Have the part that is full sent in a thread."""
        if self._upload_id is None:
            with self._store.explaining(self.url):
                self._upload_id = begin(self._store, self.url, self._token)
        if len(self._sent) >= _PARALLEL:
            self._sent[-_PARALLEL].result()
        part = bytes(self._filling)
        self._filling.clear()
        number = len(self._sent) + 1
        self._sent.append(self._store.pool().submit(self._send, number, part))

    def _send(self, number: int, part: bytes) -> dict[str, Any]:
        with self._store.explaining(self.url):
            answer = self._store.client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=part,
            )
        return _part(number, answer)

    def _finish(self) -> base.Facts:
        try:
            if self._upload_id is None:
                return self._store.write(self.url, bytes(self._filling), expected=self._expected)
            if self._filling:
                self._hand_over()
            parts = [sent.result() for sent in self._sent]

            def make() -> Any:
                return complete(self._store, self.url, self._upload_id, parts, self._expected)

            self._store.check(self.url, self._expected)
            return self._store.conditional(
                self.url, self._expected, self._token, make, self._position
            )
        except concurrent.futures.CancelledError:
            self._abort()
            message = f"{self.url}: the store was closed while it was written"
            raise errors.TemporaryError(message) from None
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        self._filling.clear()
        if self._upload_id is None:
            return
        waiting = [sent for sent in self._sent if not sent.cancel()]
        # A part that arrives after the end would stay, and be paid for.
        concurrent.futures.wait(waiting, _ABORT_WAIT_S)
        abort(self._store, self.url, self._upload_id)


def copied(store: s3.S3Store, source: base.Facts, url: str, expected: str | None) -> base.Facts:
    """Copy an object that is too large for one request.

    Raises:
        base.ConflictError: the object at `url` is not as `expected`.
        base.GoneError: the source's generation is gone.
    """
    bucket, name = base.split_object(url)
    origin = dict(zip(("Bucket", "Key"), base.split_object(source.url), strict=True))
    token = uuid.uuid4().hex
    with store.explaining(url):
        upload_id = begin(store, url, token)
    try:
        parts: list[dict[str, Any]] = []
        for start in range(0, source.size_bytes, s3.COPY_LIMIT_BYTES):
            end = min(start + s3.COPY_LIMIT_BYTES, source.size_bytes)
            with store.explaining(source.url):
                answer = store.client.upload_part_copy(
                    Bucket=bucket,
                    Key=name,
                    UploadId=upload_id,
                    PartNumber=len(parts) + 1,
                    CopySource=origin,
                    CopySourceRange=f"bytes={start}-{end - 1}",
                    CopySourceIfMatch=source.generation,
                )
            parts.append(_part(len(parts) + 1, answer["CopyPartResult"]))

        def finish() -> Any:
            return complete(store, url, upload_id, parts, expected)

        return store.conditional(url, expected, token, finish, source.size_bytes)
    except BaseException:
        abort(store, url, upload_id)
        raise


def begin(store: s3.S3Store, url: str, token: str) -> str:
    """Return the id of a new upload."""
    bucket, name = base.split_object(url)
    answer = store.client.create_multipart_upload(
        Bucket=bucket, Key=name, Metadata=s3.metadata(token)
    )
    return str(answer["UploadId"])


def complete(
    store: s3.S3Store,
    url: str,
    upload_id: str | None,
    parts: list[dict[str, Any]],
    expected: str | None,
) -> Any:
    """Make the object of its parts."""
    bucket, name = base.split_object(url)
    return store.client.complete_multipart_upload(
        Bucket=bucket,
        Key=name,
        UploadId=upload_id,
        MultipartUpload={"Parts": parts},
        **s3.conditions(expected),
    )


def abort(store: s3.S3Store, url: str, upload_id: str) -> None:
    """Give up an upload, so that its parts are not paid for; never raises."""
    bucket, name = base.split_object(url)
    try:
        store.client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
    except Exception as error:  # noqa: BLE001 - what failed before is what the user must hear of
        _LOG.warning("%s: the parts of an upload stay until they expire: %s", url, error)


def _part(number: int, answer: Any) -> dict[str, Any]:
    checksums = {key: value for key, value in answer.items() if key.startswith("ChecksumCRC")}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksums}
