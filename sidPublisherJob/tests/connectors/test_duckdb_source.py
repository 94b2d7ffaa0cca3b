"""DuckDB as a source: every native type, one snapshot, files that are missing, broken or shared."""

import datetime
import pathlib
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from tests.connectors import duckdb_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base

UTC = datetime.UTC


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "wh.duckdb"


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("true", pa.bool_(), True),
        ("(-128)::TINYINT", pa.int8(), -128),
        ("18446744073709551615::UBIGINT", pa.uint64(), 2**64 - 1),
        ("(-9223372036854775808)::BIGINT", pa.int64(), -(2**63)),
        (
            "99999999999999999999999999999999999999::HUGEINT",
            pa.decimal128(38, 0),
            Decimal("9" * 38),
        ),
        ("1::UHUGEINT", pa.decimal128(38, 0), Decimal(1)),
        ("1.50::DECIMAL(5, 2)", pa.decimal128(5, 2), Decimal("1.50")),
        ("'x'", pa.string(), "x"),
        ("chr(0) || 'x'", pa.string(), "\0x"),
        ("'\\xff\\x00'::BLOB", pa.binary(), b"\xff\x00"),
        ("DATE '0001-01-01'", pa.date32(), datetime.date.min),
        ("TIME '23:59:59.999999'", pa.time64("us"), datetime.time.max),
        ("TIME_NS '10:00:00.000001'", pa.time64("us"), datetime.time(10, 0, 0, 1)),
        ("TIMESTAMP '9999-12-31 23:59:59.999999'", pa.timestamp("us"), datetime.datetime.max),
        (
            "TIMESTAMP_S '2024-01-01 10:00:00'",
            pa.timestamp("us"),
            datetime.datetime(2024, 1, 1, 10),
        ),
        (
            "TIMESTAMP_MS '2024-01-01 10:00:00.5'",
            pa.timestamp("us"),
            datetime.datetime(2024, 1, 1, 10, 0, 0, 500000),
        ),
        (
            "TIMESTAMP_NS '2024-01-01 10:00:00.000001'",
            pa.timestamp("us"),
            datetime.datetime(2024, 1, 1, 10, 0, 0, 1),
        ),
        (
            "TIMESTAMPTZ '2024-01-01 10:00:00+02'",
            pa.timestamp("us", "UTC"),
            datetime.datetime(2024, 1, 1, 8, tzinfo=UTC),
        ),
        ("TIMETZ '10:00:00+01'", pa.string(), "10:00:00+01"),
        (
            "UUID 'EEEEEEEE-eeee-eeee-eeee-eeeeeeeeeeee'",
            pa.string(),
            "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee",
        ),
        ("'a'::ENUM('a', 'b')", pa.string(), "a"),
        ("INTERVAL 1 MONTH", pa.string(), "1 month"),
        ("'101'::BIT", pa.string(), "101"),
        (
            "123456789012345678901234567890123456789012::BIGNUM",
            pa.string(),
            "123456789012345678901234567890123456789012",
        ),
        ("[1, NULL]", pa.list_(pa.int32()), [1, None]),
        ("[1, 2]::INTEGER[2]", pa.list_(pa.int32()), [1, 2]),
        ("[5::HUGEINT]", pa.list_(pa.decimal128(38, 0)), [Decimal(5)]),
        (
            "{'a': 1, 'b \"c': ['a'::ENUM('a')]}",
            pa.struct([("a", pa.int32()), ('b "c', pa.list_(pa.string()))]),
            {"a": 1, 'b "c': ["a"]},
        ),
        ("MAP {'k': 1}", pa.map_(pa.string(), pa.int32()), [("k", 1)]),
        ("NULL", pa.string(), None),
    ],
)
def test_every_type_arrives(
    path: pathlib.Path, expression: str, kind: pa.DataType, value: object
) -> None:
    kit.sql(path, "SELECT 1")
    table = kit.read(path, query=f"SELECT {expression} AS x -- comment")
    assert table.schema.field("x").type == kind
    assert table.column("x").to_pylist() == [value]


def test_documents_are_marked(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (j JSON, u UNION(n INTEGER, s VARCHAR))")
    kit.sql(path, """INSERT INTO t VALUES ('{"b": 1.0,  "a":2}', 's'::VARCHAR)""")
    table = kit.read(path, table="t")
    assert all(base.is_json(field) for field in table.schema)
    assert table.to_pylist() == [{"j": '{"b": 1.0,  "a":2}', "u": '{"s":"s"}'}]


@pytest.mark.parametrize(
    "expression",
    [
        "170141183460469231731687303715884105727::HUGEINT",
        "TIMESTAMP_NS '2024-01-01 10:00:00.000000001'",
        "TIME_NS '10:00:00.000000001'",
        "DATE 'infinity'",
        "DATE '0044-03-15 (BC)'",
        "TIMESTAMP '-infinity'",
        "TIMESTAMPTZ '290000-01-01 00:00:00+00'",
        "TIME '24:00:00'",
        "(x || 'y')::INTEGER",
    ],
)
def test_value_that_cannot_be_carried_is_a_data_error(path: pathlib.Path, expression: str) -> None:
    kit.sql(path, "SELECT 1")
    with pytest.raises(errors.DataError) as caught:
        kit.read(path, query=f"SELECT {expression} AS x FROM (SELECT 'a' AS x)")
    assert "LINE" not in str(caught.value)


def test_rows_are_streamed_in_order_and_bounded_batches(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t AS SELECT i AS id, i::VARCHAR AS v FROM range(10000) r(i)")
    with kit.source(path, table="t") as source:
        assert source.count() == 10_000
        batches = list(source.read(["v", "id"], batch_rows=999))
    assert all(0 < batch.num_rows <= 999 for batch in batches)
    assert batches[0].schema.names == ["v", "id"]
    assert [n for batch in batches for n in batch.column("id").to_pylist()] == list(range(10_000))


def test_source_is_one_snapshot(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t AS SELECT 1 AS id")
    with duckdb.connect(str(path)) as writer, kit.source(path, table="t") as source:
        writer.execute("INSERT INTO t VALUES (2)")
        assert source.count() == 1
        assert sum(batch.num_rows for batch in source.read(["id"])) == 1
    assert source.snapshot.startswith("transaction of 2")


def test_reading_twice_and_counting_between_works(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t AS SELECT i AS id FROM range(5000) r(i)")
    with kit.source(path, table="t") as source:
        next(source.read(["id"], batch_rows=10))
        assert source.count() == 5000
        assert sum(batch.num_rows for batch in source.read(["id"], batch_rows=10)) == 5000


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "INTEGER", "VARCHAR"])
def test_window_is_a_closed_interval_of_days(path: pathlib.Path, kind: str) -> None:
    days = ["2024-01-04", "2024-01-05", "2024-01-06", "2024-01-07"]
    texts = [day.replace("-", "") if kind in ("INTEGER", "VARCHAR") else day for day in days]
    values = ", ".join(f"({n}, '{text}'::{kind})" for n, text in enumerate(texts))
    kit.sql(
        path, f"CREATE TABLE t (id INTEGER, d {kind})", f"INSERT INTO t VALUES {values}, (9, NULL)"
    )
    window = base.CursorWindow("d", datetime.date(2024, 1, 5), datetime.date(2024, 1, 6))
    with kit.source(path, table="t") as source:
        found = [n for batch in source.read(["id"], window) for n in batch.column(0).to_pylist()]
        assert found == [1, 2]
        assert source.count(window) == 2


def test_query_takes_the_execution_date(path: pathlib.Path) -> None:
    kit.sql(path, "SELECT 1")
    table = kit.read(path, query="SELECT {execution_date} AS n, '{execution_date:%d.%m.}' AS t;")
    assert table.to_pylist() == [{"n": 20240105, "t": "05.01."}]


def test_names_are_quoted_and_the_schema_is_used(path: pathlib.Path) -> None:
    kit.sql(path, 'CREATE SCHEMA "my; s"', 'CREATE TABLE "my; s"."a ""b.c" AS SELECT 1 AS "x\'y"')
    spec = kit.model.SourceSpec(connection="warehouse", table='a "b.c')
    with kit.connect(path, schema="my; s").open_source(spec, kit.DAY) as source:
        assert [batch.to_pylist() for batch in source.read(["x'y"])] == [[{"x'y": 1}]]


def test_views_are_read(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE VIEW v AS SELECT 1 AS a, 'x' AS b")
    assert kit.read(path, table="v").to_pylist() == [{"a": 1, "b": "x"}]


def test_missing_things_are_config_errors(path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="no DuckDB file"):
        kit.read(path, table="t")
    assert not path.exists()
    kit.sql(path, "CREATE TABLE planes (a INTEGER)")
    with pytest.raises(errors.ConfigError, match="plane"):
        kit.read(path, table="plane")
    with pytest.raises(errors.ConfigError, match="nope"):
        kit.read(path, query="SELECT nope FROM planes")
    with pytest.raises(errors.ConfigError):
        kit.read(path, query="SELEC 1")


def test_what_is_no_database_is_a_config_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.duckdb").write_text("hello " * 1000)
    with pytest.raises(errors.ConfigError, match=r"x\.duckdb"):
        kit.read(tmp_path / "x.duckdb", table="t")
    with pytest.raises(errors.ConfigError):
        kit.read(tmp_path, table="t")


def test_sources_alone_open_the_file_for_reading(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t AS SELECT 1 AS id")
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
    code += "print(c.sql('FROM t').fetchall())"
    with kit.source(path, table="t"), kit.python(code, path) as other:
        assert other.communicate()[0] == "[(1,)]\n"


def test_an_open_source_survives_that_the_file_is_opened_for_writing(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE s AS SELECT i AS id FROM range(10) r(i)")
    with kit.source(path, table="s") as source:
        assert source.count() == 10
        with kit.opened(path) as target:
            rows = pa.record_batch({"id": pa.array(range(3), pa.int64())})
            kit.swap(target, rows)
            assert sum(batch.num_rows for batch in source.read(["id"])) == 10
    assert kit.sql(path, "SELECT count(*) FROM t") == [(3,)]


def test_the_target_itself_can_be_the_source(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t AS SELECT i AS id FROM range(10000) r(i)")
    with kit.opened(path) as target, kit.source(path, table="t") as source:
        target.create_shadow(kit.SHADOW, [])
        for rows in source.read(["id"], batch_rows=1000):
            target.load(kit.SHADOW, kit.batch(rows), ())
        target.finish_load(kit.SHADOW, ())
        assert target.swap(kit.SHADOW, kit.NAMES) == 10_000
        assert source.count() == 10_000
    assert kit.sql(path, "SELECT count(*), sum(id) FROM t") == [(10_000, 49_995_000)]


def test_query_and_execute_serve_pipelines(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    assert connection.execute("CREATE TABLE t (id INTEGER, z TIMESTAMPTZ, v VARCHAR)") == -1
    insert = "INSERT INTO t VALUES (:id, '2024-01-01 00:00:00+00', ':id' || :v::VARCHAR) -- :v"
    assert connection.execute(insert, {"id": 1, "v": "x"}) == 1
    found = connection.query("SELECT * FROM t WHERE id = :id", {"id": 1})
    assert found.to_pylist() == [
        {"id": 1, "z": datetime.datetime(2024, 1, 1, tzinfo=UTC), "v": ":idx"}
    ]
    assert connection.execute("UPDATE t SET v = 'y'") == 1
    with pytest.raises(errors.ConfigError, match="nope"):
        connection.query("SELECT * FROM nope")
    assert kit.sql(path, "SELECT v FROM t") == [("y",)]


def test_memory_is_shared_by_name_within_the_process() -> None:
    first = kit.connect(":memory:")
    first.execute("CREATE OR REPLACE TABLE shared_t AS SELECT 7 AS id")
    assert kit.read(":memory:", table="shared_t").to_pylist() == [{"id": 7}]
    with kit.opened(":memory:", "shared_t") as target:
        kit.swap(target, pa.record_batch({"id": pa.array([8], pa.int32())}), key=())
        with pytest.raises(errors.LockBusyError, match="run run1"):
            kit.connect(":memory:").open_target("shared_t").lock("run2", 0).__enter__()
    assert first.query("SELECT * FROM shared_t").to_pylist() == [{"id": 8}]
