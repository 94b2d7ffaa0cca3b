"""One server connection with the settings that everything else relies on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pymysql

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors.mysql import error, stream
from tmg_etl.connectors.mysql import type as type_module

#: Strict: a value that does not fit is an error wherever the server can make it one. Backslash
#: escapes and double-quoted strings are on, whatever the server's default is. Zero stays zero in an
#: auto-increment column.
SQL_MODE = ",".join(
    (
        "STRICT_ALL_TABLES",
        "NO_ENGINE_SUBSTITUTION",
        "NO_ZERO_DATE",
        "NO_ZERO_IN_DATE",
        "ERROR_FOR_DIVISION_BY_ZERO",
        "NO_AUTO_VALUE_ON_ZERO",
    )
)

_WEEK_S = 7 * 24 * 3600
#: How long a lost connection may take to end once it was told to.
_END_S = 10.0
_END_POLL_S = 0.02
_IS_CONNECTED = "SELECT 1 FROM information_schema.processlist WHERE id = %s"
_SETTINGS: dict[str, str | int] = {
    "sql_mode": SQL_MODE,
    "time_zone": "+00:00",
    # PyMySQL believes what servers say before the login: that it is on.
    "autocommit": 1,
    "completion_type": 0,
    # A server may give all its sessions fewer rows than there are, and refuse statements.
    "sql_select_limit": 2**64 - 1,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
    # Messages are parsed for the row and the column.
    "lc_messages": "en_US",
    # A run may think for hours between two statements; the server must not hang up meanwhile.
    "wait_timeout": _WEEK_S,
    "net_read_timeout": 7200,
    "net_write_timeout": 7200,
    # Waiting for another session's lock ends in a minute and in a retriable error.
    "lock_wait_timeout": 60,
    "innodb_lock_wait_timeout": 60,
    "max_error_count": 65535,
    # Pieces of a long text are put together again by GROUP_CONCAT.
    "group_concat_max_len": 2**32 - 1,
}
_MARIADB_SETTINGS: dict[str, str | int] = {
    "max_statement_time": 0,
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}
_MYSQL_SETTINGS: dict[str, str | int] = {
    "max_execution_time": 0,
    # Else the catalogue answers from a cache that is up to a day old.
    "information_schema_stats_expiry": 0,
    # A key that the server adds to a table without one belongs to nobody.
    "show_gipk_in_create_table_and_information_schema": 0,
    # Staged rows need none.
    "sql_require_primary_key": 0,
}
#: Without these, values would be read and written otherwise. Any other setting that an ordinary
#: user may not change, as `max_error_count` on MySQL 9, is left as the server has it.
_NEEDED = frozenset({"autocommit", "sql_mode", "sql_select_limit", "time_zone"})


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a server is and who asks; the password is never shown.

    Attributes:
        name: the connection's name in the config.
        host: name or address of the server.
        port: its TCP port.
        user: who connects.
        password: the secret.
        database: the database that tables are in.
        options: further arguments of PyMySQL.
    """

    name: str
    host: str
    port: int
    user: str
    password: str = dataclasses.field(repr=False)
    database: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """Return the place as messages name it."""
        return f"connection {self.name!r} (mysql://{self.user}@{self.host}:{self.port}/{self.database})"


class Session:
    """One server connection; opened by the constructor.

    Args:
        place: where to.
        stop: returns the run's stop flag, asked at each statement.
        settings: names of those that the server is known to take from this user; None: not known.

    Raises:
        errors.ConnectionLostError: the server cannot be reached.
        errors.AccessError: it refuses the credentials.
        errors.ConfigError: no such database.
    """

    def __init__(
        self,
        place: Place,
        stop: Callable[[], run_module.StopFlag],
        settings: frozenset[str] | None = None,
    ) -> None:
        self.place = place
        self._stop = stop
        self._taken = settings
        self._connect()

    def _connect(self) -> None:
        place = self.place
        with self.translating():
            self.connection = stream.StreamConnection(
                host=place.host,
                port=place.port,
                user=place.user,
                # The driver would write text in Latin-1; servers hash what clients sent as UTF-8.
                password=place.password.encode(),
                database=place.database,
                charset="utf8mb4",
                autocommit=True,
                program_name="tmg_etl",
                **{"connect_timeout": 10, **place.options},
            )
        self.id = int(self.connection.server_thread_id[0])
        self.is_mariadb = "mariadb" in str(self.connection.server_version).lower()
        self._configure(_SETTINGS | (_MARIADB_SETTINGS if self.is_mariadb else _MYSQL_SETTINGS))

    def commit(self) -> None:
        """Commit, also after a stop.

        Raises:
            errors.CommitUnknownError: the connection was lost, and is open again. The lost one has
                ended: what it did is done, or rolled back. Or the COMMIT was killed while it
                waited, as behind a backup: the server rolls back then.
        """
        try:
            # Once only: a second one would succeed, with nothing to commit.
            with self.translating():
                self._execute("COMMIT", ())
        except errors.ConnectionLostError as lost:
            former = self.id
            self.close()
            self._connect()
            # The server may not have noticed that its client is gone.
            with contextlib.suppress(errors.TmgEtlError):
                self.run(f"KILL {former}", cancellable=False)
            deadline = time.monotonic() + _END_S
            while self.rows(_IS_CONNECTED, (former,)):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_END_POLL_S)
            raise errors.CommitUnknownError(
                f"{lost.message}, at the COMMIT", hint="the run can be repeated as it is"
            ) from lost
        except errors.TemporaryError as refused:
            raise errors.CommitUnknownError(
                f"{refused.message}, at the COMMIT", hint=refused.hint
            ) from refused

    def _configure(self, settings: Mapping[str, str | int]) -> None:
        if self._taken is not None:
            settings = {name: value for name, value in settings.items() if name in self._taken}
        try:
            self._set(settings)
            self._taken = frozenset(settings)
        except (errors.AccessError, errors.ConfigError):  # which does not say what was refused
            # First of all: else fewer names may be listed than there are.
            self._set({name: settings[name] for name in sorted(_NEEDED)})
            known = self.rows(
                "SHOW SESSION VARIABLES WHERE Variable_name IN %s", (tuple(settings),)
            )
            self._taken = frozenset(
                str(name) for name, _ in known if self._takes(name, settings[name])
            )

    def _takes(self, name: str, value: str | int) -> bool:
        try:
            self._set({name: value})
        except errors.AccessError:
            return False
        return True

    def _set(self, values: Mapping[str, str | int]) -> None:
        assignments = ", ".join(f"SESSION {name} = %s" for name in values)
        self.run(f"SET {assignments}", tuple(values.values()), cancellable=False)

    @contextlib.contextmanager
    def translating(self, table: str | None = None) -> Iterator[None]:
        """Raise this product's errors instead of the driver's."""
        try:
            yield
        except (pymysql.err.MySQLError, OSError, RuntimeError) as failure:
            raise error.translated(failure, str(self.place), table) from failure

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[None]:
        """Let a stop signal end the block's statement by ``KILL QUERY``.

        Raises:
            errors.Stopped: a signal has asked to stop.
        """
        stop = self._stop()
        try:
            with stop.cancelling(self.cancel):
                yield
        except errors.TemporaryError:
            stop.check()  # the kill is the reason, not the error
            raise

    def run(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        table: str | None = None,
        cancellable: bool = True,
    ) -> int:
        """Execute a statement; return the rows it touched.

        Args:
            sql: one statement.
            parameters: values for its ``%s``.
            table: the table that is written, for messages.
            cancellable: False for the statements of a cleanup, which run after a stop too.
        """
        if not cancellable:
            return self._run_to_the_end(sql, parameters, table)
        with self.cancelling(), self.translating(table):
            return self._execute(sql, parameters)

    def _run_to_the_end(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any], table: str | None
    ) -> int:
        with self.translating(table):
            try:
                return self._execute(sql, parameters)
            except pymysql.err.MySQLError as failure:
                # A KILL that was meant for the statement before.
                if error.number_of(failure) != error.INTERRUPTED:
                    raise
                return self._execute(sql, parameters)

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> int:
        with self.connection.cursor() as cursor:
            return int(cursor.execute(sql, parameters or None))

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        with self.translating(), self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def duplicates(self) -> int:
        """Return how many rows the last ``INSERT … ON DUPLICATE KEY UPDATE`` changed."""
        # "Records: 3  Duplicates: 1  Warnings: 0", which the driver keeps and does not hand out.
        found = re.search(rb"Duplicates: (\d+)", self.connection._result.message)
        assert found is not None
        return int(found[1])

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the one value of a query."""
        return self.rows(sql, parameters)[0][0]

    @functools.cached_property
    def has_sequence(self) -> bool:
        """Return whether MariaDB's tables of numbers can be read; MySQL has none."""
        try:
            self.rows(f"SELECT 1 FROM {type_module.SEQUENCE} LIMIT 1")
        except errors.TmgEtlError:
            return False
        return True

    def sibling(self) -> Session:
        """Return another connection to the same place."""
        return Session(self.place, self._stop, self._taken)

    def cancel(self) -> None:
        """End the statement that this connection is executing; called from another thread."""
        other = self.sibling()
        try:
            other.run(f"KILL QUERY {self.id}", cancellable=False)
        finally:
            other.close()

    def check_stop(self) -> None:
        """Raise `errors.Stopped` if a signal has asked to stop."""
        self._stop().check()

    def close(self) -> None:
        """Hang up; harmless when called again."""
        with contextlib.suppress(Exception):
            # `close` waits for nobody: an unfinished result is dropped with the socket.
            self.connection._force_close()
