"""Two sides of a comparison, sorted into buckets by the hash of their keys.

What is kept of a table of any size is one fingerprint for each bucket. Where those of the two sides
differ, only the rows of such buckets are looked at one by one.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from tmg_etl.connectors import base
from tmg_etl.transfer import encode

#: A row in two hundred million shares its bucket with some twelve thousand others, a row in one
#: million with sixty.
BUCKETS = 16_384


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of some buckets.

    Attributes:
        table: the rows.
        keys: hash of each row's key, as uint64.
        hashes: hash of each row, as uint64.
    """

    table: pa.Table
    keys: np.ndarray
    hashes: np.ndarray


class Side(abc.ABC):
    """The rows of one side, which can be gone through more than once."""

    @abc.abstractmethod
    def sums(self) -> dict[int, base.Fingerprint]:
        """Return the fingerprint of each bucket that is not empty."""

    @abc.abstractmethod
    def rows(self, wanted: Sequence[int]) -> Rows:
        """Return the rows of some buckets; the caller knows by `sums` how many there are."""


class Stream(Side):
    """Rows that are read and hashed here.

    Args:
        read: goes through all rows, as batches of `schema`.
        schema: their fields.
        text: how values are written for the hash.
        key: columns whose hash decides on the bucket.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[pa.RecordBatch]],
        schema: pa.Schema,
        text: base.TextFormat,
        key: Sequence[str],
    ) -> None:
        self._read = read
        self._schema = schema
        self._rows = encode.Hasher(schema, text)
        self._keys = encode.Hasher(schema, text, key)
        self._is_whole = tuple(key) == tuple(schema.names)

    def _hashed(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
        for batch in self._read():
            if batch.num_rows:
                hashes = self._rows.hashes(batch)
                yield batch, hashes if self._is_whole else self._keys.hashes(batch), hashes

    def sums(self) -> dict[int, base.Fingerprint]:
        """Return the fingerprint of each bucket that is not empty."""
        counts = np.zeros(BUCKETS, dtype=np.int64)
        totals = np.zeros(BUCKETS, dtype=np.uint64)
        for _, keys, hashes in self._hashed():
            numbers = (keys % np.uint64(BUCKETS)).astype(np.int64)
            counts += np.bincount(numbers, minlength=BUCKETS)
            # Sums of uint64 wrap around, as those of a fingerprint do.
            np.add.at(totals, numbers, hashes)
        return {
            int(number): base.Fingerprint(int(counts[number]), int(totals[number]))
            for number in np.flatnonzero(counts)
        }

    def rows(self, wanted: Sequence[int]) -> Rows:
        """Return the rows of some buckets, by going through all."""
        if not wanted:
            return self._joined([], [], [])
        chosen = np.zeros(BUCKETS, dtype=bool)
        chosen[list(wanted)] = True
        batches, keys, hashes = [], [], []
        for batch, batch_keys, batch_hashes in self._hashed():
            mask = chosen[(batch_keys % np.uint64(BUCKETS)).astype(np.int64)]
            if mask.any():
                # A staging table's columns may be null where the target's may not.
                chosen_rows = batch.filter(pa.array(mask))
                batches.append(pa.RecordBatch.from_arrays(chosen_rows.columns, schema=self._schema))
                keys.append(batch_keys[mask])
                hashes.append(batch_hashes[mask])
        return self._joined(batches, keys, hashes)

    def _joined(
        self, batches: list[pa.RecordBatch], keys: list[np.ndarray], hashes: list[np.ndarray]
    ) -> Rows:
        empty = np.zeros(0, dtype=np.uint64)
        return Rows(
            pa.Table.from_batches(batches, schema=self._schema),
            np.concatenate(keys) if keys else empty,
            np.concatenate(hashes) if hashes else empty,
        )


class Held(Side):
    """Rows that a database hashes itself.

    Args:
        target: has `bucket_sums`.
        name: its table, or one beside it.
        schema: the columns to compare.
        selection: which rows.
        key: columns whose hash decides on the bucket.
        sums: the fingerprint of each bucket, asked for before.
    """

    def __init__(
        self,
        target: base.Target,
        name: str,
        schema: pa.Schema,
        selection: base.Selection,
        key: Sequence[str],
        sums: dict[int, base.Fingerprint],
    ) -> None:
        self._target = target
        self._name = name
        self._schema = schema
        self._selection = selection
        self._key = tuple(key)
        self._sums = sums

    def sums(self) -> dict[int, base.Fingerprint]:
        """Return the fingerprint of each bucket that is not empty."""
        return self._sums

    def rows(self, wanted: Sequence[int]) -> Rows:
        """Return the rows of some buckets, which the database picks."""
        if not wanted:
            empty = np.zeros(0, dtype=np.uint64)
            return Rows(self._schema.empty_table(), empty, empty)
        buckets = base.Buckets(BUCKETS, self._key, tuple(wanted))
        selection = dataclasses.replace(self._selection, buckets=buckets)

        def read() -> Iterator[pa.RecordBatch]:
            return self._target.scan(self._name, self._schema.names, selection)

        text = self._target.capabilities.text
        return Stream(read, self._schema, text, self._key).rows(wanted)


def held(
    target: base.Target,
    name: str,
    schema: pa.Schema,
    selection: base.Selection,
    key: Sequence[str],
) -> Side:
    """Return a side that is in the target's database: hashed there if it can, else read back."""
    if target.capabilities.proof is base.Proof.DATABASE:
        sums = target.bucket_sums(name, schema.names, selection, base.Buckets(BUCKETS, tuple(key)))
        if sums is not None:
            return Held(target, name, schema, selection, key, sums)
    return Stream(
        lambda: target.scan(name, schema.names, selection),
        schema,
        target.capabilities.text,
        key,
    )
