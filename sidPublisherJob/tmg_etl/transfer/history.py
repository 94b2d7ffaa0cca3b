"""How long past runs of a transfer took, from the ledger, for a plan."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.transfer import publish

if TYPE_CHECKING:
    from tmg_etl.ledger import record

_RUNS = 200
#: Runs that an estimate is made from: the latest ones, as tables grow and machines change.
_LATEST = 20


@dataclasses.dataclass(frozen=True)
class Pace:
    """What the ledger knows of past runs.

    Attributes:
        runs: how many the estimate is made from.
        seconds: how long the next run will take; None without past runs.
        running: ids of runs that have not written their end.
        reason: why nothing is known; None when something is.
    """

    runs: int = 0
    seconds: float | None = None
    running: tuple[str, ...] = ()
    reason: str | None = None


def pace(ledger_url: str, run: run_module.Run, rows: int | None) -> Pace:
    """Return how long a run will take, by the median of past ones; writes nothing.

    Args:
        ledger_url: where runs are remembered.
        run: its transfer, environment and write mode are those of the past runs.
        rows: rows that it will read; None when unknown: then runs are taken to be alike.
    """
    # SQLAlchemy is imported here: a run that makes no plan and writes no ledger needs none.
    from tmg_etl.ledger import store

    try:
        ledger = store.peek(ledger_url)
        if ledger is None:
            return Pace(reason="the ledger holds no runs yet")
        with ledger:
            past = ledger.list(run.transfer_name, limit=_RUNS)
    except errors.TmgEtlError as error:
        return Pace(reason=errors.one_line(error.message))
    # A run that found nothing to do says nothing about one that has to.
    alike = [
        other
        for other in past
        if (other.env, other.write_mode) == (run.env, run.write_mode.value)
        and other.publish != publish.Kind.NONE
    ]
    running = tuple(
        other.id for other in past if other.env == run.env and other.status == "running"
    )
    done = [other for other in alike if other.status == "succeeded"][:_LATEST]
    is_member = run.transfer.publish_group is not None
    times = [(_duration_s(other, is_member), other.rows_read) for other in done]
    seconds = _seconds([(took, read) for took, read in times if took], rows)
    reason = "no run of this transfer has succeeded yet" if seconds is None else None
    return Pace(len(done), seconds, running, reason)


def _duration_s(run: record.Record, is_member: bool) -> float | None:
    """Return how long a run took, without its waiting: for the lock, for others of its group."""
    seconds = dict(run.phase_seconds or {})
    waited_s = seconds.pop(run_module.WAIT, 0.0)
    if is_member and seconds:
        return sum(seconds.values())
    return None if run.duration_s is None else run.duration_s - waited_s


def _seconds(times: list[tuple[float, int | None]], rows: int | None) -> float | None:
    """Return seconds for `rows`, by seconds and rows of past runs."""
    if not times:
        return None
    speeds = [read / took for took, read in times if read]
    if rows is None or not speeds:
        return statistics.median(took for took, _ in times)
    # A run's fixed cost does not shrink with its rows.
    return max(rows / statistics.median(speeds), min(took for took, _ in times))
