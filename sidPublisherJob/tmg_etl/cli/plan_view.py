"""A plan as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tmg_etl.cli import output, quantity

if TYPE_CHECKING:
    from tmg_etl.transfer import group_plan, rehearsal
    from tmg_etl.transfer import plan as plan_module


_NOTHING = "nothing was written"


def render(plan: plan_module.Plan) -> str:
    """Return the lines that `tmg-etl plan` prints."""
    return "\n".join([*_lines(plan), _NOTHING])


def render_group(found: group_plan.GroupPlan) -> str:
    """Return the lines that `tmg-etl plan` prints of a publish group."""
    lines = [
        f"group     {output.printable(found.group)}: {_listed(found.members)}",
        f"mode      {found.write_mode}" + (f", window {found.window}" if found.window else ""),
        f"publish   {found.publish}: {found.publish_reason}",
    ]
    if found.estimated_seconds is not None:
        lines.append(f"time      about {quantity.duration(found.estimated_seconds)}")
    if found.disk_needed_bytes is not None:
        lines.append(_disk(found.disk_needed_bytes, found.disk_free_bytes))
    lines += [f"warning   {warning}" for warning in found.warnings]
    for member in found.members:
        lines += ["", *_lines(member)]
    return "\n".join([*lines, "", _NOTHING])


def _listed(members: Sequence[plan_module.Plan]) -> str:
    names = ", ".join(output.printable(member.transfer) for member in members)
    return f"{names}, published in one step"


def _lines(plan: plan_module.Plan) -> list[str]:
    lines = [
        f"transfer  {plan.transfer} ({plan.pipeline})",
        f"mode      {plan.write_mode}" + (f", window {plan.window}" if plan.window else ""),
    ]
    if plan.publish is None:
        lines += [
            f"steps     not known: {plan.rows_reason}, and what it reads",
            f"target    {plan.target}",
        ]
        lines += _circumstances(plan)
        return lines + [f"warning   {warning}" for warning in plan.warnings]
    lines.append(f"source    {plan.source}, {quantity.count(plan.source_rows)} rows")
    if plan.source_cost:
        lines.append(f"cost      {plan.source_cost}")
    lines += [
        f"target    {plan.target}, {_held(plan)}",
        f"load      {plan.ingest}, verify {plan.verify}",
        f"publish   {plan.publish}: {plan.publish_reason}",
        f"rows      {_rows(plan)}",
    ]
    if plan.difference is not None:
        lines.append(f"of these  {_changes(plan.difference)}, compared by key")
    lines += [*_circumstances(plan), "columns"]
    lines += [f"  {column}" for column in plan.columns]
    lines += [f"  + {column} (would be added to the target)" for column in plan.added]
    lines += [f"  {column} (the source lacks it)" for column in plan.own]
    lines += [f"  + index {name} (would be built)" for name in plan.indexes_built]
    lines += [f"lacking   {privilege}" for privilege in plan.privileges_missing]
    lines += [f"in the way  {session}" for session in plan.in_the_way]
    lines += [f"warning   {warning}" for warning in plan.warnings]
    if plan.fails:
        lines.append(f"would fail  {plan.fails}")
    return lines


def _held(plan: plan_module.Plan) -> str:
    if plan.creates:
        return "new table"
    if plan.target_rows is None:
        return "rows unknown"
    return f"about {plan.target_rows:,} rows"


def _rows(plan: plan_module.Plan) -> str:
    if plan.rows.insert is None:
        return f"not computed: {plan.rows_reason}"
    changes = _changes(plan.rows)
    return changes if plan.rows_exact else f"about {changes} (not computed: {plan.rows_reason})"


def _changes(changes: rehearsal.Changes) -> str:
    parts = {
        "insert": changes.insert,
        "update": changes.update,
        "delete": changes.delete,
        "leave": changes.leave,
    }
    return ", ".join(f"{quantity.count(number)} to {word}" for word, number in parts.items())


def _circumstances(plan: plan_module.Plan) -> list[str]:
    lines = []
    if plan.estimated_seconds is not None:
        runs = plan.estimated_from_runs
        median = "the past run" if runs == 1 else f"the median of {runs} past runs"
        lines.append(f"time      about {quantity.duration(plan.estimated_seconds)}, by {median}")
    if plan.disk_needed_bytes is not None:
        lines.append(_disk(plan.disk_needed_bytes, plan.disk_free_bytes))
    return lines


def _disk(needed_bytes: int, free_bytes: int | None) -> str:
    left = "" if free_bytes is None else f" of {quantity.size(free_bytes)} that are free"
    return f"disk      about {quantity.size(needed_bytes)}{left}"
