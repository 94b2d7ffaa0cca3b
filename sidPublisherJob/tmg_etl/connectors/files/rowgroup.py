"""Which bytes of a Parquet file a read needs, and when: row groups in units that fit into memory.

Over a network, the columns of a few row groups are fetched while those before them are decoded. A
row group that is too large for that is read as streams, one for each column, side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from tmg_etl.connectors.files import ranges

#: Row groups that are fetched together; the next ones are under way meanwhile.
UNIT_BYTES = 8 << 20
#: The largest row group that is fetched as a whole.
WHOLE_BYTES = 16 << 20
#: Of a larger row group: shared by its columns, for the parts of each that are held.
STREAM_BYTES = 24 << 20
_HELD_PARTS = 3
_LEAST_PART_BYTES = 256 << 10


@dataclasses.dataclass(frozen=True)
class Unit:
    """Row groups that are read together.

    Attributes:
        groups: their indexes.
        chunks: bytes of the needed columns.
    """

    groups: tuple[int, ...]
    chunks: tuple[ranges.Range, ...]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all chunks."""
        return sum(chunk.end - chunk.start for chunk in self.chunks)

    @property
    def is_streamed(self) -> bool:
        """Return whether it is too large to be held."""
        return self.size_bytes > WHOLE_BYTES


def units(
    metadata: pq.FileMetaData,
    groups: Sequence[int],
    leaves: Sequence[int],
    until: int | None = None,
) -> list[Unit]:
    """Return row groups as units, in order.

    Args:
        metadata: of the file.
        groups: indexes of the row groups to read.
        leaves: indexes of the leaf columns to read.
        until: where the bytes begin that are there already; None: at the end of the file.
    """
    found: list[Unit] = []
    for group in groups:
        facts = metadata.row_group(group)
        chunks = [_chunk(facts.column(leaf)) for leaf in leaves]
        if until is not None:
            chunks = [
                ranges.Range(chunk.start, min(chunk.end, until))
                for chunk in chunks
                if chunk.start < until
            ]
        unit = Unit((group,), tuple(chunks))
        if found and found[-1].size_bytes + unit.size_bytes <= UNIT_BYTES:
            last = found.pop()
            unit = Unit((*last.groups, *unit.groups), (*last.chunks, *unit.chunks))
        found.append(unit)
    return found


def _chunk(facts: pq.ColumnChunkMetaData) -> ranges.Range:
    start = facts.data_page_offset
    if facts.has_dictionary_page and 0 < facts.dictionary_page_offset < start:
        start = facts.dictionary_page_offset
    return ranges.Range(start, start + facts.total_compressed_size)


def fetched(parts: ranges.Parts, found: Sequence[Unit]) -> Iterator[Unit]:
    """Yield units, each of them fetched or on its way, and the next one too."""
    announced: list[list[ranges.Range]] = []
    for index, unit in enumerate(found):
        for following in found[index : index + 2][len(announced) :]:
            announced.append(_announce(parts, following))
        yield unit
        parts.forget(announced.pop(0))


def _announce(parts: ranges.Parts, unit: Unit) -> list[ranges.Range]:
    if not unit.is_streamed:
        found = [part for one in ranges.joined(unit.chunks) for part in ranges.cut(one)]
        parts.announce(found)
        return found
    share = STREAM_BYTES // len(unit.chunks) // _HELD_PARTS
    part_bytes = min(max(share, _LEAST_PART_BYTES), ranges.PART_BYTES)
    found = []
    for chunk in unit.chunks:
        stream = ranges.cut(chunk, part_bytes)
        parts.announce_stream(stream)
        found += stream
    return found
