"""A file-like view of an object that is fetched in ranges, with read-ahead in bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
import io
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from tmg_etl import errors

BUFFER_BYTES = 256 * 1024
"""What a small read fetches at least: a round trip costs more than these bytes."""

PIECE_BYTES = 4 * 1024 * 1024
"""Largest range of one request: long enough that its round trip hardly counts."""

PARALLEL = 4
"""Ranges under way at once for one stream: one connection does not fill the network of a pod.

Together with `PIECE_BYTES` this bounds a stream's memory to 16 MiB.
"""

Fetch = Callable[[int, int], bytes]
"""From the first byte to the one after the last: exactly these bytes, or one of our errors."""


class Checksum(Protocol):
    """A running checksum and what it must be at the end."""

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""

    def verify(self) -> None:
        """Raise errors.TemporaryError when the bytes are not those that the store has."""


def opened(
    size_bytes: int,
    fetch: Fetch,
    pool: concurrent.futures.Executor,
    checksum: Checksum | None = None,
) -> BinaryIO:
    """Return a seekable, buffered stream of an object.

    A stream that is read in order is fetched ahead by as much as was read in order before, at most
    `PARALLEL` pieces. Reads here and there, as Parquet needs them, fetch what is asked for, large
    ones in parallel pieces.

    Args:
        size_bytes: length of the object.
        fetch: gets a range; called in several threads.
        pool: where ranges are fetched.
        checksum: verified when all bytes of the object were read, in order, with or without
            reading some of them again.
    """
    raw = _Ranges(size_bytes, fetch, pool, checksum)
    return cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES))


class _Piece:
    """A range being fetched."""

    def __init__(self, start: int, end: int, data: concurrent.futures.Future[bytes]) -> None:
        self.start, self.end, self.data = start, end, data


class _Ranges(io.RawIOBase):
    """The unbuffered side: copies from pieces that other threads fetch."""

    def __init__(
        self,
        size_bytes: int,
        fetch: Fetch,
        pool: concurrent.futures.Executor,
        checksum: Checksum | None,
    ) -> None:
        super().__init__()
        self._size = size_bytes
        self._fetch, self._pool = fetch, pool
        self._checksum, self._summed = checksum, 0
        self._position = 0
        # Where the reads in order began and where the last of them ended, and how many they were.
        self._run_start, self._run_end, self._run_reads = 0, 0, 0
        self._wanted_until = 0
        self._pieces: collections.deque[_Piece] = collections.deque()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        if self._position != self._run_end:
            self._run_start, self._run_reads = self._position, 0
        self._run_reads += 1
        self._wanted_until = self._position + wanted
        self._drop_unwanted()
        start, done = self._position, 0
        try:
            while done < wanted:
                self._ask()
                done += self._copy(view[done:wanted])
        except BaseException:
            # What was copied is not handed over: who reads again gets it again.
            self._position = start
            self._forget()
            raise
        self._run_end = self._position
        return done

    def readall(self) -> bytes:
        data = bytearray(max(self._size - self._position, 0))
        self.readinto(data)
        return bytes(data)

    def close(self) -> None:
        self._forget()
        super().close()

    def _copy(self, view: memoryview) -> int:
        """Copy from the first piece, which holds the position."""
        piece = self._pieces[0]
        try:
            data = piece.data.result()
        except concurrent.futures.CancelledError:
            raise errors.TemporaryError("the store was closed while it was read") from None
        if len(data) != piece.end - piece.start:
            raise errors.TemporaryError(
                f"got {len(data)} bytes for the range {piece.start} to {piece.end}",
                hint="nothing was used of it; run again",
            )
        offset = self._position - piece.start
        part = memoryview(data)[offset : offset + len(view)]
        view[: len(part)] = part
        self._sum(part)
        self._position += len(part)
        if self._position >= piece.end:
            self._pieces.popleft()
        return len(part)

    def _drop_unwanted(self) -> None:
        while self._pieces and self._pieces[0].end <= self._position:
            self._pieces.popleft().data.cancel()
        if self._pieces and self._pieces[0].start > self._position:
            self._forget()

    def _ask(self) -> None:
        """Have the wanted bytes under way, and what follows when they are read in order."""
        # One large read comes as two from the buffer above: the whole of it, and its end.
        in_order = self._position - self._run_start if self._run_reads > 2 else 0
        ahead = self._position + min(in_order, PARALLEL * PIECE_BYTES)
        until = min(max(self._wanted_until, ahead), self._size)
        while len(self._pieces) < PARALLEL:
            start = self._pieces[-1].end if self._pieces else self._position
            if start >= until:
                return
            length = max(self._wanted_until - start, in_order, BUFFER_BYTES)
            end = min(start + min(length, PIECE_BYTES), self._size)
            self._pieces.append(_Piece(start, end, self._pool.submit(self._fetch, start, end)))

    def _sum(self, part: memoryview) -> None:
        skip = self._summed - self._position
        if self._checksum is None or not 0 <= skip < len(part):
            return
        self._checksum.update(part[skip:])
        self._summed += len(part) - skip
        if self._summed == self._size:
            self._checksum.verify()

    def _forget(self) -> None:
        for piece in self._pieces:
            piece.data.cancel()
        self._pieces.clear()
