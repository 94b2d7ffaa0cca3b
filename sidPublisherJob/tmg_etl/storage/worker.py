"""Threads that fetch ahead and never keep a process alive."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool(concurrent.futures.Executor):
    """A few daemon threads.

    Python's own pool is waited for when the process ends, also by threads that wait for a network
    that is away: a run that is stopped would outlive the seconds that Kubernetes gives it.

    Args:
        threads: most of them; they are started when there is work.
    """

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._futures: set[concurrent.futures.Future[Any]] = set()
        self._is_closed = False

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Have a thread call `fn`; return its future.

        Raises:
            RuntimeError: the pool was shut down.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                future.set_exception(error)

        with self._lock:
            if self._is_closed:
                raise RuntimeError("the store was closed while it was read")
            self._futures.add(future)
            if len(self._threads) < self._limit and not self._idle.acquire(blocking=False):
                name = f"tmg-storage-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        future.add_done_callback(self._forget)
        self._work.put(run)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; what runs goes on, and is waited for if `wait`."""
        with self._lock:
            self._is_closed = True
            threads, waiting = list(self._threads), list(self._futures)
        if cancel_futures:
            for future in waiting:
                future.cancel()
        for _ in threads:
            self._work.put(None)
        if wait:
            for thread in threads:
                thread.join()

    def _serve(self) -> None:
        while True:
            run = self._work.get()
            if run is None:
                return
            run()
            # Not held while it waits for more: it may hold a piece of an object.
            del run
            self._idle.release()

    def _forget(self, future: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._futures.discard(future)
