"""Delta: the window's rows are merged, the latest version of each key, and nothing else changes."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import datetime
import itertools
import signal

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import profile, publication, sample, suite

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("day", pa.date32()),
        pa.field("version", pa.int64()),
        pa.field("name", pa.string()),
    ]
)
_DAY = publication.DAY
_Row = tuple[int, int, int | None, str]


def _days(offset: int) -> datetime.date:
    return _DAY + datetime.timedelta(days=offset)


def _rows(*rows: _Row) -> pa.Table:
    """Return rows of (id, days after the execution date, version, name)."""
    return pa.Table.from_pylist(
        [
            {"id": key, "day": _days(offset), "version": version, "name": name}
            for key, offset, version, name in rows
        ],
        schema=_SCHEMA,
    )


def _counts(result: run_module.Result) -> tuple[int | None, ...]:
    return (
        result.rows_inserted,
        result.rows_updated,
        result.rows_deleted,
        result.rows_unchanged,
    )


class _Delta(publication.Publication):
    """A table that runs of mode delta merge into."""

    def merge(self, *rows: _Row, **arguments: object) -> run_module.Result:
        """Execute one delta run that must succeed."""
        outcome = self.run(_rows(*rows), mode="delta", **arguments)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.cleanup_error is None, repr(outcome.cleanup_error)
        assert outcome.result.fingerprint_source == outcome.result.fingerprint_target
        assert self.leftovers() == set()
        return outcome.result

    @property
    def held(self) -> list[_Row]:
        """Return the published rows as `_rows` takes them."""
        return [
            (row["id"], (row["day"] - _DAY).days, row["version"], row["name"])  # type: ignore[operator, misc]
            for row in self.place.read(self.table, _SCHEMA)
        ]


class _DeltaSuite(suite.TargetSuite):
    strategy = "upsert"

    @pytest.fixture
    def target(self, place: profile.TargetPlace) -> _Delta:
        """Return a table that nobody has published to yet."""
        return _Delta(
            place,
            publication.new_name(),
            delta={"cursor": "day", "order_by": ["version"], "strategy": self.strategy},
        )


class UpsertConformance(_DeltaSuite):
    """For each key in the window, the target has the latest row."""

    def test_the_first_run_creates_the_table(self, target: _Delta) -> None:
        result = target.merge((1, 0, 1, "a"), (2, 0, 1, "b"), (3, -1, 1, "yesterday"))
        assert target.held == [(1, 0, 1, "a"), (2, 0, 1, "b")]
        assert _counts(result) == (2, 0, 0, 0)
        assert result.rows_read == 2

    def test_rows_are_inserted_updated_and_left(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"), (3, 0, 1, "c"))
        result = target.merge((1, 0, 1, "a"), (2, 0, 2, "B"), (4, 0, 1, "d"))
        assert target.held == [(1, 0, 1, "a"), (2, 0, 2, "B"), (3, 0, 1, "c"), (4, 0, 1, "d")]
        assert _counts(result) == (1, 1, 0, 1)

    def test_the_same_run_twice_changes_nothing(self, target: _Delta) -> None:
        rows = [(number, 0, 1, f"n{number}") for number in range(20)]
        target.merge(*rows)
        before = target.place.dump(target.table)
        result = target.merge(*rows)
        assert target.place.dump(target.table) == before
        assert _counts(result) == (0, 0, 0, 20)

    def test_rows_outside_the_window_are_not_touched(self, target: _Delta) -> None:
        target.publish(_rows((1, -1, 1, "old"), (2, 1, 1, "future"), (3, 0, 1, "today")))
        target.merge((1, -1, 2, "no"), (2, 1, 2, "no"), (3, 0, 2, "yes"))
        assert target.held == [(1, -1, 1, "old"), (2, 1, 1, "future"), (3, 0, 2, "yes")]

    def test_a_row_moves_into_the_window(self, target: _Delta) -> None:
        target.publish(_rows((1, -5, 1, "old")))
        result = target.merge((1, 0, 2, "moved"))
        assert target.held == [(1, 0, 2, "moved")]
        assert _counts(result) == (0, 1, 0, 0)

    def test_the_latest_version_wins(self, target: _Delta) -> None:
        target.merge((1, 0, 2, "b"), (1, 0, 3, "c"), (1, 0, 1, "a"), (2, 0, 1, "x"))
        assert target.held == [(1, 0, 3, "c"), (2, 0, 1, "x")]

    def test_an_older_version_does_not_overwrite_a_newer_one(self, target: _Delta) -> None:
        target.merge((1, 0, 5, "new"), (2, 0, 5, "new"), (3, 0, 5, "same"))
        result = target.merge((1, 0, 4, "old"), (2, 0, 6, "newer"), (3, 0, 5, "changed"))
        assert target.held == [(1, 0, 5, "new"), (2, 0, 6, "newer"), (3, 0, 5, "changed")]
        assert _counts(result) == (0, 2, 0, 1)

    def test_null_comes_first_in_the_order(self, target: _Delta) -> None:
        target.merge((1, 0, None, "null"), (1, 0, -5, "value"), (2, 0, None, "null"))
        assert target.held == [(1, 0, -5, "value"), (2, 0, None, "null")]
        target.merge((1, 0, None, "no"), (2, 0, -9, "yes"), (3, 0, None, "first"))
        assert target.held == [(1, 0, -5, "value"), (2, 0, -9, "yes"), (3, 0, None, "first")]
        target.merge((3, 0, None, "again"))
        assert target.held[2] == (3, 0, None, "again")

    def test_several_order_columns_are_compared_in_order(self, target: _Delta) -> None:
        delta = {"cursor": "day", "order_by": ["version", "name"]}
        rows = [(1, 0, 1, "z"), (1, 0, 2, "a"), (1, 0, 2, "b"), (2, 0, None, "b")]
        target.merge(*rows, delta=delta)
        assert target.held == [(1, 0, 2, "b"), (2, 0, None, "b")]
        target.merge((1, 0, 2, "a"), (2, 0, None, "c"), delta=delta)
        assert target.held == [(1, 0, 2, "b"), (2, 0, None, "c")]

    def test_different_rows_that_are_equally_late_are_refused(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"))
        for rows in (
            _rows((4711, 0, 3, "one"), (4711, 0, 3, "other"), (4711, 0, 1, "x")),
            _rows((4711, 0, None, "one"), (4711, 0, None, "other")),
            _rows((4711, 0, 3, "one"), (4711, 0, 3, "One")),
        ):
            error = target.refuse(rows, errors.DuplicateKeyError, mode="delta")
            assert error.exit_code == errors.EXIT_DATA
            assert "4711" in str(error)

    def test_equal_duplicates_are_one_row(self, target: _Delta) -> None:
        row = (1, 0, 3, "same")
        result = target.merge(row, row, (1, 0, 1, "a"), (1, 0, 1, "b"), (2, 0, None, "n"))
        assert target.held == [row, (2, 0, None, "n")]
        assert result.rows_read == 5
        assert result.rows_inserted == 2

    def test_without_an_order_two_rows_of_a_key_are_refused(self, target: _Delta) -> None:
        delta = {"cursor": "day"}
        target.merge((1, 0, 1, "a"), (1, 0, 1, "a"), delta=delta)
        assert target.held == [(1, 0, 1, "a")]
        rows = _rows((4711, 0, 1, "a"), (4711, 0, 2, "b"))
        error = target.refuse(rows, errors.DuplicateKeyError, mode="delta", delta=delta)
        assert "4711" in str(error)
        target.merge((1, 0, 0, "older by nothing known"), delta=delta)
        assert target.held == [(1, 0, 0, "older by nothing known")]

    def test_marked_rows_are_deleted(self, target: _Delta) -> None:
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
        self, target: _Delta
    ) -> None:
        delta = {"cursor": "day", "order_by": ["version"], "deleted": "gone = 1"}
        rows = _rows((1, 0, 1, "a"), (2, 0, 1, "b"), (3, 0, 1, "c"))
        for marks in ([0, 0, None], [0, 1, None]):
            marked = rows.append_column("gone", pa.array(marks, pa.int64()))
            outcome = target.run(marked, mode="delta", delta=delta, omit=["gone"])
            assert outcome.error is None
        assert target.held == [(1, 0, 1, "a"), (3, 0, 1, "c")]

    def test_an_empty_window_changes_nothing(self, target: _Delta) -> None:
        target.publish(_rows((1, 0, 1, "a")))
        result = target.merge((2, 7, 1, "another day"))
        assert _counts(result) == (0, 0, 0, 0)
        assert target.held == [(1, 0, 1, "a")]

    def test_a_wide_window_equals_day_by_day(self, target: _Delta) -> None:
        rows = [
            (key, offset, offset + 10 * (key % 3), f"{key} on day {offset}")
            for key, offset in itertools.product(range(12), range(-4, 1))
            if (key + offset) % 3
        ]
        for offset in range(-4, 1):
            target.merge(*rows, day=_days(offset))
        by_day = target.held
        wide = _Delta(target.place, publication.new_name(), **target.settings)
        wide.merge(*rows, start=_days(-4))
        assert wide.held == by_day
        # Late and out of order, the days give the same again.
        target.merge(*rows, day=_days(-3))
        assert target.held == by_day
        target.merge(*rows, start=_days(-4))
        assert target.held == by_day

    def test_evolve_adds_columns(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"))
        wide = _rows((2, 0, 1, "b")).append_column("extra", pa.array(["x"]))
        target.refuse(wide, errors.SchemaConflictError, mode="delta")
        outcome = target.run(wide, mode="delta", schema="evolve")
        assert outcome.error is None
        assert target.rows("id", "extra", schema=wide.schema) == [(1, None), (2, "x")]

    def test_null_keys_are_refused(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"))
        rows = _rows((2, 0, 1, "the row without a key"))
        rows = rows.set_column(0, _SCHEMA.field("id"), pa.array([None], pa.int64()))
        error = target.refuse(rows, errors.NullKeyError, mode="delta")
        assert "the row without a key" in str(error)

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(
        "step", ["create_staging", "load", "keep_latest", "check_lock", "upsert", "fingerprint"]
    )
    def test_a_failure_at_any_step_keeps_the_old_rows(
        self, target: _Delta, step: str, is_after: bool
    ) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"))
        new = [(2, 0, 2, "B"), (3, 0, 1, "c"), (3, 0, 2, "cc")]
        with target.opened() as opened:
            if step == "fingerprint" and opened.capabilities.proof is base.Proof.READ_BACK:
                step = "scan"
        fault = publication.Fault(step, is_after=is_after)
        target.refuse(_rows(*new), publication.Injected, mode="delta", fault=fault)
        assert fault.has_happened
        target.merge(*new)
        assert target.held == [(1, 0, 1, "a"), (2, 0, 2, "B"), (3, 0, 2, "cc")]

    def test_rows_lost_on_the_way_are_found(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"), (2, 0, 1, "b"))

        def tamper(opened: base.Target, name: str, *rest: object) -> None:
            target.place.tamper(opened, name)

        with target.opened() as opened:
            is_read_back = opened.capabilities.proof is base.Proof.READ_BACK
        fault = publication.Fault("scan" if is_read_back else "fingerprint", tamper)
        rows = _rows((1, 0, 2, "A"), (3, 0, 1, "c"))
        target.refuse(rows, errors.VerificationError, mode="delta", fault=fault)
        assert fault.has_happened

    def test_a_stop_during_the_load_keeps_the_old_rows(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"))
        rows = _rows(*((number, 0, 1, "new") for number in range(40)))

        def source(run: run_module.Run) -> base.Source:
            return publication.FailingSource(rows, lambda: run.stop.set(signal.SIGTERM), after=2)

        stopped = target.refuse(source, errors.Stopped, mode="delta")
        assert stopped.exit_code == errors.EXIT_SIGTERM

    def test_a_stop_inside_the_merge_undoes_it(self, target: _Delta) -> None:
        target.merge((1, 0, 1, "a"))

        def act(opened: base.Target, *rest: object) -> None:
            built.run.stop.set(signal.SIGTERM)

        fault = publication.Fault("upsert", act, is_after=True)
        built = target.build(_rows((1, 0, 2, "b")), mode="delta", fault=fault)
        assert built.execute().exit_code == errors.EXIT_SIGTERM
        assert target.held == [(1, 0, 1, "a")]
        assert target.leftovers() == set()

    @pytest.mark.parametrize("strategy", ["upsert", "replace_window"])
    def test_values_of_every_type_are_merged(self, target: _Delta, strategy: str) -> None:
        columns = sample.columns(self.profile.traits)
        old, new = (
            rows.append_column("cursor", pa.array([_DAY] * rows.num_rows, pa.date32()))
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
        assert _counts(result) == (0, 0, 0, new.num_rows)


class ReplaceWindowConformance(_DeltaSuite):
    """Afterwards the window's rows are exactly the source's."""

    strategy = "replace_window"

    def test_the_window_becomes_exactly_the_source(self, target: _Delta) -> None:
        target.publish(
            _rows((1, -1, 1, "y"), (2, 0, 1, "a"), (3, 0, 1, "b"), (4, 0, 1, "c"), (5, 1, 1, "t"))
        )
        result = target.merge((1, -1, 2, "no"), (3, 0, 2, "B"), (4, 0, 1, "c"), (6, 0, 1, "d"))
        assert target.held == [
            (1, -1, 1, "y"),
            (3, 0, 2, "B"),
            (4, 0, 1, "c"),
            (5, 1, 1, "t"),
            (6, 0, 1, "d"),
        ]
        assert _counts(result) == (1, 1, 1, 1)

    def test_an_older_version_overwrites_a_newer_one(self, target: _Delta) -> None:
        target.merge((1, 0, 9, "new"))
        target.merge((1, 0, 1, "corrected"), (1, 0, 0, "before"))
        assert target.held == [(1, 0, 1, "corrected")]

    def test_a_key_that_the_target_has_outside_the_window_is_refused(self, target: _Delta) -> None:
        target.publish(_rows((4711, -5, 1, "old"), (2, 0, 1, "a")))
        error = target.refuse(_rows((4711, 0, 2, "new")), errors.DuplicateKeyError, mode="delta")
        assert "4711" in str(error)
        assert "outside the window" in str(error)

    def test_without_a_key_rows_may_repeat(self, target: _Delta) -> None:
        target.publish(_rows((1, -1, 1, "y"), (2, 0, 1, "a"), (2, 0, 1, "a")), key=[])
        rows = [(2, 0, 1, "a"), (2, 0, 1, "a"), (2, 0, 2, "b")]
        for _ in range(2):
            result = target.merge(*rows, key=[])
            assert sorted(target.held) == [(1, -1, 1, "y"), *rows]
        assert (result.rows_inserted, result.rows_deleted) == (3, 3)

    def test_an_empty_window_is_not_wiped_unless_allowed(self, target: _Delta) -> None:
        target.publish(_rows((1, -1, 1, "y"), (2, 0, 1, "a")))
        target.refuse(_rows((9, 7, 1, "x")), errors.EmptySourceError, mode="delta")
        result = target.merge((9, 7, 1, "x"), on_empty="allow")
        assert target.held == [(1, -1, 1, "y")]
        assert result.rows_deleted == 1
        # Nothing is lost where the target's window is empty as well.
        target.merge((9, 7, 1, "x"))
        assert target.held == [(1, -1, 1, "y")]

    @pytest.mark.parametrize("key", [["id"], []], ids=["key", "no_key"])
    def test_a_wide_window_equals_day_by_day(self, target: _Delta, key: list[str]) -> None:
        rows = [(key_, -(key_ % 5), 1, f"n{key_}") for key_ in range(20)]
        for offset in range(-4, 1):
            target.merge(*rows, day=_days(offset), key=key)
        wide = _Delta(target.place, publication.new_name(), **target.settings)
        wide.merge(*rows, start=_days(-4), key=key)
        assert wide.held == target.held == rows

    @pytest.mark.parametrize(
        "kind",
        [
            pa.date32(),
            pa.timestamp("us"),
            pa.timestamp("us", tz="UTC"),
            pa.int32(),
            pa.string(),
        ],
        ids=str,
    )
    def test_the_window_is_closed_by_every_type_of_cursor(
        self, target: _Delta, kind: pa.DataType
    ) -> None:
        moments = [
            datetime.datetime.combine(_days(offset), datetime.time()) + extra
            for offset, extra in [
                (-1, datetime.timedelta(microseconds=-1)),
                (-1, datetime.timedelta()),
                (0, datetime.timedelta(hours=23)),
                (1, datetime.timedelta(microseconds=-1)),
                (1, datetime.timedelta()),
            ]
        ]
        inside = [1, 2, 3]
        rows = pa.table(
            {"id": list(range(5)), "day": pa.array([_as(kind, moment) for moment in moments], kind)}
        )
        target.settings["delta"] = {"cursor": "day", "strategy": "replace_window"}
        target.publish(rows)
        window = pa.table({"id": inside[:1], "day": rows.column("day").take([1])})
        outcome = target.run(
            lambda run: publication.ReadySource(window, "rows of the window"),
            mode="delta",
            start=_days(-1),
        )
        if outcome.error is not None:
            raise outcome.error
        left = [row[0] for row in target.rows("id", schema=rows.schema)]
        assert left == [0, 1, 4]

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    def test_a_failure_in_the_publish_keeps_the_old_rows(
        self, target: _Delta, is_after: bool
    ) -> None:
        target.publish(_rows((1, -1, 1, "y"), (2, 0, 1, "a")))
        for step, key in (("diff", ["id"]), ("replace_rows", [])):
            fault = publication.Fault(step, is_after=is_after)
            target.refuse(
                _rows((3, 0, 1, "c")), publication.Injected, mode="delta", fault=fault, key=key
            )
            assert fault.has_happened


def _as(kind: pa.DataType, moment: datetime.datetime) -> object:
    if pa.types.is_date(kind):
        return moment.date()
    if pa.types.is_timestamp(kind):
        return moment.replace(tzinfo=datetime.UTC) if kind.tz else moment
    return int(f"{moment:%Y%m%d}") if pa.types.is_integer(kind) else f"{moment:%Y%m%d}"


class NoDeltaConformance(_DeltaSuite):
    """A target without delta says so before it loads anything."""

    def test_delta_is_refused(self, target: _Delta) -> None:
        target.publish(_rows((1, 0, 1, "a")))
        error = target.refuse(_rows((2, 0, 1, "b")), errors.ConfigError, mode="delta")
        assert "truncate" in str(error)
