"""What a source reads, and which part of it is asked for. Pure: no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.bigquery import datatype, query, relation

# Types that BigQuery compares as every target does. Not floats: NaN comes first here and last
# elsewhere, and nothing can be partitioned by them. Not the order of text, which is the target's.
_ORDERED = frozenset(
    {"INT64", "NUMERIC", "BIGNUMERIC", "DATE", "TIME", "DATETIME", "TIMESTAMP", "BOOL"}
)
_GROUPED = _ORDERED | {"STRING", "BYTES"}


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is read: a relation or a query.

    Attributes:
        relation: None for a query.
        text: the query, filled in; empty for a relation.
        columns: as BigQuery describes them.
        location: where jobs over it run.
    """

    relation: relation.Relation | None
    text: str
    columns: tuple[bigquery.SchemaField, ...]
    location: str | None

    @property
    def is_stored(self) -> bool:
        """Return whether it can be read without a query."""
        return self.relation is not None and self.relation.is_stored

    @property
    def sql(self) -> str:
        """Return what stands after FROM in a query over it, at its snapshot."""
        if self.relation is None:
            return sql.as_subquery(self.text)
        name = query.name_of(self.relation.reference)
        if not self.relation.has_history:
            return name
        return f"{name} FOR SYSTEM_TIME AS OF TIMESTAMP '{self.relation.snapshot_at.isoformat()}'"

    def schema(self, place: str) -> pa.Schema:
        """Return the Arrow schema.

        Args:
            place: the connection, for messages.

        Raises:
            errors.ConfigError: a query gives two columns of one name, or a type that nothing
                carries.
        """
        if self.relation is not None:
            return self.relation.schema
        names = [column.name for column in self.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise errors.ConfigError(
                f"{place}: the query gives the column {twice!r} twice",
                hint="name its columns apart with AS",
            )
        return pa.schema([datatype.arrow(column) for column in self.columns])

    def column(self, name: str) -> bigquery.SchemaField:
        """Return a column that is not hidden."""
        return next(column for column in self.columns if column.name == name)

    def compares_alike(self, key: Iterable[str], order_by: Iterable[str]) -> bool:
        """Return whether BigQuery groups by `key` and orders by `order_by` as every target does."""
        return all(self._kind(name) in _GROUPED for name in key) and all(
            self._kind(name) in _ORDERED for name in order_by
        )

    def _kind(self, name: str) -> str:
        """Return the GoogleSQL name of a column's type; empty for arrays."""
        for field in self.relation.hidden if self.relation else ():
            if field.name == name:
                return "TIMESTAMP" if pa.types.is_timestamp(field.type) else "DATE"
        column = self.column(name)
        return "" if column.mode == "REPEATED" else datatype.standard_name(column)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows and columns are asked for.

    Attributes:
        columns: names in the order of the result.
        window: only rows in it; None means all.
        latest: condition that keeps the latest versions; empty means all.
    """

    columns: tuple[str, ...]
    window: base.CursorWindow | None
    latest: str

    def covers(self, wanted: Selection, *, can_narrow: bool) -> bool:
        """Return whether what this selects holds what is wanted.

        Args:
            wanted: another selection of the same origin.
            can_narrow: a window can still be taken out of all rows; not of files.
        """
        needed = set(wanted.columns)
        if self.window == wanted.window:
            return self.latest == wanted.latest and needed <= set(self.columns)
        if wanted.window is not None:
            needed.add(wanted.window.column)
        is_all = self.window is None and not (self.latest or wanted.latest)
        return is_all and can_narrow and needed <= set(self.columns)


def alias(field: pa.Field) -> str:
    """Return what a column is called in a result, where no name may start like a hidden one's."""
    return f"tmg{field.name}" if base.is_hidden(field) else str(field.name)
