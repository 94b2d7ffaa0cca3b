"""Every error that a user can meet, branched first by what to do about it, then by cause.

The branches are the exit codes (sysexits), which a Kubernetes Job's ``podFailurePolicy`` reads:

========================  ====  ==========================================================
`UsageError`              64    the command line is wrong: correct it
`DataError`               65    the data breaks a promise: correct the data or the rule
`TemporaryError`          75    the world is busy or away: run again later
`AccessError`             77    rights or credentials are missing: grant them
`ConfigError`             78    the configuration is wrong: correct the file
`GroupError`              any   that of the member that kept its group from being published
`Stopped`                 143   SIGTERM (130 for SIGINT): not an error, an orderly end
anything else             70    a bug: the traceback goes to the log
========================  ====  ==========================================================

Constructors take facts and keep them; the message is built once and is one line. No error holds a
secret: connectors hand over text that `redact` has been through.
"""

from __future__ import annotations

import enum
import errno
import re
import signal
from collections.abc import Sequence

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_BUG = 70
EXIT_TEMPORARY = 75
EXIT_ACCESS = 77
EXIT_CONFIG = 78
EXIT_SIGINT = 130
EXIT_SIGTERM = 143

# Up to the last @: a password that was not percent-encoded may hold others.
_URL_PASSWORD = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^:/?#\s@]*):[^\s/]*@")
_BESIDE = re.compile(r"_tmg_[a-z]+_[0-9a-f]+_[0-9a-f]+")
_WHERE_LENGTH = 400
_ITEM_LENGTH = 200


def redact(text: str) -> str:
    """Return `text` with the passwords of URLs replaced by ``***``."""
    return _URL_PASSWORD.sub(r"\g<head>:***@", text)


def one_line(text: str) -> str:
    """Return `text` folded to one line, passwords of URLs removed."""
    return redact(" ".join(str(text).split()))


class TmgEtlError(Exception):
    """Root of the errors that carry a message for the user.

    Args:
        message: what failed, where, what was found against what was expected.
        hint: what to do next; None when the message says it.
        where: the place in a configuration, as ``file:line:key``; None when there is none.
    """

    exit_code = EXIT_BUG

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        self.message = one_line(message)
        self.hint = one_line(hint) if hint else None
        self.where = where
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the one line that is printed: place, message, next step."""
        where = self.where or ""
        if len(where) > _WHERE_LENGTH:
            where = f"{where[:_WHERE_LENGTH]}…"
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}; {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by facts, because keyword-only arguments are lost by the default."""
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[TmgEtlError], facts: dict[str, object]) -> TmgEtlError:
    error = kind.__new__(kind)
    Exception.__init__(error, facts.get("message", ""))
    error.__dict__.update(facts)
    return error


class UsageError(TmgEtlError):
    """The command line is wrong."""

    exit_code = EXIT_USAGE


class DataError(TmgEtlError):
    """The data breaks a promise: the target stays as it was."""

    exit_code = EXIT_DATA


class EmptySourceError(DataError):
    """The source has no rows and `on_empty` is ``fail``."""

    def __init__(self, source: str) -> None:
        self.source = source
        super().__init__(
            f"the source {source} is empty and would wipe the target",
            hint="write `on_empty: allow` in the transfer if that is meant",
        )


class ValueRejectedError(DataError):
    """One cell does not fit its column.

    Args:
        table: the table that was being loaded, as the user names it.
        column: name of the column; None where the database does not say.
        value: the value found, as text; cut to 120 characters.
        key: the row's key as ``{column: value}``; None where it is not known.
        reason: what the database or the type rule says.
        hint: what to do next.
    """

    def __init__(
        self,
        table: str,
        *,
        column: str | None,
        reason: str,
        value: object = None,
        key: dict[str, object] | None = None,
        hint: str = "the target is unchanged; correct the value at its source",
    ) -> None:
        self.table, self.column, self.key = table, column, key
        self.reason = _as_target(reason, table)
        self.value = shorten(value)
        cell = f" column {column!r}" if column else ""
        found = f" value {self.value}" if value is not None else ""
        row = f" in the row {render_key(key)}" if key else ""
        super().__init__(f"{table}:{cell}{found}{row} was refused: {self.reason}", hint=hint)


class Constraint(enum.StrEnum):
    """A rule of a table, beside the types of its columns; the value is how messages call it."""

    UNIQUE = "a unique constraint"
    FOREIGN_KEY = "a foreign key"
    REFERENCED = "a foreign key of another table"
    NOT_NULL = "a column that may not be null"
    CHECK = "a check constraint"
    TRIGGER = "a trigger"


#: What to do about a row that breaks a constraint.
NEXT_STEP = {
    Constraint.UNIQUE: "another row has the same value, and the declared `key` does not say which"
    " is right: correct the source, or drop the constraint from the target",
    Constraint.FOREIGN_KEY: "the row that it refers to must be there first: correct the source,"
    " publish the other table before, or both in one `publish_group`",
    Constraint.REFERENCED: "other tables refer to rows that would go: publish those without them"
    " before, or both in one `publish_group`",
    Constraint.NOT_NULL: "have the source fill the column, or give it a default in the target",
    Constraint.CHECK: "correct the source or the constraint",
    Constraint.TRIGGER: "correct the source or the trigger",
}


class ConstraintError(ValueRejectedError):
    """A constraint of the target refuses a row.

    Args:
        table: the target, as the user names it; the connection while nobody knows which table.
        rule: which kind of constraint.
        reason: what the database says.
        key: the row's key; None where it is not known.
    """

    def __init__(
        self,
        table: str,
        rule: Constraint,
        reason: str,
        *,
        key: dict[str, object] | None = None,
    ) -> None:
        self.table, self.rule, self.key, self._said = table, rule, key, reason
        self.reason = _as_target(reason, table)
        row = f"the row {render_key(key)}" if key else "a row"
        self.column, self.value = None, shorten(None)
        DataError.__init__(
            self,
            f"{table}: {row} was refused, {rule}: {self.reason}",
            hint=f"the target is unchanged; {NEXT_STEP[rule]}",
        )

    def of(
        self, table: str, *, key: dict[str, object] | None = None, rule: Constraint | None = None
    ) -> ConstraintError:
        """Return the error of a table, with what was found out about its row."""
        return ConstraintError(table, rule or self.rule, self._said, key=key or self.key)


class DuplicateKeyError(DataError):
    """Two rows have one key."""

    def __init__(self, table: str, key: dict[str, object], *, reason: str = "") -> None:
        self.table, self.key = table, key
        because = f": {reason}" if reason else ""
        super().__init__(
            f"{table}: the key {render_key(key)} occurs more than once{because}",
            hint="the target is unchanged; correct the source or declare the full key",
        )


class UniqueError(DuplicateKeyError):
    """Two rows have one value in a unique constraint that is not the declared key.

    Args:
        table: the target.
        values: what occurs twice, by column.
        row: the key of one of the rows; None where it is not known.
    """

    def __init__(
        self, table: str, values: dict[str, object], *, row: dict[str, object] | None = None
    ) -> None:
        self.table, self.key, self.row = table, values, row
        which = f"the row {render_key(row)} was refused: " if row else ""
        DataError.__init__(
            self,
            f"{table}: {which}{render_key(values)} occurs more than once, which a unique"
            " constraint of the target forbids; it is not the declared `key`",
            hint="the target is unchanged; correct the source, or drop the constraint",
        )


class ExchangedError(DataError):
    """Rows are in each other's way: values of a unique key that is not the declared one move.

    Args:
        table: the target.
        unique: the columns of the unique key.
    """

    def __init__(self, table: str, unique: Sequence[str]) -> None:
        self.table, self.unique = table, tuple(unique)
        super().__init__(
            f"{table}: values of the unique key over {', '.join(unique)} change places between"
            " rows, and the target refuses two rows with one value even for a moment",
            hint="the target is unchanged; let a column of that key be null, or publish by swap",
        )


class NullKeyError(DataError):
    """A key column holds null."""

    def __init__(self, table: str, column: str, row: dict[str, object]) -> None:
        self.table, self.column, self.key = table, column, row
        super().__init__(
            f"{table}: the key column {column!r} is null in the row {render_key(row)}",
            hint="the target is unchanged; keys may not be null",
        )


class VerificationError(DataError):
    """What the database holds is not what was sent.

    Args:
        table: the target, as the user names it.
        expected: fingerprint of what was sent.
        found: fingerprint of what is held.
        reason: which columns were altered; empty where that is not known.
        row: a row that differs, and how; empty where none was found.
    """

    def __init__(
        self, table: str, *, expected: object, found: object, reason: str = "", row: str = ""
    ) -> None:
        self.table, self.expected, self.found, self.reason = table, expected, found, reason
        self.row = row
        if reason:
            what = reason
            hint = (
                "the target is unchanged; have the source write values as the type does, for"
                " example by a `query:`, or give the column a type that keeps them"
            )
        else:
            what, hint = f"sent {expected}, the database holds {found}", "the target is unchanged"
        which = f": {row}" if row else ""
        super().__init__(f"{table}: verification failed: {what}{which}", hint=hint)


class TemporaryError(TmgEtlError):
    """The world is busy or away; the same run may succeed later."""

    exit_code = EXIT_TEMPORARY


class ConnectionLostError(TemporaryError):
    """A server cannot be reached, or went away."""


class CommitUnknownError(ConnectionLostError):
    """A connection was lost at its COMMIT and is open again: look what became of the work."""


class CrossedError(TemporaryError):
    """Somebody else writes the rows that a merge writes; nothing of it was done."""


class LockBusyError(TemporaryError):
    """Another run, or somebody else's transaction, holds the target."""

    def __init__(self, table: str, waited_s: float, holder: str | None = None) -> None:
        self.table, self.waited_s, self.holder = table, waited_s, holder
        by = f" by {holder}" if holder else ""
        super().__init__(
            f"{table} is locked{by}; waited {round(waited_s, 1):g} s",
            hint="that must end first; raise `lock_wait_s` to wait longer",
        )


class LockLostError(TemporaryError):
    """The run lost its lock before it could publish, and therefore did not."""


class AlteredError(TemporaryError):
    """Somebody else changed the target's definition while its copy was filled.

    Args:
        table: the target, which is as somebody altered it.
    """

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table} was altered by somebody else during the run; a swap would have undone that",
            hint="run it again: it starts from the table as it is now",
        )


class GroupError(TmgEtlError):
    """Another member of the publish group failed, so that nothing of the group was published.

    Args:
        group: its name.
        transfer: the member that failed.
        error: why; its exit code is that of the whole group.
        was: what did not happen to any of them.
    """

    def __init__(
        self, group: str, transfer: str, error: BaseException, *, was: str = "published"
    ) -> None:
        self.group, self.transfer = group, transfer
        self.exit_code = exit_code_of(error)
        reason = error.message if isinstance(error, TmgEtlError) else str(error) or repr(error)
        super().__init__(f"nothing of the group {group} was {was}: {transfer}: {reason}")


class LedgerError(TemporaryError):
    """The ledger cannot be read or written."""


class StorageFullError(TemporaryError):
    """A disk, a tablespace or a quota is full."""


class AccessError(TmgEtlError):
    """Rights or credentials are missing."""

    exit_code = EXIT_ACCESS


class ConfigError(TmgEtlError):
    """The configuration cannot be carried out as it is written."""

    exit_code = EXIT_CONFIG


class EventTriggerError(ConfigError):
    """A trigger on statements, not on rows, refuses to have a table made, altered or dropped."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"{place}: an event trigger refuses this: {reason}",
            hint="have it let tables pass whose names begin with _tmg_, and the target where it is"
            " swapped",
        )


class SchemaConflictError(ConfigError):
    """Source and target columns do not agree.

    Args:
        table: the target's name.
        conflicts: one phrase for each column that disagrees.
        hint: what to write to have it accepted.
    """

    def __init__(self, table: str, conflicts: list[str], hint: str) -> None:
        self.table, self.conflicts = table, conflicts
        super().__init__(f"{table}: {listed(conflicts, separator='; ')}", hint=hint)


class Stopped(BaseException):
    """A signal asked the run to stop. Outside the tree: `except Exception` must not swallow it."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        super().__init__(f"stopped by {signal_name(signal_number)}")


def _as_target(text: str, table: str) -> str:
    """Return a database's words with the target's name for that of a table beside it."""
    return one_line(_BESIDE.sub(lambda _: table, text))


def signal_name(number: int) -> str:
    """Return a signal as people know it: ``SIGINT``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def shorten(value: object, limit: int = 120) -> str:
    """Return `value` as text for a message, cut to `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "…"


def listed(items: Sequence[str], most: int = 12, *, separator: str = ", ") -> str:
    """Return `items` as one text; of a long list the beginning and how many more there are.

    Args:
        items: texts, each cut to 200 characters.
        most: how many are written out.
        separator: between two.
    """
    shown = [item if len(item) <= _ITEM_LENGTH else f"{item[:_ITEM_LENGTH]}…" for item in items]
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return separator.join(shown[:most]) + more


def render_key(key: dict[str, object] | None) -> str:
    """Return a row's key as ``(column=value, …)``."""
    items = (key or {}).items()
    return "(" + ", ".join(f"{name}={_cell(value)}" for name, value in items) + ")"


def _cell(value: object) -> str:
    return "null" if value is None else shorten(str(value), 60)


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code that stands for `error`; None means success."""
    if error is None:
        return EXIT_OK
    if isinstance(error, (TmgEtlError, Stopped)):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return EXIT_SIGINT
    return EXIT_ACCESS if is_refused_file(error) else EXIT_BUG


def is_refused_file(error: BaseException) -> bool:
    """Return whether the file system did not let this user at a file: no bug, wherever it is."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
