"""Which files a table, a path or a glob means, and what is said when it means none."""

import datetime
import os
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors.files_kit import DAY, column, connection, opened, rows
from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base


def put(path: pathlib.Path, *values: object, name: str = "a") -> pathlib.Path:
    """Write a small Parquet or CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({name: list(values)}), path)
    else:
        path.write_text("\n".join([name, *map(str, values), ""]))
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t/x.parquet", "t/deep/er/x.csv"])
def test_a_table_is_a_file_or_a_folder(tmp_path: pathlib.Path, name: str) -> None:
    put(tmp_path / name, 1, 2)
    assert column(opened(tmp_path)) == [1, 2]


def test_a_table_may_lie_in_a_folder_and_have_a_strange_name(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "mart" / "a b;'é[1].v2.parquet", 1)
    assert column(opened(tmp_path, table="mart/a b;'é[1].v2")) == [1]


def test_files_are_read_in_the_order_of_their_paths(tmp_path: pathlib.Path) -> None:
    for name, value in (("b/1", 3), ("a", 1), ("b/2", 4), ("a1", 2)):
        put(tmp_path / "t" / f"{name}.parquet", value)
    found = opened(tmp_path)
    assert column(found) == [1, 2, 3, 4]
    assert found.count() == 4


def test_hidden_files_are_no_data(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "x.parquet", 1)
    for name in ("_SUCCESS", ".x.parquet.crc", "_temporary/0/y.parquet", ".tmp/z.parquet"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text("no data")
    assert column(opened(tmp_path)) == [1]
    assert column(opened(tmp_path, path="**")) == [1]
    assert column(opened(tmp_path, path="t/*")) == [1]


def test_a_missing_table_lists_what_was_looked_for_and_near_names(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "planes.parquet", 1)
    with pytest.raises(errors.ConfigError) as caught:
        opened(tmp_path, table="plane")
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert "plane/, plane.parquet, plane.csv, plane.csv.gz, plane.jsonl" in message
    assert "did you mean planes?" in message
    with pytest.raises(errors.ConfigError, match=r"the folder .*/nowhere does not exist"):
        opened(tmp_path / "nowhere")


def test_an_ambiguous_table_is_refused(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t.parquet", 1)
    put(tmp_path / "t" / "x.parquet", 1)
    with pytest.raises(errors.ConfigError, match=r"is ambiguous: .* holds t/, t\.parquet"):
        opened(tmp_path)
    assert column(opened(tmp_path, path="t.parquet")) == [1]


@pytest.mark.parametrize("table", ["../t", "/etc/passwd", "a/../../t"])
def test_a_table_stays_in_its_folder(tmp_path: pathlib.Path, table: str) -> None:
    with pytest.raises(errors.ConfigError, match="leads out of the folder"):
        opened(tmp_path, table=table)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f/2013-*.parquet", [1, 2]),
        ("f/2013-0[2-9].parquet", [2]),
        ("f/**/*.parquet", [1, 2, 4, 3]),
        ("**", [1, 2, 4, 3]),
        ("f", [1, 2, 4, 3]),
        ("f/sub", [3]),
        ("*/sub*", [3]),
        ("f/2013-01.parquet", [1]),
        ("f/../f/2013-01.parquet", [1]),
    ],
)
def test_paths_and_globs(tmp_path: pathlib.Path, path: str, expected: list[int]) -> None:
    for name, value in (("2013-01", 1), ("2013-02", 2), ("sub/x", 3), ("2014-01", 4)):
        put(tmp_path / "f" / f"{name}.parquet", value)
    assert column(opened(tmp_path, path=path)) == expected
    assert column(opened(tmp_path / "elsewhere", path=str(tmp_path / path))) == expected


def test_a_path_that_matches_nothing(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "x.parquet", 1)
    with pytest.raises(errors.ConfigError, match="no file matches"):
        opened(tmp_path, path="y*.parquet")
    with pytest.raises(errors.ConfigError, match=r"does not exist; did you mean x\.parquet"):
        opened(tmp_path, path="xx.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.ConfigError, match="holds no files"):
        opened(tmp_path, table="empty")


def test_a_path_with_brackets_that_exists_is_that_file(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "x[1].parquet", 1)
    put(tmp_path / "x1.parquet", 2)
    assert column(opened(tmp_path, path="x[1].parquet")) == [1]


def test_the_execution_date_is_filled_in(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "f-20240506.csv", 1)
    put(tmp_path / "2024-05-06" / "x.csv", 2)
    assert column(opened(tmp_path, table="f-{execution_date}")) == [1]
    assert column(opened(tmp_path, path="{execution_date:%Y-%m-%d}/*.csv")) == [2]


def test_mixed_formats_need_a_word(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "x.parquet", 1)
    put(tmp_path / "t" / "x.csv", 2)
    with pytest.raises(errors.ConfigError, match="files of different formats"):
        opened(tmp_path)
    assert column(opened(tmp_path, format="csv")) == [2]
    assert column(opened(tmp_path, format="parquet")) == [1]


def test_files_without_an_ending_need_a_word(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "part-0.csv", 1).rename(tmp_path / "t" / "part-0")
    with pytest.raises(errors.ConfigError, match="is not known by its name"):
        opened(tmp_path)
    assert column(opened(tmp_path, format="csv")) == [1]


def test_urls(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "a lake" / "t.parquet", 1)
    spec = model.SourceSpec(connection="lake", table="t")
    for url in (f"file://{tmp_path}/a%20lake", f"{tmp_path}/a lake/", f"{tmp_path}/x/../a lake"):
        assert column(connection(url).open_source(spec, DAY)) == [1]
    with pytest.raises(errors.ConfigError, match="is a URL, and .* a local folder"):
        opened(tmp_path, path="gs://bucket/t.parquet")


def test_a_relative_url_starts_at_the_config(tmp_path: pathlib.Path) -> None:
    from tmg_etl.connectors import files

    put(tmp_path / "lake" / "t.parquet", 1)
    spec = model.FilesConnection(type="files", name="lake", url="lake/")
    found = files.FilesConnection(spec, tmp_path).open_source(
        model.SourceSpec(connection="lake", table="t"), DAY
    )
    assert column(found) == [1]


def test_partitions_become_columns(tmp_path: pathlib.Path) -> None:
    for day, region, month, value in (
        ("2024-01-01", "eu", "01", 1),
        ("2024-01-02", "a%2Fb", "02", 2),
        ("2024-01-03", "__HIVE_DEFAULT_PARTITION__", "10", 3),
    ):
        put(tmp_path / "t" / f"day={day}" / f"region={region}" / f"month={month}" / "x.csv", value)
    found = opened(tmp_path)
    assert [str(field.type) for field in found.schema()] == [
        "int64",
        "date32[day]",
        "string",
        "int64",
    ]
    assert rows(found) == [
        {"a": 1, "day": datetime.date(2024, 1, 1), "region": "eu", "month": 1},
        {"a": 2, "day": datetime.date(2024, 1, 2), "region": "a/b", "month": 2},
        {"a": 3, "day": datetime.date(2024, 1, 3), "region": None, "month": 10},
    ]
    assert [batch.to_pylist() for batch in found.read(["month"])] == [
        [{"month": 1}],
        [{"month": 2}],
        [{"month": 10}],
    ]


def test_partitions_may_be_declared(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "month=01" / "x.parquet", 1)
    assert rows(opened(tmp_path, columns={"month": "string"})) == [{"a": 1, "month": "01"}]
    with pytest.raises(errors.DataError, match="the partition month=01 is no date"):
        opened(tmp_path, columns={"month": "date"})


def test_partitions_that_do_not_agree(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "month=1" / "x.csv", 1)
    put(tmp_path / "t" / "y.csv", 1)
    with pytest.raises(errors.ConfigError, match=r"partitions of t/month=1/x\.csv and t/y\.csv"):
        opened(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_partition_that_is_a_column_too(tmp_path: pathlib.Path, ending: str) -> None:
    put(tmp_path / "t" / "a=1" / f"x.{ending}", 1)
    with pytest.raises(errors.ConfigError, match="'a' is a column of the files and a partition"):
        opened(tmp_path)


def test_a_window_over_a_partition_leaves_files_unread(tmp_path: pathlib.Path) -> None:
    for day in range(1, 6):
        put(tmp_path / "t" / f"day=2024-01-0{day}" / "x.parquet", day)
    found = opened(tmp_path)
    # No file of another day may be touched: they are broken by now.
    for day in (1, 2, 5):
        (tmp_path / "t" / f"day=2024-01-0{day}" / "x.parquet").write_bytes(b"broken")
    window = base.CursorWindow("day", datetime.date(2024, 1, 3), datetime.date(2024, 1, 4))
    assert [row["a"] for row in rows(found, window)] == [3, 4]


def test_the_snapshot_names_the_state(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "t" / "x.csv", 1)
    path = put(tmp_path / "t" / "y.csv", 2)
    first = opened(tmp_path).snapshot
    assert first.startswith("2 files, 8 bytes, newest 20")
    assert len(first) < 500
    assert opened(tmp_path).snapshot == first
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert opened(tmp_path).snapshot != first


def test_a_lake_that_changes_under_the_run(tmp_path: pathlib.Path) -> None:
    for name in "xyz":
        put(tmp_path / "t" / f"{name}.parquet", *range(1000))
    found = opened(tmp_path)
    batches = found.read(["a"], batch_rows=100)
    next(batches)
    put(tmp_path / "t" / "y.parquet", *range(1001))
    put(tmp_path / "t" / "w.parquet", 1)  # a new file is not in the snapshot
    with pytest.raises(
        errors.TemporaryError, match=r"under the run: t/y\.parquet changed its size"
    ):
        list(batches)
    found = opened(tmp_path)
    batches = found.read(["a"])
    (tmp_path / "t" / "z.parquet").unlink()
    with pytest.raises(errors.TemporaryError, match=r"t/z\.parquet was removed"):
        list(batches)
    assert errors.TemporaryError.exit_code == 75


def test_links(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "real" / "x.parquet", 1)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert column(opened(tmp_path)) == [1]
