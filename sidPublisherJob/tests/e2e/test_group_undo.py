"""What one step of a publish group replaced is put back in one step, on every database."""

from __future__ import annotations

import json
import pathlib
import signal

import pytest

from tests.e2e import group_kit
from tests.e2e import place as place_module
from tests.e2e.plan_kit import row
from tmg_etl.cli import people
from tmg_etl.connectors import base
from tmg_etl.transfer import group_undo, undo

KEEP = "keep_previous: 24h"
WANTED = (
    "keep_previous: 24h\n    skip_unchanged: true\n    indexes: [{name: by_name, columns: [day]}]"
)
FIRST = {"facts": [row(1), row(2)], "dims": [row(11)]}
SECOND = {"facts": [row(1), row(3)], "dims": [row(12), row(13)]}
THIRD = {"facts": [row(4)]}


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> group_kit.Shop:
    """A group in each kind of target in turn, published once."""
    made = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare(KEEP, WANTED)
    made.fill(**FIRST)
    made.publish()
    return made


def test_there_and_back_and_there_again(shop: group_kit.Shop) -> None:
    assert shop.call("rollback") == 78
    shop.fill(**SECOND)
    shop.publish()
    assert shop.both() == ([1, 3], [12, 13])
    for expected in (([1, 2], [11]), ([1, 3], [12, 13]), ([1, 2], [11])):
        assert shop.call("rollback") == 0
        assert shop.both() == expected
        assert len(shop.kept()) == 2
        assert len({name.rpartition("_")[2] for name in shop.kept()}) == 1
        assert shop.leftovers() == []
    shop.publish()
    assert shop.both() == ([1, 3], [12, 13])


def test_each_member_has_its_row_in_the_ledger(shop: group_kit.Shop) -> None:
    shop.fill(**SECOND)
    shop.publish()
    assert shop.call("rollback") == 0
    ids = set()
    for name, back, replaced in (("facts", 2, 2), ("dims", 1, 2)):
        latest, before, _ = shop.runs(name)
        assert (latest.write_mode, latest.publish, latest.status) == (
            "rollback",
            "rollback",
            "succeeded",
        )
        assert (latest.rows_inserted, latest.rows_deleted) == (back, replaced)
        assert latest.fingerprint_target == before.previous_fingerprint
        assert latest.is_verified
        ids.add(str(latest.previous_table).rpartition("_")[2])
    assert ids == {shop.runs("facts")[0].id}


def test_a_member_that_the_step_left_alone_stays(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**SECOND)
    shop.publish()
    second = shop.runs("facts")[0].id
    shop.fill(**THIRD)
    shop.publish()
    assert shop.both() == ([4], [12, 13])
    assert shop.runs("dims")[0].publish == "none"
    capsys.readouterr()
    assert shop.call("rollback", "--json") == 0
    facts, dims = json.loads(capsys.readouterr().out)["members"]
    assert (facts["rows_put_back"], dims["rows_put_back"]) == (2, None)
    assert dims["reason"] == "nothing to do: that step did not replace this table"
    assert shop.both() == ([1, 3], [12, 13])
    # Back to before the second step: both.
    assert shop.call("rollback", "--to", second) == 0
    assert shop.both() == ([1, 2], [11])


def test_before_an_earlier_step_is_what_all_members_held_then(shop: group_kit.Shop) -> None:
    shop.fill(**THIRD)
    shop.publish()
    earlier = shop.runs("facts")[0].id
    shop.fill(**SECOND)
    shop.publish()
    assert shop.both() == ([1, 3], [12, 13])
    # The step changed the facts only; what the dims held then was replaced by the next one.
    assert shop.call("rollback", "--to", earlier) == 0
    assert shop.both() == ([1, 2], [11])


def test_a_step_of_which_a_table_is_gone_is_not_put_back_in_part(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**THIRD)
    shop.publish()
    earlier = shop.runs("facts")[0].id
    shop.fill(**SECOND)
    shop.publish()
    later = shop.runs("facts")[0].id
    assert shop.call("rollback", "--to", earlier) == 0
    # What the later step replaced of the dims is back already; of the facts it is still kept.
    names = shop.kept()
    assert any(name.endswith(later) for name in names)
    capsys.readouterr()
    assert shop.call("rollback", "--to", later) == 78
    assert f"the table of dims that the run {later} replaced" in capsys.readouterr().err
    assert (shop.both(), shop.kept()) == (([1, 2], [11]), names)
    assert shop.call("rollback") == 0
    assert shop.both() == ([1, 3], [12, 13])


@pytest.mark.parametrize("changed", ["facts", "dims"])
def test_one_table_that_was_changed_keeps_all_from_being_put_back(
    shop: group_kit.Shop, changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**SECOND)
    shop.publish()
    names = shop.kept()
    prefix = shop.runs(changed)[0].previous_table
    shop.place.sql(f"UPDATE {prefix} SET version = 7")
    capsys.readouterr()
    assert shop.call("rollback") == 65
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "is not what the run" in line
    assert shop.both() == ([1, 3], [12, 13])
    assert shop.kept() == names
    errors = {name: str(shop.runs(name)[0].error) for name in group_kit.MEMBERS}
    other = "dims" if changed == "facts" else "facts"
    assert str(prefix) in errors[changed]
    assert errors[other].startswith(f"nothing of the group nightly was put back: {changed}: ")
    assert {shop.runs(name)[0].exit_code for name in group_kit.MEMBERS} == {65}


def test_a_member_alone_is_refused(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**SECOND)
    shop.publish()
    capsys.readouterr()
    assert shop.call("rollback", name="facts") == 78
    assert "roll back nightly" in capsys.readouterr().err
    assert shop.both() == ([1, 3], [12, 13])


def test_what_is_kept_is_listed_by_steps(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.call("rollback", "--list") == 0
    assert capsys.readouterr().out.endswith("no earlier table of nightly is kept\n")
    shop.fill(**SECOND)
    shop.publish()
    capsys.readouterr()
    assert shop.call("rollback", "--list") == 0
    step, facts, dims = capsys.readouterr().out.splitlines()
    assert step == f"step {shop.runs('facts')[0].id}"
    assert facts.startswith("  facts: kept until ")
    assert facts.partition("UTC: ")[2].startswith("2 rows 0x")
    assert dims.partition("UTC: ")[2].startswith("1 rows 0x")
    assert shop.call("rollback", "--list", name="dims") == 0
    assert capsys.readouterr().out.startswith("replaced by run ")
    assert shop.call("rollback", "--list", "--json") == 0
    assert [table["transfer"] for table in json.loads(capsys.readouterr().out)] == ["facts", "dims"]


def test_no_member_is_put_back_while_another_run_holds_one(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**SECOND)
    shop.publish()
    run = undo.make_run(shop.config, "facts")
    with run.connections["serving"].open_target("facts") as target, target.lock(run.id, 0):
        outcome = group_undo.build(shop.config, group_kit.GROUP).execute()
    assert outcome.exit_code == 75
    assert {member.exit_code for member in outcome.members.values()} == {75}
    assert str(outcome.members["dims"].error).startswith(
        "nothing of the group nightly was put back: facts: "
    )
    assert shop.both() == ([1, 3], [12, 13])
    assert shop.leftovers() == []
    assert shop.call("rollback") == 0


def test_indexes_belong_to_the_table_that_is_back(shop: group_kit.Shop) -> None:
    shop.fill(**SECOND)
    shop.publish()
    for _ in range(2):
        assert shop.call("rollback") == 0
        with (
            undo.make_run(shop.config, "dims").connections["serving"].open_target("dims") as target
        ):
            found = target.describe()
        assert isinstance(found, base.Table)
        assert (found.indexes, found.primary_key) == (("by_name",), ("id",))


def test_a_delta_keeps_nothing_and_leaves_what_is_kept(shop: group_kit.Shop) -> None:
    shop.fill(**SECOND)
    shop.publish()
    names = shop.kept()
    shop.declare(KEEP + "\n    delta: {cursor: day}", WANTED)
    shop.fill(facts=[row(7)], dims=[row(14)])
    shop.publish("delta")
    assert shop.both() == ([1, 3, 7], [14])
    assert shop.kept() == names
    # Back to before the last full refresh, of both.
    assert shop.call("rollback") == 0
    assert shop.both() == ([1, 2], [11])


def test_a_member_that_is_not_there_yet_is_not_in_the_way(shop: group_kit.Shop) -> None:
    shop.fill(facts=[row(5)])
    shop.publish()
    shop.place.sql("DROP TABLE dims")
    assert shop.call("rollback") == 0
    assert shop.ids("facts") == [1, 2]
    assert "dims" not in shop.place.tables()


def test_a_stop_puts_nothing_back(shop: group_kit.Shop) -> None:
    shop.fill(**SECOND)
    shop.publish()
    names = shop.kept()
    rollback = group_undo.build(shop.config, group_kit.GROUP)
    rollback.stop.set(signal.SIGTERM)
    outcome = rollback.execute()
    assert outcome.exit_code == 143
    assert {member.exit_code for member in outcome.members.values()} == {143}
    assert (shop.both(), shop.kept()) == (([1, 3], [12, 13]), names)
    assert {str(shop.runs(name)[0].status) for name in group_kit.MEMBERS} == {"stopped"}


def test_tables_may_have_any_name(shop: group_kit.Shop) -> None:
    shop.tables = {"facts": "we'ird; DROP TABLE dims; --", "dims": "Ünï select " + "x" * 40}
    shop.declare(KEEP, KEEP)
    shop.fill(**FIRST)
    shop.publish()
    shop.fill(**SECOND)
    shop.publish()
    assert shop.call("rollback") == 0
    assert shop.both() == ([1, 2], [11])
    assert shop.call("verify") == 65
    assert shop.call("plan") == 0
    assert shop.leftovers() == []
    assert {"facts", "dims"} <= shop.place.tables()


def test_runs_of_a_group_are_those_of_its_members(
    tmp_path: pathlib.Path, empty_ledger: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = group_kit.Shop(tmp_path / "shop", place_module.SQLite(tmp_path), empty_ledger)
    made.declare()
    made.fill(**FIRST)
    made.publish()
    capsys.readouterr()
    assert people.main(["runs", "nightly", str(made.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(run["transfer"] for run in found) == ["dims", "facts"]
    assert people.main(["runs", str(made.path), "--transfer", "nightley"]) == 78
    assert "did you mean `nightly`?" in capsys.readouterr().err
