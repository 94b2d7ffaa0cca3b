"""What a place that holds files can do, for local folders and buckets alike. No I/O here.

Files are named by *path*: absolute on a disk, a whole URL in a bucket; ``/`` separates folders in
both. `disk` and `bucket` are the two kinds of place. Nothing else in this package asks which one it
has, except to be fast: `Lake.is_remote` says that requests cost time.
"""

from __future__ import annotations

import abc
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, ClassVar, TypeVar

from tmg_etl.connectors.files import ranges

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What tells one state of a file from another.

    Attributes:
        size_bytes: as stored, which for ``.gz`` is compressed.
        changed_ns: when it was written, in nanoseconds since 1970.
        version: inode on a disk, generation in a bucket.
    """

    size_bytes: int
    changed_ns: int
    version: str


@dataclasses.dataclass(frozen=True)
class Found:
    """One file of a listing."""

    path: str
    stamp: Stamp


class Meter:
    """Counts bytes that were read; safe to use from several threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.bytes_read = 0

    def add(self, size_bytes: int) -> None:
        """Count `size_bytes` more."""
        with self._mutex:
            self.bytes_read += size_bytes


class Lake(abc.ABC):
    """The place that a connection's `url` names, as one source or target uses it.

    Args:
        root: path of the folder of the tables.
    """

    is_remote: ClassVar[bool]

    def __init__(self, root: str) -> None:
        self.root = root
        self.meter = Meter()

    def below(self, path: str, start: str) -> tuple[str, ...] | None:
        """Return the names that lead from the folder `start` to `path`; None: it is elsewhere."""
        folder = start if start.endswith("/") else f"{start}/"
        return tuple(path[len(folder) :].split("/")) if path.startswith(folder) else None

    @abc.abstractmethod
    def absence(self) -> str | None:
        """Return why there can be no tables here at all, as one phrase; None: there can."""

    @abc.abstractmethod
    def candidates(self, table: str, endings: Sequence[str]) -> list[str]:
        """Return the paths that a table of that name may mean; a folder's path ends in ``/``."""

    @abc.abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, hidden ones too, for messages; none when it is not there.

        Args:
            folder: relative to the root; empty is the root itself. Of a very large folder in a
                bucket only the first names are given.
        """

    @abc.abstractmethod
    def files(self, path: str) -> list[Found]:
        """Return the files of a candidate: itself, or all below it that are not hidden."""

    @abc.abstractmethod
    def match(self, path: str, connection: str) -> tuple[str, list[Found]]:
        """Return the files that a `path:` of the config means: a file, a folder or a glob.

        Returns:
            The folder or file that partitions are looked for below, and the files in no order.

        Raises:
            errors.ConfigError: there is nothing.
        """

    @abc.abstractmethod
    def check_unchanged(self, path: str, name: str, stamp: Stamp) -> None:
        """Make sure that a file still is in the state `stamp`, where reading does not.

        Raises:
            errors.TemporaryError: it is not.
        """

    @abc.abstractmethod
    def open(self, path: str, stamp: Stamp) -> BinaryIO:
        """Return a buffered stream of a file's bytes, to be read from start to end.

        Raises:
            errors.TemporaryError: now or while reading: it is not in the state `stamp` any more.
        """

    @abc.abstractmethod
    def random_access(self, path: str, stamp: Stamp, tail: bytes = b"") -> str | ranges.File:
        """Return what `pyarrow` reads a file from: its path on a disk, or ranges of an object.

        Args:
            path: the file.
            stamp: the state to read.
            tail: its last bytes, if they are known already.
        """

    def mapped(self, function: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        """Yield what `function` makes of each item, in order; at once where requests cost time."""
        return map(function, items)

    def close(self) -> None:  # noqa: B027 - not every place has something to close
        """Give back connections; harmless when called again."""


def is_hidden(name: str) -> bool:
    """Return whether readers of a lake skip a file or folder of that name.

    A leading dot or underscore, as in ``_SUCCESS`` and ``_temporary``; ``_day=1`` is a partition.
    """
    return name.startswith(".") or (name.startswith("_") and "=" not in name)
