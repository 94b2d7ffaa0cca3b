"""Batches on their way: in the background, and in useful sizes.

Reading, encoding and the server's own work overlap, because each of them spends its time outside
the interpreter. Never more than a few batches are held.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

import pyarrow as pa

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.1


class _End:
    """Marks the end of the items, with the error that ended them."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Yield `items`, made in a thread of their own, at most `depth` ahead.

    An error of the producer is raised here, after the items before it. Closing the generator ends
    the thread at its next item and waits for it, so that nobody uses a closed connection.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    abandoned = threading.Event()

    def put(item: Item | _End) -> bool:
        while not abandoned.is_set():
            try:
                ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as caught:  # noqa: BLE001 - raised again in the consumer
            error = caught
        try:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        except BaseException as caught:  # noqa: BLE001 - else the consumer would wait for ever
            error = error or caught
        put(_End(error))

    thread = threading.Thread(target=produce, name="tmg-etl-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        abandoned.set()
        thread.join()


def spread(
    call: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what `call` makes of it, at most `workers` calls at once.

    With more than one worker items come as they are finished, and the first error ends it once the
    other calls under way have ended.
    """
    if workers == 1:
        for item in items:
            yield item, call(item)
        return
    running: dict[futures.Future[Result], Item] = {}
    with futures.ThreadPoolExecutor(workers, thread_name_prefix="tmg-etl-load") as pool:
        for item in items:
            running[pool.submit(call, item)] = item
            if len(running) == workers:
                yield from _finished(running, futures.FIRST_COMPLETED)
        yield from _finished(running, futures.ALL_COMPLETED)


def _finished(
    running: dict[futures.Future[Result], Item], until: str
) -> Iterator[tuple[Item, Result]]:
    done = futures.wait(running, return_when=until).done
    # In the order of the items, so that of two errors the earlier one is raised.
    for future in [future for future in running if future in done]:
        yield running.pop(future), future.result()


def rebatched(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of about `rows`, never more.

    Small batches are joined: a statement for each of them would cost more than its rows.
    """
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            piece = batch.slice(start, rows)
            if count + piece.num_rows > rows:
                yield _joined(waiting)
                waiting, count = [], 0
            waiting.append(piece)
            count += piece.num_rows
            if count * 2 > rows:
                yield _joined(waiting)
                waiting, count = [], 0
    if count:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
