"""A comparison of source and target as lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tmg_etl import errors
from tmg_etl.cli import output, quantity
from tmg_etl.transfer import group_comparison

if TYPE_CHECKING:
    from tmg_etl.transfer import comparison as comparison_module
    from tmg_etl.transfer import difference as difference_module

_WIDTH = 60


def render(comparison: comparison_module.Comparison) -> str:
    """Return the lines that `tmg-etl verify` prints."""
    window = f", window {comparison.window}" if comparison.window else ""
    lines = [
        f"transfer  {comparison.transfer}{window}",
        f"source    {comparison.source}: {comparison.source_fingerprint}",
        f"target    {comparison.target}: {comparison.target_fingerprint}",
        f"compared  {comparison.compared}",
    ]
    if comparison.not_compared:
        lines.append(
            f"kept      {quantity.rows(comparison.not_compared)} of the target that the source does"
            " not name: not compared; `--mode truncate` does"
        )
    if comparison.is_equal:
        return "\n".join([*lines, "equal"])
    lines.append(_headline(comparison))
    lines += [f"  column {name} is not in the target" for name in comparison.columns_missing]
    lines += [_line(difference) for difference in comparison.differences]
    hidden = comparison.missing + comparison.extra + comparison.changed
    hidden -= len(comparison.differences)
    if hidden:
        lines.append(f"  and {quantity.rows(hidden)} more; `--limit` shows more of them")
    return "\n".join(lines)


def render_group(found: group_comparison.GroupComparison) -> str:
    """Return the lines that `tmg-etl verify` prints of a publish group."""
    blocks = [_member(member) for member in found.members]
    differing = [member.transfer for member in found.members if not member.is_equal]
    total = len(found.members)
    last = f"group {output.printable(found.group)}: {total - len(differing)} of {total} equal"
    return "\n\n".join([*blocks, f"{last}{'; not: ' if differing else ''}{', '.join(differing)}"])


def _member(member: comparison_module.Comparison | group_comparison.Uncompared) -> str:
    if isinstance(member, group_comparison.Uncompared):
        return f"transfer  {member.transfer}\nnot compared: {errors.one_line(str(member.error))}"
    return render(member)


def _headline(comparison: comparison_module.Comparison) -> str:
    counts = (
        (comparison.missing, "missing"),
        (comparison.extra, "extra"),
        (comparison.changed, "changed"),
    )
    words = ", ".join(f"{quantity.count(number)} {word}" for number, word in counts)
    return f"different: {'' if comparison.is_complete else 'at least '}{words}"


def _line(difference: difference_module.Difference) -> str:
    key = _cells(difference.key)
    if difference.source is not None and difference.target is not None:
        cells = ", ".join(
            f"{output.printable(name)}: source {_value(value)}, target"
            f" {_value(difference.target[name])}"
            for name, value in difference.source.items()
        )
    else:
        cells = _cells(difference.source or difference.target or {})
    return f"  {difference.kind:<8} {key}{': ' if cells else ''}{cells}"


def _cells(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{output.printable(name)}={_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    """Return a value on one line; text in quotes, and cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, str):
        cut = value if len(value) <= _WIDTH else f"{value[: _WIDTH - 1]}…"
        return output.printable(json.dumps(cut, ensure_ascii=False))
    return errors.one_line(str(value))
