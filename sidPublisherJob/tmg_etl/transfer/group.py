"""`Group`: the transfers of a publish group, each a run of its own, published in one step.

The runs are nested: each takes its lock and prepares, then executes the next one, and the last one
loads all of them and publishes. So whatever can be refused before loading is refused before
anything is loaded, each member cleans up after itself, and its row in the ledger says how it ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import group_choice, pipeline, publish


@dataclasses.dataclass(frozen=True)
class GroupOutcome:
    """How the run of a group ended.

    Attributes:
        group: its name.
        members: the outcome of each transfer, by its name, in the order of the config.
        error: why nothing was published, or why a run failed after the publish; None on success.
    """

    group: str
    members: Mapping[str, run_module.Outcome]
    error: BaseException | None

    @property
    def exit_code(self) -> int:
        """Return the process exit code that stands for all members."""
        return errors.exit_code_of(self.error)

    @property
    def duration_s(self) -> float:
        """Return the seconds from the first member's start to the last one's end."""
        started = min(outcome.started_at for outcome in self.members.values())
        finished = max(outcome.finished_at for outcome in self.members.values())
        return (finished - started).total_seconds()


class Group:
    """The runs of a group; `execute` runs them once.

    Args:
        name: of the group.
        members: one pipeline for each transfer, in the order of the config; their runs have one
            stop flag and one `step_id`.
        write_mode: of the group's run; members without a `delta:` are refreshed in both.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[pipeline.TransferPipeline],
        write_mode: run_module.WriteMode,
    ) -> None:
        self.name = name
        self.members = tuple(members)
        self._write_mode = write_mode
        # Whoever locks several tables does it in one order: two that wait for each other would
        # wait for ever.
        self._turns = sorted(members, key=lambda member: place(member.run))
        self._host: base.Target | None = None
        self._outcomes: dict[str, run_module.Outcome] = {}
        self._published: dict[str, publish.Published] | None = None
        #: The transfer that failed first, None where it is no single one's fault, and why.
        self._failure: tuple[str | None, BaseException] | None = None

    def execute(self) -> GroupOutcome:
        """Run all members and return how they ended; never raises for what they did."""
        self._execute(self._turns[0])
        for member in self.members:
            name = member.run.transfer_name
            if name not in self._outcomes:
                self._outcomes[name] = member.forgo(self._reason_for(member))
        outcomes = {
            member.run.transfer_name: self._outcomes[member.run.transfer_name]
            for member in self.members
        }
        return GroupOutcome(self.name, outcomes, self._error(outcomes))

    def _execute(self, member: pipeline.TransferPipeline) -> None:
        member.company = self
        outcome = member.execute()
        name = member.run.transfer_name
        self._outcomes[name] = outcome
        if outcome.error is not None and self._published is None:
            self._blame(name, outcome.error)

    def _error(self, outcomes: Mapping[str, run_module.Outcome]) -> BaseException | None:
        if self._failure is not None:
            name, error = self._failure
            # A stop cancels statements, whose errors mean nothing by themselves.
            return error if name is None else outcomes[name].error or error
        return next((one.error for one in outcomes.values() if one.error is not None), None)

    # --- what members ask -----------------------------------------------------------------------

    def open_target(self, member: pipeline.TransferPipeline) -> base.Target:
        """Return the member's target, over the session of the first one that was opened.

        Raises:
            errors.ConfigError: its kind publishes each table alone.
        """
        if self._host is not None:
            return self._host.beside(member.run.transfer.target.table)
        self._host = open_first(member.run)
        return self._host

    def carry_out(self, member: pipeline.TransferPipeline) -> publish.Published | None:
        """Run the members after this one; the last one loads and publishes all."""
        following = self._turns[self._turns.index(member) + 1 :]
        if following:
            self._execute(following[0])
        else:
            self._load_and_publish()
        if self._published is None:
            raise self._reason_for(member)
        return self._published.get(member.run.transfer_name)

    def _load_and_publish(self) -> None:
        try:
            order = self._order()
            self._published = self._publish(self._staged(), order)
        except BaseException as error:  # noqa: BLE001 - each member raises it in its own run
            self._blame(None, error)

    def _blame(self, name: str | None, error: BaseException) -> None:
        """Remember the first failure: the others follow from it."""
        if self._failure is None:
            self._failure = name, error

    def _reason_for(self, member: pipeline.TransferPipeline) -> BaseException:
        """Return what a member's own run fails with."""
        assert self._failure is not None
        name, error = self._failure
        is_own = name is None or name == member.run.transfer_name
        if is_own or not isinstance(error, Exception):
            return error
        return errors.GroupError(self.name, name or "", error)

    @contextlib.contextmanager
    def _blaming(self, member: pipeline.TransferPipeline) -> Iterator[None]:
        """Remember whatever is raised as that member's failure."""
        try:
            with member.fenced():
                yield
        except BaseException as error:
            self._blame(member.run.transfer_name, error)
            raise

    # --- the work of the last one ---------------------------------------------------------------

    def _order(self) -> list[tuple[int, base.Part]]:
        """Choose how all are published; return in which order those are written that are."""
        active = [one for one in self.members if one.choice.kind is not publish.Kind.NONE]
        candidates = [
            group_choice.Candidate(one.run.transfer, one.target.describe(), one.target.capabilities)
            for one in active
        ]
        for one, choice in zip(
            active, group_choice.choose(candidates, self._write_mode), strict=True
        ):
            one.choose(choice)
        kinds = [one.choice.kind for one in active]
        if publish.Kind.SWAP in kinds or not active:
            return []
        tables = [one.target.table for one in active]
        references = {
            one.target.table: one.target.references()
            for one, candidate in zip(active, candidates, strict=True)
            if candidate.table is not None
        }
        return group_choice.order(tables, kinds, references)

    def _staged(self) -> dict[str, publish.Step]:
        """Load all members in turn; return what is to be published, by transfer."""
        steps: dict[str, publish.Step] = {}
        for member in self.members:
            with self._blaming(member):
                try:
                    step = member.stage()
                except BaseException:
                    # A load that is cut short may have the session's transaction open, which the
                    # cleanups of the others would become part of.
                    with contextlib.suppress(Exception):
                        member.drop_tables()
                    raise
            if step is not None:
                steps[member.run.transfer_name] = step
            member.run.stop.check()
        return steps

    def _publish(
        self, steps: Mapping[str, publish.Step], order: list[tuple[int, base.Part]]
    ) -> dict[str, publish.Published]:
        if not steps:
            return {}
        by_name = {member.run.transfer_name: member for member in self.members}
        with contextlib.ExitStack() as stack:
            for name in steps:
                stack.enter_context(by_name[name].timed(run_module.Phase.PUBLISH))
            done = publish.together(
                list(steps.values()),
                order,
                blame=lambda step: self._blaming(by_name[step.run.transfer_name]),
            )
        return dict(zip(steps, done, strict=True))


def place(run: run_module.Run) -> tuple[str, str]:
    """Return what runs of one group are sorted by to lock their targets."""
    table = run.transfer.target.table
    return table.casefold(), table


def open_first(run: run_module.Run) -> base.Target:
    """Return the target of a group's first run, whose session the others share.

    Raises:
        errors.ConfigError: its kind publishes each table alone.
    """
    spec = run.transfer.target
    opened = run.connections[spec.connection].open_target(spec.table)
    if not opened.capabilities.can_group:
        opened.close()
        raise errors.ConfigError(
            f"the connection {spec.connection!r} publishes each table alone, and"
            f" {run.transfer_name} is in the group {run.transfer.publish_group}",
            hint="remove `publish_group` from the transfers to it",
        )
    return opened
