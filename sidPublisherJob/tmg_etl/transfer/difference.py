"""The rows in which two sides of a comparison differ, found among those of the same buckets."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl.connectors import base
from tmg_etl.transfer import bucket, encode

MISSING, EXTRA, CHANGED = "missing", "extra", "changed"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One row that differs.

    Attributes:
        kind: missing (the source has it), extra (the target has it), or changed.
        key: its key by column; the whole row where the transfer has no key.
        source: values of the source: of a changed row those that differ; None when extra.
        target: values of the target likewise; None when missing.
    """

    kind: str
    key: dict[str, Any]
    source: dict[str, Any] | None
    target: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Spot:
    """Where a difference is: a row of either side, or one of both.

    Attributes:
        left: number of the row among those of the left side; None where only the right has it.
        right: likewise.
    """

    left: int | None
    right: int | None

    @property
    def kind(self) -> str:
        """Return what differs: missing, extra or changed."""
        if self.left is None:
            return EXTRA
        return MISSING if self.right is None else CHANGED


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Rows of the same buckets of both sides.

    Attributes:
        left: what the target should hold.
        right: what it holds.
        schema: the columns that were compared.
        key: the key; empty where rows may repeat.
    """

    left: bucket.Rows
    right: bucket.Rows
    schema: pa.Schema
    key: Sequence[str]

    def spots(self) -> list[Spot]:
        """Return all differences, in no order."""
        lefts, rights = self._unmatched()
        found = []
        for number in lefts.keys() | rights.keys():
            here, there = lefts.get(number, []), rights.get(number, [])
            # Without a key, rows of one hash are equal; there are more of them on one side.
            paired = min(len(here), len(there)) if self.key else 0
            found += [Spot(*pair) for pair in zip(here[:paired], there[:paired], strict=True)]
            found += [Spot(row, None) for row in here[paired:]]
            found += [Spot(None, row) for row in there[paired:]]
        return found

    def first(self, spots: Sequence[Spot], text: base.TextFormat, limit: int) -> list[Difference]:
        """Return some differences with their values, those of the smallest keys."""
        writers = {field.name: encode.column_writer(field, text) for field in self.schema}
        names = list(self.key) or self.schema.names
        lefts = [spot for spot in spots if spot.left is not None]
        rights = [spot for spot in spots if spot.left is None]
        keys = pa.concat_tables(
            [
                self.left.table.select(names).take(_indices(spot.left for spot in lefts)),
                self.right.table.select(names).take(_indices(spot.right for spot in rights)),
            ]
        )
        # Arrow does not sort intervals; rows that differ in nothing else come as they are found.
        sorted_by = [
            (name, "ascending") for name in names if not pa.types.is_interval(keys[name].type)
        ]
        order = pc.sort_indices(keys, sorted_by).to_pylist() if sorted_by else range(len(spots))
        ordered = [*lefts, *rights]
        chosen = [ordered[at] for at in order[:limit]]
        return [self._difference(spot, writers) for spot in chosen]

    def _unmatched(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Return the rows of each side that the other does not have, by the hash of their key."""
        rest = collections.Counter(self.right.hashes.tolist())
        lefts: dict[int, list[int]] = {}
        for row, (key, hashed) in enumerate(
            zip(self.left.keys.tolist(), self.left.hashes.tolist(), strict=True)
        ):
            if rest[hashed] > 0:
                rest[hashed] -= 1
            else:
                lefts.setdefault(key, []).append(row)
        rights: dict[int, list[int]] = {}
        for row, (key, hashed) in enumerate(
            zip(self.right.keys.tolist(), self.right.hashes.tolist(), strict=True)
        ):
            if rest[hashed] > 0:
                rest[hashed] -= 1
                rights.setdefault(key, []).append(row)
        return lefts, rights

    def _difference(self, spot: Spot, writers: Mapping[str, _Writer]) -> Difference:
        here = None if spot.left is None else self.left.table.slice(spot.left, 1)
        there = None if spot.right is None else self.right.table.slice(spot.right, 1)
        mine, others = _values(here), _values(there)
        named = mine or others
        key = {name: named[name] for name in self.key or named}
        rest = [name for name in named if name not in key]
        if here is not None and there is not None:
            rest = [
                name
                for name, write in writers.items()
                if write(here[name].combine_chunks()) != write(there[name].combine_chunks())
            ]
        return Difference(
            spot.kind,
            key,
            None if here is None else {name: mine[name] for name in rest},
            None if there is None else {name: others[name] for name in rest},
        )


def _indices(rows: Iterable[int | None]) -> pa.Array:
    return pa.array(list(rows), pa.int64())


_Writer = Callable[[pa.Array], pa.StringArray]


def _values(row: pa.Table | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {name: plain(value) for name, value in row.to_pylist()[0].items()}


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: numbers that it knows, else text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value.hex() if isinstance(value, bytes) else str(value)
