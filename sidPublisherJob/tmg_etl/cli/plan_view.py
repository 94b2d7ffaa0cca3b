"""A plan as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tmg_etl.cli import quantity

if TYPE_CHECKING:
    from tmg_etl.transfer import plan as plan_module
    from tmg_etl.transfer import rehearsal


def render(plan: plan_module.Plan) -> str:
    """Return the lines that `tmg-etl plan` prints."""
    lines = [
        f"transfer  {plan.transfer} ({plan.pipeline})",
        f"mode      {plan.write_mode}" + (f", window {plan.window}" if plan.window else ""),
        f"source    {plan.source}, {quantity.count(plan.source_rows)} rows",
    ]
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
    lines += [f"  + index {name} (would be built)" for name in plan.indexes_built]
    lines += [f"lacking   {privilege}" for privilege in plan.privileges_missing]
    lines += [f"in the way  {session}" for session in plan.in_the_way]
    lines += [f"warning   {warning}" for warning in plan.warnings]
    if plan.fails:
        lines.append(f"would fail  {plan.fails}")
    return "\n".join([*lines, "nothing was written"])


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
        free = plan.disk_free_bytes
        left = "" if free is None else f" of {quantity.size(free)} that are free"
        lines.append(f"disk      about {quantity.size(plan.disk_needed_bytes)}{left}")
    return lines
