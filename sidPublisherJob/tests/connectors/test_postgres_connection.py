"""Connecting, statements of hand-written pipelines, and the error that each trouble becomes."""

import datetime
import decimal
import threading

import psycopg
import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import error as error_module
from tmg_etl.testing import servers

pytestmark = pytest.mark.postgres

SCHEMA = pa.schema([("id", pa.int64())])


def test_query_binds_names_and_leaves_other_colons_alone(postgres_url):
    connection = postgres_kit.connect(postgres_url)
    found = connection.query(
        "SELECT :a::int AS a, ':a %' AS text, E'it\\'s :a' AS escaped, $q$:a$q$ AS quoted,"
        " 7 % 4 AS rest, (ARRAY[1,2,3])[:b:3] AS part /* :a */ WHERE :day > DATE '2024-01-01'",
        {"a": 5, "b": 2, "day": datetime.date(2024, 6, 1)},
    )
    assert found.to_pylist() == [
        {
            "a": 5, "text": ":a %", "escaped": "it's :a", "quoted": ":a", "rest": 3,
            "part": "[2,3]",
        }
    ]  # fmt: skip
    assert found.schema.field("a").type == pa.int32()


def test_query_without_rows_has_its_columns(postgres_url):
    found = postgres_kit.connect(postgres_url).query("SELECT 1.5::numeric(4,2) AS a LIMIT 0")
    assert found.schema == pa.schema([("a", pa.decimal128(4, 2))])
    assert found.num_rows == 0


def test_execute_counts_rows_and_binds_values(postgres_url):
    connection = postgres_kit.connect(postgres_url)
    connection.execute("CREATE TABLE t (id int, v text, n numeric)")
    statement = "INSERT INTO t SELECT g, :v, :n FROM generate_series(1, :many) AS g"
    values = {"v": "it's 100%; --", "n": decimal.Decimal("1.50"), "many": 3}
    assert connection.execute(statement, values) == 3
    assert connection.execute("DELETE FROM t WHERE v LIKE '%100%' AND id < 3") == 2
    assert postgres_kit.run_sql(postgres_url, "SELECT * FROM t") == [
        (3, "it's 100%; --", decimal.Decimal("1.50"))
    ]


def test_failed_statement_is_undone(postgres_url):
    connection = postgres_kit.connect(postgres_url)
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with pytest.raises(errors.DataError):
        connection.execute("INSERT INTO t VALUES (1), (1)")
    assert connection.query("SELECT * FROM t").num_rows == 0


def test_cleanup_statements_run_after_a_stop(postgres_url):
    connection = postgres_kit.connect(postgres_url)
    connection.execute("CREATE TABLE t (id int)")
    connection.stop.set(15)
    assert connection.query("SELECT * FROM t").num_rows == 0
    connection.execute("DROP TABLE t")


@pytest.mark.parametrize(
    ("change", "kind", "part"),
    [
        ({"password": "wr0ng-secret"}, errors.AccessError, "password authentication failed"),
        ({"password": ""}, errors.AccessError, "no password"),
        ({"user": "nobody"}, errors.AccessError, "nobody"),
        ({"dbname": "missing"}, errors.ConfigError, '"missing" does not exist'),
        ({"port": "1"}, errors.ConnectionLostError, "refused"),
        ({"host": "no-such-host.invalid"}, errors.ConnectionLostError, "no-such-host"),
    ],
)
def test_connection_that_fails_says_why_without_the_password(postgres_url, change, kind, part):
    facts = psycopg.conninfo.conninfo_to_dict(postgres_url) | change
    password = psycopg_quote(str(facts["password"]))
    user = facts["user"] + (f":{password}" if password else "")
    url = f"postgresql://{user}@{facts['host']}:{facts['port']}/{facts['dbname']}"
    with pytest.raises(kind) as caught:
        postgres_kit.connect(url).execute("SELECT 1")
    text = str(caught.value)
    assert part in text
    assert "'serving'" in text
    assert "\n" not in text
    assert not password or (str(facts["password"]) not in text and password not in text)


def psycopg_quote(text: str) -> str:
    return text.replace("@", "%40").replace("/", "%2F")


def test_wrong_option_is_a_config_error(postgres_url):
    connection = postgres_kit.connect(postgres_url, options={"no_such_option": "1"})
    with pytest.raises(errors.ConfigError, match="no_such_option"):
        connection.execute("SELECT 1")


def test_options_reach_the_driver(postgres_url):
    connection = postgres_kit.connect(postgres_url, options={"application_name": "mine"})
    found = connection.query("SELECT current_setting('application_name') AS a")
    assert found.to_pylist() == [{"a": "mine"}]


def test_settings_of_the_user_do_not_change_texts(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t (ts timestamptz, f double precision, b bytea, d date, i interval)",
        "INSERT INTO t VALUES ('2024-06-01 12:00+00', 0.1, '\\x01', '2024-06-01', '1 day')",
    )
    settings = (
        "-c DateStyle=German -c extra_float_digits=-5 -c bytea_output=escape"
        " -c standard_conforming_strings=off -c IntervalStyle=iso_8601 -c TimeZone=Asia/Tokyo"
    )
    names = ["ts", "f", "b", "d", "i"]
    plain, odd = [], []
    for options, found in (({}, plain), ({"options": settings}, odd)):
        with postgres_kit.opened(postgres_url, options=options) as target:
            found.append(target.fingerprint("t", names, base.Selection(), hashes=True))
        found.append(postgres_kit.read(postgres_url, table="t", options=options).to_pylist())
    assert plain == odd
    line = "2024-06-01 12:00:00+00\t0.1\t\\\\x01\t2024-06-01\t1 day"
    assert plain[0] == postgres_kit.hash_of([line])


def test_server_notices_a_client_that_was_killed(postgres_url):
    found = postgres_kit.connect(postgres_url).query(
        "SELECT current_setting('client_connection_check_interval') AS a"
    )
    assert found.to_pylist() == [{"a": "5s"}]


def test_read_only_target_is_an_access_error(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint)")
    options = {"options": "-c default_transaction_read_only=on"}
    with postgres_kit.opened(postgres_url, options=options) as target:
        assert target.describe() is not None
        with pytest.raises(errors.AccessError, match="read-only transaction"):
            target.create_shadow("_tmg_shadow_x", [])
    found = postgres_kit.run_sql(
        postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    )
    assert found == [(1,)]


def test_missing_rights_name_user_and_object(postgres_url):
    role = f"limited_{postgres_url[-8:]}"
    facts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    url = f"postgresql://{role}:x@{facts['host']}:{facts['port']}/{facts['dbname']}"
    postgres_kit.run_sql(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE SCHEMA hidden;"
        "CREATE TABLE t (id bigint); CREATE TABLE hidden.t (id bigint)",
    )
    try:
        with (
            postgres_kit.opened(url) as target,
            pytest.raises(errors.AccessError, match=f"{role}@.*permission denied for table t"),
        ):
            target.describe()
        with pytest.raises(errors.AccessError, match="permission denied for schema hidden"):
            postgres_kit.connect(url, schema="hidden").open_target("t")
        postgres_kit.run_sql(postgres_url, f"GRANT SELECT ON t TO {role}")
        with postgres_kit.opened(url) as target:
            described = target.describe()
            assert described is not None
            assert described.swap_blockers == ("owned by postgres, whose rights this user lacks",)
            with pytest.raises(errors.AccessError, match="permission denied for schema public"):
                target.create_shadow("_tmg_shadow_x", [])
            with pytest.raises(errors.AccessError, match="denied"), target.transaction():
                target.replace_rows("t", ["id"], None)
    finally:
        postgres_kit.run_sql(postgres_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_rows_hidden_by_a_policy_are_an_error_and_not_a_gap(postgres_url):
    role = f"limited_{postgres_url[-8:]}"
    facts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    url = f"postgresql://{role}:x@{facts['host']}:{facts['port']}/{facts['dbname']}"
    postgres_kit.run_sql(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE t (id bigint);"
        f"INSERT INTO t VALUES (1), (2); GRANT ALL ON t TO {role};"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1)",
    )
    try:
        with (
            postgres_kit.opened(url) as target,
            pytest.raises(errors.AccessError, match="row-level security"),
        ):
            target.fingerprint("t", ["id"], base.Selection(), hashes=False)
        assert postgres_kit.read(url, table="t").to_pylist() == [{"id": 1}]
    finally:
        postgres_kit.run_sql(postgres_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def _sleep(target):
    target.run("SELECT pg_sleep(60)")


def _begin_slowly(target):
    # One round trip begins a transaction and does more.
    with target._session.transaction("BEGIN; SELECT pg_sleep(60)"):
        pass


@pytest.mark.parametrize("call", [_sleep, _begin_slowly])
def test_stop_cancels_a_statement_and_cleaning_up_still_works(postgres_url, call):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint)")
    connection = postgres_kit.connect(postgres_url)
    with connection.open_target("t") as target:
        target.create_shadow("_tmg_shadow_x", [])
        target.load("_tmg_shadow_x", postgres_kit.batch(postgres_kit.records(SCHEMA, [1])), [])
        timer = threading.Timer(0.3, connection.stop.set, [15])
        timer.start()
        with pytest.raises(errors.Stopped):
            call(target)
        timer.join()
        target.drop("_tmg_shadow_x")
    assert (
        postgres_kit.run_sql(
            postgres_url, "SELECT relname FROM pg_class WHERE relname LIKE '\\_tmg\\_%'"
        )
        == []
    )


def test_statement_that_somebody_else_cancels_is_temporary(postgres_url):
    with postgres_kit.opened(postgres_url) as target:
        timer = threading.Timer(
            0.3,
            postgres_kit.run_sql,
            [
                postgres_url,
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%'"
                " AND pid <> pg_backend_pid()",
            ],
        )
        timer.start()
        with pytest.raises(errors.TemporaryError):
            target.run("SELECT pg_sleep(60)")
        timer.join()


def test_server_that_stops_is_a_lost_connection():
    with servers.PostgresServer() as server:
        url = server.create_database("x")
        postgres_kit.run_sql(url, "CREATE TABLE t (id bigint)")
        with postgres_kit.opened(url) as target:
            target.create_shadow("_tmg_shadow_x", [])
            rows = postgres_kit.batch(postgres_kit.records(SCHEMA, [1]))
            target.load("_tmg_shadow_x", rows, [])
            server.stop()
            with pytest.raises(errors.ConnectionLostError):
                target.load("_tmg_shadow_x", rows, [])
            with pytest.raises(errors.ConnectionLostError):
                target.finish_load("_tmg_shadow_x", [])
            with pytest.raises(errors.ConnectionLostError):
                postgres_kit.connect(url).open_target("t")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("08006", errors.ConnectionLostError),
        ("57P01", errors.ConnectionLostError),
        ("40P01", errors.TemporaryError),
        ("40001", errors.TemporaryError),
        ("53300", errors.TemporaryError),
        ("53100", errors.StorageFullError),
        ("53400", errors.StorageFullError),
        ("55P03", errors.TemporaryError),
        ("28P01", errors.AccessError),
        ("42501", errors.AccessError),
        ("25006", errors.AccessError),
        ("3D000", errors.ConfigError),
        ("42P01", errors.ConfigError),
        ("0A000", errors.ConfigError),
        ("22003", errors.DataError),
        ("23505", errors.ConstraintError),
    ],
)
def test_each_sqlstate_has_its_error(code, kind):
    found = psycopg.errors.lookup(code)("something")
    translated = error_module.translate(found, "connection 'x'")
    assert type(translated) is kind
    assert translated.exit_code == kind.exit_code
    assert str(found) in str(translated)


def test_fault_of_this_program_stays_what_it_is():
    assert error_module.translate(psycopg.errors.InternalError_("x"), "y") is None
    assert error_module.translate(psycopg.ProgrammingError("x"), "y") is None


def test_ordinary_user_can_publish_what_it_owns(postgres_url):
    role, group = f"plain_{postgres_url[-8:]}", f"group_{postgres_url[-8:]}"
    facts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    url = f"postgresql://{role}:x@{facts['host']}:{facts['port']}/{facts['dbname']}"
    postgres_kit.run_sql(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE ROLE {group}; GRANT {group} TO {role};"
        f"GRANT CREATE ON SCHEMA public TO {role}, {group};"
        f"CREATE TABLE t (id bigint PRIMARY KEY, s serial); ALTER TABLE t OWNER TO {group};"
        "INSERT INTO t VALUES (5)",
    )
    schema = pa.schema([("id", pa.int64()), ("s", pa.int32())])
    try:
        with postgres_kit.opened(url) as target, target.lock("run", 0):
            described = target.describe()
            assert described is not None
            assert described.swap_blockers == ()
            rows = postgres_kit.records(schema, [1, 1], [2, 2])
            shadow = postgres_kit.fill_shadow(target, rows, ["id"])
            target.check_lock()
            assert target.swap(shadow, postgres_kit.NAMES) == 1
            staging = postgres_kit.stage(target, postgres_kit.records(schema, [3, 3]))
            with target.transaction():
                assert target.upsert(staging, schema.names, ["id"], [], None).inserted == 1
            assert target.sweep(postgres_kit.NAMES) == [staging]
        found = postgres_kit.run_sql(
            postgres_url,
            "INSERT INTO t (id) VALUES (9)",
            "SELECT tableowner, (SELECT max(s) FROM t) FROM pg_tables WHERE tablename = 't'",
        )
        assert found == [(group, 3)]
    finally:
        postgres_kit.run_sql(
            postgres_url, f"DROP OWNED BY {role}, {group}; DROP ROLE {role}, {group}"
        )


def test_row_estimate_follows_a_table_that_grew_since_its_last_analyze(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY) WITH (autovacuum_enabled = off)")
        connection.execute("ANALYZE t")
        assert estimate(postgres_url) in (None, 0)
        connection.execute("INSERT INTO t SELECT generate_series(1, 10000)")
        assert estimate(postgres_url) is None
        connection.execute("ANALYZE t")
        assert estimate(postgres_url) == 10000
        connection.execute("INSERT INTO t SELECT generate_series(10001, 20000)")
        assert estimate(postgres_url) == pytest.approx(20000, rel=0.05)


def estimate(url):
    with postgres_kit.connect(url).open_target("t") as target:
        return target.describe().row_estimate
