"""SQL over files in a bucket: the columns that a query names are copied, and no others."""

import datetime

import pyarrow as pa
import pytest

from tests.connectors import bucket_kit, files_kit
from tmg_etl import errors
from tmg_etl.connectors import base

DAYS = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]
ROWS = pa.table({"n": [1, 2], "carrier": ["AA", None], "day": DAYS})


@pytest.fixture
def lake(google_place: bucket_kit.GooglePlace) -> bucket_kit.GooglePlace:
    """A Parquet table in two objects and a CSV table."""
    google_place.put_table("flights/1.parquet", ROWS)
    google_place.put_table("flights/2.parquet", ROWS)
    google_place.put("airlines.csv", "carrier,name\nAA,Ä\nUA,B\n")
    return google_place


QUERIES = {
    "SELECT sum(n)::BIGINT AS n FROM flights": [{"n": 6}],
    "SELECT count(*) AS n FROM flights": [{"n": 4}],
    "SELECT * FROM airlines ORDER BY 1": [
        {"carrier": "AA", "name": "Ä"},
        {"carrier": "UA", "name": "B"},
    ],
    "SELECT N AS x FROM flights WHERE Day = DATE '2024-01-02'": [{"x": 2}, {"x": 2}],
    "SELECT name, n FROM flights JOIN airlines USING (carrier)": [{"name": "Ä", "n": 1}] * 2,
    "SELECT name FROM airlines NATURAL JOIN flights": [{"name": "Ä"}] * 2,
    "SELECT f.name FROM airlines AS f(code, name) WHERE code = 'UA'": [{"name": "B"}],
    "SELECT a FROM airlines AS a WHERE a.name = 'B'": [{"a": {"carrier": "UA", "name": "B"}}],
    "SELECT #2 AS name FROM airlines LIMIT 1": [{"name": "Ä"}],
    "SELECT COLUMNS('na.*') FROM airlines LIMIT 1": [{"name": "Ä"}],
    "WITH f AS (FROM airlines) SELECT name FROM f WHERE carrier = 'AA'": [{"name": "Ä"}],
    "SELECT v FROM airlines UNPIVOT (v FOR k IN (carrier)) WHERE name = 'B'": [{"v": "UA"}],
    "SELECT carrier FROM flights EXCEPT SELECT carrier FROM airlines": [{"carrier": None}],
    "SELECT (SELECT max(day) FROM flights) AS d": [{"d": DAYS[1]}],
}


@pytest.mark.parametrize("query", QUERIES)
def test_queries(lake: bucket_kit.GooglePlace, query: str) -> None:
    assert lake.rows(query=query) == QUERIES[query]


def test_columns_that_are_not_named_are_not_fetched(lake: bucket_kit.GooglePlace) -> None:
    noise = [f"{number * 7919:060x}" for number in range(20_000)]
    lake.put_table(
        "wide.parquet",
        pa.table({"n": range(20_000), "noise": noise}),
        compression="none",
        use_dictionary=False,
    )
    with lake.opened(query="SELECT max(n) AS n FROM wide WHERE n > 0") as found:
        assert files_kit.rows(found) == [{"n": 19_999}]
        assert found.bytes_read is not None
        assert found.bytes_read < 400_000
        assert found.snapshot.startswith("1 file, ")


def test_a_window_over_a_query(lake: bucket_kit.GooglePlace) -> None:
    with lake.opened(query="SELECT n, day FROM flights") as found:
        window = base.CursorWindow("day", DAYS[1], DAYS[1])
        assert [row["n"] for row in files_kit.rows(found, window)] == [2, 2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM flight", "names the table 'flight', which gs://lake/x does not hold; did"),
        ("SELECT nope FROM flights", "nope"),
        ("SELECT * FROM 'gs://lake/x/airlines.csv'", "lake: query: "),
    ],
)
def test_faulty_queries(lake: bucket_kit.GooglePlace, query: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        lake.opened(query=query)


def test_small_queries_for_pipelines(lake: bucket_kit.GooglePlace) -> None:
    found = lake.connection().query("SELECT name FROM airlines WHERE carrier = :c", {"c": "UA"})
    assert found.to_pylist() == [{"name": "B"}]


def test_s3(amazon_place: bucket_kit.AmazonPlace) -> None:
    amazon_place.put_table("flights.parquet", ROWS)
    assert amazon_place.rows(query="SELECT n FROM flights ORDER BY 1") == [{"n": 1}, {"n": 2}]
