"""A proof that fails names a row by its key, with both values of its own."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors
from tmg_etl.transfer import pipeline, publish

#: Many that resemble each other, so that the likest value is another row's.
SCHEMA = pa.schema(
    [("id", pa.int64()), ("code", pa.string()), ("v", pa.float64()), ("name", pa.string())]
)
ROWS = [(number, f"k{number % 40}", 1.5 + number / 7, f"n{number}") for number in range(400)]


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def refused(shop: plan_kit.Shop, more: str, *changes: str, mode: str = "truncate") -> str:
    """Run with `changes` to the loaded table; return what the failed proof says."""
    lines = [
        more,
        "pipeline: tests.e2e.tampering:Tampered",
        f"options: {{changes: {list(changes)!r}}}",
    ]
    shop.declare("\n    ".join(lines) + "\npackages: [tests]")
    outcome = shop.run(mode)
    assert isinstance(outcome.error, errors.VerificationError), outcome.error
    assert not shop.contents()
    return str(outcome.error)


@pytest.mark.parametrize(
    ("key", "named"),
    [(["id"], "(id='217')"), (["code", "id"], "(code='k17', id='217')")],
    ids=["number", "composite"],
)
def test_a_changed_cell_is_named_with_its_row(
    shop: plan_kit.Shop, key: Sequence[str], named: str
) -> None:
    shop.fill(ROWS, SCHEMA)
    said = refused(shop, f"key: {key}", "UPDATE {table} SET v = 32.75 WHERE id = 217")
    assert "the column 'v' (" in said
    assert f"did not keep what was sent: in the row {named} 'v' '32.5' became '32.75'" in said


def test_the_first_of_several_changed_rows_is_named(shop: plan_kit.Shop) -> None:
    shop.fill([(f"key {number}", number, None) for number in range(300)], TEXTS)
    said = refused(
        shop,
        "key: [name]",
        "UPDATE {table} SET n = n + 1000, note = 'x' WHERE n IN (150, 160, 170)",
    )
    assert "in the row (name='key 150') 'n' '150' became '1150', 'note' null became 'x'" in said


TEXTS = pa.schema([("name", pa.string()), ("n", pa.int64()), ("note", pa.string())])


def test_a_lost_row_and_a_new_one_are_named(shop: plan_kit.Shop) -> None:
    shop.fill(ROWS, SCHEMA)
    said = refused(shop, "key: [id]", "DELETE FROM {table} WHERE id = 200")
    assert "sent 400 rows" in said
    assert "holds 399 rows" in said
    assert "the row (id='200') was sent and is not held; the target is unchanged" in said
    said = refused(shop, "key: [id]", "UPDATE {table} SET id = 4000 WHERE id = 200")
    assert (
        "the row (id='200') was sent and is not held, the row (id='4000') is held and was not sent"
        in said
    )


def test_without_a_key_the_rows_of_one_side_are_shown(shop: plan_kit.Shop) -> None:
    shop.fill(ROWS, SCHEMA)
    said = refused(shop, "on_empty: fail", "UPDATE {table} SET name = 'other' WHERE id = 217")
    assert (
        "without a `key` the two sides of a row cannot be told: the row"
        " (id='217', code='k17', v='32.5', name='n217') was sent and is not held, the row"
        " (id='217', code='k17', v='32.5', name='other') is held and was not sent" in said
    )


def test_versions_of_one_key_are_not_taken_for_each_other(shop: plan_kit.Shop) -> None:
    delta = "key: [id]\n    delta: {cursor: day, order_by: [version]}"
    versions = [row(7, version=version, name=f"v{version}") for version in range(5)]
    shop.fill([*map(row, range(5)), *versions])
    said = refused(
        shop, delta, "UPDATE {table} SET name = 'x' WHERE id = 7 AND version = 3", mode="delta"
    )
    assert "in the row (id='7') 'name' 'v3' became 'x'" in said
    said = refused(shop, delta, "UPDATE {table} SET name = 'x' WHERE id = 7", mode="delta")
    assert "did not keep what was sent" in said
    assert "became" not in said


TRIGGER = {
    "sqlite": (
        "CREATE TRIGGER meddle AFTER INSERT ON facts WHEN NEW.id = 217"
        " BEGIN UPDATE facts SET name = 'other' WHERE id = 217; END",
    ),
    "postgres": (
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 217 THEN NEW.name := 'other'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER meddle BEFORE INSERT ON facts FOR EACH ROW EXECUTE FUNCTION meddle()",
    ),
    "mysql": (
        "CREATE TRIGGER meddle BEFORE INSERT ON facts FOR EACH ROW"
        " SET NEW.name = IF(NEW.id = 217, 'other', NEW.name)",
    ),
}


@pytest.mark.parametrize("mode", ["truncate", "delta"])
def test_what_a_trigger_changes_is_named(shop: plan_kit.Shop, mode: str) -> None:
    if shop.place.kind not in TRIGGER:
        return  # DuckDB has no triggers
    shop.declare("key: [id]\n    publish: diff\n    delta: {cursor: day}")
    shop.fill([row(1)])
    shop.publish()
    shop.place.sql(*TRIGGER[shop.place.kind])
    shop.fill([row(number, name=f"n{number}") for number in range(400)])
    error = shop.run(mode).error
    assert isinstance(error, errors.VerificationError)
    assert "in the row (id='217') 'name' 'n217' became 'other'; the target is" in str(error)
    assert len(shop.contents() or ()) == 1


class Visited(pipeline.TransferPipeline):
    """Somebody else writes into a table between its creation and its first delta."""

    def pipeline(self) -> publish.Step | None:
        """Write a row of theirs when ours are staged."""
        step = super().pipeline()
        facts = self.target.qualified("facts")
        self.target.run(f"INSERT INTO {facts} (id, day, name) VALUES (99, '2013-01-02', 'theirs')")
        return step


def test_a_first_delta_is_proved_by_its_own_rows(shop: plan_kit.Shop) -> None:
    shop.fill([row(1), row(2, name=None)])
    delta = "key: [id]\n    delta: {cursor: day, order_by: [version]}"
    shop.declare(f"{delta}\n    pipeline: {__name__}:Visited\npackages: [tests]")
    result = shop.publish("delta", plan_kit.DAY.replace(day=1))
    assert result.rows_inserted == 2
    assert sorted(int(found[0]) for found in shop.contents() or []) == [1, 2, 99]
