"""What a plan looks like, and that its page knows every key."""

from __future__ import annotations

import dataclasses
import pathlib

from tmg_etl.cli import plan_view
from tmg_etl.transfer import group_plan, plan, rehearsal

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "plan.md"

PLAN = plan.Plan(
    transfer="fact",
    pipeline="tmg_etl.transfer.pipeline:TransferPipeline",
    write_mode="truncate",
    window=None,
    source="lake/fact.parquet",
    source_rows=1200,
    source_cost="1.5 GB would be billed",
    target="serving: fact",
    target_rows=1000,
    publish="swap",
    publish_reason="the transfer asks for it",
    ingest="COPY",
    verify="fingerprint",
    columns=("id: int64 -> int32",),
    added=("more string",),
    own=("status: kept",),
    indexes_built=("fact_more",),
    creates=False,
    rows=rehearsal.Changes(1200, 0, 1000, 0),
    rows_exact=True,
    rows_reason=None,
    difference=rehearsal.Changes(200, 10, 0, 990),
    fails=None,
    privileges_missing=("CREATE on schema public",),
    in_the_way=("process 7: AccessShareLock on public.fact",),
    disk_needed_bytes=2_500_000,
    disk_free_bytes=10_000_000,
    estimated_seconds=3.25,
    estimated_from_runs=4,
    warnings=("no `key:`",),
)


def test_every_fact_has_a_line() -> None:
    assert plan_view.render(PLAN).splitlines() == [
        "transfer  fact (tmg_etl.transfer.pipeline:TransferPipeline)",
        "mode      truncate",
        "source    lake/fact.parquet, 1,200 rows",
        "cost      1.5 GB would be billed",
        "target    serving: fact, about 1,000 rows",
        "load      COPY, verify fingerprint",
        "publish   swap: the transfer asks for it",
        "rows      1,200 to insert, 0 to update, 1,000 to delete, 0 to leave",
        "of these  200 to insert, 10 to update, 0 to delete, 990 to leave, compared by key",
        "time      about 3.2 s, by the median of 4 past runs",
        "disk      about 2.5 MB of 10.0 MB that are free",
        "columns",
        "  id: int64 -> int32",
        "  + more string (would be added to the target)",
        "  status: kept (the source lacks it)",
        "  + index fact_more (would be built)",
        "lacking   CREATE on schema public",
        "in the way  process 7: AccessShareLock on public.fact",
        "warning   no `key:`",
        "nothing was written",
    ]


def test_what_is_not_known_is_said() -> None:
    unknown = dataclasses.replace(
        PLAN,
        creates=True,
        rows=rehearsal.Changes(),
        rows_exact=False,
        rows_reason="it costs money",
        difference=None,
        fails="doubled key",
        estimated_seconds=None,
        disk_needed_bytes=None,
    )
    lines = plan_view.render(unknown).splitlines()
    assert "rows      not computed: it costs money" in lines
    assert "target    serving: fact, new table" in lines
    assert "would fail  doubled key" in lines
    about = dataclasses.replace(PLAN, rows_exact=False, rows_reason="not asked")
    assert "rows      about 1,200 to insert" in plan_view.render(about)


def test_the_page_explains_every_key() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for key in PLAN.as_dict():
        assert f"`{key}`" in page, key


GROUP = group_plan.GroupPlan(
    group="nightly",
    write_mode="delta",
    window="20130101 to 20130102",
    publish="in place",
    publish_reason="the group is merged",
    estimated_seconds=6.5,
    disk_needed_bytes=5_000_000,
    disk_free_bytes=10_000_000,
    warnings=("mind the gap",),
    members=(PLAN, dataclasses.replace(PLAN, transfer="dim")),
)


def test_a_group_is_shown_with_its_step_and_then_each_member() -> None:
    head, first, second, last = plan_view.render_group(GROUP).split("\n\n")
    assert head.splitlines() == [
        "group     nightly: fact, dim, published in one step",
        "mode      delta, window 20130101 to 20130102",
        "publish   in place: the group is merged",
        "time      about 6.5 s",
        "disk      about 5.0 MB of 10.0 MB that are free",
        "warning   mind the gap",
    ]
    assert f"{first}\nnothing was written" == plan_view.render(PLAN)
    assert second.startswith("transfer  dim ")
    assert last == "nothing was written"


def test_the_page_explains_every_key_of_a_group() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for key in GROUP.as_dict():
        assert f"`{key}`" in page, key
