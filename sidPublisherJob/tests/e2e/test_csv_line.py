"""What is wrong with a row of a CSV file is named with its file and line."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import errors


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def refused(shop: plan_kit.Shop, text: str) -> str:
    (shop.folder / "lake" / "facts.csv").write_text(text)
    error = shop.run().error
    assert isinstance(error, errors.TmgEtlError)
    return str(error)


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ("3,99999,x", "facts.csv:5: facts: column 'v' value '99999' in the row (id='3')"),
        ("3,1,", "facts.csv:5: facts: column 'name' value 'null' in the row (id='3')"),
        ("1,1,x", "facts.csv:2 and facts.csv:5: facts: the key (id='1') occurs more than once"),
        (",1,x", "facts.csv:5: facts: the key column 'id' is null in the row (id=null"),
        ("3,-7,x", "facts.csv:5: facts: the row (id='3') was refused, a check constraint"),
    ],
    ids=["value", "null", "twice", "no key", "check"],
)
def test_a_refused_row_has_its_line(shop: plan_kit.Shop, rows: str, where: str) -> None:
    shop.place.sql(
        "CREATE TABLE facts (id int NOT NULL PRIMARY KEY, v smallint, name varchar(20) NOT NULL,"
        " CONSTRAINT positive CHECK (v > -5))"
    )
    shop.declare("key: [id]")
    said = refused(shop, f'id,v,name\n1,1,"two\nlines"\n2,2,b\n{rows}\n')
    assert said.startswith(where), said
    assert "; " in said


def test_a_line_for_spreadsheets_is_named(
    tmp_path: pathlib.Path, empty_ledger: pathlib.Path
) -> None:
    shop = plan_kit.Shop(tmp_path / "shop", place_module.SQLite(tmp_path), empty_ledger)
    shop.declare("key: [id]")
    said = refused(shop, "sep=;\nid;n\n1;2\n")
    assert said.startswith("facts.csv:1: found `sep=;`")
    assert "remove that line, and write `csv: {delimiter: ';'}` in the source" in said
    said = refused(shop, "id;n\n1;2\n")
    assert "its only column is 'id;n': is ';' the delimiter of the file?" in said
    assert '`csv: {delimiter: ";"}`' in said
