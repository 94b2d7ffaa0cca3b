"""What an object store can do, in terms that Cloud Storage and S3 share.

Objects are named by URL (``gs://bucket/name``, ``s3://bucket/name``). An object never changes: what
changes is which *generation* of it a name leads to. Whoever must not be surprised by another run
names the generation that was seen, or `ABSENT`, and gets a `ConflictError` when it is another one.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime
import re
import types
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from tmg_etl import errors

ABSENT = "absent"
"""As `expected`: the object must not exist."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<bucket>[^/]*)/?(?P<name>.*)", re.DOTALL
)


class ConflictError(errors.TemporaryError):
    """An object is not in the generation that the caller expects: somebody else wrote it."""


class GoneError(errors.TemporaryError):
    """The generation of an object that was seen before is not there any more."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url}: the lake changed under the run: this generation is gone", hint="run again"
        )


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Who the store is used as. All None: what the machine offers (Google's "application default").

    Attributes:
        key_file: path of a service account's key file.
        impersonate: e-mail of a service account to act as.
        quota_project: project that API calls are counted against and, for buckets where the
            requester pays, billed to.
    """

    key_file: str | None = None
    impersonate: str | None = None
    quota_project: str | None = None


@dataclasses.dataclass(frozen=True)
class Facts:
    """One object as it was when looked at. Equal facts are the same generation of the same object.

    Attributes:
        url: ``gs://bucket/name`` or ``s3://bucket/name``.
        size_bytes: length of the stored bytes, as they are stored (``.gz`` is not unpacked).
        generation: Cloud Storage: the generation number. S3: the ETag.
        updated: when this generation was made, aware UTC; to the second on S3.
        checksum: what the store says of the bytes, as ``crc32c=…``; None where it says nothing.
    """

    url: str
    size_bytes: int
    generation: str
    updated: datetime.datetime = dataclasses.field(compare=False)
    checksum: str | None = dataclasses.field(default=None, compare=False)


class Writer(abc.ABC):
    """An object being uploaded. It appears when the ``with`` block ends well, or not at all.

    It is enough of a binary file for `pyarrow`, `csv` and `gzip` to write to. `close` does nothing:
    a library that closes what it wrote to must not publish half an object; leaving the block does.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._facts: Facts | None = None
        self._is_done = False
        self._position = 0

    @property
    def facts(self) -> Facts:
        """The object that was made; only after the block has ended well."""
        if self._facts is None:
            raise ValueError(f"{self.url} is not uploaded yet")
        return self._facts

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._is_done

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take bytes; they are sent in pieces of some MiB, so memory does not grow.

        Raises:
            errors.TmgEtlError: as for `Store.write`, except ConflictError, which only the end of
                the block can find on some stores.
        """
        if self._is_done:
            raise ValueError(f"{self.url} is closed")
        size = memoryview(data).nbytes
        self._append(data)
        self._position += size
        return size

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def flush(self) -> None:  # noqa: B027 - there is nothing that a store would have to do
        """Do nothing: an object has no half-written state that anybody could see."""

    def close(self) -> None:  # noqa: B027 - as above
        """Do nothing: see the class."""

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return whether `write` takes bytes."""
        return not self._is_done

    def seekable(self) -> bool:
        """Return False."""
        return False

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if self._is_done:
            return
        self._is_done = True
        if kind is None:
            self._facts = self._finish()
        else:
            self._abort()

    @abc.abstractmethod
    def _append(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; send full pieces."""

    @abc.abstractmethod
    def _finish(self) -> Facts:
        """Send the rest and make the object; leave nothing when that fails."""

    @abc.abstractmethod
    def _abort(self) -> None:
        """Give up what was sent; never raises."""


class Store(abc.ABC):
    """The objects of one scheme. One client, made on first use; may be used from several threads.

    Every method raises, besides what it names:
        errors.AccessError: no credentials, expired ones, or a right is missing: it is named.
        errors.ConfigError: no such bucket, or a URL that names no object where one is needed.
        errors.TemporaryError: the store is away, busy or over quota, after retries.
    """

    @abc.abstractmethod
    def list(self, prefix_url: str) -> Iterator[Facts]:
        """Yield every object whose URL starts with `prefix_url`, all pages, sorted by name."""

    @abc.abstractmethod
    def facts(self, url: str) -> Facts | None:
        """Return the object's facts; None when there is no such object."""

    @abc.abstractmethod
    def read(self, url: str, *, generation: str | None = None, limit: int | None = None) -> bytes:
        """Return an object's bytes, checksum-verified when they are all of it.

        Args:
            url: the object.
            generation: the one to read; None: the one that is there.
            limit: at most so many bytes from its start; None: all.

        Raises:
            errors.ConfigError: there is no such object.
            GoneError: `generation` is given and gone.
        """

    @abc.abstractmethod
    def open(self, facts: Facts) -> BinaryIO:
        """Return a seekable, buffered stream of exactly the generation in `facts`.

        Read ahead in pieces, so that memory does not grow with the object; a stream read from start
        to end is checksum-verified at its end.

        Raises:
            GoneError: while reading: the object was changed or removed.
        """

    @abc.abstractmethod
    def write(
        self,
        url: str,
        data: bytes,
        *,
        expected: str | None = None,
        metadata: Mapping[str, str] = types.MappingProxyType({}),
    ) -> Facts:
        """Make an object of `data` in one step; the bytes' checksum is verified by the store.

        Args:
            url: the object.
            data: all of it.
            expected: None: replace whatever is there. `ABSENT` or a generation: only that.
            metadata: the object's own key-value pairs, readable in consoles.

        Raises:
            ConflictError: the object is not as `expected`.
        """

    @abc.abstractmethod
    def create(self, url: str, *, expected: str | None = None) -> Writer:
        """Return a writer that uploads an object of any size in bounded memory.

        Args:
            url: the object.
            expected: as for `write`; checked when the object is made.

        Raises:
            ConflictError: at the end of the block: the object is not as `expected`.
        """

    @abc.abstractmethod
    def copy(self, source: Facts, url: str, *, expected: str | None = None) -> Facts:
        """Copy a generation to another name inside the store; readers see the old or the new one.

        Raises:
            ConflictError: the object at `url` is not as `expected`.
            GoneError: the source's generation is gone.
        """

    @abc.abstractmethod
    def delete(self, url: str, *, generation: str | None = None) -> bool:
        """Remove an object; return False when it was not there.

        Args:
            url: the object.
            generation: remove only this one; None: whatever is there.

        Raises:
            ConflictError: another generation is there than `generation`.
        """

    def close(self) -> None:  # noqa: B027 - not every store has something to close
        """Give back connections. The store can be used again afterwards."""


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case; empty for a path."""
    match = _URL.match(url)
    return match["scheme"].lower() if match else ""


def split(url: str) -> tuple[str, str]:
    """Return bucket and name of ``scheme://bucket/name``; the name may be empty.

    Names are taken as they are, without percent-decoding: that is how ``gcloud storage`` and
    ``aws s3`` write them.

    Raises:
        errors.ConfigError: there is no bucket in it.
    """
    match = _URL.fullmatch(url)
    if not match or not match["bucket"]:
        raise errors.ConfigError(
            f"found {errors.shorten(url)}, expected a URL with a bucket",
            hint="write gs://bucket/name or s3://bucket/name",
        )
    return match["bucket"], match["name"]


def split_object(url: str) -> tuple[str, str]:
    """Return bucket and name of the URL of an object.

    Raises:
        errors.ConfigError: there is no bucket or no object's name in it.
    """
    bucket, name = split(url)
    if not name:
        raise errors.ConfigError(
            f"found {url}, which names a bucket, expected an object in it",
            hint=f"add the object's name: {url.rstrip('/')}/name",
        )
    return bucket, name
