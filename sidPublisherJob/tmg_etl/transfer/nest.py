"""`Nest`: the runs of a publish group, each within the one before it.

Each takes its lock and prepares, then executes the next one, and the last one does the work of all.
So whatever can be refused before the work is refused before anything is done, each member cleans up
after itself, and its row in the ledger says how it ended.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from tmg_etl import errors, etl
from tmg_etl import run as run_module
from tmg_etl.connectors import base

Member = TypeVar("Member", bound=etl.TMGETL)


@dataclasses.dataclass(frozen=True)
class GroupOutcome:
    """How the run of a group ended.

    Attributes:
        group: its name.
        members: the outcome of each transfer, by its name, in the order of the config.
        error: why nothing was done, or why a run failed after the work; None on success.
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


class Nest(abc.ABC, Generic[Member]):
    """The runs of a group; `execute` runs them once.

    A member's `pipeline` calls `go_on`, and its target comes from `open_target`.

    Args:
        name: of the group.
        members: one run for each transfer, in the order of the config; they have one stop flag and
            one `step_id`.
    """

    #: What did not happen to any table, in the words of the members that did not fail themselves.
    was: ClassVar[str] = "published"

    def __init__(self, name: str, members: Sequence[Member]) -> None:
        self.name = name
        self.members = tuple(members)
        # Whoever locks several tables does it in one order: two that wait for each other would
        # wait for ever.
        self._turns = sorted(members, key=_place)
        self._host: base.Target | None = None
        self._outcomes: dict[str, run_module.Outcome] = {}
        self._is_done = False
        #: The transfer that failed first, None where it is no single one's fault, and why.
        self._failure: tuple[str | None, BaseException] | None = None

    @property
    def stop(self) -> run_module.StopFlag:
        """Return the flag that stops all of them."""
        return self.members[0].run.stop

    @abc.abstractmethod
    def work(self) -> None:
        """Do the work of all, with all locks held."""

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

    def open_target(self, member: Member) -> base.Target:
        """Return the member's target, over the session of the first one that was opened.

        Raises:
            errors.ConfigError: its kind publishes each table alone.
        """
        if self._host is not None:
            return self._host.beside(member.run.transfer.target.table)
        self._host = open_first(member.run)
        return self._host

    def go_on(self, member: Member) -> None:
        """Run the members after this one; the last one does the work of all.

        Raises:
            BaseException: why it was not done, as this member's own run tells it.
        """
        following = self._turns[self._turns.index(member) + 1 :]
        if following:
            self._execute(following[0])
        else:
            try:
                self.work()
                self._is_done = True
            except BaseException as error:  # noqa: BLE001 - each member raises it in its own run
                self._blame(None, error)
        if not self._is_done:
            raise self._reason_for(member)

    @contextlib.contextmanager
    def blaming(self, member: Member) -> Iterator[None]:
        """Remember whatever is raised as that member's failure."""
        try:
            yield
        except BaseException as error:
            self._blame(member.run.transfer_name, error)
            raise

    def _execute(self, member: Member) -> None:
        outcome = member.execute()
        name = member.run.transfer_name
        self._outcomes[name] = outcome
        if outcome.error is not None and not self._is_done:
            self._blame(name, outcome.error)

    def _blame(self, name: str | None, error: BaseException) -> None:
        """Remember the first failure: the others follow from it."""
        if self._failure is None:
            self._failure = name, error

    def _reason_for(self, member: Member) -> BaseException:
        """Return what a member's own run fails with."""
        assert self._failure is not None
        name, error = self._failure
        is_own = name is None or name == member.run.transfer_name
        if is_own or not isinstance(error, Exception):
            return error
        return errors.GroupError(self.name, name or "", error, was=self.was)

    def _error(self, outcomes: Mapping[str, run_module.Outcome]) -> BaseException | None:
        if self._failure is not None:
            name, error = self._failure
            # A stop cancels statements, whose errors mean nothing by themselves.
            return error if name is None else outcomes[name].error or error
        return next((one.error for one in outcomes.values() if one.error is not None), None)


def _place(member: etl.TMGETL) -> tuple[str, str]:
    table = member.run.transfer.target.table
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
