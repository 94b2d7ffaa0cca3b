"""What DuckDB's exceptions mean to the user, in one place.

DuckDB names the kind of an error at the start of its message ("Conversion Error: …"), which is all
that is left of it when it happens inside an Arrow stream; so the kind is read from there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module

_KIND = re.compile(r"^(?P<kind>[A-Za-z ]+?) Error: (?P<text>.*)", re.DOTALL)
_HOLDER = re.compile(r"\(PID (\d+)\)")
# Where DuckDB quotes the statement below its message.
_QUOTE = re.compile(r"\n\s*\n?\s*LINE \d+:.*", re.DOTALL)
_FULL = ("no space left", "disk quota", "max_temp_directory_size", "max temp directory size")

_READ_ONLY = "make the file and its folder writable"
_NO_ROOM = "the target is unchanged; free space where the file is, and run it again"

_CONFIG = frozenset(
    {"Catalog", "Binder", "Parser", "Syntax", "Not implemented", "Dependency", "Permission"}
)
_DATA = frozenset(
    {
        "Conversion",
        "Constraint",
        "Out of Range",
        "Invalid Input",
        "Mismatch Type",
        "Type Mismatch",
        "Sequence",
    }
)
_TEMPORARY = frozenset({"TransactionContext", "Connection", "Resource In Use", "FATAL"})


@contextlib.contextmanager
def explained(subject: str, stop: run_module.StopFlag | None = None) -> Iterator[None]:
    """Raise what a block raises as one of our errors.

    Args:
        subject: the file, as messages name it.
        stop: when it is set, an interrupted statement is an orderly stop.
    """
    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        if stop is not None and kind_of(error) in ("INTERRUPT", "TransactionContext"):
            stop.check()
        raise translate(error, subject) from error


def kind_of(error: BaseException) -> str:
    """Return the kind of a DuckDB error, as its message starts; empty when it does not say."""
    match = _KIND.match(str(error))
    return match["kind"] if match else ""


def text_of(error: BaseException) -> str:
    """Return what a DuckDB error says, without its kind and the quoted statement."""
    match = _KIND.match(str(error))
    return errors.one_line(_QUOTE.sub("", match["text"] if match else str(error)))


def rule_of(text: str) -> errors.Constraint:
    """Return which kind of constraint a message is about."""
    lowered = text.lower()
    if "still referenced" in lowered:
        return errors.Constraint.REFERENCED
    if "foreign key" in lowered:
        return errors.Constraint.FOREIGN_KEY
    if "not null" in lowered:
        return errors.Constraint.NOT_NULL
    return errors.Constraint.CHECK if "check" in lowered else errors.Constraint.UNIQUE


def is_lock_conflict(error: BaseException) -> bool:
    """Return whether another process has the file open."""
    return kind_of(error) == "IO" and "lock" in str(error) and "set lock" in str(error)


def holder_of(error: BaseException) -> str | None:
    """Return which process has the file open, as far as DuckDB knows."""
    match = _HOLDER.search(str(error))
    return f"process {match[1]}" if match else None


def translate(error: BaseException, subject: str) -> errors.TmgEtlError:
    """Return our error for one of DuckDB's."""
    kind, text = kind_of(error), text_of(error)
    message = f"{subject}: {text}"
    if kind == "IO" or (not kind and isinstance(error, OSError)):
        return _input_output(text, message)
    if kind == "Out of Memory":
        if any(words in text.lower() for words in _FULL):
            return errors.StorageFullError(message, hint=_NO_ROOM)
        return errors.ConfigError(
            f"{subject}: DuckDB needs more memory than it may use: {text}",
            hint="raise `options: {memory_limit: …}` of the connection",
        )
    if kind == "INTERRUPT":
        return errors.TemporaryError(f"{subject}: the statement was interrupted")
    if "read-only mode" in text:
        return errors.AccessError(message, hint=_READ_ONLY)
    if kind in _TEMPORARY:
        if any(words in text.lower() for words in _FULL):
            return errors.StorageFullError(message, hint=_NO_ROOM)
        return errors.TemporaryError(message)
    if kind == "Constraint":
        return errors.ConstraintError(subject, rule_of(text), text)
    if kind in _DATA:
        return errors.DataError(message)
    if kind in _CONFIG:
        return errors.ConfigError(message)
    # INTERNAL and whatever is new: a bug, of DuckDB or ours.
    return errors.TmgEtlError(message)


def _input_output(text: str, message: str) -> errors.TmgEtlError:
    lowered = text.lower()
    if any(words in lowered for words in _FULL):
        return errors.StorageFullError(message, hint=_NO_ROOM)
    if "permission denied" in lowered or "read-only" in lowered:
        return errors.AccessError(message, hint=_READ_ONLY)
    if "set lock" in lowered:
        return errors.TemporaryError(message)
    return errors.ConfigError(message)
