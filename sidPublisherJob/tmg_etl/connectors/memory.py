"""A source that is an Arrow table in memory: for pipelines that derive what they publish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl.connectors import base


class MemorySource(base.Source):
    """Rows that are already here.

    Args:
        table: what to publish; column types as in `base.Source.schema`.
        description: what it is, for messages and the ledger.
        snapshot: which state it was derived from; the description when left out.
    """

    def __init__(self, table: pa.Table, description: str, snapshot: str | None = None) -> None:
        self._table = table
        self._description = description
        self._snapshot = snapshot or description

    @property
    def description(self) -> str:
        """Return what was given."""
        return self._description

    @property
    def snapshot(self) -> str:
        """Return what was given."""
        return self._snapshot[:500]

    def schema(self) -> pa.Schema:
        """Return the table's schema."""
        return self._table.schema

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the number of rows."""
        return int(self._selected(window).num_rows)

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        table = self._selected(window).select(list(columns))
        yield from table.combine_chunks().to_batches(max_chunksize=batch_rows)

    def close(self) -> None:
        """Keep nothing open."""

    def _selected(self, window: base.CursorWindow | None) -> pa.Table:
        if window is None:
            return self._table
        days = (
            self._table.column(window.column).cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
        )
        low, high = (pa.scalar(day, pa.date32()) for day in (window.start, window.end))
        inside = pc.and_(pc.greater_equal(days, low), pc.less_equal(days, high))
        return self._table.filter(inside)
