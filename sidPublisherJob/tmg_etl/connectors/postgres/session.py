"""One connection to the server: how it is opened, what it is set to, how a statement is cancelled.

Every statement of this connector goes through a `Session`, so that errors are translated in one
place and a stop reaches whatever the server is doing.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import psycopg
import psycopg.conninfo

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors.postgres import error

if TYPE_CHECKING:
    from tmg_etl.config import model

# Seconds; a dead peer is noticed after idle + count x interval = one minute, not after two hours.
_CONNECT = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "tmg_etl",
}

# Texts of the server are read and hashed here, so nothing that shapes them is left to the server,
# the database or the user's defaults. A setting that an older server lacks is left out.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    # Even a look at a table's size waits for whoever has locked it; a minute ends it with 75.
    "lock_timeout": "60s",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # Temporary tables go where their target is, which is said in each statement.
    "default_tablespace": "",
    # That of a disk whose heads must move: a merge of few rows would read a large target whole.
    "random_page_cost": "1.1",
}

# A server that builds an index for a client that was killed should notice and let the next run in.
# Servers before 14 lack it, those on Windows refuse it.
_CLIENT_CHECK = {"client_connection_check_interval": "5s"}

#: How long one attempt waits for a lock that others queue behind; readers wait as long.
LOCK_ATTEMPT_MS = 300
#: How long attempts are repeated before the run gives up with a retriable error.
LOCK_PATIENCE_S = 30.0
#: How long a server that was lost at a COMMIT is asked what became of it.
COMMIT_PATIENCE_S = 20.0
_COMMIT_POLL_S = 0.1


class Session:
    """An open connection in autocommit mode.

    Args:
        raw: the psycopg connection.
        place: connection and user, for messages.
        stop: cancels what is under way.
        connect: opens another connection of the same kind.
    """

    def __init__(
        self,
        raw: psycopg.Connection[Any],
        place: str,
        stop: run_module.StopFlag,
        connect: Callable[[], psycopg.Connection[Any]],
    ) -> None:
        self.raw = raw
        self._connect = connect
        self.place = place
        self.stop = stop
        # What is opened after a stop cleans up: it must not be stopped by the same signal.
        self._cleans_up = stop.is_set

    @classmethod
    def open(cls, spec: model.Connection, stop: run_module.StopFlag) -> Self:
        """Connect and set the session up.

        Raises:
            errors.ConfigError: url or options are wrong, or there is no such database.
            errors.AccessError: the server refuses the credentials.
            errors.ConnectionLostError: it cannot be reached.
        """
        place = f"connection {spec.name!r}"
        try:
            given = psycopg.conninfo.conninfo_to_dict(spec.url, **spec.options)
            place = (
                f"{place} ({given.get('user', 'default user')}@{given.get('host', 'localhost')})"
            )
            arguments: dict[str, Any] = {**_CONNECT, **given, "client_encoding": "UTF8"}

            def connect() -> psycopg.Connection[Any]:
                return psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)

            raw = connect()
        except psycopg.Error as found:
            raise error.translate_connect(found, place) from found
        session = cls(raw, place, stop, connect)
        try:
            session._set_up()
        except BaseException:
            raw.close()
            raise
        return session

    def _set_up(self) -> None:
        try:
            self._set(_SETTINGS | _CLIENT_CHECK)
        except (errors.TmgEtlError, psycopg.Error):
            self._set(_SETTINGS)

    def _set(self, settings: Mapping[str, str]) -> None:
        values = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())
        self.execute(
            "SELECT pg_catalog.set_config(s.name, v.value, false)"
            f" FROM (VALUES {values}) AS v (name, value)"
            " JOIN pg_catalog.pg_settings AS s ON lower(s.name) = lower(v.name)",
            can_stop=False,
        )

    @contextlib.contextmanager
    def guarded(self, statement: str = "", *, can_stop: bool = True) -> Iterator[None]:
        """Translate the errors of a block, and cancel it when the run is stopped.

        Args:
            statement: that is executed; empty for something else.
            can_stop: False for what must also work after a stop: cleaning up.
        """
        with contextlib.ExitStack() as stack:
            if can_stop and not self._cleans_up:
                stack.enter_context(self.stop.cancelling(self.cancel))
            try:
                yield
            except psycopg.Error as found:
                raise self.translated(found, statement, can_stop=can_stop) from found

    def translated(
        self, found: psycopg.Error, statement: str = "", *, can_stop: bool = True
    ) -> Exception:
        """Return what to raise for an exception of psycopg: itself, when it is a bug.

        Raises:
            errors.Stopped: it is the cancellation that a stop asked for.
        """
        if can_stop and isinstance(found, psycopg.errors.QueryCanceled):
            self.stop.check()
        return error.translate(found, self.place, statement) or found

    def cancel(self) -> None:
        """Make the running statement fail soon; called from another thread."""
        self.raw.cancel_safe(timeout=5)

    def execute(
        self,
        statement: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        can_stop: bool = True,
    ) -> psycopg.Cursor[Any]:
        """Run a statement and return its cursor; ``%s`` is a parameter only if some are given."""
        with self.guarded(statement, can_stop=can_stop):
            return self.raw.execute(statement.encode(), parameters or None)

    def rows(
        self,
        statement: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        can_stop: bool = True,
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        with self.guarded(can_stop=can_stop):
            return self.raw.execute(statement.encode(), parameters or None).fetchall()

    def value(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the only value of a query that has one."""
        return self.rows(statement, parameters)[0][0]

    @contextlib.contextmanager
    def transaction(self, begin: str = "BEGIN") -> Iterator[None]:
        """Run a block in one transaction; `begin` names its isolation.

        Raises:
            errors.ConnectionLostError: nothing was committed.
            errors.TemporaryError: the connection was lost at the COMMIT, and the server did not
                come back in `COMMIT_PATIENCE_S` to say what became of it.
        """
        try:
            # What is cancelled in it may have begun a transaction already.
            number = self._begin(begin)
            yield
            try:
                self.execute("COMMIT", can_stop=False)
            except errors.ConnectionLostError as lost:
                if number is None or not self._was_committed(number, lost):
                    raise
        except BaseException:
            # After a COMMIT that did not get through as well: what follows must not be part of it.
            self.roll_back()
            raise

    def _begin(self, begin: str) -> int | None:
        """Start a transaction; return its number, None where it only reads."""
        if "READ ONLY" in begin:
            self.execute(begin)
            return None
        # In one round trip, and not at the end: there, readers may be waiting for the COMMIT.
        cursor = self.execute(f"{begin}; SELECT pg_catalog.txid_current()")
        while cursor.nextset():
            pass
        found = cursor.fetchone()
        return int(found[0]) if found else None

    def _was_committed(self, number: int, lost: errors.ConnectionLostError) -> bool:
        """Ask over a new connection what became of a transaction; go on with it if it committed.

        Source: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
        """
        deadline = time.monotonic() + COMMIT_PATIENCE_S
        while time.monotonic() < deadline and not self.stop.is_set:
            status = None
            with contextlib.suppress(psycopg.OperationalError), self._connect() as other:
                try:
                    found = other.execute("SELECT pg_catalog.txid_status(%s)", [number]).fetchone()
                except psycopg.errors.InvalidParameterValue:
                    return False  # "in the future": a crash has forgotten it
                status = found[0] if found else None
            if status == "committed":
                self.raw.close()
                self.raw = self._connect()
                self._set_up()
                return True
            if status == "aborted":
                return False
            # In progress: the server has not noticed yet that its client is gone.
            time.sleep(_COMMIT_POLL_S)
        raise errors.TemporaryError(
            f"{lost.message}, at the COMMIT; whether it was carried out is not known",
            hint="run it again: the target is the old state or the new one",
        ) from lost

    def roll_back(self) -> None:
        """Leave the transaction; a connection that is gone has left it already."""
        with contextlib.suppress(psycopg.Error):
            self.raw.execute("ROLLBACK")

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run a block within the open transaction, which goes on when the block is undone."""
        self.execute("SAVEPOINT _tmg_attempt")
        try:
            yield
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                self.raw.execute("ROLLBACK TO SAVEPOINT _tmg_attempt")
            raise
        self.execute("RELEASE SAVEPOINT _tmg_attempt")

    def patiently(
        self,
        attempt: Callable[[], None],
        what: str,
        holder: Callable[[], str | None],
        *,
        is_nested: bool = False,
    ) -> None:
        """Repeat a transaction that needs a lock others queue behind, until it gets it.

        Each attempt waits `LOCK_ATTEMPT_MS` at most, and between them everybody else gets through.

        Args:
            attempt: its statements.
            what: for messages.
            holder: returns who keeps it waiting, None where that is not known.
            is_nested: repeat a part of the open transaction instead.

        Raises:
            errors.TemporaryError: it did not get it in `LOCK_PATIENCE_S`.
        """
        deadline = time.monotonic() + LOCK_PATIENCE_S
        pause_s = 0.1
        while True:
            self.stop.check()
            try:
                limit = f"SET LOCAL lock_timeout = {LOCK_ATTEMPT_MS}"
                with self.savepoint() if is_nested else self.transaction(f"BEGIN; {limit}"):
                    if is_nested:
                        self.execute(limit)
                    attempt()
                    if is_nested:
                        self.execute("SET LOCAL lock_timeout = 0")
                return
            except errors.TemporaryError as found:
                cause = found.__cause__
                if not (has_waited(found) or isinstance(cause, psycopg.errors.DeadlockDetected)):
                    raise
                if time.monotonic() > deadline:
                    who = holder()
                    raise errors.TemporaryError(
                        f"{self.place}: {what}: no lock in {LOCK_PATIENCE_S:g} s"
                        f"{f': held by {who}' if who else ''}",
                        hint="that must end first; run it again later",
                    ) from cause
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts
            pause_s = min(pause_s * 2, 2.0)

    def close(self) -> None:
        """Close the connection; harmless when called again."""
        with contextlib.suppress(psycopg.Error):
            self.raw.close()


def has_waited(found: errors.TemporaryError) -> bool:
    """Return whether the error is that a lock was not to be had in the time allowed."""
    return isinstance(found.__cause__, psycopg.errors.LockNotAvailable)


def is_crossed(found: errors.TmgEtlError) -> bool:
    """Return whether somebody else wrote, or has locked, what a statement was to write."""
    crossed = (
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DeadlockDetected,
        psycopg.errors.SerializationFailure,
        psycopg.errors.UniqueViolation,
    )
    cause: BaseException | None = found
    while cause is not None:
        if isinstance(cause, crossed):
            return True
        cause = cause.__cause__
    return False


def quote(name: str) -> str:
    """Return an identifier, quoted whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string literal; sessions have standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def require_name(name: str) -> None:
    """Refuse a name that PostgreSQL would cut without a word.

    Raises:
        errors.ConfigError: it has more than 63 bytes, none, or the character NUL.
    """
    size = len(name.encode())
    if not 1 <= size <= 63 or "\0" in name:
        raise errors.ConfigError(
            f"the name {errors.shorten(name)} has {size} bytes, PostgreSQL allows 1 to 63",
            hint="choose another name",
        )
