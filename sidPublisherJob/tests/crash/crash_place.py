"""The table ``t`` in each kind of database, looked at with the raw drivers."""

from __future__ import annotations

import abc
import contextlib
import datetime
import hashlib
import pathlib
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import duckdb
import psycopg

from tmg_etl.testing import process

Row = tuple[int, datetime.date, int, str]
_COLUMNS = "id BIGINT NOT NULL PRIMARY KEY, day DATE NOT NULL, version BIGINT, note VARCHAR(20)"
_DUCKDB_TABLES = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
_INDEX = "CREATE INDEX t_day ON t (day)"


class Place(abc.ABC):
    """A database with the table ``t``; everything here goes through its raw driver.

    Args:
        folder: the test's own.
    """

    #: Whether the file can be open in one process only, so that no other can overtake it.
    excludes_processes = False

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def peek(self) -> list[Row] | None:
        """All rows while a run has the table in hand; None where it lets nobody look."""
        return None if self.excludes_processes else self.rows()

    @property
    @abc.abstractmethod
    def connection(self) -> Mapping[str, Any]:
        """Its entry in the config."""

    @abc.abstractmethod
    def reset(self, rows: list[Row]) -> None:
        """Have exactly these rows."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Have no table."""

    @abc.abstractmethod
    def has_table(self) -> bool:
        """Whether there is one."""

    @abc.abstractmethod
    def rows(self) -> list[Row]:
        """All rows, in order."""

    @abc.abstractmethod
    def leftovers(self) -> list[str]:
        """Temporary tables, locks, open connections and files."""

    def look(self) -> tuple[list[Row], list[str]]:
        """All rows, and what is left beside them."""
        return self.rows(), self.leftovers()

    @abc.abstractmethod
    def tidy(self) -> None:
        """Have the tables as they were made, and nothing beside them."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Wait until the server has noticed that dead processes are gone."""

    @abc.abstractmethod
    def cut_lock(self) -> bool:
        """End the connection or remove the file that holds the lock; whether there was one."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the database back."""


class ServerPlace(Place):
    """A database of a server, over one connection that is kept: a new one for each look took most
    of the time.
    """

    server: process.Server

    def __init__(self, folder: pathlib.Path, server: process.Server) -> None:
        super().__init__(folder)
        self.server = server
        self.name = f"crash_{secrets.token_hex(4)}"
        self.url = server.create_database(self.name)
        self._kept: Any = None
        self._make()

    @abc.abstractmethod
    def _make(self) -> None:
        """Create the table."""

    @contextlib.contextmanager
    def _raw(self) -> Iterator[Any]:
        """Yield the kept connection; after an error the next one is new."""
        if self._kept is None:
            self._kept = self.server.connect(self.name)
        try:
            yield self._kept
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            with contextlib.suppress(Exception):  # it may be lost already
                kept.close()

    def restart(self) -> None:
        """Restart the server."""
        self._hang_up()
        self.server.restart()

    def close(self) -> None:
        self._hang_up()
        self.server.drop_database(self.name)


class PostgresPlace(ServerPlace):
    def _make(self) -> None:
        with self._raw() as raw:
            raw.execute(f"CREATE TABLE t ({_COLUMNS})")
            raw.execute(_INDEX)

    def tidy(self) -> None:
        with self._raw() as raw:
            raw.execute("DROP SCHEMA public CASCADE")
            raw.execute("CREATE SCHEMA public")
        self._make()

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "postgres", "url": self.url}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._raw() as raw:
            found: list[tuple[Any, ...]] = raw.execute(query).fetchall()
            return found

    def remove(self) -> None:
        with self._raw() as raw:
            raw.execute("DROP TABLE IF EXISTS t")

    def has_table(self) -> bool:
        return self._rows("SELECT to_regclass('t') IS NOT NULL") == [(True,)]

    def reset(self, rows: list[Row]) -> None:
        with self._raw() as raw, raw.transaction():
            raw.execute("DELETE FROM t")
            raw.cursor().executemany("INSERT INTO t VALUES (%s, %s, %s, %s)", rows)

    def rows(self) -> list[Row]:
        return self._rows("SELECT * FROM t ORDER BY id")

    def peek(self) -> list[Row] | None:
        with self._raw() as raw:
            raw.execute("SET lock_timeout = '200ms'")
            try:
                found: list[Row] = raw.execute("SELECT * FROM t ORDER BY id").fetchall()
            except psycopg.errors.LockNotAvailable:
                return None
            finally:
                raw.execute("RESET lock_timeout")
        return found

    def leftovers(self) -> list[str]:
        found = self._rows(
            "SELECT relname FROM pg_class WHERE relname LIKE '\\_tmg\\_%'"
            " UNION ALL SELECT 'lock of ' || pid FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [name for (name,) in found]

    def settle(self) -> None:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        _until(lambda: self._rows(others) == [(0,)])

    def cut_lock(self) -> bool:
        locks = (
            "pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        found = self._rows(f"SELECT pg_terminate_backend(pid) FROM {locks}")
        _until(lambda: self._rows(f"SELECT count(*) FROM {locks}") == [(0,)])
        return bool(found)


class MySQLPlace(ServerPlace):
    def _make(self) -> None:
        self._do(f"CREATE TABLE t ({_COLUMNS})", _INDEX)

    def tidy(self) -> None:
        names = [f"`{name}`" for name, *_ in self._do("SHOW TABLES")]
        if names:
            self._do(f"DROP TABLE {', '.join(names)}")
        self._make()

    def _do(self, *statements: str, rows: list[Row] | None = None) -> list[tuple[Any, ...]]:
        with self._raw() as raw, raw.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            if rows:
                cursor.executemany("INSERT INTO t VALUES (%s, %s, %s, %s)", rows)
            return list(cursor.fetchall())

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "mysql", "url": self.url}

    def remove(self) -> None:
        self._do("DROP TABLE IF EXISTS t")

    def has_table(self) -> bool:
        return bool(self._do("SHOW TABLES LIKE 't'"))

    def reset(self, rows: list[Row]) -> None:
        self._do("DELETE FROM t", rows=rows)

    def rows(self) -> list[Row]:
        return self._do("SELECT * FROM t ORDER BY id")

    def _others(self) -> list[int]:
        found = self._do(
            "SELECT id FROM information_schema.processlist"
            f" WHERE db = '{self.name}' AND id <> connection_id()"
        )
        return [number for (number,) in found]

    def leftovers(self) -> list[str]:
        found = self._do("SHOW TABLES LIKE '\\_tmg\\_%'")
        # A lock belongs to a connection, and goes with it; the last one takes a moment to go.
        with contextlib.suppress(TimeoutError):
            self.settle()
        return [name for (name,) in found] + [f"connection {number}" for number in self._others()]

    def settle(self) -> None:
        _until(lambda: not self._others())

    def cut_lock(self) -> bool:
        digest = hashlib.sha256(f"{self.name}\0t".encode()).hexdigest()[:48]
        owner = self._do(f"SELECT IS_USED_LOCK('tmg_etl:{digest}')")[0][0]
        if owner is None:
            return False
        self._do(f"KILL {owner}")
        _until(lambda: owner not in self._others())
        return True


class _FilePlace(Place):
    """A database in one file; its pristine state is a copy of that file."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        self.data.mkdir()
        self.path = self.data / "serving.db"

    def reset(self, rows: list[Row]) -> None:
        pristine = self.folder / "pristine.db"
        if not pristine.exists():
            self._make(pristine, rows)
        for path in self.data.iterdir():
            path.unlink()
        shutil.copy(pristine, self.path)

    def remove(self) -> None:
        for path in self.data.iterdir():
            path.unlink()

    def has_table(self) -> bool:
        return self.path.exists() and "t" in self._tables()

    @abc.abstractmethod
    def _make(self, path: pathlib.Path, rows: list[Row]) -> None:
        """Create the file with the table and its rows."""

    @abc.abstractmethod
    def _tables(self) -> list[str]:
        """Names of all tables and indexes."""

    def tidy(self) -> None:
        """Nothing to do: `reset` and `remove` begin with new files."""

    def settle(self) -> None:
        """Nothing to wait for: files and their locks go with their process."""

    def close(self) -> None:
        """Nothing is open."""

    def _files(self) -> list[str]:
        return [path.name for path in self.data.iterdir() if path != self.path]

    def leftovers(self) -> list[str]:
        tables = self._tables() if self.path.exists() else []
        return self._files() + [name for name in tables if name.startswith("_tmg_")]

    def cut_lock(self) -> bool:
        locks = list(self.data.glob("*.lock"))
        for path in locks:
            path.unlink()
        return bool(locks)


class DuckDBPlace(_FilePlace):
    excludes_processes = True

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self._raw = duckdb.connect(config={"threads": 1})

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "duckdb", "url": f"duckdb:///{self.path}"}

    def _make(self, path: pathlib.Path, rows: list[Row]) -> None:
        with duckdb.connect(str(path)) as raw:
            raw.execute(f"CREATE TABLE t ({_COLUMNS})").fetchall()
            raw.execute(_INDEX).fetchall()
            raw.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows).fetchall()

    def rows(self) -> list[Row]:
        return self._ask("SELECT * FROM t ORDER BY id")[0]

    def look(self) -> tuple[list[Row], list[str]]:
        # Opening the file takes longer than anything that is asked of it.
        rows, names = self._ask("SELECT * FROM t ORDER BY id", _DUCKDB_TABLES)
        return rows, self._files() + [name for (name,) in names if name.startswith("_tmg_")]

    def _tables(self) -> list[str]:
        return [name for (name,) in self._ask(_DUCKDB_TABLES)[0]]

    def _ask(self, *queries: str) -> list[list[tuple[Any, ...]]]:
        # Attached, which takes a tenth of opening it; not read-only: what a killed process left in
        # the log must be taken up.
        self._raw.execute(f"ATTACH '{self.path}' AS looked_at").fetchall()
        try:
            self._raw.execute("USE looked_at").fetchall()
            return [self._raw.execute(query).fetchall() for query in queries]
        finally:
            self._raw.execute("USE memory").fetchall()
            # As closing it would do; detaching it leaves the log as it is.
            if self.path.with_name(f"{self.path.name}.wal").exists():
                self._raw.execute("CHECKPOINT looked_at").fetchall()
            self._raw.execute("DETACH looked_at").fetchall()

    def close(self) -> None:
        self._raw.close()


class SQLitePlace(_FilePlace):
    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "sqlite", "url": f"sqlite:///{self.path}"}

    def _make(self, path: pathlib.Path, rows: list[Row]) -> None:
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(f"CREATE TABLE t ({_COLUMNS})")
            raw.execute(_INDEX)
            plain = [(number, str(day), *rest) for number, day, *rest in rows]
            raw.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", plain)

    def rows(self) -> list[Row]:
        with contextlib.closing(sqlite3.connect(self.path)) as raw:
            found = raw.execute("SELECT * FROM t ORDER BY id").fetchall()
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [(number, datetime.date.fromisoformat(day), *rest) for number, day, *rest in found]

    def _tables(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.path)) as raw:
            return [name for (name,) in raw.execute("SELECT name FROM sqlite_master")]


def _until(is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError("the server still has what a dead process left")
        time.sleep(0.005)
