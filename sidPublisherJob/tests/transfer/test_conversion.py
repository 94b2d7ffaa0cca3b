"""What may become what, and how a value that does not fit is named."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.transfer import conversion

ABLE = base.Capabilities(base.Ingest.TEXT, base.Proof.DATABASE)
UNABLE = base.Capabilities(
    base.Ingest.TEXT,
    base.Proof.DATABASE,
    has_nan=False,
    has_infinity=False,
    has_negative_zero=False,
    has_nul=False,
    min_date=datetime.date(1000, 1, 1),
    zoned_timestamps=False,
)
UTC = pa.timestamp("us", "UTC")


def convert(
    values: Sequence[object],
    have: pa.DataType,
    want: pa.DataType | pa.Field,
    capabilities: base.Capabilities = ABLE,
) -> list[object]:
    field = want if isinstance(want, pa.Field) else pa.field("c", want)
    converter = conversion.Converter(
        "t", pa.schema([field]), frozenset({"id"}), ("id",), capabilities
    )
    batch = pa.record_batch(
        [pa.array(range(1, len(values) + 1)), pa.array(values, have)], names=["id", "c"]
    )
    return list(converter.convert(batch).column("c").to_pylist())


@pytest.mark.parametrize(
    ("values", "have", "want", "result"),
    [
        ([1, None], pa.int64(), pa.int8(), [1, None]),
        ([2**64 - 1], pa.uint64(), pa.decimal128(20, 0), [Decimal(2**64 - 1)]),
        ([999], pa.int64(), pa.decimal128(5, 2), [Decimal("999.00")]),
        ([2**53], pa.int64(), pa.float64(), [2.0**53]),
        ([3.0], pa.float64(), pa.int32(), [3]),
        ([Decimal("1.50")], pa.decimal128(9, 2), pa.decimal128(4, 1), [Decimal("1.5")]),
        ([Decimal("7")], pa.decimal128(9, 0), pa.int8(), [7]),
        ([Decimal("1E-9")], pa.decimal128(20, 9), pa.string(), ["0.000000001"]),
        ([True, False], pa.bool_(), pa.int8(), [1, 0]),
        ([True], pa.bool_(), pa.string(), ["true"]),
        ([datetime.date(9999, 12, 31)], pa.date32(), pa.timestamp("us"),
         [datetime.datetime(9999, 12, 31)]),
        ([datetime.datetime(2013, 1, 1)], pa.timestamp("us"), pa.date32(),
         [datetime.date(2013, 1, 1)]),
        ([datetime.datetime(2013, 1, 1, 5, tzinfo=datetime.UTC)], UTC, pa.timestamp("us"),
         [datetime.datetime(2013, 1, 1, 5)]),
        ([[1, 2], None, []], pa.list_(pa.int8()), pa.string(), ["[1,2]", None, "[]"]),
        ([None], pa.null(), pa.int8(), [None]),
    ],
)  # fmt: skip
def test_lossless_conversions(
    values: list[object], have: pa.DataType, want: pa.DataType, result: list[object]
) -> None:
    assert conversion.refusal(pa.field("c", have), pa.field("c", want)) is None
    assert convert(values, have, want) == result


@pytest.mark.parametrize(
    ("values", "have", "want", "value"),
    [
        ([1, 2, 300], pa.int64(), pa.int8(), "300"),
        ([2**53 + 1], pa.int64(), pa.float64(), str(2**53 + 1)),
        ([1, 1000], pa.int64(), pa.decimal128(5, 2), "1000"),
        ([Decimal("1.55")], pa.decimal128(9, 2), pa.decimal128(9, 1), "1.55"),
        ([0.5], pa.float64(), pa.int64(), "0.5"),
        ([datetime.datetime(2013, 1, 1, 1)], pa.timestamp("us"), pa.date32(),
         "2013-01-01 01:00:00"),
        ([[math.nan]], pa.list_(pa.float64()), pa.string(), "[nan]"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(
    values: list[object], have: pa.DataType, want: pa.DataType, value: str
) -> None:
    with pytest.raises(errors.ValueRejectedError) as caught:
        convert(values, have, want)
    message = str(caught.value)
    assert "t: column 'c'" in message
    assert f"value {value!r}" in message
    assert f"(id='{len(values)}')" in message
    assert "does not fit" in message


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (pa.string(), pa.int64()),
        (pa.float64(), pa.float32()),
        (pa.float64(), pa.decimal128(9, 2)),
        (pa.decimal128(9, 2), pa.float64()),
        (pa.timestamp("us"), UTC),
        (pa.binary(), pa.string()),
        (pa.string(), pa.binary()),
        (pa.list_(pa.int8()), pa.int8()),
        (pa.date32(), pa.int32()),
    ],
)
def test_types_that_show_a_loss_are_refused(have: pa.DataType, want: pa.DataType) -> None:
    assert conversion.refusal(pa.field("c", have), pa.field("c", want))


@pytest.mark.parametrize(
    ("value", "have", "reason"),
    [
        (math.nan, pa.float64(), "holds no NaN"),
        (-math.inf, pa.float32(), "holds no infinity"),
        ("a\0b", pa.string(), "holds no NUL"),
        (datetime.date(999, 12, 31), pa.date32(), "no day before 1000-01-01"),
    ],
)
def test_what_the_target_cannot_hold_is_refused_at_its_row(
    value: object, have: pa.DataType, reason: str
) -> None:
    assert convert([None, value], have, have, ABLE)[0] is None
    with pytest.raises(errors.ValueRejectedError, match=rf"id='2'.*{reason}"):
        convert([None, value], have, have, UNABLE)


def test_negative_zero_becomes_zero_where_the_target_has_only_one() -> None:
    (value,) = convert([-0.0], pa.float64(), pa.float64(), UNABLE)
    assert math.copysign(1, float(str(value))) == 1


def test_null_in_the_key_and_in_a_required_column() -> None:
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    converter = conversion.Converter("t", schema, frozenset({"id", "name"}), ("id",), ABLE)
    with pytest.raises(errors.NullKeyError, match=r"key column 'id' is null.*name='x'"):
        converter.convert(pa.record_batch([pa.array([None], pa.int64()), ["x"]], schema=schema))
    with pytest.raises(errors.ValueRejectedError, match=r"column 'name'.*id='1'.*NOT NULL"):
        converter.convert(
            pa.record_batch([pa.array([1]), pa.array([None], "string")], schema=schema)
        )


def test_json_is_checked_where_it_is_rewritten() -> None:
    canonical = base.Capabilities(
        base.Ingest.TEXT, base.Proof.DATABASE, text=base.TextFormat(canonical_json=True)
    )
    with pytest.raises(errors.ValueRejectedError, match="not a JSON document"):
        convert(["{", "{}"], pa.string(), base.json_field("c"), canonical)
    doubled = '[{"a": {"b": 1, "b": 1}}]'
    with pytest.raises(errors.ValueRejectedError, match=r"id='2'.*the key 'b' occurs twice"):
        convert(['{"a": 1, "A": {"a": 1}}', doubled], pa.string(), base.json_field("c"), canonical)
    assert convert([doubled], pa.string(), base.json_field("c")) == [doubled]
    nested = pa.map_(pa.string(), pa.int8())
    with pytest.raises(errors.ValueRejectedError, match="the key 'k' occurs twice"):
        convert([[("k", 1), ("k", 2)]], nested, base.json_field("c"), canonical)


def test_texts_take_the_form_of_a_type_that_has_one() -> None:
    uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    written = [uuid.upper(), f"{{{uuid}}}", uuid.replace("-", ""), uuid, None]
    as_uuid = base.uuid_field("c")
    assert convert(written, pa.string(), as_uuid) == [uuid] * 4 + [None]
    # What is none is left to the database to refuse.
    assert convert(["x", f"{uuid}0"], pa.string(), as_uuid) == ["x", f"{uuid}0"]
    padded = base.padded_field("c")
    given = ["a  ", " b ", "   ", "", "c\t ", "d\u00a0", None]
    assert convert(given, pa.string(), padded) == ["a", " b", "", "", "c\t", "d\u00a0", None]


def test_carried_fields() -> None:
    assert base.is_json(conversion.carried(pa.field("c", pa.list_(pa.int8())), ABLE))
    assert conversion.carried(pa.field("c", UTC), UNABLE).type == pa.timestamp("us")
    assert conversion.carried(pa.field("c", UTC), ABLE).type == UTC
    assert conversion.carried(pa.field("c", pa.null()), ABLE).type == pa.string()


def test_a_decimal_that_gains_places_is_refused_where_it_has_no_room():
    fields = pa.schema([pa.field("n", pa.decimal128(38, 10))])
    converter = conversion.Converter("t", fields, frozenset(), (), ABLE)
    number = Decimal("12345678901234567890123456789")  # would wrap around in Arrow's cast
    batch = pa.RecordBatch.from_arrays([pa.array([number], pa.decimal128(38, 0))], ["n"])
    with pytest.raises(errors.ValueRejectedError, match=str(number)):
        converter.convert(batch)
