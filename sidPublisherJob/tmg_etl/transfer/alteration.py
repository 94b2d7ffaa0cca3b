"""Which column of a loaded table does not hold what was sent: the reason of a failed proof.

A type may write a value in a form of its own ("1 day 25:00" is kept as "2 days 01:00:00"), fold
its case, or cut it. A database says nothing of that, and two unequal hashes do not tell where to
look: the source is read once more and compared column by column. Nothing is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.transfer import bucket, difference, encode, verify

#: Reads the rows again as they were sent.
Again = Callable[[], Iterator[pa.RecordBatch]]

#: Beyond it the reason is not looked for: a guess at what is read and hashed in half a minute.
_MOST_ROWS = 5_000_000
#: Values, or rows, of either side that are held to find an example.
_HELD_VALUES = 10_000
_HELD_ROWS = 100_000
_BUCKETS = 64
_CANDIDATES = 200


@contextlib.contextmanager
def named(
    target: base.Target, name: str, schema: pa.Schema, sent: base.Fingerprint, again: Again
) -> Iterator[None]:
    """Have a `VerificationError` of the block name the columns that were altered, if it can.

    Args:
        target: opened.
        name: the loaded table.
        schema: its columns, as they were sent.
        sent: fingerprint of what was sent.
        again: reads what was sent once more.

    Raises:
        errors.VerificationError: that of the block, or one that says more.
    """
    try:
        yield
    except errors.VerificationError as unequal:
        try:
            found = _Search(target, name, schema, again).reason(sent)
        except errors.Stopped:
            raise
        except Exception:  # noqa: BLE001 - that the proof failed says more than why nobody knows
            found = None
        if found is None:
            raise
        raise errors.VerificationError(
            target.table, expected=unequal.expected, found=unequal.found, reason=found
        ) from unequal


@dataclasses.dataclass(frozen=True)
class _Search:
    target: base.Target
    name: str
    schema: pa.Schema
    again: Again

    def reason(self, sent: base.Fingerprint) -> str | None:
        """Return what was altered, or None where the columns do not tell."""
        if sent.hash is None or sent.rows > _MOST_ROWS:
            return None
        altered = self._altered(sent)
        if not altered:
            return None
        table = self.target.describe()
        phrases = []
        for field in altered:
            column = table.column(field.name) if table else None
            phrases.append(f"{field.name!r} ({column.native if column else field.type})")
        columns = f"column{'s' * (len(phrases) > 1)} {errors.listed(phrases)}"
        example = " became ".join(self._example(altered[0]))
        return f"the {columns} did not keep what was sent{': ' * bool(example)}{example}"

    def _altered(self, sent: base.Fingerprint) -> list[pa.Field]:
        """Return the columns whose values are not those that were sent."""
        text = self.target.capabilities.text
        whole = encode.Encoder(self.schema, text, hashes=True)
        single = [encode.Encoder(pa.schema([field]), text, hashes=True) for field in self.schema]
        for batch in self.again():
            whole.add(batch)
            for field, encoder in zip(self.schema, single, strict=True):
                encoder.add(_only(batch, field))
        if whole.fingerprint != sent:
            # The source has changed since, and tells nothing of what was sent.
            return []
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

    def _example(self, field: pa.Field) -> tuple[str, ...]:
        """Return a value that is not held, and the one among those held that resembles it."""
        gone, come = self._of_few_values(field) or self._of_few_buckets(field)
        if not gone or not come:
            return ()
        sent = gone[0]
        held = max(come[:_CANDIDATES], key=lambda text: _likeness(sent, text))
        # A message is one line, in which blanks that follow each other become one.
        sizes = sent.split() == held.split()
        return tuple(
            errors.shorten(text) + f" of {len(text)} characters" * sizes for text in (sent, held)
        )

    def _of_few_values(self, field: pa.Field) -> tuple[list[str], list[str]] | None:
        """Return values of one side each; None for a column of many values."""
        sent = _distinct(_only(batch, field) for batch in self.again())
        if sent is None:
            return None
        held = _distinct(self.target.scan(self.name, [field.name], base.Selection()))
        return None if held is None else (sorted(sent - held), sorted((held - sent) or held))

    def _of_few_buckets(self, field: pa.Field) -> tuple[list[str], list[str]]:
        schema, text = pa.schema([field]), self.target.capabilities.text
        left = bucket.Stream(
            lambda: (_only(batch, field) for batch in self.again()), schema, text, [field.name]
        )
        right = bucket.held(self.target, self.name, schema, base.Selection(), [field.name])
        chosen = _smallest(left.sums(), right.sums())
        pairs = difference.Pairs(left.rows(chosen), right.rows(chosen), schema, ())
        spots = pairs.spots()
        gone = [str(pairs.left.table[0][at.left]) for at in spots if at.left is not None]
        come = [str(pairs.right.table[0][at.right]) for at in spots if at.right is not None]
        return gone, come


def _only(batch: pa.RecordBatch, field: pa.Field) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column(field.name)], schema=pa.schema([field]))


def _distinct(batches: Iterable[pa.RecordBatch]) -> set[str] | None:
    """Return the values of a column as text, or None where they are too many to be held."""
    values: set[str] = set()
    for batch in batches:
        values.update(str(value) for value in pc.unique(batch.column(0)) if value.is_valid)
        if len(values) > _HELD_VALUES:
            return None
    return values


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


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:200].casefold(), other[:200].casefold()).ratio()
