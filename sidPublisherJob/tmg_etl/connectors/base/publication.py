"""What a publish is about to do, and what it did."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True)
class Changes:
    """Rows of the target that a publish touched."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0

    def plus(self, other: Changes) -> Changes:
        """Return the sum of both."""
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Changes(*(one + more for one, more in zip(mine, others, strict=True)))


class Part(enum.Enum):
    """Which statements of a merge are meant, where foreign keys bind several tables of a group."""

    ALL = "all"
    WRITE = "write"  # updates and inserts
    DELETE = "delete"  # what `WRITE` left: the rows that go


@dataclasses.dataclass(frozen=True)
class Intent:
    """What a run is about to do to a target, to ask whether it can.

    Attributes:
        renames: the target is replaced by a rename; else its rows are changed in place.
        creates: there is no target yet.
        evolves: columns are added to it.
        rows: rows that are loaded beside it; None when unknown.
    """

    renames: bool
    creates: bool = False
    evolves: bool = False
    rows: int | None = None


@dataclasses.dataclass(frozen=True)
class Readiness:
    """Whether a target's database would let a run do what it intends, as it is now.

    Attributes:
        missing: privileges that the run's user lacks, one phrase each ("CREATE on schema public").
        in_the_way: sessions whose locks or transactions a publish would wait for, one phrase each.
        needed_bytes: disk that the table beside the target takes; None when unknown.
        free_bytes: disk that is left where the database is; None where it does not tell.
        notes: whom a publish would disturb or has to ask, one phrase each.
        unknown: what could not be found out and why, one phrase each.
    """

    missing: tuple[str, ...] = ()
    in_the_way: tuple[str, ...] = ()
    needed_bytes: int | None = None
    free_bytes: int | None = None
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
