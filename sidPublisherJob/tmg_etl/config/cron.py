"""Checks a five-field cron schedule by the rules of a Kubernetes CronJob.

One minute more is taken: ``H``, for which the chart writes one that it makes of the name.
"""

from __future__ import annotations

import dataclasses

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


# Sunday is 0 and 7 is refused, because the CronJob controller refuses it.
# Source: https://pkg.go.dev/github.com/robfig/cron/v3
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)


def check(schedule: str) -> None:
    """Do nothing when `schedule` is valid.

    Raises:
        ValueError: what was expected, with the field that is wrong.
    """
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise ValueError(f"five fields ({names}) and not {len(parts)}")
    for text, field in zip(parts, _FIELDS, strict=True):
        if text == "H" and field.name == "minute":
            continue
        for item in text.split(","):
            _check_item(item, field)


def _check_item(item: str, field: _Field) -> None:
    span, slash, step = item.partition("/")
    if slash and not (step.isascii() and step.isdigit() and 0 < int(step[:4]) <= field.high):
        raise ValueError(f"a step from 1 to {field.high} in the {field.name}, not {step!r}")
    if span == "*":
        return
    low, dash, high = span.partition("-")
    first = _number(low, field)
    if dash and _number(high, field) < first:
        raise ValueError(f"a rising range in the {field.name}, not {span!r}")


def _number(text: str, field: _Field) -> int:
    word = text.lower()
    if word in field.words:
        return field.low + field.words.index(word)
    if text.isascii() and text.isdigit() and field.low <= int(text[:4]) <= field.high:
        return int(text[:4])
    raise ValueError(f"{field.low} to {field.high} in the {field.name}, not {text!r}")
