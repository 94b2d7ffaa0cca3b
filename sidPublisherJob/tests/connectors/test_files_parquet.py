"""Parquet: every type without loss, schemas that differ, broken files, windows and memory."""

import datetime
import decimal
import pathlib
import uuid

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tests.connectors.files_kit import UTC, column, opened, rows
from tmg_etl import errors
from tmg_etl.connectors import base

D = decimal.Decimal
US, ZONED = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
MOMENT = datetime.datetime(2024, 2, 29, 12, 34, 56, 123456)


def write(
    folder: pathlib.Path, array: pa.Array, name: str = "t.parquet", **options: object
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"a": array}), folder / name, **options)


def one(folder: pathlib.Path, array: pa.Array, **options: object) -> tuple[pa.Field, list[object]]:
    write(folder, array, **options)
    found = opened(folder)
    return found.schema().field("a"), column(found)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.bool_(), [True, False, None]),
        *[
            (kind, [-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1, None])
            for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
        ],
        *[
            (kind, [0, 2**kind.bit_width - 1, None])
            for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
        ],
        (pa.float32(), [0.5, float("inf"), None]),
        (pa.float64(), [1.7976931348623157e308, 5e-324, -0.0, None]),
        (pa.decimal128(38, 10), [D("9" * 28 + "." + "9" * 10), D("-0.0000000001"), None]),
        (pa.decimal256(76, 0), [D("9" * 76), D("-1"), None]),
        (pa.string(), ["", "\U0001f600\t\n\\N\0", None]),
        (pa.binary(), [b"", b"\x00\xff", None]),
        (pa.date32(), [datetime.date.min, datetime.date.max, None]),
        (pa.time64("us"), [datetime.time.min, datetime.time.max, None]),
        (US, [datetime.datetime(1, 1, 1), MOMENT, datetime.datetime(9999, 12, 31, 23, 59), None]),
        (ZONED, [MOMENT.replace(tzinfo=UTC), None]),
        (pa.list_(pa.int32()), [[1, None], [], None]),
        (pa.struct([("x", pa.string()), ("y", US)]), [{"x": "a", "y": MOMENT}, None]),
        (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None]),
    ],
)
def test_types_that_stay(tmp_path: pathlib.Path, kind: pa.DataType, values: list[object]) -> None:
    field, found = one(tmp_path, pa.array(values, kind))
    assert field.type == kind
    assert found == values
    assert [str(value) for value in found] == [str(value) for value in values]  # -0.0


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array(["x", None], pa.large_string()), pa.string(), ["x", None]),
        (pa.array(["x", None], pa.string_view()), pa.string(), ["x", None]),
        (pa.array([b"x", None], pa.large_binary()), pa.binary(), [b"x", None]),
        (pa.array([b"xyz", None], pa.binary(3)), pa.binary(), [b"xyz", None]),
        (pa.array(["x", None, "x"]).dictionary_encode(), pa.string(), ["x", None, "x"]),
        (pa.array([1.5, None], pa.float16()), pa.float32(), [1.5, None]),
        (pa.array([D("1.5"), None], pa.decimal32(5, 1)), pa.decimal128(5, 1), [D("1.5"), None]),
        (pa.array([D("1.5"), None], pa.decimal64(15, 1)), pa.decimal128(15, 1), [D("1.5"), None]),
        (pa.nulls(2), pa.string(), [None, None]),
        (pa.array([1, None], pa.time32("s")), pa.time64("us"), [datetime.time(0, 0, 1), None]),
        (pa.array([1000], pa.time64("ns")), pa.time64("us"), [datetime.time(0, 0, 0, 1)]),
        (pa.array([0, None], pa.date64()), pa.date32(), [datetime.date(1970, 1, 1), None]),
        (pa.array([MOMENT.replace(microsecond=0)], pa.timestamp("s")), US, None),
        (pa.array([MOMENT.replace(microsecond=123000)], pa.timestamp("ms")), US, None),
        (pa.array([MOMENT], pa.timestamp("ns")), US, [MOMENT]),
        (
            pa.array([MOMENT.replace(tzinfo=UTC)], pa.timestamp("us", tz="America/New_York")),
            ZONED,
            [MOMENT.replace(tzinfo=UTC)],
        ),
        (pa.array([[1]], pa.large_list(pa.int8())), pa.list_(pa.int8()), [[1]]),
        (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), pa.list_(pa.int8()), [[1, 2]]),
        (
            pa.array([{"d": "x"}], pa.struct([("d", pa.dictionary(pa.int8(), pa.string()))])),
            pa.struct([("d", pa.string())]),
            [{"d": "x"}],
        ),
        (
            pa.array([[MOMENT]], pa.list_(pa.timestamp("ns"))),
            pa.list_(US),
            [[MOMENT]],
        ),
    ],
)
def test_types_that_change_without_loss(
    tmp_path: pathlib.Path, array: pa.Array, kind: pa.DataType, values: list[object] | None
) -> None:
    field, found = one(tmp_path, array)
    assert field.type == kind
    assert found == (values if values is not None else array.to_pylist())


def test_uuid_and_json(tmp_path: pathlib.Path) -> None:
    number = uuid.UUID("12345678-1234-5678-1234-567812345678")
    storage = pa.array([number.bytes, None], pa.binary(16))
    field, found = one(tmp_path, pa.ExtensionArray.from_storage(pa.uuid(), storage))
    assert (field.type, found) == (pa.string(), [str(number), None])
    document = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None]))
    field, found = one(tmp_path, document)
    assert base.is_json(field)
    assert found == ['{"a": 1}', None]


@pytest.mark.parametrize("array", [pa.array([1], pa.duration("us"))])
def test_types_that_nothing_carries(tmp_path: pathlib.Path, array: pa.Array) -> None:
    write(tmp_path, array)
    with pytest.raises(errors.ConfigError, match="column 'a' is of type duration"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([0, 1_000_001, 5], pa.timestamp("ns")), "1970-01-01 00:00:00.001000001"),
        (pa.array([0, 1], pa.time64("ns")), "00:00:00.000000001"),
        (pa.array([[0], [1]], pa.list_(pa.timestamp("ns"))), ""),
    ],
)
def test_nanoseconds_that_do_not_fit(tmp_path: pathlib.Path, array: pa.Array, value: str) -> None:
    write(tmp_path, array)
    with pytest.raises(errors.DataError, match=f"t.parquet: column 'a' .*{value}"):
        column(opened(tmp_path))


def test_moments_outside_the_calendar(tmp_path: pathlib.Path) -> None:
    write(tmp_path, pa.array([2**62], US))
    with pytest.raises(errors.DataError, match="outside the years 1 to 9999"):
        column(opened(tmp_path))


def test_text_that_is_no_utf8(tmp_path: pathlib.Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\xff"]).buffers()[1:]])
    write(tmp_path, broken)
    with pytest.raises(
        errors.DataError, match=r"t\.parquet: column 'a' holds text that is no UTF-8"
    ):
        column(opened(tmp_path))


def test_int96_far_and_fine(tmp_path: pathlib.Path) -> None:
    far = [datetime.datetime(1, 1, 1), MOMENT, None, datetime.datetime(9999, 12, 31, 23, 59, 59, 1)]
    write(tmp_path, pa.array(far, US), use_deprecated_int96_timestamps=True)
    assert str(pq.ParquetFile(tmp_path / "t.parquet").schema.column(0).physical_type) == "INT96"
    assert column(opened(tmp_path)) == far
    fine = pa.array([0, 1_000_001], pa.timestamp("ns"))
    write(tmp_path, fine, use_deprecated_int96_timestamps=True)
    with pytest.raises(errors.DataError, match="finer than microseconds: after 1970-01-01"):
        column(opened(tmp_path))


def test_int96_in_lists_and_structs(tmp_path: pathlib.Path) -> None:
    far = datetime.datetime(9999, 1, 1)
    kind = pa.struct([("l", pa.list_(US)), ("f", pa.float64())])
    values = [{"l": [far, None, MOMENT], "f": 1.5}, None, {"l": None, "f": None}]
    write(tmp_path, pa.array(values, kind), use_deprecated_int96_timestamps=True)
    assert column(opened(tmp_path)) == values
    fine = pa.array([[1_000_001]], pa.list_(pa.timestamp("ns")))
    write(tmp_path, fine, use_deprecated_int96_timestamps=True)
    with pytest.raises(errors.DataError, match="finer than microseconds"):
        column(opened(tmp_path))


def test_required_columns_stay_required(tmp_path: pathlib.Path) -> None:
    schema = pa.schema([pa.field("a", pa.int8(), nullable=False), pa.field("b", pa.int8())])
    pq.write_table(pa.table([[1], [None]], schema=schema), tmp_path / "t.parquet")
    found = opened(tmp_path)
    assert [field.nullable for field in found.schema()] == [False, True]
    assert rows(found) == [{"a": 1, "b": None}]


def test_columns_with_dots_and_nested_fields_of_one_name(tmp_path: pathlib.Path) -> None:
    table = pa.table(
        {"a": [{"b": 1, "c": 2}], "a.b": [3], "c": [[{"b": 4}]], "b": pa.array([5], pa.int8())}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = opened(tmp_path)
    assert rows(found) == table.to_pylist()
    for name in table.column_names:
        assert [batch.to_pylist() for batch in found.read([name])] == [
            table.select([name]).to_pylist()
        ]
    assert [batch.num_rows for batch in found.read([])] == [1]


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.uint32(), pa.uint32()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.decimal128(5, 2), pa.decimal128(10, 1), pa.decimal128(11, 2)),
        (pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal256(76, 38)),
        (pa.int64(), pa.decimal128(5, 2), pa.decimal128(22, 2)),
        (pa.timestamp("ms"), pa.timestamp("ns"), US),
        (pa.string(), pa.large_string(), pa.string()),
    ],
)
def test_schemas_that_widen(
    tmp_path: pathlib.Path, left: pa.DataType, right: pa.DataType, kind: pa.DataType
) -> None:
    for name, one_kind in (("1", left), ("2", right)):
        if pa.types.is_decimal(one_kind):
            values = pa.array([D(0)], one_kind)
        elif pa.types.is_timestamp(one_kind):
            values = pa.array([MOMENT.replace(microsecond=0)], one_kind)
        else:
            values = pa.array(["1"]).cast(one_kind)
        write(tmp_path, values, f"t/{name}.parquet")
    found = opened(tmp_path)
    assert found.schema().field("a").type == kind
    assert len(column(found)) == 2


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.int64(), pa.string()),
        (pa.int64(), pa.float64()),
        (pa.uint64(), pa.int8()),
        (pa.date32(), US),
        (US, ZONED),
        (pa.string(), pa.binary()),
    ],
)
def test_schemas_that_conflict(
    tmp_path: pathlib.Path, left: pa.DataType, right: pa.DataType
) -> None:
    write(tmp_path, pa.array([None], left), "t/1.parquet")
    write(tmp_path, pa.array([None], right), "t/2.parquet")
    with pytest.raises(
        errors.ConfigError, match=r"column 'a' is .* t/1\.parquet and .*t/2\.parquet"
    ):
        opened(tmp_path)


def test_columns_are_united_by_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "t" / "1.parquet")
    pq.write_table(pa.table({"c": [True], "a": [2]}), tmp_path / "t" / "2.parquet")
    found = opened(tmp_path)
    assert rows(found) == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": None, "c": True}]
    assert [batch.to_pylist() for batch in found.read(["b"])] == [[{"b": "x"}], [{"b": None}]]


def test_a_column_that_occurs_twice(tmp_path: pathlib.Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(
        errors.ConfigError, match=r"t\.parquet: the column 'a' occurs more than once"
    ):
        opened(tmp_path)


def test_broken_files_are_named(tmp_path: pathlib.Path) -> None:
    write(tmp_path, pa.array(range(100_000)))
    path = tmp_path / "t.parquet"
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-1], b"id,name\n1,x\n" * 10):
        path.write_bytes(content)
        with pytest.raises(errors.DataError, match=r"t\.parquet is no complete Parquet file"):
            opened(tmp_path)
    path.write_bytes(whole[:100] + bytes(10_000) + whole[10_100:])
    with pytest.raises(errors.DataError, match=r"t\.parquet is no complete Parquet file"):
        column(opened(tmp_path))


def test_an_encrypted_file_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t.parquet"
    with duckdb.connect() as database:
        database.execute("SET force_mbedtls_unsafe = 'true'")
        database.execute("PRAGMA add_parquet_key('k', '0123456789012345')")
        database.execute(
            f"COPY (SELECT 1 AS a) TO '{path}'"
            " (FORMAT parquet, ENCRYPTION_CONFIG {footer_key: 'k'})"
        )
    with pytest.raises(errors.ConfigError, match=r"t\.parquet is encrypted"):
        opened(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: pathlib.Path) -> None:
    with files_kit.unprivileged(tmp_path) as folder:
        write(folder, pa.array([1]))
        (folder / "t.parquet").chmod(0)
        with pytest.raises(errors.AccessError, match=r"t\.parquet: Permission denied"):
            opened(folder)
        (folder / "t.parquet").unlink()
        (folder / "t").mkdir(mode=0)
        with pytest.raises(errors.AccessError, match=r"/t: Permission denied"):
            opened(folder)
        (folder / "t").rmdir()
