"""How a publish group becomes visible: all tables by one swap, or all in place; and in which order.

Pure: takes what the targets say of themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import publish

if TYPE_CHECKING:
    from tmg_etl.config import model


_TOGETHER = "in place, with its group: "
_MERGED = "the group is merged"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A member that has something to publish.

    Attributes:
        transfer: declared.
        table: its target; None when there is none yet.
        capabilities: of the target.
        kept: its columns that somebody else fills.
    """

    transfer: model.Transfer
    table: base.Table | None
    capabilities: base.Capabilities
    kept: Sequence[str] = ()

    def choice(self, write_mode: run_module.WriteMode) -> publish.Choice:
        """Return how it would be published alone."""
        mode = mode_of(self.transfer, write_mode)
        return publish.choose(self.transfer, self.table, self.capabilities, mode, self.kept)


def mode_of(transfer: model.Transfer, write_mode: run_module.WriteMode) -> run_module.WriteMode:
    """Return a member's own mode in a run of its group: without a `delta:` it is refreshed."""
    return run_module.WriteMode.TRUNCATE if transfer.delta is None else write_mode


def choose(
    candidates: Sequence[Candidate], write_mode: run_module.WriteMode
) -> list[publish.Choice]:
    """Return how each member is published, in one step.

    Args:
        candidates: the members that are published; one alone is published as without a group.
        write_mode: of the group's run.

    Raises:
        errors.ConfigError: what a member asks for cannot be done, or not with the others.
    """
    alone = [one.choice(write_mode) for one in candidates]
    if len(candidates) < 2:
        return alone
    reason = _in_place_because(candidates, alone, write_mode)
    if reason is None:
        kind = publish.Kind.SWAP
        words = f"{len(candidates)} tables of the group are swapped in one step"
        return [publish.Choice(kind, words) for _ in candidates]
    return [_in_place(one, reason, write_mode) for one in candidates]


def reason_of(choices: Sequence[publish.Choice]) -> str:
    """Return why a group is published as it is, in words for the whole of it."""
    merges = (publish.Kind.MERGE, publish.Kind.REPLACE_WINDOW)
    others = [choice.reason for choice in choices if choice.kind not in merges]
    if len(choices) > 1 and not others:
        return _MERGED
    return (others or [choices[0].reason])[0].removeprefix(_TOGETHER)


def _in_place_because(
    candidates: Sequence[Candidate],
    alone: Sequence[publish.Choice],
    write_mode: run_module.WriteMode,
) -> str | None:
    if write_mode is run_module.WriteMode.DELTA:
        return _MERGED
    for one, choice in zip(candidates, alone, strict=True):
        if one.table is None:
            continue
        table = one.transfer.target.table
        if one.table.swap_blockers:
            return f"a rename would break {table}: {'; '.join(one.table.swap_blockers)}"
        if one.transfer.publish == "diff":
            return f"{one.transfer.name} asks for a diff"
        if one.kept and choice.kind is not publish.Kind.SWAP:
            return f"a rename of {table} would reset {publish.own_columns(one.kept)}"
    return None


def _in_place(one: Candidate, reason: str, write_mode: run_module.WriteMode) -> publish.Choice:
    transfer = one.transfer
    if mode_of(transfer, write_mode) is run_module.WriteMode.DELTA:
        return one.choice(write_mode)
    # A delta keeps no previous table of anything; what is kept of the last full refresh stays.
    is_delta = write_mode is run_module.WriteMode.DELTA
    for key, is_asked in (
        ("keep_previous", transfer.keep_previous is not None and not is_delta),
        ("publish: swap", transfer.publish == "swap"),
    ):
        if is_asked:
            raise errors.ConfigError(
                f"`{key}` of {transfer.name} needs a swap, and its group is published in place:"
                f" {reason}",
                hint=f"remove it from {transfer.name}, or take {transfer.name} out of the group",
            )
    is_diff = bool(transfer.key) and one.capabilities.can_diff
    kind = publish.Kind.DIFF if is_diff else publish.Kind.REPLACE
    return publish.Choice(kind, f"{_TOGETHER}{reason}")


def order(
    tables: Sequence[str],
    keyless: Collection[str],
    references: Mapping[str, frozenset[str]],
) -> list[tuple[int, base.Part]]:
    """Return in which order tables are written in place so that their foreign keys always hold.

    A table that others refer to gets its new rows before them and loses its old ones after them.

    Args:
        tables: of the members.
        keyless: those whose rows are all deleted and inserted, because no key tells them apart.
        references: by table, the tables that its foreign keys refer to.

    Returns:
        Positions in `tables`, each with what is done to it.

    Raises:
        errors.ConfigError: tables refer to each other, or one that others refer to has no key.
    """
    places = {table.casefold(): place for place, table in enumerate(tables)}
    parents = {
        place: {
            places[name.casefold()]
            for name in references.get(table, ())
            if name.casefold() in places and places[name.casefold()] != place
        }
        for place, table in enumerate(tables)
    }
    referenced = set().union(*parents.values())
    for place in sorted(referenced):
        if tables[place] in keyless:
            child = next(tables[other] for other in parents if place in parents[other])
            raise errors.ConfigError(
                f"{tables[place]} has no `key:`, so that all its rows would be deleted, and a"
                f" foreign key of {child} in the same group refers to them",
                hint=f"declare the `key:` of {tables[place]}",
            )
    sequence = _parents_first(tables, parents)
    first = [
        (place, base.Part.WRITE if place in referenced else base.Part.ALL) for place in sequence
    ]
    last = [(place, base.Part.DELETE) for place in reversed(sequence) if place in referenced]
    return first + last


def _parents_first(tables: Sequence[str], parents: Mapping[int, set[int]]) -> list[int]:
    sequence: list[int] = []
    waiting = list(parents)
    while waiting:
        ready = [place for place in waiting if parents[place] <= set(sequence)]
        if not ready:
            names = ", ".join(tables[place] for place in waiting)
            raise errors.ConfigError(
                f"foreign keys lead in a circle, so that no order fits: {names}",
                hint="drop one of the foreign keys, or take a table out of the group",
            )
        sequence += ready
        waiting = [place for place in waiting if place not in ready]
    return sequence
