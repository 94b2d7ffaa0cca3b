"""Files of a bucket as a source: what is found, that it is one state, and what is fetched."""

import datetime
import gzip

import pyarrow as pa
import pytest

from tests.connectors import bucket_kit, files_kit
from tmg_etl import errors
from tmg_etl.connectors import base


def numbers(*values: int) -> pa.Table:
    return pa.table({"a": list(values)})


@pytest.mark.parametrize("name", ["t.parquet", "t/x.parquet", "t/deep/er/x.parquet"])
def test_a_table_is_an_object_or_a_folder(place: bucket_kit.Place, name: str) -> None:
    place.put_table(name, numbers(1, 2))
    place.put_table("t2.parquet", numbers(3))
    place.put_table("tt/x.parquet", numbers(4))
    assert place.rows() == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_text_is_streamed(place: bucket_kit.Place, ending: str) -> None:
    lines = ["a,b", *(f"{n},x{n}" for n in range(1000))]
    if ending.startswith("jsonl"):
        lines = [f'{{"a": {n}, "b": "x{n}"}}' for n in range(1000)]
    data = "\n".join(lines).encode() + b"\n"
    place.put(f"t.{ending}", gzip.compress(data) if ending.endswith(".gz") else data)
    assert place.rows() == [{"a": n, "b": f"x{n}"} for n in range(1000)]


def test_files_are_read_in_the_order_of_their_paths(place: bucket_kit.Place) -> None:
    for name, value in (("b/1", 3), ("a", 1), ("b/2", 4), ("a1", 2)):
        place.put_table(f"t/{name}.parquet", numbers(value))
    assert place.rows() == [{"a": n} for n in (1, 2, 3, 4)]


def test_hidden_objects_and_folder_marks_are_no_data(place: bucket_kit.Place) -> None:
    place.put_table("t/x.parquet", numbers(1))
    for name in ("t/", "t/_SUCCESS", "t/.crc", "t/_temporary/0/y.parquet", "t/sub/"):
        place.put(name, "")
    assert place.rows() == place.rows(path="t/*") == place.rows(path="**") == [{"a": 1}]


NAMES = ["a b", "a#b", "a?b", "a%20b", "ä/ü", "a//b", "a[1]", "a+b&c", "日本", "a;b'\"c"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(google_place: bucket_kit.GooglePlace, name: str) -> None:
    google_place.put_table(f"{name}/x y#1?.parquet", numbers(1))
    google_place.put_table(f"{name}2.parquet", numbers(2))
    assert google_place.rows(table=name) == [{"a": 1}]
    assert google_place.rows(table=f"{name}2") == [{"a": 2}]
    assert google_place.rows(path=f"{name}/x y#1?.parquet") == [{"a": 1}]
    assert google_place.rows(path=f"{google_place.root}/{name}2.parquet") == [{"a": 2}]


def test_odd_names_in_s3(amazon_place: bucket_kit.AmazonPlace) -> None:
    for index, name in enumerate(NAMES):
        amazon_place.put_table(f"t/{name}/x y#1?.parquet", numbers(index))
    assert sorted(row["a"] for row in amazon_place.rows()) == list(range(len(NAMES)))
    assert amazon_place.rows(path=f"t/{NAMES[-1]}/x y#1?.parquet") == [{"a": len(NAMES) - 1}]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f/2013-*.parquet", [1, 2]),
        ("f/2013-0[2-9].parquet", [2]),
        ("f/**/*.parquet", [1, 2, 4, 3]),
        ("**", [1, 2, 4, 3]),
        ("f", [1, 2, 4, 3]),
        ("f/", [1, 2, 4, 3]),
        ("f/sub", [3]),
        ("f/s*/", [3]),
        ("*/sub*", [3]),
        ("f/2013-01.parquet", [1]),
        ("?/{execution_date}.parquet", [5]),
    ],
)
def test_paths_and_globs(
    google_place: bucket_kit.GooglePlace, path: str, expected: list[int]
) -> None:
    place = google_place
    for name, value in (("2013-01", 1), ("2013-02", 2), ("sub/x", 3), ("2014-01", 4)):
        place.put_table(f"f/{name}.parquet", numbers(value))
    if expected == [5]:
        place.put_table("f/20240506.parquet", numbers(5))
    assert [row["a"] for row in place.rows(path=path)] == expected
    assert [row["a"] for row in place.rows(path=f"{place.root}/{path}")] == expected


def test_a_bucket_may_be_the_lake(google_place: bucket_kit.GooglePlace) -> None:
    google_place.root = f"gs://{bucket_kit.BUCKET}/"
    google_place.put_object("t.parquet", _bytes(numbers(1)))
    assert google_place.rows() == [{"a": 1}]


def _bytes(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_partitions_and_windows_leave_objects_alone(
    google_place: bucket_kit.GooglePlace,
) -> None:
    for day in range(1, 6):
        google_place.put_table(f"t/day=2024-01-0{day}/x.parquet", numbers(day))
    with google_place.opened() as found:
        window = base.CursorWindow("day", datetime.date(2024, 1, 3), datetime.date(2024, 1, 4))
        google_place.server.requests.clear()
        rows = files_kit.rows(found, window)
    assert [(row["a"], row["day"]) for row in rows] == [
        (3, datetime.date(2024, 1, 3)),
        (4, datetime.date(2024, 1, 4)),
    ]
    # Small objects were fetched as a whole with their footers.
    assert google_place.server.requests == []


def test_listings_have_pages(google_place: bucket_kit.GooglePlace) -> None:
    google_place.server.page = 3
    for n in range(10):
        google_place.put_table(f"t/{n}.parquet", numbers(n))
    assert [row["a"] for row in google_place.rows()] == list(range(10))


# --- one state -----------------------------------------------------------------------------------


def big(start: int) -> pa.Table:
    """Return rows that are fetched in more than one request."""
    return pa.table({"a": range(start, start + 20_000), "b": [f"{n:032x}" for n in range(20_000)]})


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl.gz"])
@pytest.mark.parametrize("is_removed", [True, False])
def test_an_object_that_changes_is_no_mixture(
    place: bucket_kit.Place, ending: str, is_removed: bool
) -> None:
    def put(name: str, start: int) -> None:
        table = big(start)
        if ending == "parquet":
            place.put_table(name, table, row_group_size=5_000)
        elif ending == "csv":
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            place.put(name, "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
        else:
            lines = "".join(f'{{"a": {a}, "b": "{start}"}}\n' for a in table["a"].to_pylist())
            place.put(name, gzip.compress(lines.encode(), 0))

    for index in range(12):
        put(f"t/{index:02}.{ending}", index)
    with place.opened() as found:
        batches = found.read(["a"], batch_rows=1000)
        next(batches)
        for index in (3, 11):
            if is_removed:
                place.delete(f"t/{index:02}.{ending}")
            else:
                put(f"t/{index:02}.{ending}", index + 7)
        with pytest.raises(errors.TemporaryError, match=r"lake changed under the run") as caught:
            list(batches)
    assert caught.value.exit_code == 75


def test_the_snapshot_names_the_generations(place: bucket_kit.Place) -> None:
    place.put_table("t/x.parquet", numbers(1))
    place.put_table("t/y.parquet", numbers(2))
    assert ", generation " in place.opened(path="t/x.parquet").snapshot
    first = place.opened().snapshot
    assert first.startswith("2 files, ")
    assert place.opened().snapshot == first
    place.put_table("t/y.parquet", numbers(3))
    assert place.opened().snapshot != first


# --- what is fetched -----------------------------------------------------------------------------


def wide(rows: int, columns: int = 10) -> pa.Table:
    return pa.table(
        {f"c{c}": [f"{r * 7919 + c:060x}" for r in range(rows)] for c in range(columns)}
    )


def test_only_columns_and_row_groups_that_are_needed_are_fetched(place: bucket_kit.Place) -> None:
    table = wide(40_000).append_column("n", pa.array(range(40_000)))
    table = table.append_column(
        "day", pa.array([datetime.date(2024, 1, 1)] * 20_000 + [datetime.date(2024, 1, 2)] * 20_000)
    )
    place.put_table(
        "t.parquet", table, row_group_size=5_000, compression="none", use_dictionary=False
    )
    size = len(place.get_object(place.key("t.parquet")))
    assert size > 20_000_000
    with place.opened() as found:
        assert found.count() == 40_000
        footer = found.bytes_read
        assert footer is not None
        assert 0 < footer < 200_000
        rows = [row for batch in found.read(["c3", "n"]) for row in batch.to_pylist()]
        assert rows == table.select(["c3", "n"]).to_pylist()
        assert found.bytes_read is not None
        assert size / 12 < found.bytes_read - footer < size / 7
        before = found.bytes_read
        window = base.CursorWindow("day", datetime.date(2024, 1, 2), datetime.date(2024, 1, 2))
        rows = [row for batch in found.read(["c3"], window) for row in batch.to_pylist()]
        assert rows == table.slice(20_000).select(["c3"]).to_pylist()
        assert found.bytes_read - before < size / 16


def test_bytes_are_counted_on_a_disk_too(tmp_path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(wide(5_000), tmp_path / "t.parquet", compression="none", use_dictionary=False)
    (tmp_path / "c.csv").write_text("a\n1\n")
    found = files_kit.opened(tmp_path)
    list(found.read(["c1"]))
    size = (tmp_path / "t.parquet").stat().st_size
    assert found.bytes_read is not None
    assert size / 11 < found.bytes_read < size / 9
    found = files_kit.opened(tmp_path, table="c")
    assert found.bytes_read == 0
    list(found.read(["a"]))
    assert found.bytes_read == 4


def test_a_path_may_lead_to_another_bucket(google_place: bucket_kit.GooglePlace) -> None:
    google_place.server.buckets["other"] = {}
    google_place.server.put("other", "a b/day=2024-01-01/1#.csv", b"a\n1\n")
    for path in ("gs://other/a b", "gs://other/a b/*/*.csv", "gs://other/a b/**"):
        (row,) = google_place.rows(path=path)
        assert row == {"a": 1, "day": datetime.date(2024, 1, 1)}
    # A file that is named itself has no folders that mean anything.
    assert google_place.rows(path="gs://other/a b/day=2024-01-01/1#.csv") == [{"a": 1}]


def test_a_prefix_may_have_an_odd_name(google_place: bucket_kit.GooglePlace) -> None:
    google_place.root = "gs://lake/a b#c?d%20//ä"
    google_place.put_table("t/x.parquet", numbers(1))
    assert google_place.names() == ["t/x.parquet"]
    assert google_place.rows() == google_place.rows(path="**/*.parquet") == [{"a": 1}]
