"""Connections, the lock, stop signals, errors by number, hand-written statements, floats."""

import datetime
import decimal
import multiprocessing
import random
import socket
import struct
import threading
import time
import urllib.parse

import pyarrow as pa
import pymysql
import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import connection as connection_module
from tmg_etl.connectors.mysql import error, stream
from tmg_etl.testing import servers

pytestmark = pytest.mark.mariadb


# --- lock ---------------------------------------------------------------------------------------


def _hold_until_killed(url: str, held: "multiprocessing.synchronize.Event") -> None:
    with mysql_kit.opened(url) as target, target.lock("other", 5):
        held.set()
        time.sleep(60)


def test_a_lock_excludes_another_process_until_it_dies(mariadb_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold_until_killed, args=(mariadb_url, held))
    other.start()
    assert held.wait(20)
    with mysql_kit.opened(mariadb_url) as target:
        with pytest.raises(errors.LockBusyError, match=r"connection \d+ \(root@127.0.0.1"):
            target.lock("mine", 0).__enter__()
        other.kill()
        with target.lock("mine", 10):
            target.check_lock()
    other.join()


def test_locks_of_other_tables_and_databases_are_free(mariadb_server, mariadb_url: str) -> None:
    elsewhere = mariadb_server.create_database("elsewhere")
    with (
        mysql_kit.opened(mariadb_url) as one,
        mysql_kit.opened(mariadb_url, "u") as two,
        mysql_kit.opened(elsewhere) as three,
        one.lock("a", 0),
        two.lock("b", 0),
        three.lock("c", 0),
    ):
        one.check_lock()
        two.check_lock()
    mariadb_server.drop_database("elsewhere")


def test_a_lost_lock_is_noticed_before_a_publish(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        with pytest.raises(errors.LockLostError, match="nobody holds it"):
            target.check_lock()
        with target.lock("mine", 0):
            target.check_lock()
            mysql_kit.run_sql(mariadb_url, f"KILL {target._lock._holder.id}")
            time.sleep(0.2)
            with pytest.raises(errors.LockLostError):
                target.check_lock()
            with (
                mysql_kit.opened(mariadb_url) as other,
                other.lock("other", 1),
                pytest.raises(errors.LockLostError, match="connection"),
            ):
                target.check_lock()
        with target.lock("mine", 0):
            target.check_lock()


# --- stopping -----------------------------------------------------------------------------------


def test_a_stop_signal_ends_a_long_statement(mariadb_url: str) -> None:
    connection = mysql_kit.connect(mariadb_url)
    mysql_kit.run_sql(mariadb_url, "CREATE TABLE t (id int PRIMARY KEY)")
    with connection.open_target("t") as target:
        threading.Timer(0.3, connection.stop.set, [15]).start()
        begun = time.monotonic()
        with pytest.raises(errors.Stopped):
            target.run("INSERT INTO t SELECT SLEEP(20)")
        assert time.monotonic() - begun < 5
        # The cleanup still works.
        target.drop("t")
        assert target.sweep(mysql_kit.NAMES) == []

    assert mysql_kit.tables(mariadb_url) == set()


def test_a_stop_signal_ends_waiting_for_a_lock(mariadb_url: str) -> None:
    connection = mysql_kit.connect(mariadb_url)
    with (
        mysql_kit.opened(mariadb_url) as other,
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


def test_a_wrong_password_is_an_access_error_that_shows_no_secret(mariadb_url: str) -> None:
    with pytest.raises(errors.AccessError, match="Access denied for user 'root'") as caught:
        mysql_kit.connect(with_parts(mariadb_url, password="hidden")).open_target("t")
    assert "hidden" not in str(caught.value)
    assert "connection 'serving' (mysql://root@127.0.0.1" in str(caught.value)


def test_a_server_that_is_away_is_a_temporary_error(mariadb_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(errors.ConnectionLostError, match="2003"):
        mysql_kit.connect(with_parts(mariadb_url, port=port)).open_target("t")


def test_a_missing_database_is_a_configuration_error(mariadb_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="1049"):
        mysql_kit.connect(mariadb_url + "_none").open_target("t")
    with pytest.raises(errors.ConfigError, match="names no database"):
        mysql_kit.connect(mariadb_url.rpartition("/")[0] + "/").open_target("t")


def test_a_missing_privilege_names_the_user_and_the_table(mariadb_url: str) -> None:
    user = mariadb_url.rpartition("/")[2]
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE USER {user} IDENTIFIED BY 'x'",
        f"GRANT SELECT ON t TO {user}",
    )
    url = with_parts(mariadb_url, user=user, password="x")
    with (
        mysql_kit.opened(url) as target,
        pytest.raises(errors.AccessError, match=rf"CREATE command denied to user '{user}'"),
    ):
        target.create_shadow("s", [])
    mysql_kit.run_sql(mariadb_url, f"DROP USER {user}")


def test_a_lost_connection_is_a_temporary_error(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        mysql_kit.run_sql(mariadb_url, f"KILL {target._session.id}")
        time.sleep(0.2)
        with pytest.raises(errors.ConnectionLostError):
            target.rows("SELECT 1")


def test_options_are_checked(mariadb_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="unknown option 'read_default_file'"):
        mysql_kit.connect(mariadb_url + "?read_default_file=/etc/passwd").place()
    with pytest.raises(errors.ConfigError, match="'connect_timeout' is no number"):
        mysql_kit.connect(mariadb_url, options={"connect_timeout": "soon"}).place()
    place = mysql_kit.connect(mariadb_url, options={"connect_timeout": "3"}).place()
    assert place.options == {"connect_timeout": 3}
    assert place.password not in repr(place)


def test_a_schema_is_another_database(mariadb_server, mariadb_url: str) -> None:
    mariadb_server.create_database("odd schema")
    spec = model.SqlConnection(type="mysql", name="x", url=mariadb_url, schema="odd schema")
    with type(mysql_kit.connect(mariadb_url))(spec, None).open_target("t") as target:
        target.create("t", pa.schema({"a": pa.int8()}), [], [])
    assert mysql_kit.run_sql(mariadb_url, "SELECT * FROM `odd schema`.t") == []
    mariadb_server.drop_database("odd schema")


def test_a_server_that_asks_for_a_file_gets_nothing(mariadb_url: str) -> None:
    """A statement that names a real file stands for a server that asks for one by itself."""
    mysql_kit.run_sql(mariadb_url, "CREATE TABLE t (line text)")
    with mysql_kit.opened(mariadb_url) as target:
        wire = target._session.connection
        with pytest.raises(pymysql.err.OperationalError, match="not offered"):
            wire.query("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t")
        with pytest.raises(pymysql.err.OperationalError, match="not offered"):
            wire.upload("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t -- {file}", b"x\n")
        assert wire.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", b"x\n") == (1, 0)

    assert mysql_kit.run_sql(mariadb_url, "SELECT line FROM t") == [("x",)]


def test_an_upload_is_complete_whatever_its_length(mariadb_url: str) -> None:
    mysql_kit.run_sql(mariadb_url, "CREATE TABLE t (line longtext)")
    with mysql_kit.opened(mariadb_url) as target:
        for extra in (-1, 0, 1, stream.UPLOAD_BYTES * 3):
            text = b"x" * (stream.UPLOAD_BYTES + extra - 1) + b"\n"
            target._session.connection.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", text)
    found = mysql_kit.run_sql(mariadb_url, "SELECT LENGTH(line) FROM t")
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
        *[(number, errors.ConfigError) for number in (1049, 1146, 1054, 1064, 1118)],
        *[(number, errors.DataError) for number in (1264, 1366, 1406, 1048, 1451, 1452, 4025)],
        (1, errors.TmgEtlError),
    ],
)
def test_errors_are_told_apart_by_number(number: int, expected: type[Exception]) -> None:
    found = error.translated(pymysql.err.OperationalError(number, "Was ist los"), "here")
    assert isinstance(found, expected)
    assert found.exit_code == expected.exit_code
    assert "here: Was ist los" in str(found)


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


# --- hand-written statements --------------------------------------------------------------------


def test_queries_and_statements_take_named_parameters(mariadb_url: str) -> None:
    connection = mysql_kit.connect(mariadb_url)
    connection.execute("CREATE TABLE t (id int, v text, at datetime(6), b blob, j json, y bit(4))")
    values = {
        "id": 1,
        "v": "a'b%s:id\\",
        "at": datetime.datetime(
            2024, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))
        ),
        "b": b"\x00\xff'",
    }
    assert connection.execute("INSERT INTO t VALUES (:id, :v, :at, :b, '{}', 5)", values) == 1
    assert connection.execute("UPDATE t SET v = v") == 0

    found = connection.query(
        "SELECT *, 1.50 AS d, '%:v' AS lit /* :no */ FROM t WHERE v = :v -- :not",
        {"v": values["v"]},
    )
    assert found.to_pylist() == [
        {"id": 1, "v": values["v"], "at": datetime.datetime(2024, 1, 1), "b": b"\x00\xff'",
         "j": "{}", "y": 5, "d": decimal.Decimal("1.50"), "lit": "%:v"}
    ]  # fmt: skip
    empty = connection.query("SELECT id, v FROM t WHERE id > 5")
    assert empty.schema.names == ["id", "v"]
    assert empty.num_rows == 0
    assert connection.query("SELECT TIME '10:00:00' AS t, DATE '2024-01-01' AS d").to_pylist() == [
        {"t": datetime.time(10), "d": datetime.date(2024, 1, 1)}
    ]


@pytest.mark.parametrize("sql", ["CAST('0000-00-00' AS DATE)", "TIME '25:00:00'"])
def test_a_query_refuses_what_no_type_carries(mariadb_url: str, sql: str) -> None:
    mysql_kit.run_sql(
        mariadb_url, "SET sql_mode = ''", f"CREATE TABLE t AS SELECT {sql} AS c",
        "UPDATE t SET c = COALESCE(c, '0000-00-00')",
    )  # fmt: skip
    with pytest.raises(errors.DataError, match="the column 'c'"):
        mysql_kit.connect(mariadb_url).query("SELECT c FROM t")


def test_a_parameter_without_a_value_is_an_error() -> None:
    with pytest.raises(errors.ConfigError, match=":b has no value"):
        connection_module.bound("SELECT :a, :b", {"a": 1})


def test_an_unknown_table_in_a_query_is_a_configuration_error(mariadb_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="1146"):
        mysql_kit.connect(mariadb_url).query("SELECT * FROM nowhere")
    with pytest.raises(errors.DuplicateKeyError):
        mysql_kit.connect(mariadb_url).execute(
            "CREATE TABLE t (id int PRIMARY KEY) SELECT 1 AS id UNION ALL SELECT 1"
        )


# --- floats -------------------------------------------------------------------------------------


def shortest(value: float) -> str:
    """The text that MariaDB prints: fixed for -15 < point <= 15, and for 17 digits at 16."""
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + ("" if fraction == "0" else fraction)
    point = len(whole) + int(exponent or 0) - (len(digits) - len(digits.lstrip("0")))
    digits = digits.strip("0")
    if -15 < point <= 15 or (point == 16 and len(digits) == 17):
        if point <= 0:
            text = "0." + "0" * -point + digits
        elif point >= len(digits):
            text = digits + "0" * (point - len(digits))
        else:
            text = f"{digits[:point]}.{digits[point:]}"
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
    return ("-" if value < 0 else "") + text


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_the_database_prints_floats_as_the_encoder_does(
    mariadb_url: str, kind: pa.DataType
) -> None:
    single = pa.types.is_float32(kind)
    rng = random.Random(7)
    exponents = range(-44, 38) if single else range(-323, 308)
    values = [float(f"{m}e{e}") for e in exponents for m in ("1", "-1.5", "9.999999999999999")]
    values += [rng.uniform(-1, 1) * 10 ** rng.randint(-20, 20) for _ in range(1500)]
    values += [rng.uniform(1, 10) * 10 ** rng.randint(13, 17) for _ in range(500)]
    size, form = (32, "<If") if single else (64, "<Qd")
    bits = [struct.pack(form[:2], rng.getrandbits(size)) for _ in range(1000)]
    values += [struct.unpack("<" + form[2], item)[0] for item in bits]
    column = pa.array(values, pa.float64()).cast(kind)
    values = [value for value in column.to_pylist() if abs(value) < float("inf")]
    rows = pa.table({"id": pa.array(range(len(values)), pa.int32()), "c": pa.array(values, kind)})
    with mysql_kit.opened(mariadb_url) as target:
        target.create("t", rows.schema, ["id"], [])
        mysql_kit.send(target, "t", rows, ["id"])
        found = target.fingerprint("t", ["c"], base.Selection(), hashes=True)

    texts = [
        row[0]
        for row in mysql_kit.run_sql(mariadb_url, "SELECT CONCAT(c + 0e0) FROM t ORDER BY id")
    ]
    assert texts == [shortest(value) for value in values]
    assert found == mysql_kit.hash_of(texts)


def test_negative_zero_is_not_kept_apart(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        assert not target.capabilities.has_negative_zero
        target.create("t", pa.schema({"c": pa.float64()}), [], [])
        target._session.connection.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", b"-0\n")
    assert mysql_kit.run_sql(mariadb_url, "SELECT CONCAT(c), ATAN2(c, -1) > 0 FROM t") == [("0", 1)]


# --- a COMMIT that is killed --------------------------------------------------------------------


def test_a_commit_that_is_killed_while_it_waits_is_not_taken_for_done(mariadb_url: str) -> None:
    """A backup's read lock holds it up, and somebody ends it: the server rolls back."""
    mysql_kit.run_sql(mariadb_url, "CREATE TABLE t (id int PRIMARY KEY)")
    backup = mysql_kit.raw(mariadb_url)
    with mysql_kit.opened(mariadb_url) as target:
        number = target._session.id
        waiting = f"SELECT info FROM information_schema.processlist WHERE id = {number}"

        def kill() -> None:
            while mysql_kit.run_sql(mariadb_url, waiting) != [("COMMIT",)]:
                time.sleep(0.02)
            mysql_kit.run_sql(mariadb_url, f"KILL QUERY {number}")
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
