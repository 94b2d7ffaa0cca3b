"""Plan, verify and keep_previous where the target is a folder of files."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors, run
from tmg_etl.transfer import comparison, rehearsal, runner
from tmg_etl.transfer import plan as plan_module


class Folder(plan_kit.Shop):
    """A shop whose target is a folder."""

    def declare_folder(self, more: str) -> None:
        """Write the transfer."""
        (self.folder / "out").mkdir(exist_ok=True)
        self.declare(more, f"{{type: files, url: '{self.folder / 'out'}'}}")


@pytest.fixture
def shop(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> Folder:
    """A lake and a folder."""
    made = Folder(tmp_path / "shop", place_module.SQLite(tmp_path), empty_ledger)
    made.declare_folder("key: [id]")
    return made


def plan(shop: Folder) -> plan_module.Plan:
    """Plan a full refresh."""
    return plan_module.make(**shop._arguments("truncate", None))


def test_a_plan_counts_what_the_run_reports(shop: Folder) -> None:
    shop.fill([row(1), row(2)])
    first = plan(shop)
    assert (first.creates, first.rows, first.rows_exact) == (
        True,
        rehearsal.Changes(2, 0, 0, 0),
        True,
    )
    assert plan_kit.reported(shop.publish()) == first.rows
    shop.fill([row(1)])
    second = plan(shop)
    assert plan_kit.reported(shop.publish()) == second.rows


def test_files_that_were_changed_are_found(shop: Folder) -> None:
    shop.fill([row(number) for number in range(50)])
    shop.publish()
    arguments = shop._arguments("truncate", None)
    assert comparison.make(**arguments).is_equal
    shop.fill([row(number, name="other" if number == 7 else "Ида") for number in range(49)])
    result = comparison.make(**arguments)
    found = {(one.kind, one.key["id"]) for one in result.differences}
    assert found == {("changed", 7), ("extra", 49)}


def test_folders_keep_nothing_to_go_back_to(shop: Folder) -> None:
    shop.fill([row(1)])
    shop.publish()
    shop.declare_folder("key: [id]\n    keep_previous: 24h")
    arguments = shop._arguments("truncate", None)
    outcome = runner.build(**arguments).execute()
    assert outcome.exit_code == errors.EXIT_CONFIG
    assert "keeps no replaced tables" in str(outcome.error)
    assert outcome.status == run.Status.FAILED
