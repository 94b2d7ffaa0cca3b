"""A ledger that cannot be used ends with one line, the right code, and no secret."""

import sqlite3

import pytest

from tests.ledger import conftest
from tmg_etl import errors
from tmg_etl.ledger import store, writer


def fail(url: str, kind: type[errors.TmgEtlError]) -> str:
    """Return what reading and writing say alike."""
    with pytest.raises(kind) as caught:
        store.open(url).list()
    with pytest.raises(kind) as written:
        writer.Writer(url).begin(conftest.make_record())
    message = str(caught.value)
    for error in (caught.value, written.value):
        assert "\n" not in str(error)
        assert "geheim" not in str(error)
        assert error.__cause__ is None
    assert str(written.value).replace("cannot be written", "cannot be opened") == message
    return message


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    message = fail(f"sqlite:///{tmp_path}/file/below/ledger.db", errors.LedgerError)
    assert "cannot be made: Not a directory" in message
    assert "check `ledger:`" in message


def test_file_that_is_a_folder(tmp_path):
    assert "unable to open database file" in fail(f"sqlite:///{tmp_path}", errors.LedgerError)


def test_file_that_is_no_database(tmp_path):
    (tmp_path / "ledger.db").write_text("not a database, but long enough to be looked at" * 20)
    message = fail(f"sqlite:///{tmp_path}/ledger.db", errors.LedgerError)
    assert "file is not a database" in message


def test_read_only_database_can_be_read(tmp_path, make):
    path = tmp_path / "ledger.db"
    with store.open(f"sqlite:///{path}") as ledger:
        ledger.start(make())
    with store.open(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
        assert [run.id for run in ledger.list()] == [make().id]
        with pytest.raises(
            errors.LedgerError, match=r"cannot be written: attempt to write a readonly"
        ):
            ledger.start(make("other"))


def test_empty_read_only_database(tmp_path):
    path = tmp_path / "ledger.db"
    sqlite3.connect(path).close()
    path.touch()
    message = fail(f"sqlite:///file:{path}?mode=ro&uri=true", errors.LedgerError)
    assert "cannot be set up: attempt to write a readonly database" in message


def test_locked_database(tmp_path, make, monkeypatch):
    path = tmp_path / "ledger.db"
    ledger = store.open(f"sqlite:///{path}?timeout=0.2")
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.LedgerError, match="database is locked"):
            ledger.start(make())
        other.rollback()
    other.close()
    ledger.start(make())


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_server_that_is_not_there(scheme):
    message = fail(f"{scheme}://u:geheim@127.0.0.1:1/d", errors.LedgerError)
    assert ":***@127.0.0.1:1/d" in message
    assert "cannot be opened" in message


@pytest.mark.postgres
def test_wrong_password_on_postgres(postgres_server):
    url = postgres_server.url("postgres", user="nobody", password="geheim")
    assert "password authentication failed" in fail(url, errors.LedgerError)


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_wrong_password_on_mysql(kind, request):
    host = request.getfixturevalue(f"{kind}_url").rpartition("@")[2]
    message = fail(f"mysql://nobody:geheim@{host}", errors.LedgerError)
    assert "Access denied" in message


@pytest.mark.parametrize("url", ["", "geheim", "mysql://u:geheim@h:port/d", "://geheim"])
def test_no_url(url):
    assert "the ledger is not a URL" in fail(url, errors.ConfigError)


def test_no_dialect():
    assert "no dialect is installed" in fail("nosuch://u:geheim@h/d", errors.ConfigError)


def test_no_driver():
    message = fail("postgresql+psycopg2://u:geheim@h/d", errors.ConfigError)
    assert "is not installed" in message


def test_relative_file_makes_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.open("sqlite:///.tmg_etl/ledger.db").close()
    assert (tmp_path / ".tmg_etl" / "ledger.db").is_file()
