"""Columns that write a text in a form of their own: taken where nothing is lost, else named."""

from __future__ import annotations

import datetime
import pathlib
import re

import pyarrow as pa
import pytest

from tests.e2e import conftest, plan_kit
from tests.e2e import place as place_module
from tmg_etl import errors

UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
SPELLINGS = [UUID.upper(), "{" + UUID + "}", UUID.replace("-", ""), UUID]
SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int32()), ("day", pa.date32())])
DAY = datetime.date(2013, 1, 1)
FACTS = [("id", pa.int32()), ("day", pa.date32())]
DELTA = "delta: {cursor: day, order_by: [n]}"


def make(
    workshop: conftest.Workshop, place: place_module.Place, native: str, values: list[str | None]
) -> None:
    """Declare a transfer into `t`, whose column `name` is of a type; rows are numbered from 1."""
    place.sql("DROP TABLE t", f"CREATE TABLE t (id int PRIMARY KEY, name {native})")
    workshop.declare(place.connection)
    schema = pa.schema([("id", pa.int32()), ("name", pa.string())])
    workshop.fill(list(enumerate(values, 1)), schema)


@pytest.fixture(params=["postgres", "mariadb", "duckdb"])
def uuid_place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> place_module.Place:
    """A database that has the type `uuid`."""
    if request.param == "duckdb":
        return place_module.DuckDB(tmp_path)
    url = request.getfixturevalue(f"{request.param}_url")
    return place_module.Postgres(url) if request.param == "postgres" else place_module.MySQL(url)


def test_a_uuid_is_taken_however_it_is_written(
    workshop: conftest.Workshop, uuid_place: place_module.Place
) -> None:
    make(workshop, uuid_place, "uuid", [*SPELLINGS, None])
    for _ in range(2):
        done = workshop.run()
        assert done.code == 0, done.err
    assert [str(row[1]) for row in uuid_place.rows()] == [UUID] * 4 + ["None"]


def test_a_uuid_is_a_key_however_it_is_written(
    workshop: conftest.Workshop, uuid_place: place_module.Place
) -> None:
    uuid_place.sql("DROP TABLE t", "CREATE TABLE t (id uuid NOT NULL PRIMARY KEY, n int, day date)")
    workshop.declare(uuid_place.connection, DELTA)
    workshop.fill([(SPELLINGS[0], 1, DAY), (SPELLINGS[2], 3, DAY), (UUID, 2, DAY)], SCHEMA)
    done = workshop.run(mode="delta")
    assert done.code == 0, done.err
    assert [(str(row[0]), row[1]) for row in uuid_place.rows()] == [(UUID, 3)]
    done = workshop.run()
    assert done.code == 65
    assert UUID in conftest.only_error(done)
    assert "occurs more than once" in done.err


@pytest.mark.parametrize("kind", ["postgres", "mariadb", "mysql"])
def test_blanks_at_the_end_of_a_fixed_length_are_padding(
    workshop: conftest.Workshop, request: pytest.FixtureRequest, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    place = place_module.Postgres(url) if kind == "postgres" else place_module.MySQL(url)
    make(workshop, place, "char(4)", ["ab", "cd  ", " e ", "  ", "f        ", None])
    done = workshop.run()
    assert done.code == 0, done.err
    found = [None if row[1] is None else row[1].rstrip(" ") for row in place.rows()]
    assert found == ["ab", "cd", " e", "", "f", None]


POSTGRES = [
    ("varchar(3)", "ab    ", "'ab ' of 6 characters became 'ab ' of 3 characters"),
    ("interval", "1 day 25:00", "'1 day 25:00' became '1 day 25:00:00'"),
    ("macaddr", "08-00-2B-01-02-03", "'08-00-2B-01-02-03' became '08:00:2b:01:02:03'"),
    ("int4range", "[1,2]", "'[1,2]' became '[1,3)'"),
    ("int[]", "{ 1 }", "'{ 1 }' became '{1}'"),
    ('"char"', "xy", "'xy' became 'x'"),
]
MYSQL = [
    ("enum('Aa', 'b')", "aa", "'aa' became 'Aa'"),
    ("set('a', 'b')", "b,a", "'b,a' became 'a,b'"),
]
MARIADB = [*MYSQL, ("inet6", "::0001", "'::0001' became '::1'")]


def refused(
    workshop: conftest.Workshop, place: place_module.Place, native: str, sent: str, said: str
) -> None:
    make(workshop, place, native, [None, sent, None])
    before = place.tables()
    done = workshop.run()
    assert done.code == 65
    message = conftest.only_error(done)
    assert "t: verification failed: the column 'name' (" in message
    assert f") did not keep what was sent: in the row (id='2') 'name' {said}; the target" in message
    assert place.rows() == []
    assert place.tables() == before


@pytest.mark.parametrize(("native", "sent", "said"), POSTGRES)
def test_what_postgres_writes_otherwise_is_named(
    workshop: conftest.Workshop, postgres_url: str, native: str, sent: str, said: str
) -> None:
    refused(workshop, place_module.Postgres(postgres_url), native, sent, said)


@pytest.mark.parametrize(
    ("kind", "native", "sent", "said"),
    [("mariadb", *case) for case in MARIADB] + [("mysql", *case) for case in MYSQL],
)
def test_what_mysql_writes_otherwise_is_named(
    workshop: conftest.Workshop,
    request: pytest.FixtureRequest,
    kind: str,
    native: str,
    sent: str,
    said: str,
) -> None:
    place = place_module.MySQL(request.getfixturevalue(f"{kind}_url"))
    refused(workshop, place, native, sent, said)


def test_what_duckdb_writes_otherwise_is_named(
    workshop: conftest.Workshop, tmp_path: pathlib.Path
) -> None:
    said = "'1 day 25:00' became '1 day 25:00:00'"
    refused(workshop, place_module.DuckDB(tmp_path), "interval", "1 day 25:00", said)


@pytest.mark.parametrize(
    ("kind", "native", "sent", "held"),
    [
        ("postgres", "macaddr", "08002B010203", "08:00:2b:01:02:03"),
        ("mariadb", "enum('Aa')", "aa", "Aa"),
        ("mysql", "double(10,2)", 1.234, "1.23"),
        ("duckdb", "interval", "1 day 25:00", "1 day 25:00:00"),
    ],
)
def test_neither_a_plan_nor_a_comparison_takes_it_for_the_same(
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
    empty_ledger: pathlib.Path,
    kind: str,
    native: str,
    sent: object,
    held: str,
) -> None:
    """Both load the source's rows aside, into columns of the target's types."""
    place: place_module.Place
    if kind == "duckdb":
        place = place_module.DuckDB(tmp_path)
    else:
        url = request.getfixturevalue(f"{kind}_url")
        place = place_module.Postgres(url) if kind == "postgres" else place_module.MySQL(url)
    place.sql(
        f"CREATE TABLE facts (id int PRIMARY KEY, day date, v {native})",
        f"INSERT INTO facts VALUES (1, '2013-01-02', '{held}')",
    )
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    value = pa.array([sent])
    shop.fill([(1, plan_kit.DAY, sent)], pa.schema([*FACTS, ("v", value.type)]))
    shop.declare("key: [id]\n    delta: {cursor: day}")
    told = re.escape("did not keep what was sent: in the row (id='1')")
    for mode in ("truncate", "delta"):
        assert re.search(told, str(shop.plan(mode).failure))
    with pytest.raises(errors.VerificationError, match=told):
        shop.verify(None)
    (found,) = shop.verify().differences
    assert found.target is not None
    assert found.target.keys() == {"v"}
    shop.declare("key: [id]\n    delta: {cursor: day}\n    verify: count")
    assert shop.plan("delta").failure is None


def test_every_column_that_was_altered_is_named(
    workshop: conftest.Workshop, postgres_url: str
) -> None:
    place = place_module.Postgres(postgres_url)
    place.sql("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, a macaddr, b text, c cidr)")
    workshop.declare(place.connection)
    names = [("id", pa.int32()), *((name, pa.string()) for name in "abc")]
    workshop.fill([(1, "08002B010203", "x", "10.0.0.0")], pa.schema(names))
    done = workshop.run()
    assert done.code == 65
    assert "the columns 'a' (macaddr), 'c' (cidr) did not keep" in conftest.only_error(done)
