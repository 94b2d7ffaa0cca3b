"""SQLite as a source: declared types, cells that do not fit them, one snapshot, shared files."""

import contextlib
import datetime
import math
import pathlib
import sqlite3
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.connectors import sqlite_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base

UTC = datetime.UTC


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "s.db"


@pytest.mark.parametrize(
    ("native", "stored", "kind", "value"),
    [
        ("BOOLEAN", "1", pa.bool_(), True),
        ("TINYINT", "-128", pa.int8(), -128),
        ("INT", "-9223372036854775808", pa.int64(), -(2**63)),
        ("INTEGER", "5", pa.int64(), 5),
        ("BIGINT UNSIGNED", "5", pa.int64(), 5),
        ("UINT4", "4294967295", pa.uint32(), 2**32 - 1),
        ("DECIMAL_TEXT(20, 0)", "'18446744073709551615'", pa.decimal128(20, 0), Decimal(2**64 - 1)),
        ("DECIMAL_TEXT(76,2)", f"'{'9' * 74}.99'", pa.decimal256(76, 2), Decimal("9" * 74 + ".99")),
        ("DECIMAL(9,2)", "1.1", pa.decimal128(9, 2), Decimal("1.10")),
        ("NUMERIC(5)", "'-12'", pa.decimal128(5, 0), Decimal(-12)),
        ("NUMERIC", "12", pa.int64(), 12),
        ("NUMBER", "1.5", pa.float64(), 1.5),
        ("FLOAT4", "0.5", pa.float32(), 0.5),
        ("REAL", "3", pa.float64(), 3.0),
        ("DOUBLE PRECISION", "9e999", pa.float64(), math.inf),
        ("VARCHAR(3)", "'longer than three'", pa.string(), "longer than three"),
        ("CLOB", "'a' || char(0) || 'b'", pa.string(), "a\0b"),
        ("JSON", "'{\"a\": 1}'", pa.string(), '{"a": 1}'),
        ("JSON", "1.5", pa.string(), "1.5"),
        ("BLOB", "x'00ff'", pa.binary(), b"\x00\xff"),
        ("VARBINARY(9)", "x''", pa.binary(), b""),
        ("DATE", "'0001-01-01'", pa.date32(), datetime.date.min),
        ("TIME", "'23:59:59.999999'", pa.time64("us"), datetime.time.max),
        ("TIME", "'10:30'", pa.time64("us"), datetime.time(10, 30)),
        ("DATETIME", "'2024-01-01T10:00:00.5'", pa.timestamp("us"),
         datetime.datetime(2024, 1, 1, 10, 0, 0, 500000)),
        ("TIMESTAMP", "'9999-12-31 23:59:59.999999'", pa.timestamp("us"), datetime.datetime.max),
        ("TIMESTAMPTZ", "'2024-01-01 10:00:00+02:00'", pa.timestamp("us", "UTC"),
         datetime.datetime(2024, 1, 1, 8, tzinfo=UTC)),
        ("TIMESTAMPTZ", "'2024-01-01 10:00:00'", pa.timestamp("us", "UTC"),
         datetime.datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("", "'text'", pa.string(), "text"),
        ("", "NULL", pa.string(), None),
        ("GEOMETRY", "x'01'", pa.binary(), b"\x01"),
    ],
)  # fmt: skip
def test_declared_types_arrive(
    path: pathlib.Path, native: str, stored: str, kind: pa.DataType, value: object
) -> None:
    kit.sql(path, f"CREATE TABLE t (x {native}, n INTEGER)", f"INSERT INTO t VALUES ({stored}, 1)")
    kit.sql(path, "INSERT INTO t VALUES (NULL, 2)")
    for what in ({"table": "t"}, {"query": "SELECT * FROM t -- the end"}):
        table = kit.read(path, **what)
        assert table.schema.field("x").type == kind
        assert table.column("x").to_pylist() == [value, None]
        assert base.is_json(table.schema.field("x")) is (native == "JSON")


@pytest.mark.parametrize(
    ("native", "stored"),
    [
        ("INTEGER", "'x'"),
        ("INTEGER", "1.5"),
        ("TINYINT", "128"),
        ("BOOLEAN", "2"),
        ("BOOLEAN", "'true'"),
        ("DECIMAL(5,2)", "1.005"),
        ("DECIMAL(5,2)", "123456"),
        ("DECIMAL_TEXT(5,2)", "'1.505'"),
        ("FLOAT4", "0.1"),
        ("REAL", "'x'"),
        ("TEXT", "x'00'"),
        ("BLOB", "'text'"),
        ("DATE", "'2024-13-01'"),
        ("DATE", "20240101"),
        ("TIME", "'25:00:00'"),
        ("DATETIME", "1700000000"),
        ("DATETIME", "'2024-01-01 10:00:00.0000001'"),
        ("DATETIME", "'2024-01-01 10:00:00+02:00'"),
        ("TIMESTAMPTZ", "'yesterday'"),
    ],
)
def test_cell_that_does_not_fit_is_named_by_row_column_and_value(
    path: pathlib.Path, native: str, stored: str
) -> None:
    kit.sql(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, x {native})")
    kit.sql(path, "INSERT INTO t VALUES (1, NULL)", f"INSERT INTO t VALUES (4711, {stored})")
    with pytest.raises(errors.DataError, match=r"rowid 4711") as caught:
        kit.read(path, table="t")
    assert "'x'" in str(caught.value)
    assert stored.strip("'") in str(caught.value) or native in ("TEXT", "DECIMAL_TEXT(5,2)")
    with pytest.raises(errors.DataError, match="row 2"):
        kit.read(path, query="SELECT * FROM t")


def test_expressions_take_the_type_of_their_values(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)")
    query = "SELECT n + 1 AS i, n / 4.0 AS r, 'a' || n AS t, NULL AS z, n AS n FROM t"
    table = kit.read(path, query=query + ";")
    assert [field.type for field in table.schema] == [
        pa.int64(), pa.float64(), pa.string(), pa.string(), pa.int64()
    ]  # fmt: skip
    assert table.to_pylist()[1] == {"i": 3, "r": 0.5, "t": "a2", "z": None, "n": 2}
    with pytest.raises(errors.ConfigError, match="integer, text"):
        kit.read(path, query="SELECT CASE n WHEN 1 THEN 1 ELSE 'x' END AS mixed FROM t")


def test_generated_columns_and_tables_without_rowid_are_read(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, g INTEGER AS (n * 2)) WITHOUT ROWID",
        "INSERT INTO t VALUES ('a', 1)",
        "CREATE TABLE s (n INT, t TEXT, a ANY) STRICT",
        "INSERT INTO s VALUES (1, 'x', 2)",
        "CREATE VIEW v AS SELECT k, g FROM t",
    )
    assert kit.read(path, table="t").to_pylist() == [{"k": "a", "n": 1, "g": 2}]
    assert kit.read(path, table="s").to_pylist() == [{"n": 1, "t": "x", "a": 2}]
    assert kit.read(path, table="v").to_pylist() == [{"k": "a", "g": 2}]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_source_is_one_snapshot(path: pathlib.Path, mode: str) -> None:
    kit.sql(path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (n INTEGER)")
    kit.sql(path, "INSERT INTO t VALUES (1)")
    with kit.source(path, table="t") as source:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            if mode == "wal":
                other.execute("INSERT INTO t VALUES (2)")
            else:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("INSERT INTO t VALUES (2)")
        assert source.count() == 1
        assert [batch.num_rows for batch in source.read(["n"])] == [1]


def test_rows_are_streamed_in_bounded_batches(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (n INTEGER, v TEXT)")
    kit.sql(
        path,
        "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 4999)"
        " INSERT INTO t SELECT n, 'v' || n FROM r",
    )
    with kit.source(path, table="t") as source:
        assert source.count() == 5000
        batches = list(source.read(["v", "n"], batch_rows=999))
    assert [batch.num_rows for batch in batches] == [999] * 5 + [5]
    assert batches[5].column("n").to_pylist() == [4995, 4996, 4997, 4998, 4999]


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "INTEGER", "TEXT"])
def test_window_is_a_closed_interval_of_days(path: pathlib.Path, kind: str) -> None:
    suffix = {
        "TIMESTAMP": [" 00:00:00", " 00:00:00.000000", "T23:59:59.999999", " 00:00:00"],
        "TIMESTAMPTZ": [" 23:59:59.999999+00:00", " 00:00:00.000000+00:00"] * 2,
    }.get(kind, [""] * 4)
    days = ["2024-01-04", "2024-01-05", "2024-01-06", "2024-01-07"]
    if kind == "TIMESTAMPTZ":
        suffix[2] = " 23:59:59.999999+00:00"
    texts = [day + end for day, end in zip(days, suffix, strict=True)]
    if kind in ("INTEGER", "TEXT"):
        texts = [day.replace("-", "") for day in days]
    kit.sql(path, f"CREATE TABLE t (id INTEGER, d {kind})", "INSERT INTO t VALUES (9, NULL)")
    for number, text in enumerate(texts):
        kit.sql(path, f"INSERT INTO t VALUES ({number}, '{text}')")
    window = base.CursorWindow("d", datetime.date(2024, 1, 5), datetime.date(2024, 1, 6))
    with kit.source(path, table="t") as source:
        found = [n for batch in source.read(["id"], window) for n in batch.column(0).to_pylist()]
        assert found == [1, 2]
        assert source.count(window) == 2


def test_query_takes_the_execution_date(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (n INTEGER)")
    table = kit.read(path, query="SELECT {execution_date} AS n, '{execution_date:%d.%m.}' AS t")
    assert table.to_pylist() == [{"n": 20240105, "t": "05.01."}]


def test_missing_things_are_config_errors(path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="no SQLite file"):
        kit.read(path, table="t")
    assert not path.exists()
    kit.sql(path, "CREATE TABLE t (a INTEGER)")
    for what in ({"table": "x"}, {"query": "SELECT b FROM t"}, {"query": "SELEC"}):
        with pytest.raises(errors.ConfigError):
            kit.read(path, **what)
    path.write_text("hello " * 1000)
    with pytest.raises(errors.ConfigError, match="not a database"):
        kit.read(path, table="t")
    with pytest.raises(errors.ConfigError, match="folder"):
        kit.read(path.parent, table="t")


def test_text_that_is_no_utf8_is_a_data_error(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (a TEXT)", "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))")
    with pytest.raises(errors.DataError, match="UTF-8"):
        kit.read(path, table="t")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_source_and_target_may_be_one_file(path: pathlib.Path, mode: str) -> None:
    kit.sql(path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (n INTEGER)")
    kit.sql(
        path,
        "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 4999)"
        " INSERT INTO t SELECT n FROM r",
    )
    with kit.opened(path) as target, kit.source(path, table="t") as source:
        target.create_shadow(kit.SHADOW, [])
        for rows in source.read(["n"], batch_rows=500):
            target.load(kit.SHADOW, kit.batch(rows), ())
        target.finish_load(kit.SHADOW, ())
        assert target.swap(kit.SHADOW, kit.NAMES) == 5000
    assert kit.sql(path, "SELECT count(*), sum(n) FROM t") == [(5000, 12497500)]
    assert kit.sql(path, "PRAGMA journal_mode") == [(mode,)]


def test_query_and_execute_serve_pipelines(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER, v TEXT)")
    assert connection.execute("INSERT INTO t VALUES (:id, :v)", {"id": 1, "v": "x"}) == 1
    found = connection.query("SELECT id, v, 1.5 AS f FROM t WHERE id = :id", {"id": 1})
    assert found.to_pylist() == [{"id": 1, "v": "x", "f": 1.5}]
    assert connection.query("SELECT id FROM t WHERE id = 9").num_rows == 0
    with pytest.raises(errors.ConfigError, match="nope"):
        connection.execute("DELETE FROM nope")
    assert kit.sql(path, "SELECT * FROM t") == [(1, "x")]
