"""Counts rows and seconds by phase; what both kinds of progress show comes from here."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from tmg_etl import run
from tmg_etl.cli import quantity


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is known of one phase at one moment.

    Attributes:
        phase: which one.
        rows: rows so far; 0 where the phase does not count any.
        total_rows: rows that are expected; None is not known.
        seconds: time within the phase so far.
        is_open: whether it is under way.
    """

    phase: run.Phase
    rows: int
    total_rows: int | None
    seconds: float
    is_open: bool

    @property
    def rows_per_s(self) -> int | None:
        """Return the mean rate; None where no rows are counted or no time has passed."""
        return quantity.rate(self.rows, self.seconds)

    def render(self) -> str:
        """Return the reading as one line of text."""
        parts = []
        if self.rows or self.total_rows:
            # A total is an estimate at times: once it is exceeded it is not shown any more.
            total = self.total_rows if self.is_open else None
            of = f"{quantity.count(self.rows)} of " if total and total >= self.rows else ""
            parts.append(of + quantity.rows(total if of and total else self.rows))
        if self.rows_per_s:
            parts.append(f"{quantity.count(self.rows_per_s)} rows/s")
        parts.append(quantity.duration(self.seconds))
        return f"{self.phase}: {', '.join(parts)}"


@dataclasses.dataclass
class _Tally:
    total_rows: int | None = None
    rows: int = 0
    seconds: float = 0.0
    opened_at_s: float | None = None


class Meter:
    """A thread-safe count of rows and seconds by phase.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: dict[run.Phase, _Tally] = {}

    def begin(self, phase: run.Phase, total_rows: int | None = None) -> None:
        """Open a phase, or open it again: counts go on. A total that is known stays known."""
        with self._lock:
            tally = self._tallies.setdefault(phase, _Tally())
            if total_rows is not None:
                tally.total_rows = total_rows
            if tally.opened_at_s is None:
                tally.opened_at_s = self._clock()

    def advance(self, phase: run.Phase, rows: int) -> None:
        """Count `rows` more."""
        with self._lock:
            self._tallies.setdefault(phase, _Tally()).rows += rows

    def end(self, phase: run.Phase) -> None:
        """Stop the clock of a phase."""
        with self._lock:
            tally = self._tallies.get(phase)
            if tally is not None and tally.opened_at_s is not None:
                tally.seconds += self._clock() - tally.opened_at_s
                tally.opened_at_s = None

    def read(self, phase: run.Phase) -> Reading:
        """Return what is known of a phase now."""
        with self._lock:
            tally = self._tallies.get(phase, _Tally())
            opened_at_s = tally.opened_at_s
            running = 0.0 if opened_at_s is None else self._clock() - opened_at_s
            return Reading(
                phase=phase,
                rows=tally.rows,
                total_rows=tally.total_rows,
                seconds=tally.seconds + running,
                is_open=opened_at_s is not None,
            )

    def phases(self) -> list[run.Phase]:
        """Return the phases seen, in the order they began."""
        with self._lock:
            return list(self._tallies)
