"""Which row of a loaded table does not hold what was sent: the reason of a failed proof.

A type may write a value in a form of its own ("1 day 25:00" is kept as "2 days 01:00:00"), fold
its case, or cut it; a trigger may write another one. A database says nothing of that, and two
unequal hashes do not tell where to look: both sides are read once more, and a row is found on both
by its key. Nothing is written.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.transfer import bucket, difference, encode, stage, verify

#: Reads the rows again as they were sent.
Again = Callable[[], Iterator[pa.RecordBatch]]

#: Beyond it the reason is not looked for: a guess at what is read and hashed in half a minute.
_MOST_ROWS = 5_000_000
#: Rows of either side that are held to find an example.
_HELD_ROWS = 100_000
_BUCKETS = 64


@contextlib.contextmanager
def named(
    target: base.Target,
    name: str,
    schema: pa.Schema,
    key: Sequence[str],
    sent: base.Fingerprint,
    again: Again,
) -> Iterator[None]:
    """Have a `VerificationError` of the block name what was altered, if it can.

    Args:
        target: opened.
        name: the loaded table.
        schema: its columns, as they were sent.
        key: finds a row on both sides; empty where rows have none.
        sent: fingerprint of what was sent.
        again: reads what was sent once more.

    Raises:
        errors.VerificationError: that of the block, or one that says more.
    """
    search = _Search(target, name, schema, key, again)
    with explained(target.table, lambda: search.find(sent)):
        yield


def require_none(
    target: base.Target, name: str, schema: pa.Schema, key: Sequence[str], sent: stage.Sent
) -> None:
    """Prove what was loaded beside the target to be compared with it; arguments as for `named`.

    Else a value that its type writes otherwise would be taken for the target's.

    Raises:
        errors.VerificationError: the columns did not keep what was sent.
    """
    held = verify.prove(target, name, schema, base.Selection(), "fingerprint")
    with named(target, name, schema, key, sent.fingerprint, sent.again):
        verify.require_equal(target.table, sent.fingerprint, held)


@contextlib.contextmanager
def explained(table: str, find: Callable[[], tuple[str, str] | None]) -> Iterator[None]:
    """Have a `VerificationError` of the block say more, if it can.

    Args:
        table: the target, as messages name it.
        find: returns which columns were altered and in which row, each empty where that is not
            known; None where nothing can be told.
    """
    try:
        yield
    except errors.VerificationError as unequal:
        try:
            found = find()
        except errors.Stopped:
            raise
        except Exception:  # noqa: BLE001 - that the proof failed says more than why nobody knows
            found = None
        if found is None:
            raise
        columns, row = found
        raise errors.VerificationError(
            table, expected=unequal.expected, found=unequal.found, reason=columns, row=row
        ) from unequal


@dataclasses.dataclass(frozen=True)
class _Search:
    target: base.Target
    name: str
    schema: pa.Schema
    key: Sequence[str]
    again: Again

    def find(self, sent: base.Fingerprint) -> tuple[str, str] | None:
        """Return which columns were altered, and in which row."""
        if sent.hash is None or sent.rows > _MOST_ROWS:
            return None
        altered = self._altered(sent)
        if altered is None:
            return None
        text, buckets_by = self.target.capabilities.text, list(self.key) or self.schema.names
        left = bucket.Stream(self.again, self.schema, text, buckets_by)
        right = bucket.held(self.target, self.name, self.schema, base.Selection(), buckets_by)
        return self._columns(altered), example(left, right, self.schema, self.key, text)

    def _columns(self, altered: Sequence[pa.Field]) -> str:
        table = self.target.describe()
        phrases = []
        for field in altered:
            column = table.column(field.name) if table else None
            phrases.append(f"{field.name!r} ({column.native if column else field.type})")
        if not phrases:
            return ""
        columns = f"column{'s' * (len(phrases) > 1)} {errors.listed(phrases)}"
        return f"the {columns} did not keep what was sent"

    def _altered(self, sent: base.Fingerprint) -> list[pa.Field] | None:
        """Return the columns whose values are not those that were sent.

        None where the source has changed since, and tells nothing of what was sent.
        """
        text = self.target.capabilities.text
        whole = encode.Encoder(self.schema, text, hashes=True)
        single = [encode.Encoder(pa.schema([field]), text, hashes=True) for field in self.schema]
        for batch in self.again():
            whole.add(batch)
            for field, encoder in zip(self.schema, single, strict=True):
                encoder.add(batch.select([field.name]))
        if whole.fingerprint != sent:
            return None
        held = [
            verify.prove(self.target, self.name, encoder.schema, base.Selection(), "fingerprint")
            for encoder in single
        ]
        if any(one.rows != sent.rows for one in held):
            # Rows were lost or doubled: every column would differ.
            return []
        return [
            field
            for field, encoder, found in zip(self.schema, single, held, strict=True)
            if found != encoder.fingerprint
        ]


def example(
    left: bucket.Side,
    right: bucket.Side,
    schema: pa.Schema,
    key: Sequence[str],
    text: base.TextFormat,
) -> str:
    """Return in words one row in which two sides differ; empty where too many do to be held.

    Args:
        left: what should be held, in buckets by the hash of its key, or of the row without one.
        right: what is held.
        schema: the columns of both.
        key: finds a row on both sides; empty where rows have none.
        text: how values are written.
    """
    chosen = _smallest(left.sums(), right.sums())
    pairs = difference.Pairs(left.rows(chosen), right.rows(chosen), schema, key)
    spots = pairs.spots()
    changed = _paired(pairs, spots)
    if changed:
        return _changed(pairs.first(changed, text, 1)[0])
    phrases = []
    for kind, what in (
        (difference.MISSING, "was sent and is not held"),
        (difference.EXTRA, "is held and was not sent"),
    ):
        for one in pairs.first([spot for spot in spots if spot.kind == kind], text, 1):
            phrases.append(f"the row {errors.render_key(one.key)} {what}")
    if phrases and not key:
        phrases[0] = f"without a `key` the two sides of a row cannot be told: {phrases[0]}"
    return ", ".join(phrases)


def _paired(pairs: difference.Pairs, spots: Sequence[difference.Spot]) -> list[difference.Spot]:
    """Return the spots that are surely two sides of one row.

    Of several versions of one key nobody can tell which has become which.
    """

    def key_of(spot: difference.Spot) -> int:
        side, row = (pairs.right, spot.right) if spot.left is None else (pairs.left, spot.left)
        return int(side.keys[row])

    times = collections.Counter(map(key_of, spots))
    return [spot for spot in spots if spot.kind == difference.CHANGED and times[key_of(spot)] == 1]


def _changed(one: difference.Difference) -> str:
    assert one.source is not None
    assert one.target is not None
    cells = [
        f"{name!r} {' became '.join(_shown(value, one.target[name]))}"
        for name, value in one.source.items()
    ]
    return f"in the row {errors.render_key(one.key)} {errors.listed(cells, 3)}"


def _shown(sent: Any, held: Any) -> tuple[str, str]:
    """Return two values as a message shows them, such that they are seen to differ."""
    one, other = (None if value is None else str(value) for value in (sent, held))
    # A message is one line, in which blanks that follow each other become one.
    sizes = one is not None and other is not None and one.split() == other.split()
    return _cell(one, sizes=sizes), _cell(other, sizes=sizes)


def _cell(text: str | None, *, sizes: bool) -> str:
    if text is None:
        return "null"
    return errors.shorten(text) + f" of {len(text)} characters" * sizes


def _smallest(left: dict[int, base.Fingerprint], right: dict[int, base.Fingerprint]) -> list[int]:
    """Return buckets that differ, few and with few rows."""
    sizes = {
        number: sum(side[number].rows for side in (left, right) if number in side)
        for number in left.keys() | right.keys()
        if left.get(number) != right.get(number)
    }
    chosen, rows = [], 0
    for number in sorted(sizes, key=lambda number: (sizes[number], number))[:_BUCKETS]:
        rows += sizes[number]
        if rows > _HELD_ROWS:
            break
        chosen.append(number)
    return sorted(chosen)
