"""Failures: whatever goes wrong, the table stays as it was and nothing is left over."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import signal
import threading

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import publication, suite
from tmg_etl.testing.conformance.row import held, numbered

#: Methods of the target that a full refresh calls before anything is published.
_STEPS = ("sweep", "describe", "create_shadow", "load", "finish_load", "check_lock")
_OLD = [(1, "n1"), (2, "n2"), (3, "n3")]
_NEW = [(number, f"m{number}") for number in range(2, 32)]


def _new() -> pa.Table:
    return numbered(*range(2, 32), text="m")


class FailureConformance(suite.TargetSuite):
    """Old data or new data, never anything between."""

    @pytest.fixture
    def published(self, target: publication.Publication) -> publication.Publication:
        """Return a table that holds `_OLD`."""
        target.publish(numbered(1, 2, 3))
        return target

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("step", _STEPS)
    def test_a_failure_at_any_step_keeps_the_old_rows(
        self, published: publication.Publication, step: str, is_after: bool
    ) -> None:
        fault = publication.Fault(step, is_after=is_after)
        published.refuse(_new(), publication.Injected, fault=fault, publish="swap")
        assert fault.has_happened
        assert held(published) == _OLD
        published.publish(_new())
        assert held(published) == _NEW

    def test_a_failure_in_the_middle_of_the_load_keeps_the_old_rows(
        self, published: publication.Publication
    ) -> None:
        fault = publication.Fault("load", call=3)
        published.refuse(_new(), publication.Injected, fault=fault)
        assert fault.has_happened

    def test_a_failure_while_a_new_table_is_made_leaves_no_table(
        self, target: publication.Publication
    ) -> None:
        for step in ("create", "load", "finish_load", "swap"):
            target.refuse(_new(), publication.Injected, fault=publication.Fault(step))
            assert target.table not in target.place.tables()

    def test_a_failure_before_the_publish_keeps_the_old_rows(
        self, published: publication.Publication, publish: str
    ) -> None:
        fault = publication.Fault(publish)
        published.refuse(_new(), publication.Injected, fault=fault, publish=publish)
        assert fault.has_happened

    def test_a_failure_after_a_swap_leaves_the_new_rows(
        self, published: publication.Publication
    ) -> None:
        outcome = published.run(
            _new(), publish="swap", fault=publication.Fault("swap", is_after=True)
        )
        assert isinstance(outcome.error, publication.Injected)
        assert held(published) == _NEW
        assert published.leftovers() == set()

    def test_a_failure_after_a_diff_undoes_it(self, published: publication.Publication) -> None:
        if not self.profile.traits.holds("diff"):
            error = published.refuse(_new(), errors.ConfigError, publish="diff")
            assert "publish" in str(error)
            return
        fault = publication.Fault("diff", is_after=True)
        published.refuse(_new(), publication.Injected, fault=fault, publish="diff")
        assert fault.has_happened

    def test_a_source_that_fails_keeps_the_old_rows(
        self, published: publication.Publication, publish: str
    ) -> None:
        def fail() -> None:
            raise errors.ConnectionLostError("the source went away")

        made: list[publication.FailingSource] = []

        def source(run: run_module.Run) -> base.Source:
            made.append(publication.FailingSource(_new(), fail, after=2))
            return made[-1]

        error = published.refuse(source, errors.ConnectionLostError, publish=publish)
        assert error.exit_code == errors.EXIT_TEMPORARY
        assert made[0].is_closed

    def test_rows_lost_on_the_way_are_found(
        self, published: publication.Publication, publish: str
    ) -> None:
        """Somebody removes a row from the table that is being built."""

        def tamper(opened: base.Target, name: str, *rest: object) -> None:
            published.place.tamper(opened, name)

        rows = numbered(*range(1, 32), text="m")
        fault = publication.Fault("finish_load", tamper, is_after=True)
        error = published.refuse(rows, errors.VerificationError, fault=fault, publish=publish)
        assert fault.has_happened
        assert error.exit_code == errors.EXIT_DATA
        assert "31 rows" in str(error)
        assert "30 rows" in str(error)

    def test_a_stop_during_the_load_keeps_the_old_rows(
        self, published: publication.Publication, publish: str
    ) -> None:
        def source(run: run_module.Run) -> base.Source:
            return publication.FailingSource(_new(), lambda: run.stop.set(signal.SIGTERM), after=2)

        stopped = published.refuse(source, errors.Stopped, publish=publish)
        assert stopped.exit_code == errors.EXIT_SIGTERM
        published.publish(_new())
        assert held(published) == _NEW

    @pytest.mark.parametrize("step", ["finish_load", "check_lock"])
    def test_a_stop_between_load_and_publish_keeps_the_old_rows(
        self, published: publication.Publication, step: str
    ) -> None:
        def act(opened: base.Target, *rest: object) -> None:
            flag.set(signal.SIGINT)

        fault = publication.Fault(step, act)
        built = published.build(_new(), fault=fault)
        flag = built.run.stop
        outcome = built.execute()
        assert fault.has_happened
        assert published.leftovers() == set()
        if step == "finish_load":
            assert outcome.exit_code == errors.EXIT_SIGINT
        # Right before the publish either end is right, but only a whole one.
        assert held(published) == (_OLD if outcome.error else _NEW)

    def test_leftovers_of_dead_runs_are_removed(self, target: publication.Publication) -> None:
        dead = run_module.TemporaryNames("20200101000000deadbeefdead")
        names = {dead.table(kind, target.table) for kind in ("shadow", "stage", "latest", "old")}
        for name in names:
            target.place.leave_behind(name)
        others = dead.table("shadow", "another table")
        target.place.leave_behind(others)
        assert names <= target.place.tables()
        outcome = target.run(_new())
        assert outcome.error is None
        assert target.leftovers() == {others}
        assert held(target) == _NEW
        other = publication.Publication(target.place, "another table")
        other.publish(_new())

    def test_a_second_run_waits_for_the_first_and_gives_up(
        self, published: publication.Publication
    ) -> None:
        with published.opened() as opened, opened.lock("20240310000000aaaaaaaaaaaa", 0):
            error = published.refuse(_new(), errors.LockBusyError, lock_wait_s=0.3)
        assert error.exit_code == errors.EXIT_TEMPORARY
        assert published.table in str(error)
        published.publish(_new(), lock_wait_s=0)
        assert held(published) == _NEW

    def test_a_second_run_begins_when_the_first_has_ended(
        self, published: publication.Publication
    ) -> None:
        is_held, may_end = threading.Event(), threading.Event()

        def first() -> None:
            with published.opened() as opened, opened.lock("20240310000000aaaaaaaaaaaa", 0):
                is_held.set()
                may_end.wait(20)

        thread = threading.Thread(target=first)
        thread.start()
        assert is_held.wait(20)
        threading.Timer(0.5, may_end.set).start()
        published.publish(_new(), lock_wait_s=20)
        thread.join()
        assert held(published) == _NEW

    def test_the_lock_is_released_whatever_happens(
        self, published: publication.Publication
    ) -> None:
        published.refuse(_new(), publication.Injected, fault=publication.Fault("load"))
        published.refuse(_new(), publication.Injected, fault=publication.Fault("sweep"))
        published.publish(_new(), lock_wait_s=0)

    def test_two_tables_of_one_place_do_not_wait_for_each_other(
        self, published: publication.Publication
    ) -> None:
        other = publication.Publication(published.place, publication.new_name())
        with other.opened() as opened, opened.lock("20240310000000aaaaaaaaaaaa", 0):
            published.publish(_new(), lock_wait_s=0)
        assert held(published) == _NEW

    def test_a_run_that_lost_its_tables_publishes_nothing(
        self, published: publication.Publication
    ) -> None:
        """A run that only believes to hold the lock finds its table swept by the next one."""

        def sweep(opened: base.Target, *rest: object) -> None:
            names = run_module.TemporaryNames("20990101000000aaaaaaaaaaaa")
            with published.opened() as other:
                other.sweep(names)

        fault = publication.Fault("check_lock", sweep)
        outcome = published.run(_new(), fault=fault, publish="swap")
        assert fault.has_happened
        assert outcome.error is not None
        assert held(published) == _OLD
        assert published.leftovers() == set()


class RefusalConformance(suite.TargetSuite):
    """Rows that cannot be published are named by key, column and value."""

    @pytest.fixture
    def published(self, target: publication.Publication) -> publication.Publication:
        """Return a table that holds two rows."""
        target.publish(numbered(1, 2))
        return target

    def test_a_duplicate_key(self, published: publication.Publication) -> None:
        rows = pa.concat_tables([numbered(4711, 4712), numbered(4711, text="again")])
        for publish in self.profile.traits.publishes:
            error = published.refuse(rows, errors.DuplicateKeyError, publish=publish)
            assert error.exit_code == errors.EXIT_DATA
            assert "4711" in str(error)
            assert "id" in str(error)

    def test_a_duplicate_key_in_two_batches(self, published: publication.Publication) -> None:
        rows = numbered(*range(100, 130), 105)
        assert "105" in str(published.refuse(rows, errors.DuplicateKeyError))

    def test_a_duplicate_key_in_a_new_table(self, target: publication.Publication) -> None:
        rows = numbered(*range(100, 130), 105)
        assert "105" in str(target.refuse(rows, errors.DuplicateKeyError))

    def test_a_duplicate_composite_key(self, target: publication.Publication) -> None:
        rows = pa.table({"id": [7001, 7001, 7001], "part": ["a", "odd part", "odd part"]})
        message = str(target.refuse(rows, errors.DuplicateKeyError, key=["id", "part"]))
        assert "7001" in message
        assert "odd part" in message

    def test_a_null_key(self, published: publication.Publication) -> None:
        rows = pa.table(
            {"id": pa.array([5, None], pa.int64()), "name": ["n5", "the row without a key"]}
        )
        error = published.refuse(rows, errors.NullKeyError)
        assert error.exit_code == errors.EXIT_DATA
        assert "id" in str(error)
        assert "the row without a key" in str(error)

    def test_a_value_out_of_range(self, target: publication.Publication) -> None:
        cases: list[tuple[pa.DataType, pa.DataType, object, object]] = [
            (pa.int16(), pa.int64(), 7, 40_000),
            (pa.int32(), pa.int64(), 7, -(2**31) - 1),
        ]
        if self.profile.traits.holds("narrow"):
            from decimal import Decimal

            narrow, wide = pa.decimal128(6, 2), pa.decimal128(12, 4)
            cases.append((narrow, wide, Decimal("1.0000"), Decimal("98765.0000")))
            cases.append((narrow, wide, Decimal("1.0000"), Decimal("1.2345")))
        for narrow, wide, good, bad in cases:
            other = publication.Publication(target.place, publication.new_name())
            other.publish(_odd([1], narrow, [None]))
            other.publish(_odd([1, 2], wide, [good, None]))
            if not self.profile.traits.holds("narrow"):
                continue
            message = str(
                other.refuse(_odd([4711, 4712], wide, [good, bad]), errors.ValueRejectedError)
            )
            assert "odd_column" in message
            assert "4712" in message
            assert str(bad) in message


def _odd(keys: list[int], kind: pa.DataType, values: list[object]) -> pa.Table:
    return pa.table({"id": keys, "odd_column": pa.array(values, kind)})
