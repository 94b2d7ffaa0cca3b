"""The example's config, run as it stands against every target that it names."""

import pathlib
import shutil
from collections.abc import Callable

import duckdb
import psycopg
import pytest

from tests.examples import lake_kit
from tmg_etl.cli import pipeline as pipeline_module

DIMENSIONS = ["dim_airline", "dim_airport", "dim_plane", "dim_weather", "dim_agent"]
Count = Callable[[str], int]


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    """The example in a folder of its own, with a lake of one flight a month."""
    make_lake = lake_kit.load_make_lake()
    flights = "".join(lake_kit.FLIGHT.format(month=month) for month in range(1, 13))
    tables = make_lake.read_tables(lake_kit.make_archive(tmp_path, flights))
    make_lake.write_lake(tables, tmp_path / "lake")
    return pathlib.Path(shutil.copy(lake_kit.FLIGHTS / "config.yaml", tmp_path))


def publish(capfd: pytest.CaptureFixture[str], *arguments: str) -> None:
    capfd.readouterr()
    code = pipeline_module.main([*arguments, "--log-format", "json", "--no-progress"])
    assert code == 0, capfd.readouterr()


def publish_all(
    config: pathlib.Path, capfd: pytest.CaptureFixture[str], env: str, count: Count
) -> None:
    for dimension in DIMENSIONS:
        publish(capfd, "20131231", dimension, "truncate", str(config), "--env", env)
        assert count(dimension) == 1, dimension
    fact = ["fact_flight", "delta", str(config), "--env", env]
    publish(capfd, "20130101", *fact)
    assert count("fact_flight") == 1
    year = [*fact, "--delta_start_date", "20130101"]
    publish(capfd, "20131231", *year)
    assert count("fact_flight") == 12
    publish(capfd, "20131231", *year)
    assert count("fact_flight") == 12


def test_example_publishes_to_duckdb(
    config: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def count(table: str) -> int:
        with duckdb.connect(str(config.with_name("serving.duckdb")), read_only=True) as database:
            [[rows]] = database.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(rows)

    publish_all(config, capfd, "local", count)


def test_example_publishes_to_postgres(
    config: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(table: str) -> int:
        with psycopg.connect(postgres_url) as database:
            [[rows]] = database.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(rows)

    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    publish_all(config, capfd, "postgres", count)


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_example_publishes_to_mysql(
    kind: str,
    request: pytest.FixtureRequest,
    config: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    server = request.getfixturevalue(f"{kind}_server")

    def count(table: str) -> int:
        name = url.rpartition("/")[2]
        with server.connect(name) as database, database.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            [[rows]] = cursor.fetchall()
        return int(rows)

    monkeypatch.setenv("MYSQL_URL", url)
    publish_all(config, capfd, "mysql", count)
