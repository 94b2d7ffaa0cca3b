"""What a constraint of the target refuses: named with table, row and what to do next."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors

SWAP = "key: [id]\n    publish: swap"
DIFF = "key: [id]\n    publish: diff"
UPSERT = "key: [id]\n    delta: {cursor: day}"
COLUMNS = (
    "id bigint NOT NULL PRIMARY KEY, day date, version bigint, amount double precision,"
    " name varchar(20), gone bigint"
)
WAYS = pytest.mark.parametrize(
    ("more", "mode"),
    [(SWAP, "truncate"), (DIFF, "truncate"), (UPSERT, "delta")],
    ids=["swap", "diff", "upsert"],
)


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def refused(shop: plan_kit.Shop, more: str, mode: str) -> str:
    """Run; return what the error says, which holds what each must."""
    shop.declare(more)
    before = shop.contents()
    error = shop.run(mode).error
    assert isinstance(error, errors.DataError), error
    assert shop.contents() == before
    said = str(error)
    assert said.startswith("facts: ")
    assert "the target is unchanged; " in said
    assert "_tmg_" not in said
    return said


@WAYS
def test_a_second_unique_constraint_is_not_the_key(
    shop: plan_kit.Shop, more: str, mode: str
) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, CONSTRAINT one_name UNIQUE (name))")
    shop.fill([row(number, name=f"n{min(number, 30)}") for number in range(32)])
    said = refused(shop, more, mode)
    assert "the key" not in said
    assert "unique constraint" in said
    assert "n30" in said or "one_name" in said or "name" in said
    if more != SWAP:
        assert "(id='31')" in said or "(id='30')" in said


@WAYS
def test_a_check_names_the_row(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, CONSTRAINT positive CHECK (version > 0))")
    shop.fill([row(number, version=0 if number == 17 else 1) for number in range(32)])
    assert "(id='17') was refused, a check constraint" in refused(shop, more, mode)


@WAYS
def test_a_column_that_nobody_fills_names_itself(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, extra int NOT NULL)")
    shop.fill([row(5), row(6)])
    reset = "\n    reset: [extra]" if more == SWAP else ""
    said = refused(shop, f"{more}\n    omit: [extra]{reset}", mode)
    assert "was refused, a column that may not be null: " in said
    if shop.place.kind != "mysql" or mode == "truncate":  # which refuses the statement, not a row
        assert "the row (id='5') was refused" in said
    assert "extra" in said


@WAYS
def test_a_foreign_key_names_the_row(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(
        "CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY)",
        "INSERT INTO parent VALUES (1)",
        f"CREATE TABLE facts ({COLUMNS}, FOREIGN KEY (version) REFERENCES parent (id))",
    )
    shop.fill([row(number, version=77 if number == 17 else 1) for number in range(32)])
    if more == SWAP and shop.place.kind != "postgres":
        return  # a table with a foreign key is not swapped
    said = refused(shop, more, mode)
    assert "was refused, a foreign key: " in said
    assert "publish_group" in said
    assert "(id='17')" in said


def test_a_row_that_others_refer_to_is_said(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS})",
        "INSERT INTO facts (id) VALUES (1), (2)",
        "CREATE TABLE child (id int PRIMARY KEY, fact bigint REFERENCES facts (id))"
        if shop.place.kind != "mysql"
        else "CREATE TABLE child (id int PRIMARY KEY, fact bigint,"
        " FOREIGN KEY (fact) REFERENCES facts (id))",
        "INSERT INTO child VALUES (1, 2)",
    )
    shop.fill([row(1)])
    said = refused(shop, DIFF, "truncate")
    assert "a foreign key of another table" in said
    assert "other tables refer to rows that would go" in said
