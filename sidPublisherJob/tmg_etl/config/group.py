"""Publish groups: which transfers belong together, and what they must agree on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tmg_etl.config import problem, rule

if TYPE_CHECKING:
    from tmg_etl.config.connection import Connection
    from tmg_etl.config.transfer import Transfer

#: Each member holds a lock on a connection of its own, and servers have a hundred by default.
MOST_MEMBERS = 50
#: Systems that take names in upper and lower case for one table.
_CASELESS = frozenset({"duckdb", "sqlite"})


def by_name(transfers: Mapping[str, Transfer]) -> dict[str, tuple[Transfer, ...]]:
    """Return the members of each group, groups and members as declared."""
    groups: dict[str, tuple[Transfer, ...]] = {}
    for transfer in transfers.values():
        if transfer.publish_group is not None:
            found = groups.get(transfer.publish_group, ())
            groups[transfer.publish_group] = (*found, transfer)
    return groups


def check(transfers: Mapping[str, Transfer], connections: Mapping[str, Connection]) -> None:
    """Refuse groups that cannot be published in one step.

    Args:
        transfers: with names and defaults filled in.
        connections: the named systems; empty when they are wrong themselves.

    Raises:
        pydantic_core.PydanticCustomError: says what is wrong, where.
    """
    for name, members in by_name(transfers).items():
        if name in transfers:
            raise rule.fault(
                f"found the group {problem.describe(name)}, which is a transfer's name too",
                "rename one: the command line takes either",
                at=(members[0].name, "publish_group"),
            )
        if len(members) > MOST_MEMBERS:
            raise rule.fault(
                f"found {len(members)} transfers in the group {problem.describe(name)}, expected"
                f" at most {MOST_MEMBERS}: each holds a connection",
                "make it several groups",
                at=(members[MOST_MEMBERS].name, "publish_group"),
            )
        _check_targets(name, members, connections)
        _check_schedules(name, members)
        _check_kept(name, members)


def _check_targets(
    name: str, members: tuple[Transfer, ...], connections: Mapping[str, Connection]
) -> None:
    first = members[0]
    place = first.target.connection
    kind = connections[place].type if place in connections else ""
    seen: dict[str, Transfer] = {}
    for member in members:
        if member.target.connection != place:
            raise rule.fault(
                f"found the connection {problem.describe(member.target.connection)}, expected"
                f" {problem.describe(place)}: the group {problem.describe(name)}, which"
                f" {problem.describe(first.name)} is in too, is published in one step of one"
                " database",
                "name the same connection in all its members",
                at=(member.name, "target", "connection"),
            )
        table = member.target.table
        other = seen.setdefault(table.casefold() if kind in _CASELESS else table, member)
        if other is not member:
            raise rule.fault(
                f"found the table {problem.describe(table)}, which {problem.describe(other.name)}"
                f" of the group {problem.describe(name)} publishes too",
                "give each member a table of its own",
                at=(member.name, "target", "table"),
            )


def _check_schedules(name: str, members: tuple[Transfer, ...]) -> None:
    given = [member for member in members if member.schedule is not None]
    for member in given[1:]:
        if member.schedule != given[0].schedule:
            raise rule.fault(
                f"found the schedule {problem.describe(member.schedule)}, expected"
                f" {problem.describe(given[0].schedule)}, as {problem.describe(given[0].name)} of"
                f" the group {problem.describe(name)} has it",
                "write one schedule, in one member of the group",
                at=(member.name, "schedule"),
            )


def _check_kept(name: str, members: tuple[Transfer, ...]) -> None:
    """Refuse to keep the replaced tables of some members: to go back would mix days."""
    first = members[0]
    for member in members:
        if member.keep_previous != first.keep_previous:
            kept, expected = (one.keep_previous or "null" for one in (member, first))
            raise rule.fault(
                f"found `keep_previous: {kept}`, expected {expected}, as"
                f" {problem.describe(first.name)} of the group {problem.describe(name)} has it:"
                " their tables are put back together",
                "write the same in all its members, or write it once in `defaults`",
                at=(member.name, "keep_previous"),
            )
