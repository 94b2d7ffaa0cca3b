"""A plan of a publish group says what the run that follows does, and writes nothing."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.e2e import group_kit
from tests.e2e import place as place_module
from tests.e2e.plan_kit import row
from tmg_etl.ledger import record

DELTA = "delta: {cursor: day, order_by: [version]}"
FIRST = {"facts": [row(1), row(2), row(3)], "dims": [row(11), row(12)]}
SECOND = {"facts": [row(1), row(2, version=2), row(4)], "dims": [row(11), row(12, name="x")]}


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> group_kit.Shop:
    """A group in each kind of target in turn, not yet published."""
    made = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare()
    made.fill(**FIRST)
    return made


def planned(
    shop: group_kit.Shop,
    capsys: pytest.CaptureFixture[str],
    mode: str = "truncate",
    name: str = group_kit.GROUP,
    code: int = 0,
) -> dict[str, Any]:
    """Return the JSON of a plan; holds it to having written nothing."""
    ledger = (shop.folder / "ledger.db").read_bytes()
    before = {
        table: shop.place.rows(table) for table in shop.place.tables() if table in ("facts", "dims")
    }
    tables = shop.place.tables()
    capsys.readouterr()
    assert shop.run(mode, name, "--plan", "--log-format", "json") == code
    assert shop.place.tables() == tables
    assert {table: shop.place.rows(table) for table in before} == before
    assert (shop.folder / "ledger.db").read_bytes() == ledger
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def counts(run: record.Record) -> dict[str, int | None]:
    """What a run of a member says that it changed, as a plan has it."""
    return {
        "insert": run.rows_inserted,
        "update": run.rows_updated,
        "delete": run.rows_deleted,
        "leave": run.rows_unchanged,
    }


def compare(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str], mode: str = "truncate"
) -> dict[str, Any]:
    """Plan, run, and hold each member's row in the ledger to its plan."""
    plan = planned(shop, capsys, mode)
    shop.publish(mode)
    assert [member["transfer"] for member in plan["members"]] == ["facts", "dims"]
    for member in plan["members"]:
        run = shop.runs(member["transfer"])[0]
        assert member["rows_exact"], member["rows_reason"]
        assert member["rows"] == counts(run)
        assert (member["publish"], member["publish_reason"]) == (run.publish, run.publish_reason)
        assert member["write_mode"] == run.write_mode
    return plan


def test_one_swap_of_all_tables(shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]) -> None:
    plan = compare(shop, capsys)
    assert (plan["group"], plan["publish"], plan["window"]) == ("nightly", "swap", None)
    assert plan["publish_reason"] == "2 tables of the group are swapped in one step"
    assert all(member["creates"] for member in plan["members"])
    shop.fill(**SECOND)
    facts, dims = compare(shop, capsys)["members"]
    assert facts["difference"] == {"insert": 1, "update": 1, "delete": 1, "leave": 1}
    assert dims["difference"] == {"insert": 0, "update": 1, "delete": 0, "leave": 1}


def test_one_member_that_cannot_be_swapped_has_all_changed_in_place(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.publish()
    shop.fill(**SECOND)
    shop.declare(dims="publish: diff")
    plan = compare(shop, capsys)
    assert (plan["publish"], plan["publish_reason"]) == ("in place", "dims asks for a diff")
    assert [member["publish"] for member in plan["members"]] == ["diff", "diff"]
    assert shop.both() == ([1, 2, 4], [11, 12])


def test_a_delta_merges_those_that_declare_one_and_refreshes_the_others(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.declare(facts=DELTA)
    plan = compare(shop, capsys, "delta")
    assert (plan["publish"], plan["window"]) == ("in place", "2013-01-02")
    shop.fill(**SECOND)
    plan = compare(shop, capsys, "delta")
    assert plan["publish_reason"] == "the group is merged"
    assert [member["publish"] for member in plan["members"]] == ["merge", "diff"]
    assert [member["window"] for member in plan["members"]] == ["2013-01-02", None]
    assert shop.both() == ([1, 2, 3, 4], [11, 12])


def test_a_member_alone_is_planned_as_its_group_publishes_it(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.publish()
    alone, together = planned(shop, capsys, name="facts"), planned(shop, capsys)["members"][0]
    # The rest of the world uses the disk meanwhile.
    assert alone | {"disk_free_bytes": 0} == together | {"disk_free_bytes": 0}
    capsys.readouterr()
    assert shop.run("truncate", "facts") == 78
    assert "run nightly instead of facts" in capsys.readouterr().err


def test_what_would_stop_one_member_is_the_exit_code(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.publish()
    shop.fill(dims=[row(11), row(11, name="twice")])
    plan = planned(shop, capsys, code=65)
    assert [member["fails"] is None for member in plan["members"]] == [True, False]
    assert "(id='11')" in plan["members"][1]["fails"]
    assert shop.outcome().exit_code == 65
    assert shop.both() == ([1, 2, 3], [11, 12])


def test_what_cannot_be_done_together_is_refused_as_the_run_would(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.publish()
    shop.declare(facts="publish: swap", dims="publish: diff")
    capsys.readouterr()
    assert shop.run("truncate", group_kit.GROUP, "--plan") == 78
    line = capsys.readouterr().err.splitlines()[-1]
    assert str(shop.outcome().error) in line
    assert "`publish: swap` of facts needs a swap" in line


def test_time_is_that_of_each_members_own_work(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(shop, capsys)["estimated_seconds"] is None
    shop.publish()
    plan = planned(shop, capsys)
    whole = max(float(shop.runs(name)[0].duration_s or 0) for name in group_kit.MEMBERS)
    assert plan["estimated_seconds"] == pytest.approx(
        sum(member["estimated_seconds"] for member in plan["members"]), abs=0.11
    )
    assert plan["estimated_seconds"] <= whole + 0.1
