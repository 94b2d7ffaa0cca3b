"""Connections, the lock, stop signals, errors by number, a COMMIT that is killed."""

import multiprocessing
import socket
import threading
import time
import urllib.parse

import pyarrow as pa
import pymysql
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors.mysql import error, stream
from tmg_etl.testing import servers

# --- lock ---------------------------------------------------------------------------------------


def _hold_until_killed(url: str, held: "multiprocessing.synchronize.Event") -> None:
    with mysql_kit.opened(url) as target, target.lock("other", 5):
        held.set()
        time.sleep(60)


def test_a_lock_excludes_another_process_until_it_dies(either_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold_until_killed, args=(either_url, held))
    other.start()
    assert held.wait(20)
    with mysql_kit.opened(either_url) as target:
        with pytest.raises(errors.LockBusyError, match=r"connection \d+ \(root@127.0.0.1"):
            target.lock("mine", 0).__enter__()
        other.kill()
        with target.lock("mine", 10):
            target.check_lock()
    other.join()


def test_locks_of_other_tables_and_databases_are_free(either_server, either_url: str) -> None:
    elsewhere = either_server.create_database("elsewhere")
    with (
        mysql_kit.opened(either_url) as one,
        mysql_kit.opened(either_url, "u") as two,
        mysql_kit.opened(elsewhere) as three,
        one.lock("a", 0),
        two.lock("b", 0),
        three.lock("c", 0),
    ):
        one.check_lock()
        two.check_lock()
    either_server.drop_database("elsewhere")


def test_a_lost_lock_is_noticed_before_a_publish(either_url: str) -> None:
    with mysql_kit.opened(either_url) as target:
        with pytest.raises(errors.LockLostError, match="nobody holds it"):
            target.check_lock()
        with target.lock("mine", 0):
            target.check_lock()
            mysql_kit.run_sql(either_url, f"KILL {target._lock._holder.id}")
            time.sleep(0.2)
            with pytest.raises(errors.LockLostError):
                target.check_lock()
            with (
                mysql_kit.opened(either_url) as other,
                other.lock("other", 1),
                pytest.raises(errors.LockLostError, match="connection"),
            ):
                target.check_lock()
        with target.lock("mine", 0):
            target.check_lock()


# --- stopping -----------------------------------------------------------------------------------


def test_a_stop_signal_ends_a_long_statement(either_url: str) -> None:
    connection = mysql_kit.connect(either_url)
    mysql_kit.run_sql(either_url, "CREATE TABLE t (id int PRIMARY KEY)")
    with connection.open_target("t") as target:
        threading.Timer(0.3, connection.stop.set, [15]).start()
        begun = time.monotonic()
        with pytest.raises(errors.Stopped):
            target.run("INSERT INTO t SELECT SLEEP(20) FROM (SELECT 1 UNION SELECT 2) AS two")
        assert time.monotonic() - begun < 5
        # The cleanup still works.
        target.drop("t")
        assert target.sweep(mysql_kit.NAMES) == []

    assert mysql_kit.tables(either_url) == set()


def test_a_stop_signal_ends_waiting_for_a_lock(either_url: str) -> None:
    connection = mysql_kit.connect(either_url)
    with (
        mysql_kit.opened(either_url) as other,
        other.lock("a", 0),
        connection.open_target("t") as t,
    ):
        threading.Timer(0.3, connection.stop.set, [15]).start()
        with pytest.raises(errors.Stopped):
            t.lock("b", 30).__enter__()


# --- opening ------------------------------------------------------------------------------------


def with_parts(url: str, **parts: object) -> str:
    split = urllib.parse.urlsplit(url)
    user = parts.get("user", split.username)
    password = parts.get("password", split.password)
    return f"mysql://{user}:{password}@127.0.0.1:{parts.get('port', split.port)}{split.path}"


def test_a_wrong_password_is_an_access_error_that_shows_no_secret(either_url: str) -> None:
    with pytest.raises(errors.AccessError, match="Access denied for user 'root'") as caught:
        mysql_kit.connect(with_parts(either_url, password="hidden")).open_target("t")
    assert "hidden" not in str(caught.value)
    assert "connection 'serving' (mysql://root@127.0.0.1" in str(caught.value)


def test_a_server_that_is_away_is_a_temporary_error(either_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(errors.ConnectionLostError, match="2003"):
        mysql_kit.connect(with_parts(either_url, port=port)).open_target("t")


def test_a_missing_database_is_a_configuration_error(either_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="1049"):
        mysql_kit.connect(either_url + "_none").open_target("t")
    with pytest.raises(errors.ConfigError, match="names no database"):
        mysql_kit.connect(either_url.rpartition("/")[0] + "/").open_target("t")


def test_a_missing_privilege_names_the_user_and_the_table(either_url: str) -> None:
    user = either_url.rpartition("/")[2]
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE USER {user} IDENTIFIED BY 'x'",
        f"GRANT SELECT ON t TO {user}",
    )
    url = with_parts(either_url, user=user, password="x")
    with (
        mysql_kit.opened(url) as target,
        pytest.raises(errors.AccessError, match=rf"CREATE command denied to user '{user}'"),
    ):
        target.create_shadow("s", [])
    mysql_kit.run_sql(either_url, f"DROP USER {user}")


def test_a_lost_connection_is_a_temporary_error(either_url: str) -> None:
    with mysql_kit.opened(either_url) as target:
        mysql_kit.run_sql(either_url, f"KILL {target._session.id}")
        time.sleep(0.2)
        with pytest.raises(errors.ConnectionLostError):
            target.rows("SELECT 1")


def test_options_are_checked(either_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="unknown option 'read_default_file'"):
        mysql_kit.connect(either_url + "?read_default_file=/etc/passwd").place()
    with pytest.raises(errors.ConfigError, match="'connect_timeout' is no number"):
        mysql_kit.connect(either_url, options={"connect_timeout": "soon"}).place()
    place = mysql_kit.connect(either_url, options={"connect_timeout": "3"}).place()
    assert place.options == {"connect_timeout": 3}
    assert place.password not in repr(place)


@pytest.mark.parametrize("given", ["none", "right", "another's", "no RSA", "no PEM"])
def test_without_tls_a_password_is_encrypted_by_the_servers_key(mysql_url: str, given: str) -> None:
    user = mysql_url.rpartition("/")[2]
    # The server has forgotten the password of a new user, and asks for it.
    mysql_kit.run_sql(
        mysql_url,
        f"CREATE USER {user} IDENTIFIED WITH caching_sha2_password BY 'x'",
        f"GRANT SELECT ON * TO {user}",
    )
    [(_, right)] = mysql_kit.run_sql(
        mysql_url, "SHOW STATUS LIKE 'Caching_sha2_password_rsa_public_key'"
    )
    keys = {
        "right": lambda: right,
        "another's": lambda: _pem(rsa.generate_private_key(65537, 2048).public_key()),
        "no RSA": lambda: _pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
        "no PEM": lambda: "geheim",
    }
    options = {"ssl_disabled": "true"}
    if given in keys:
        options["server_public_key"] = keys[given]()
    connection = mysql_kit.connect(with_parts(mysql_url, user=user, password="x"), options=options)
    if given in ("none", "right"):
        assert connection.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        return
    kind = errors.AccessError if given == "another's" else errors.ConfigError
    says = "denied" if given == "another's" else "'server_public_key' is no RSA key in PEM"
    with pytest.raises(kind, match=says) as caught:
        connection.query("SELECT 1 AS one")
    assert "geheim" not in str(caught.value)


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, kind).decode()


def test_a_schema_is_another_database(either_server, either_url: str) -> None:
    either_server.create_database("odd schema")
    spec = model.SqlConnection(type="mysql", name="x", url=either_url, schema="odd schema")
    with type(mysql_kit.connect(either_url))(spec, None).open_target("t") as target:
        target.create("t", pa.schema({"a": pa.int8()}), [], [])
    assert mysql_kit.run_sql(either_url, "SELECT * FROM `odd schema`.t") == []
    either_server.drop_database("odd schema")


def test_a_server_that_asks_for_a_file_gets_nothing(either_url: str) -> None:
    """A statement that names a real file stands for a server that asks for one by itself."""
    mysql_kit.run_sql(either_url, "CREATE TABLE t (line text)")
    with mysql_kit.opened(either_url) as target:
        wire = target._session.connection
        with pytest.raises(pymysql.err.OperationalError, match="not offered"):
            wire.query("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t")
        with pytest.raises(pymysql.err.OperationalError, match="not offered"):
            wire.upload("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t -- {file}", b"x\n")
        assert wire.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", b"x\n") == (1, 0)

    assert mysql_kit.run_sql(either_url, "SELECT line FROM t") == [("x",)]


def test_an_upload_is_complete_whatever_its_length(either_url: str) -> None:
    mysql_kit.run_sql(either_url, "CREATE TABLE t (line longtext)")
    with mysql_kit.opened(either_url) as target:
        for extra in (-1, 0, 1, stream.UPLOAD_BYTES * 3):
            text = b"x" * (stream.UPLOAD_BYTES + extra - 1) + b"\n"
            target._session.connection.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", text)
    found = mysql_kit.run_sql(either_url, "SELECT LENGTH(line) FROM t")
    size = stream.UPLOAD_BYTES
    assert sorted(found) == [(size - 2,), (size - 1,), (size,), (size * 4 - 1,)]


# --- errors by number ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *[(number, errors.AccessError) for number in (1044, 1045, 1142, 1227, 1290, 1836)],
        *[(number, errors.StorageFullError) for number in (1021, 1114)],
        *[(number, errors.ConnectionLostError) for number in (2003, 2006, 2013, 1053)],
        *[(number, errors.TemporaryError) for number in (1205, 1213, 1040, 1203, 1412)],
        *[(number, errors.ConfigError) for number in (1049, 1146, 1054, 1064, 1118, 1104, 3750)],
        *[(number, errors.DataError) for number in (1264, 1366, 1406)],
        (1, errors.TmgEtlError),
    ],
)
def test_errors_are_told_apart_by_number(number: int, expected: type[Exception]) -> None:
    found = error.translated(pymysql.err.OperationalError(number, "Was ist los"), "here")
    assert isinstance(found, expected)
    assert found.exit_code == expected.exit_code
    assert "here: Was ist los" in str(found)


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (1048, errors.Constraint.NOT_NULL),
        (1451, errors.Constraint.REFERENCED),
        (1452, errors.Constraint.FOREIGN_KEY),
        (4025, errors.Constraint.CHECK),
    ],
)
def test_constraints_are_told_apart_by_number(number: int, rule: errors.Constraint) -> None:
    found = error.translated(pymysql.err.OperationalError(number, "Was ist los"), "here")
    assert isinstance(found, errors.ConstraintError)
    assert found.exit_code == errors.EXIT_DATA
    assert f"here: a row was refused, {rule}: Was ist los; " in str(found)


def test_a_full_disk_is_known_by_its_errno() -> None:
    failure = pymysql.err.InternalError(3, 'Error writing file "/tmp/x" (Errcode: 28 "No space")')
    assert isinstance(error.translated(failure, "here"), errors.StorageFullError)


def test_a_read_only_server_is_an_access_error() -> None:
    with servers.MariaDBServer() as server:
        url = server.create_database("d")
        mysql_kit.run_sql(
            url,
            "CREATE USER plain IDENTIFIED BY 'x'",
            "GRANT ALL ON d.* TO plain",
            "SET GLOBAL read_only = 1",
        )
        with (
            mysql_kit.opened(with_parts(url, user="plain", password="x")) as target,
            pytest.raises(errors.AccessError, match="read-only"),
        ):
            target.create("t", pa.schema({"a": pa.int8()}), [], [])


# --- a COMMIT that is killed --------------------------------------------------------------------


def test_a_commit_that_is_killed_while_it_waits_is_not_taken_for_done(either_url: str) -> None:
    """A backup's read lock holds it up, and somebody ends it: the server rolls back."""
    mysql_kit.run_sql(either_url, "CREATE TABLE t (id int PRIMARY KEY)")
    backup = mysql_kit.raw(either_url)
    with mysql_kit.opened(either_url) as target:
        number = target._session.id
        waiting = f"SELECT info FROM information_schema.processlist WHERE id = {number}"

        def kill() -> None:
            while mysql_kit.run_sql(either_url, waiting) != [("COMMIT",)]:
                time.sleep(0.02)
            mysql_kit.run_sql(either_url, f"KILL QUERY {number}")
            # Long enough for a second COMMIT to come, if there was one.
            time.sleep(0.3)
            backup.cursor().execute("UNLOCK TABLES")

        def publish() -> None:
            with target.transaction():
                target.run("INSERT INTO t VALUES (1)")
                backup.cursor().execute("FLUSH TABLES WITH READ LOCK")
                killer.start()

        killer = threading.Thread(target=kill, daemon=True)
        with pytest.raises(errors.CommitUnknownError, match="at the COMMIT"):
            publish()
        killer.join(10)
        assert target.rows("SELECT * FROM t") == []
    backup.close()
