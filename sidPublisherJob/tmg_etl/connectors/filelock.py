"""An exclusive lock beside a file or a folder, for systems that have no server to ask.

`flock` on a small file: the kernel releases it when the process dies, however it dies, so that no
lock outlives its run. It excludes threads of one process as well as processes of one machine; a
network file system that does not pass locks on to its server cannot be a target of two machines.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import socket

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import lock, waiting

# What a holder writes is short; a foreign file of that name is not read to its end.
_HOLDER_BYTES = 200


def lock_path(beside: pathlib.Path, table: str) -> pathlib.Path:
    """Return where the lock of a target table is.

    Args:
        beside: the database file, or the folder that holds the tables; may not exist yet. Links
            are followed, so that one file has one lock whatever path leads to it.
        table: the table's identity: the caller folds its case where the system does.
    """
    real = beside.resolve()
    digest = hashlib.sha256(table.encode()).hexdigest()[:12]
    return real.parent / f".{real.name}.{digest}.tmg_etl.lock"


class FileLock(lock.Lock):
    """The lock of one target; not shared between threads.

    Args:
        path: the lock file, see `lock_path`; its folder must exist.
        subject: what is locked, as messages name it.
    """

    def __init__(self, path: pathlib.Path, subject: str) -> None:
        super().__init__(subject)
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, run_id: str, wait_s: float, stop: run_module.StopFlag | None = None) -> None:
        """Take the lock.

        Args:
            run_id: written into the file, for those who wait.
            wait_s: seconds to wait for it; 0 tries once.
            stop: ends the waiting when a signal asks to stop; None: nothing does.

        Raises:
            errors.LockBusyError: another holds it all that time; names it.
            errors.AccessError: the folder or the lock file cannot be written.
            errors.ConfigError: there is no such folder, or no locks on its file system.
            errors.StorageFullError: there is no room for the file.
        """
        if self._descriptor is not None:
            raise RuntimeError(f"{self.subject} is locked already by this run")
        wait = waiting.Wait(self.subject, wait_s, stop)
        while not self._try(run_id):
            wait.pause(self.holder)

    def check(self) -> None:
        """Ask the file system whether the lock file is still the one that is held.

        Raises:
            errors.LockLostError: it was removed or replaced, so that another run may hold a new
                one; or it is not held at all.
        """
        if self._descriptor is None or not self._is_in_place(self._descriptor):
            raise errors.LockLostError(
                f"the lock of {self.subject} is gone: {self.path} was removed or replaced",
                hint="nothing was published; run again, and leave lock files to the runs",
            )

    def release(self) -> None:
        """Give the lock back and remove its file; harmless when called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            # Removed while it is held: who waits on this file finds afterwards that it is not in
            # its place any more, and takes a new one.
            if self._is_in_place(descriptor):
                with contextlib.suppress(OSError):
                    self.path.unlink()
        finally:
            os.close(descriptor)

    def holder(self) -> str | None:
        """Return who holds the lock, as written in its file; None when it does not say."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_HOLDER_BYTES).decode("utf-8", "replace")
        except OSError:
            return None
        return errors.one_line(text) or None

    def _try(self, run_id: str) -> bool:
        """Take the lock if it is free."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._explained(error) from error
        try:
            if not self._flock(descriptor):
                os.close(descriptor)
                return False
            holder = f"run {run_id} (process {os.getpid()} on {socket.gethostname()})"
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise self._explained(error) from error
        self._descriptor = descriptor
        return True

    def _flock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # The holder may have removed the file between our opening and our locking it.
        return self._is_in_place(descriptor)

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except OSError:
            return False

    def _explained(self, error: OSError) -> errors.TmgEtlError:
        reason = error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return errors.AccessError(
                f"{self.subject} cannot be locked: cannot write {self.path}: {reason}",
                hint="a target needs write permission on its folder",
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return errors.StorageFullError(
                f"{self.subject} cannot be locked: cannot write {self.path}: {reason}"
            )
        return errors.ConfigError(
            f"{self.subject} cannot be locked: cannot open {self.path}: {reason}",
            hint="the folder must exist on a file system with locks",
        )
