"""Real PostgreSQL, MariaDB and MySQL servers for a test session.

Each server is started from the installed binaries, listens on 127.0.0.1 only and keeps its data in
a temporary folder that goes away with it. Nothing of a database installed on the machine is
touched, and no container engine is needed.

    with servers.PostgresServer() as server:
        url = server.create_database("lake")

Two settings are deliberately awkward, because production is: the administrator's password needs
quoting in a URL, and the server's own time zone is not UTC.
"""

import abc
import contextlib
import os
import pathlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tmg_etl.testing import process


class PostgresServer(process.Server):
    """A PostgreSQL server of the newest installed version; the administrator is `postgres`.

    Attributes:
        programs: folder of another version's programs; None: of the installed one.
    """

    programs: ClassVar[pathlib.Path | None] = None

    user = "postgres"
    _scheme = "postgresql"
    _system_user = "postgres"
    _stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    def connect(self, database: str | None = None) -> Any:  # noqa: D102 - as in Server
        import psycopg

        return psycopg.connect(self.url(database or "postgres"), autocommit=True)

    def create_database(self, name: str) -> str:  # noqa: D102 - as in Server
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:  # noqa: D102 - as in Server
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        self._run(
            self.program("initdb"),
            f"--pgdata={self.folder / 'data'}",
            f"--username={self.user}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            "--no-sync",
        )
        password_file.unlink()

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        settings = {
            "port": str(self.port),
            "listen_addresses": process.HOST,
            "unix_socket_directories": str(self.folder),
            "timezone": "America/New_York",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", self.folder / "data", *options]

    @classmethod
    def program(cls, name: str) -> pathlib.Path:
        """Return one of its programs, of the server's version."""
        return cls.programs / name if cls.programs else process.find(name, "postgresql")


class MySQLFamilyServer(process.Server):
    """What MariaDB and MySQL have in common; the administrator is `root`.

    Args:
        durable: As for `Server`; True also writes the binary log.
        local_infile: False forbids `LOAD DATA LOCAL`, as hardened servers do.
        settings: More options of the server, such as `{"sql-mode": "ANSI_QUOTES"}`.
    """

    user = "root"
    _scheme = "mysql"
    _stop_signal = signal.SIGTERM
    _own_settings: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        *,
        durable: bool = False,
        local_infile: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(durable=durable)
        self._local_infile = local_infile
        self._settings = dict(settings or {})

    def connect(self, database: str | None = None) -> Any:  # noqa: D102 - as in Server
        import pymysql

        return pymysql.connect(
            host=process.HOST,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,  # else the driver reads the system's authorities, 20 ms each time
        )

    def create_database(self, name: str) -> str:  # noqa: D102 - as in Server
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
        return self.url(name)

    def drop_database(self, name: str) -> None:  # noqa: D102 - as in Server
        with self.connect() as connection, connection.cursor() as cursor:
            # A transaction left open by a failed test would block the DROP for a day.
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
            for (client,) in cursor.fetchall():
                with contextlib.suppress(Exception):  # it may have left by itself
                    cursor.execute("KILL %s", [client])
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    @property
    @abc.abstractmethod
    def _program(self) -> pathlib.Path:
        """The server."""

    @abc.abstractmethod
    def _fill(self) -> None:
        """Make the data directory of a new installation."""

    @abc.abstractmethod
    def _statements(self) -> Sequence[str]:
        """What leaves one administrator with a password; run at each start, before it listens.

        So nobody ever meets the passwordless root which the installation leaves.
        """

    def _initialise(self) -> None:
        init_file = self.folder / "init.sql"
        init_file.write_text("".join(f"{one};\n" for one in self._statements()))
        self._make_data(self._program, self._fill)

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        settings = {
            "datadir": str(self.folder / "data"),
            "tmpdir": str(self.folder),
            "init-file": str(self.folder / "init.sql"),
            "port": str(self.port),
            "bind-address": process.HOST,
            "socket": str(self.folder / "socket"),
            "pid-file": str(self.folder / "pid"),
            "local-infile": str(int(self._local_infile)),
            "character-set-server": "utf8mb4",
            "default-time-zone": "-05:00",
            "innodb-buffer-pool-size": "64M",
            "max-allowed-packet": "16M",
            **self._own_settings,
        }
        if self._durable:
            settings |= {"log-bin": str(self.folder / "data" / "binlog"), "server-id": "1"}
        else:
            settings |= {"skip-log-bin": "1", "innodb-flush-log-at-trx-commit": "0"}
        settings |= self._settings
        options = [f"--{name}={value}" for name, value in settings.items()]
        # Host names in grants would need a name server; --no-defaults must come first.
        return [self._program, "--no-defaults", "--skip-name-resolve", *options]


class MariaDBServer(MySQLFamilyServer):
    """A MariaDB server."""

    _system_user = "mysql"
    _own_settings: ClassVar = {"innodb-log-file-size": "32M"}

    @property
    def _program(self) -> pathlib.Path:
        return process.find("mariadbd", "mariadb-server")

    def _fill(self) -> None:
        install = process.find("mariadb-install-db", "mariadb-server")
        self._run(
            install,
            "--no-defaults",  # must come first
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def _statements(self) -> Sequence[str]:
        return [
            "DELETE FROM mysql.global_priv WHERE User IN ('', 'root')",
            "FLUSH PRIVILEGES",
            f"CREATE USER 'root'@'%' IDENTIFIED BY '{self.password}'",
            "GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION",
        ]


class MySQLServer(MySQLFamilyServer):
    """A MySQL server, which `script/bootstrap --system` unpacks beside the environment."""

    # One that was unpacked below a folder of root's can be read by nobody else.
    _system_user = None
    _own_settings: ClassVar = {
        "innodb-redo-log-capacity": "32M",
        # As MariaDB by default; else what tables are created and dropped by would be flushed.
        "innodb-doublewrite": "OFF",
        "performance-schema": "OFF",  # a third of its memory
        "mysqlx": "OFF",
        "secure-file-priv": "",
    }

    @property
    def _program(self) -> pathlib.Path:
        program = process.find("mysqld", "mysql-server-core, of its unstable suite")
        # MariaDB's packages have a link of that name.
        if program.resolve().name == "mariadbd":
            raise process.ServerError(
                f"{program} is MariaDB: script/bootstrap --system unpacks MySQL into .venv"
            )
        return program

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        return [*super()._command(), *self._as_root()]

    def _as_root(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def _fill(self) -> None:
        self._run(
            self._program,
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--initialize-insecure",
            *self._as_root(),
            *(f"--{name}={value}" for name, value in self._own_settings.items()),
        )
        # Else all servers had the same identity.
        (self.folder / "data" / "auto.cnf").unlink()

    def _statements(self) -> Sequence[str]:
        return [
            "DROP USER IF EXISTS 'root'@'localhost'",
            f"CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY '{self.password}'",
            "GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION",
        ]
