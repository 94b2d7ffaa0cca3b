"""Columns and names: what is added, left out and refused, and names that need quoting."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import pyarrow as pa
import pydantic
import pytest

from tmg_etl import errors
from tmg_etl.testing.conformance import publication, suite
from tmg_etl.testing.conformance.row import held, numbered

NASTY_NAMES = (
    "select",
    "Order By",
    'double"quote',
    "single'quote",
    "back`tick",
    "semi;colon -- comment",
    "#hash *comment*",
    "ünïcödé 日本語",
    "dotted.name",
    "percent%s %(x)s",
    "brace{x} :bound ?",
    "back\\slash",
    "$dollar$",
    "[bracket]",
    "0digit",
    "longest",
)
"""Names that go wrong where quoting is left to luck; the last becomes the longest allowed."""


def _wide(numbers: list[int], **columns: list[object]) -> pa.Table:
    return numbered(*numbers).append_column(
        *next((name, pa.array(values)) for name, values in columns.items())
    )


class SchemaConformance(suite.TargetSuite):
    """Columns agree, or the run says how they do not before it loads anything."""

    def _name(self, name: str) -> str:
        return "n" * self.profile.traits.longest_name if name == "longest" else name

    @pytest.fixture
    def published(self, target: publication.Publication) -> publication.Publication:
        """Return a table that holds two rows."""
        target.publish(numbered(1, 2))
        return target

    def test_columns_that_only_the_source_has_are_listed(
        self, published: publication.Publication
    ) -> None:
        rows = _wide([1], extra=[1]).append_column("another", pa.array([2]))
        error = published.refuse(rows, errors.SchemaConflictError)
        assert error.exit_code == errors.EXIT_CONFIG
        assert "extra" in str(error)
        assert "another" in str(error)
        assert "omit" in str(error)

    def test_columns_in_omit_are_left_out(self, published: publication.Publication) -> None:
        published.publish(_wide([7], extra=[1]), omit=["extra"])
        assert held(published) == [(7, "n7")]

    def test_columns_in_omit_are_not_created(self, target: publication.Publication) -> None:
        target.publish(_wide([7], extra=[1]), omit=["extra"])
        with target.opened() as opened:
            table = opened.describe()
        assert table is not None
        assert table.schema.names == ["id", "name"]

    def test_evolve_adds_nullable_columns(
        self, published: publication.Publication, publish: str
    ) -> None:
        rows = _wide([1, 3], extra=["x", None])
        published.publish(rows, schema="evolve", publish=publish)
        wanted = [(1, "n1", "x"), (3, "n3", None)]
        assert published.rows(schema=rows.schema) == wanted
        published.publish(rows, publish=publish)
        assert published.rows(schema=rows.schema) == wanted

    def test_evolve_that_fails_leaves_the_columns_as_they_were(
        self, published: publication.Publication, publish: str
    ) -> None:
        rows = _wide([1, 3], extra=["x", None])
        steps = ["finish_load", "check_lock", *["diff"] * (publish == "diff")]
        for step in steps:
            fault = publication.Fault(step, is_after=True)
            published.refuse(
                rows, publication.Injected, fault=fault, schema="evolve", publish=publish
            )
            assert fault.has_happened
            with published.opened() as opened:
                table = opened.describe()
            assert table is not None
            assert table.schema.names == ["id", "name"], step
        published.publish(rows, schema="evolve", publish=publish)
        assert published.rows(schema=rows.schema) == [(1, "n1", "x"), (3, "n3", None)]

    def test_columns_that_only_the_target_has_stay_or_are_listed(
        self, published: publication.Publication
    ) -> None:
        rows = pa.table({"id": [2, 3]})
        if self.profile.traits.holds("diff"):
            published.publish(rows)
            assert held(published) == [(2, "n2"), (3, None)]
            error = published.refuse(rows, errors.ConfigError, publish="swap")
            assert "reset: [name]" in str(error)
            published.publish(rows, publish="swap", reset=["name"])
        else:
            error = published.refuse(rows, errors.SchemaConflictError)
            assert "name" in str(error)
            published.publish(rows, omit=["name"])
        assert held(published) == [(2, None), (3, None)]

    def test_columns_are_matched_by_name(
        self, published: publication.Publication, publish: str
    ) -> None:
        rows = pa.table({"name": ["x", "y"], "id": [5, 6]})
        published.publish(rows, publish=publish)
        assert held(published) == [(5, "x"), (6, "y")]

    def test_columns_that_differ_by_case_are_two_or_refused(
        self, target: publication.Publication
    ) -> None:
        rows = _wide([1], NAME=["x"])
        with target.opened() as opened:
            folds_case = opened.capabilities.folds_case
        if folds_case:
            assert "'name' and 'NAME'" in str(target.refuse(rows, errors.SchemaConflictError))
            target.publish(numbered(1))
            evolved = target.refuse(rows, errors.SchemaConflictError, schema="evolve")
            assert "'name' and 'NAME'" in str(evolved)
        else:
            target.publish(rows)
            assert target.rows(schema=rows.schema) == [(1, "n1", "x")]

    def test_unknown_keys_and_omissions_are_refused(
        self, published: publication.Publication
    ) -> None:
        assert "'Id'" in str(published.refuse(numbered(1), errors.ConfigError, key=["Id"]))
        message = str(published.refuse(numbered(1), errors.ConfigError, omit=["nmae"]))
        assert "'nmae'" in message
        assert "did you mean 'name'" in message

    def test_types_that_would_lose_data_are_refused_before_loading(
        self, target: publication.Publication
    ) -> None:
        kinds: list[tuple[pa.DataType, object, pa.DataType]] = [(pa.int64(), "text", pa.string())]
        if self.profile.traits.holds("narrow"):
            kinds += [(pa.float32(), 1.5, pa.float64()), (pa.bool_(), 2, pa.int64())]
        for number, (have, value, send) in enumerate(kinds):
            other = publication.Publication(target.place, f"{target.table}_{number}")
            other.publish(_odd(1, None, have))
            fault = publication.Fault("load")
            message = str(
                other.refuse(_odd(1, value, send), errors.SchemaConflictError, fault=fault)
            )
            assert not fault.has_happened
            assert "odd_column" in message

    def test_types_that_lose_nothing_are_widened(
        self, target: publication.Publication, publish: str
    ) -> None:
        wide = pa.table(
            {
                "id": pa.array([1], pa.int64()),
                "number": pa.array([1], pa.int64()),
                "real": pa.array([1.5], pa.float64()),
                "text": pa.array(["x"], pa.string()),
            }
        )
        narrow = pa.table(
            {
                "id": pa.array([2], pa.int32()),
                "number": pa.array([7], pa.uint8()),
                "real": pa.array([0.5], pa.float32()),
                "text": pa.array(["y"], pa.string()),
            }
        )
        target.publish(wide)
        target.publish(narrow, publish=publish)
        assert target.rows(schema=wide.schema) == [(2, 7, 0.5, "y")]

    @pytest.mark.parametrize("name", NASTY_NAMES)
    def test_tables_of_any_name(self, target: publication.Publication, name: str) -> None:
        table = self._name(name)
        other = publication.Publication(target.place, table)
        if "." in table and not self.profile.traits.dotted_tables:
            with pytest.raises(pydantic.ValidationError, match="expected a name without a dot"):
                other.build(numbered(1, 2))
            return
        if not self.profile.traits.takes_table(table):
            other.refuse(numbered(1, 2), errors.ConfigError)
            return
        other.publish(numbered(1, 2))
        for publish in self.profile.traits.publishes:
            other.publish(numbered(2, 3), publish=publish)
        assert table in target.place.tables()
        assert held(other) == [(2, "n2"), (3, "n3")]

    def test_columns_of_any_name(self, target: publication.Publication, publish: str) -> None:
        takes = self.profile.traits.takes_column
        names = [self._name(name) for name in NASTY_NAMES if takes(name)]
        for name in (name for name in NASTY_NAMES if not takes(name)):
            refused = pa.table({name: ["one"]})
            assert name[:3] in str(target.refuse(refused, errors.ConfigError, key=[name]))
        key = names[2]
        for number in (1, 2):
            rows = pa.table({name: [f"{name} {number}", "same"] for name in names})
            # The key is the second column: the first orders the rows that are read.
            rows = rows.set_column(names.index(key), key, pa.array(["one", "two"]))
            target.publish(rows, key=[key], publish=publish)
        assert sorted(map(repr, target.rows(schema=rows.schema))) == sorted(
            repr(tuple(row.values())) for row in rows.to_pylist()
        )
        twice = pa.concat_tables([rows, rows.slice(0, 1)])
        assert "one" in str(target.refuse(twice, errors.DuplicateKeyError, key=[key]))


def _odd(key: int, value: object, kind: pa.DataType) -> pa.Table:
    return pa.table({"id": [key], "odd_column": pa.array([value], kind)})
