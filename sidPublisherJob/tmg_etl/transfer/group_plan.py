"""What the run of a publish group would do, found out without writing anything."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

from tmg_etl import run as run_module
from tmg_etl.transfer import group_choice, nest, pipeline, plan, publish, rehearsal, runner

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class GroupPlan:
    """A run of a group before it happens. The names are the keys of the JSON.

    Attributes:
        group: its name.
        write_mode: truncate or delta.
        window: the days of a delta; None for truncate.
        publish: swap (all tables by renames) or in place (all by statements), in one step.
        publish_reason: why that one.
        estimated_seconds: the sum of the members'; None where one is not known.
        disk_needed_bytes: the sum of the members', whose tables are all there at the publish; None
            where one is not known.
        disk_free_bytes: disk that is left where the database is; None where it does not tell.
        warnings: what concerns all members and is worth knowing.
        members: the plan of each, in the order of the config.
    """

    group: str
    write_mode: str
    window: str | None
    publish: str
    publish_reason: str
    estimated_seconds: float | None
    disk_needed_bytes: int | None
    disk_free_bytes: int | None
    warnings: tuple[str, ...]
    members: tuple[plan.Plan, ...]

    @property
    def exit_code(self) -> int:
        """Return 0, or the code of the first member that would fail."""
        return next((member.exit_code for member in self.members if member.exit_code), 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        members = [member.as_dict() for member in self.members]
        return {**found, "warnings": list(self.warnings), "members": members}


def make(
    config: model.Config,
    group: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    depth: rehearsal.Depth = rehearsal.Depth.AUTO,
) -> GroupPlan:
    """Return the plan of a group's run; writes nothing. Arguments and errors as for `plan.make`."""
    asked = _Asked(config, execution_date, delta_start_date, write_mode)
    choices = asked.choices(group)
    members = tuple(asked.plan(name, choice, depth) for name, choice in choices.items())
    seconds = [member.estimated_seconds for member in members]
    needed = [member.disk_needed_bytes for member in members]
    free = [member.disk_free_bytes for member in members if member.disk_free_bytes is not None]
    needed_bytes = None if None in needed else sum(filter(None, needed))
    is_short = needed_bytes is not None and any(needed_bytes > left for left in free)
    kinds = {choice.kind for choice in choices.values()}
    is_delta = write_mode is run_module.WriteMode.DELTA
    return GroupPlan(
        group=group,
        write_mode=write_mode.value,
        window=str(asked.window) if is_delta else None,
        publish="swap" if kinds == {publish.Kind.SWAP} else "in place",
        publish_reason=group_choice.reason_of(list(choices.values())),
        estimated_seconds=None if None in seconds else round(sum(filter(None, seconds)), 1),
        disk_needed_bytes=needed_bytes,
        disk_free_bytes=min(free, default=None),
        warnings=("the disk has less room than all members need together",) if is_short else (),
        members=members,
    )


def make_member(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    depth: rehearsal.Depth = rehearsal.Depth.AUTO,
) -> plan.Plan:
    """Return the plan of one member as its group would publish it.

    Arguments and errors as for `plan.make`.
    """
    group = config.group_of(transfer_name)
    assert group is not None
    asked = _Asked(config, execution_date, delta_start_date, write_mode)
    return asked.plan(transfer_name, asked.choices(group)[transfer_name], depth)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a plan was asked for."""

    config: model.Config
    execution_date: datetime.date
    delta_start_date: datetime.date | None
    write_mode: run_module.WriteMode

    @property
    def window(self) -> run_module.Window:
        return run_module.Window(self.delta_start_date or self.execution_date, self.execution_date)

    def choices(self, group: str) -> dict[str, publish.Choice]:
        """Return how each member would be published, by name; looks at all targets."""
        candidates, references = [], {}
        for member in self._runs(group):
            transfer = member.run.transfer
            with nest.open_first(member.run) as target:
                found = target.describe()
                member.target = target
                with member.open_source() as source:
                    columns = pipeline.resolve_columns(member.run, source, target)
                kept = columns.kept(transfer.reset)
                candidates.append(
                    group_choice.Candidate(transfer, found, target.capabilities, kept)
                )
                if found is not None:
                    references[target.table] = target.references()
        choices = group_choice.choose(candidates, self.write_mode)
        if all(choice.kind is not publish.Kind.SWAP for choice in choices):
            tables = [one.transfer.target.table for one in candidates]
            keyless = [one.transfer.target.table for one in candidates if not one.transfer.key]
            group_choice.order(tables, keyless, references)
        names = [one.transfer.name for one in candidates]
        return dict(zip(names, choices, strict=True))

    def plan(self, name: str, choice: publish.Choice, depth: rehearsal.Depth) -> plan.Plan:
        transfer = self.config.transfer(name)
        return plan.make(
            self.config,
            name,
            execution_date=self.execution_date,
            delta_start_date=self.delta_start_date,
            write_mode=group_choice.mode_of(transfer, self.write_mode),
            depth=depth,
            choice=choice,
        )

    def _runs(self, group: str) -> tuple[pipeline.TransferPipeline, ...]:
        """Return the runs that would be made, which are not: whoever may not be one is refused."""
        return runner.build_group(
            self.config,
            group,
            execution_date=self.execution_date,
            delta_start_date=self.delta_start_date,
            write_mode=self.write_mode,
            recorder=run_module.NullRecorder(),
        ).members
