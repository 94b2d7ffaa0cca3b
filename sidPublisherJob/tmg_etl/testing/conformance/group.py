"""Publish groups: several tables become visible in one step, or none of them does."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import concurrent.futures
import datetime
import signal
from typing import ClassVar

import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.testing.conformance import profile as profile_module
from tmg_etl.testing.conformance.pair import (
    DELTA,
    NEW,
    NEW_CHILD,
    NEW_PARENT,
    OLD,
    OLD_CHILD,
    OLD_PARENT,
    SCHEMA,
    Pair,
    rows_of,
    settings,
)
from tmg_etl.transfer import nest


class GroupConformance:
    """All tables of a group change at once; for targets that `can_group`."""

    profile: ClassVar[type[profile_module.SqlPlace]]

    @pytest.fixture
    def place(self, target_place: profile_module.SqlPlace) -> profile_module.SqlPlace:
        """Return the place under test."""
        return target_place

    @pytest.fixture
    def pair(self, place: profile_module.SqlPlace) -> Pair:
        """Return two tables that nobody has published to yet."""
        return Pair(place)

    # --- all of it ------------------------------------------------------------------------------

    def test_new_tables_appear_together(self, pair: Pair) -> None:
        results = pair.publish(OLD_PARENT, OLD_CHILD)
        assert pair.held == OLD
        assert list(results) == ["parent", "child"]
        assert {result.publish for result in results.values()} == {"swap"}
        assert [result.rows_inserted for result in results.values()] == [2, 3]

    def test_a_full_refresh_swaps_all_tables(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        results = pair.publish(NEW_PARENT, NEW_CHILD)
        assert pair.held == NEW
        # Each alone is small and would be compared row by row.
        assert {result.publish for result in results.values()} == {"swap"}
        assert [result.rows_deleted for result in results.values()] == [2, 3]

    def test_a_table_can_join_those_that_are_there(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        pair.place.execute(f"DROP TABLE {pair.place.quote(pair.child)}")
        pair.publish(NEW_PARENT, NEW_CHILD)
        assert pair.held == NEW

    def test_one_that_must_not_be_swapped_has_all_published_in_place(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        results = pair.publish(NEW_PARENT, NEW_CHILD, settings={"parent": {"publish": "diff"}})
        assert pair.held == NEW
        assert [result.publish for result in results.values()] == ["diff", "diff"]
        assert "parent asks for a diff" in str(results["child"].publish_reason)
        counts = [(r.rows_inserted, r.rows_updated, r.rows_deleted) for r in results.values()]
        assert counts == [(1, 1, 1), (1, 1, 1)]

    def test_a_new_table_can_be_published_in_place_with_others(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        pair.place.execute(f"DROP TABLE {pair.place.quote(pair.child)}")
        pair.publish(NEW_PARENT, NEW_CHILD, settings={"parent": {"publish": "diff"}})
        assert pair.held == NEW

    def test_without_a_key_rows_are_replaced_in_the_same_step(self, pair: Pair) -> None:
        rows = rows_of((1, None, "twice"), (1, None, "twice"))
        keys = {"parent": {"publish": "diff"}, "child": {"key": []}}
        pair.publish(OLD_PARENT, rows, settings=keys)
        results = pair.publish(NEW_PARENT, rows, settings=keys)
        assert pair.held == (NEW[0], [(1, None, "twice"), (1, None, "twice")])
        assert [result.publish for result in results.values()] == ["diff", "replace"]

    def test_a_delta_merges_some_and_refreshes_the_others(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        results = pair.publish(
            NEW_PARENT,
            NEW_CHILD,
            mode="delta",
            settings={"child": {"delta": DELTA}},
        )
        assert pair.held == (
            NEW[0],
            [(10, 3, "x"), (11, 2, "y"), (12, 2, "z"), (13, 3, "new")],
        )
        assert [result.publish for result in results.values()] == ["diff", "merge"]

    def test_a_delta_creates_what_is_missing(self, pair: Pair) -> None:
        window = {"child": {"delta": DELTA | {"strategy": "replace_window"}}}
        pair.publish(NEW_PARENT, NEW_CHILD, mode="delta", settings=window)
        assert pair.held == NEW

    def test_the_same_run_twice_changes_nothing(self, pair: Pair) -> None:
        both = settings(publish="diff")
        pair.publish(NEW_PARENT, NEW_CHILD, settings=both)
        before = pair.dump()
        results = pair.publish(NEW_PARENT, NEW_CHILD, settings=both)
        assert pair.dump() == before
        assert [result.rows_unchanged for result in results.values()] == [2, 3]

    def test_tables_that_are_kept_belong_to_one_step(self, pair: Pair) -> None:
        both = settings(keep_previous="1h")
        pair.publish(OLD_PARENT, OLD_CHILD, settings=both)
        results = pair.publish(NEW_PARENT, NEW_CHILD, settings=both)
        kept = [str(result.previous_table) for result in results.values()]
        assert set(kept) <= pair.place.tables()
        assert len({run_module.TemporaryNames.owner(name) for name in kept}) == 1
        assert [pair.place.dump(name) for name in kept] != list(pair.dump())
        for name in kept:
            pair.place.execute(f"DROP TABLE {pair.place.quote(name)}")

    # --- or nothing -----------------------------------------------------------------------------

    @pytest.mark.parametrize("failing", ["parent", "child"])
    @pytest.mark.parametrize("publish", ["auto", "diff"])
    def test_a_key_twice_in_one_keeps_all_as_they_were(
        self, pair: Pair, failing: str, publish: str
    ) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        twice = rows_of((7, None, "one"), (7, None, "two"))
        outcome = pair.refuse(
            twice if failing == "parent" else NEW_PARENT,
            twice if failing == "child" else NEW_CHILD,
            errors.DuplicateKeyError,
            settings=settings(publish=publish),
        )
        (other,) = set(outcome.members) - {failing}
        error = outcome.members[other].error
        assert isinstance(error, errors.GroupError)
        assert "nothing of the group pair was published" in str(error)
        assert failing in str(error)
        pair.publish(NEW_PARENT, NEW_CHILD)
        assert pair.held == NEW

    @pytest.mark.parametrize("failing", ["parent", "child"])
    def test_an_empty_source_keeps_all_as_they_were(self, pair: Pair, failing: str) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        empty = SCHEMA.empty_table()
        pair.refuse(
            empty if failing == "parent" else NEW_PARENT,
            empty if failing == "child" else NEW_CHILD,
            errors.EmptySourceError,
        )

    def test_a_wrong_config_of_the_last_costs_no_load(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        wrong = {"parent": {"indexes": [], "omit": ["parent"], "key": ["nowhere"]}}
        outcome = pair.refuse(NEW_PARENT, NEW_CHILD, errors.ConfigError, settings=wrong)
        assert {one.result.rows_read for one in outcome.members.values()} == {None}

    def test_a_swap_that_is_asked_for_is_not_given_up_silently(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        asked = {"parent": {"publish": "diff"}, "child": {"publish": "swap"}}
        outcome = pair.refuse(NEW_PARENT, NEW_CHILD, errors.ConfigError, settings=asked)
        assert "`publish: swap` of child" in str(outcome.error)

    def test_a_stop_keeps_all_as_they_were(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        stop = run_module.StopFlag()
        outcome = pair.refuse(
            NEW_PARENT,
            NEW_CHILD,
            errors.Stopped,
            before=lambda run: stop.set(signal.SIGTERM),
            stop=stop,
        )
        assert outcome.exit_code == 143
        assert {one.status for one in outcome.members.values()} == {run_module.Status.STOPPED}

    def test_a_busy_member_keeps_all_as_they_were(self, pair: Pair) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        inner: list[nest.GroupOutcome] = []

        def run_another(run: run_module.Run) -> None:
            if not inner:
                other = pair.build(
                    NEW_PARENT,
                    NEW_CHILD,
                    settings=settings(lock_wait_s=0),
                )
                inner.append(other.execute())

        pair.publish(OLD_PARENT, OLD_CHILD, before=run_another)
        assert isinstance(inner[0].error, errors.LockBusyError)
        assert [one.exit_code for one in inner[0].members.values()] == [75, 75]
        assert pair.held == OLD

    # --- foreign keys ---------------------------------------------------------------------------

    @pytest.mark.parametrize("is_reversed", [False, True])
    def test_foreign_keys_between_members_hold(self, pair: Pair, is_reversed: bool) -> None:
        pair.create_bound()
        pair.publish(OLD_PARENT, OLD_CHILD, is_reversed=is_reversed)
        assert pair.held == OLD
        if not pair.place.traits.holds("foreign_keys"):
            pair.refuse(
                NEW_PARENT,
                NEW_CHILD,
                errors.DataError,
                is_reversed=is_reversed,
            )
            return
        results = pair.publish(NEW_PARENT, NEW_CHILD, is_reversed=is_reversed)
        assert pair.held == NEW
        counts = {
            name: (r.rows_inserted, r.rows_updated, r.rows_deleted, r.rows_unchanged)
            for name, r in results.items()
        }
        assert counts == {"parent": (1, 1, 1, 0), "child": (1, 1, 1, 1)}

    def test_foreign_keys_hold_when_marked_rows_are_deleted(self, pair: Pair) -> None:
        pair.create_bound()
        pair.publish(OLD_PARENT, OLD_CHILD)
        marked = settings(delta=DELTA | {"deleted": "name = 'gone'"})
        parent = rows_of((1, None, "gone"), (2, None, "B"), (3, None, "c"))
        child = rows_of((10, 3, "x"), (12, 2, "gone"), (13, 3, "new"))
        if not pair.place.traits.holds("foreign_keys"):
            pair.refuse(parent, child, errors.DataError, mode="delta", settings=marked)
            return
        results = pair.publish(parent, child, mode="delta", settings=marked)
        assert pair.held == NEW
        assert [result.rows_deleted for result in results.values()] == [1, 1]

    def test_a_child_without_its_parent_keeps_all_as_they_were(self, pair: Pair) -> None:
        pair.create_bound()
        pair.publish(OLD_PARENT, OLD_CHILD)
        orphan = rows_of((10, 99, "x"))
        pair.refuse(NEW_PARENT, orphan, errors.DataError)

    @pytest.mark.parametrize("mode", ["truncate", "delta"])
    def test_a_parent_without_a_key_is_refused_before_the_load(self, pair: Pair, mode: str) -> None:
        pair.create_bound()
        pair.publish(OLD_PARENT, OLD_CHILD)
        keyless = {"key": [], "delta": DELTA | {"strategy": "replace_window"}}
        outcome = pair.refuse(
            NEW_PARENT,
            NEW_CHILD,
            errors.ConfigError,
            mode=mode,
            settings={"parent": keyless},
        )
        assert f"declare the `key:` of {pair.parent}" in str(outcome.error)
        assert {one.result.rows_read for one in outcome.members.values()} == {None}

    # --- several at once ------------------------------------------------------------------------

    def test_groups_that_name_their_tables_in_another_order_do_not_deadlock(
        self, pair: Pair
    ) -> None:
        pair.publish(OLD_PARENT, OLD_CHILD)
        began = datetime.datetime.now(datetime.UTC)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            outcomes = [
                pool.submit(
                    pair.build(
                        rows_of((number, None, "p")),
                        rows_of((number, None, "c")),
                        is_reversed=bool(number % 2),
                    ).execute
                )
                for number in range(6)
            ]
        assert [one.result().exit_code for one in outcomes] == [0] * 6
        assert (datetime.datetime.now(datetime.UTC) - began).total_seconds() < 60
        (parent,), (child,) = pair.held
        assert parent[0] == child[0]
        assert pair.leftovers() == set()
