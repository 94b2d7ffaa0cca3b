"""Numbers as people read them: rows, rates, durations."""

from __future__ import annotations


def count(number: int | None) -> str:
    """Return a number of things with thousands separated; None is ``unknown``."""
    return "unknown" if number is None else f"{number:,}"


def rows(number: int) -> str:
    """Return a number of rows with its unit."""
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def size(number: int) -> str:
    """Return a number of bytes in the decimal unit that fits it, as ``1.5 MB``."""
    if number < 1000:
        return f"{number} B"
    scaled = float(number)
    for unit in ("kB", "MB", "GB"):
        scaled /= 1000
        if scaled < 999.95:
            return f"{scaled:.1f} {unit}"
    return f"{scaled / 1000:,.1f} TB"


def rate(number: int | None, seconds: float) -> int | None:
    """Return things per second, rounded; None where that says nothing.

    Args:
        number: how many; None is not known.
        seconds: how long; under a millisecond no rate is known.
    """
    if not number or seconds < 0.001:
        return None
    return round(number / seconds)


def duration(seconds: float) -> str:
    """Return a duration in the two largest units that matter, as ``7.3 s`` or ``1 h 02 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"
