"""Sources over files: one schema for all of them, windows, batches, and an unchanged lake."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.files import (
    ahead,
    delimited,
    jsonlines,
    location,
    parquet,
    partition,
    record,
    window,
)


class Format(Protocol):
    """Reads the files of one format."""

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of all files, without partitions."""

    def count(self, file: location.File) -> int | None:
        """Return the rows of a file where that is cheap."""

    def read(
        self, file: location.File, fields: Sequence[pa.Field], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file with those of `fields` that it has."""


def _format(located: location.Located, spec: model.SourceSpec) -> Format:
    if located.format == "csv":
        return delimited.CsvFormat(located.files, spec)
    if located.format == "jsonl":
        return jsonlines.JsonLinesFormat(located.files, spec)
    return parquet.ParquetFormat(located.files, spec)


class FilesSource(base.Source):
    """The rows of files, in the order of their paths.

    Args:
        located: the files, as they are now.
        spec: how they are written.
    """

    def __init__(self, located: location.Located, spec: model.SourceSpec) -> None:
        self.located = located
        self._spec = spec
        self._lake = located.files[0].lake
        self.format = _format(located, spec)
        self.partitions = partition.fields_of(located.files, spec)
        columns = self.format.schema
        for field in self.partitions:
            if field.name in columns.names:
                raise errors.ConfigError(
                    f"{located.files[0].name}: {field.name!r} is a column of the files and a"
                    " partition in their path",
                    hint="rename one of them",
                )
        self._schema = pa.schema([*columns, *self.partitions])
        _check_declared(spec, self._schema, located)

    @property
    def description(self) -> str:
        """Return the table or path, and how many files it is."""
        return self.located.description

    @property
    def version(self) -> str | None:
        """Return the snapshot: size, time of change and generation of every file."""
        return self.snapshot

    @property
    def snapshot(self) -> str:
        """Return number, size and newest change of the files, and a digest of their list."""
        return self.located.snapshot

    def schema(self) -> pa.Schema:
        """Return the columns of the files, then those of the partitions."""
        return self._schema

    def place_of(self, row: Mapping[str, object]) -> str | None:
        """Return the lines of CSV files that hold a row with these values, the first two."""
        if not isinstance(self.format, delimited.CsvFormat):
            return None
        if not row or not set(row) <= set(self._schema.names):
            return None
        wanted = [str(value) for value in row.values()]
        found: list[str] = []
        for file in self.located.files:
            fields, number = pa.schema([self._field(name) for name in row]), 0
            for batch in self._read_file(file, fields, None, 65536):
                for values in zip(*batch.to_pydict().values(), strict=True):
                    if [str(value) for value in values] == wanted:
                        line = record.line_of(file, self._spec.csv, number)
                        found.append(f"{file.name}:{line}")
                        if len(found) == 2:
                            return " and ".join(found)
                    number += 1
        return found[0] if found else None

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the rows that Parquet footers tell of; None for other files and in a window."""
        counts = [self.format.count(file) for file in self.located.files]
        if window is not None or any(count is None for count in counts):
            return None
        return sum(count for count in counts if count is not None)

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows file by file; each file is checked to be unchanged when it is through."""
        schema = pa.schema([self._field(name) for name in columns])
        if window is not None:
            # Refuses a cursor that cannot be one before the first row is read.
            _ = self._bounds(window)
        files = [file for file in self.located.files if self._may_hold(file, window)]

        def batches(file: location.File) -> Iterator[pa.RecordBatch]:
            for batch in self._read_file(file, schema, window, batch_rows):
                if batch.num_rows:
                    yield batch
            file.check_unchanged()
            if not isinstance(self.format, parquet.ParquetFormat):
                self._lake.meter.add(file.stamp.size_bytes)

        if self._lake.is_remote:
            yield from ahead.in_order(files, batches)
            return
        for file in files:
            yield from batches(file)

    @property
    def bytes_read(self) -> int:
        """Return the bytes of the columns and files that were read through."""
        return self._lake.meter.bytes_read

    def close(self) -> None:
        """Give back the connections to a bucket; local files are open only while they are read."""
        self._lake.close()

    def _field(self, name: str) -> pa.Field:
        index = self._schema.get_field_index(name)
        if index < 0:
            near = difflib.get_close_matches(name, self._schema.names, n=1)
            listed = ", ".join(self._schema.names)
            raise errors.ConfigError(
                f"{self.description} has no column {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"its columns are {listed}",
            )
        return self._schema.field(index)

    def _bounds(self, within: base.CursorWindow) -> tuple[object, object, bool]:
        return window.bounds(self._field(within.column).type, within)

    def _may_hold(self, file: location.File, within: base.CursorWindow | None) -> bool:
        if within is None:
            return True
        for field in self.partitions:
            if field.name == within.column:
                value = partition.value_of(file, field).as_py()
                return value is not None and window.may_hold(field.type, (value, value), within)
        return True

    def _read_file(
        self,
        file: location.File,
        schema: pa.Schema,
        within: base.CursorWindow | None,
        batch_rows: int,
    ) -> Iterator[pa.RecordBatch]:
        file.check_unchanged()
        wanted = list(schema)
        if within is not None and within.column not in schema.names:
            wanted.append(self._field(within.column))
        in_path = {field.name for field in self.partitions}
        in_file = [field for field in wanted if field.name not in in_path]
        for batch in self._batches(file, in_file, within, batch_rows):
            complete = _completed(batch, wanted, file)
            if within is not None:
                complete = window.keep(complete, within)
            yield complete.select(schema.names)

    def _batches(
        self,
        file: location.File,
        fields: Sequence[pa.Field],
        within: base.CursorWindow | None,
        batch_rows: int,
    ) -> Iterator[pa.RecordBatch]:
        if isinstance(self.format, parquet.ParquetFormat):
            return self.format.read(file, fields, batch_rows, within)
        return self.format.read(file, fields, batch_rows)


def _completed(
    batch: pa.RecordBatch, fields: Sequence[pa.Field], file: location.File
) -> pa.RecordBatch:
    """Return the batch with `fields`: those that the file lacks are partitions or null."""
    if not fields:
        return batch
    partitions = dict(file.partitions)
    arrays = []
    for field in fields:
        if field.name in batch.schema.names:
            arrays.append(batch.column(field.name))
        elif field.name in partitions:
            arrays.append(pa.repeat(partition.value_of(file, field), batch.num_rows))
        else:
            arrays.append(pa.nulls(batch.num_rows, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(fields)))


def _check_declared(spec: model.SourceSpec, schema: pa.Schema, located: location.Located) -> None:
    for name in spec.columns:
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            listed = ", ".join(schema.names)
            raise errors.ConfigError(
                f"`columns` declares {name!r}, which {located.description} does not have",
                hint=f"did you mean {near[0]!r}?" if near else f"its columns are {listed}",
            )
