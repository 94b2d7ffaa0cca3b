"""Parts of one object, fetched ahead of who reads them: what makes Parquet fast over a network.

A reader of Parquet asks for many small parts in an order that is known beforehand: for each column
of a few row groups from front to back. `Parts` is told these parts, joins those that lie close
together, and fetches a few of them at a time in other threads, before they are asked for. What was
not announced is fetched when it is asked for. No I/O here but through `fetch`.
"""

from __future__ import annotations

import bisect
import concurrent.futures
import dataclasses
import io
import itertools
from collections.abc import Callable, Iterable, Sequence

Fetch = Callable[[int, int], bytes]
"""From the first byte to the one after the last: exactly these bytes, or an error."""

#: A gap that is cheaper to fetch than to leave out by a request of its own.
GAP_BYTES = 128 << 10
#: Largest part of one request.
PART_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True, order=True)
class Range:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


def joined(ranges: Iterable[Range], gap_bytes: int = GAP_BYTES) -> list[Range]:
    """Return ranges in order, those that lie closer than `gap_bytes` made one."""
    found: list[Range] = []
    for one in sorted(ranges):
        if found and one.start - found[-1].end <= gap_bytes:
            found[-1] = Range(found[-1].start, max(found[-1].end, one.end))
        else:
            found.append(one)
    return found


def cut(one: Range, part_bytes: int = PART_BYTES) -> list[Range]:
    """Return a range as parts of at most `part_bytes`."""
    starts = range(one.start, one.end, part_bytes)
    return [Range(start, min(start + part_bytes, one.end)) for start in starts]


class Parts:
    """Parts of one file that are fetched ahead; used by one thread.

    Args:
        fetch: gets a range; called in threads of `pool`.
        pool: where it is called.
    """

    def __init__(self, fetch: Fetch, pool: concurrent.futures.Executor) -> None:
        self._fetch, self._pool = fetch, pool
        self._known: list[Range] = []
        self._under_way: dict[Range, concurrent.futures.Future[bytes]] = {}
        # Neighbours of parts that are read as one stream.
        self._after: dict[Range, Range] = {}
        self._before: dict[Range, Range] = {}

    def announce(self, parts: Sequence[Range]) -> None:
        """Fetch parts now; they are kept until `forget`."""
        for part in parts:
            bisect.insort(self._known, part)
            self._start(part)

    def announce_stream(self, parts: Sequence[Range]) -> None:
        """Fetch the first of parts that are read in order, each of the others when it is next.

        The last one that was read is kept besides, for a second reader that follows closely.
        """
        for part in parts:
            bisect.insort(self._known, part)
        for part, following in itertools.pairwise(parts):
            self._after[part], self._before[following] = following, part
        self._start(parts[0])

    def forget(self, parts: Iterable[Range]) -> None:
        """Drop parts that were announced."""
        for part in parts:
            del self._known[bisect.bisect_left(self._known, part)]
            self._drop(part)
            self._after.pop(part, None)
            self._before.pop(part, None)

    def read(self, start: int, end: int) -> bytes:
        """Return bytes, from what was announced where it holds them."""
        found: list[bytes | memoryview] = []
        while start < end:
            index = bisect.bisect_right(self._known, start, key=lambda part: part.start) - 1
            if index < 0 or self._known[index].end <= start:
                found.append(self._fetch(start, end))
                break
            part = self._known[index]
            stop = min(end, part.end)
            data = self._data(part)
            found.append(memoryview(data)[start - part.start : stop - part.start])
            start = stop
        return bytes(found[0]) if len(found) == 1 else b"".join(found)

    def _data(self, part: Range) -> bytes:
        data = self._start(part).result()
        if part in self._after:
            self._start(self._after[part])
        last = self._before.get(part)
        if last is not None and last in self._before:
            self._drop(self._before[last])
        return data

    def _start(self, part: Range) -> concurrent.futures.Future[bytes]:
        found = self._under_way.get(part)
        if found is None:
            found = self._under_way[part] = self._pool.submit(self._fetch, part.start, part.end)
        return found

    def _drop(self, part: Range) -> None:
        found = self._under_way.pop(part, None)
        if found is not None:
            found.cancel()


class File(io.RawIOBase):
    """The file that `pyarrow` reads from: random access over `Parts`.

    Args:
        parts: where bytes come from.
        size_bytes: of the file.
        tail: its last bytes, if they are known already.
    """

    def __init__(self, parts: Parts, size_bytes: int, tail: bytes = b"") -> None:
        super().__init__()
        self.parts, self._size = parts, size_bytes
        #: The last bytes of the file that were asked for.
        self.tail = tail
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than `size` at the end of the file only."""
        end = self._size if size < 0 else min(self._position + size, self._size)
        start, self._position = self._position, max(end, self._position)
        if start >= end:
            return b""
        first = self._size - len(self.tail)
        if end <= first:
            data = self.parts.read(start, end)
            if end == self._size:
                self.tail = data
            return data
        known = self.tail[max(start - first, 0) : end - first]
        return known if start >= first else self.parts.read(start, first) + known
