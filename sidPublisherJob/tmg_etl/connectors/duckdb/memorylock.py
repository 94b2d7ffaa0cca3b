"""The lock of a table in the process's memory: nobody outside can reach it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tmg_etl import errors
from tmg_etl import run as run_module

_POLL_S = 0.02
_HOLDERS: dict[str, str] = {}
_GUARD = threading.Lock()


class MemoryLock:
    """An exclusive lock among the threads of this process.

    Args:
        key: equal for all who mean the same table.
        subject: what is locked, as messages name it.
    """

    def __init__(self, key: str, subject: str) -> None:
        self._key = key
        self._subject = subject
        self._is_held = False

    @contextlib.contextmanager
    def hold(
        self, run_id: str, wait_s: float, stop: run_module.StopFlag | None = None
    ) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block; see `filelock.FileLock.acquire`."""
        deadline = time.monotonic() + wait_s
        while True:
            with _GUARD:
                holder = _HOLDERS.get(self._key)
                if holder is None:
                    _HOLDERS[self._key] = run_id
                    break
            if stop is not None:
                stop.check()
            if time.monotonic() >= deadline:
                raise errors.LockBusyError(self._subject, wait_s, f"run {holder}")
            time.sleep(_POLL_S)
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            with _GUARD:
                _HOLDERS.pop(self._key, None)

    def check(self) -> None:
        """Raise `errors.LockLostError` if the lock is not held."""
        if not self._is_held:
            raise errors.LockLostError(f"the lock of {self._subject} is not held")
