"""The report of the benchmark: its page, its picture, and what counts as slower."""

import copy
import functools
import json
import os
import pathlib
import subprocess
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import database, measure, merge, peers, publish, report, section
from tmg_etl.testing import servers


def results(ratio: float) -> dict[str, Any]:
    """One part with a limit, our own work at `ratio`, and a peer."""
    rows = [
        measure.Series(name, [measure.Sample(seconds, 1.0, 2**20)], kind).row()
        for name, seconds, kind in (
            ("raw load", 2.0, "limit"),
            ("pipeline <off>", 2.0 * ratio, "ours"),
            ("other tool", 20.0, "peer"),
        )
    ]
    for row in rows:
        row["ratio"] = row["median_s"] / 2.0
    return {"parts": {"mysql": {"sections": [_section("orders & more", rows)]}}}


def _section(title: str, rows: list[dict[str, Any]], **more: str) -> dict[str, Any]:
    return {"title": title, "note": "", "rows": rows, "command": "c", "machine": "m", **more}


def test_only_a_ratio_of_ours_that_is_a_fifth_worse_is_slower() -> None:
    recorded = results(1.0)
    assert report.slower(recorded, results(1.19)) == []
    (line,) = report.slower(recorded, results(1.21))
    assert "pipeline <off>: 1.21, recorded 1.00" in line
    peer = copy.deepcopy(recorded)
    peer["parts"]["mysql"]["sections"][0]["rows"][2]["ratio"] = 99.0
    assert report.slower(recorded, peer) == []


def test_the_page_shows_every_row_and_how_to_measure_it_again() -> None:
    page = report.page(results(1.1))
    assert "| pipeline <off> | 2.20 | 2.20 to 2.20 | 1 | 1.10 | 1.0 | 1 |" in page
    assert "Measured by `c` on m." in page
    assert "RESULTS.svg" in page


def test_the_picture_is_well_formed_and_has_a_bar_for_each_row() -> None:
    picture = ET.fromstring(report.picture(results(0.5)))
    bars = [item for item in picture.iter() if item.tag.endswith("rect") and item.get("x")]
    assert [float(str(bar.get("width"))) for bar in bars] == [56.0, 28.0, 560.0]


def test_a_bar_that_would_hide_the_others_is_cut() -> None:
    slow = results(1.0)
    slow["parts"]["mysql"]["sections"][0]["rows"][2]["ratio"] = 60.0
    picture = ET.fromstring(report.picture(slow))
    bars = [item for item in picture.iter() if item.tag.endswith("rect") and item.get("x")]
    assert [round(float(str(bar.get("width")))) for bar in bars] == [47, 47, 560]
    assert [item for item in picture.iter() if item.tag.endswith("path")]
    assert "60 x" in ET.tostring(picture, encoding="unicode")


def _measured(place: merge.Place, cells: list[merge.Cell]) -> list[dict[str, Any]]:
    """Measure cells; both tables must hold the same rows then."""
    rows = []
    for cell in cells:
        place.build(cell)
        rows.append(merge.measured(place, cell, 2))
        names = [name for name in merge.SHAPES[cell.shape].columns if name != "t0"]
        held = [f"SELECT {', '.join(names)} FROM {name}" for name in (merge.OURS, merge.HAND)]
        with place.target() as target:
            (((differing,),), ((found,),)) = (
                target.rows(f"SELECT COUNT(*) FROM ({query}) x")
                for query in (f"{held[0]} EXCEPT {held[1]}", held[0])
            )
        assert (differing, found > 0) == (0, True), cell.name
    return rows


def test_a_grid_of_merges_is_a_table_and_a_picture_of_its_own(tmp_path: pathlib.Path) -> None:
    cells = [merge.Cell("merge", 20, 40, mix) for mix in ("unchanged", "changed", "half", "new")]
    cells += [merge.Cell("diff", 40, 40, "half"), merge.Cell("replace_window", 20, 40, "changed")]
    with merge.places("duckdb", tmp_path) as place:
        rows = _measured(place, cells)
    found = {"parts": {"merge": {"sections": [_section("t", rows)]}}}
    page, picture = report.page(found), ET.fromstring(report.merge_picture(found))
    assert "RESULTS-merge.svg" in page
    assert [cell.name for cell in cells if f"| {cell.name}" not in page] == []
    bars = [item for item in picture.iter() if item.tag.endswith("rect") and item.get("x")]
    assert len(bars) == len(cells)


def test_the_grid_runs_on_mysql(mysql_server: servers.MySQLServer, tmp_path: pathlib.Path) -> None:
    place = merge.MySQL(mysql_server, tmp_path)
    try:
        shapes = zip(("half", "changed", "new"), merge.SHAPES, strict=False)
        _measured(place, [merge.Cell("merge", 20, 40, *each) for each in shapes])
        _measured(place, [merge.Cell("diff", 40, 40, "half")])
    finally:
        mysql_server.drop_database("merges")


def test_readme_shows_the_ratios_that_were_measured() -> None:
    recorded = json.loads((publish.HERE / "RESULTS.json").read_text())
    readme = (publish.HERE.parents[1] / "README.md").read_text()
    assert report.with_headline(readme, recorded) == readme
    assert (publish.HERE / "RESULTS.md").read_text() == report.page(recorded)
    assert (publish.HERE / "RESULTS.svg").read_text() == report.picture(recorded)
    merges = (publish.HERE / "RESULTS-merge.svg").read_text()
    assert merges == report.merge_picture(recorded)


def test_every_part_can_be_chosen() -> None:
    assert publish.parse(["--only", "small", "--only", "delta"]).only == ["small", "delta"]
    assert publish.parse([]).only is None
    wanted = {"mariadb", "mysql", "postgres", "duckdb", "small", "delta", "diff", "merge"}
    wanted |= {"memory", "parallel", "transfer"}
    assert set(section.PARTS) == wanted


def test_one_database_measured_again_leaves_the_others_as_they_are() -> None:
    known = {"delta": {"sections": [_section("old", [], database=kind) for kind in merge.KINDS]}}
    known["small"] = {"sections": [_section("small", [])]}
    found = {"delta": {"sections": [_section("new", [], database="mysql")]}}
    parts = publish.merged({"parts": known}, {"parts": found})["parts"]
    assert {one["database"]: one["title"] for one in parts["delta"]["sections"]} == {
        kind: "new" if kind == "mysql" else "old" for kind in merge.KINDS
    }
    assert parts["small"] == known["small"]
    everything = {"small": {"sections": [_section("again", [])]}}
    assert (
        publish.merged({"parts": known}, {"parts": everything})["parts"]["small"]
        == (everything["small"])
    )
    assert publish.parse(["--database", "mysql"]).database == ["mysql"]


def test_a_page_says_once_how_sections_that_follow_each_other_were_measured() -> None:
    sections = [_section(title, []) for title in ("a", "b")] + [
        _section("c", []) | {"command": "d"}
    ]
    page = report.page({"parts": {"delta": {"sections": sections}}})
    assert page.count("Measured by `c` on m.") == 1
    assert page.index("## b") < page.index("Measured by `c`") < page.index("## c")
    assert page.rstrip().endswith("Measured by `d` on m.")


def _raise(error: Exception) -> measure.Sample:
    raise error


def test_a_tool_that_fails_or_takes_too_long_is_told_and_not_run_again() -> None:
    calls: list[str] = []

    def done(name: str, error: Exception | None = None) -> measure.Sample:
        calls.append(name)
        return _raise(error) if error else measure.Sample(2.0, 1.0, 2**20)

    errors = {"raw": None, "slow": measure.LeftOutError("", 75), "wrong": measure.LeftOutError("w")}
    work: list[measure.Work] = [
        (name, "limit" if name == "raw" else "peer", functools.partial(done, name, error))
        for name, error in errors.items()
    ]
    found = section.titled("orders", measure.interleaved(work, 3), "How.")
    assert calls == ["raw", "slow", "wrong", "raw", "raw"]
    assert found["note"] == "How. Without figures: wrong: w."
    assert [row["name"] for row in found["rows"]] == ["raw", "slow"]
    part = {"sections": [found | {"command": "c", "machine": "m"}]}
    page = report.page({"parts": {"mysql": part}})
    assert "| slow | more than 75 | ended | 1 | more than 37.50 | | |" in page
    assert "more than 38 x" in report.picture({"parts": {"mysql": part}})


def test_the_headline_has_ranges_and_a_tool_that_came_to_its_end() -> None:
    def row(name: str, kind: str, walls: list[float], *, is_ended: bool = False) -> dict[str, Any]:
        samples = [measure.Sample(wall, 1.0, 2**20) for wall in walls]
        series = measure.Series(name, samples, kind, is_ended=is_ended)
        return series.row() | {"ratio": series.median_s / 2.0}

    rows = [
        row("pipeline, verify off", "ours", [1.8, 2.0, 2.4]),
        row("pipeline, verify fingerprint", "ours", [3.0, 3.0, 3.2]),
        row("quick", "peer", [4.0, 4.2, 5.0]),
        row("slow", "peer", [4.1], is_ended=True),
    ]
    part = {"sections": [_section("orders, Parquet to MySQL, truncate", rows)]}
    assert report.headline({"parts": {"mysql": part}}).splitlines()[2] == (
        "| MySQL, orders | 1.00 (0.90 to 1.20) | 1.50 (1.50 to 1.60) | 2.10 (2.00 to 2.50), quick |"
    )


def test_every_tool_has_a_pinned_version_and_a_table_of_its_own() -> None:
    for kind in ("mariadb", "mysql", "postgres"):
        tools = peers.able(kind, "replace")
        assert len({tool.table for tool in tools}) == len(tools)
        assert {tool.name for tool in peers.able(kind, "merge")} == {"dlt", "sling", "drt"}
    assert {tool.title for tool in peers.TOOLS} >= {"dlt (dlt==1.31.0)", "drt (drt-core==1.2.1)"}


@pytest.mark.parametrize(
    ("fixture", "kind", "statement"),
    [
        ("postgres_server", database.Postgres, "SELECT pg_sleep(60)"),
        ("mysql_server", database.MySQL, "SELECT SLEEP(60)"),
    ],
)
def test_what_an_ended_tool_left_to_the_server_is_ended(
    fixture: str,
    kind: type[database.Database],
    statement: str,
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
) -> None:
    server = request.getfixturevalue(fixture)
    target = kind(server, tmp_path)
    try:
        command = [*target.command(statement)]
        left = subprocess.Popen(command, env={**os.environ, **target.environment})
        while not _sessions(target):
            time.sleep(0.05)
        target.end_sessions()
        assert _sessions(target) == 0
        left.wait(10)
    finally:
        server.drop_database("bench")


def _sessions(target: database.Database) -> int:
    with target.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(target.sessions)
        return len(cursor.fetchall())
