"""Rows that were changed behind the product's back are found, and no others."""

from __future__ import annotations

import datetime
import json
import pathlib
import sys
import time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli import process
from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors
from tmg_etl.transfer import comparison
from tmg_etl.transfer.difference import CHANGED, EXTRA, MISSING

KEY = "key: [id]"
UPSERT = KEY + "\n    delta: {cursor: day, order_by: [version], deleted: 'gone = 1'}"
WINDOW = KEY + "\n    delta: {cursor: day, strategy: replace_window}"


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def found(result: comparison.Comparison) -> list[tuple[str, Any]]:
    """Kind and key of each named row."""
    return [(one.kind, one.key.get("id")) for one in result.differences]


def test_equal_after_a_run_and_every_later_change_is_named(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill([row(number, name=f"Name {number}") for number in range(500)])
    shop.publish()
    assert shop.verify().is_equal
    shop.place.sql(
        "UPDATE facts SET name = 'name 7' WHERE id = 7",
        "UPDATE facts SET amount = NULL, version = 5 WHERE id = 300",
        "DELETE FROM facts WHERE id IN (0, 499)",
        "INSERT INTO facts (id, day, version, amount, name, gone)"
        " VALUES (1000, '2013-01-05', 1, 0.25, NULL, 0)",
    )
    result = shop.verify()
    assert not result.is_equal
    assert (result.missing, result.extra, result.changed, result.is_complete) == (2, 1, 2, True)
    assert sorted(found(result), key=str) == sorted(
        [(MISSING, 0), (CHANGED, 7), (CHANGED, 300), (MISSING, 499), (EXTRA, 1000)], key=str
    )
    by_id = {one.key["id"]: one for one in result.differences}
    assert by_id[7].source == {"name": "Name 7"}
    assert by_id[7].target == {"name": "name 7"}
    assert by_id[300].source == {"version": 1, "amount": 1.5}
    assert by_id[300].target == {"version": 5, "amount": None}
    assert by_id[1000].source is None
    assert by_id[1000].target == {
        "day": "2013-01-05",
        "version": 1,
        "amount": 0.25,
        "name": None,
        "gone": 0,
    }
    assert by_id[499].target is None
    assert found(shop.verify(limit=2)) == found(result)[:2]
    shop.publish()
    assert shop.verify().is_equal


def test_without_a_key_rows_are_counted(shop: plan_kit.Shop) -> None:
    shop.declare("verify: fingerprint")
    shop.fill([row(1), row(1), row(1), row(2)])
    shop.publish()
    assert shop.verify().is_equal
    shop.fill([row(1), row(2), row(2), row(3, name=None)])
    result = shop.verify()
    assert (result.missing, result.extra, result.changed) == (2, 2, 0)
    assert sorted(found(result), key=str) == [(EXTRA, 1), (EXTRA, 1), (MISSING, 2), (MISSING, 3)]


def test_the_window_of_an_upsert(shop: plan_kit.Shop) -> None:
    shop.declare(UPSERT)
    shop.fill([row(number, day=1 + number % 2) for number in range(20)])
    shop.publish()
    shop.fill(
        [
            row(1, version=2, name="latest"),
            row(1, version=1, name="earlier"),
            row(3, version=0, name="superseded"),
            row(5, version=2, gone=1),
            row(7, version=0, gone=1),  # too old to delete anything
            row(2, day=1, name="outside"),
        ]
    )
    before = shop.verify("delta")
    assert sorted(found(before), key=str) == [(CHANGED, 1), (EXTRA, 5)]
    shop.publish("delta")
    assert shop.verify("delta").is_equal
    shop.place.sql("UPDATE facts SET name = 'other' WHERE id IN (1, 9)")
    shop.place.sql("INSERT INTO facts (id, day, version, gone) VALUES (5, '2013-01-02', 1, 0)")
    after = shop.verify("delta")
    # 9 is none of the window's keys in the source, which an upsert does not touch.
    assert sorted(found(after), key=str) == [(CHANGED, 1), (EXTRA, 5)]


def test_the_window_that_is_replaced(shop: plan_kit.Shop) -> None:
    shop.declare(WINDOW)
    shop.fill([row(number, day=1 + number % 3) for number in range(30)])
    shop.publish()
    assert shop.verify("delta").is_equal
    shop.place.sql(
        "UPDATE facts SET gone = 9 WHERE id IN (1, 3)",  # of days 2 and 1
        "DELETE FROM facts WHERE id = 4",
        "INSERT INTO facts (id, day, version, gone) VALUES (77, '2013-01-02', 1, 0)",
    )
    result = shop.verify("delta")
    assert sorted(found(result), key=str) == [(CHANGED, 1), (EXTRA, 77), (MISSING, 4)]
    wider = shop.verify("delta", datetime.date(2013, 1, 1))
    assert (CHANGED, 3) in found(wider)
    assert "2013" in str(wider.window)


def test_all_rows_of_a_delta_are_compared_by_its_rule(shop: plan_kit.Shop) -> None:
    shop.declare(UPSERT)
    shop.fill(
        [
            row(1, day=1, version=1),
            row(1, day=2, version=2, name="latest"),
            row(2, day=1, version=1),
            row(2, day=2, version=2, gone=1),
            row(3, day=1),
        ]
    )
    start = datetime.date(2013, 1, 1)
    shop.publish("delta", start)
    shop.place.sql("INSERT INTO facts (id, day, version, gone) VALUES (50, '2012-01-01', 1, 0)")
    result = shop.verify(None)
    assert result.is_equal, result
    assert (result.write_mode, result.window, result.not_compared) == ("delta", None, 1)
    assert "the latest by version" in result.compared
    shop.place.sql(
        "UPDATE facts SET name = 'other' WHERE id = 1",
        "DELETE FROM facts WHERE id = 3",
        "INSERT INTO facts (id, day, version, gone) VALUES (2, '2013-01-02', 1, 0)",
    )
    result = shop.verify(None)
    assert sorted(found(result), key=str) == [(CHANGED, 1), (EXTRA, 2), (MISSING, 3)]
    assert result.not_compared == 1


def test_all_rows_of_windows_that_are_replaced_are_compared(shop: plan_kit.Shop) -> None:
    shop.declare(
        "key: [id]\n    delta: {cursor: day, order_by: [version], strategy: replace_window}"
    )
    shop.fill([row(1, version=1), row(1, version=2, name="latest"), row(2, day=1)])
    shop.publish("delta", datetime.date(2013, 1, 1))
    assert shop.verify(None).is_equal
    shop.place.sql("INSERT INTO facts (id, day, version, gone) VALUES (9, '2013-01-01', 1, 0)")
    assert found(shop.verify(None)) == [(EXTRA, 9)]


def test_types_are_compared_as_a_run_sends_them(shop: plan_kit.Shop) -> None:
    # Reading an instant by DuckDB's own driver takes a package that nobody else needs.
    zone = None if shop.place.kind == "duckdb" else "UTC"
    schema = pa.schema(
        [
            ("id", pa.int16()),
            ("f", pa.float32()),
            ("d", pa.decimal128(20, 4)),
            ("b", pa.bool_()),
            ("raw", pa.binary()),
            ("at", pa.timestamp("us", zone)),
            ("time", pa.time64("us")),
            ("text", pa.string()),
            ("list", pa.list_(pa.int64())),
        ]
    )
    at = datetime.datetime(2013, 1, 1, 12, 30, 0, 500, tzinfo=datetime.UTC if zone else None)
    rows = [
        (1, 0.1, Decimal("1.5000"), True, b"\x00\xff", at, datetime.time(1, 2, 3), "a\tb\\\n", [1]),
        (2, None, None, None, None, None, None, None, None),
        (3, -0.0, Decimal("-0.0001"), False, b"", at, datetime.time(0), "", []),
    ]
    shop.declare(KEY)
    shop.fill(rows, schema)
    shop.publish()
    assert shop.verify().is_equal
    shop.declare("publish: swap")
    shop.publish()
    shop.place.sql("DELETE FROM facts")
    result = shop.verify()
    assert (result.missing, len(result.differences)) == (3, 3)


def test_a_column_that_the_target_lacks_is_a_difference(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill([item[:4] for item in [row(1), row(2)]], pa.schema(list(plan_kit.SCHEMA)[:4]))
    shop.publish()
    shop.declare(KEY + "\n    schema: evolve")
    shop.fill([row(1), row(2)])
    result = shop.verify()
    assert (result.is_equal, result.columns_missing) == (False, ("name", "gone"))
    assert (result.missing, result.extra, result.changed) == (0, 0, 0)


def test_more_than_can_be_held_is_said_to_be_part(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.declare(KEY)
    shop.fill([row(number) for number in range(300)])
    shop.publish()
    shop.fill([row(number, name="all other") for number in range(300)])
    monkeypatch.setattr(comparison, "MOST_ROWS", 50)
    result = shop.verify()
    assert not result.is_complete
    assert 0 < result.changed <= 50
    assert (result.missing, result.extra) == (0, 0)


def test_there_must_be_a_target(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill([row(1)])
    with pytest.raises(errors.ConfigError, match="there is no table facts"):
        shop.verify()


def test_the_command(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> None:
    place = place_module.SQLite(tmp_path)
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare(KEY)
    shop.fill([row(1), row(2, name="x" * 100), row(3)])
    shop.publish()
    program = [sys.executable, "-m", "tmg_etl.cli.people", "verify"]
    config = shop.folder / "config.yaml"
    done = process.call(program, "facts", config, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("equal\n")
    place.sql("UPDATE facts SET amount = 2 WHERE id = 2", "DELETE FROM facts WHERE id = 3")
    done = process.call(program, "facts", config, "--limit", "1", cwd=tmp_path)
    assert (done.code, done.err) == (65, "")
    assert done.out.splitlines()[3:] == [
        "compared  all rows of both sides",
        "different: 1 missing, 0 extra, 1 changed",
        "  changed  id=2: amount: source 1.5, target 2.0",
        "  and 1 row more; `--limit` shows more of them",
    ]
    done = process.call(program, "facts", config, "--json", cwd=tmp_path)
    shown = json.loads(done.out)
    assert (done.code, shown["equal"], shown["missing"]) == (65, False, 1)
    assert shown["differences"][0] == {
        "kind": "changed",
        "key": {"id": 2},
        "source": {"amount": 1.5},
        "target": {"amount": 2.0},
    }
    assert process.call(program, "nothing", config, cwd=tmp_path).code == 78
    assert process.call(program, cwd=tmp_path).code == 64


def test_many_rows(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> None:
    place = place_module.DuckDB(tmp_path)
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare("key: [id]\n    publish: swap")
    count = 200_000
    numbers = pa.array(range(count), pa.int64())
    table = pa.table({"id": numbers, "v": pa.array([n % 97 for n in range(count)], pa.int32())})
    parquet.write_table(table, shop.folder / "lake" / "facts.parquet")
    shop.publish()
    place.sql("UPDATE facts SET v = 1000 WHERE id IN (3, 199999)", "DELETE FROM facts WHERE id = 5")
    began = time.monotonic()
    result = shop.verify()
    assert found(result) == [(CHANGED, 3), (MISSING, 5), (CHANGED, 199_999)]
    # Measured: 3 s on an idle machine of two cores.
    assert time.monotonic() - began < 60
