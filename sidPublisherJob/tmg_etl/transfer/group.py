"""`Group`: the transfers of a publish group, each a run of its own, published in one step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import group_choice, nest, pipeline, publish


class Group(nest.Nest[pipeline.TransferPipeline]):
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
        super().__init__(name, members)
        self._write_mode = write_mode
        self._published: dict[str, publish.Published] = {}
        for member in members:
            member.company = self

    def carry_out(self, member: pipeline.TransferPipeline) -> publish.Published | None:
        """Run the members after this one; the last one loads and publishes all."""
        self.go_on(member)
        return self._published.get(member.run.transfer_name)

    def work(self) -> None:
        """Load all members and publish them."""
        order = self._order()
        self._published = self._publish(self._staged(), order)

    @contextlib.contextmanager
    def blaming(self, member: pipeline.TransferPipeline) -> Iterator[None]:
        """Remember whatever is raised as that member's failure, or the loss of its lock."""
        with super().blaming(member), member.fenced():
            yield

    def _order(self) -> list[tuple[int, base.Part]]:
        """Choose how all are published; return in which order those are written that are."""
        active = [one for one in self.members if one.choice.kind is not publish.Kind.NONE]
        candidates = [
            group_choice.Candidate(
                one.run.transfer,
                one.target.describe(),
                one.target.capabilities,
                one.columns.kept(one.run.transfer.reset),
            )
            for one in active
        ]
        for one, choice in zip(
            active, group_choice.choose(candidates, self._write_mode), strict=True
        ):
            one.choose(choice)
        if not active or active[0].choice.kind is publish.Kind.SWAP:
            return []
        tables = [one.target.table for one in active]
        references = {
            one.target.table: one.target.references()
            for one, candidate in zip(active, candidates, strict=True)
            if candidate.table is not None
        }
        keyless = [one.target.table for one in active if not one.run.transfer.key]
        return group_choice.order(tables, keyless, references)

    def _staged(self) -> dict[str, publish.Step]:
        """Load all members in turn; return what is to be published, by transfer."""
        steps: dict[str, publish.Step] = {}
        for number, member in enumerate(self.members, 1):
            with self.blaming(member):
                try:
                    step = member.stage()
                except BaseException:
                    # A load that is cut short may have the session's transaction open, which the
                    # cleanups of the others would become part of.
                    with contextlib.suppress(Exception):
                        member.drop_tables()
                    raise
            # Its snapshot may lock a table that is about to be replaced.
            member.source.close()
            name = member.run.transfer_name
            if step is not None:
                member.logger.info("loaded %s, %d of %d", name, number, len(self.members))
                steps[name] = step
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
                blame=lambda step: self.blaming(by_name[step.run.transfer_name]),
            )
        return dict(zip(steps, done, strict=True))
