"""Who may write a table: an advisory lock on a connection of its own.

The lock ends with its connection. Its number is made of the names of schema and table, so that it
survives a swap and holds for a table that does not exist yet.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import psycopg

from tmg_etl import errors
from tmg_etl.connectors import waiting
from tmg_etl.connectors.postgres import session as session_module

_HOLDER = """
SELECT a.application_name, l.pid, a.usename, host(a.client_addr)
FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE {match} AND l.granted
"""

# Advisory locks of one bigint are shown as two halves, with objsubid 1.
_MATCH = (
    "l.locktype = 'advisory' AND l.objsubid = 1"
    " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    " AND l.classid = {high} AND l.objid = {low}"
)


class TableLock:
    """The lock on one table, held by its own session while `held` runs.

    Args:
        connect: opens that session.
        schema: of the table.
        table: its name.
    """

    def __init__(
        self, connect: Callable[[], session_module.Session], schema: str, table: str
    ) -> None:
        self._connect = connect
        self._table = table
        digest = hashlib.sha256(f"tmg_etl\0{schema}\0{table}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        number = self._key % 2**64
        self._match = _MATCH.format(high=number >> 32, low=number % 2**32)
        self._pid: int | None = None

    @contextlib.contextmanager
    def held(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold the lock for the length of a block.

        Raises:
            errors.LockBusyError: another run held it for `wait_s` seconds.
        """
        own = self._connect()
        try:
            self._acquire(own, f"tmg_etl {run_id}", wait_s)
            self._pid = own.raw.info.backend_pid
            yield
        finally:
            self._pid = None
            # Said aloud, because a closed socket is noticed by the server a moment later only.
            with contextlib.suppress(psycopg.Error):
                own.raw.execute("SELECT pg_advisory_unlock_all()")
            own.close()

    def _acquire(self, own: session_module.Session, name: str, wait_s: float) -> None:
        wait = waiting.Wait(self._table, wait_s)
        attempt = (
            f"SELECT pg_try_advisory_lock({self._key}), set_config('application_name', %s, false)"
        )
        while not own.value(attempt, [name]):
            wait.pause(lambda: self._holder(own))

    def _holder(self, own: session_module.Session) -> str | None:
        found = own.rows(_HOLDER.format(match=self._match))
        if not found:
            return None
        application, pid, user, address = found[0]
        who = (application or "").removeprefix("tmg_etl ") or "an unnamed client"
        return f"run {who} (server process {pid}, user {user}, from {address or 'a local socket'})"

    def check(self, main: session_module.Session) -> None:
        """Ask the server, over the main session, whether the lock's session still holds it.

        Raises:
            errors.LockLostError: it does not.
        """
        held = self._pid is not None and main.rows(
            f"SELECT 1 FROM pg_catalog.pg_locks AS l WHERE {self._match} AND l.granted"
            f" AND l.pid = {self._pid}"
        )
        if not held:
            raise errors.LockLostError(
                f"{self._table}: this run no longer holds its lock on the target",
                hint="its connection was lost or ended by somebody; run it again",
            )
