"""BigQuery looked at with Google's client alone."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from google.cloud import bigquery

from tests.bigquery import emulator
from tmg_etl.connectors import base
from tmg_etl.testing import conformance


class BigQueryPlace(conformance.SqlPlace):
    """A dataset of an emulator."""

    traits = conformance.Traits(
        gaps=frozenset({"narrow", "unique"}),
        max_decimal=(38, 38),
        # The emulator keeps BIGNUMERIC as DECIMAL(38, 18), reads wider decimals of Parquet as
        # doubles, and forgets the precision of a column when its table is copied.
        sampled_decimal=(29, 9),
        changed_cells=3,
        # BigQuery: 1,024 bytes for tables, 300 for columns; the emulator makes folders of them.
        longest_name=200,
        refused_in_tables="!\"#$%&'()*+,./:;<=>?@[\\]^`{|}~",
        refused_in_columns='!"$()*,./;?@[\\]^`{}~',
    )
    quote_mark = "`"

    def __init__(self, server: emulator.BigQueryServer, dataset: str) -> None:
        self.dataset = dataset
        self.raw = server.client()
        self.place = f"{emulator.PROJECT}.{dataset}"

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "bigquery", "project": emulator.PROJECT, "dataset": self.dataset}

    def execute(self, sql: str) -> None:
        self.query(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(default_dataset=self.place)
        return [tuple(row.values()) for row in self.raw.query_and_wait(sql, job_config=config)]

    def tables(self) -> set[str]:
        return self._names() - self.locks()

    def locks(self) -> set[str]:
        """Return the lock tables: those of runs under way, and such as are left."""
        return {name for name in self._names() if name.startswith("_tmg_lock_")}

    def _names(self) -> set[str]:
        return {str(item.table_id) for item in self.raw.list_tables(self.place)}

    def drop_all_but(self, *beginnings: str) -> None:
        """Drop every table whose name begins with none of these."""
        for item in self.raw.list_tables(self.place):
            if not item.table_id.startswith(beginnings):
                self.raw.delete_table(item, not_found_ok=True)

    def dump(self, table: str) -> list[str]:
        # A name that BigQuery does not take would not even lead to a table's address.
        if table not in self._names():
            return []
        reference = bigquery.DatasetReference(emulator.PROJECT, self.dataset).table(table)
        rows = self.raw.list_rows(self.raw.get_table(reference))
        return sorted(repr(tuple(row.values())) for row in rows)

    def value(self, raw: Any, field: pa.Field) -> object:
        if base.is_json(field) or pa.types.is_nested(field.type):
            return conformance.Document(raw)
        if pa.types.is_decimal(field.type):
            # The client gives NUMERIC without trailing zeros.
            with decimal.localcontext(prec=100):
                return raw.quantize(decimal.Decimal(1).scaleb(-field.type.scale))
        if field.type == pa.timestamp("us", tz="UTC"):
            return raw.astimezone(datetime.UTC)
        return int(raw) if pa.types.is_integer(field.type) else raw
