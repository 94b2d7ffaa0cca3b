"""Upsert: the latest version of each key of the window is merged, nothing else changes."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import itertools
import signal

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import publication, sample
from tmg_etl.testing.conformance.delta import DAY, SCHEMA, Delta, DeltaSuite, counts, days, rows_of


class UpsertConformance(DeltaSuite):
    """For each key in the window, the target has the latest row."""

    def test_the_first_run_creates_the_table(self, target: Delta) -> None:
        result = target.merge((1, 0, 1, "a"), (2, 0, 1, "b"), (3, -1, 1, "yesterday"))
        assert target.held == [(1, 0, 1, "a"), (2, 0, 1, "b")]
        assert counts(result) == (2, 0, 0, 0)
        assert result.rows_read == 2

    def test_rows_are_inserted_updated_and_left(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"), (3, 0, 1, "c"))
        result = target.merge((1, 0, 1, "a"), (2, 0, 2, "B"), (4, 0, 1, "d"))
        assert target.held == [(1, 0, 1, "a"), (2, 0, 2, "B"), (3, 0, 1, "c"), (4, 0, 1, "d")]
        assert counts(result) == (1, 1, 0, 1)

    def test_the_same_run_twice_changes_nothing(self, target: Delta) -> None:
        rows = [(number, 0, 1, f"n{number}") for number in range(20)]
        target.merge(*rows)
        before = target.place.dump(target.table)
        result = target.merge(*rows)
        assert target.place.dump(target.table) == before
        assert counts(result) == (0, 0, 0, 20)

    def test_rows_outside_the_window_are_not_touched(self, target: Delta) -> None:
        target.publish(rows_of((1, -1, 1, "old"), (2, 1, 1, "future"), (3, 0, 1, "today")))
        target.merge((1, -1, 2, "no"), (2, 1, 2, "no"), (3, 0, 2, "yes"))
        assert target.held == [(1, -1, 1, "old"), (2, 1, 1, "future"), (3, 0, 2, "yes")]

    def test_a_row_moves_into_the_window(self, target: Delta) -> None:
        target.publish(rows_of((1, -5, 1, "old")))
        result = target.merge((1, 0, 2, "moved"))
        assert target.held == [(1, 0, 2, "moved")]
        assert counts(result) == (0, 1, 0, 0)

    def test_the_latest_version_wins(self, target: Delta) -> None:
        target.merge((1, 0, 2, "b"), (1, 0, 3, "c"), (1, 0, 1, "a"), (2, 0, 1, "x"))
        assert target.held == [(1, 0, 3, "c"), (2, 0, 1, "x")]

    def test_an_older_version_does_not_overwrite_a_newer_one(self, target: Delta) -> None:
        target.merge((1, 0, 5, "new"), (2, 0, 5, "new"), (3, 0, 5, "same"))
        result = target.merge((1, 0, 4, "old"), (2, 0, 6, "newer"), (3, 0, 5, "changed"))
        assert target.held == [(1, 0, 5, "new"), (2, 0, 6, "newer"), (3, 0, 5, "changed")]
        assert counts(result) == (0, 2, 0, 1)

    def test_null_comes_first_in_the_order(self, target: Delta) -> None:
        target.merge((1, 0, None, "null"), (1, 0, -5, "value"), (2, 0, None, "null"))
        assert target.held == [(1, 0, -5, "value"), (2, 0, None, "null")]
        target.merge((1, 0, None, "no"), (2, 0, -9, "yes"), (3, 0, None, "first"))
        assert target.held == [(1, 0, -5, "value"), (2, 0, -9, "yes"), (3, 0, None, "first")]
        target.merge((3, 0, None, "again"))
        assert target.held[2] == (3, 0, None, "again")

    def test_several_order_columns_are_compared_in_order(self, target: Delta) -> None:
        delta = {"cursor": "day", "order_by": ["version", "name"]}
        rows = [(1, 0, 1, "z"), (1, 0, 2, "a"), (1, 0, 2, "b"), (2, 0, None, "b")]
        target.merge(*rows, delta=delta)
        assert target.held == [(1, 0, 2, "b"), (2, 0, None, "b")]
        target.merge((1, 0, 2, "a"), (2, 0, None, "c"), delta=delta)
        assert target.held == [(1, 0, 2, "b"), (2, 0, None, "c")]

    def test_different_rows_that_are_equally_late_are_refused(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))
        for rows in (
            rows_of((4711, 0, 3, "one"), (4711, 0, 3, "other"), (4711, 0, 1, "x")),
            rows_of((4711, 0, None, "one"), (4711, 0, None, "other")),
            rows_of((4711, 0, 3, "one"), (4711, 0, 3, "One")),
        ):
            error = target.refuse(rows, errors.DuplicateKeyError, mode="delta")
            assert error.exit_code == errors.EXIT_DATA
            assert "4711" in str(error)

    def test_equal_duplicates_are_one_row(self, target: Delta) -> None:
        row = (1, 0, 3, "same")
        result = target.merge(row, row, (1, 0, 1, "a"), (1, 0, 1, "b"), (2, 0, None, "n"))
        assert target.held == [row, (2, 0, None, "n")]
        assert result.rows_read == 5
        assert result.rows_inserted == 2

    def test_without_an_order_two_rows_of_a_key_are_refused(self, target: Delta) -> None:
        delta = {"cursor": "day"}
        target.merge((1, 0, 1, "a"), (1, 0, 1, "a"), delta=delta)
        assert target.held == [(1, 0, 1, "a")]
        rows = rows_of((4711, 0, 1, "a"), (4711, 0, 2, "b"))
        error = target.refuse(rows, errors.DuplicateKeyError, mode="delta", delta=delta)
        assert "4711" in str(error)
        target.merge((1, 0, 0, "older by nothing known"), delta=delta)
        assert target.held == [(1, 0, 0, "older by nothing known")]

    def test_marked_rows_are_deleted(self, target: Delta) -> None:
        delta = {"cursor": "day", "order_by": ["version"], "deleted": "name = 'gone'"}
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"), (3, 0, 9, "c"), delta=delta)
        result = target.merge(
            (1, 0, 2, "gone"), (3, 0, 2, "gone"), (4, 0, 1, "gone"), (5, 0, 1, "e"), delta=delta
        )
        assert target.held == [(2, 0, 1, "b"), (3, 0, 9, "c"), (5, 0, 1, "e")]
        assert (result.rows_inserted, result.rows_deleted) == (1, 1)
        target.merge((1, 0, 3, "back"), delta=delta)
        assert target.held[0] == (1, 0, 3, "back")

    def test_a_deletion_may_be_marked_in_a_column_that_is_not_published(
        self, target: Delta
    ) -> None:
        delta = {"cursor": "day", "order_by": ["version"], "deleted": "gone = 1"}
        rows = rows_of((1, 0, 1, "a"), (2, 0, 1, "b"), (3, 0, 1, "c"))
        for marks in ([0, 0, None], [0, 1, None]):
            marked = rows.append_column("gone", pa.array(marks, pa.int64()))
            outcome = target.run(marked, mode="delta", delta=delta, omit=["gone"])
            assert outcome.error is None
        assert target.held == [(1, 0, 1, "a"), (3, 0, 1, "c")]

    def test_an_empty_window_changes_nothing(self, target: Delta) -> None:
        target.publish(rows_of((1, 0, 1, "a")))
        result = target.merge((2, 7, 1, "another day"))
        assert counts(result) == (0, 0, 0, 0)
        assert target.held == [(1, 0, 1, "a")]

    def test_a_wide_window_equals_day_by_day(self, target: Delta) -> None:
        rows = [
            (key, offset, offset + 10 * (key % 3), f"{key} on day {offset}")
            for key, offset in itertools.product(range(12), range(-4, 1))
            if (key + offset) % 3
        ]
        for offset in range(-4, 1):
            target.merge(*rows, day=days(offset))
        by_day = target.held
        wide = Delta(target.place, publication.new_name(), **target.settings)
        wide.merge(*rows, start=days(-4))
        assert wide.held == by_day
        # Late and out of order, the days give the same again.
        target.merge(*rows, day=days(-3))
        assert target.held == by_day
        target.merge(*rows, start=days(-4))
        assert target.held == by_day

    def test_evolve_adds_columns(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))
        wide = rows_of((2, 0, 1, "b")).append_column("extra", pa.array(["x"]))
        target.refuse(wide, errors.SchemaConflictError, mode="delta")
        outcome = target.run(wide, mode="delta", schema="evolve")
        assert outcome.error is None
        assert target.rows("id", "extra", schema=wide.schema) == [(1, None), (2, "x")]

    def test_evolve_that_fails_leaves_the_columns_as_they_were(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))
        wide = rows_of((2, 0, 1, "b")).append_column("extra", pa.array(["x"]))
        for step in ("load", "check_lock", "upsert"):
            fault = publication.Fault(step, is_after=True)
            target.refuse(wide, publication.Injected, mode="delta", schema="evolve", fault=fault)
            assert fault.has_happened
            with target.opened() as opened:
                table = opened.describe()
            assert table is not None
            assert "extra" not in table.schema.names, step
        assert target.run(wide, mode="delta", schema="evolve").error is None
        assert target.rows("id", "extra", schema=wide.schema) == [(1, None), (2, "x")]

    def test_null_keys_are_refused(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))
        rows = rows_of((2, 0, 1, "the row without a key"))
        rows = rows.set_column(0, SCHEMA.field("id"), pa.array([None], pa.int64()))
        error = target.refuse(rows, errors.NullKeyError, mode="delta")
        assert "the row without a key" in str(error)

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(
        "step", ["create_staging", "load", "keep_latest", "check_lock", "upsert", "fingerprint"]
    )
    def test_a_failure_at_any_step_keeps_the_old_rows(
        self, target: Delta, step: str, is_after: bool
    ) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"))
        new = [(2, 0, 2, "B"), (3, 0, 1, "c"), (3, 0, 2, "cc")]
        with target.opened() as opened:
            if step == "fingerprint" and opened.capabilities.proof is base.Proof.READ_BACK:
                step = "scan"
        fault = publication.Fault(step, is_after=is_after)
        target.refuse(rows_of(*new), publication.Injected, mode="delta", fault=fault)
        assert fault.has_happened
        target.merge(*new)
        assert target.held == [(1, 0, 1, "a"), (2, 0, 2, "B"), (3, 0, 2, "cc")]

    def test_rows_lost_on_the_way_are_found(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"))

        def tamper(opened: base.Target, name: str, *rest: object) -> None:
            target.place.tamper(opened, name)

        with target.opened() as opened:
            is_read_back = opened.capabilities.proof is base.Proof.READ_BACK
        fault = publication.Fault("scan" if is_read_back else "fingerprint", tamper)
        rows = rows_of((1, 0, 2, "A"), (3, 0, 1, "c"))
        target.refuse(rows, errors.VerificationError, mode="delta", fault=fault)
        assert fault.has_happened

    def test_a_stop_during_the_load_keeps_the_old_rows(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))
        rows = rows_of(*((number, 0, 1, "new") for number in range(40)))

        def source(run: run_module.Run) -> base.Source:
            return publication.FailingSource(rows, lambda: run.stop.set(signal.SIGTERM), after=2)

        stopped = target.refuse(source, errors.Stopped, mode="delta")
        assert stopped.exit_code == errors.EXIT_SIGTERM

    def test_a_stop_inside_the_merge_undoes_it(self, target: Delta) -> None:
        target.merge((1, 0, 1, "a"))

        def act(opened: base.Target, *rest: object) -> None:
            built.run.stop.set(signal.SIGTERM)

        fault = publication.Fault("upsert", act, is_after=True)
        built = target.build(rows_of((1, 0, 2, "b")), mode="delta", fault=fault)
        assert built.execute().exit_code == errors.EXIT_SIGTERM
        assert target.held == [(1, 0, 1, "a")]
        assert target.leftovers() == set()

    @pytest.mark.parametrize("strategy", ["upsert", "replace_window"])
    def test_values_of_every_type_are_merged(self, target: Delta, strategy: str) -> None:
        columns = sample.columns(self.profile.traits)
        old, new = (
            rows.append_column("cursor", pa.array([DAY] * rows.num_rows, pa.date32()))
            for rows in (sample.table(columns, shift=1), sample.table(columns))
        )
        delta = {"cursor": "cursor", "strategy": strategy}
        for rows in (old, new):
            outcome = target.run(rows, mode="delta", delta=delta)
            if outcome.error is not None:
                raise outcome.error
        found = target.place.read(target.table, new.schema)
        assert sample.differences(sample.expected(new, self.profile.traits), found) == []
        result = target.run(new, mode="delta", delta=delta).result
        assert counts(result) == (0, 0, 0, new.num_rows)
