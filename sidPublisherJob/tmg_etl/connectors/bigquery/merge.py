"""GoogleSQL's clauses for `merge.SqlTarget`, and the merges that it says in another way.

The changes of a merge are several statements in one transaction and not one MERGE: they are counted
by kind, proved and only then committed, and rows that are unchanged are not written. A key is not
enforced by BigQuery: two target rows of one key are both updated, which the proof then finds.
"""

from __future__ import annotations

import abc
import datetime
import decimal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl.connectors import base, merge, sql, version
from tmg_etl.connectors.bigquery import datatype, fingerprint
from tmg_etl.connectors.bigquery import session as session_module

#: Types of a partition's column by which a merge is limited to the partitions that are staged.
_PRUNED = frozenset({"DATE", "DATETIME", "TIMESTAMP", "INT64"})


class MergingTarget(merge.SqlTarget):
    """The part of a target that is statements."""

    quote_mark = "`"

    _reference: bigquery.TableReference
    _session: session_module.Session

    @abc.abstractmethod
    def _columns_of(self, name: str) -> list[bigquery.SchemaField]:
        """Return the columns of the target or of a table beside it."""

    @abc.abstractmethod
    def _rows_of(self, name: str) -> int:
        """Return the rows of a table that nobody else writes to, without a query."""

    @abc.abstractmethod
    def _partition_column(self) -> str | None:
        """Return the column that the target is partitioned by."""

    # --- clauses --------------------------------------------------------------------------------

    def quote(self, name: str) -> str:
        """Return an identifier in backquotes; the target by its name without its dataset."""
        return datatype.quote(self._reference.table_id if name == self.table else name)

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells differ in any byte.

        0.0 equals -0.0, and a column with a collation takes "a" for "A".
        """
        if pa.types.is_floating(field.type):
            # Two ways to tell the zeros apart: no page of the reference promises either. Were both
            # to fail, the cell would stay as it is, and the proof would find it.
            signs = (
                f"FORMAT('%g', {left}) <> FORMAT('%g', {right})"
                f" OR IEEE_DIVIDE(1.0, {left}) <> IEEE_DIVIDE(1.0, {right})"
            )
            zeros = f"({left} = 0 AND {right} = 0 AND ({signs}))"
            return f"({left} IS DISTINCT FROM {right} OR {zeros})"
        if self._has_collation(field.name):
            return f"CAST({left} AS BYTES) IS DISTINCT FROM CAST({right} AS BYTES)"
        return super().differs(field, left, right)

    def _has_collation(self, name: str) -> bool:
        return any(
            field.name == name and field.to_api_repr().get("collation")
            for field in self._columns_of(self.table)
        )

    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return the canonical text; of doubles, 17 digits, which no two of them share."""
        texts = []
        for field in self._fields(table, columns):
            name = self.quote(field.name)
            text = fingerprint.text(field, name) if not _is_double(field) else _digits(name)
            texts.append(rf"IFNULL({text}, '\\N')")
        joined = r", '\t', ".join(texts)
        return f"CONCAT({joined})"

    def row_hash(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the integer that a row adds to a fingerprint."""
        fields = self._fields(table, columns)
        return fingerprint.row_hash(fields, [f"{alias}.{self.quote(name)}" for name in columns])

    def hash_sum(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the sum of the row hashes; see `fingerprint`."""
        return f"SUM(CAST({self.row_hash(table, alias, columns)} AS NUMERIC))"

    def hash_total(self, value: object) -> int:
        """Return the sum as a plain number."""
        return int(decimal.Decimal(str(value or 0)))

    def _fields(self, table: str, columns: Sequence[str]) -> list[bigquery.SchemaField]:
        by_name = {field.name: field for field in self._columns_of(table)}
        return [by_name[name] for name in columns]

    def delete_keys(self, keys: str, key: Sequence[str]) -> str:
        """Return the DELETE by EXISTS: a subquery of IN has one column only."""
        return (
            f"DELETE FROM {self.qualified(self.table)}"
            f" WHERE EXISTS (SELECT 1 FROM ({keys}) AS {sql.STAGED} WHERE {self.key_match(key)})"
        )

    # --- merges ---------------------------------------------------------------------------------

    def upsert(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        order_by: Sequence[str],
        deleted: str | None,
        part: base.Part = base.Part.ALL,
    ) -> base.Changes:
        """Merge the staging table, one row per key, into the target; always all of it."""
        source, match = self.qualified(staging), self.key_match(key)
        staged = self._rows_of(staging)
        pruned = match + self._pruning(staging, key)
        held = version.comparable(order_by, columns)
        if held:
            self._delete_superseded(staging, key, held)
        removed = gone = 0
        if deleted:
            marked = f"SELECT {self.names(key)} FROM {source} WHERE ({deleted}\n)"
            removed = self._delete_keys(marked, key)
            gone = self.run(f"DELETE FROM {source} WHERE ({deleted}\n)")
        updated = self._update(source, columns, key, pruned)
        inserted = self._insert_missing(source, columns, pruned)
        return base.Changes(inserted, updated, removed, staged - gone - inserted - updated)

    def _pruning(self, staging: str, key: Sequence[str]) -> str:
        """Return the condition that keeps a merge to the partitions of the staged rows.

        Only where the target's partitions are made by a column of the key: a row of another
        partition then has another key. BigQuery prunes by constants only.
        """
        column = self._partition_column()
        if column is None or column not in key:
            return ""
        (field,) = self._fields(self.table, [column])
        if datatype.standard_name(field) not in _PRUNED:
            return ""
        name = self.quote(column)
        ((low, high),) = self.rows(
            f"SELECT MIN({name}), MAX({name}) FROM {self.qualified(staging)}"
        )
        if low is None:
            return ""
        held = f"{self.quote(self.table)}.{name}"
        return f" AND {held} >= {_literal(low)} AND {held} <= {_literal(high)}"

    def keep_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Leave the latest version of each key, by one statement that replaces the table."""
        if not self.duplicate_key(staging, key):
            return 0
        self._refuse_ties(staging, columns, key, order_by)
        before = self._rows_of(staging)
        keys = self.names(key)
        self.run(
            f"CREATE OR REPLACE TABLE {self.qualified(staging)} AS"
            f" SELECT {self.names(columns)} FROM {self.qualified(staging)} WHERE TRUE"
            f" QUALIFY ROW_NUMBER() OVER"
            f" (PARTITION BY {keys} ORDER BY {self._latest_first(order_by) or keys}) = 1"
        )
        return before - self._rows_of(staging)


def _is_double(field: bigquery.SchemaField) -> bool:
    return fingerprint.needs_read_back([field])


def _digits(name: str) -> str:
    sign = f"IF({name} = 0 AND IEEE_DIVIDE(1.0, {name}) < 0, '-', '')"
    return f"CONCAT({sign}, FORMAT('%.17g', {name}))"


def _literal(value: Any) -> str:
    """Return a partition's bound as GoogleSQL writes it."""
    if isinstance(value, datetime.datetime):
        kind = "TIMESTAMP" if value.tzinfo else "DATETIME"
        zone = "+00" if value.tzinfo else ""
        return f"{kind} '{value.replace(tzinfo=None).isoformat(' ')}{zone}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, datetime.date) else str(int(value))
