"""Tables and queries to Arrow: types, extremes, one snapshot, windows, values nobody can carry."""

import datetime
import decimal
import math
import threading

import psycopg
import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
from tmg_etl.connectors import base

D = decimal.Decimal
UTC = datetime.UTC
pytestmark = pytest.mark.postgres

DAY = datetime.date(2024, 1, 5)


def test_every_type_is_read_without_loss(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t (b boolean, i2 smallint, i4 integer NOT NULL, i8 bigint, o oid, f4 real,"
        " f8 double precision, n numeric(38,10), w numeric(76,38), s text, v varchar(9), c char(4),"
        " y bytea, d date, h time, ts timestamp, tz timestamptz, j json, jb jsonb)",
        "INSERT INTO t VALUES (true, -32768, -2147483648, -9223372036854775808, 4294967295,"
        " '3.4028235e38', '5e-324', '-9999999999999999999999999999.9999999999',"
        " '12345678901234567890123456789012345678.00000000000000000000000000000000000001',"
        " E'tab\\t nl\\n cr\\r bs\\\\ \\\\N \"q\" é😀,', '', 'ab', '\\x00ff5c', '0001-01-01',"
        " '23:59:59.999999', '9999-12-31 23:59:59.999999', '0001-01-01 00:00:00+00',"
        """ '{"b":1, "a":2}', '{"b":1, "a":2}')""",
        "INSERT INTO t (i4) VALUES (1)",
        "INSERT INTO t (i4, f4, f8, s, y, d, tz) VALUES (2, 'NaN', '-Infinity', '\\.', '',"
        " '9999-12-31', '2024-06-01 12:00:00.5-05')",
        "INSERT INTO t (i4, f4, f8, s) VALUES (3, 'Infinity', '-0', '\\N')",
    )
    table = postgres_kit.read(postgres_url, table="t")
    assert table.schema.equals(
        pa.schema(
            [
                ("b", pa.bool_()), ("i2", pa.int16()), pa.field("i4", pa.int32(), False),
                ("i8", pa.int64()), ("o", pa.int64()), ("f4", pa.float32()), ("f8", pa.float64()),
                ("n", pa.decimal128(38, 10)), ("w", pa.decimal256(76, 38)), ("s", pa.string()),
                ("v", pa.string()), ("c", pa.string()), ("y", pa.binary()), ("d", pa.date32()),
                ("h", pa.time64("us")), ("ts", pa.timestamp("us")),
                ("tz", pa.timestamp("us", tz="UTC")), base.json_field("j"), base.json_field("jb"),
            ]
        ),
        check_metadata=True,
    )  # fmt: skip
    first, second, third, fourth = table.to_pylist()
    assert first == {
        "b": True, "i2": -32768, "i4": -(2**31), "i8": -(2**63), "o": 2**32 - 1,
        "f4": 3.4028234663852886e38, "f8": 5e-324,
        "n": D("-9999999999999999999999999999.9999999999"),
        "w": D("12345678901234567890123456789012345678.00000000000000000000000000000000000001"),
        "s": 'tab\t nl\n cr\r bs\\ \\N "q" é😀,', "v": "", "c": "ab", "y": b"\x00\xff\\",
        "d": datetime.date(1, 1, 1), "h": datetime.time(23, 59, 59, 999999),
        "ts": postgres_kit.wall(9999, 12, 31, 23, 59, 59, 999999),
        "tz": datetime.datetime(1, 1, 1, tzinfo=UTC),
        "j": '{"b":1, "a":2}', "jb": '{"a": 2, "b": 1}',
    }  # fmt: skip
    assert second == dict.fromkeys(table.schema.names) | {"i4": 1}
    assert math.isnan(third["f4"])
    assert third["f8"] == -math.inf
    assert third["s"] == "\\."
    assert third["y"] == b""
    assert third["d"] == datetime.date(9999, 12, 31)
    assert third["tz"] == datetime.datetime(2024, 6, 1, 17, 0, 0, 500000, UTC)
    assert fourth["f4"] == math.inf
    assert math.copysign(1, fourth["f8"]) == -1
    assert fourth["s"] == "\\N"


def test_other_types_are_read_as_text_and_nested_ones_as_json(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN positive AS numeric(5,2) CHECK (VALUE > 0)",
        "CREATE TABLE t (u uuid, m mood, p positive, i interval, a int[], t text[][], r pair,"
        " ip inet, g int4range, x xml, z timetz, k tsvector, bits bit(3))",
        "INSERT INTO t VALUES ('0B9D1F4E-1111-4222-8333-444455556666', 'sad', 1.5,"
        " '1 day 2 hours', '{1,NULL}', '{{a,\"b,\\\"c\"}}', '(1,\"x, y\")', '10.0.0.1',"
        " '[1,5)', '<a/>', '10:00:00+02', 'a:1', '101')",
    )
    table = postgres_kit.read(postgres_url, table="t")
    assert table.to_pylist() == [
        {
            "u": "0b9d1f4e-1111-4222-8333-444455556666", "m": "sad", "p": D("1.50"),
            "i": "1 day 02:00:00", "a": "[1,null]", "t": '[["a","b,\\"c"]]',
            "r": '{"a":1,"b":"x, y"}', "ip": "10.0.0.1", "g": "[1,5)", "x": "<a/>",
            "z": "10:00:00+02", "k": "'a':1", "bits": "101",
        }
    ]  # fmt: skip
    json = [field.name for field in table.schema if base.is_json(field)]
    assert json == ["a", "t", "r"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.50", "-123.4"], pa.decimal128(38, 2)),
        (["1" * 40, "0.125"], pa.decimal256(65, 3)),
        (["1" * 66], pa.decimal256(76, 0)),
        (["1" * 77, "0.5"], pa.string()),
        ([], pa.decimal128(38, 0)),
        (["0.00"], pa.decimal128(38, 2)),
    ],
)
def test_numeric_without_precision_gets_the_width_of_its_values(postgres_url, values, expected):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (n numeric)")
    for value in values:
        postgres_kit.run_sql(postgres_url, f"INSERT INTO t VALUES ({value})")
    table = postgres_kit.read(postgres_url, table="t")
    assert table.schema.field("n").type == expected
    if pa.types.is_decimal(expected):
        assert table.column("n").to_pylist() == [D(value) for value in values]
    else:
        assert table.column("n").to_pylist() == values


@pytest.mark.parametrize(
    ("native", "value"),
    [
        ("date", "infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "10000-01-01"),
        ("timestamp", "-infinity"),
        ("timestamptz", "infinity"),
        ("time", "24:00:00"),
        ("numeric(9,2)", "NaN"),
        ("numeric(50,2)", "NaN"),
        ("numeric", "NaN"),
    ],
)
def test_value_that_arrow_cannot_hold_names_its_column(postgres_url, native, value):
    postgres_kit.run_sql(
        postgres_url,
        f'CREATE TABLE t (id int, "the, column" {native})',
        f"INSERT INTO t VALUES (1, '{value}')",
    )
    with pytest.raises(errors.DataError) as caught:
        postgres_kit.read(postgres_url, table="t")
    assert "'the, column'" in str(caught.value)
    if not native.startswith("numeric(50"):
        assert value.split()[0] in str(caught.value)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 1000])
def test_batches_end_at_rows_and_hold_no_more_than_asked(postgres_url, batch_rows):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t (v text)",
        "INSERT INTO t VALUES (null), (''), (E'a\\n\\n\"b'), (null), (E'\\n'), (','), ('\\.')",
    )
    with postgres_kit.source(postgres_url, table="t") as source:
        batches = list(source.read(["v"], batch_rows=batch_rows))
    assert max(batch.num_rows for batch in batches) <= batch_rows
    found = [value for batch in batches for value in batch.column("v").to_pylist()]
    assert found == [None, "", 'a\n\n"b', None, "\n", ",", "\\."]


def test_columns_come_in_the_order_asked_for(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (a int, b text, c date)")
    postgres_kit.run_sql(postgres_url, "INSERT INTO t VALUES (1, 'x', '2024-01-05')")
    with postgres_kit.source(postgres_url, table="t") as source:
        (batch,) = source.read(["c", "a"])
        assert batch.to_pylist() == [{"c": DAY, "a": 1}]
        with pytest.raises(errors.ConfigError, match="no column 'z'"):
            list(source.read(["z"]))


def test_all_reads_see_one_snapshot(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t AS SELECT generate_series(1, 10) AS id")
    with postgres_kit.source(postgres_url, table="t") as source:
        postgres_kit.run_sql(postgres_url, "DELETE FROM t WHERE id > 3")
        assert source.count() == 10
        assert sum(batch.num_rows for batch in source.read(["id"])) == 10
        reader = source.read(["id"], batch_rows=1)
        next(reader)
        assert source.count() is None, "the connection is busy"
        reader.close()
        assert sum(batch.num_rows for batch in source.read(["id"])) == 10
        assert "snapshot" in source.snapshot
        assert len(source.snapshot) <= 500
    assert postgres_kit.read(postgres_url, table="t").num_rows == 3


@pytest.mark.parametrize(
    ("native", "inside", "outside"),
    [
        ("date", ["2024-01-04", "2024-01-05"], ["2024-01-03", "2024-01-06"]),
        (
            "timestamp",
            ["2024-01-04 00:00:00", "2024-01-05 23:59:59.999999"],
            ["2024-01-03 23:59:59.999999", "2024-01-06 00:00:00"],
        ),
        (
            "timestamptz",
            ["2024-01-03 19:00:00-05", "2024-01-05 23:59:59.999999+00"],
            ["2024-01-04 00:30:00+01", "2024-01-06 00:00:00+00"],
        ),
        ("integer", ["20240104", "20240105"], ["20240103", "20240106"]),
        ("text", ["20240104", "20240105"], ["20240103", "20240106"]),
    ],
)
def test_window_takes_closed_days_in_utc(postgres_url, native, inside, outside):
    postgres_kit.run_sql(postgres_url, f'CREATE TABLE t (id int, "c ""d" {native})')
    for value in [*inside, *outside]:
        postgres_kit.run_sql(postgres_url, f"INSERT INTO t VALUES (1, '{value}')")
    postgres_kit.run_sql(postgres_url, "INSERT INTO t VALUES (1, NULL)")
    window = base.CursorWindow('c "d', datetime.date(2024, 1, 4), DAY)
    with postgres_kit.source(postgres_url, table="t") as source:
        assert source.count(window) == 2
        assert sum(batch.num_rows for batch in source.read(["id"], window)) == 2
        last = base.CursorWindow('c "d', datetime.date.max, datetime.date.max)
        assert source.count(last) == 0


def test_query_is_read_with_its_date_filled_in(postgres_url):
    query = """
        SELECT 1 AS a, '100%'::text AS b, DATE '{execution_date:%Y-%m-%d}' AS day,
            sum(x)::bigint AS total, 0.5 AS half
        FROM generate_series(1, 3) AS x -- a comment
        ;
    """
    table = postgres_kit.read(postgres_url, query=query)
    assert table.to_pylist() == [{"a": 1, "b": "100%", "day": DAY, "total": 6, "half": D("0.5")}]
    with postgres_kit.source(postgres_url, query=query) as source:
        assert source.count() is None
        assert sum(b.num_rows for b in source.read(["a"], base.CursorWindow("day", DAY, DAY))) == 1


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("SELECT * FROM nothing", '"nothing" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; DROP TABLE t", "syntax error"),
        ("SELECT 1 AS a, 2 AS a", "column 'a' twice"),
        ("SELECT FROM t", "no columns"),
        ("WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d", "WITH clause"),
    ],
)
def test_wrong_query_is_a_config_error(postgres_url, query, part):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int)")
    with pytest.raises(errors.ConfigError) as caught:
        postgres_kit.read(postgres_url, query=query)
    assert part in str(caught.value)


def test_views_schemas_and_odd_names_can_be_read(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        'CREATE SCHEMA "a.b"',
        'CREATE TABLE "a.b"."t %s ""x" ("sel ect %" int)',
        'INSERT INTO "a.b"."t %s ""x" VALUES (7)',
        'CREATE VIEW v AS SELECT * FROM "a.b"."t %s ""x"',
    )
    table = postgres_kit.read(postgres_url, table='t %s "x', schema="a.b")
    assert table.to_pylist() == [{"sel ect %": 7}]
    assert postgres_kit.read(postgres_url, table="v").num_rows == 1
    with postgres_kit.source(postgres_url, table="v") as source:
        assert source.count() is None
    for where in ({"table": "t"}, {"table": "v", "schema": "a.b"}, {"table": "v", "schema": "no"}):
        with pytest.raises(errors.ConfigError, match="no table"):
            postgres_kit.read(postgres_url, **where)


def test_huge_values_and_many_rows_pass_in_pieces(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t AS SELECT g AS id, repeat('x', 1000000) AS v FROM generate_series(1,40) g",
    )
    with postgres_kit.source(postgres_url, table="t") as source:
        batches = list(source.read(["id", "v"]))
    assert len(batches) > 1
    assert sum(batch.num_rows for batch in batches) == 40


def test_stop_cancels_a_read(postgres_url):
    connection = postgres_kit.connect(postgres_url)
    spec = postgres_kit.model.SourceSpec(connection="serving", query="SELECT pg_sleep(60)::text")
    with connection.open_source(spec, DAY) as source:
        timer = threading.Timer(0.3, connection.stop.set, [15])
        timer.start()
        with pytest.raises(errors.Stopped):
            list(source.read(["pg_sleep"]))
        timer.join()


def test_lost_connection_is_temporary(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int)")
    with postgres_kit.source(postgres_url, table="t") as source:
        postgres_kit.run_sql(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(errors.ConnectionLostError):
            list(source.read(["id"]))


def test_reader_without_rights_is_told_which(postgres_url):
    name = f"nobody_{postgres_url[-8:]}"
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int)", f"CREATE ROLE {name} LOGIN")
    postgres_kit.run_sql(postgres_url, f"ALTER ROLE {name} PASSWORD 'x'")
    parts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    url = f"postgresql://{name}:x@{parts['host']}:{parts['port']}/{parts['dbname']}"
    try:
        with pytest.raises(errors.AccessError, match="permission denied for table t"):
            postgres_kit.read(url, table="t")
    finally:
        postgres_kit.run_sql(postgres_url, f"DROP ROLE {name}")
