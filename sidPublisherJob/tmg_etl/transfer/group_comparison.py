"""The members of a publish group, each compared with its source; writes to none of them."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.transfer import comparison

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class Uncompared:
    """A member that could not be compared.

    Attributes:
        transfer: its name.
        error: why.
    """

    transfer: str
    error: errors.TmgEtlError

    @property
    def is_equal(self) -> bool:
        """Return False: nobody knows."""
        return False

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"equal": False, "transfer": self.transfer, "error": str(self.error)}


@dataclasses.dataclass(frozen=True)
class GroupComparison:
    """What came of comparing a group.

    Attributes:
        group: its name.
        members: what came of each, in the order of the config.
    """

    group: str
    members: tuple[comparison.Comparison | Uncompared, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 where all are equal, 65 where one differs, else the code of the first error."""
        if all(member.is_equal for member in self.members):
            return errors.EXIT_OK
        uncompared = [member for member in self.members if isinstance(member, Uncompared)]
        if len(uncompared) < sum(not member.is_equal for member in self.members):
            return errors.EXIT_DATA
        return uncompared[0].error.exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "equal": all(member.is_equal for member in self.members),
            "group": self.group,
            "members": [member.as_dict() for member in self.members],
        }


def make(
    config: model.Config,
    group: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode | None,
    limit: int = 20,
) -> GroupComparison:
    """Compare each member of a group with its source, also where another one cannot be.

    Arguments as for `comparison.make`, `limit` for each member. Of members without a delta all
    rows are compared in both modes, as a run would publish them.
    """

    def compared(member: model.Transfer) -> comparison.Comparison | Uncompared:
        is_whole = member.delta is None
        try:
            return comparison.make(
                config,
                member.name,
                execution_date=execution_date,
                delta_start_date=None if is_whole else delta_start_date,
                write_mode=run_module.WriteMode.TRUNCATE if is_whole else write_mode,
                limit=limit,
            )
        except errors.TmgEtlError as error:
            return Uncompared(member.name, error)

    return GroupComparison(group, tuple(map(compared, config.groups[group])))
