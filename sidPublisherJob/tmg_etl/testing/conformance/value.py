"""Values: every type arrives as it was sent, however it is published, and no change goes unseen."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import dataclasses
import datetime
import math
import weakref

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import profile, publication, sample, suite
from tmg_etl.transfer import verify


@dataclasses.dataclass(frozen=True)
class _Published:
    """The sample, published once for all tests of a place that only look at it."""

    target: publication.Publication
    rows: pa.Table
    copy: str
    found: list[dict[str, object]]


_published: weakref.WeakKeyDictionary[profile.TargetPlace, _Published] = weakref.WeakKeyDictionary()


def _sample_in(place: profile.TargetPlace) -> _Published:
    if place not in _published:
        target = publication.Publication(place, publication.new_name("sample"))
        rows = sample.table(sample.columns(place.traits))
        target.publish(rows)
        copy = publication.new_name("copy")
        place.keep_copy(target.table, copy)
        found = place.read(target.table, rows.schema)
        _published[place] = _Published(target, rows, copy, found)
    return _published[place]


def _only(rows: list[dict[str, object]], column: str) -> list[dict[str, object]]:
    return [{"id": row["id"], column: row[column]} for row in rows]


class ValueConformance(suite.TargetSuite):
    """What is sent is what is held."""

    def test_traits_are_those_that_the_connector_declares(
        self, target: publication.Publication
    ) -> None:
        traits = self.profile.traits
        with target.opened() as opened:
            able = opened.capabilities
        assert traits.holds("nan") is able.has_nan
        assert traits.holds("infinity") is able.has_infinity
        assert traits.holds("negative_zero") is able.has_negative_zero
        assert traits.holds("nul") is able.has_nul
        assert traits.holds("zones") is able.zoned_timestamps
        assert traits.holds("diff") is able.can_diff
        assert traits.holds("merge") is able.can_merge
        assert traits.max_decimal == able.max_decimal
        assert traits.min_date == able.min_date

    def test_values_arrive_in_a_new_table(self, place: profile.TargetPlace, column: str) -> None:
        published = _sample_in(place)
        wanted = sample.expected(published.rows, place.traits)
        assert sample.differences(_only(wanted, column), _only(published.found, column)) == []

    def test_values_replace_others(self, target: publication.Publication, publish: str) -> None:
        columns = sample.columns(target.place.traits)
        target.publish(sample.table(columns, shift=1))
        rows = sample.table(columns)
        target.publish(rows, publish=publish)
        found = target.place.read(target.table, rows.schema)
        assert sample.differences(sample.expected(rows, target.place.traits), found) == []

    def test_values_from_a_file_are_those_from_memory(
        self, target: publication.Publication, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        import pyarrow.parquet as pq

        rows = sample.table(sample.columns(target.place.traits))
        folder = tmp_path_factory.mktemp("lake")
        pq.write_table(rows, folder / "rows.parquet")
        outcome = target.run_from(
            {"type": "files", "url": str(folder)}, {"table": "rows"}, batch_rows=1000
        )
        assert outcome.error is None
        found = target.place.read(target.table, rows.schema)
        assert sample.differences(sample.expected(rows, target.place.traits), found) == []

    def test_a_changed_cell_is_found(self, place: profile.TargetPlace, column: str) -> None:
        """Replace each value by its neighbour, some by null, and null by a value."""
        published = _sample_in(place)
        sent = _proof(published, column)
        values = [row[column] for row in sample.expected(published.rows, place.traits)]
        distinct = _distinct(values)
        changes = [(row, (row + 1) % len(values)) for row in distinct]
        changes = changes[: place.traits.changed_cells]
        # The last row is null in every column.
        changes += [(row, len(values) - 1) for row in distinct[:2]] + [(len(values) - 1, 0)]
        for row, other in changes:
            if sample.same(values[row], values[other]):
                continue
            change = [(row + 1, other + 1)]
            found = _proof_with(published, place, column, change, column)
            told = f"{column}: {values[row]!r} -> {values[other]!r}"
            assert found.rows == sent.rows, told
            assert found.hash != sent.hash, told
        assert _proof(published, column) == sent

    def test_cells_that_changed_places_are_found(
        self, place: profile.TargetPlace, column: str
    ) -> None:
        published = _sample_in(place)
        assert _proof_with(published, place, column, [(1, 2), (2, 1)]) != _proof(published)

    def test_long_values_arrive(self, target: publication.Publication) -> None:
        text, blob = "é\t\\\n\U0001f680" * 120_000, bytes(range(256)) * 4096
        rows = pa.table({"id": [1, 2], "long_text": [text, None], "blob": [blob, b""]})
        target.publish(rows)
        found = target.place.read(target.table, rows.schema)
        assert found == rows.to_pylist()

    @pytest.mark.parametrize(
        ("gap", "value"),
        [("nan", math.nan), ("infinity", math.inf), ("infinity", -math.inf), ("nul", "a\0b")],
    )
    def test_a_value_that_cannot_be_held_is_refused(
        self, target: publication.Publication, gap: str, value: object
    ) -> None:
        plain: object = "a" if isinstance(value, str) else 1.5
        kind = pa.string() if isinstance(value, str) else pa.float64()
        good = pa.table({"id": [1], "odd_column": pa.array([plain], kind)})
        bad = pa.table({"id": [4711, 4712], "odd_column": pa.array([plain, value], kind)})
        target.publish(good)
        if self.profile.traits.holds(gap):
            target.publish(bad)
            found = [row["odd_column"] for row in target.place.read(target.table, bad.schema)]
            assert sample.same(found[1], value)
            return
        message = str(target.refuse(bad, errors.ValueRejectedError))
        assert "odd_column" in message
        assert "4712" in message
        shown = errors.shorten(str(value))
        assert shown in message

    def test_a_day_before_the_first_is_refused(self, target: publication.Publication) -> None:
        first = self.profile.traits.min_date
        target.publish(pa.table({"id": [1], "odd_column": [first]}))
        if first == datetime.date.min:
            assert target.place.dump(target.table)
            return
        early = first - datetime.timedelta(days=1)
        for value in (early, datetime.datetime.combine(early, datetime.time())):
            bad = pa.table({"id": [4711], "odd_column": [value]})
            other = publication.Publication(target.place, publication.new_name())
            message = str(other.refuse(bad, errors.ValueRejectedError))
            assert "odd_column" in message
            assert "4711" in message
            assert str(early) in message

    def test_a_decimal_beyond_the_largest_is_refused_before_loading(
        self, target: publication.Publication
    ) -> None:
        precision, scale = self.profile.traits.max_decimal
        if precision < 76:
            wide = pa.table({"id": [1], "odd_column": pa.array([1], pa.decimal256(76, 0))})
            assert "odd_column" in str(target.refuse(wide, errors.ConfigError))
        if scale < precision:
            fine = pa.table(
                {"id": [1], "odd_column": pa.array([0], pa.decimal128(38, min(38, scale + 1)))}
            )
            assert "odd_column" in str(target.refuse(fine, errors.ConfigError))
        target.publish(
            pa.table({"id": [1], "odd_column": pa.array([1], pa.decimal256(precision, 0))})
        )


def _proof(published: _Published, *columns: str) -> base.Fingerprint:
    """Return the fingerprint of the published table, or of some columns, as it is now."""
    with published.target.opened() as opened:
        table = opened.describe()
        assert table is not None
        schema = table.schema
        if columns:
            schema = pa.schema([schema.field(name) for name in ("id", *columns)])
        return verify.prove(opened, published.target.table, schema, base.Selection(), "fingerprint")


def _proof_with(
    published: _Published,
    place: profile.TargetPlace,
    column: str,
    changes: list[tuple[int, int]],
    *columns: str,
) -> base.Fingerprint:
    """Return the fingerprint while cells have the values of other rows, by `id` of both."""
    table, copy = published.target.table, published.copy
    for row, other in changes:
        place.set_cell(table, copy, column, row, other)
    found = _proof(published, *columns)
    for row, _ in changes:
        place.set_cell(table, copy, column, row, row)
    return found


def _distinct(values: list[object]) -> list[int]:
    """Return the index of the first occurrence of each value."""
    found: list[int] = []
    for index, value in enumerate(values):
        if not any(sample.same(value, values[other]) for other in found):
            found.append(index)
    return found
