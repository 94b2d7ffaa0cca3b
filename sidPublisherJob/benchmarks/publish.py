"""Publish tables to every kind of server, beside the servers' own raw loads and other tools.

    script/benchmark [--scale 1] [--repeat 3] [--only mariadb|mysql|postgres|transfer|duckdb|small|
                     delta|diff|merge|memory|parallel]
                     [--database postgres|mariadb|mysql|duckdb|sqlite] [--quick] [--check]
                     [--no-peers]

Everything is measured as whole processes that take turns. Without `--only` all parts are measured;
with it the others keep the figures they have, and with `--database` so do the deltas and merges of
other databases. `--check` writes nothing: it compares the ratios
with the recorded ones and fails where one of ours is a fifth worse.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import sys
import tempfile
from typing import Any

from benchmarks import measure, merge, report, section

HERE = pathlib.Path(__file__).parent


def machine() -> str:
    """Return what was measured on, and when."""
    today = datetime.datetime.now(datetime.UTC)
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{today:%Y-%m-%d}: {os.cpu_count()} cores, {gib:.0f} GiB, {platform.system()}"
        f" {platform.machine()}, Python {platform.python_version()}"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="script/benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor (default 1)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each work (default 3)")
    parser.add_argument("--only", choices=list(section.PARTS), action="append")
    parser.add_argument(
        "--database",
        choices=merge.KINDS,
        action="append",
        help="of deltas and merges, only those of this database; may be given again",
    )
    parser.add_argument("--check", action="store_true", help="compare with the recorded ratios")
    parser.add_argument("--quick", action="store_true", help="of merges, a small part of the grid")
    parser.add_argument("--no-peers", action="store_true", help="leave other tools out")
    parser.add_argument("--folder", type=pathlib.Path, help="where data is kept (default: nowhere)")
    return parser.parse_args(arguments)


def measured(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Return the chosen parts, as they are written to RESULTS.json."""
    scope = section.Scope(
        folder,
        options.scale,
        options.repeat,
        not (options.no_peers or options.check),
        options.quick,
        tuple(options.database or ()),
    )
    parts = {}
    for name in options.only or section.PARTS:
        measure.say(f"== {name}")
        command = f"script/benchmark --scale {options.scale:g} --repeat {options.repeat}"
        command += f" --only {name}{' --quick' if options.quick and name == 'merge' else ''}"
        taken = {"command": command, "machine": machine()}
        parts[name] = {"sections": [one | taken for one in section.PARTS[name](scope)]}
        section.free(scope)
    return {"parts": parts}


def merged(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Put parts in the place of those that are known.

    Of a part that has a section for each database, those of other databases are kept.
    """
    parts = known["parts"] | found["parts"]
    for name, part in found["parts"].items():
        measured_ = {one.get("database") for one in part["sections"]}
        kept = [
            one
            for one in known["parts"].get(name, {"sections": []})["sections"]
            if one.get("database") not in measured_ | {None}
        ]
        sections = [*kept, *part["sections"]]
        if kept:
            sections.sort(key=lambda one: merge.KINDS.index(one["database"]))
        parts[name] = {"sections": sections}
    return {"parts": {name: parts[name] for name in section.PARTS if name in parts}}


def write(found: dict[str, Any]) -> None:
    """Put the parts in the place of those that RESULTS.json has; make page, picture, headline."""
    path = HERE / "RESULTS.json"
    known = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    results = merged(known, found)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    render(results)


def render(results: dict[str, Any]) -> None:
    """Make page, pictures and headline of the figures."""
    (HERE / "RESULTS.md").write_text(report.page(results))
    (HERE / "RESULTS.svg").write_text(report.picture(results))
    if "merge" in results["parts"]:
        (HERE / "RESULTS-merge.svg").write_text(report.merge_picture(results))
    readme = HERE.parents[1] / "README.md"
    readme.write_text(report.with_headline(readme.read_text(), results))


def main() -> None:
    """Measure; write or compare."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="tmg_etl_bench_") as name:
        folder = options.folder or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = measured(options, folder.resolve())
    if not options.check:
        write(found)
        return
    worse = report.slower(json.loads((HERE / "RESULTS.json").read_text()), found)
    print("\n".join(worse) or "no ratio is a fifth worse than the recorded one")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
