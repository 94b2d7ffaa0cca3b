"""Folders of Parquet as targets: written, replaced, refused and swept, read back by others."""

import datetime
import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tests.connectors.folder_kit import SCHEMA, ids, names, publish, table
from tmg_etl import errors
from tmg_etl.connectors import base

UTC = datetime.UTC
D = decimal.Decimal


def test_a_folder_is_created_and_replaced(tmp_path: pathlib.Path) -> None:
    assert publish(tmp_path, table(1, 2, 3), ["id"]) == 0
    assert ids(tmp_path / "t") == [1, 2, 3]
    assert publish(tmp_path, table(4), ["id"]) == 3
    assert ids(tmp_path / "t") == [4]
    assert publish(tmp_path, table(), ["id"]) == 1
    assert pyarrow.dataset.dataset(tmp_path / "t").count_rows() == 0
    assert publish(tmp_path, table(5), ["id"]) == 0
    assert names(tmp_path) == ["t"]
    assert len(names(tmp_path / "t")) == 2


def test_a_target_in_folders_that_do_not_exist_yet(tmp_path: pathlib.Path) -> None:
    files_kit.Publisher(tmp_path / "new" / "lake", "mart/ä b;'x").publish(table(1))
    assert ids(tmp_path / "new" / "lake" / "mart" / "ä b;'x") == [1]


def test_the_manifest_says_what_was_written(tmp_path: pathlib.Path) -> None:
    one = files_kit.Publisher(tmp_path)
    one.publish(table(1, 2), ["id"])
    manifest = json.loads((tmp_path / "t" / "_tmg_etl.json").read_text())
    (file,) = manifest["files"]
    assert manifest["run_id"] == one.names.run_id
    assert (manifest["table"], manifest["rows"], manifest["key"]) == ("t", 2, ["id"])
    assert file["name"] == f"part-00000-{one.names.run_id}.parquet"
    assert file["size_bytes"] == (tmp_path / "t" / file["name"]).stat().st_size


def test_what_is_written_can_be_a_source(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1, 2))
    found = files_kit.opened(tmp_path)
    assert found.schema().equals(SCHEMA, check_metadata=True)
    assert files_kit.rows(found) == table(1, 2).to_pylist()


EXTREMES: dict[pa.DataType, list[object]] = {
    pa.bool_(): [True, False],
    pa.int8(): [-128, 127],
    pa.int64(): [-(2**63), 2**63 - 1],
    pa.uint8(): [0, 255],
    pa.uint64(): [0, 2**64 - 1],
    pa.float32(): [0.1, float("-inf")],
    pa.float64(): [-0.0, 5e-324, 1.7976931348623157e308, float("inf")],
    pa.decimal128(38, 38): [D("0." + "9" * 38)],
    pa.decimal256(76, 2): [D("-" + "9" * 74 + ".99")],
    pa.string(): ["", "\U0001f600 \t\n\r\\ \\N \0"],
    pa.binary(): [b"", b"\x00\xff"],
    pa.date32(): [datetime.date.min, datetime.date.max],
    pa.time64("us"): [datetime.time.min, datetime.time.max],
    pa.timestamp("us"): [
        datetime.datetime(1, 1, 1),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
    ],
    pa.timestamp("us", tz="UTC"): [datetime.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
    pa.list_(pa.int64()): [[1, None], []],
    pa.struct([("x", pa.string())]): [{"x": None}],
}


@pytest.mark.parametrize("kind", EXTREMES, ids=str)
def test_types_as_others_read_them(tmp_path: pathlib.Path, kind: pa.DataType) -> None:
    values = [*EXTREMES[kind], None]
    one = files_kit.Publisher(tmp_path)
    data = pa.table({"a": pa.array(values, kind)})
    planned = one.target.planned(data.schema, [])
    assert planned.schema == data.schema
    one.publish(data)
    read = pq.read_table(tmp_path / "t")
    assert read.schema.field("a").type == kind
    assert repr(read.column("a").to_pylist()) == repr(data.column("a").to_pylist())
    assert one.target.describe() == dataclass_with_rows(planned, len(values))
    scanned = pa.Table.from_batches(one.target.scan("t", ["a"], base.Selection()))
    assert scanned.equals(read.select(["a"]))


def dataclass_with_rows(planned: base.Table, rows: int) -> base.Table:
    return base.Table(planned.columns, planned.primary_key, row_estimate=rows)


def test_describe(tmp_path: pathlib.Path) -> None:
    one = files_kit.Publisher(tmp_path)
    assert one.target.describe() is None
    one.publish(table(1), ["id"])
    described = one.target.describe()
    assert described is not None
    assert described.schema.equals(SCHEMA, check_metadata=True)
    assert [column.native for column in described.columns] == ["int64", "string", "json"]
    assert described.is_unique_over(["id"])
    assert described.row_estimate == 1


def test_the_key_of_an_older_version_may_differ(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1, 2), ["id"])
    publish(tmp_path, table(1, 2, text="y"), ["id", "s"])
    described = files_kit.Publisher(tmp_path).target.describe()
    assert described is not None
    assert described.primary_key == ("id", "s")


def test_rows_are_read_back_by_count_and_window(tmp_path: pathlib.Path) -> None:
    days = [datetime.date(2024, 1, number) for number in range(1, 11)]
    one = files_kit.Publisher(tmp_path)
    one.stage(pa.table({"day": days, "n": range(10)}))
    window = base.CursorWindow("day", days[2], days[4])
    everything = one.target.fingerprint(one.shadow, ["n"], base.Selection(), hashes=False)
    some = one.target.fingerprint(one.shadow, ["n"], base.Selection(window=window), hashes=False)
    assert (everything.rows, some.rows) == (10, 3)
    batches = one.target.scan(one.shadow, ["n"], base.Selection(window=window))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"n": n} for n in (2, 3, 4)]


def test_schema_evolution(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    one = files_kit.Publisher(tmp_path)
    one.target.add_columns(pa.schema([pa.field("extra", pa.int8(), nullable=False)]))
    described = one.target.describe()
    assert described is not None
    assert described.schema.names == ["id", "s", "j", "extra"]
    assert pq.read_table(tmp_path / "t").column_names == ["id", "s", "j"]
    data = table(2).append_column("extra", pa.array([7], pa.int8()))
    one.publish(data)
    assert pq.read_table(tmp_path / "t").to_pylist() == data.to_pylist()


def test_columns_are_matched_by_name(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    one = files_kit.Publisher(tmp_path)
    one.target.create_shadow(one.shadow, [])
    one.load(pa.table({"s": ["y"], "id": [2]}))
    one.target.swap(one.shadow, one.names)
    assert pq.read_table(tmp_path / "t").to_pylist() == [{"id": 2, "s": "y", "j": None}]


def test_null_in_a_required_column_names_the_row(tmp_path: pathlib.Path) -> None:
    one = files_kit.Publisher(tmp_path)
    one.target.create(one.shadow, SCHEMA, ["id"], [])
    bad = pa.RecordBatch.from_pydict({"id": pa.array([None], pa.int64()), "s": ["x"], "j": ["1"]})
    with pytest.raises(errors.ValueRejectedError, match="column 'id'"):
        one.target.load(one.shadow, base.Batch(bad, None, 0), ["s"])


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 1], pa.int64()),
        (["a", "b", "a"], pa.string()),
        ([D(2), D(1), D(1)], pa.decimal128(38, 0)),
        ([datetime.datetime(2024, 1, 1)] * 2, pa.timestamp("us")),
        ([datetime.datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC")),
        ([b"\0", b"\0"], pa.binary()),
        ([2**64 - 1] * 2, pa.uint64()),
        ([datetime.time(1, 2, 3, 4)] * 2, pa.time64("us")),
    ],
)
def test_a_doubled_key_is_named(
    tmp_path: pathlib.Path, values: list[object], kind: pa.DataType
) -> None:
    one = files_kit.Publisher(tmp_path)
    doubled = next(value for value in values if values.count(value) > 1)
    with pytest.raises(errors.DuplicateKeyError) as caught:
        one.stage(pa.table({'k;"': pa.array(values, kind), "n": range(len(values))}), ['k;"'])
    assert caught.value.key == {'k;"': doubled}
    one.target.drop(one.shadow)
    assert names(tmp_path) == []


def test_keys_that_only_look_alike(tmp_path: pathlib.Path) -> None:
    wide = [D("9" * 75 + "1"), D("9" * 75 + "2")]
    data = pa.table(
        {
            "d": pa.array([*wide, wide[0], wide[0]], pa.decimal256(76, 0)),
            "s": ["a", "a", "A", "a "],
        }
    )
    files_kit.Publisher(tmp_path).publish(data, ["d", "s"])
    assert pyarrow.dataset.dataset(tmp_path / "t").count_rows() == 4
