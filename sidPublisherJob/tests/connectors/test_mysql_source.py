"""Reading tables and queries: every type, one snapshot, refused values."""

import datetime
import decimal
import itertools

import pyarrow as pa
import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.testing import servers

D = decimal.Decimal
UTC = datetime.UTC
DAY = datetime.date(2024, 3, 1)


def source(url: str, **what: str) -> base.Source:
    spec = model.SourceSpec(connection="serving", **what)
    return mysql_kit.connect(url).open_source(spec, DAY)


def read(url: str, columns: list[str] | None = None, **what: str) -> pa.Table:
    with source(url, **what) as opened:
        names = columns or opened.schema().names
        batches = list(opened.read(names, batch_rows=3))
        schema = pa.schema([opened.schema().field(name) for name in names])
        return pa.Table.from_batches(batches, schema=schema)


#: definition -> (Arrow type, SQL literals, the values that must be read)
TYPES = {
    "tinyint(1)": (pa.bool_(), "1|0", [True, False]),
    "bit(1)": (pa.bool_(), "1|0", [True, False]),
    "bit(64)": (pa.uint64(), "0|18446744073709551615", [0, 2**64 - 1]),
    "tinyint": (pa.int8(), "-128|127", [-128, 127]),
    "tinyint unsigned": (pa.uint8(), "0|255", [0, 255]),
    "smallint": (pa.int16(), "-32768|32767", [-32768, 32767]),
    "smallint unsigned": (pa.uint16(), "65535", [65535]),
    "mediumint": (pa.int32(), "-8388608|8388607", [-(2**23), 2**23 - 1]),
    "mediumint unsigned": (pa.uint32(), "16777215", [2**24 - 1]),
    "int": (pa.int32(), "-2147483648|2147483647", [-(2**31), 2**31 - 1]),
    "int(5) unsigned zerofill": (pa.uint32(), "7|4294967295", [7, 2**32 - 1]),
    "bigint": (pa.int64(), "-9223372036854775808|9223372036854775807", [-(2**63), 2**63 - 1]),
    "bigint unsigned": (pa.uint64(), "18446744073709551615", [2**64 - 1]),
    "year": (pa.uint16(), "0|1901|2155", [0, 1901, 2155]),
    "float": (pa.float32(), "0.1|16777217|3.4028234663852886e38|1.401298464324817e-45",
              [0.10000000149011612, 16777216.0, 3.4028234663852886e38, 1.401298464324817e-45]),
    "double": (pa.float64(), "0.1|-1.7976931348623157e308|5e-324|123456789.12345679",
               [0.1, -1.7976931348623157e308, 5e-324, 123456789.12345679]),
    "double(10,2)": (pa.float64(), "1.5", [1.5]),
    "decimal(38,10)": (pa.decimal128(38, 10), "-9999999999999999999999999999.9999999999|1.5",
                       [D("-9999999999999999999999999999.9999999999"), D("1.5")]),
    "decimal(65,30)": (pa.decimal256(65, 30), "-0.000000000000000000000000000001|" + "9" * 35,
                       [D("-1e-30"), D("9" * 35)]),
    "decimal(5,0) unsigned zerofill": (pa.decimal128(5, 0), "7", [D(7)]),
    "date": (pa.date32(), "'0001-01-01'|'9999-12-31'",
             [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "time(6)": (pa.time64("us"), "'0:0'|'23:59:59.999999'",
                [datetime.time(0), datetime.time(23, 59, 59, 999999)]),
    "time": (pa.time64("us"), "'10:00:01'", [datetime.time(10, 0, 1)]),
    "datetime(6)": (pa.timestamp("us"), "'0001-01-01'|'9999-12-31 23:59:59.999999'",
                    [datetime.datetime(1, 1, 1),
                     datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    "datetime": (pa.timestamp("us"), "'2024-02-29 10:00:01'",
                 [datetime.datetime(2024, 2, 29, 10, 0, 1)]),
    "datetime(2)": (pa.timestamp("us"), "'2024-02-29 10:00:01.25'",
                    [datetime.datetime(2024, 2, 29, 10, 0, 1, 250000)]),
    "timestamp(6) NULL": (pa.timestamp("us", tz="UTC"), "'1970-01-01 00:00:01.000001'",
                          [datetime.datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)]),
    "varchar(50) character set latin1": (pa.string(), "'aü€'|''|'  '", ["aü€", "", "  "]),
    "char(9) character set utf16": (pa.string(), "'\U0001f600'", ["\U0001f600"]),
    "varchar(50) character set sjis": (pa.string(), "'\u30bd\u8868\\\\'", ["\u30bd\u8868\\"]),
    "longtext": (pa.string(), r"""''|'\\N'|'tab\tnl\ncr\r\n"q",\'\0 \\'|','|'😀'|'""" "\x01'",
                 ["", "\\N", 'tab\tnl\ncr\r\n"q",\'\0 \\', ",", "\U0001f600", "\x01"]),
    "tinytext": (pa.string(), "'x'", ["x"]),
    "enum('a','é','')": (pa.string(), "'a'|'é'|''", ["a", "é", ""]),
    "set('a','b')": (pa.string(), "'a,b'|''", ["a,b", ""]),
    "varbinary(20)": (pa.binary(), "x'00ff220a0d2c5c'|''|x'22'",
                      [b'\x00\xff"\n\r,\\', b"", b'"']),
    "binary(3)": (pa.binary(), "'a'", [b"a\0\0"]),
    "longblob": (pa.binary(), "x'ff'|'NULL'", [b"\xff", b"NULL"]),
}  # fmt: skip
_JSON = "'{\"a\": [1.0,  \"x\"]}'|'null'"
#: What is not the same on both.
OWN_TYPES = {
    "mariadb": {
        "json": (pa.string(), _JSON, ['{"a": [1.0,  "x"]}', "null"]),
        "uuid": (
            pa.string(),
            "'123e4567-e89b-12d3-a456-426655440000'",
            ["123e4567-e89b-12d3-a456-426655440000"],
        ),
    },
    "mysql": {"json": (pa.string(), _JSON, ['{"a": [1.0, "x"]}', "null"])},
}


@pytest.mark.parametrize(
    ("either_server", "definition"),
    [(server, name) for server, own in OWN_TYPES.items() for name in TYPES | own],
    indirect=["either_server"],
)
def test_every_type_is_read_with_its_extremes(
    either_server: servers.MySQLFamilyServer, either_url: str, definition: str
) -> None:
    is_mysql = isinstance(either_server, servers.MySQLServer)
    own = OWN_TYPES["mysql" if is_mysql else "mariadb"]
    kind, literals, values = (TYPES | own)[definition]
    rows = ", ".join(f"(NULL, {literal})" for literal in literals.split("|"))
    mysql_kit.run_sql(
        either_url,
        f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, c {definition})",
        f"INSERT INTO t VALUES {rows}, (NULL, NULL)",
    )
    for what in ({"table": "t"}, {"query": "SELECT id, c FROM t ORDER BY id;"}):
        found = read(either_url, ["c"], **what)

        assert found.schema.field("c").type == kind
        assert found.column("c").to_pylist() == [*values, None]
        # MariaDB's JSON is a text with a CHECK, which a query's column has not.
        is_known = definition == "json" and ("table" in what or is_mysql)
        assert base.is_json(found.schema.field("c")) == is_known


@pytest.mark.parametrize(
    ("definition", "literal", "mode", "message"),
    [
        ("tinyint(1)", "2", "", "holds '2' in row 4, which is not a bool"),
        ("date", "'0000-00-00'", "", "holds '0000-00-00' in row 4"),
        ("date", "'2024-00-10'", "", "holds '2024-00-10' in row 4"),
        ("date", "'0000-05-10'", "", "holds '0000-05-10' in row 4"),
        ("datetime", "'0000-00-00 00:00:00'", "", "NULLIF"),
        ("timestamp NULL", "'0000-00-00 00:00:00'", "", "holds '0000-00-00 00:00:00'"),
        ("time", "'24:00:00'", "", "holds '24:00:00' in row 4, which is not a time64"),
        ("time(6)", "'-838:59:59'", "", "a time of day ends at 23:59:59"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_named(
    either_url: str, definition: str, literal: str, mode: str, message: str
) -> None:
    mysql_kit.run_sql(
        either_url,
        f"SET sql_mode = '{mode}'",
        f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, s text, `the column` {definition})",
        "INSERT INTO t VALUES (1, 'a\\n', NULL), (2, '', NULL), (3, NULL, NULL)",
        f"INSERT INTO t VALUES (4, 'x', {literal})",
    )
    with pytest.raises(errors.DataError) as caught:
        read(either_url, table="t")

    assert message in str(caught.value)
    assert "'the column'" in str(caught.value)


def test_a_single_column_of_nulls_and_empty_texts_is_kept(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url, "CREATE TABLE t (c text)", "INSERT INTO t VALUES (NULL), (''), (NULL), (NULL)"
    )
    assert read(either_url, table="t").column(0).to_pylist() == [None, "", None, None]


def test_an_empty_table_is_read_as_nothing(either_url: str) -> None:
    mysql_kit.run_sql(either_url, "CREATE TABLE t (c text, d decimal(50,2))")
    with source(either_url, table="t") as opened:
        assert opened.count() == 0
        assert list(opened.read(["d", "c"])) == []


def test_batches_are_bounded_and_complete(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url, "CREATE TABLE t (i int)", f"INSERT INTO t {mysql_kit.numbers(1000)}"
    )
    with source(either_url, table="t") as opened:
        batches = list(opened.read(["i"], batch_rows=300))
        again = list(opened.read(["i"], batch_rows=1000))

    assert [batch.num_rows for batch in batches] == [300, 300, 300, 100]
    assert sorted(itertools.chain(*(batch.column(0).to_pylist() for batch in batches))) == list(
        range(1, 1001)
    )
    assert again[0].num_rows == 1000


def test_a_reader_can_be_left_in_the_middle(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url, "CREATE TABLE t (i int)", f"INSERT INTO t {mysql_kit.numbers(50000)}"
    )
    with source(either_url, table="t") as opened:
        assert next(iter(opened.read(["i"], batch_rows=10))).num_rows == 10
        assert sum(batch.num_rows for batch in opened.read(["i"])) == 50000
        rows = opened.read(["i"], batch_rows=10)
        next(rows)


def test_values_of_many_megabytes_are_read(either_url: str) -> None:
    """Longer than one packet of the protocol, which holds 16 MiB - 1."""
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int, c longblob)",
        "INSERT INTO t VALUES (1, REPEAT('\"', 5000000)), (2, REPEAT('x', 16700000)), (3, 'z')",
    )
    found = read(either_url, table="t").column("c").to_pylist()
    assert [len(value) for value in found] == [5_000_000, 16_700_000, 1]


def test_a_row_too_long_for_the_server_is_an_error_and_no_null(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int, a longtext, b longtext)",
        "INSERT INTO t VALUES (1, 'x', 'y')",
        "INSERT INTO t VALUES (2, REPEAT('a', 9000000), '')",
        "UPDATE t SET b = a WHERE id = 2",
    )
    with pytest.raises(errors.DataError, match=r"row 2 .*max_allowed_packet"):
        read(either_url, table="t")
    with (
        mysql_kit.opened(either_url) as target,
        pytest.raises(
            errors.DataError, match="1 rows are longer .* max_allowed_packet of 16777216"
        ),
    ):
        target.fingerprint("t", ["id", "a", "b"], base.Selection(), hashes=True)


def test_a_window_is_read_and_counted(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int, day date, at timestamp(6) NULL, ymd int)",
        "INSERT INTO t VALUES (1, '2024-02-29', '2024-02-29 23:59:59.999999', 20240229),"
        " (2, '2024-03-01', '2024-03-01', 20240301), (3, NULL, NULL, NULL),"
        " (4, '2024-03-02', '2024-03-01 23:59:59.999999', 20240301)",
    )
    for cursor, expected in [("day", [2]), ("at", [2, 4]), ("ymd", [2, 4])]:
        window = base.CursorWindow(cursor, DAY, DAY)
        with source(either_url, table="t") as opened:
            found = pa.Table.from_batches(opened.read(["id"], window))
            assert found.column("id").to_pylist() == expected
            assert opened.count(window) == len(expected)


def test_all_reads_are_from_one_snapshot(either_url: str) -> None:
    mysql_kit.run_sql(either_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with source(either_url, table="t") as opened:
        mysql_kit.run_sql(either_url, "INSERT INTO t VALUES (2)")
        assert opened.count() == 1
        assert next(opened.read(["id"])).column(0).to_pylist() == [1]
        assert opened.snapshot.startswith("consistent snapshot at 20")
        assert "p%40ss" not in opened.description
        assert "table t of connection 'serving'" in opened.description


def test_a_query_knows_the_execution_date(either_url: str) -> None:
    query = "SELECT '{execution_date:%Y-%m-%d}' AS day, 1 = 1 AS yes, SUM(2.50) AS total -- end"
    found = read(either_url, query=query)
    assert found.to_pylist() == [{"day": "2024-03-01", "yes": 1, "total": D("2.50")}]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"table": "none"}, "none"),
        ({"query": "SELECT * FROM nowhere"}, "nowhere"),
        ({"query": "SELEC 1"}, "1064"),
        ({"query": "SELECT 1 AS a, 2 AS a"}, "Duplicate column"),
        ({"query": "SELECT ST_GeomFromText('POINT(1 1)') AS place"}, "'place'"),
    ],
)
def test_what_cannot_be_read_is_a_configuration_error(
    either_url: str, what: dict[str, str], message: str
) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        source(either_url, **what)
