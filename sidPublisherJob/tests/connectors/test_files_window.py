"""Parquet read in part: counts, windows, row groups left unread, batches, and bounded memory."""

import datetime
import decimal
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors.files_kit import opened, rows
from tmg_etl import errors
from tmg_etl.connectors import base

D = decimal.Decimal
US, ZONED = pa.timestamp("us"), pa.timestamp("us", tz="UTC")


def write(
    folder: pathlib.Path, array: pa.Array, name: str = "t.parquet", **options: object
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"a": array}), folder / name, **options)


def test_count_comes_from_the_footers(tmp_path: pathlib.Path) -> None:
    write(tmp_path, pa.array(range(1000)), "t/1.parquet")
    write(tmp_path, pa.array(range(10)), "t/2.parquet")
    found = opened(tmp_path)
    assert found.count() == 1010
    day = datetime.date(2024, 1, 1)
    assert found.count(base.CursorWindow("a", day, day)) is None


def days(kind: pa.DataType, count: int = 40) -> pa.Array:
    first = datetime.date(2024, 1, 1)
    every = [first + datetime.timedelta(days=number) for number in range(count)]
    if pa.types.is_integer(kind) or pa.types.is_string(kind):
        texts = [f"{day:%Y%m%d}" for day in every]
        return pa.array(texts).cast(kind)
    return pa.array(every, pa.date32()).cast(kind)


@pytest.mark.parametrize(
    "kind",
    [
        pa.date32(),
        pa.int32(),
        pa.uint64(),
        pa.string(),
        US,
        pa.timestamp("ms"),
        pa.timestamp("ns"),
        ZONED,
        pa.timestamp("us", tz="Asia/Tokyo"),
        pa.decimal128(8, 0),
    ],
)
def test_a_window_leaves_row_groups_unread_and_rows_out(
    tmp_path: pathlib.Path, kind: pa.DataType
) -> None:
    array = pa.array([D(1)] * 40, kind) if pa.types.is_decimal(kind) else days(kind)
    table = pa.table({"a": range(40), "day": array})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
    found = opened(tmp_path)
    window = base.CursorWindow("day", datetime.date(2024, 1, 13), datetime.date(2024, 1, 22))
    if pa.types.is_decimal(kind):
        with pytest.raises(errors.ConfigError, match="the cursor 'day' is of type decimal"):
            list(found.read(["a"], window))
        return
    batches = list(found.read(["a"], window))
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == list(range(12, 22))
    if kind != pa.timestamp("ns"):  # its statistics have no Python value
        broken = bytearray((tmp_path / "t.parquet").read_bytes())
        metadata = pq.read_metadata(tmp_path / "t.parquet")
        for group in (0, 3):
            chunk = metadata.row_group(group).column(0)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            broken[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
        (tmp_path / "t.parquet").write_bytes(bytes(broken))
        found = opened(tmp_path)
        with pytest.raises(errors.DataError):
            list(found.read(["a"]))
        assert sum(batch.num_rows for batch in found.read(["a"], window)) == 10


def test_window_edges_and_nulls(tmp_path: pathlib.Path) -> None:
    moments = [
        datetime.datetime(2024, 1, 1, 23, 59, 59, 999999),
        datetime.datetime(2024, 1, 2),
        datetime.datetime(2024, 1, 2, 23, 59, 59, 999999),
        datetime.datetime(2024, 1, 3),
        None,
    ]
    pq.write_table(pa.table({"a": range(5), "t": moments}), tmp_path / "t.parquet")
    day = datetime.date(2024, 1, 2)
    assert [row["a"] for row in rows(opened(tmp_path), base.CursorWindow("t", day, day))] == [1, 2]
    last = base.CursorWindow("t", datetime.date(2024, 1, 3), datetime.date.max)
    assert [row["a"] for row in rows(opened(tmp_path), last)] == [3]


def test_a_row_group_without_statistics_is_read(tmp_path: pathlib.Path) -> None:
    table = pa.table({"a": range(40), "day": days(pa.date32())})
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=False, row_group_size=10)
    day = datetime.date(2024, 1, 2)
    assert [row["a"] for row in rows(opened(tmp_path), base.CursorWindow("day", day, day))] == [1]


def test_batches_are_no_larger_than_asked_for(tmp_path: pathlib.Path) -> None:
    write(tmp_path, pa.array(range(1000)), row_group_size=400)
    found = opened(tmp_path)
    batches = list(found.read(["a"], batch_rows=150))
    assert max(batch.num_rows for batch in batches) <= 150
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == list(range(1000))


_PEAK = """
import datetime, pathlib, resource, sys
from tests.connectors.files_kit import opened
folder, table = pathlib.Path(sys.argv[1]), sys.argv[2]
rows = sum(batch.num_rows for batch in opened(folder, table=table).read(["k", "s"]))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_a_row_group(tmp_path: pathlib.Path) -> None:
    large = 1_500_000
    numbers = pa.array(np.arange(large))
    table = pa.table({"k": numbers, "s": numbers.cast(pa.string())})
    pq.write_table(table, tmp_path / "large.parquet", row_group_size=large)
    pq.write_table(table.slice(0, 100_000), tmp_path / "small.parquet")
    assert pq.read_metadata(tmp_path / "large.parquet").num_row_groups == 1
    peaks = {}
    for name, expected in (("small", 100_000), ("large", large)):
        command = [sys.executable, "-c", _PEAK, str(tmp_path), name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        read, peak_mb = map(int, done.stdout.split())
        assert read == expected
        peaks[name] = peak_mb
    assert peaks["large"] - peaks["small"] < 25, peaks
