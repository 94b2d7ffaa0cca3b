"""SQL over files: DuckDB's answers over the tables of a folder, and what it says when it cannot."""

import datetime
import decimal
import pathlib
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors.files_kit import DAY, connection, opened, rows
from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base


@pytest.fixture
def lake(tmp_path: pathlib.Path) -> pathlib.Path:
    """A Parquet table in two files, a partitioned one, a CSV table and a JSON one."""
    (tmp_path / "flights").mkdir()
    for month in (1, 2):
        day = datetime.date(2024, month, 5)
        table = pa.table({"n": [month, month + 10], "carrier": ["AA", None], "day": [day, day]})
        pq.write_table(table, tmp_path / "flights" / f"{month}.parquet")
        folder = tmp_path / "parts" / f"month=0{month}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "x.parquet")
    (tmp_path / "airlines.csv").write_text('carrier,name,code\nAA,"",007\nUA,,010\n')
    (tmp_path / "notes.jsonl").write_text('{"n": 1, "tags": ["x", "y"]}\n{"n": 2}\n')
    return tmp_path


def test_tables_of_several_formats_are_joined(lake: pathlib.Path) -> None:
    query = """
        WITH f AS (SELECT * FROM flights)
        SELECT f.n, a.name, a.code, len(o.tags) AS tags
        FROM f JOIN airlines a USING (carrier) LEFT JOIN notes o ON o.n = f.n ORDER BY 1;
    """
    found = opened(lake, query=query)
    assert found.schema().names == ["n", "name", "code", "tags"]
    assert rows(found) == [
        {"n": 1, "name": "", "code": "007", "tags": 2},
        {"n": 2, "name": "", "code": "007", "tags": None},
    ]
    assert rows(found)  # again
    assert found.count() is None
    assert found.snapshot.startswith("4 files, ")
    assert "WITH f AS (SELECT * FROM flights)" in found.description
    found.close()
    found.close()


def test_window_columns_and_batches(lake: pathlib.Path) -> None:
    day = datetime.date(2024, 2, 5)
    with opened(lake, query="SELECT * FROM flights") as found:
        window = base.CursorWindow("day", day, day)
        batches = list(found.read(["carrier", "n"], window, batch_rows=1))
        assert [row for batch in batches for row in batch.to_pylist()] == [
            {"carrier": "AA", "n": 2},
            {"carrier": None, "n": 12},
        ]
        assert max(batch.num_rows for batch in found.read(["n"], batch_rows=3)) <= 3


def test_partitions_are_columns(lake: pathlib.Path) -> None:
    with opened(lake, query="SELECT month, sum(n) AS n FROM parts GROUP BY 1 ORDER BY 1") as found:
        assert rows(found) == [
            {"month": 1, "n": decimal.Decimal(12)},
            {"month": 2, "n": decimal.Decimal(14)},
        ]


def test_the_execution_date_is_filled_in(lake: pathlib.Path) -> None:
    query = "SELECT DATE '{execution_date:%Y-%m-%d}' AS d, '{execution_date}' AS s"
    with opened(lake, query=query) as found:
        assert rows(found) == [{"d": datetime.date(2024, 5, 6), "s": "20240506"}]


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("1::TINYINT", pa.int8(), 1),
        ("18446744073709551615::UBIGINT", pa.uint64(), 2**64 - 1),
        ("10::HUGEINT", pa.decimal128(38, 0), decimal.Decimal(10)),
        ("1.50", pa.decimal128(3, 2), decimal.Decimal("1.50")),
        ("'x'::ENUM ('x', 'y')", pa.string(), "x"),
        ("TIMESTAMP_NS '2024-01-01 00:00:00.123456'", pa.timestamp("us"), None),
        ("TIMESTAMPTZ '2024-01-01 00:00:00+01'", pa.timestamp("us", tz="UTC"), None),
        ("TIME '10:00:00.5'", pa.time64("us"), datetime.time(10, 0, 0, 500000)),
        ("'\\xAA'::BLOB", pa.binary(), b"\xaa"),
        ("NULL::VARCHAR", pa.string(), None),
        ("uuid '12345678-1234-5678-1234-567812345678'", pa.string(), None),
        ("[1, 2]", pa.list_(pa.int32()), [1, 2]),
        ("'{\"a\": 1}'::JSON", pa.string(), '{"a": 1}'),
    ],
)
def test_types(lake: pathlib.Path, expression: str, kind: pa.DataType, value: object) -> None:
    with opened(lake, query=f"SELECT {expression} AS a") as found:
        assert found.schema().field("a").type == kind
        (row,) = rows(found)
        if value is not None:
            assert row["a"] == value


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM flight", "the query names the table 'flight'.*did you mean flights"),
        ("SELECT nope FROM flights", "nope"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1 AS a, 2 AS a", "column 'a' occurs more than once"),
        ("SELECT INTERVAL 1 DAY AS i", "column 'i' is of type"),
        ("SELECT * FROM read_csv('nothing.csv')", r"nothing\.csv"),
        ("SELECT * FROM connection", "names the table 'connection'"),
    ],
)
def test_faulty_queries(lake: pathlib.Path, query: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        opened(lake, query=query)


def test_faulty_data(lake: pathlib.Path) -> None:
    with (
        opened(lake, query="SELECT carrier::INT AS a FROM airlines") as found,
        pytest.raises(errors.DataError, match="AA"),
    ):
        rows(found)
    (lake / "airlines.csv").write_text("carrier\nAA\nb,c\n")
    with pytest.raises(errors.DataError, match=r"airlines\.csv:3: found 2 values"):
        opened(lake, query="SELECT * FROM airlines")


def test_a_lake_that_changes_under_the_query(lake: pathlib.Path) -> None:
    with opened(lake, query="SELECT * FROM flights") as found:
        (lake / "flights" / "2.parquet").unlink()
        with pytest.raises(errors.TemporaryError, match=r"flights/2\.parquet was removed"):
            rows(found)


def test_files_named_in_the_query_lie_in_the_folder(lake: pathlib.Path) -> None:
    with opened(lake, query="SELECT count(*) AS n FROM 'flights/*.parquet'") as found:
        assert rows(found) == [{"n": 4}]


def test_exact_values_survive_the_copy_into_the_engine(tmp_path: pathlib.Path) -> None:
    table = pa.table(
        {
            "i": pa.array([2**63 - 1, None]),
            "d": pa.array([decimal.Decimal("9" * 38), None], pa.decimal128(38, 0)),
            "t": pa.array([datetime.datetime(1, 1, 1), None], pa.timestamp("us")),
            "s": pa.array(["\0\\", ""]),
            "l": pa.array([["x"], None]),
        }
    )
    pq.write_table(table, tmp_path / "odd.parquet")
    with opened(tmp_path, query="SELECT * FROM odd") as found:
        assert rows(found) == table.to_pylist()


def test_a_stop_ends_a_long_query(lake: pathlib.Path) -> None:
    one = connection(lake)
    spec = model.SourceSpec(
        connection="lake", query="SELECT sum(range) AS n FROM range(10000000000000)"
    )
    with one.open_source(spec, DAY) as found:
        timer = threading.Timer(0.2, one.stop.set, [15])
        timer.start()
        with pytest.raises(errors.Stopped):
            rows(found)
        timer.join()


def test_small_queries_for_pipelines(lake: pathlib.Path) -> None:
    lake_connection = connection(lake)
    found = lake_connection.query(
        "SELECT n, ':n' AS text, n::VARCHAR AS v FROM flights WHERE n > :n -- :nothing\nORDER BY 1",
        {"n": 10},
    )
    assert found.to_pylist() == [
        {"n": 11, "text": ":n", "v": "11"},
        {"n": 12, "text": ":n", "v": "12"},
    ]
    assert lake_connection.query("SELECT count(*) AS n FROM notes").to_pylist() == [{"n": 2}]


def test_no_spill_folder_stays(lake: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = lake / "tmp"
    spill.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spill))
    with opened(lake, query="SELECT * FROM airlines") as found:
        rows(found)
        assert len(list(spill.iterdir())) == 1
    with pytest.raises(errors.ConfigError):
        opened(lake, query="SELECT * FROM nothing")
    assert list(spill.iterdir()) == []
