"""Waiting for what somebody else holds: bounded, said once, and ended by a stop.

No I/O here but sleeping: the caller tries, and asks who the holder is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tmg_etl import errors
from tmg_etl import run as run_module

_SHORTEST_POLL_S = 0.02
_LONGEST_POLL_S = 0.25

_logger = logging.getLogger("tmg_etl")


class Wait:
    """The time between a first attempt and the last one.

    Args:
        subject: what is waited for, as messages name it.
        wait_s: seconds from now on; 0 tries once.
        stop: ends the waiting when a signal asks to stop; None: nothing does.
        longest_poll_s: most seconds between two attempts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        subject: str,
        wait_s: float,
        stop: run_module.StopFlag | None = None,
        *,
        longest_poll_s: float = _LONGEST_POLL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subject = subject
        # For messages: it may be what is left of a longer one.
        self._wait_s = round(wait_s, 1)
        self._stop = stop
        self._clock = clock
        self._deadline = clock() + wait_s
        self._longest_poll_s = longest_poll_s
        self._poll_s = _SHORTEST_POLL_S
        self._is_said = False

    @property
    def left_s(self) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._deadline - self._clock())

    def pause(self, holder: Callable[[], str | None]) -> None:
        """Sleep until the next attempt; the first time, say who is waited for.

        Args:
            holder: returns who holds it, None where that is not known.

        Raises:
            errors.LockBusyError: the time is over; names the holder.
            errors.Stopped: a signal asked to stop.
        """
        if self._stop is not None:
            self._stop.check()
        if self.left_s <= 0:
            raise errors.LockBusyError(self._subject, self._wait_s, holder())
        if not self._is_said:
            self._is_said = True
            by = holder()
            _logger.info(
                "waiting for %s, at most %g s: it is locked%s",
                self._subject,
                self._wait_s,
                f" by {errors.one_line(by)}" if by else "",
            )
        time.sleep(min(self._poll_s, self.left_s))
        self._poll_s = min(self._poll_s * 2, self._longest_poll_s)
