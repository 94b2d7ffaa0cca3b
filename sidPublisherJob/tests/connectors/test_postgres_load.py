"""Rows into a table: every type with its extremes, their fingerprint, and every refused row."""

import datetime
import decimal
import json
import math
import secrets

import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
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


def test_batches_after_a_look_at_the_table_are_added(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int)")
    schema = pa.schema([("id", pa.int32())])
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        for number in range(3):
            rows = postgres_kit.records(schema, [number], [number + 10])
            assert target.load(shadow, postgres_kit.batch(rows, 2 * number), []) == 2
            if number:
                seen = target.fingerprint(shadow, ["id"], base.Selection(), hashes=False)
                assert seen.rows == 2 * number + 2


def test_existing_columns_of_other_types_are_loaded_as_text(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('sad', 'fi\\ne')",
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
        "CREATE TABLE t (u uuid, n numeric, m mood, p positive, i interval, a int[], c char(5),"
        " j json, v varchar(9), ip inet)",
    )
    schema = pa.schema(
        [
            base.uuid_field("u"), ("n", pa.string()), ("m", pa.string()), ("p", pa.int32()),
            ("i", pa.string()), ("a", pa.string()), base.padded_field("c"), base.json_field("j"),
            ("v", pa.string()), ("ip", pa.string()),
        ]
    )  # fmt: skip
    rows = postgres_kit.records(
        schema,
        [
            "0b9d1f4e-1111-4222-8333-444455556666", "1.500", "fi\\ne", 7, "1 day 02:00:00",
            "{1,NULL,3}", "ab", '{"b": 1, "a": 2}', "ü", "10.0.0.1",
        ],
    )  # fmt: skip
    with postgres_kit.opened(postgres_url) as target:
        described = target.describe()
        assert described is not None
        assert described.schema.equals(schema, check_metadata=True)
        shadow = postgres_kit.fill_shadow(target, rows)
        found = target.fingerprint(shadow, schema.names, base.Selection(), hashes=True)
        assert found == postgres_kit.fingerprint(rows)
        assert target.swap(shadow, postgres_kit.NAMES) == 0
    assert postgres_kit.run_sql(postgres_url, "SELECT n::text, a, p FROM t") == [
        ("1.500", [1, None, 3], 7)
    ]


REFUSED = [
    ("smallint", pa.int32(), 40_000, "out of range"),
    ("varchar(3)", pa.string(), "toolong", "too long"),
    ("uuid", pa.string(), "no-uuid", "invalid input"),
    ("numeric(4,1)", pa.decimal128(9, 1), D("12345.6"), "overflow"),
    ("integer CHECK (v < 5)", pa.int32(), 9, "check constraint"),
    ("integer NOT NULL", pa.int32(), None, "not-null"),
    ("jsonb", pa.string(), "{", "json"),
]


@pytest.mark.parametrize(("native", "kind", "value", "reason"), REFUSED)
def test_refused_value_names_row_and_cell(postgres_url, native, kind, value, reason):
    postgres_kit.run_sql(postgres_url, f"CREATE TABLE t (id int PRIMARY KEY, v {native})")
    schema = pa.schema([("id", pa.int32()), ("v", kind)])
    rows = postgres_kit.records(schema, [1, None], [2, value], [3, None])
    rows = rows.slice(1) if "NOT NULL" in native else rows
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        with pytest.raises(errors.ValueRejectedError) as caught:
            target.load(shadow, postgres_kit.batch(rows), ["id"])
        assert caught.value.key == {"id": 2}
        assert reason in str(caught.value)
        if "CHECK" not in native:  # a check names its constraint, not a column
            assert caught.value.column == "v"
            assert str(value if value is not None else "null") in caught.value.value
        target.drop(shadow)
        assert target.fingerprint("t", ["id"], base.Selection(), hashes=False).rows == 0
    assert _leftovers(postgres_url) == []


def test_null_in_a_key_is_a_null_key(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int PRIMARY KEY, v int)")
    schema = pa.schema([("id", pa.int32()), ("v", pa.int32())])
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        with pytest.raises(errors.NullKeyError):
            target.load(shadow, postgres_kit.batch(postgres_kit.records(schema, [None, 1])), ["id"])


@pytest.mark.parametrize("what", ["PRIMARY KEY", "UNIQUE"])
def test_duplicate_key_is_found_when_the_index_is_built(postgres_url, what):
    postgres_kit.run_sql(postgres_url, f'CREATE TABLE t ("the id" int {what}, v int)')
    schema = pa.schema([("the id", pa.int32()), ("v", pa.int32())])
    rows = postgres_kit.records(schema, [1, 1], [7, 2], [7, 3])
    with (
        postgres_kit.opened(postgres_url) as target,
        pytest.raises(errors.DuplicateKeyError) as caught,
    ):
        postgres_kit.fill_shadow(target, rows, ["the id"])
    assert caught.value.key == {"the id": 7}


def test_declared_indexes_are_built_under_their_names(postgres_url):
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("day", pa.date32())])
    indexes = [base.Index("t_day", ("day", "id")), base.Index("t_id", ("id",), unique=True)]
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.NAMES.table("shadow", "t")
        target.create(shadow, schema, ["id"], indexes)
        target.load(shadow, postgres_kit.batch(postgres_kit.records(schema, [1, None])), ["id"])
        target.finish_load(shadow, ["id"])
        target.swap(shadow, postgres_kit.NAMES)
        described = target.describe()
    assert described is not None
    assert described.indexes == ("t_day", "t_id")
    assert described.unique_keys == (("id",),)
    found = postgres_kit.run_sql(
        postgres_url, "SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY indexname"
    )
    assert found == [
        ("CREATE INDEX t_day ON public.t USING btree (day, id)",),
        ("CREATE UNIQUE INDEX t_id ON public.t USING btree (id)",),
        ("CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)",),
    ]


def test_index_name_that_is_taken_is_a_config_error(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE other (id int)")
    schema = pa.schema([("id", pa.int64())])
    with (
        postgres_kit.opened(postgres_url) as target,
        pytest.raises(errors.ConfigError, match="'other'"),
    ):
        target.create("_tmg_x", schema, [], [base.Index("other", ("id",))])


def test_names_of_any_kind_work(postgres_url):
    table, column = 'sel"ect; drop — 表.x', "a \"b\" %s 'c' {d}\\"
    schema = pa.schema([pa.field("order", pa.int32()), pa.field(column, pa.string())])
    rows = postgres_kit.records(schema, [1, "x"], [2, None])
    key = ["order"]
    with postgres_kit.opened(postgres_url, table) as target:
        shadow = postgres_kit.NAMES.table("shadow", table)
        target.create(shadow, schema, key, [base.Index('i "1" %', (column,))])
        target.load(shadow, postgres_kit.batch(rows), key)
        target.finish_load(shadow, key)
        target.swap(shadow, postgres_kit.NAMES)
        shadow = postgres_kit.fill_shadow(target, rows, key)
        found = target.fingerprint(shadow, schema.names, base.Selection(), hashes=True)
        assert found == postgres_kit.fingerprint(rows)
        assert target.swap(shadow, postgres_kit.NAMES) == 2
        staging = postgres_kit.stage(target, postgres_kit.records(schema, [1, "y"], [1, "y"]))
        assert target.keep_latest(staging, schema.names, key, []) == 1
        with target.transaction():
            changes = target.upsert(
                staging,
                schema.names,
                key,
                [],
                f"{target.quote(column)} LIKE 'z%'",
            )
        assert changes == base.Changes(updated=1)
        described = target.describe()
    assert described is not None
    assert described.indexes == ('i "1" %',)
    assert postgres_kit.read(postgres_url, table=table).num_rows == 2


@pytest.mark.parametrize("name", ["n" * 64, "é" * 32, ""])
def test_name_that_the_server_would_cut_is_a_config_error(postgres_url, name):
    with pytest.raises(errors.ConfigError):
        postgres_kit.connect(postgres_url).open_target(name)
    with (
        postgres_kit.opened(postgres_url) as target,
        pytest.raises(errors.ConfigError),
    ):
        target.planned(pa.schema([(name, pa.int32())]), [])


def test_wide_tables_have_a_fingerprint(postgres_url):
    schema = pa.schema([(f"c{number}", pa.int32()) for number in range(250)])
    rows = postgres_kit.records(schema, list(range(250)), [None] * 250)
    with postgres_kit.opened(postgres_url) as target:
        target.create("w", schema, [], [])
        target.load("w", postgres_kit.batch(rows), [])
        found = target.fingerprint("w", schema.names, base.Selection(), hashes=True)
    assert found == postgres_kit.fingerprint(rows)


def test_type_without_a_counterpart_is_a_config_error(postgres_url):
    with (
        postgres_kit.opened(postgres_url) as target,
        pytest.raises(errors.ConfigError, match="duration"),
    ):
        target.planned(pa.schema([("a", pa.duration("s"))]), [])


def _leftovers(url: str) -> list[tuple[object, ...]]:
    return postgres_kit.run_sql(url, "SELECT relname FROM pg_class WHERE relname LIKE '\\_tmg\\_%'")
