"""What a comparison looks like, and that its page knows every key."""

from __future__ import annotations

import pathlib

from tmg_etl.cli import verify_view
from tmg_etl.transfer import comparison, difference

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "verify.md"

DIFFERENT = comparison.Comparison(
    transfer="fact",
    write_mode="delta",
    window="20130101 to 20130102",
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
        "different: at least 1 missing, 1 extra, 2,000 changed",
        "  column more is not in the target",
        "  missing  id=1: name=null",
        '  extra    id=2: name="tab\\there"',
        f'  changed  id=3: name: source "{"x" * 59}…", target "\\u001b[31mred"',
        "  and 1,999 rows more; `--limit` shows more of them",
    ]


def test_the_page_explains_every_key() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = DIFFERENT.as_dict()
    for key in [*shown, *shown["differences"][0]]:
        assert f"`{key}`" in page, key
