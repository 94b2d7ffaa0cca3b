"""Each member of a publish group is compared with its source, and each result is said."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.e2e import group_kit
from tests.e2e import place as place_module
from tests.e2e.plan_kit import row


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> group_kit.Shop:
    """A group in each kind of target in turn, published."""
    made = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare(facts="delta: {cursor: day, order_by: [version]}")
    made.fill(facts=[row(1), row(2, day=1)], dims=[row(11)])
    made.publish()
    return made


def verified(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str], code: int, *options: str
) -> list[dict[str, Any]]:
    """Return what is said of each member."""
    capsys.readouterr()
    assert shop.call("verify", "--json", "--date", "20130102", *options) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["group"], found["equal"]) == ("nightly", code == 0)
    members: list[dict[str, Any]] = found["members"]
    return members


def test_all_are_compared_and_one_that_differs_is_65(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [member["equal"] for member in verified(shop, capsys, 0)] == [True, True]
    shop.place.sql("UPDATE facts SET version = 9 WHERE id = 2")
    facts, dims = verified(shop, capsys, 65)
    assert (facts["transfer"], facts["equal"], facts["changed"]) == ("facts", False, 1)
    assert (dims["transfer"], dims["equal"]) == ("dims", True)
    # Of the window, the row that differs is not one; the dims have none and are compared whole.
    shop.place.sql("UPDATE dims SET version = 9 WHERE id = 11")
    facts, dims = verified(shop, capsys, 65, "--mode", "delta")
    assert (facts["equal"], facts["write_mode"]) == (True, "delta")
    assert (dims["changed"], dims["write_mode"]) == (1, "truncate")
    assert shop.call("verify", name="dims") == 65
    capsys.readouterr()
    assert shop.call("verify") == 65
    assert capsys.readouterr().out.endswith("group nightly: 0 of 2 equal; not: facts, dims\n")


def test_one_that_cannot_be_compared_does_not_hide_the_others(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.place.sql("DROP TABLE facts")
    facts, dims = verified(shop, capsys, 78)
    assert facts["error"].startswith("there is no table facts to compare with")
    assert dims["equal"]
    shop.place.sql("UPDATE dims SET version = 9")
    assert [member["equal"] for member in verified(shop, capsys, 65)] == [False, False]
