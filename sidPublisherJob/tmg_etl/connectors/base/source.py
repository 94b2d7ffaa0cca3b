"""`Source`: what rows are read from."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import pyarrow as pa

from tmg_etl.connectors.base.selection import CursorWindow


class Source(abc.ABC):
    """One table, query or set of files, read at one snapshot; open until `close`."""

    @property
    @abc.abstractmethod
    def description(self) -> str:
        """Return what is read, for messages and the ledger, without secrets."""

    @property
    @abc.abstractmethod
    def snapshot(self) -> str:
        """Return which state is read, as text for the ledger; at most 500 characters."""

    @property
    def version(self) -> str | None:
        """Return the snapshot as a text that is equal only if the rows are; None: it does not tell.

        For sources that know it without reading: generations of files, not the time of a query.
        """
        return None

    def place_of(self, row: Mapping[str, object]) -> str | None:
        """Return where rows with these values are written, as ``file:line``, for a message.

        None, the default, means that rows have no lines, or that none has these values.
        """
        return None

    @abc.abstractmethod
    def schema(self) -> pa.Schema:
        """Return every column with the Arrow type that carries it without loss.

        Raises:
            errors.ConfigError: no such table, or a column type that nothing can carry.
        """

    @abc.abstractmethod
    def count(self, window: CursorWindow | None = None) -> int | None:
        """Return the rows that `read` will give, or None where counting is not cheap."""

    @abc.abstractmethod
    def read(
        self, columns: Sequence[str], window: CursorWindow | None = None, *, batch_rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the snapshot lazily, in the source's own order.

        Args:
            columns: which columns, in this order.
            window: only rows in it; None means all.
            batch_rows: upper bound of rows in one batch; at least 1.

        Yields:
            Record batches with exactly the fields of `schema` for `columns`. Never more than a few
            batches are held in memory.

        Raises:
            errors.DataError: a value cannot be represented.
            errors.TemporaryError: the connection was lost.
        """

    def prefer_latest(self, key: Sequence[str], order_by: Sequence[str]) -> None:
        """Let later readings leave out rows that are not the latest version of their key.

        What `Target.keep_latest` would remove need not travel. A source that does it must mean the
        same by "latest" and give all versions that are equally late; the default gives all rows.
        """
        return

    def estimate(self, columns: Sequence[str], window: CursorWindow | None = None) -> str | None:
        """Return in a few words what `read` would cost, for the plan; None where it costs nothing.

        Nothing is read and nothing is billed for it.
        """
        return None

    @property
    def bytes_read(self) -> int | None:
        """Return the bytes that came from the system so far, as it counts them; None: not known.

        For a lake of files, what was fetched; for a system that bills by bytes, what it billed.
        """
        return None

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of the jobs that ran in the system for this source so far."""
        return ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a result has to be read with, by what was read so far; one line each."""
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Give back connections and files; harmless when called again."""

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the source."""
        self.close()
