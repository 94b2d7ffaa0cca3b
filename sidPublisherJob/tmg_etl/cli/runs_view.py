"""Runs of the ledger as text: a table of many, one in full. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from tmg_etl.cli import output, quantity
from tmg_etl.ledger import record

_UNKNOWN = "-"
# The second it started in and four letters of chance: `tmg-etl runs` takes the beginning of an id.
_ID_LENGTH = 18
_LEFT = ("RUN", "STARTED (UTC)", "TRANSFER", "MODE", "DAYS", "STATUS")
_RIGHT = ("TOOK", "READ", "BYTES", "INSERTED", "UPDATED", "DELETED", "ROWS/S")
_HEADER = (*_LEFT, *_RIGHT, "PROOF")


def table(runs: Sequence[record.Record], *, width: int | None) -> str:
    """Return runs as a table with a line for each error.

    Args:
        runs: in the order to show.
        width: of the terminal; what does not fit goes to a second line for each run. None is
            unlimited.
    """
    if not runs:
        return "no runs"
    rows = [_HEADER, *(_cells(run) for run in runs)]
    lines = _aligned(rows)
    if width is not None and max(map(len, lines)) > width:
        lines = _aligned([row[: len(_LEFT) + 1] for row in rows])
        for number, run in enumerate(runs, start=1):
            lines[number] += "".join(f"\n  {text}" for text in _counts(run))
    for number, run in enumerate(runs, start=1):
        lines[number] += "".join(f"\n  {text}" for text in _troubles(run))
    return "\n".join(lines)


def detail(run: record.Record) -> str:
    """Return everything known of one run, one fact on a line; what is not known is left out."""
    known = [(name, value) for name, value in as_dict(run).items() if value not in (None, ())]
    # A sentence is a line of its own.
    known += [("warning", text) for text in run.warnings]
    known = [(name, value) for name, value in known if name != "warnings"]
    width = max(len(name) for name, _ in known)
    lines = [f"{name.replace('_', ' '):<{width}}  {_fact(name, value)}" for name, value in known]
    return "\n".join(lines)


def as_dict(run: record.Record) -> dict[str, Any]:
    """Return everything known of one run for JSON."""
    rate = run.rows_per_s
    facts = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    return {
        **facts,
        "duration_s": run.duration_s,
        "rows_per_s": None if rate is None else round(rate),
        "is_verified": run.is_verified,
    }


def _cells(run: record.Record) -> tuple[str, ...]:
    days = f"{run.window_end:%Y%m%d}"
    if run.window_start != run.window_end:
        days = f"{run.window_start:%Y%m%d}-{days}"
    took = run.duration_s
    return (
        run.id[:_ID_LENGTH],
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        output.printable(run.transfer),
        run.write_mode,
        days,
        str(run.status),
        _UNKNOWN if took is None else quantity.duration(took),
        _count(run.rows_read),
        _UNKNOWN if run.bytes_read is None else quantity.size(run.bytes_read),
        *map(_count, (run.rows_inserted, run.rows_updated, run.rows_deleted)),
        _count(None if run.rows_per_s is None else round(run.rows_per_s)),
        _proof(run),
    )


def _counts(run: record.Record) -> list[str]:
    """Return the numbers of a run in one line, none if nothing is known."""
    counts = {
        "read": run.rows_read,
        "inserted": run.rows_inserted,
        "updated": run.rows_updated,
        "deleted": run.rows_deleted,
    }
    parts = [f"{number:,} {name}" for name, number in counts.items() if number is not None]
    if run.bytes_read is not None:
        parts.insert(
            1 if run.rows_read is not None else 0, f"{quantity.size(run.bytes_read)} fetched"
        )
    if run.rows_per_s is not None:
        parts.append(f"{run.rows_per_s:,.0f} rows/s")
    if run.is_verified is not None:
        parts.append(f"proof: {_proof(run)}")
    return [", ".join(parts)] if parts else []


def _proof(run: record.Record) -> str:
    """Return whether source and target were equal, and the head of their hash."""
    if run.is_verified is None:
        return _UNKNOWN
    if run.status != "succeeded" and run.is_verified:
        # What was loaded beside the target: the target holds none of it.
        return "unpublished"
    _, has_hash, digits = (run.fingerprint_source or "").partition("0x")
    what = digits[:8] if has_hash else "count"
    return f"{'equal' if run.is_verified else 'DIFFERENT'} {what}"


def _troubles(run: record.Record) -> list[str]:
    found = [("error", run.error), ("cleanup", run.cleanup_error)]
    found += [("warning", text) for text in run.warnings]
    return [f"{label}: {output.printable(text)}" for label, text in found if text]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_HEADER, row, widths, strict=False)
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else quantity.count(number)


def _fact(name: str, value: object) -> str:
    """Return the value of one field as text."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() if name.startswith(("rows_", "bytes_")):
            return quantity.count(value)
        case float():
            return quantity.duration(value)
        case datetime.datetime():
            return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC"
        case tuple():
            return ", ".join(output.printable(str(item)) for item in value)
        case dict():
            return ", ".join(f"{key} {quantity.duration(item)}" for key, item in value.items())
    return output.printable(str(value))
