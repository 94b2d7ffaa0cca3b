"""Loading: from a source, through conversion and encoding, into a table that nobody else sees."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import conversion, encode, flow

if TYPE_CHECKING:
    from tmg_etl.config import model

#: Values in one batch, of all columns: a few megabytes, of which a handful is held. Twice as many
#: leave holes in the heap that grow to another 80 MiB in a long run, and save no time.
_BATCH_VALUES = 2**18
#: It costs the database less to take so many rows at once than to wait for them.
_PIECE_ROWS = 4_096


@dataclasses.dataclass(frozen=True)
class Sent:
    """What was handed to the target.

    Attributes:
        fingerprint: of everything sent, computed while it was encoded.
        taken: rows that the database said it took.
        again: reads once more what was sent, without loading it.
    """

    fingerprint: base.Fingerprint
    taken: int
    again: Callable[[], Iterator[pa.RecordBatch]]


def load(
    run: run_module.Run,
    source: base.Source,
    target: base.Target,
    name: str,
    *,
    columns: Sequence[str],
    converter: conversion.Converter,
    window: base.CursorWindow | None,
) -> Sent:
    """Load the source's rows into the table `name` and return what was sent.

    Args:
        run: for its stop flag, progress and batch size.
        source: opened at its snapshot.
        target: opened, with the table created.
        name: a shadow or staging table.
        columns: source columns to read.
        converter: casts them to the table's columns.
        window: only rows in it; None means all.

    Raises:
        errors.DataError: a row was refused, or the database took fewer rows than were sent.
        errors.Stopped: a signal asked to stop.
    """
    # Arrow's own default keeps a tenth more of what it was given, and takes no less time.
    pa.set_memory_pool(pa.system_memory_pool())
    batch_rows = rows_at_once(run.transfer.batch_rows, len(columns))
    encoder = encode.Encoder(
        converter.fields,
        target.capabilities.text,
        hashes=run.transfer.verify == "fingerprint",
    )
    # Counted first: once the reader runs, the connection is its own.
    total = source.count(window)
    read = flow.prefetched(
        _read(run, source.read(columns, window, batch_rows=batch_rows), batch_rows)
    )
    encoded = flow.prefetched(
        _encoded(read, encoder, converter, is_text=target.capabilities.ingest is base.Ingest.TEXT),
        depth=1,
    )

    def load_one(batch: base.Batch) -> int:
        run.stop.check()
        return target.load(name, batch, converter.key)

    taken = 0
    run.progress.begin(run_module.Phase.READ, total)
    run.progress.begin(run_module.Phase.LOAD, total)
    try:
        for batch, rows in flow.spread(load_one, encoded, target.lanes(name)):
            taken += rows
            run.progress.advance(run_module.Phase.LOAD, batch.arrow.num_rows)
    finally:
        encoded.close()
        run.progress.end(run_module.Phase.READ)
        run.progress.end(run_module.Phase.LOAD)
    run.stop.check()
    again = functools.partial(
        converted, run, source, columns=columns, converter=converter, window=window
    )
    sent = Sent(encoder.fingerprint, taken, again)
    if sent.taken != sent.fingerprint.rows:
        raise errors.VerificationError(
            target.table,
            expected=base.Fingerprint(sent.fingerprint.rows),
            found=base.Fingerprint(sent.taken),
        )
    return sent


def converted(
    run: run_module.Run,
    source: base.Source,
    *,
    columns: Sequence[str],
    converter: conversion.Converter,
    window: base.CursorWindow | None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows as `load` sends them, without loading; arguments as for `load`."""
    batch_rows = rows_at_once(run.transfer.batch_rows, len(columns))
    for batch in source.read(columns, window, batch_rows=batch_rows):
        run.stop.check()
        yield converter.convert(batch)


def rows_at_once(batch_rows: int, columns: int) -> int:
    """Return the rows of one batch: as the transfer says, and fewer where they are wide."""
    return max(1, min(batch_rows, _BATCH_VALUES // max(1, columns)))


def _read(
    run: run_module.Run, batches: Iterator[pa.RecordBatch], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    for batch in flow.rebatched(batches, batch_rows):
        # Leaves the thread at the next batch; the consumer raises the stop itself.
        if run.stop.is_set:
            return
        run.progress.advance(run_module.Phase.READ, batch.num_rows)
        yield batch


def _encoded(
    batches: Generator[pa.RecordBatch, None, None],
    encoder: encode.Encoder,
    converter: conversion.Converter,
    *,
    is_text: bool,
) -> Iterator[base.Batch]:
    first_row = 0
    with contextlib.closing(batches):
        for batch in eagerly(batches):
            arrow = converter.convert(batch)
            text = None
            if is_text:
                text = encoder.encode(arrow)
            else:
                encoder.add(arrow)
            yield base.Batch(arrow, text, first_row)
            first_row += arrow.num_rows


def eagerly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches, the first one in pieces: the database begins while the rest is encoded."""
    for first in batches:
        start = 0
        for end in (first.num_rows // 8, first.num_rows // 2):
            if end - start >= _PIECE_ROWS:
                yield first.slice(start, end - start)
                start = end
        yield first.slice(start)
        break
    yield from batches


def check_deleted(run: run_module.Run, target: base.Target, staging: str) -> None:
    """Refuse a `deleted:` that is no condition over the staged rows, before they are loaded.

    Raises:
        errors.ConfigError: with its place in the config.
    """
    delta = run.transfer.delta
    if delta is not None and delta.deleted:
        with blamed(run.transfer, "delta.deleted", delta.deleted):
            target.check_deleted(staging, delta.deleted)


@contextlib.contextmanager
def blamed(transfer: model.Transfer, key: str, sql: str | None) -> Iterator[None]:
    """Have what a database objects to in SQL of the config name its place.

    Args:
        transfer: whose config it is.
        key: the SQL's key in it.
        sql: None where there is none to blame.
    """
    try:
        yield
    except errors.ConfigError as wrong:
        if not sql or wrong.where is not None:
            raise
        raise errors.ConfigError(
            wrong.message,
            where=transfer.where(key),
            hint=wrong.hint or "correct the SQL, which is written in the database's own dialect",
        ) from wrong
