"""The advisory lock of a target: ``GET_LOCK`` on a connection of its own.

It belongs to the server, ends with its connection, and is not replicated: on a Galera cluster two
runs that connect to different nodes do not see each other.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from tmg_etl import errors
from tmg_etl.connectors import waiting
from tmg_etl.connectors.mysql import session as session_module


class Lock:
    """The lock of one table.

    Args:
        main: the connection that publishes; asked by `check`.
        table: the table, as the user names it.
    """

    def __init__(self, main: session_module.Session, table: str) -> None:
        self._main = main
        self._table = table
        # Names of locks are shared by all databases of a server, and at most 64 characters.
        whole = f"{main.place.database}\0{table}"
        self.name = f"tmg_etl:{hashlib.sha256(whole.encode()).hexdigest()[:48]}"
        self._holder: session_module.Session | None = None

    @contextlib.contextmanager
    def hold(self, wait_s: float) -> Iterator[None]:
        """Hold the lock for the length of a block.

        Raises:
            errors.LockBusyError: another connection held it for `wait_s` seconds.
        """
        holder = self._main.sibling()
        try:
            self._acquire(holder, wait_s)
            self._holder = holder
            yield
        finally:
            self._holder = None
            with contextlib.suppress(errors.TmgEtlError):
                holder.rows("SELECT RELEASE_LOCK(%s)", (self.name,))
            holder.close()

    def _acquire(self, holder: session_module.Session, wait_s: float) -> None:
        wait = waiting.Wait(self._table, wait_s)
        # Not waited for by the server, which would not hear a stop.
        while holder.value("SELECT GET_LOCK(%s, 0)", (self.name,)) != 1:
            holder.check_stop()
            wait.pause(lambda: self._describe_holder(holder))

    def _describe_holder(self, asking: session_module.Session) -> str | None:
        owner = asking.value("SELECT IS_USED_LOCK(%s)", (self.name,))
        if owner is None:
            return None
        # Other users' connections are listed only to those who have the privilege PROCESS.
        found = asking.rows(
            "SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE ID = %s", (owner,)
        )
        who = f" ({found[0][0]}@{found[0][1]})" if found else ""
        return f"connection {owner}{who}"

    def check(self) -> None:
        """Ask the server, on the main connection, whether the lock is still held.

        Raises:
            errors.LockLostError: it is not.
        """
        owner = self._main.value("SELECT IS_USED_LOCK(%s)", (self.name,))
        if self._holder is None or owner != self._holder.id:
            now = "nobody holds it" if owner is None else f"connection {owner} holds it"
            raise errors.LockLostError(
                f"{self._table}: the lock {self.name} was lost ({now})",
                hint="nothing was published; run again",
            )
