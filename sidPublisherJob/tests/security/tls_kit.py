"""Certificates by the `openssl` program, and servers that speak TLS only."""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from typing import ClassVar

from tmg_etl.testing import servers


class Authority:
    """A certificate authority of one test session.

    Args:
        folder: empty; readable by everybody.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=tests", "-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str, alternative: str) -> tuple[pathlib.Path, pathlib.Path]:
        """Return certificate and key of a server.

        Args:
            name: of the files.
            alternative: what it is for, as ``IP:127.0.0.1`` or ``DNS:example.org``.
        """
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", request),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-days", "2", "-extfile", extensions),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-out", certificate),
        )
        return certificate, key


def _openssl(*arguments: str | pathlib.Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def install(folder: pathlib.Path, account: str | None, *paths: pathlib.Path) -> list[pathlib.Path]:
    """Copy files to a server's folder, readable by the server alone; return where they are.

    Args:
        folder: the server's.
        account: whose they are where root starts the server; None: root's.
        *paths: the files.
    """
    copies = []
    for path in paths:
        copy = pathlib.Path(shutil.copy(path, folder))
        copy.chmod(0o600)
        if account and os.geteuid() == 0:
            owner = pwd.getpwnam(account)
            os.chown(copy, owner.pw_uid, owner.pw_gid)
        copies.append(copy)
    return copies


class TlsPostgres(servers.PostgresServer):
    """A PostgreSQL server that refuses connections without TLS.

    Args:
        certificate: of the server.
        key: of the certificate.
    """

    def __init__(self, certificate: pathlib.Path, key: pathlib.Path) -> None:
        super().__init__()
        self._files = (certificate, key)

    def _initialise(self) -> None:
        super()._initialise()
        install(self.folder, "postgres", *self._files)
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        certificate, key = (self.folder / path.name for path in self._files)
        options = [f"ssl_cert_file={certificate}", f"ssl_key_file={key}", "ssl=on"]
        return [*super()._command(), *(part for option in options for part in ("-c", option))]


class TlsMySQLFamily(servers.MySQLFamilyServer):
    """A MariaDB or MySQL server that refuses connections without TLS.

    Args:
        certificate: of the server.
        key: of the certificate.

    Attributes:
        refuses_plain: what is said of a connection without TLS.
    """

    refuses_plain: ClassVar[str]

    def __init__(self, certificate: pathlib.Path, key: pathlib.Path) -> None:
        super().__init__()
        self._files = (certificate, key)

    def _initialise(self) -> None:
        super()._initialise()
        install(self.folder, self._system_user, *self._files)

    def _command(self) -> Sequence[str | os.PathLike[str]]:
        certificate, key = (self.folder / path.name for path in self._files)
        options = [f"--ssl-cert={certificate}", f"--ssl-key={key}", "--require-secure-transport"]
        return [*super()._command(), *options]

    def connect(self, database: str | None = None) -> object:
        import pymysql

        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            autocommit=True,
            ssl={"check_hostname": False},
        )


class TlsMariaDB(TlsMySQLFamily, servers.MariaDBServer):
    """A MariaDB server that refuses connections without TLS."""

    refuses_plain = "denied"


class TlsMySQL(TlsMySQLFamily, servers.MySQLServer):
    """A MySQL server that refuses connections without TLS."""

    refuses_plain = "leave out `ssl_disabled`"
