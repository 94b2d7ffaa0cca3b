"""Rows into a table: every type with its extremes, and every way a row is refused."""

import contextlib
import datetime
import decimal
import functools
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.testing import plugin, servers

D = decimal.Decimal
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("bool", pa.bool_()),
        pa.field("i8", pa.int8()),
        pa.field("i16", pa.int16()),
        pa.field("i32", pa.int32()),
        pa.field("i64", pa.int64()),
        pa.field("u8", pa.uint8()),
        pa.field("u16", pa.uint16()),
        pa.field("u32", pa.uint32()),
        pa.field("u64", pa.uint64()),
        pa.field("f32", pa.float32()),
        pa.field("f64", pa.float64()),
        pa.field("d38", pa.decimal128(38, 10)),
        pa.field("d65", pa.decimal256(65, 30)),
        pa.field("text", pa.string()),
        pa.field("bytes", pa.binary()),
        pa.field("date", pa.date32()),
        pa.field("time", pa.time64("us")),
        pa.field("ts", pa.timestamp("us")),
        pa.field("tz", pa.timestamp("us", tz="UTC")),
        base.json_field("json"),
    ]
)
NASTY = "tab\tnewline\ncr\rback\\slash \\N quote'\" nul\0 snow☃ \U0001f600 %s :x ;"
UTC = datetime.UTC
LOW = [1, True, -128, -32768, -(2**31), -(2**63), 0, 0, 0, 0, -3.4028234663852886e38,
       -1.7976931348623157e308, D("-9999999999999999999999999999.9999999999"),
       D("-" + "9" * 35 + "." + "9" * 30), NASTY, bytes(range(256)), datetime.date(1, 1, 1),
       datetime.time(0, 0), datetime.datetime(1, 1, 1), datetime.datetime(1, 1, 1, tzinfo=UTC),
       '{"b": 1,  "a": [1.0, "\\t\\n \\u00e9 é\\\\"]}']  # fmt: skip
HIGH = [2, False, 127, 32767, 2**31 - 1, 2**63 - 1, 255, 65535, 2**32 - 1, 2**64 - 1, 0.1,
        5e-324, D("9999999999999999999999999999.9999999999"), D("9" * 35 + "." + "9" * 30), "",
        b"", datetime.date(9999, 12, 31), datetime.time(23, 59, 59, 999999),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "[]"]  # fmt: skip
NULL = [3, *[None] * 20]
PLAIN = [4, True, 1, 1, 1, 1, 1, 1, 1, 1, 1.5, 1e15, D("1.5000000000"), D("-0.5"), "\\N",
         b"\x00\xff", datetime.date(2024, 2, 29), datetime.time(10, 0, 0, 500000),
         datetime.datetime(2024, 2, 29, 10, 0, 0, 500000),
         datetime.datetime(2024, 2, 29, 10, 0, tzinfo=UTC), '"x"']  # fmt: skip


def as_batch(*rows: list[object], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = [pa.array(values, field.type) for values, field in zip(zip(*rows), schema)]  # noqa: B905
    return pa.record_batch(columns, schema=schema)


ROWS = as_batch(LOW, HIGH, NULL, PLAIN)

#: Canonical texts of the rows above, written by hand.
CANONICAL = [
    "\t".join(
        ["1", "1", "-128", "-32768", "-2147483648", "-9223372036854775808", "0", "0", "0", "0",
         "-3.4028234663852886e38", "-1.7976931348623157e308",
         "-9999999999999999999999999999.9999999999", "-" + "9" * 35 + "." + "9" * 30,
         NASTY.replace("\\", "\\\\").replace("\t", "\\t"), bytes(range(256)).hex().upper(),
         "0001-01-01", "00:00:00.000000", "0001-01-01 00:00:00.000000",
         "0001-01-01 00:00:00.000000", '{"b": 1,  "a": [1.0, "\\\\t\\\\n \\\\u00e9 é\\\\\\\\"]}']
    ),
    "\t".join(
        ["2", "0", "127", "32767", "2147483647", "9223372036854775807", "255", "65535",
         "4294967295", "18446744073709551615", "0.10000000149011612", "5e-324",
         "9999999999999999999999999999.9999999999", "9" * 35 + "." + "9" * 30, "", "",
         "9999-12-31", "23:59:59.999999", "9999-12-31 23:59:59.999999",
         "9999-12-31 23:59:59.999999", "[]"]
    ),
    "\t".join(["3", *["\\N"] * 20]),
    "\t".join(
        ["4", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1.5", "1e15", "1.5000000000",
         "-0." + "5" + "0" * 29, "\\\\N", "00FF", "2024-02-29", "10:00:00.500000",
         "2024-02-29 10:00:00.500000", "2024-02-29 10:00:00.000000", '"x"']
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Callable[[str], servers.MySQLFamilyServer]]:
    """Starts servers where `LOAD DATA LOCAL` is off and double quotes are identifiers."""
    settings = {"sql-mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "lc-messages": "de_DE"}
    kinds = {"mariadb": servers.MariaDBServer, "mysql": servers.MySQLServer}
    with contextlib.ExitStack() as running:

        @functools.cache
        def started(kind: str) -> servers.MySQLFamilyServer:
            return running.enter_context(kinds[kind](local_infile=False, settings=settings))

        yield started


@pytest.fixture(params=["LOAD DATA LOCAL", "INSERT"])
def method(request: pytest.FixtureRequest) -> str:
    """Each way to load."""
    return str(request.param)


@pytest.fixture(params=["mariadb", "mysql"])
def url(
    request: pytest.FixtureRequest,
    method: str,
    strict_server: Callable[[str], servers.MySQLFamilyServer],
) -> Iterator[str]:
    """A fresh database of each server, once for each way to load."""
    if method == "LOAD DATA LOCAL":
        yield request.getfixturevalue(f"{request.param}_url")
        return
    yield from plugin.fresh_database(strict_server(request.param))


def read_back(url: str) -> list[list[object]]:
    """All rows of `t`, by the driver."""
    names = ", ".join(f"`{name}` + 0e0" if name == "f32" else f"`{name}`" for name in SCHEMA.names)
    rows = mysql_kit.run_sql(url, f"SELECT {names} FROM t ORDER BY id")
    return [
        [_plain(value, field) for value, field in zip(row, SCHEMA, strict=True)] for row in rows
    ]


def _plain(value: object, field: pa.Field) -> object:
    if value is None:
        return None
    if field.name == "bool":
        return bool(value)
    if field.name == "tz":
        return value.replace(tzinfo=UTC)
    if isinstance(value, datetime.timedelta):
        return (datetime.datetime(1, 1, 1) + value).time()
    return value


def test_every_type_arrives_with_its_extremes(url: str) -> None:
    with mysql_kit.opened(url) as target:
        target.create("t", SCHEMA, ["id"], [])
        assert mysql_kit.send(target, "t", ROWS, ["id"]) == 4
        target.finish_load("t", ["id"])

    found = read_back(url)
    expected = [list(row.values()) for row in ROWS.to_pylist()]
    assert found == expected


def test_the_database_computes_the_fingerprint_of_the_texts(url: str) -> None:
    with mysql_kit.opened(url) as target:
        target.create("t", SCHEMA, ["id"], [])
        mysql_kit.send(target, "t", ROWS, ["id"])

        found = target.fingerprint("t", SCHEMA.names, base.Selection(), hashes=True)
        counted = target.fingerprint("t", SCHEMA.names, base.Selection(), hashes=False)

    assert found == mysql_kit.hash_of(CANONICAL)
    assert counted == base.Fingerprint(4)


def test_changing_any_cell_changes_the_fingerprint(either_url: str) -> None:
    changed = {
        "bool": "0", "f32": "1.5000001", "f64": "1e15 + 0.125", "d38": "1.5000000001",
        "d65": "-0.500000000000000000000000000001", "text": "'\\\\n'", "bytes": "x'0000FF'",
        "date": "'2024-03-01'", "time": "'10:00:00.500001'", "ts": "'2024-02-29 10:00:00.500001'",
        "tz": "'2024-02-29 10:00:00.000001'", "json": "'\"x\" '",
    }  # fmt: skip
    with mysql_kit.opened(either_url) as target:
        target.create("t", SCHEMA, ["id"], [])
        mysql_kit.send(target, "t", ROWS, ["id"])
        mysql_kit.run_sql(either_url, "CREATE TABLE kept AS SELECT * FROM t")
        prints = {target.fingerprint("t", SCHEMA.names, base.Selection(), hashes=True).hash: "sent"}
        for name in SCHEMA.names[1:]:
            for value in (changed.get(name, "2"), "NULL"):
                mysql_kit.run_sql(
                    either_url,
                    "REPLACE INTO t SELECT * FROM kept",
                    f"UPDATE t SET `{name}` = {value} WHERE id = 4",
                )
                found = target.fingerprint("t", SCHEMA.names, base.Selection(), hashes=True)
                assert found.hash not in prints, f"{name} = {value} looks like {prints[found.hash]}"
                prints[found.hash] = f"{name} = {value}"

    assert len(prints) == 1 + 2 * 20


def test_the_plan_can_say_how_rows_are_loaded(url: str, method: str) -> None:
    with mysql_kit.opened(url) as target:
        says = {"INSERT": "INSERT, because local_infile is off"}
        assert target.ingest_method == says.get(method, method)


def test_insert_takes_over_when_local_infile_is_switched_off_meanwhile(
    either_server, either_url
) -> None:
    with mysql_kit.opened(either_url) as target:
        target.create("t", SCHEMA, ["id"], [])
        mysql_kit.run_sql(either_url, "SET GLOBAL local_infile = 0")
        try:
            assert mysql_kit.send(target, "t", ROWS, ["id"]) == 4
            assert target.ingest_method.startswith("INSERT")
        finally:
            mysql_kit.run_sql(either_url, "SET GLOBAL local_infile = 1")

    assert len(read_back(either_url)) == 4


REFUSED = {
    "varchar(3)": (pa.string(), "abc", "abcd"),
    "char(3) character set latin1": (pa.string(), "a", "☃"),
    "tinyint": (pa.int32(), 1, 128),
    "int unsigned": (pa.int64(), 1, -1),
    "decimal(4,1)": (pa.decimal128(10, 2), D("1.50"), D("1.55")),
    "decimal(4,1) ": (pa.decimal128(10, 2), D("1.50"), D("10000.00")),
    "date": (pa.string(), "2024-02-29", "2023-02-29"),
    "datetime(3)": (pa.timestamp("us"), datetime.datetime(2024, 1, 1),
                    datetime.datetime(2024, 1, 1, 0, 0, 0, 1)),
    "time": (pa.time64("us"), datetime.time(1), datetime.time(1, 0, 0, 1)),
    "timestamp(6) null": (pa.timestamp("us"), datetime.datetime(2024, 1, 1),
                          datetime.datetime(1969, 1, 1)),
    "enum('a','b')": (pa.string(), "a", "c"),
    "set('x','y')": (pa.string(), "x,y", "z"),
    "bit(4)": (pa.int32(), 15, 16),
    "year": (pa.int32(), 1999, 1800),
    "int not null": (pa.int32(), 1, None),
    "varchar(9) not null": (pa.string(), "", None),
    "timestamp not null": (pa.timestamp("us"), datetime.datetime(2024, 1, 1), None),
    "varbinary(2)": (pa.binary(), b"\x00\xff", b"\x00\xff\x00"),
    "longtext check (json_valid(c))": (pa.string(), "{}", "{"),
    "int check (c < 10)": (pa.int32(), 9, 10),
}  # fmt: skip


@pytest.mark.parametrize(
    ("definition", "position"),
    [*[(definition, 70) for definition in REFUSED], ("varchar(3)", 0), ("int check (c < 10)", 199)],
)
def test_a_refused_value_is_named_with_key_and_column(
    url: str, definition: str, position: int
) -> None:
    kind, good, bad = REFUSED[definition]
    mysql_kit.run_sql(url, f"CREATE TABLE t (id int PRIMARY KEY, c {definition})")
    values = [good] * 200
    values[position] = bad
    rows = pa.record_batch({"id": pa.array(range(200), pa.int32()), "c": pa.array(values, kind)})
    with mysql_kit.opened(url) as target:
        target.create_shadow("s", [])
        # MySQL names the constraint only, of whatever columns it is.
        is_mute = "check" in definition and not target._session.is_mariadb
        refused = errors.ConstraintError if is_mute else errors.ValueRejectedError
        with pytest.raises(refused) as caught:
            mysql_kit.send(target, "s", rows, ["id"])

    assert caught.value.key == {"id": position}
    if is_mute:
        assert "s_chk_1" in str(caught.value)
        return
    assert caught.value.column == "c"
    if bad is not None:
        assert caught.value.value == errors.shorten(bad)


def test_every_bad_row_of_many_is_counted_as_bad(url: str) -> None:
    """More bad rows than the server remembers warnings by default."""
    mysql_kit.run_sql(url, "CREATE TABLE t (id int PRIMARY KEY, c varchar(1))")
    rows = pa.record_batch(
        {"id": pa.array(range(900), pa.int32()), "c": ["a" if i < 3 else "ab" for i in range(900)]}
    )
    with mysql_kit.opened(url) as target:
        target.create_shadow("s", [])
        with pytest.raises(errors.ValueRejectedError, match=r"'ab' in the row \(id='3'\)"):
            mysql_kit.send(target, "s", rows, ["id"])


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ([1, 2, 3], [4, 5, 4], {"a": 4}),
        ([1, 2, 3], [4, 2, 5], {"a": 2}),
    ],
)
def test_a_duplicate_key_is_named(url: str, first: list, second: list, key: dict) -> None:
    with mysql_kit.opened(url) as target:
        target.create("t", pa.schema({"a": pa.int64()}), ["a"], [])
        mysql_kit.send(target, "t", pa.record_batch({"a": pa.array(first, pa.int64())}), ["a"])
        with pytest.raises(errors.DuplicateKeyError) as caught:
            mysql_kit.send(target, "t", pa.record_batch({"a": pa.array(second, pa.int64())}), ["a"])

    assert caught.value.key == key


def test_a_duplicate_key_of_several_columns_is_named(url: str) -> None:
    schema = pa.schema({"n": pa.int64(), "day": pa.date32(), "text": pa.string(), "m": pa.int8()})
    rows = pa.table(
        {
            "n": pa.array([1, 2, 3], pa.int64()),
            "day": pa.array([datetime.date(2024, 1, 1)] * 3),
            "text": ["tab\tdash-\\", "", "tab\tdash-\\"],
            "m": pa.array([1, 1, 1], pa.int8()),
        },
        schema=schema,
    )
    with mysql_kit.opened(url) as target:
        target.create("t", schema, ["text", "day"], [])
        with pytest.raises(errors.DuplicateKeyError) as caught:
            mysql_kit.send(target, "t", rows, ["text", "day"])

    assert caught.value.key == {"text": "tab\tdash-\\", "day": datetime.date(2024, 1, 1)}


def test_a_duplicate_in_a_secondary_unique_index_is_named(url: str) -> None:
    mysql_kit.run_sql(url, "CREATE TABLE t (id int PRIMARY KEY, u varchar(9), UNIQUE KEY once (u))")
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "u": ["a", "b", "a"]})
    with mysql_kit.opened(url) as target:
        target.create_shadow("s", [])
        with pytest.raises(errors.DuplicateKeyError) as caught:
            mysql_kit.send(target, "s", rows, ["id"])

    assert caught.value.key == {"u": "a"}


def test_keys_that_differ_in_trailing_space_or_case_are_two(url: str) -> None:
    with mysql_kit.opened(url) as target:
        target.create("t", pa.schema({"a": pa.string()}), ["a"], [])
        rows = pa.record_batch({"a": ["a", "A", "a ", "", " ", "á", "a\0"]})
        assert mysql_kit.send(target, "t", rows, ["a"]) == 7


def test_zero_and_null_keep_their_meaning_in_an_auto_increment_column(url: str) -> None:
    mysql_kit.run_sql(url, "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, b blob, y year)")
    rows = pa.table(
        {
            "id": pa.array([0, 5, 7], pa.int32()),
            "b": [b"", b"\xff", None],
            "y": pa.array([0, 1999, None], pa.uint16()),
        }
    )
    with mysql_kit.opened(url) as target:
        target.create_shadow("s", [])
        assert mysql_kit.send(target, "s", rows, ["id"]) == 3

    found = mysql_kit.run_sql(url, "SELECT id, b, y FROM s ORDER BY id")
    assert found == [(0, b"", 0), (5, b"\xff", 1999), (7, None, None)]


def test_long_values_and_many_rows_are_loaded_in_parts(url: str) -> None:
    texts = ["x'" * 100_000, "\\" * 300_000, "y" * 900_000, *["z" * 1000] * 2000]
    rows = pa.table({"id": pa.array(range(len(texts)), pa.int64()), "c": texts})
    with mysql_kit.opened(url) as target:
        target.create("t", rows.schema, ["id"], [])
        assert mysql_kit.send(target, "t", rows, ["id"]) == len(texts)

    found = mysql_kit.run_sql(url, "SELECT COUNT(*), SUM(LENGTH(c)) FROM t")
    assert found == [(len(texts), sum(map(len, texts)))]


def test_existing_columns_of_rare_types_are_loaded_and_proved(url: str) -> None:
    mysql_kit.run_sql(
        url,
        "CREATE TABLE t (id int(5) ZEROFILL PRIMARY KEY, b1 bit(1), b9 bit(9), y year, e enum('a'),"
        " s set('x','y'), dt datetime, d3 datetime(3), t0 time, ts timestamp NULL, f double(10,2),"
        " dec0 decimal(6,2) ZEROFILL, l varchar(9) CHARACTER SET latin1, m mediumint unsigned)",
    )
    values = [7, True, 511, 1999, "a", "x,y", datetime.datetime(1, 1, 1),
              datetime.datetime(2024, 1, 1, 0, 0, 0, 120000), datetime.time(1, 2, 3),
              datetime.datetime(2024, 7, 1, tzinfo=UTC), 1.5, D("1.50"), "aü€",
              16777215]  # fmt: skip
    with mysql_kit.opened(url) as target:
        schema = target.describe().schema
        target.create_shadow("s", [])
        mysql_kit.send(target, "s", as_batch(values, schema=schema), ["id"])
        found = target.fingerprint("s", schema.names, base.Selection(), hashes=True)

    text = ("7", "1", "511", "1999", "a", "x,y", "0001-01-01 00:00:00.000000",
            "2024-01-01 00:00:00.120000", "01:02:03.000000", "2024-07-01 00:00:00.000000", "1.5",
            "1.50", "aü€", "16777215")  # fmt: skip
    assert found == mysql_kit.hash_of(["\t".join(text)])
    assert mysql_kit.run_sql(url, "SELECT ts, b9 + 0, l FROM s") == [
        (datetime.datetime(2024, 7, 1), 511, "aü€")
    ]


def test_long_texts_full_of_escapes_are_proved_in_bearable_time(either_url: str) -> None:
    """Whole, a megabyte of them takes a minute."""
    dense = "\\x\t☃" * 25_000
    texts = [dense, dense[:8192], dense[:8193], "☃" * 20_000, "\\" * 16384, "a" * 40_000, ""]
    texts += [None] * 2000
    schema = pa.schema({"seq": pa.string(), "piece": pa.int8()})
    numbers = pa.array([number % 100 for number in range(len(texts))], pa.int8())
    rows = pa.table({"seq": texts, "piece": numbers}, schema=schema)
    with mysql_kit.opened(either_url) as target:
        target.create("t", schema, [], [])
        mysql_kit.send(target, "t", rows)
        begun = time.monotonic()
        found = target.fingerprint("t", ["seq", "piece"], base.Selection(), hashes=True)
        seconds = time.monotonic() - begun
        identity = target.row_identity("t", ["seq"])
        assert len(set(target.rows(f"SELECT {identity} FROM t"))) == 8

    escaped = [
        "\\N" if text is None else text.replace("\\", "\\\\").replace("\t", "\\t") for text in texts
    ]
    expected = [f"{text}\t{n % 100}" for n, text in enumerate(escaped)]
    assert found == mysql_kit.hash_of(expected)
    assert seconds < 8  # two thousand scans of the numbers, for the nulls, would take more
