"""Rows into a table: existing columns, refused rows, keys and indexes, names of any kind."""

import decimal

import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
from tmg_etl.connectors import base

D = decimal.Decimal
pytestmark = pytest.mark.postgres


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


def test_type_without_a_counterpart_is_a_config_error(postgres_url):
    with (
        postgres_kit.opened(postgres_url) as target,
        pytest.raises(errors.ConfigError, match="duration"),
    ):
        target.planned(pa.schema([("a", pa.duration("s"))]), [])


def _leftovers(url: str) -> list[tuple[object, ...]]:
    return postgres_kit.run_sql(url, "SELECT relname FROM pg_class WHERE relname LIKE '\\_tmg\\_%'")
