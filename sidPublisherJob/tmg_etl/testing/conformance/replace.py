"""Replace window: the window becomes exactly the source; and targets without delta."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.testing.conformance import publication
from tmg_etl.testing.conformance.delta import Delta, DeltaSuite, counts, days, rows_of


class ReplaceWindowConformance(DeltaSuite):
    """Afterwards the window's rows are exactly the source's."""

    strategy = "replace_window"

    def test_the_window_becomes_exactly_the_source(self, target: Delta) -> None:
        target.publish(
            rows_of((1, -1, 1, "y"), (2, 0, 1, "a"), (3, 0, 1, "b"), (4, 0, 1, "c"), (5, 1, 1, "t"))
        )
        result = target.merge((1, -1, 2, "no"), (3, 0, 2, "B"), (4, 0, 1, "c"), (6, 0, 1, "d"))
        assert target.held == [
            (1, -1, 1, "y"),
            (3, 0, 2, "B"),
            (4, 0, 1, "c"),
            (5, 1, 1, "t"),
            (6, 0, 1, "d"),
        ]
        assert counts(result) == (1, 1, 1, 1)

    def test_an_older_version_overwrites_a_newer_one(self, target: Delta) -> None:
        target.merge((1, 0, 9, "new"))
        target.merge((1, 0, 1, "corrected"), (1, 0, 0, "before"))
        assert target.held == [(1, 0, 1, "corrected")]

    def test_a_key_that_the_target_has_outside_the_window_is_refused(self, target: Delta) -> None:
        target.publish(rows_of((4711, -5, 1, "old"), (2, 0, 1, "a")))
        error = target.refuse(rows_of((4711, 0, 2, "new")), errors.DuplicateKeyError, mode="delta")
        assert "4711" in str(error)
        assert "outside the window" in str(error)

    def test_without_a_key_rows_may_repeat(self, target: Delta) -> None:
        target.publish(rows_of((1, -1, 1, "y"), (2, 0, 1, "a"), (2, 0, 1, "a")), key=[])
        rows = [(2, 0, 1, "a"), (2, 0, 1, "a"), (2, 0, 2, "b")]
        for _ in range(2):
            result = target.merge(*rows, key=[])
            assert sorted(target.held) == [(1, -1, 1, "y"), *rows]
        assert (result.rows_inserted, result.rows_deleted) == (3, 3)

    def test_an_empty_window_is_not_wiped_unless_allowed(self, target: Delta) -> None:
        target.publish(rows_of((1, -1, 1, "y"), (2, 0, 1, "a")))
        target.refuse(rows_of((9, 7, 1, "x")), errors.EmptySourceError, mode="delta")
        result = target.merge((9, 7, 1, "x"), on_empty="allow")
        assert target.held == [(1, -1, 1, "y")]
        assert result.rows_deleted == 1
        # Nothing is lost where the target's window is empty as well.
        target.merge((9, 7, 1, "x"))
        assert target.held == [(1, -1, 1, "y")]

    @pytest.mark.parametrize("key", [["id"], []], ids=["key", "no_key"])
    def test_a_wide_window_equals_day_by_day(self, target: Delta, key: list[str]) -> None:
        rows = [(key_, -(key_ % 5), 1, f"n{key_}") for key_ in range(20)]
        for offset in range(-4, 1):
            target.merge(*rows, day=days(offset), key=key)
        wide = Delta(target.place, publication.new_name(), **target.settings)
        wide.merge(*rows, start=days(-4), key=key)
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
        self, target: Delta, kind: pa.DataType
    ) -> None:
        moments = [
            datetime.datetime.combine(days(offset), datetime.time()) + extra
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
            start=days(-1),
        )
        if outcome.error is not None:
            raise outcome.error
        left = [row[0] for row in target.rows("id", schema=rows.schema)]
        assert left == [0, 1, 4]

    @pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
    def test_a_failure_in_the_publish_keeps_the_old_rows(
        self, target: Delta, is_after: bool
    ) -> None:
        target.publish(rows_of((1, -1, 1, "y"), (2, 0, 1, "a")))
        for step, key in (("diff", ["id"]), ("replace_rows", [])):
            fault = publication.Fault(step, is_after=is_after)
            target.refuse(
                rows_of((3, 0, 1, "c")), publication.Injected, mode="delta", fault=fault, key=key
            )
            assert fault.has_happened


def _as(kind: pa.DataType, moment: datetime.datetime) -> object:
    if pa.types.is_date(kind):
        return moment.date()
    if pa.types.is_timestamp(kind):
        return moment.replace(tzinfo=datetime.UTC) if kind.tz else moment
    return int(f"{moment:%Y%m%d}") if pa.types.is_integer(kind) else f"{moment:%Y%m%d}"


class NoDeltaConformance(DeltaSuite):
    """A target without delta says so before it loads anything."""

    def test_delta_is_refused(self, target: Delta) -> None:
        target.publish(rows_of((1, 0, 1, "a")))
        error = target.refuse(rows_of((2, 0, 1, "b")), errors.ConfigError, mode="delta")
        assert "truncate" in str(error)
