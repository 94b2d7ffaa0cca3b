"""What targets of files share: they are replaced as a whole, so that there is nothing to merge.

Types are Arrow's own: every column is written as the source gives it (JSON as text with its mark in
the Arrow schema that Parquet files carry).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import NoReturn

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.files import kind as kinds

#: Rows of a row group: large enough to compress well, small enough to be skipped usefully.
ROW_GROUP_ROWS = 128 * 1024
# Of Arrow's memory: very wide rows make smaller row groups, so that memory stays bounded.
_ROW_GROUP_BYTES = 64 << 20


class RowGroups:
    """Joins batches until they make a row group.

    Args:
        schema: of the rows.
        rows: least rows of a row group; it is written when a batch reaches them.
        write: takes the rows of one row group.
    """

    def __init__(self, schema: pa.Schema, rows: int, write: Callable[[pa.Table], None]) -> None:
        self._schema, self._least_rows, self._write = schema, rows, write
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; write them when they are enough."""
        self._pending.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._least_rows or self._bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is left, if there is anything."""
        table = pa.Table.from_batches(self._pending, self._schema)
        self.clear()
        if table.num_rows:
            self._write(table)

    def clear(self) -> None:
        """Forget what is left."""
        self._pending, self._rows, self._bytes = [], 0, 0


class WholeTarget(base.Target):
    """A target that takes `truncate` by swap only.

    Args:
        table: its name as the config has it.
        connection: name of the connection.
        where: path or URL of the table, for messages.
    """

    capabilities = base.Capabilities(
        ingest=base.Ingest.ARROW,
        proof=base.Proof.READ_BACK,
        scans_ahead=True,
        can_diff=False,
        can_merge=False,
    )

    def __init__(self, table: str, connection: str, where: str) -> None:
        self.table = table
        self._subject = f"{connection}: {table}"
        self._where = where
        self._described: base.Table | None = None
        #: Columns that the table in place does not have yet.
        self._added: list[pa.Field] = []

    def planned(self, schema: pa.Schema, key: Sequence[str]) -> base.Table:
        """Return the columns as they are."""
        return described(self._fields(schema), tuple(key), None)

    def create_shadow(self, name: str, indexes: Sequence[base.Index]) -> None:
        """Begin a shadow with the columns of the table in place."""
        table = self.describe()
        if table is None:
            raise errors.ConfigError(f"{self._subject}: there is no table {self._where}")
        self.create(name, table.schema, (), indexes)

    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Have columns in what is published next; what is in place stays as it is until then."""
        self._added += [field.with_nullable(True) for field in self._fields(schema)]
        self._described = None
        if name is not None:
            # Nothing has been written to it yet.
            self.drop(name)
            self.create_shadow(name, ())

    def _fields(self, schema: pa.Schema) -> list[pa.Field]:
        return [kinds.base_field(field, self._subject) for field in schema]

    def _schema_to_write(
        self, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> pa.Schema:
        """Return the schema of a new table, whose key is never null."""
        if indexes:
            raise errors.ConfigError(
                f"{self._subject}: a files target has no indexes, but `indexes` names"
                f" {', '.join(index.name for index in indexes)}",
                hint="remove `indexes` from the transfer",
            )
        return pa.schema(
            field.with_nullable(field.nullable and field.name not in key)
            for field in self._fields(schema)
        )

    def _fitted(self, batch: base.Batch, schema: pa.Schema, key: Sequence[str]) -> pa.RecordBatch:
        """Return the rows with the columns of a table, those that they lack as null.

        Raises:
            errors.ValueRejectedError: null where the column may not be.
        """
        arrow = batch.arrow
        arrays = []
        for field in schema:
            index = arrow.schema.get_field_index(field.name)
            array = arrow.column(index) if index >= 0 else pa.nulls(arrow.num_rows, field.type)
            if array.null_count and not field.nullable:
                row = next(i for i, valid in enumerate(array.is_valid().to_pylist()) if not valid)
                raise errors.ValueRejectedError(
                    self._subject,
                    column=field.name,
                    value="null",
                    key=batch.key_of(row, key),
                    reason="the column may not be null",
                )
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    # --- what files cannot do -------------------------------------------------------------------

    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Refuse: see the module."""
        self._refuse()

    def transaction(
        self, others: Sequence[base.Target] = (), key: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[None]:
        """Refuse: see the module."""
        self._refuse()

    def diff(
        self,
        shadow: str,
        columns: Sequence[str],
        key: Sequence[str],
        window: base.CursorWindow | None,
        part: base.Part = base.Part.ALL,
    ) -> base.Changes:
        """Refuse: see the module."""
        self._refuse()

    def replace_rows(
        self, staging: str, columns: Sequence[str], window: base.CursorWindow | None
    ) -> base.Changes:
        """Refuse: see the module."""
        self._refuse()

    def keep_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Refuse: see the module."""
        self._refuse()

    def upsert(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        order_by: Sequence[str],
        deleted: str | None,
        part: base.Part = base.Part.ALL,
    ) -> base.Changes:
        """Refuse: see the module."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise errors.ConfigError(
            f"{self._subject}: a files target takes `truncate` with `publish: swap` only",
            hint="run it with truncate; a folder of files cannot be merged into",
        )


def described(fields: Sequence[pa.Field], key: tuple[str, ...], rows: int | None) -> base.Table:
    """Return the table of these columns."""
    columns = tuple(base.Column(field, kinds.word_of(field)) for field in fields)
    return base.Table(columns, primary_key=key, row_estimate=rows)
