"""The whole path from BigQuery to a server and back, by the command as a process."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import hashlib
import json
import logging
import pathlib
import secrets
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bigquery import emulator, lake
from tests.e2e import bigquery_kit
from tests.e2e import place as place_module
from tmg_etl import run
from tmg_etl.config import loader
from tmg_etl.transfer import comparison, plan, rehearsal

MILLION = 1_000_000
_LOG = logging.getLogger(__name__)
D = decimal.Decimal


@pytest.fixture
def workshop(
    tmp_path: pathlib.Path,
    empty_ledger: pathlib.Path,
    bigquery_server: emulator.BigQueryServer,
    bigquery_dataset: str,
) -> bigquery_kit.Workshop:
    (tmp_path / "work").mkdir()
    return bigquery_kit.Workshop(tmp_path / "work", empty_ledger, bigquery_server, bigquery_dataset)


@pytest.fixture
def bucket(bigquery_server: emulator.BigQueryServer) -> Iterator[pathlib.Path]:
    """A bucket's folder, which must be empty at the end."""
    folder = bigquery_server.storage.create(f"staging-{secrets.token_hex(4)}")
    yield folder
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def large(bigquery_server: emulator.BigQueryServer) -> Iterator[str]:
    """A dataset with the tables `quarter` and `million`, 250,000 and a million rows."""
    bigquery_server.start()
    client = bigquery_server.client()
    name = f"large_{secrets.token_hex(4)}"
    bigquery_server.create_database(name)
    lake.fill(client, f"{emulator.PROJECT}.{name}.quarter", MILLION // 4)
    lake.fill(client, f"{emulator.PROJECT}.{name}.million", MILLION)
    yield name
    bigquery_server.drop_database(name)


def _place(request: pytest.FixtureRequest, kind: str) -> place_module.Place:
    url = request.getfixturevalue(f"{kind}_url")
    return place_module.Postgres(url) if kind == "postgres" else place_module.MySQL(url)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("postgres", "storage"),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in (
                ("postgres", "extract"),
                *((kind, read) for kind in ("mariadb", "mysql") for read in ("storage", "extract")),
            )
        ),
    ],
)
def test_a_million_rows_are_served_in_flat_memory(
    request: pytest.FixtureRequest,
    workshop: bigquery_kit.Workshop,
    large: str,
    bucket: pathlib.Path,
    kind: str,
    read: str,
) -> None:
    place = _place(request, kind)
    workshop.lake |= {"dataset": large, "staging": f"gs://{bucket.name}/sid"}
    source = {"connection": "lake", "read": read}
    target = {"connection": "serving"}
    workshop.declare(
        {"type": bigquery_kit.KINDS[kind], "url": place.url},
        quarter={
            "source": source | {"table": "quarter"},
            "target": target | {"table": "quarter"},
            "key": ["id"],
        },
        million={
            "source": source | {"table": "million"},
            "target": target | {"table": "million"},
            "key": ["id"],
        },
    )
    quarter = workshop.publish("quarter", "truncate")
    million = workshop.publish("million", "truncate")
    for ran in (quarter, million):
        _LOG.info("%s %s: %.1f s, %.0f MiB", kind, read, ran.wall_s, ran.peak_mib)

    # Looked at by the database's own driver.
    [[rows, ids, amount, visits, notes, open_]] = place.sql(
        "SELECT count(*), sum(id), sum(amount), sum(visits), count(note),"
        " sum(CASE WHEN is_open THEN 1 ELSE 0 END) FROM million"
    )
    assert (rows, ids) == (MILLION, MILLION * (MILLION - 1) // 2)
    assert amount == sum(D(n * 7919 % 10_000_000) for n in range(MILLION)) / 100
    assert visits == sum(n % 1000 for n in range(MILLION) if n % 11)
    assert (notes, open_) == (MILLION - MILLION // 5, -(-MILLION // 3))
    expected = lake.rows(777_777, 3).to_pylist()
    found = place.sql(
        "SELECT id, name, city, amount, rate, day, is_open, visits, note FROM million"
        " WHERE id BETWEEN 777777 AND 777779 ORDER BY id"
    )
    names = ("id", "name", "city", "amount", "rate", "day", "is_open", "visits", "note")
    assert [tuple(row) for row in found] == [tuple(row[name] for name in names) for row in expected]
    # Four streams fill their windows, of some 16 MiB each, where the database is slower than they
    # are; a quarter of the rows may be through before they have.
    assert million.peak_mib < quarter.peak_mib + 200, (quarter, million)


EVERY_TYPE = """
CREATE TABLE `{name}` (
  id INT64 NOT NULL, b BOOL, i INT64, n NUMERIC, n2 NUMERIC(10, 2), big BIGNUMERIC(38, 18),
  f FLOAT64, s STRING, y BYTES, d DATE, t TIME, dt DATETIME, ts TIMESTAMP, j JSON, g GEOGRAPHY,
  a ARRAY<INT64>, r STRUCT<x INT64, y STRING>
)"""
VALUES = r"""
INSERT INTO `{name}` VALUES
(1, TRUE, 9223372036854775807, NUMERIC '12345678901234567890123456789.123456789',
 NUMERIC '-0.05', BIGNUMERIC '12345678901234567890.000000000000000001',
 1.5e300, 'tab\t, back\\slash, "quote", \'apostrophe\', Ида 🚀', FROM_HEX('00ff5c0a'),
 DATE '1000-01-01', TIME '23:59:59.999999', DATETIME '2024-02-29 12:34:56.789012',
 TIMESTAMP '2038-01-19 03:14:08.123456+02:00', JSON '{{"a": [1, null, "x"]}}',
 ST_GEOGPOINT(-73.78, 40.64), [1, 2, 3], STRUCT(7, 'seven')),
(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, [], NULL),
(3, FALSE, -9223372036854775808, NUMERIC '0', NUMERIC '99999999.99', BIGNUMERIC '-0.5', 5e-324, '',
 b'', DATE '9999-12-31', TIME '00:00:00', DATETIME '1000-01-01 00:00:00',
 TIMESTAMP '1970-01-01 00:00:01+00', JSON 'null', ST_GEOGFROMTEXT('LINESTRING(1 1, 2 2)'), [0],
 STRUCT(NULL, ''))
"""
UTC = datetime.UTC
FLAT: list[tuple[Any, ...]] = [
    (
        *(1, True, 2**63 - 1, D("12345678901234567890123456789.123456789"), D("-0.05")),
        D("12345678901234567890.000000000000000001"),
        *(1.5e300, "tab\t, back\\slash, \"quote\", 'apostrophe', Ида 🚀", b"\x00\xff\\\n"),
        *(datetime.date(1000, 1, 1), datetime.time(23, 59, 59, 999999)),
        datetime.datetime(2024, 2, 29, 12, 34, 56, 789012),
        datetime.datetime(2038, 1, 19, 1, 14, 8, 123456, UTC),
    ),
    (2, *[None] * 12),
    (
        *(3, False, -(2**63), D(0), D("99999999.99"), D("-0.5"), 5e-324, "", b""),
        *(datetime.date(9999, 12, 31), datetime.time(0), datetime.datetime(1000, 1, 1)),
        datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    ),
]
DOCUMENTS = [
    ({"a": [1, None, "x"]}, [1, 2, 3], {"x": 7, "y": "seven"}),
    (None, [], None),
    (None, [0], {"x": None, "y": ""}),
]
SHAPES = [["POINT", "-73.78", "40.64"], None, ["LINESTRING", "1", "1", "2", "2"]]


def _same(found: Any) -> Any:
    """Return a value as Python has it: PyMySQL gives durations for times."""
    if isinstance(found, datetime.timedelta):
        return (datetime.datetime.min + found).time()
    return found.astimezone(UTC) if getattr(found, "tzinfo", None) else found


def _document(found: Any) -> Any:
    return json.loads(found) if isinstance(found, str) else found


@pytest.mark.parametrize("read", ["storage", "extract"])
@pytest.mark.parametrize("kind", ["postgres", "mariadb", "mysql"])
def test_every_type_is_served(
    request: pytest.FixtureRequest,
    workshop: bigquery_kit.Workshop,
    bucket: pathlib.Path,
    kind: str,
    read: str,
) -> None:
    place = _place(request, kind)
    client = workshop.server.client()
    name = workshop.name("every")
    client.query_and_wait(EVERY_TYPE.format(name=name))
    client.query_and_wait(VALUES.format(name=name))
    workshop.lake |= {"staging": f"gs://{bucket.name}/sid"}
    workshop.declare(
        {"type": bigquery_kit.KINDS[kind], "url": place.url},
        every={
            "source": {"connection": "lake", "table": "every", "read": read},
            "target": {"connection": "serving", "table": "every_type"},
            "key": ["id"],
        },
    )
    workshop.publish("every", "truncate")

    names = "id, b, i, n, n2, big, f, s, y, d, t, dt, ts"
    rows = place.sql(f"SELECT {names} FROM every_type ORDER BY id")
    flat = [tuple(map(_same, row)) for row in rows]
    if kind != "postgres":
        expected = [(*row[:-1], row[-1] and row[-1].replace(tzinfo=None)) for row in FLAT]
    else:
        expected = FLAT
    assert flat == expected
    documents = place.sql("SELECT j, a, r FROM every_type ORDER BY id")
    assert [tuple(map(_document, row)) for row in documents] == DOCUMENTS
    shapes = [found for (found,) in place.sql("SELECT g FROM every_type ORDER BY id")]
    assert [
        shape and shape.replace("(", " ").replace(")", "").replace(",", " ").split()
        for shape in shapes
    ] == SHAPES


@pytest.mark.parametrize("staged", [False, True])
def test_postgres_is_published_to_bigquery_and_back(
    workshop: bigquery_kit.Workshop, postgres_url: str, bucket: pathlib.Path, staged: bool
) -> None:
    place = place_module.Postgres(postgres_url)
    place.sql(
        "CREATE TABLE agent (id bigint PRIMARY KEY, day date, amount numeric(20, 4), name text,"
        " data bytea, at timestamptz, seen timestamp, hour time, is_on boolean)",
        "INSERT INTO agent SELECT n, date '2024-02-20' + n % 10, n / 7.0, 'n' || n || E'\\t\\\\é',"
        " decode(lpad(to_hex(n), 8, '0'), 'hex'), timestamptz '2024-01-01 00:00:00+03' + n *"
        " interval '1.000001 s', timestamp '0001-01-01' + n * interval '1 s',"
        " time '00:00' + n * interval '1 s', n % 2 = 0 FROM generate_series(1, 5000) n",
        "UPDATE agent SET name = NULL, data = NULL, at = NULL WHERE id % 10 = 0",
    )
    if staged:
        workshop.lake |= {"staging": f"gs://{bucket.name}/sid"}
    workshop.declare(
        {"type": "postgres", "url": postgres_url},
        up={
            "source": {"connection": "serving", "table": "agent"},
            "target": {"connection": "lake", "table": "agent"},
            "key": ["id"],
            "delta": {"cursor": "day", "strategy": "replace_window"},
        },
        down={
            "source": {"connection": "lake", "table": "agent"},
            "target": {"connection": "serving", "table": "agent_2"},
            "key": ["id"],
        },
    )
    workshop.publish("up", "truncate")
    place.sql(
        "DELETE FROM agent WHERE day = '2024-02-29' AND id % 20 = 9",
        "UPDATE agent SET amount = -1",
    )
    workshop.publish("up", "delta")
    workshop.publish("down", "truncate")

    columns = "id, day, amount, name, data, at, seen, hour, is_on"
    changed = "CASE WHEN day = '2024-02-29' THEN amount ELSE (id / 7.0)::numeric(20, 4) END"
    expected = place.sql(f"SELECT {columns.replace('amount', changed)} FROM agent ORDER BY id")
    found = place.sql(f"SELECT {columns} FROM agent_2 ORDER BY id")
    assert found == expected
    assert len(found) == 4750
    client = workshop.server.client()
    tables = {item.table_id for item in client.list_tables(workshop.dataset)}
    assert tables == {"agent"}
    with contextlib.closing(sqlite3.connect(workshop.folder / "ledger.db")) as ledger:
        jobs = ledger.execute(
            "SELECT job_ids FROM tmg_etl_run WHERE transfer = 'up' ORDER BY started_at"
        ).fetchall()
    truncate, delta = ({client.get_job(job).job_type for job in json.loads(ids)} for (ids,) in jobs)
    assert truncate >= {"load", "copy"}
    assert delta >= {"load", "query"}


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_what_a_server_cannot_hold_is_found_before_anything_is_written(
    request: pytest.FixtureRequest, workshop: bigquery_kit.Workshop, kind: str
) -> None:
    place = _place(request, kind)
    client = workshop.server.client()
    client.query_and_wait(
        f"CREATE TABLE `{workshop.name('wide')}` AS SELECT 1 AS id, BIGNUMERIC '1.5' AS big"
    )
    workshop.declare(
        {"type": "mysql", "url": place.url},
        wide={
            "source": {"connection": "lake", "table": "wide"},
            "target": {"connection": "serving", "table": "wide"},
            "key": ["id"],
        },
    )
    done = workshop.run("wide", "truncate")
    assert done.code == 78, done.err
    assert "big" in done.err.splitlines()[-1]
    assert place.tables() == {"t"}


def test_a_reader_of_the_ledger_can_tell_snapshot_bytes_and_jobs(
    workshop: bigquery_kit.Workshop, postgres_url: str
) -> None:
    client = workshop.server.client()
    client.query_and_wait(f"CREATE TABLE `{workshop.name('small')}` AS SELECT 1 AS id, 'x' AS name")
    workshop.declare(
        {"type": "postgres", "url": postgres_url},
        table={
            "source": {"connection": "lake", "table": "small"},
            "target": {"connection": "serving", "table": "small"},
            "key": ["id"],
        },
        query={
            "source": {"connection": "lake", "query": "SELECT id, name FROM small"},
            "target": {"connection": "serving", "table": "small_2"},
            "key": ["id"],
        },
    )
    workshop.publish("table", "truncate")
    workshop.publish("query", "truncate")
    with contextlib.closing(sqlite3.connect(workshop.folder / "ledger.db")) as ledger:
        rows = ledger.execute(
            "SELECT transfer, snapshot, bytes_read, job_ids FROM tmg_etl_run ORDER BY started_at"
        ).fetchall()
    (_, of_table, bytes_, no_jobs), (_, of_query, _, jobs) = rows
    assert of_table.startswith(f"{workshop.name('small')} at 20")
    assert bytes_ > 0
    assert not json.loads(no_jobs or "[]")
    (job,) = json.loads(jobs)
    assert job in of_query
    assert client.get_job(job).labels["tmg_transfer"] == "query"


def test_who_compares_leaves_the_files_of_a_run_under_way(
    workshop: bigquery_kit.Workshop, bucket: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in workshop.environment.items():
        monkeypatch.setenv(name, value)
    workshop.server.client().query_and_wait(
        f"CREATE TABLE `{workshop.name('small')}` AS SELECT 1 AS id"
    )
    workshop.lake |= {"staging": f"gs://{bucket.name}/sid"}
    workshop.declare(
        {"type": "sqlite", "url": "sqlite:///serving.db"},
        small={
            "source": {"connection": "lake", "table": "small", "read": "extract"},
            "target": {"connection": "serving", "table": "small"},
            "key": ["id"],
        },
    )
    workshop.publish("small", "truncate")
    config = loader.load(str(workshop.config))
    place = (config.env, "small", emulator.PROJECT, workshop.dataset)
    digest = hashlib.sha256(repr(place).encode()).hexdigest()[:12]
    other = bucket / "sid" / f"tmg_extract_{digest}_20240229120000abcd" / "x" / "part-0.parquet"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of a run that is reading")
    today = {"execution_date": datetime.date(2024, 2, 29), "delta_start_date": None}
    truncate = run.WriteMode.TRUNCATE
    assert comparison.make(config, "small", **today, write_mode=truncate).is_equal
    exact = plan.make(config, "small", **today, write_mode=truncate, depth=rehearsal.Depth.EXACT)
    assert exact.rows.insert == 1
    assert other.exists()
    # A run, which holds the target's lock, takes it for that of a dead one.
    workshop.publish("small", "truncate")
    assert not other.exists()
