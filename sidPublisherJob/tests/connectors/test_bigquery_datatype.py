"""BigQuery's types and Arrow's, and arrays on their way from the one to the other."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import conform, datatype, parameter

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("kind", "native"),
    [
        (pa.bool_(), "BOOL"),
        (pa.int8(), "INT64"),
        (pa.uint32(), "INT64"),
        (pa.uint64(), "NUMERIC(20)"),
        (pa.float32(), "FLOAT64"),
        (pa.decimal128(10, 2), "NUMERIC(10, 2)"),
        (pa.decimal128(38, 9), "NUMERIC"),
        (pa.decimal128(29, 0), "NUMERIC(29)"),
        (pa.decimal128(30, 0), "BIGNUMERIC(30)"),
        (pa.decimal128(20, 10), "BIGNUMERIC(20, 10)"),
        (pa.decimal256(65, 30), "BIGNUMERIC(65, 30)"),
        (pa.decimal256(76, 38), "BIGNUMERIC"),
        (pa.string(), "STRING"),
        (pa.binary(), "BYTES"),
        (pa.date32(), "DATE"),
        (pa.time64("us"), "TIME"),
        (pa.timestamp("us"), "DATETIME"),
        (pa.timestamp("us", tz="UTC"), "TIMESTAMP"),
        (pa.list_(pa.struct([("a", pa.int64())])), "ARRAY<STRUCT<`a` INT64>>"),
    ],
)
def test_a_new_column_has_the_type_that_holds_all_values(kind: pa.DataType, native: str) -> None:
    field = pa.field("c", kind)
    column = datatype.column(field)
    assert datatype.native(column) == native
    again = datatype.held(field)
    assert datatype.column(again) == column


def test_json_is_json_and_null_is_kept_out() -> None:
    column = datatype.column(base.json_field("j", nullable=False))
    assert (column.field_type, column.mode) == ("JSON", "REQUIRED")
    assert base.is_json(datatype.arrow(column))
    assert not datatype.arrow(column).nullable


@pytest.mark.parametrize(
    "kind",
    [
        pa.decimal256(76, 0),
        pa.decimal256(76, 76),
        pa.duration("us"),
        pa.list_(pa.list_(pa.int64())),
    ],
)
def test_what_bigquery_has_no_type_for_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(errors.ConfigError, match="column 'c'"):
        datatype.column(pa.field("c", kind))


def test_a_type_of_tomorrow_is_refused_by_name() -> None:
    with pytest.raises(errors.ConfigError, match="column 'c' is of the type HOLOGRAM"):
        datatype.arrow(bigquery.SchemaField("c", "HOLOGRAM"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((14, 3, 14_706_000_000_000), "1-2 3 4:5:6"),
        ((-1, -2, -500_000_000), "-0-1 -2 -0:0:0.500"),
        ((0, 0, 1_000), "0-0 0 0:0:0.000001"),
        (None, None),
    ],
)
def test_an_interval_is_written_as_bigquery_does(
    value: tuple[int, int, int] | None, text: str | None
) -> None:
    found = pa.array([value], pa.month_day_nano_interval())
    assert conform.array(found, pa.string()).to_pylist() == [text]


def test_a_part_of_nested_values_stays_that_part() -> None:
    inner = pa.struct([("__range_start", pa.date32()), ("n", pa.decimal128(38, 9))])
    day = datetime.date(2024, 3, 10)
    rows = [
        [{"__range_start": day, "n": Decimal("1.5")}, None],
        None,
        [],
        [{"__range_start": None, "n": Decimal("2.5")}],
    ]
    found = pa.array(rows, pa.list_(pa.field("l", inner)))
    wanted = pa.list_(pa.struct([("start", pa.date32()), ("n", pa.decimal256(76, 38))]))
    expected = [
        [{"start": day, "n": Decimal("1.5")}, None],
        [],
        [],
        [{"start": None, "n": Decimal("2.5")}],
    ]
    assert conform.array(found, wanted).to_pylist() == expected
    assert conform.array(found.slice(1, 3), wanted).to_pylist() == expected[1:]


def test_an_instant_without_a_zone_is_in_utc() -> None:
    at = datetime.datetime(2024, 3, 10, 1, 2, 3, 4)
    found = conform.array(pa.array([at, None], pa.timestamp("us")), pa.timestamp("us", tz="UTC"))
    assert found.to_pylist() == [at.replace(tzinfo=UTC), None]


def test_a_value_that_its_type_does_not_hold_is_not_rounded() -> None:
    found = pa.array([Decimal("1.005")], pa.decimal128(38, 9))
    batch = pa.RecordBatch.from_arrays([found], names=["price"])
    with pytest.raises(errors.DataError, match="column 'price': .* does not fit"):
        conform.batch(batch, pa.schema([("price", pa.decimal128(10, 2))]))


def test_parameters_are_found_where_they_are_meant() -> None:
    text, values = parameter.bind(
        """SELECT :a, ':a', ":a", `x:a`, r':a\\', '''it's :a''', -- :a
        # :a
        /* :a */ @b, x::a, :a, :unknown""",
        {"a": 1, "unused": 2},
    )
    assert text.startswith("SELECT @a, ':a', \":a\", `x:a`, r':a\\', '''it's :a''', -- :a\n")
    assert text.endswith("@b, x:@a, @a, :unknown")
    assert [(value.name, value.type_, value.value) for value in values] == [("a", "INT64", 1)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "BOOL"),
        (1.5, "FLOAT64"),
        ("x", "STRING"),
        (b"x", "BYTES"),
        (datetime.date.min, "DATE"),
        (datetime.time.min, "TIME"),
        (datetime.datetime.min, "DATETIME"),
        (datetime.datetime(2024, 1, 1, tzinfo=UTC), "TIMESTAMP"),
        (Decimal("1.123456789"), "NUMERIC"),
        (Decimal("1.1234567891"), "BIGNUMERIC"),
        (None, "STRING"),
    ],
)
def test_a_parameter_has_the_type_of_its_value(value: object, kind: str) -> None:
    _, (found,) = parameter.bind(":v", {"v": value})
    assert found.type_ == kind
    _, (listed,) = parameter.bind(":v", {"v": [value]})
    assert listed.array_type == kind


@pytest.mark.parametrize("value", [object(), [1, "a"]])
def test_a_parameter_without_a_type_is_refused(value: object) -> None:
    with pytest.raises(errors.ConfigError, match="the parameter 'v'"):
        parameter.bind(":v", {"v": value})
