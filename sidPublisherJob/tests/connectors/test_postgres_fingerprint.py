"""Every type with its extremes arrives, and the database computes the fingerprint that was sent."""

import datetime
import decimal
import json
import math
import secrets

import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl.connectors import base
from tmg_etl.transfer import encode

D = decimal.Decimal
UTC = datetime.UTC
pytestmark = pytest.mark.postgres

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("bool", pa.bool_()),
        pa.field("i8", pa.int8()),
        pa.field("i16", pa.int16()),
        pa.field("i64", pa.int64()),
        pa.field("u8", pa.uint8()),
        pa.field("u16", pa.uint16()),
        pa.field("u32", pa.uint32()),
        pa.field("u64", pa.uint64()),
        pa.field("f32", pa.float32()),
        pa.field("f64", pa.float64()),
        pa.field("dec", pa.decimal128(38, 10)),
        pa.field("wide", pa.decimal256(76, 38)),
        pa.field("text", pa.string()),
        pa.field("bytes", pa.binary()),
        pa.field("date", pa.date32()),
        pa.field("time", pa.time64("us")),
        pa.field("ts", pa.timestamp("us")),
        pa.field("tz", pa.timestamp("us", tz="UTC")),
        base.json_field("doc"),
    ]
)
NAMES = SCHEMA.names
ROWS = [
    [
        1, True, 127, 32767, 2**63 - 1, 255, 65535, 2**32 - 1, 2**64 - 1, 3.4028234663852886e38,
        1.7976931348623157e308, D("9999999999999999999999999999.9999999999"),
        D("9" * 38 + "." + "9" * 38), "tab\t nl\n cr\r bs\\ \\N é 😀 'q' \"q\" \\.", b"\x00\xff\\x",
        datetime.date(9999, 12, 31), datetime.time(23, 59, 59, 999999),
        postgres_kit.wall(9999, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        '{"b": [1, 2.50, null, "\\t\\\\ é"], "aa": {"x": true}}',
    ],
    [
        2, False, -128, -32768, -(2**63), 0, 0, 0, 0, 1.401298464324817e-45, 5e-324,
        D("-9999999999999999999999999999.9999999999"), D("-0." + "0" * 37 + "1"), "", b"",
        datetime.date(1, 1, 1), datetime.time(0, 0), postgres_kit.wall(1, 1, 1),
        datetime.datetime(1, 1, 1, tzinfo=UTC), "[]",
    ],
    [3] + [None] * (len(NAMES) - 1),
    [
        4, True, 0, 0, 0, 1, 1, 1, 1, 0.1, -0.0, D("0.5"), D("1"), "\\N", b"\n",
        datetime.date(2024, 2, 29), datetime.time(12, 30, 0, 500000),
        postgres_kit.wall(2024, 2, 29, 12, 30, 0, 500000),
        datetime.datetime(2024, 2, 29, 12, 30, 0, 10, UTC), '"text"',
    ],
    [
        5, True, 1, 1, 1, 1, 1, 1, 1, math.nan, math.inf, D("1"), D("1"), " pad ", b"\t",
        datetime.date(1970, 1, 1), datetime.time(1, 2, 3), postgres_kit.wall(1970, 1, 1),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), "null",
    ],
    [
        6, True, 1, 1, 1, 1, 1, 1, 1, -math.inf, 1e15, D("1"), D("1"), "x" * 70_000, b"\xff" * 9000,
        datetime.date(1970, 1, 1), datetime.time(1, 2, 3), postgres_kit.wall(1970, 1, 1),
        datetime.datetime(1970, 1, 1, tzinfo=UTC), "1",
    ],
]  # fmt: skip


@pytest.fixture
def loaded(postgres_url: str) -> tuple[str, pa.RecordBatch]:
    """A new table `t` that holds `ROWS`, and the rows as they were sent."""
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        planned = target.planned(SCHEMA, ["id"])
        target.create(shadow, SCHEMA, ["id"], [])
        rows = postgres_kit.records(SCHEMA, *ROWS).cast(planned.schema)
        assert target.load(shadow, postgres_kit.batch(rows), ["id"]) == len(ROWS)
        target.finish_load(shadow, ["id"])
        assert target.swap(shadow, postgres_kit.NAMES) == 0
        described = target.describe()
        assert described is not None
        assert described.schema.equals(planned.schema, check_metadata=True)
        assert described.primary_key == ("id",)
    return postgres_url, rows


def test_every_type_arrives_as_it_was_sent(loaded):
    url, _ = loaded
    found = postgres_kit.run_sql(
        url,
        'SELECT id, bool, i8, i16, i64, u8, u16, u32, u64, f32::float8, f64, "dec", wide, text,'
        " bytes, date, time, ts, tz, doc::text FROM t ORDER BY id",
    )
    for sent, row in zip(ROWS, found, strict=True):
        for name, want, have in zip(NAMES, sent, row, strict=True):
            if name == "f32" and want is not None:
                want = pa.scalar(want, pa.float32()).as_py()
            if name == "doc":
                continue
            if isinstance(want, float):
                assert repr(have) == repr(float(want)), name
            else:
                assert have == want, name
    assert found[0][-1] == '{"b": [1, 2.50, null, "\\t\\\\ é"], "aa": {"x": true}}'


def test_database_computes_the_fingerprint_that_was_sent(loaded):
    url, rows = loaded
    with postgres_kit.opened(url) as target:
        found = target.fingerprint("t", NAMES, base.Selection(), hashes=True)
        some = target.fingerprint("t", ["text", "id"], base.Selection(), hashes=True)
        counted = target.fingerprint("t", NAMES, base.Selection(), hashes=False)
    assert found == postgres_kit.fingerprint(rows)
    assert some == postgres_kit.fingerprint(rows.select(["text", "id"]))
    assert counted == base.Fingerprint(len(ROWS))


def test_fingerprint_is_the_sum_of_the_documented_row_text(loaded):
    url, _ = loaded
    lines = [
        "true\t-1\t0.5\t1.00\ta\\tb\\\\c\nd\t\\\\x00ff\t2024-02-29\t12:30:00.5"
        '\t2024-02-29 12:30:00\t2024-02-29 12:30:00.00001+00\t{"a": "\\\\t"}',
        "\t".join(["\\N"] * 11),
    ]
    postgres_kit.run_sql(
        url,
        "CREATE TABLE u (a boolean, b smallint, c real, d numeric(9,2), e text, f bytea, g date,"
        " h time, i timestamp, j timestamptz, k jsonb)",
        "INSERT INTO u VALUES (true, -1, 0.5, 1, E'a\\tb\\\\c\\nd', '\\x00ff', '2024-02-29',"
        " '12:30:00.5', '2024-02-29 12:30:00', '2024-02-29 07:30:00.00001-05',"
        ' \'{"a":"\\t"}\'), (null, null, null, null, null, null, null, null, null, null, null)',
    )
    with postgres_kit.opened(url, "u") as target:
        found = target.fingerprint("u", list("abcdefghijk"), base.Selection(), hashes=True)
    assert found == postgres_kit.hash_of(lines)


@pytest.mark.parametrize("size", [511, 512, 1023, 1024, 1025, 5000])
def test_long_values_have_the_fingerprint_that_was_sent(postgres_url, size):
    schema = pa.schema(
        [("id", pa.int64()), ("t", pa.string()), ("b", pa.binary()), base.json_field("j")]
    )
    texts = ["x" * size, "\\" * size, "é" * (size // 2) + "\t"]
    rows = postgres_kit.records(
        schema,
        *(
            [number, text, b"\xff" * (size // 2 - 1), json.dumps([text, "\\"], ensure_ascii=False)]
            for number, text in enumerate(texts)
        ),
    )
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        target.create(shadow, schema, ["id"], [])
        target.load(shadow, postgres_kit.batch(rows), ["id"])
        found = target.fingerprint(shadow, schema.names, base.Selection(), hashes=True)
        # The same text under another cell, and one character less, are other rows.
        target.run(f"UPDATE {target.qualified(shadow)} SET t = left(t, -1) WHERE id = 0")
        changed = target.fingerprint(shadow, schema.names, base.Selection(), hashes=True)
    assert found == postgres_kit.fingerprint(rows)
    assert changed != found


def test_a_server_that_stores_another_encoding_proves_by_sha256(postgres_server):
    name = f"latin1_{secrets.token_hex(4)}"
    with postgres_server.connect() as raw:
        raw.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    url = postgres_server.url(name)
    # The plain driver sends the text of a statement in UTF-8, whatever the server takes it for.
    insert = "INSERT INTO t VALUES (1, 'Z' || chr(252) || 'rich')"
    postgres_kit.run_sql(url, "CREATE TABLE t (id int, n text)", insert)
    rows = pa.record_batch({"id": pa.array([1], pa.int32()), "n": pa.array(["Zürich"])})
    try:
        with postgres_kit.opened(url) as target:
            text = target.capabilities.text
            found = target.fingerprint("t", ["id", "n"], base.Selection(), hashes=True)
    finally:
        postgres_server.drop_database(name)
    assert text.digest is base.Digest.SHA256
    encoder = encode.Encoder(rows.schema, text, hashes=True)
    encoder.add(rows)
    assert found == encoder.fingerprint


def test_changing_any_cell_changes_the_fingerprint(loaded):
    url, rows = loaded
    changes = {
        "id": "99", "bool": "false", "text": "text || ' '", "bytes": "bytes || '\\x00'",
        "date": "date - 1", "time": "time - interval '1 microsecond'",
        "ts": "ts - interval '1 microsecond'", "tz": "tz - interval '1 microsecond'",
        "doc": "'{}'", "f32": "1", "f64": "f64 / 2", "wide": "wide - 1e-38",
        "dec": '"dec" - 1e-10',
    }  # fmt: skip
    with postgres_kit.opened(url) as target, postgres_kit.raw(url) as connection:
        connection.execute("CREATE TABLE saved AS TABLE t")
        for column in NAMES:
            for value in (changes.get(column, f'"{column}" - 1'), "NULL"):
                if column == "id" and value == "NULL":
                    continue
                connection.execute(f'UPDATE t SET "{column}" = {value} WHERE id = 1')
                found = target.fingerprint("t", NAMES, base.Selection(), hashes=True)
                assert found != postgres_kit.fingerprint(rows), (column, value)
                connection.execute("TRUNCATE t")
                connection.execute("INSERT INTO t TABLE saved")
        found = target.fingerprint("t", NAMES, base.Selection(), hashes=True)
        assert found == postgres_kit.fingerprint(rows)


def test_null_and_empty_and_escapes_are_told_apart(postgres_url):
    texts = [None, "", "\\N", "N", "\t", "\\t", "\\", "\\\\", "\n", "\\n"]
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (a text, b text)")
    schema = pa.schema([("a", pa.string()), ("b", pa.string())])
    hashes = set()
    for text in texts:
        rows = postgres_kit.records(schema, [text, "x"])
        postgres_kit.run_sql(postgres_url, "DELETE FROM t")
        with postgres_kit.opened(postgres_url) as target:
            target.load("t", postgres_kit.batch(rows), [])
            found = target.fingerprint("t", ["a", "b"], base.Selection(), hashes=True)
        assert postgres_kit.run_sql(postgres_url, "SELECT a, b FROM t") == [(text, "x")]
        assert found == postgres_kit.fingerprint(rows)
        hashes.add(found.hash)
    assert len(hashes) == len(texts)


def test_wide_tables_have_a_fingerprint(postgres_url):
    schema = pa.schema([(f"c{number}", pa.int32()) for number in range(250)])
    rows = postgres_kit.records(schema, list(range(250)), [None] * 250)
    with postgres_kit.opened(postgres_url) as target:
        target.create("w", schema, [], [])
        target.load("w", postgres_kit.batch(rows), [])
        found = target.fingerprint("w", schema.names, base.Selection(), hashes=True)
    assert found == postgres_kit.fingerprint(rows)
