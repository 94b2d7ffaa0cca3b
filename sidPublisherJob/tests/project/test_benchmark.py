"""The report of the benchmark: its page, its picture, and what counts as slower."""

import copy
import json
import pathlib
import xml.etree.ElementTree as ET
from typing import Any

from benchmarks import measure, merge, publish, report, section


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
    part = {"title": "orders & more", "note": "", "rows": rows}
    return {"parts": {"mysql": {"command": "c", "machine": "m", "sections": [part]}}}


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


def test_a_grid_of_merges_is_a_table_and_a_picture_of_its_own(tmp_path: pathlib.Path) -> None:
    cells = [merge.Cell("merge", 20, 40, mix) for mix in ("unchanged", "changed", "half", "new")]
    cells += [merge.Cell("diff", 40, 40, "half"), merge.Cell("replace_window", 20, 40, "changed")]
    with merge.places("duckdb", tmp_path) as place:
        rows = []
        for cell in cells:
            place.build(cell)
            rows.append(merge.measured(place, cell, 2))
            held = [f"SELECT * EXCLUDE (t0) FROM {name}" for name in (merge.OURS, merge.HAND)]
            differing = f"SELECT COUNT(*) FROM ({held[0]} EXCEPT {held[1]}) x"
            with place.target() as target:
                assert target.rows(differing) == [(0,)], cell.name
    part = {"command": "c", "machine": "m", "sections": [{"title": "t", "note": "", "rows": rows}]}
    found = {"parts": {"merge": part}}
    page, picture = report.page(found), ET.fromstring(report.merge_picture(found))
    assert "RESULTS-merge.svg" in page
    assert [cell.name for cell in cells if f"| {cell.name}" not in page] == []
    bars = [item for item in picture.iter() if item.tag.endswith("rect") and item.get("x")]
    assert len(bars) == len(cells)


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
    wanted = {"mysql", "postgres", "duckdb", "small", "delta", "merge"}
    wanted |= {"memory", "parallel", "transfer"}
    assert set(section.PARTS) == wanted
