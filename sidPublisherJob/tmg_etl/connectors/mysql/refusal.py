"""Warnings and errors of a load as errors that name the row's key, the column and the value.

`LOAD DATA LOCAL` treats bad values and duplicate keys as warnings: rows are clipped or dropped, and
the statement succeeds. No I/O here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import error
from tmg_etl.connectors.mysql import type as type_module

#: About the statement and not about a value: deprecated syntax, unsafe for statement replication.
_HARMLESS = frozenset({1287, 1592, 1681, 3719, 3778})
#: Comes before the warning that says which column it is about.
_PRELIMINARY = frozenset({4037, 4038})

_ROW = re.compile(r"\bat row (\d+)\Z")
_ROW_FIRST = re.compile(r"\ARow (\d+) ")
_COLUMN = re.compile(
    r"[Cc]olumn (?:'(?P<plain>.+?)'|(?:`.+?`\.)*`(?P<quoted>.+?)`)(?= at row|\s|\Z)"
)
#: MariaDB calls a constraint of a column `table.column`, one of the table by its own name.
_CHECK = re.compile(r"\ACONSTRAINT `(.+)` failed for `")
_UNESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"0": b"\0"}


@dataclasses.dataclass(frozen=True)
class Warning_:
    """One line of SHOW WARNINGS."""

    code: int
    message: str

    @property
    def row(self) -> int | None:
        """Return the row of the statement, counted from 0, or None where it is not said."""
        match = _ROW.search(self.message) or _ROW_FIRST.search(self.message)
        return int(match[1]) - 1 if match else None

    @property
    def column(self) -> str | None:
        """Return the column's name, or None where it is not said."""
        match = _COLUMN.search(self.message)
        return (match["plain"] or match["quoted"]) if match else None

    @property
    def reason(self) -> str:
        """Return what is wrong, without the row number, which the key says better."""
        text = _ROW.sub("", self.message).strip()
        if self.code == 1263:
            text = "null in a column that is NOT NULL"
        return f"{text} (error {self.code})"


def worst(lines: Sequence[tuple[object, object, object]]) -> Warning_ | None:
    """Return the warning to report from SHOW WARNINGS; None when all are harmless."""
    found = [Warning_(int(str(code)), str(message)) for _, code, message in lines]
    relevant = [warning for warning in found if warning.code not in _HARMLESS]
    main = [warning for warning in relevant if warning.code not in _PRELIMINARY]
    return next(iter(main or relevant), None)


def rejected(
    table: str, batch: base.Batch, key: Sequence[str], row: int | None, warning: Warning_
) -> errors.DataError:
    """Return the error for one refused cell.

    Args:
        table: the target, as the user names it.
        batch: the rows that were sent.
        key: key columns.
        row: index in the batch; None when the server did not say.
        warning: what it said.
    """
    column = _column_of(warning, batch.arrow.schema.names)
    known = row is not None and 0 <= row < batch.arrow.num_rows
    value = None
    if known and column is not None:
        value = batch.arrow.column(column)[row].as_py()
    rule = error.CONSTRAINTS.get(warning.code)
    if rule is not None and column is None:
        found = batch.key_of(row, key) if known and row is not None else None
        return errors.ConstraintError(table, rule, warning.reason, key=found)
    return errors.ValueRejectedError(
        table,
        column=column,
        value=value,
        key=batch.key_of(row, key) if known and row is not None else None,
        reason=warning.reason,
    )


def _column_of(warning: Warning_, names: Sequence[str]) -> str | None:
    if warning.column in names:
        return warning.column
    check = _CHECK.match(warning.message)
    ends = [name for name in names if check and check[1].endswith(f".{name}")]
    return max(ends, key=len, default=None)


def refuse_unfit(
    table: str, batch: base.Batch, key: Sequence[str], kinds: Mapping[str, type_module.Kind]
) -> None:
    """Refuse what the server would change without a word: nulls, and fractions of a second.

    Null in a NOT NULL timestamp becomes the current time, null in an auto-increment column the next
    number, and digits beyond the column's fraction are cut.

    Raises:
        errors.ValueRejectedError: the first such cell.
    """
    for index, name in enumerate(batch.arrow.schema.names):
        kind, values = kinds[name], batch.arrow.column(index)
        if not kind.field.nullable and values.null_count:
            row = pc.index(values.is_null(), True).as_py()
            reason = "null in a column that is NOT NULL"
        elif kind.fraction < 6:
            unit = 10 ** (6 - kind.fraction)
            number = values.cast(pa.int64())
            cut = pc.not_equal(pc.multiply(pc.divide(number, unit), unit), number)
            row = pc.index(cut, True).as_py()
            reason = f"the column keeps {kind.fraction} digits of a second's fraction"
        else:
            continue
        if row >= 0:
            raise errors.ValueRejectedError(
                table,
                column=name,
                value=values[row].as_py(),
                key=batch.key_of(row, key),
                reason=reason,
            )


def duplicate(
    table: str,
    batch: base.Batch,
    key: Sequence[str],
    message: str,
    index_columns: Mapping[str, Sequence[str]],
) -> errors.DuplicateKeyError:
    """Return the error for a "Duplicate entry" of a load."""
    entry, index = error.entry_of(message)
    columns = [name for name in index_columns.get(index, ()) if name]
    held = [name for name in columns if name in batch.arrow.schema.names]
    if not held or len(held) != len(columns):
        kind = errors.DuplicateKeyError if index in ("", "PRIMARY") else errors.UniqueError
        return kind(table, {index or "key": entry})
    is_declared = set(held) == set(key)
    places = [batch.arrow.schema.names.index(name) for name in held]
    for row, line in enumerate(bytes(batch.text or b"").split(b"\n")[:-1]):
        cells = line.split(b"\t")
        text = b"-".join(_UNESCAPE.sub(_unescaped, cells[place]) for place in places).decode()
        # A long entry is cut by the server.
        if text == entry or (entry.endswith("...") and text.startswith(entry[:-3])):
            values = batch.key_of(row, held)
            if is_declared:
                return errors.DuplicateKeyError(table, values)
            return errors.UniqueError(table, values, row=batch.key_of(row, key))
    kind = errors.DuplicateKeyError if is_declared else errors.UniqueError
    return kind(table, {", ".join(held): entry})


def _unescaped(match: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(match[1], match[1])
