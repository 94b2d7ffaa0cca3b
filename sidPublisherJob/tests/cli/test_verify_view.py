"""What a comparison looks like, and that its page knows every key."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from tmg_etl import errors
from tmg_etl.cli import verify_view
from tmg_etl.transfer import comparison, difference, group_comparison

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "verify.md"

DIFFERENT = comparison.Comparison(
    transfer="fact",
    write_mode="delta",
    window="20130101 to 20130102",
    compared="each key of the window",
    source="lake/fact.parquet",
    snapshot="files",
    target="serving: fact",
    columns=("id", "name"),
    columns_missing=("more",),
    source_fingerprint="2 rows 0x01",
    target_fingerprint="3 rows 0x02",
    missing=1,
    extra=1,
    changed=2000,
    is_complete=False,
    differences=(
        difference.Difference("missing", {"id": 1}, {"name": None}, None),
        difference.Difference("extra", {"id": 2}, None, {"name": "tab\there"}),
        difference.Difference("changed", {"id": 3}, {"name": "x" * 99}, {"name": "\x1b[31mred"}),
    ),
)


def test_differing_rows_are_shown_one_on_a_line() -> None:
    assert verify_view.render(DIFFERENT).splitlines() == [
        "transfer  fact, window 20130101 to 20130102",
        "source    lake/fact.parquet: 2 rows 0x01",
        "target    serving: fact: 3 rows 0x02",
        "compared  each key of the window",
        "different: at least 1 missing, 1 extra, 2,000 changed",
        "  column more is not in the target",
        "  missing  id=1: name=null",
        '  extra    id=2: name="tab\\there"',
        f'  changed  id=3: name: source "{"x" * 59}…", target "\\u001b[31mred"',
        "  and 1,999 rows more; `--limit` shows more of them",
    ]


def test_rows_that_were_not_compared_are_said() -> None:
    shown = verify_view.render(dataclasses.replace(EQUAL, not_compared=3)).splitlines()
    assert shown[-2:] == [
        "kept      3 rows of the target that the source does not name: not compared; `--mode"
        " truncate` does",
        "equal",
    ]


EQUAL = dataclasses.replace(
    DIFFERENT,
    transfer="dim",
    columns_missing=(),
    target_fingerprint=DIFFERENT.source_fingerprint,
    missing=0,
    extra=0,
    changed=0,
    differences=(),
)
LOST = group_comparison.Uncompared("more", errors.TemporaryError("the server is away"))


def test_each_member_of_a_group_is_told_of() -> None:
    found = group_comparison.GroupComparison("nightly", (EQUAL, DIFFERENT, LOST))
    equal, different, lost, last = verify_view.render_group(found).split("\n\n")
    assert equal.splitlines()[-1] == "equal"
    assert different == verify_view.render(DIFFERENT)
    assert lost == "transfer  more\nnot compared: the server is away"
    assert last == "group nightly: 1 of 3 equal; not: fact, more"


@pytest.mark.parametrize(
    ("members", "code"),
    [((EQUAL, EQUAL), 0), ((EQUAL, DIFFERENT), 65), ((LOST, DIFFERENT), 65), ((EQUAL, LOST), 75)],
)
def test_a_group_that_differs_is_a_data_error(
    members: tuple[comparison.Comparison | group_comparison.Uncompared, ...], code: int
) -> None:
    found = group_comparison.GroupComparison("nightly", members)
    assert found.exit_code == code
    assert found.as_dict()["equal"] is (code == 0)
    page = PAGE.read_text(encoding="utf-8")
    for key in {*found.as_dict(), *LOST.as_dict()}:
        assert f"`{key}`" in page, key


def test_the_page_explains_every_key() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = DIFFERENT.as_dict()
    for key in [*shown, *shown["differences"][0]]:
        assert f"`{key}`" in page, key
