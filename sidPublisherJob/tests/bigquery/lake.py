"""Large tables of an emulator, made of Parquet files."""

from __future__ import annotations

import datetime
import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

if TYPE_CHECKING:
    from google.cloud import bigquery

PIECE_ROWS = 250_000
_EPOCH = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def rows(first: int, number: int) -> pa.Table:
    """Return rows of ten columns whose values follow from their number alone.

    Args:
        first: number of the first row, its `id`.
        number: how many.
    """
    ids = np.arange(first, first + number, dtype=np.int64)
    text = pc.cast(pa.array(ids), pa.string())
    amount = pa.array((ids * 7919 % 10_000_000) / 100).cast(pa.decimal128(18, 2))
    seconds = _EPOCH.timestamp() + ids % (366 * 86_400)
    moments = pa.array((seconds * 1_000_000 + ids % 1_000_000).astype(np.int64))
    day = pa.array((seconds // 86_400).astype(np.int32)).cast(pa.date32())
    note = pc.if_else(
        pc.equal(pa.array(ids % 5), 0),
        None,
        pc.binary_join_element_wise("note number", text, "of many; tab\tand \\ inside", " "),
    )
    cities = pa.array(["Paris", "Łódź", "東京", "New York", "São Paulo", "Köln", "Rīga"])
    return pa.table(
        {
            "id": pa.array(ids),
            "name": pc.binary_join_element_wise("customer", text, "-"),
            "city": cities.take(pa.array(ids % 7)),
            "amount": amount,
            "rate": pa.array(ids / 1024),
            "day": day,
            "changed_at": moments.cast(pa.timestamp("us", tz="UTC")),
            "is_open": pa.array(ids % 3 == 0),
            "visits": pc.if_else(pc.equal(pa.array(ids % 11), 0), None, pa.array(ids % 1000)),
            "note": note,
        }
    )  # fmt: skip


def fill(client: bigquery.Client, table: str, number: int) -> None:
    """Make a table of the first `number` rows, in pieces so that memory stays small.

    Args:
        client: Google's own.
        table: its full name.
        number: how many rows.
    """
    from google.cloud import bigquery

    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    for first in range(0, number, PIECE_ROWS):
        file = io.BytesIO()
        parquet.write_table(rows(first, min(PIECE_ROWS, number - first)), file)
        file.seek(0)
        client.load_table_from_file(file, table, job_config=config).result()
