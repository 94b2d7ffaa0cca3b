"""The servers, and how their own clients load and merge."""

from __future__ import annotations

import abc
import contextlib
import pathlib
import subprocess
import time
import urllib.parse
from collections.abc import Iterator

from benchmarks import data, measure
from tmg_etl.testing import process, servers

_COLUMNS = (
    "o_custkey", "o_orderstatus", "o_totalprice", "o_orderdate", "o_orderpriority", "o_clerk",
    "o_shippriority", "o_comment",
)  # fmt: skip


class Database(abc.ABC):
    """One server and how its own client loads a file."""

    kind: str
    title: str
    char: str

    def __init__(self, server: process.Server, folder: pathlib.Path) -> None:
        self.folder, self.server = folder, server
        self.url = server.create_database("bench")
        self.parts = urllib.parse.urlsplit(self.url)
        self.password = urllib.parse.unquote(self.parts.password or "")

    @abc.abstractmethod
    def command(self, statement: str) -> list[str]:
        """Return the command that runs a statement by the server's own client."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the client needs."""
        return {}

    def client(
        self, statement: str, stdin: str | None = None, stdout: str | None = None
    ) -> measure.Sample:
        """Run a statement with the server's own command-line client."""
        return measure.run(
            self.command(statement), stdin=stdin, stdout=stdout, environment=self.environment
        )

    def sums(self, name: str, where: str = "") -> list[int]:
        """Return `data.SUMS` of a table, in whole numbers."""
        statement = f"SELECT {data.SUMS} FROM {name} {where and f'WHERE {where}'}"
        with self.server.connect("bench") as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return [round(float(one or 0)) for one in cursor.fetchone()]

    #: Asks for the sessions of others.
    sessions: str
    #: Ends one of them.
    _end: str

    def end_sessions(self) -> None:
        """End what a client that is gone has left to the server, and wait until it is undone."""
        with self.server.connect("bench") as connection, connection.cursor() as cursor:
            while True:
                cursor.execute(self.sessions)
                if not (others := cursor.fetchall()):
                    return
                for (session,) in others:
                    # It may have come to its end meanwhile.
                    with contextlib.suppress(Exception):
                        cursor.execute(self._end.format(session))
                time.sleep(0.2)

    def create(self, name: str, table: str = "orders") -> None:
        """Create an empty table with its primary key."""
        self.client(f"DROP TABLE IF EXISTS {name}")
        self.client(data.TABLES[table].format(name=name, char=self.char))

    @abc.abstractmethod
    def load(self, name: str, text: pathlib.Path) -> measure.Sample:
        """Load a ready file into a table with the server's own client."""

    def load_new(self, table: str, text: pathlib.Path) -> measure.Sample:
        """Load a ready file into a new table, its primary key in place."""
        self.create(f"raw_{table}", table)
        return self.load(f"raw_{table}", text)

    @abc.abstractmethod
    def merge(self, target: str, text: pathlib.Path) -> measure.Sample:
        """Merge a ready file of orders as one would type it: stage, upsert, in one transaction."""


class Postgres(Database):
    """PostgreSQL and psql."""

    kind, title, char = "postgres", "PostgreSQL", "TEXT"
    sessions = (
        "SELECT pid FROM pg_stat_activity WHERE datname = 'bench' AND pid <> pg_backend_pid()"
    )
    _end = "SELECT pg_terminate_backend({})"

    def command(self, statement: str) -> list[str]:
        """Return the call of psql."""
        return ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", self.url, "-c",
                statement]  # fmt: skip

    def load(self, name: str, text: pathlib.Path) -> measure.Sample:
        """Load by COPY FROM STDIN."""
        return self.client(f"COPY {name} FROM STDIN", stdin=str(text))

    def load_then_index(self, table: str, text: pathlib.Path) -> measure.Sample:
        """Load into a table without a key and build the key afterwards."""
        name = f"raw_{table}"
        self.create(name, table)
        self.client(f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey")
        key = ", ".join(data.KEYS[table])
        script = self.folder / "load.sql"
        script.write_text(
            f"\\copy {name} FROM '{text}'\n"
            f"SET maintenance_work_mem = '256MB'; ALTER TABLE {name} ADD PRIMARY KEY ({key});\n"
        )
        return measure.run([*self.command("")[:-2], "-f", str(script)])

    def merge(self, target: str, text: pathlib.Path) -> measure.Sample:
        """Merge by INSERT … ON CONFLICT."""
        return self._staged(target, text, [self._upsert(target)])

    def mirror(self, target: str, text: pathlib.Path) -> measure.Sample:
        """Delete what is gone, then merge what differs."""
        gone = (
            f"DELETE FROM {target} t WHERE NOT EXISTS"
            " (SELECT 1 FROM staged s WHERE s.o_orderkey = t.o_orderkey)"
        )
        held, sent = (", ".join(f"{of}.{name}" for name in _COLUMNS) for of in (target, "excluded"))
        differs = f"{self._upsert(target)} WHERE ({held}) IS DISTINCT FROM ({sent})"
        return self._staged(target, text, ["ANALYZE staged", gone, differs])

    def _upsert(self, target: str) -> str:
        assigned = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
        return (
            f"INSERT INTO {target} SELECT * FROM staged ON CONFLICT (o_orderkey)"
            f" DO UPDATE SET {assigned}"
        )

    def _staged(self, target: str, text: pathlib.Path, statements: list[str]) -> measure.Sample:
        script = self.folder / "merge.sql"
        script.write_text(
            f"BEGIN;\nCREATE TEMPORARY TABLE staged (LIKE {target}) ON COMMIT DROP;\n"
            f"\\copy staged FROM '{text}'\n" + ";\n".join([*statements, "COMMIT;\n"])
        )
        return measure.run([*self.command("")[:-2], "-f", str(script)])


class MariaDB(Database):
    """MariaDB and its client."""

    kind, title, char = "mariadb", "MariaDB", "VARCHAR(255)"
    sessions = (
        "SELECT id FROM information_schema.processlist WHERE db = 'bench' AND id <> CONNECTION_ID()"
    )
    _end = "KILL {}"

    def command(self, statement: str) -> list[str]:
        """Return the call of mariadb."""
        parts = self.parts
        return ["mariadb", "--no-defaults", f"--host={parts.hostname}", f"--port={parts.port}",
                f"--user={parts.username}", "--local-infile=1", "--protocol=tcp",
                "--skip-ssl", parts.path.strip("/"), "-e", statement]  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """Return the password."""
        return {"MYSQL_PWD": self.password}

    def _load(self, name: str, text: pathlib.Path) -> str:
        return f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE {name} CHARACTER SET utf8mb4"

    def load(self, name: str, text: pathlib.Path) -> measure.Sample:
        """Load by LOAD DATA LOCAL INFILE."""
        return self.client(self._load(name, text))

    def merge(self, target: str, text: pathlib.Path) -> measure.Sample:
        """Merge by INSERT … ON DUPLICATE KEY UPDATE."""
        assigned = ", ".join(f"{name} = VALUES({name})" for name in _COLUMNS)
        return self.client(
            f"CREATE TEMPORARY TABLE staged LIKE {target}; {self._load('staged', text)};"
            f" START TRANSACTION; INSERT INTO {target} SELECT * FROM staged"
            f" ON DUPLICATE KEY UPDATE {assigned}; COMMIT"
        )

    def load_new_by_two(self, table: str, texts: list[pathlib.Path]) -> measure.Sample:
        """Load two halves of a file by two clients at once."""
        name = f"raw_{table}"
        self.create(name, table)
        script = self.folder / "two.sh"
        calls = [subprocess.list2cmdline(self.command(self._load(name, text))) for text in texts]
        script.write_text(f"{calls[0]} & first=$!\n{calls[1]} && wait $first\n")
        return measure.run(["sh", "-e", str(script)], environment=self.environment)


class MySQL(MariaDB):
    """MySQL and MariaDB's client, which speaks to it."""

    kind, title = "mysql", "MySQL"


@contextlib.contextmanager
def mariadb(folder: pathlib.Path) -> Iterator[MariaDB]:
    """Start a durable MariaDB with memory for the tables, as a managed server of 4 GiB has."""
    settings = {"innodb-buffer-pool-size": "1G", "innodb-log-file-size": "512M"}
    with servers.MariaDBServer(durable=True, settings=settings) as server:
        yield MariaDB(server, folder)


@contextlib.contextmanager
def mysql(folder: pathlib.Path) -> Iterator[MySQL]:
    """Start a durable MySQL with memory for the tables, as a managed server of 4 GiB has."""
    settings = {
        "innodb-buffer-pool-size": "1G",
        "innodb-redo-log-capacity": "512M",
        # The kit's servers do without.
        "innodb-doublewrite": "ON",
    }
    with servers.MySQLServer(durable=True, settings=settings) as server:
        yield MySQL(server, folder)


@contextlib.contextmanager
def postgres(folder: pathlib.Path) -> Iterator[Postgres]:
    """Start a durable PostgreSQL with memory for the tables, as a managed server of 4 GiB has."""
    with servers.PostgresServer(durable=True) as server:
        with server.connect() as connection:
            connection.execute("ALTER SYSTEM SET shared_buffers = '1GB'")
            connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        server.restart()
        yield Postgres(server, folder)


STARTS = {"mariadb": mariadb, "mysql": mysql, "postgres": postgres}
