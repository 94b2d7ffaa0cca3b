"""Rows: none, one, as many as a batch and one more; the same run twice; what the outcome counts."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.testing.conformance import publication, suite


def numbered(*numbers: int, text: str = "n") -> pa.Table:
    """Return rows with the key `id` and a text that depends on it."""
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "name": pa.array([f"{text}{number}" for number in numbers], pa.string()),
        }
    )


def held(target: publication.Publication) -> list[tuple[object, ...]]:
    """Return the published rows of `numbered`."""
    return target.rows(schema=numbered().schema)


class RowConformance(suite.TargetSuite):
    """A full refresh publishes exactly the source's rows."""

    @pytest.mark.parametrize("rows", [1, 6, 7, 8, 20])
    def test_any_number_of_rows_arrives(self, target: publication.Publication, rows: int) -> None:
        result = target.publish(numbered(*range(rows)), batch_rows=7)
        assert held(target) == [(number, f"n{number}") for number in range(rows)]
        assert result.rows_read == rows
        assert result.rows_inserted == rows

    def test_an_empty_source_keeps_the_old_rows(self, target: publication.Publication) -> None:
        target.publish(numbered(1, 2))
        error = target.refuse(numbered(), errors.EmptySourceError)
        assert error.exit_code == errors.EXIT_DATA
        assert "on_empty: allow" in str(error)

    def test_an_empty_source_creates_no_table(self, target: publication.Publication) -> None:
        target.refuse(numbered(), errors.EmptySourceError)

    def test_an_empty_source_empties_the_table_when_allowed(
        self, target: publication.Publication, publish: str
    ) -> None:
        target.publish(numbered(1, 2))
        result = target.publish(numbered(), on_empty="allow", publish=publish)
        assert held(target) == []
        assert (result.rows_read, result.rows_inserted, result.rows_deleted) == (0, 0, 2)

    def test_an_empty_source_creates_an_empty_table_when_allowed(
        self, target: publication.Publication
    ) -> None:
        target.publish(numbered(), on_empty="allow")
        assert target.table in target.place.tables()
        assert held(target) == []

    def test_the_same_run_twice_gives_the_same_rows(
        self, target: publication.Publication, publish: str
    ) -> None:
        rows = numbered(*range(20))
        target.publish(rows, publish=publish)
        first = target.place.dump(target.table)
        result = target.publish(rows, publish=publish)
        assert target.place.dump(target.table) == first
        if publish == "diff":
            touched = (result.rows_inserted, result.rows_updated, result.rows_deleted)
            assert touched == (0, 0, 0)
            assert result.rows_unchanged == 20

    def test_a_refresh_gives_exactly_the_source(
        self, target: publication.Publication, publish: str
    ) -> None:
        target.publish(numbered(*range(10)))
        rows = pa.concat_tables([numbered(3, 4, 5), numbered(6, 7, text="m"), numbered(99)])
        result = target.publish(rows, publish=publish)
        assert held(target) == [(3, "n3"), (4, "n4"), (5, "n5"), (6, "m6"), (7, "m7"), (99, "n99")]
        assert result.publish == publish
        assert result.rows_read == 6
        counts = (
            result.rows_inserted,
            result.rows_updated,
            result.rows_deleted,
            result.rows_unchanged,
        )
        assert counts == ((1, 2, 5, 3) if publish == "diff" else (6, 0, 10, 0))

    def test_auto_says_what_it_chose_and_why(self, target: publication.Publication) -> None:
        result = target.publish(numbered(1))
        assert result.publish == "swap"
        assert result.publish_reason == "the target is new"
        result = target.publish(numbered(1, 2))
        assert result.publish in self.profile.traits.publishes
        assert result.publish_reason
        assert held(target) == [(1, "n1"), (2, "n2")]

    def test_rows_without_a_key_are_published_as_they_are(
        self, target: publication.Publication
    ) -> None:
        rows = numbered(1, 1, 2)
        target.publish(rows, key=[])
        target.publish(rows, key=[])
        assert held(target) == [(1, "n1"), (1, "n1"), (2, "n2")]

    @pytest.mark.parametrize("level", ["fingerprint", "count", "off"])
    def test_every_level_of_verification_publishes(
        self, target: publication.Publication, level: str
    ) -> None:
        for rows in (numbered(1, 2), numbered(2, 3)):
            outcome = target.run(rows, verify=level)
            assert outcome.error is None
            assert target.leftovers() == set()
            has_hash = "0x" in str(outcome.result.fingerprint_source)
            assert has_hash is (level == "fingerprint")
        assert held(target) == [(2, "n2"), (3, "n3")]

    def test_a_composite_key_in_any_order(
        self, target: publication.Publication, publish: str
    ) -> None:
        def rows(*triples: tuple[int, str, str]) -> pa.Table:
            first, second, third = zip(*triples, strict=True)
            return pa.table({"id": list(first), "value": list(second), "part": list(third)})

        old = rows((1, "x", "a"), (1, "x", "b"), (2, "x", "a"))
        new = rows((1, "x", "a"), (1, "y", "b"), (2, "z", "b"))
        target.publish(old, key=["part", "id"])
        target.publish(new, key=["part", "id"], publish=publish)
        found = target.rows("id", "part", "value", schema=new.schema)
        assert sorted(map(repr, found)) == [
            repr(row) for row in [(1, "a", "x"), (1, "b", "y"), (2, "b", "z")]
        ]

    def test_text_keys_are_compared_by_their_bytes(
        self, target: publication.Publication, publish: str
    ) -> None:
        keys = ["a", "A", "a ", "\\N", "\t", "ä", "a\u0308", "\U0001f680", "b\n", "c'"]
        for text in ("old", "new"):
            rows = pa.table({"id": keys, "name": [f"{text} {key}" for key in keys]})
            target.publish(rows, publish=publish)
        found = target.rows(schema=rows.schema)
        assert sorted(map(repr, found)) == sorted(repr((key, f"new {key}")) for key in keys)
