"""What the locks have in common that are not sessions of a database: `filelock` and `lease`."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from typing import final

from tmg_etl import run as run_module


class Lock(abc.ABC):
    """The lock of one target.

    Args:
        subject: what is locked, as messages name it.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject

    @final
    @contextlib.contextmanager
    def hold(
        self, run_id: str, wait_s: float, stop: run_module.StopFlag | None = None
    ) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block; see `acquire`."""
        self.acquire(run_id, wait_s, stop)
        try:
            yield
        finally:
            self.release()

    @abc.abstractmethod
    def acquire(self, run_id: str, wait_s: float, stop: run_module.StopFlag | None = None) -> None:
        """Take the lock.

        Args:
            run_id: written down, for those who wait.
            wait_s: seconds to wait for it; 0 tries once.
            stop: ends the waiting when a signal asks to stop; None: nothing does.

        Raises:
            errors.LockBusyError: another holds it all that time; names it.
        """

    @abc.abstractmethod
    def release(self) -> None:
        """Give the lock back; harmless when called again."""
