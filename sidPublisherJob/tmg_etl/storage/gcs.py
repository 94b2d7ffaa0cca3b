"""Cloud Storage by Google's own client.

Writes are resumable uploads, small ones too: the protocol itself makes a repeated request harmless,
so that nothing is written twice or over another run's object by a retry. Deletions and copies carry
a generation precondition for the same reason.

Source: https://cloud.google.com/storage/docs/retry-strategy#idempotency
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import os
import threading
import types
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from tmg_etl import errors
from tmg_etl.storage import base, crc, google, near, refusal, stream, upload, worker

if TYPE_CHECKING:
    import google.cloud.storage as storage

DEADLINE_S = 180.0
"""How long one call is tried again. A regional hiccup of Cloud Storage is shorter than that."""

_CONNECTIONS = 32
_GZIP_BYTES = 1024
_THREADS = 8
_TURNS = 5
_FIELDS = "items(name,size,generation,timeCreated,updated,crc32c),nextPageToken"


class GoogleStore(base.Store):
    """The objects of Cloud Storage.

    Args:
        credentials: who to be; see `google.credentials`.
        deadline_s: how long a call is tried again after temporary failures.
    """

    def __init__(
        self,
        credentials: base.Credentials = base.Credentials(),  # noqa: B008 - frozen
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._credentials, self._deadline_s = credentials, deadline_s
        self._lock = threading.Lock()
        self._made: storage.Client | None = None
        self._threads: worker.Pool | None = None
        self._login: Any = None
        self._principal: str | None = None

    def list(self, prefix_url: str) -> Iterator[base.Facts]:
        """Yield every object whose URL starts with `prefix_url`, all pages, sorted by name."""
        bucket, prefix = base.split(prefix_url)
        with self.explaining(prefix_url):
            pages = self.client.list_blobs(
                self._bucket(bucket),
                prefix=prefix or None,
                fields=_FIELDS,
                retry=google.retry(self._deadline_s),
                timeout=upload.TIMEOUT_S,
            )
            for blob in pages:
                yield _facts(blob)

    def facts(self, url: str) -> base.Facts | None:
        """Return the object's facts; None when there is no such object."""
        blob = self._look(url)
        return _facts(blob) if blob else None

    def read(self, url: str, *, generation: str | None = None, limit: int | None = None) -> bytes:
        """Return an object's bytes; what ``gcloud storage cp -Z`` packed is unpacked."""
        blob = self._look(url, generation)
        if blob is None:
            raise base.GoneError(url) if generation else self._missing(url)
        facts, is_packed = _facts(blob), _is_packed(blob)
        end = facts.size_bytes
        if limit is not None:
            # What is hardly longer than the limit may be longer packed than unpacked.
            end = min(end, limit + _GZIP_BYTES if is_packed else limit)
        with self._open(facts, end, may_be_packed=True) as file:
            data = file.read()
        return _unpacked(data, limit) if is_packed else data

    def open(self, facts: base.Facts) -> BinaryIO:
        """Return a seekable, buffered stream of exactly the generation in `facts`."""
        return self._open(facts, facts.size_bytes, may_be_packed=False)

    def write(
        self,
        url: str,
        data: bytes,
        *,
        expected: str | None = None,
        metadata: Mapping[str, str] = types.MappingProxyType({}),
    ) -> base.Facts:
        """Make an object of `data` in one step; the bytes' checksum is verified by the store."""
        with self._upload(url, expected, metadata) as writer:
            writer.write(data)
        return writer.facts

    def create(self, url: str, *, expected: str | None = None) -> base.Writer:
        """Return a writer that uploads an object of any size in bounded memory."""
        return self._upload(url, expected, {})

    def copy(self, source: base.Facts, url: str, *, expected: str | None = None) -> base.Facts:
        """Copy a generation to another name inside the store."""
        if expected is not None:
            return self._copy(source, url, expected)
        for _ in range(_TURNS):
            found = self.facts(url)
            with contextlib.suppress(base.ConflictError):
                return self._copy(source, url, found.generation if found else base.ABSENT)
        raise base.ConflictError(f"{url}: others keep writing it", hint="run again later")

    def delete(self, url: str, *, generation: str | None = None) -> bool:
        """Remove an object; return False when it was not there."""
        if generation is not None:
            return self._delete(url, generation)
        for _ in range(_TURNS):
            found = self.facts(url)
            if found is None:
                return False
            with contextlib.suppress(base.ConflictError):
                return self._delete(url, found.generation)
        raise base.ConflictError(f"{url}: others keep writing it", hint="run again later")

    def close(self) -> None:
        """Give back connections. The store can be used again afterwards."""
        with self._lock:
            client, threads = self._made, self._threads
            self._made = self._threads = None
        if threads:
            threads.shutdown(wait=False, cancel_futures=True)
        if client:
            client.close()

    @property
    def client(self) -> storage.Client:
        """Google's client, made on first use."""
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _connect(self) -> storage.Client:
        import google.cloud.storage as storage
        import requests.adapters

        login = google.credentials(self._credentials)
        self._login, self._principal = login, google.principal(login)
        emulator = os.environ.get(google.EMULATORS[0], "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        options = {"api_endpoint": emulator} if emulator else None
        # The project only matters for making and listing buckets; None does not ask for it.
        # Else the client asks in a thread for the bucket's own metadata, for traces that nobody
        # reads, and needs a right for it that this job does not.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        client = storage.Client(project=None, credentials=login, client_options=options)
        session = client._http  # made here, by one thread
        if not getattr(session, "is_mtls", False):
            # The default keeps ten connections and throws away what more threads opened.
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
        return client

    def pool(self) -> concurrent.futures.Executor:
        """Return the threads of this store, made on first use."""
        with self._lock:
            if self._threads is None:
                self._threads = worker.Pool(_THREADS)
            return self._threads

    def _bucket(self, name: str) -> storage.Bucket:
        try:
            return self.client.bucket(name)
        except ValueError as error:
            raise errors.ConfigError(f"gs://{name} is no bucket: {error}") from None

    def blob(self, url: str, generation: str | None = None) -> storage.Blob:
        """Return the client's handle of an object; nothing is asked."""
        bucket, name = base.split_object(url)
        number = int(generation) if generation else None
        return self._bucket(bucket).blob(name, generation=number)

    def _look(self, url: str, generation: str | None = None) -> storage.Blob | None:
        """Return the client's handle of an object with its metadata; None when it is not there."""
        from google.api_core import exceptions

        blob = self.blob(url, generation)
        with self.explaining(url):
            try:
                blob.reload(retry=google.retry(self._deadline_s), timeout=upload.TIMEOUT_S)
            except exceptions.NotFound as error:
                self._check_bucket(error, url)
                return None
        return blob

    def _open(self, facts: base.Facts, end: int, *, may_be_packed: bool) -> BinaryIO:
        """Return a stream of the first `end` bytes; the checksum is that of all."""
        base.split_object(facts.url)

        def fetch(start: int, end: int) -> bytes:
            blob, data = self._fetch(facts, start, end)
            if _is_packed(blob) and not may_be_packed:
                raise errors.ConfigError(
                    f"{facts.url} is stored with Content-Encoding: gzip,"
                    " expected the bytes themselves",
                    hint="upload it without -Z, or name it .gz",
                )
            return data

        is_whole = facts.checksum is not None and end == facts.size_bytes
        checksum = crc.Expected(facts.url, facts.checksum or "") if is_whole else None
        return stream.opened(end, fetch, self.pool(), checksum)

    def _fetch(self, facts: base.Facts, start: int, end: int) -> tuple[storage.Blob, bytes]:
        """Return the bytes of a range, and the handle that knows the answer's headers."""
        from google.api_core import exceptions

        def attempt() -> tuple[storage.Blob, bytes]:
            blob = self.blob(facts.url, facts.generation)
            # The client's own retry goes on behind the last byte that came, also where that was
            # the end. A piece is small enough to be asked for again.
            data: bytes = blob.download_as_bytes(
                start=start,
                end=end - 1,
                raw_download=True,
                checksum=None,
                retry=None,
                timeout=upload.TIMEOUT_S,
            )
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} bytes came for {start}-{end - 1}")
            return blob, data

        with self.explaining(facts.url):
            try:
                found: tuple[storage.Blob, bytes] = google.retry(self._deadline_s)(attempt)()
            except (exceptions.NotFound, exceptions.RequestRangeNotSatisfiable):
                raise base.GoneError(facts.url) from None
        return found

    def _upload(self, url: str, expected: str | None, metadata: Mapping[str, str]) -> base.Writer:
        return upload.Upload(self, url, expected, metadata, self._deadline_s)

    def _copy(self, source: base.Facts, url: str, expected: str) -> base.Facts:
        from google.api_core import exceptions

        base.split_object(source.url)
        origin, target = self.blob(source.url, source.generation), self.blob(url)
        failures: list[Exception] = []
        token: str | None = None
        with self.explaining(url):
            while True:
                try:
                    token, _, _ = target.rewrite(
                        origin,
                        token=token,
                        if_generation_match=upload.number_of(expected),
                        retry=google.retry(self._deadline_s, failures.append),
                        timeout=upload.TIMEOUT_S,
                    )
                except exceptions.NotFound as error:
                    self._check_bucket(error, url)
                    raise base.GoneError(source.url) from None
                except exceptions.PreconditionFailed:
                    found = self.facts(url) if failures else None
                    if found and found.checksum and found.checksum == source.checksum:
                        return found  # the attempt whose answer was lost
                    raise upload.conflict(url, expected) from None
                if token is None:
                    return _facts(target)

    def _delete(self, url: str, generation: str) -> bool:
        from google.api_core import exceptions

        blob = self.blob(url)
        failures: list[Exception] = []
        with self.explaining(url):
            try:
                blob.delete(
                    if_generation_match=int(generation),
                    retry=google.retry(self._deadline_s, failures.append),
                    timeout=upload.TIMEOUT_S,
                )
            except exceptions.NotFound as error:
                self._check_bucket(error, url)
                return bool(failures)  # the attempt whose answer was lost
            except exceptions.PreconditionFailed:
                raise upload.conflict(url, generation) from None
        return True

    @contextlib.contextmanager
    def explaining(self, url: str) -> Iterator[None]:
        """Turn what Google's libraries raise into our errors."""
        from google.api_core import exceptions

        try:
            yield
        except exceptions.NotFound as error:
            self._check_bucket(error, url)
            raise google.explained(error, url, self._principal) from None
        except (errors.TmgEtlError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - `explained` raises what it does not know
            raise google.explained(error, url, self._principal) from None

    def _check_bucket(self, error: Any, url: str) -> None:
        """Raise errors.ConfigError when it is the bucket that is missing."""
        from google.api_core import exceptions

        text = refusal.text_of(error)
        if "No such object" in text:
            return
        bucket = base.split(url)[0]
        if "bucket does not exist" not in text:
            # An answer in words that we do not know.
            retry = google.retry(self._deadline_s)
            try:
                next(iter(self.client.list_blobs(bucket, max_results=1, retry=retry)), None)
                return
            except exceptions.NotFound:
                pass
            except exceptions.GoogleAPICallError:
                return
        hint = near.bucket_hint(self.client, self._login, bucket)
        raise errors.ConfigError(f"{url}: there is no bucket {bucket}", hint=hint) from None

    def _missing(self, url: str) -> errors.ConfigError:
        return errors.ConfigError(f"there is no object {url}", hint=near.object_hint(self, url))


def _facts(blob: storage.Blob) -> base.Facts:
    made = blob.time_created or blob.updated
    return base.Facts(
        url=f"gs://{blob.bucket.name}/{blob.name}",
        size_bytes=int(blob.size),
        generation=str(blob.generation),
        updated=made.astimezone(datetime.UTC),
        checksum=f"{crc.PREFIX}{blob.crc32c}" if blob.crc32c else None,
    )


def _is_packed(blob: storage.Blob) -> bool:
    """Return whether the stored bytes are gzip and the name does not say so."""
    return blob.content_encoding == "gzip" and not blob.name.lower().endswith(".gz")


def _unpacked(data: bytes, limit: int | None) -> bytes:
    if limit == 0:
        return b""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return unpacking.decompress(data, limit or 0)
