"""RESULTS.json as a page and a picture, and the comparison with it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: What makes a ratio worse than the recorded one.
TOLERANCE = 1.2
#: Multiples of the raw load up to which bars are drawn as long as they are.
_LONGEST = 12.0
_BEGIN, _END = "<!-- speed: made by script/benchmark -->", "<!-- /speed -->"
_COLOURS = {"limit": "#5f6b7a", "ours": "#0b7a75", "peer": "#c2c8cf", "other": "#8a95a3"}


def rows_of(results: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with the title of its section."""
    for part in results["parts"].values():
        for section in part["sections"]:
            for row in section["rows"]:
                yield section["title"], row


def page(results: Mapping[str, Any]) -> str:
    """Return RESULTS.md."""
    lines = [
        "# Results",
        "",
        "Made of `RESULTS.json` by `script/benchmark`; do not edit. Compare ratios, not seconds.",
        "Servers are durable: PostgreSQL with fsync, MariaDB and MySQL with the redo log flushed at"
        " each commit and the binary log on (MySQL flushes that too, as it does by default). Each"
        " has 1 GiB of memory for pages.",
        "The limit is the server's own client loading a ready text file of the same rows into the"
        " same table, its primary key in place. A pipeline is the whole process, from the shell.",
        "",
        "![Time by tool, as a multiple of the server's own raw load](RESULTS.svg)",
        "",
    ]
    lines += _aims(results)
    for name, part in results["parts"].items():
        if name == "merge":
            lines += ["![Merges as a multiple of the statement by hand](RESULTS-merge.svg)", ""]
        for section, after in zip(part["sections"], [*part["sections"][1:], None], strict=True):
            lines += _grid(section) if name == "merge" else _section(section)
            measured = f"Measured by `{section['command']}` on {section['machine']}."
            if after is None or (section["command"], section["machine"]) != (
                after["command"],
                after["machine"],
            ):
                lines += [measured, ""]
    return "\n".join(lines)


#: What was aimed at: work, then title and row that it is measured by, the row that it is a multiple
#: of (None: the limit), then the ratio.
_AIMS = (
    *(
        (f"{table}, Parquet to {server}, off", f"{table}, Parquet to {server}, truncate",
         "pipeline, verify off", None, aim)
        for server, aim in (("MariaDB", 1.15), ("MySQL", 1.15), ("PostgreSQL", 1.0))
        for table in ("orders", "lineitem")
    ),
    *(
        (f"{table}, Parquet to PostgreSQL, fingerprint",
         f"{table}, Parquet to PostgreSQL, truncate", "pipeline, verify fingerprint", None, 1.25)
        for table in ("orders", "lineitem")
    ),
    *(
        (f"{table}, Parquet to {server}, fingerprint by off",
         f"{table}, Parquet to {server}, truncate",
         "pipeline, verify fingerprint", "pipeline, verify off", 1.15)
        for server in ("MariaDB", "MySQL")
        for table in ("orders", "lineitem")
    ),
    ("orders, PostgreSQL to Parquet", "orders, PostgreSQL to Parquet",
     "PostgreSQL to Parquet, fingerprint", None, 1.5),
    *(
        (f"orders, PostgreSQL to {server}", f"orders, PostgreSQL to {server}",
         f"PostgreSQL to {server}, off", None, 1.2)
        for server in ("MariaDB", "MySQL")
    ),
    *(
        (f"delta of 10,000 rows, Parquet to {server}, into {rows:,}",
         f"A delta of 10,000 rows, Parquet to {server}",
         f"pipeline, verify fingerprint, into {rows:,} rows", None, 2.0)
        for server in ("MariaDB", "MySQL", "PostgreSQL")
        for rows in (1_000_000, 6_000_000)
    ),
)  # fmt: skip


def _aims(results: Mapping[str, Any]) -> list[str]:
    """Return a table of what was aimed at and what is reached."""
    known = {(title, row["name"]): row["ratio"] for title, row in rows_of(results)}
    rows = [
        f"| {work} | {aim:.2f} | {known[title, name] / (known[title, base] if base else 1):.2f} |"
        for work, title, name, base, aim in _AIMS
        if known.get((title, name)) is not None
    ]
    if not rows:
        return []
    return [
        "## Aims",
        "",
        "Ratios to the limit, or of a proved run to one that is not: what was aimed at, and what is"
        " reached. Why some are missed is told in"
        " [decision 11](../../docs/decisions/0011-speed.md).",
        "",
        "| work | aim | reached |",
        "| --- | --- | --- |",
        *rows,
        "",
    ]


def _section(section: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {section['title']}",
        "",
        *([section["note"], ""] if section["note"] else []),
        "| work | median (s) | range (s) | runs | ratio to limit | client CPU (s) | peak (MiB) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in section["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        note = f" ({row['note']})" if row["note"] else ""
        if row.get("is_ended") and row["runs"] == 1:
            lines.append(
                f"| {row['name']}{note} | more than {row['median_s']:.0f} | ended | 1"
                f" | more than {ratio} | | |"
            )
            continue
        ended = "more than " if row.get("is_ended") else ""
        lines.append(
            f"| {row['name']}{note} | {row['median_s']:.2f} | {row['shortest_s']:.2f} to"
            f" {ended}{row['longest_s']:.2f} | {row['runs']} | {ratio} | {row['cpu_s']:.1f}"
            f" | {row['peak_mib']} |"
        )
    return [*lines, ""]


def _grid(section: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {section['title']}",
        "",
        section["note"],
        "",
        "| work | by hand (s) | range (s) | ours (s) | range (s) | runs | ratio | its proof (s) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in section["rows"]:
        note = f" ({row['note']})" if row["note"] else ""
        lines.append(
            f"| {row['name']}{note} | {row['hand_median_s']:.3f} | {row['hand_shortest_s']:.3f} to"
            f" {row['hand_longest_s']:.3f} | {row['median_s']:.3f} | {row['shortest_s']:.3f} to"
            f" {row['longest_s']:.3f} | {row['runs']} | {row['ratio']:.2f} | {row['proof_s']:.3f} |"
        )
    return [*lines, ""]


#: Parts that load a table into a server.
_LOADS = ("mariadb", "mysql", "postgres")


def _loads(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the sections of the loads into servers."""
    parts = [results["parts"].get(name, {"sections": []}) for name in _LOADS]
    return [section for part in parts for section in part["sections"]]


def headline(results: Mapping[str, Any]) -> str:
    """Return the few ratios that README shows: a table, of the loads into servers.

    A ratio is the median of the runs to the median of the raw load; the range is that of the runs.
    """
    lines = [
        "| TPC-H, Parquet to | unproved | proved | the best other tool, unproved |",
        "| --- | --- | --- | --- |",
    ]
    for section in _loads(results):
        table, _, rest = section["title"].partition(", Parquet to ")
        ours = {row["name"]: row for row in section["rows"] if row["kind"] == "ours"}
        peers = [
            row for row in section["rows"] if row["kind"] == "peer" and not row.get("is_ended")
        ]
        best = min(peers, key=lambda row: row["ratio"], default=None)
        cells = [
            _ranged(ours["pipeline, verify off"]),
            _ranged(ours["pipeline, verify fingerprint"]),
            _ranged(best) + f", {best['name']}" if best else "",
        ]
        lines.append(f"| {rest.removesuffix(', truncate')}, {table} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ranged(row: Mapping[str, Any]) -> str:
    """Return the ratio of a row, and from where to where its runs went."""
    once = row["ratio"] / row["median_s"]
    if row["runs"] == 1:
        return f"{row['ratio']:.2f} (one run)"
    return f"{row['ratio']:.2f} ({row['shortest_s'] * once:.2f} to {row['longest_s'] * once:.2f})"


def with_headline(text: str, results: Mapping[str, Any]) -> str:
    """Return README with the headline in its place, between two comments."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"README has no {_BEGIN} and {_END}")
    return f"{before}{begin}\n{headline(results)}\n{end}{after}"


def slower(recorded: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Return one line for each ratio of ours that is a fifth worse than the recorded one."""
    known = {(title, row["name"]): row["ratio"] for title, row in rows_of(recorded)}
    found = []
    for title, row in rows_of(measured):
        was = known.get((title, row["name"]))
        if row["kind"] == "ours" and was and row["ratio"] and row["ratio"] > was * TOLERANCE:
            found.append(f"{title}: {row['name']}: {row['ratio']:.2f}, recorded {was:.2f}")
    return found


def picture(results: Mapping[str, Any]) -> str:
    """Return RESULTS.svg: a bar for each tool, by server, as multiples of the raw load."""
    sections = _loads(results)
    left, width, step, y = 320, 560, 24, 78
    longest = max(
        (row["ratio"] or 0 for section in sections for row in section["rows"]), default=1.0
    )
    # The slowest tools would leave a pixel to the others.
    longest = min(longest, _LONGEST)
    mark, body = left + width / longest, []
    for section in sections:
        body.append(_text(20, y, section["title"], weight="bold", size=14))
        y += step - 6
        # Where the raw load ends.
        bottom = y + step * len(section["rows"]) - 8
        body.append(
            f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 4}" y2="{bottom + 4}"'
            ' stroke="#5f6b7a" stroke-dasharray="4 3"/>'
        )
        for row in section["rows"]:
            ratio = row["ratio"] or 0.0
            bar = max(2.0, min(ratio, longest) / longest * width)
            colour = _COLOURS[row["kind"]]
            body.append(_text(left - 10, y + 12, row["name"], anchor="end"))
            body.append(f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="16" fill="{colour}"/>')
            if ratio > longest:
                cut = left + bar - 24
                body.append(
                    f'<path d="M{cut} {y - 1} l6 9 l-6 9" fill="none" stroke="#ffffff"'
                    ' stroke-width="5"/>'
                )
            shown = f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.0f} x"
            if row.get("is_ended") and row["runs"] == 1:
                shown = f"more than {shown}"
            body.append(
                _text(max(left + bar, mark) + 8, y + 12, f"{shown}  ({row['median_s']:.1f} s)")
            )
            y += step
        y += step
    return _framed(
        body,
        (left + width + 180, y + 10),
        "Time to publish a table, as a multiple of the server's own raw load",
        "Shorter is better; the dashed line is the raw load. Grey: other tools,"
        " which prove nothing about the rows.",
    )


def _framed(body: Sequence[str], size: tuple[int, int], title: str, subtitle: str) -> str:
    """Return the file of a picture: width and height, and two lines above what it shows."""
    width, height = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(20, 28, title, weight="bold", size=17),
            _text(20, 48, subtitle),
            *body,
            "</svg>",
            "",
        ]
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
        f' font-size="{size}" fill="#1d2530">{html.escape(text)}</text>'
    )


def merge_picture(results: Mapping[str, Any]) -> str:
    """Return RESULTS-merge.svg: a bar for each cell, as a multiple of the statement by hand."""
    left, width, step, y, longest = 520, 420, 18, 78, 6.0
    mark, body = left + width * 2 / longest, []
    for section in results["parts"]["merge"]["sections"]:
        body.append(_text(20, y, section["title"], weight="bold", size=14))
        y += step - 6
        bottom = y + step * len(section["rows"])
        body.append(
            f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 4}" y2="{bottom}"'
            ' stroke="#5f6b7a" stroke-dasharray="4 3"/>'
        )
        for row in section["rows"]:
            bar = min(row["ratio"], longest) / longest * width
            is_fixed = row["ratio"] > 2 and "fixed" in row["note"]
            colour = _COLOURS["other" if is_fixed else "ours"]
            body.append(_text(left - 10, y + 10, row["name"], anchor="end"))
            body.append(f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="12" fill="{colour}"/>')
            shown = f"{row['ratio']:.2f} x  ({row['median_s']:.2f} s)"
            body.append(_text(max(left + bar, mark) + 8, y + 10, shown))
            y += step
        y += step
    return _framed(
        body,
        (left + width + 130, y + 10),
        "Merges, as a multiple of the best statement by hand",
        "The dashed line is the aim, twice as long. Grey: few rows, above it by"
        " what a merge does for any number of them.",
    )
