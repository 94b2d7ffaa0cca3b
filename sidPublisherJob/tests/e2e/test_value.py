"""Every type's extremes and doubles of every magnitude, by the command; no change goes unseen."""

from __future__ import annotations

import datetime
import json
import math
import secrets
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli import process
from tests.conformance import mysql_place, postgres_place
from tests.connectors import test_mysql_float
from tests.e2e import conftest
from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import sample

DAY = datetime.date(2013, 1, 1)


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def place(request: pytest.FixtureRequest) -> Iterator[conformance.SqlPlace]:
    """Each kind of server, empty."""
    server = request.getfixturevalue(f"{request.param}_server")
    name = f"value_{secrets.token_hex(4)}"
    made: conformance.SqlPlace
    if request.param == "postgres":
        made = postgres_place.PostgresPlace(server.create_database(name))
    else:
        made = mysql_place.MySQLPlace(server, name)
    yield made
    made.close()
    server.drop_database(name)


class Shop:
    """Publishes tables to a place and compares them, by the commands."""

    def __init__(self, workshop: conftest.Workshop, place: conformance.SqlPlace) -> None:
        self._workshop = workshop
        workshop.declare(json.dumps(dict(place.connection)), "delta: {cursor: day}")

    def publish(self, rows: pa.Table, mode: str) -> None:
        """Write the source, and run."""
        days = pa.array([DAY] * rows.num_rows, pa.date32())
        parquet.write_table(rows.append_column("day", days), self._workshop.lake / "planes.parquet")
        done = self._workshop.run(mode=mode)
        assert done.code == 0, done.err

    def differences(self, *arguments: str) -> dict[int, dict[str, Any]]:
        """Return the values of the target that differ, by key and column."""
        words = ("verify", "dim_plane", self._workshop.config, "--json", "--limit", 10_000)
        done = process.branch(process.PEOPLE, *words, *arguments, cwd=self._workshop.folder)
        assert not done.err
        found = json.loads(done.out)
        assert done.code == (0 if found["equal"] else 65)
        assert (found["missing"], found["extra"], found["is_complete"]) == (0, 0, True)
        assert all(one["source"].keys() == one["target"].keys() for one in found["differences"])
        return {one["key"]["id"]: one["target"] for one in found["differences"]}


@pytest.fixture
def shop(workshop: conftest.Workshop, place: conformance.SqlPlace) -> Shop:
    """The place as the target."""
    return Shop(workshop, place)


def test_extremes_of_every_type(shop: Shop, place: conformance.SqlPlace) -> None:
    columns = sample.columns(place.traits)
    rows = sample.table(columns)
    expected = sample.expected(rows, place.traits)
    names = [column.name for column in columns]

    def publish(mode: str) -> None:
        shop.publish(rows, mode)
        assert sample.differences(expected, place.read("t", rows.schema)) == []
        assert shop.differences("--mode", mode) == {}

    shop.publish(sample.table(columns, shift=1), "truncate")
    publish("delta")
    place.keep_copy("t", "copy")

    # In each column one cell, which becomes another value of it, or null.
    told: dict[int, set[str]] = {}
    for at, name in enumerate(names):
        values = [row[name] for row in expected]
        row = at % len(rows)
        other = next(n for n, one in enumerate(values) if not sample.same(one, values[row]))
        place.set_cell("t", "copy", name, row + 1, other + 1)
        told.setdefault(row + 1, set()).add(name)
    for arguments in ((), ("--mode", "truncate")):
        found = shop.differences(*arguments)
        assert {key: set(cells) for key, cells in found.items()} == told
    publish("delta")

    # Each cell becomes the next one.
    after = f"(SELECT c.{{0}} FROM copy AS c WHERE c.id = t.id % {len(rows)} + 1)"
    for name in map(place.quote, names):
        place.execute(f"UPDATE t SET {name} = {after.format(name)}")
    shifted = [*expected[1:], expected[0]]
    assert {key: set(cells) for key, cells in shop.differences().items()} == {
        row["id"]: changed
        for row, other in zip(expected, shifted, strict=True)
        if (changed := {name for name in names if not sample.same(row[name], other[name])})
    }
    publish("truncate")


def test_doubles_of_every_magnitude(
    shop: Shop, place: conformance.SqlPlace, pytestconfig: pytest.Config
) -> None:
    sent = [-0.0, *test_mysql_float.doubles(1_000_000 if pytestconfig.option.full else 12_000)]
    rows = pa.table({"id": pa.array(range(len(sent))), "v": sent})
    values = [row["v"] for row in sample.expected(rows, place.traits)]

    def held() -> list[str]:
        return [repr(value) for (value,) in place.query("SELECT v FROM t ORDER BY id")]

    shop.publish(rows, "truncate")
    assert held() == list(map(repr, values))
    assert shop.differences() == {}
    # By one unit in the last place.
    changed = {
        at: math.nextafter(values[at], -values[at] or 1.0)
        for at in range(0, len(values), len(values) // 200)
    }
    for at, value in changed.items():
        place.execute(f"UPDATE t SET v = {value!r} WHERE id = {at}")
    assert shop.differences() == {at: {"v": value} for at, value in changed.items()}
    shop.publish(rows, "delta")
    assert held() == list(map(repr, values))
