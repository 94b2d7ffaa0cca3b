"""Secrets reach the database and nothing else: no argument, child, log, ledger or message."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
import urllib.parse
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli import process
from tests.e2e import place as place_module

SERVERS = ["postgres", "mariadb", "mysql"]
ODD_PASSWORDS = [
    "p@ss:w/rd?#[]",
    "100%25 sure",
    "${HOME} $$ {x}",
    "quote\"'`\\back",
    " spaces and\ttabs ",
    "пароль-😀",
    "-- ;DROP TABLE t;",
    "&=+,",
]
CONFIG = """\
connections:
  lake: {{type: files, url: .}}
  serving: {{type: {kind}, url: "{scheme}://{user}:${{{secret}}}@{host}/{database}"}}
ledger: "sqlite:///ledger.db"
transfers:
  dim:
    source: {{connection: lake, table: rows}}
    target: {{connection: serving, table: t}}
    key: [id]
"""


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> place_module.Server:
    url = request.getfixturevalue(f"{kind}_url")
    return place_module.Postgres(url) if kind == "postgres" else place_module.MySQL(url)


def new_user(server: place_module.Server, name: str, password: str) -> None:
    """Make a user who owns everything in the database."""
    literal = password.replace("'", "''").replace("\\", "\\\\")
    if server.kind == "postgres":
        server.sql(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD E'{literal}'")
    else:
        server.sql(f"CREATE USER {name} IDENTIFIED BY '{literal}'", f"GRANT ALL ON *.* TO {name}")


def drop_user(server: place_module.Server, name: str) -> None:
    server.sql(f"DROP {'ROLE' if server.kind == 'postgres' else 'USER'} {name}")


def prepare(
    folder: pathlib.Path, server: place_module.Server, user: str, secret: str
) -> pathlib.Path:
    """Write a lake of three rows and a config that takes the password from `secret`."""
    rows = {"id": [1, 2, 3], "v": pa.array([1, 2, 3], pa.int16()), "name": ["a", "b", "c"]}
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    parts = urllib.parse.urlsplit(server.url)
    path = folder / "config.yaml"
    path.write_text(
        CONFIG.format(
            kind=server.kind,
            scheme=parts.scheme,
            user=user,
            secret=secret,
            host=f"{parts.hostname}:{parts.port}",
            database=parts.path[1:],
        )
    )
    return path


@pytest.mark.parametrize("password", ODD_PASSWORDS)
@pytest.mark.parametrize("kind", SERVERS)
def test_any_password_connects_and_is_never_printed(
    server: place_module.Server, tmp_path: pathlib.Path, password: str, capfd, monkeypatch
) -> None:
    from tmg_etl.cli import people, pipeline

    new_user(server, "odd", password)
    try:
        monkeypatch.setenv("DB_PASSWORD", password)
        config = prepare(tmp_path, server, "odd", "DB_PASSWORD")
        code = pipeline.main(["20240310", "dim", "truncate", str(config)])
        assert people.main(["config", "show", str(config)]) == 0
        out, err = capfd.readouterr()
    finally:
        drop_user(server, "odd")
    assert code == 0, err
    assert [row[0] for row in server.rows()] == [1, 2, 3]
    # And when it is refused.
    code = pipeline.main(["20240310", "dim", "truncate", str(config)])
    refusal = "".join(capfd.readouterr())
    assert code == 77, refusal
    for form in {password, urllib.parse.quote(password, safe=""), json.dumps(password)[1:-1]}:
        assert form not in out + err + refusal
        assert form.encode() not in (tmp_path / "ledger.db").read_bytes()


@pytest.fixture
def held(server: place_module.Server) -> Iterator[None]:
    """Somebody else reads the table in a transaction, so that a run has to wait at its swap."""
    with server.transaction("SELECT * FROM t"):
        yield


@pytest.mark.parametrize("kind", SERVERS)
def test_a_running_process_shows_no_secret(
    server: place_module.Server, tmp_path: pathlib.Path, held: None
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "db_password").write_text(place_module.SECRET)
    new_user(server, "holder", place_module.SECRET)
    try:
        config = prepare(tmp_path, server, "holder", "secret:db_password")
        with config.open("a") as file:
            file.write("    publish: swap\n")
        with process.start(
            process.PIPELINE,
            *("20240310", "dim", "truncate", config),
            env={"TMG_ETL_SECRETS_DIR": str(folder)},
            cwd=tmp_path,
        ) as running:
            seen = _look_until_it_waits(server, running.pid)
            os.kill(running.pid, signal.SIGTERM)
            out, err = running.communicate(timeout=60)
    finally:
        drop_user(server, "holder")
    assert running.returncode == 143, err
    secret = place_module.SECRET
    for form in {secret, urllib.parse.quote(secret, safe="")}:
        assert form.encode() not in seen
        assert form not in out + err
        assert form.encode() not in (tmp_path / "ledger.db").read_bytes()


def _look_until_it_waits(server: place_module.Server, pid: int) -> bytes:
    """Return arguments, variables and open files of a run and its children until it waits."""
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for place in [pathlib.Path("/proc", str(pid)), *_children(pid)]:
            for name in ("cmdline", "environ"):
                try:
                    seen += (place / name).read_bytes()
                except OSError:  # it has ended
                    continue
        if any(name.startswith("_tmg_") for name in server.tables()):
            return seen
        time.sleep(0.02)
    raise TimeoutError("the run did not come to its load")


def _children(pid: int) -> list[pathlib.Path]:
    found = []
    for listed in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [pathlib.Path("/proc", child) for child in listed.read_text().split()]
        except OSError:
            continue
    return found


def test_a_bug_prints_its_traceback_without_the_secret(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "TOKEN").write_text(place_module.SECRET)
    (tmp_path / "config.yaml").write_text(
        "connections: {lake: {type: files, url: .}}\n"
        "packages: [cli_sample]\n"
        "transfers:\n"
        "  sample:\n"
        "    source: {connection: lake, table: people}\n"
        "    target: {connection: lake, table: sample}\n"
        "    pipeline: cli_sample:Sample\n"
        '    options: {say: "${secret:TOKEN}", fail: bug}\n'
    )
    done = process.call(
        process.PIPELINE,
        *("20240310", "sample", "truncate", tmp_path / "config.yaml"),
        env={"TMG_ETL_SECRETS_DIR": str(folder)},
        cwd=tmp_path,
    )
    assert done.code == 70
    assert "Traceback" in done.err
    assert place_module.SECRET not in done.out + done.err
