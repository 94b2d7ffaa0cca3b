"""The databases as a user of the command meets them, and their own drivers to look inside."""

from __future__ import annotations

import abc
import contextlib
import pathlib
import secrets
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import psycopg

from tests.connectors import mysql_kit

#: Would be recognised in any output.
SECRET = "s3cr3t/W@rd:" + secrets.token_hex(4)

Rows = list[tuple[Any, ...]]


class Place(abc.ABC):
    """A database with a table `t` of two rows.

    Args:
        url: as the config has it.
    """

    kind: str
    quote = '"'

    def __init__(self, url: str) -> None:
        self.url = url
        self.sql(
            "CREATE TABLE t (id int NOT NULL PRIMARY KEY, v smallint, name varchar(20))",
            "INSERT INTO t VALUES (1, 10, 'old'), (2, 20, NULL)",
        )

    @abc.abstractmethod
    def sql(self, *statements: str) -> Rows:
        """Run statements by the plain driver; return the rows of the last one."""

    @abc.abstractmethod
    def tables(self) -> set[str]:
        """Return the names of all tables and views."""

    def rows(self, table: str = "t") -> Rows:
        """Return a table's rows in order of their text."""
        found = self.sql(f"SELECT * FROM {self.quote}{table}{self.quote}")
        return sorted(map(tuple, found), key=repr)

    @property
    def connection(self) -> str:
        """Return the connection as YAML."""
        return f"{{type: {self.kind}, url: '{self.url}'}}"


class DuckDB(Place):
    """A file of its own."""

    kind = "duckdb"

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "serving.duckdb"
        super().__init__(f"duckdb:///{self.path}")

    def sql(self, *statements: str) -> Rows:
        with duckdb.connect(str(self.path)) as raw:
            for statement in statements:
                found = raw.execute(statement).fetchall()
        return found

    def tables(self) -> set[str]:
        return {name for (name,) in self.sql("SELECT table_name FROM information_schema.tables")}


class SQLite(Place):
    """A file of its own."""

    kind = "sqlite"

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "serving.db"
        super().__init__(f"sqlite:///{self.path}")

    def sql(self, *statements: str) -> Rows:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as raw:
            for statement in statements:
                found = raw.execute(statement).fetchall()
        return found

    def tables(self) -> set[str]:
        return {name for (name,) in self.sql("SELECT name FROM sqlite_master")}


class Server(Place):
    """A database of a server, where other users can be made."""

    def user(self, *rights: str) -> str:
        """Return the URL of a new user with `rights` on the database; its password is `SECRET`."""
        name = f"user_{secrets.token_hex(4)}"
        self._create_user(name, rights)
        return self.with_user(name, SECRET)

    @abc.abstractmethod
    def _create_user(self, name: str, rights: Sequence[str]) -> None: ...

    @abc.abstractmethod
    def transaction(self, statement: str) -> contextlib.AbstractContextManager[int]:
        """Return a block in which a transaction that did something stays open.

        It gives the number of its session; in PostgreSQL it is called "sleepy form".
        """

    def with_user(self, name: str, password: str) -> str:
        """Return the URL of another user."""
        parts = urllib.parse.urlsplit(self.url)
        host = f"{name}:{urllib.parse.quote(password, safe='')}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=host).geturl()


class Postgres(Server):
    """A PostgreSQL database."""

    kind = "postgres"

    def sql(self, *statements: str) -> Rows:
        with psycopg.connect(self.url, autocommit=True) as raw:
            for statement in statements:
                cursor = raw.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def transaction(self, statement: str) -> Iterator[int]:
        with psycopg.connect(self.url, application_name="sleepy form") as raw:
            raw.execute(statement.encode())
            yield raw.info.backend_pid

    def tables(self) -> set[str]:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        return {name for (name,) in self.sql(query)}

    def _create_user(self, name: str, rights: Sequence[str]) -> None:
        self.sql(
            f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'",
            *(right.format(user=name) for right in rights),
        )


class MySQL(Server):
    """A database of MariaDB or MySQL."""

    kind = "mysql"
    quote = "`"

    @contextlib.contextmanager
    def _connected(self, *, autocommit: bool) -> Iterator[Any]:
        with contextlib.closing(mysql_kit.raw(self.url, autocommit=autocommit)) as raw:
            yield raw

    def sql(self, *statements: str) -> Rows:
        with self._connected(autocommit=True) as raw, raw.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def transaction(self, statement: str) -> Iterator[int]:
        with self._connected(autocommit=False) as raw, raw.cursor() as cursor:
            cursor.execute(statement)
            yield raw.thread_id()

    def tables(self) -> set[str]:
        return {name for (name,) in self.sql("SHOW TABLES")}

    def _create_user(self, name: str, rights: Sequence[str]) -> None:
        self.sql(
            f"CREATE USER {name} IDENTIFIED BY '{SECRET}'",
            *(right.format(user=name) for right in rights),
        )
