"""The windows of a back-fill: a span of days, cut by a step, each with an index.

Pure: the same span and step give the same windows in a pod, in its retry, and at the terminal.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Sequence

from tmg_etl import errors, run

MOST = 10_000
"""Windows of one back-fill. Kubernetes takes 100 000; so many pods are a mistake in the step."""

LOCK_WAIT_S = 3600
"""What a window waits for the one before it: they share a target, so that all but one wait."""

_STEP = re.compile(r"([1-9][0-9]{0,3})([dwm])")
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


@dataclasses.dataclass(frozen=True)
class Step:
    """Length of a window: so many days, weeks or calendar months."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Step:
        """Return the step that `text` says.

        Raises:
            errors.UsageError: it is not a number and one of d, w, m.
        """
        match = _STEP.fullmatch(text)
        if match is None:
            raise errors.UsageError(
                f"found the step {errors.shorten(text, 40)}, expected 1d, 1w or 1m",
                hint="a number of days, weeks or calendar months",
            )
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        """Return the step as it is written."""
        return f"{self.count}{self.unit}"

    def end(self, start: datetime.date) -> datetime.date:
        """Return the last day of the window that begins on `start`."""
        if self.unit != "m":
            days = self.count * (7 if self.unit == "w" else 1)
            return start + datetime.timedelta(days=days - 1)
        months = start.year * 12 + start.month - 1 + self.count
        return datetime.date(months // 12, months % 12 + 1, 1) - datetime.timedelta(days=1)


def cut(first: datetime.date, last: datetime.date, step: Step) -> list[run.Window]:
    """Return the windows from `first` to `last`, both included; their places are their indexes.

    Windows of months end with the month. The last window ends on `last`.

    Raises:
        errors.UsageError: the span ends before it starts, or has more than `MOST` windows.
    """
    if first > last:
        raise errors.UsageError(
            f"the back-fill starts on {first:%Y%m%d} and ends on {last:%Y%m%d}",
            hint="--from must not be after --to",
        )
    windows: list[run.Window] = []
    start = first
    while not windows or windows[-1].end < last:
        if windows:
            start = windows[-1].end + datetime.timedelta(days=1)
        if len(windows) == MOST:
            raise errors.UsageError(
                f"{first:%Y%m%d} to {last:%Y%m%d} by {step} is more than {MOST} windows",
                hint="take a longer --step",
            )
        try:
            end = min(step.end(start), last)
        except (OverflowError, ValueError):
            end = last
        windows.append(run.Window(start, end))
    return windows


def parse_indexes(text: str) -> list[int]:
    """Return the indexes in a list like ``3,7-9``, as Kubernetes writes them, in rising order.

    Raises:
        errors.UsageError: it is not such a list.
    """
    found: set[int] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(item)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise errors.UsageError(
                f"found the windows {errors.shorten(text, 60)}, expected numbers like 3,7-9"
            )
        found |= set(range(low, high + 1))
    return sorted(found)


def format_indexes(indexes: Iterable[int]) -> str:
    """Return indexes as Kubernetes writes them: ``3,7-9``."""
    parts: list[list[int]] = []
    for index in sorted(set(indexes)):
        if parts and parts[-1][-1] == index - 1:
            parts[-1][1:] = [index]
        else:
            parts.append([index])
    return ",".join("-".join(map(str, part)) for part in parts)


def pick(windows: Sequence[run.Window], only: Sequence[int] | None) -> list[int]:
    """Return the indexes to run: all, or those named.

    Raises:
        errors.UsageError: an index is beyond the last window.
    """
    if only is None:
        return list(range(len(windows)))
    if not only or only[-1] >= len(windows):
        raise errors.UsageError(
            f"found the windows {format_indexes(only) or 'none'}, expected some of "
            f"0-{len(windows) - 1}"
        )
    return list(only)
