"""The lock of a table in the process's memory: nobody outside can reach it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import waiting

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
        wait = waiting.Wait(self._subject, wait_s, stop)
        while (holder := self._try(run_id)) is not None:
            wait.pause(functools.partial("run {}".format, holder))
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            with _GUARD:
                _HOLDERS.pop(self._key, None)

    def _try(self, run_id: str) -> str | None:
        """Take the lock if it is free; return who holds it else."""
        with _GUARD:
            holder = _HOLDERS.get(self._key)
            if holder is None:
                _HOLDERS[self._key] = run_id
            return holder

    def check(self) -> None:
        """Raise `errors.LockLostError` if the lock is not held."""
        if not self._is_held:
            raise errors.LockLostError(f"the lock of {self._subject} is not held")
