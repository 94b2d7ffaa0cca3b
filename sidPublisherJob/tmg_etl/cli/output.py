"""Stdout: results go there and nothing else, and a reader that went away is no error."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from typing import Any, TextIO

from tmg_etl import errors


def write(text: str) -> None:
    """Print `text` and a newline to stdout at once.

    A closed stdout, or a pipe whose reader has gone (``| head``), is silent from then on.

    Raises:
        errors.StorageFullError: stdout is a file on a full disk.
        errors.TemporaryError: it cannot be written for another reason.
    """
    _emit(f"{text}\n")


def flush() -> None:
    """Send what was printed by others; fails as `write` does."""
    _emit("")


def is_broken() -> bool:
    """Return whether the reader of stdout has gone while something was still to be read."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _emit(text: str) -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        kind = errors.StorageFullError if error.errno == errno.ENOSPC else errors.TemporaryError
        raise kind(f"stdout could not be written: {error.strerror or error}") from error


def write_json(value: object, *, indent: int | None = None) -> None:
    """Print `value` as JSON; on one line unless `indent` is given."""
    write(to_json(value, indent=indent))


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return `value` as JSON text; what JSON does not know (days, paths) becomes its text."""
    return json.dumps(value, ensure_ascii=False, default=_plain, indent=indent)


def silence(stream: TextIO | None) -> None:
    """Send what is still in the buffer of `stream`, and all that follows, nowhere.

    Otherwise Python tries once more at exit, and reports that with an exit code of its own.
    """
    if stream is None:
        return
    # Without a file descriptor behind it there is nothing to be flushed at exit either.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that data cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: object) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, bytes):
        return value.hex()
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value)
