"""`GroupRollback`: puts the tables back that one step of a publish group replaced, in one step."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import nest, undo

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class Step:
    """What one step of a group, or of a member before it was in the group, replaced.

    Attributes:
        id: of the step, which the names of its kept tables end with.
        tables: kept table by member.
    """

    id: str
    tables: Mapping[str, undo.Kept]


class MemberRollback(undo.RollbackPipeline):
    """One member's part: its lock, its row in the ledger, its cleanup."""

    #: What all do together.
    whole: GroupRollback

    def open_target(self) -> base.Target:
        """Return the member's table, over the session of all."""
        return self.whole.open_target(self)

    def pre_execution_cleansing(self) -> None:
        """Remove what dead runs left; what is not put back need not be there."""
        self.sweep()

    def pipeline(self) -> None:
        """Let the next member take its lock; the last one does the work of all."""
        self.whole.go_on(self)

    def leave(self) -> None:
        """Write down that there was nothing to put back."""
        self.result = run_module.Result(
            publish="none", publish_reason="nothing to do: that step did not replace this table"
        )


class GroupRollback(nest.Nest[MemberRollback]):
    """Swaps the kept tables of a step with the targets; those that are replaced are kept in turn.

    Args:
        group: its name.
        members: in the order of the config.
        wanted: beginning of the id of the step that is undone; None: the latest.
    """

    was = "put back"

    def __init__(
        self, group: str, members: Sequence[MemberRollback], wanted: str | None = None
    ) -> None:
        super().__init__(group, members)
        self._wanted = wanted
        for member in members:
            member.whole = self

    def run_id(self, transfer: str) -> str:
        """Return the id of a member's run."""
        return next(one.run.id for one in self.members if one.run.transfer_name == transfer)

    def work(self) -> None:
        """Prove all kept tables, and swap them with the targets in one step."""
        step = choose(
            {member.run.transfer_name: member.kept() for member in self.members},
            self._wanted,
            self.name,
        )
        self._refuse_lost(step)
        chosen = step.tables
        concerned = [member for member in self.members if member.run.transfer_name in chosen]
        for member in concerned:
            with self.blaming(member):
                member.refuse()
        for member in concerned:
            with self.blaming(member):
                member.make_ready(chosen[member.run.transfer_name])
        for member in self.members:
            with self.blaming(member):
                member.check()
        first = concerned[0]
        with first.run.phase(run_module.Phase.PUBLISH):
            replaced = first.target.swap_together(
                [member.exchange for member in concerned], first.run.names
            )
        for member, rows in zip(concerned, replaced, strict=True):
            member.report(rows)
        for member in self.members:
            if member not in concerned:
                member.leave()

    def _refuse_lost(self, step: Step) -> None:
        """Refuse a step of which a table is gone: what a later one replaced is of another day."""
        for member in self.members:
            name = member.run.transfer_name
            table = step.tables.get(name)
            if (table is None or table.run_id != step.id) and member.has_lost(step.id):
                with self.blaming(member):
                    raise errors.ConfigError(
                        f"the table of {name} that the run {step.id} replaced is kept no more, so"
                        " that the group cannot be put back as it was",
                        hint="`--list` shows what is kept; choose another step with `--to`",
                    )


def choose(kept: Mapping[str, Sequence[undo.Kept]], wanted: str | None, group: str) -> Step:
    """Return the table of each member that stood before a step; members without one are left out.

    That is the one that the step replaced, or, where it left the member alone, the one that the
    next step replaced.

    Args:
        kept: what is kept of each member.
        wanted: beginning of the step's id; None: the latest.
        group: for messages.

    Raises:
        errors.ConfigError: nothing is kept.
        errors.UsageError: no step, or several, are meant.
    """
    known = steps(kept)
    one_of_each = [next(iter(step.tables.values())) for step in known]
    step_id = undo.choose(one_of_each, wanted, group).run_id
    chosen: dict[str, undo.Kept] = {}
    for step in known:
        # The latest step comes first, and what an earlier one replaced goes over it.
        chosen |= step.tables
        if step.id == step_id:
            break
    return Step(step_id, chosen)


def steps(kept: Mapping[str, Sequence[undo.Kept]]) -> list[Step]:
    """Return the steps that left kept tables, the latest first."""
    found: dict[str, dict[str, undo.Kept]] = {}
    for name, tables in kept.items():
        for table in tables:
            found.setdefault(table.run_id, {})[name] = table
    dawn = datetime.datetime.min.replace(tzinfo=datetime.UTC)

    def began(step: Step) -> tuple[datetime.datetime, str]:
        # Ids tell the second only; the ledger knows better.
        known = [table.replaced_at for table in step.tables.values() if table.replaced_at]
        return min(known, default=dawn), step.id

    return sorted((Step(*item) for item in found.items()), key=began, reverse=True)


def listed(config: model.Config, group: str) -> list[Step]:
    """Return the steps of a group of which something is kept, the latest first; writes nothing."""
    members = config.groups[group]
    return steps({member.name: undo.listed(config, member.name) for member in members})


def build(
    config: model.Config,
    group: str,
    *,
    wanted: str | None = None,
    is_unverified: bool = False,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    run_id: str | None = None,
) -> GroupRollback:
    """Return the rollback of a group; nothing is opened yet.

    Args:
        config: with one environment merged in.
        group: key in `Config.groups`.
        wanted: see `GroupRollback`.
        is_unverified: put tables back that the ledger knows no fingerprint of.
        progress: None is silent.
        logger: None takes the logger ``tmg_etl``.
        run_id: of the first member, which is that of the step; None makes a new one.
    """
    from tmg_etl.ledger import recorder

    stop, step_id = run_module.StopFlag(), run_id or run_module.new_run_id()
    # One for all: the ledger is opened once.
    written = recorder.LedgerRecorder(config.ledger, config.redact)
    members = []
    for number, transfer in enumerate(config.groups[group]):
        run = undo.make_run(
            config, transfer.name, progress, logger, None if number else step_id, stop
        )
        members.append(
            MemberRollback(
                dataclasses.replace(run, group=group, step_id=step_id),
                ledger_url=config.ledger,
                is_unverified=is_unverified,
                recorder=written,
            )
        )
    return GroupRollback(group, members, wanted)
