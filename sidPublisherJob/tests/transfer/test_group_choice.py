"""How a group is published, and in which order its tables are written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.transfer import group_choice, publish

ABLE = base.Capabilities(ingest=base.Ingest.ARROW, proof=base.Proof.READ_BACK, can_keep=True)
TRUNCATE, DELTA = run_module.WriteMode.TRUNCATE, run_module.WriteMode.DELTA
ALL, WRITE, DELETE = base.Part.ALL, base.Part.WRITE, base.Part.DELETE
DIFF, REPLACE, SWAP = publish.Kind.DIFF, publish.Kind.REPLACE, publish.Kind.SWAP


def candidate(
    name: str,
    *,
    blockers: tuple[str, ...] = (),
    is_new: bool = False,
    kept: tuple[str, ...] = (),
    **settings: Any,
) -> group_choice.Candidate:
    """A member with a small table of `id` and `note`."""
    transfer = model.Transfer.model_validate(
        {
            "name": name,
            "source": {"connection": "lake", "table": name},
            "target": {"connection": "serving", "table": f"table_{name}"},
            "key": ["id"],
            **settings,
        }
    )
    columns = tuple(
        base.Column(pa.field(column, pa.int64()), "BIGINT") for column in ("id", "note")
    )
    table = base.Table(columns, ("id",), row_estimate=3, swap_blockers=blockers)
    return group_choice.Candidate(transfer, None if is_new else table, ABLE, kept)


def kinds(*candidates: group_choice.Candidate, mode: run_module.WriteMode = TRUNCATE) -> list[str]:
    return [choice.kind.value for choice in group_choice.choose(candidates, mode)]


def test_tables_that_can_be_renamed_are_swapped_however_small() -> None:
    assert kinds(candidate("a"), candidate("b", is_new=True)) == ["swap", "swap"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (candidate("b", blockers=("it has a trigger",)), "break table_b: it has a trigger"),
        (candidate("b", publish="diff"), "b asks for a diff"),
        (candidate("b", kept=("note",)), "table_b would reset the column 'note', which the source"),
    ],
    ids=["blocked", "diff", "kept"],
)
def test_one_that_cannot_be_renamed_has_all_changed_in_place(
    other: group_choice.Candidate, reason: str
) -> None:
    choices = group_choice.choose([candidate("a"), other, candidate("c", key=[])], TRUNCATE)
    assert [choice.kind for choice in choices] == [DIFF, DIFF, REPLACE]
    assert all(reason in choice.reason for choice in choices)


def test_alone_a_member_is_published_as_without_a_group() -> None:
    assert kinds(candidate("a")) == ["diff"]


def test_a_delta_merges_what_can_be_and_refreshes_the_rest() -> None:
    window = {"cursor": "day", "strategy": "replace_window"}
    members = candidate("a", delta={"cursor": "day"}), candidate("b"), candidate("c", delta=window)
    assert kinds(*members, mode=DELTA) == ["merge", "diff", "replace_window"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"publish": "swap"}, "`publish: swap` of a"), ({"keep_previous": "1h"}, "`keep_previous`")],
)
def test_a_swap_that_a_member_must_have_is_not_given_up(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.ConfigError, match=words) as caught:
        group_choice.choose([candidate("a", **settings), candidate("b", publish="diff")], TRUNCATE)
    assert "b asks for a diff" in str(caught.value)


@pytest.mark.parametrize("settings", [{"key": []}, {"publish": "swap"}])
def test_a_column_that_somebody_else_fills_is_not_reset(settings: dict[str, Any]) -> None:
    members = candidate("a", kept=("note",), **settings), candidate("b")
    with pytest.raises(errors.ConfigError, match="would reset the column 'note', which the source"):
        group_choice.choose(members, TRUNCATE)


def test_without_foreign_keys_tables_are_written_as_declared() -> None:
    assert group_choice.order(["a", "b"], ["b"], {}) == [(0, ALL), (1, ALL)]


def test_parents_are_written_first_and_lose_their_rows_last() -> None:
    tables = ["fact", "dim", "region"]
    references = {"fact": frozenset({"dim", "elsewhere"}), "dim": frozenset({"REGION"})}
    assert group_choice.order(tables, ["fact"], references) == [
        (2, WRITE),
        (1, WRITE),
        (0, ALL),
        (1, DELETE),
        (2, DELETE),
    ]


def test_a_table_that_refers_to_itself_is_written_as_ever() -> None:
    assert group_choice.order(["a"], [], {"a": frozenset({"a"})}) == [(0, ALL)]


def test_a_circle_is_refused() -> None:
    references = {"a": frozenset({"b"}), "b": frozenset({"a"})}
    with pytest.raises(errors.ConfigError, match="foreign keys lead in a circle.*: a, b"):
        group_choice.order(["a", "b", "c"], [], references)


def test_a_parent_whose_rows_are_all_replaced_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="declare the `key:` of dim"):
        group_choice.order(["fact", "dim"], ["dim"], {"fact": frozenset({"dim"})})
