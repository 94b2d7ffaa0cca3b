"""Versions: which text is one, and which of two is newer."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:[-.]?([a-zA-Z][0-9A-Za-z.-]*))?")


def is_version(text: str) -> bool:
    """Tell whether `text` is a version as `tmg_etl.__version__` holds it."""
    return _VERSION.fullmatch(text) is not None


def semantic(text: str) -> str:
    """Return a version as Helm wants it: 1.2.0-rc1 for 1.2.0rc1."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    *numbers, suffix = match.groups()
    return ".".join(numbers) + (f"-{suffix}" if suffix else "")


def order(text: str) -> tuple[int, int, int, int, tuple[tuple[int, str], ...]]:
    """Return what to sort versions by, the oldest first; 1.2.0rc1 comes before 1.2.0.

    Args:
        text: a version, see `is_version`.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    major, minor, patch, suffix = match.groups()
    parts = re.findall(r"\d+|[a-zA-Z]+", suffix or "")
    words = tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)
    return int(major), int(minor), int(patch), 0 if suffix else 1, words
