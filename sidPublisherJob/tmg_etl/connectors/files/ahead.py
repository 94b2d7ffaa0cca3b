"""Several files at once: the next ones are being read while the first one is used.

For files whose requests cost time. Each file is read in a thread of its own, a few batches ahead;
what it gives stays in the order of the files.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from tmg_etl.connectors.files import location

Item = TypeVar("Item")

#: Most files that are read at once.
MOST_FILES = 8
#: Files are begun ahead until they are so large together; one is ahead whatever its size.
AHEAD_BYTES = 32 << 20
_DEPTH = 2
_POLL_S = 0.1


class _End:
    """Marks the end of a file, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Reading(Generic[Item]):
    """One file being read in a thread of its own."""

    def __init__(self, items: Iterator[Item], size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._items = items
        self._ready: queue.Queue[Item | _End] = queue.Queue(maxsize=_DEPTH)
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="tmg-etl-file", daemon=True)
        self._thread.start()

    def _put(self, item: Item | _End) -> bool:
        while not self._abandoned.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _produce(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as caught:  # noqa: BLE001 - raised again in the consumer
            error = caught
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        self._put(_End(error))

    def items(self) -> Iterator[Item]:
        while True:
            item = self._ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def abandon(self) -> None:
        self._abandoned.set()

    def join(self) -> None:
        self._thread.join()


def in_order(
    files: Sequence[location.File], read: Callable[[location.File], Iterator[Item]]
) -> Iterator[Item]:
    """Yield what `read` gives for each file, in the order of the files.

    Closing the generator ends the threads at their next item and waits for them. An error of a
    file is raised when it is its turn.
    """
    waiting = collections.deque(files)
    readings: collections.deque[_Reading[Item]] = collections.deque()

    def begin() -> None:
        while waiting and len(readings) < MOST_FILES:
            size = sum(reading.size_bytes for reading in readings) + waiting[0].stamp.size_bytes
            if len(readings) >= 2 and size > AHEAD_BYTES:
                return
            file = waiting.popleft()
            readings.append(_Reading(read(file), file.stamp.size_bytes))

    try:
        begin()
        while readings:
            yield from readings[0].items()
            readings.popleft().join()
            begin()
    finally:
        for reading in readings:
            reading.abandon()
        for reading in readings:
            reading.join()
