"""TLS to real servers: options reach the drivers; what is not trusted is refused in one line."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.security import tls_kit
from tmg_etl.cli import pipeline


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tls_kit.Authority:
    return tls_kit.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> tls_kit.Authority:
    """Another authority, which has signed nothing."""
    return tls_kit.Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def postgres(authority: tls_kit.Authority) -> Iterator[tls_kit.TlsPostgres]:
    # Its certificate is for the name and not for the address: both are tried.
    with tls_kit.TlsPostgres(*authority.issue("postgres", "DNS:localhost")) as server:
        yield server


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def mysql(
    request: pytest.FixtureRequest, authority: tls_kit.Authority
) -> Iterator[tls_kit.TlsMySQLFamily]:
    files = authority.issue(request.param, "DNS:localhost")
    is_mysql = request.param == "mysql"
    with tls_kit.TlsMySQL(*files) if is_mysql else tls_kit.TlsMariaDB(*files) as server:
        yield server


def publish(
    folder: pathlib.Path, kind: str, url: str, options: Mapping[str, str]
) -> tuple[int, str]:
    """Publish one row; return the exit code and the last line."""
    pq.write_table(pa.table({"id": [1]}), folder / "rows.parquet")
    config = {
        "connections": {
            "lake": {"type": "files", "url": str(folder)},
            "serving": {"type": kind, "url": url, "options": dict(options)},
        },
        "ledger": f"sqlite:///{folder / 'ledger.db'}",
        "transfers": {
            "dim": {
                "source": {"connection": "lake", "table": "rows"},
                "target": {"connection": "serving", "table": "t"},
                "key": ["id"],
            }
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = pipeline.main(["20240310", "dim", "truncate", str(path)])
    printed = out.getvalue() + err.getvalue()
    assert "Traceback" not in printed
    return code, "published" if code == 0 else json.loads(printed.splitlines()[-1])["message"]


def with_paths(
    options: dict[str, str], authority: tls_kit.Authority, stranger: tls_kit.Authority
) -> dict[str, str]:
    """Return options with the certificates' files in the place of their names."""
    return {
        name: text.format(ca=authority.certificate, other=stranger.certificate)
        for name, text in options.items()
    }


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("host", "options", "code", "says"),
    [
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "{ca}"}, 0, "published"),
        ("127.0.0.1", {"sslmode": "verify-ca", "sslrootcert": "{ca}"}, 0, "published"),
        ("127.0.0.1", {"sslmode": "require"}, 0, "published"),
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "{ca}"}, 78, "127.0.0.1"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "{other}"}, 78, "sslrootcert"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "/no/ca.pem"}, 78, "/no/ca.pem"),
        ("localhost", {"sslmode": "disable"}, 77, "no encryption"),
        ("localhost", {"sslmode": "sometimes"}, 78, "sometimes"),
    ],
)
def test_postgres(
    postgres: tls_kit.TlsPostgres,
    authority: tls_kit.Authority,
    stranger: tls_kit.Authority,
    tmp_path: pathlib.Path,
    host: str,
    options: dict[str, str],
    code: int,
    says: str,
) -> None:
    filled = with_paths(options, authority, stranger)
    url = postgres.url("postgres").replace("127.0.0.1", host)
    assert (publish(tmp_path, "postgres", url, filled)) == (code, Containing(says))


@pytest.mark.parametrize(
    ("host", "options", "code", "says"),
    [
        ("localhost", {"ssl_ca": "{ca}", "ssl_verify_identity": "true"}, 0, "published"),
        ("127.0.0.1", {"ssl_ca": "{ca}"}, 0, "published"),
        ("127.0.0.1", {"ssl_verify_cert": "false"}, 0, "published"),
        ("127.0.0.1", {}, 0, "published"),
        ("localhost", {"ssl_verify_identity": "true"}, 78, "verify failed"),
        ("localhost", {"ssl_cert": "{ca}", "ssl_key": "{ca}"}, 78, "certificate or key"),
        ("127.0.0.1", {"ssl_ca": "{ca}", "ssl_verify_identity": "true"}, 78, "127.0.0.1"),
        ("localhost", {"ssl_ca": "{other}"}, 78, "ssl_ca"),
        ("localhost", {"ssl_ca": "/no/ca.pem"}, 78, "/no/ca.pem"),
        ("localhost", {"ssl_disabled": "true"}, 77, "{plain}"),
        ("localhost", {"ssl_mode": "REQUIRED"}, 78, "ssl_mode"),
    ],
)
def test_mysql(
    mysql: tls_kit.TlsMySQLFamily,
    authority: tls_kit.Authority,
    stranger: tls_kit.Authority,
    tmp_path: pathlib.Path,
    host: str,
    options: dict[str, str],
    code: int,
    says: str,
) -> None:
    filled = with_paths(options, authority, stranger)
    with mysql.connect() as raw, raw.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("CREATE DATABASE IF NOT EXISTS sid")
    url = mysql.url("sid").replace("127.0.0.1", host)
    said = Containing(says.format(plain=mysql.refuses_plain))
    assert (publish(tmp_path, "mysql", url, filled)) == (code, said)


class Containing(str):
    """Equals any text that it is a part of."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__
