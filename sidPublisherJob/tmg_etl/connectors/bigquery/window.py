"""The condition for the rows of a window, in GoogleSQL and for the Storage Read API alike.

Literals carry their type, and the cursor stands alone on its side of each comparison: that is what
lets BigQuery skip partitions. Pure: no I/O.
Source: https://cloud.google.com/bigquery/docs/querying-partitioned-tables#better_performance_with_pseudo-columns
"""

from __future__ import annotations

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import datatype

#: What a table that is partitioned by ingestion time has beside its columns. The day of a row is
#: null in both while it is in the streaming buffer.
PARTITION_TIME = "_PARTITIONTIME"
PARTITION_DATE = "_PARTITIONDATE"


def pseudo_columns(table: bigquery.Table) -> tuple[pa.Field, ...]:
    """Return the hidden columns of a table that is partitioned by ingestion time; else none.

    `_PARTITIONDATE` exists for daily partitions only.
    """
    partitioning = table.time_partitioning
    if partitioning is None or partitioning.field is not None:
        return ()
    found = [base.hidden_field(PARTITION_TIME, pa.timestamp("us", tz="UTC"))]
    if (partitioning.type_ or "DAY") == "DAY":
        found.append(base.hidden_field(PARTITION_DATE, pa.date32()))
    return tuple(found)


def condition(field: pa.Field, window: base.CursorWindow) -> str:
    """Return the condition for the rows in `window`.

    Args:
        field: the cursor.
        window: closed interval of days.

    Raises:
        errors.ConfigError: a column of that type cannot be a cursor.
    """
    column, kind = datatype.quote(field.name), field.type
    low, high = window.start.isoformat(), window.end.isoformat()
    if pa.types.is_date(kind):
        return f"({column} >= DATE '{low}' AND {column} <= DATE '{high}')"
    if pa.types.is_timestamp(kind):
        word, zone = ("TIMESTAMP", "+00") if kind.tz else ("DATETIME", "")
        lower = f"{column} >= {word} '{low} 00:00:00{zone}'"
        if window.end_exclusive is None:
            return f"({lower})"
        after = window.end_exclusive.isoformat()
        return f"({lower} AND {column} < {word} '{after} 00:00:00{zone}')"
    first, last = low.replace("-", ""), high.replace("-", "")
    if pa.types.is_integer(kind):
        return f"({column} >= {int(first)} AND {column} <= {int(last)})"
    if pa.types.is_string(kind) and not base.is_json(field):
        # Another notation, such as 2013-01-01, is in no window rather than in a wrong one.
        return f"({column} >= '{first}' AND {column} <= '{last}' AND LENGTH({column}) = 8)"
    raise errors.ConfigError(
        f"the cursor {window.column!r} is of type {kind}",
        hint="a cursor is a date, a timestamp, or YYYYMMDD as integer or text",
    )
