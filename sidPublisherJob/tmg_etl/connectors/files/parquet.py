"""Parquet: rows of one file as Arrow batches, row groups outside a window left unread.

Bounded memory: a row group is never held whole. Columns are read through small buffers
(`pre_buffer` off, `buffer_size` set) by one thread; measured on one row group of 5 million rows,
the peak is that of 500 thousand rows (60 MB more without buffers). Of a file in a bucket, footers
are fetched for many files at once and kept, and row groups ahead of who decodes them (`rowgroup`).
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.files import kind as kinds
from tmg_etl.connectors.files import location, ranges, rowgroup, storage, window

_BUFFER_BYTES = 1 << 20
# Footers of files in a bucket, and small files as a whole.
_KEPT_BYTES = 32 << 20
#: A source without declarations.
PLAIN = model.SourceSpec(connection="-", path="-")


@contextlib.contextmanager
def explaining(file: location.File) -> Iterator[None]:
    """Turn what reading a Parquet file raises into an error that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # A file that was being written is no broken file.
        file.check_unchanged()
        if isinstance(error, OSError) and error.errno is not None:
            raise storage.explained(error, file.name) from error
        if "crypt" in str(error):
            raise errors.ConfigError(
                f"{file.name} is encrypted, which this version cannot read",
                hint="have it written without encryption",
            ) from error
        raise errors.DataError(
            f"{file.name} is no complete Parquet file: {error}", hint="write the file again"
        ) from error


@dataclasses.dataclass(frozen=True)
class Footer:
    """The end of a file, kept so that it is fetched once.

    Attributes:
        metadata: what it says.
        tail: the last bytes of the file, which came with it; none of a local file.
    """

    metadata: pq.FileMetaData
    tail: bytes


def opened(
    file: location.File,
    unit: str | None = None,
    *,
    source: str | ranges.File | None = None,
    metadata: pq.FileMetaData | None = None,
) -> pq.ParquetFile:
    """Return a file for streaming, with little held in memory.

    Args:
        file: to read.
        unit: unit of INT96 timestamps; None means nanoseconds.
        source: what to read it from; None: `lake.Lake.random_access`.
        metadata: of its footer; None reads it.
    """
    return pq.ParquetFile(
        file.lake.random_access(file.path, file.stamp) if source is None else source,
        metadata=metadata,
        pre_buffer=False,
        buffer_size=_BUFFER_BYTES,
        coerce_int96_timestamp_unit=unit,
    )


class ParquetFormat:
    """Reads Parquet files.

    Args:
        files: of one source.
        spec: may declare types of partitions only.
    """

    def __init__(self, files: Sequence[location.File], spec: model.SourceSpec) -> None:
        partitions = {key for key, _ in files[0].partitions}
        declared = [name for name in spec.columns if name not in partitions]
        if declared:
            raise errors.ConfigError(
                f"`columns` declares {', '.join(declared)}, but Parquet files hold their types",
                hint="remove `columns`; it is for CSV, JSON lines and partitions",
            )
        self._rows: dict[str, int] = {}
        self._footers: dict[str, Footer] = {}
        self._kept_bytes = 0
        #: Whether any reader of Parquet gives these values in these types.
        self.is_plain = True
        schemas: dict[str, tuple[str, pa.Schema]] = {}
        for file, (schema, footer) in zip(
            files, files[0].lake.mapped(self._look, files), strict=True
        ):
            self._keep(file, footer)
            schemas.setdefault(schema.serialize().to_pybytes().hex(), (file.name, schema))
        self.is_plain = self.is_plain and len(schemas) == 1
        self._schema = kinds.union(list(schemas.values()))

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of all files, without partitions."""
        return self._schema

    def _keep(self, file: location.File, footer: Footer) -> None:
        self._rows[file.path] = footer.metadata.num_rows
        size = footer.metadata.serialized_size + len(footer.tail)
        if file.lake.is_remote and self._kept_bytes + size <= _KEPT_BYTES:
            self._kept_bytes += size
            self._footers[file.path] = footer

    def _look(self, file: location.File) -> tuple[pa.Schema, Footer]:
        """Return schema and footer of a file; called in several threads."""
        with explaining(file):
            source = file.lake.random_access(file.path, file.stamp)
            with opened(file, source=source) as parquet:
                schema = self._base_schema(file, parquet.schema_arrow)
                tail = b"" if isinstance(source, str) else source.tail
                return schema, Footer(parquet.metadata, tail)

    def _base_schema(self, file: location.File, schema: pa.Schema) -> pa.Schema:
        counted = collections.Counter(schema.names)
        twice = sorted(name for name, count in counted.items() if count > 1)
        if twice:
            raise errors.ConfigError(
                f"{file.name}: the column {twice[0]!r} occurs more than once",
                hint="write the file with a name of its own for each column",
            )
        # Annotations of fields and of the file differ between writers and carry no values.
        based = pa.schema([kinds.base_field(field, file.name) for field in schema])
        self.is_plain = self.is_plain and all(map(_is_plain, schema, based))
        return based

    def count(self, file: location.File) -> int | None:
        """Return the rows of a file, as its footer says."""
        return self._rows[file.path]

    def read(
        self,
        file: location.File,
        fields: Sequence[pa.Field],
        batch_rows: int,
        within: base.CursorWindow | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file with those of `fields` that it has.

        Args:
            file: to read.
            fields: wanted, with the types of the whole source.
            batch_rows: upper bound of rows in one batch.
            within: row groups whose statistics lie outside are left out.
        """
        footer = self._footers.get(file.path)
        metadata, tail = (footer.metadata, footer.tail) if footer else (None, b"")
        with explaining(file), contextlib.ExitStack() as stack:
            source = file.lake.random_access(file.path, file.stamp, tail)
            parquet = stack.enter_context(opened(file, source=source, metadata=metadata))
            names = set(parquet.schema_arrow.names)
            present = [field for field in fields if field.name in names]
            groups = _groups(parquet, within)
            columns = [field.name for field in present]
            if not columns:
                yield from _without_columns(parquet, groups, batch_rows)
                return
            exact = _Int96(file, parquet, columns, source)
            stack.callback(exact.close)
            paths = _paths(parquet, columns)
            for unit in _units(file, parquet, columns, groups, source):
                batches = parquet.iter_batches(
                    batch_rows, row_groups=unit, columns=paths, use_threads=False
                )
                exact.begin(unit, batch_rows)
                for batch in batches:
                    batch = exact.replace(batch)
                    arrays = [
                        kinds.to_base(batch.column(field.name), field, file.name)
                        for field in present
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(present))


def _units(
    file: location.File,
    parquet: pq.ParquetFile,
    columns: Sequence[str],
    groups: Sequence[int],
    source: str | ranges.File,
) -> Iterator[list[int]]:
    """Yield row groups that are read together, and count the bytes of a local file."""
    tops = _top_names(parquet)
    leaves = [index for index, top in enumerate(tops) if top in columns]
    if isinstance(source, str):
        units = rowgroup.units(parquet.metadata, groups, leaves)
        file.lake.meter.add(sum(unit.size_bytes for unit in units))
        yield list(groups)
        return
    until = file.stamp.size_bytes - len(source.tail)
    units = rowgroup.units(parquet.metadata, groups, leaves, until)
    for unit in rowgroup.fetched(source.parts, units):
        yield list(unit.groups)


def _is_plain(found: pa.Field, based: pa.Field) -> bool:
    kind = found.type
    # Times are with or without zone for DuckDB, by a flag that Arrow does not look at.
    odd = (pa.types.is_nested, pa.types.is_decimal256, pa.types.is_time)
    return kind == based.type and not base.is_json(based) and not any(is_(kind) for is_ in odd)


def _paths(parquet: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Return columns as `iter_batches` takes them: it reads ``a.b`` as field b of a struct a."""
    wanted = set(columns)
    paths = []
    schema = parquet.schema
    # Top-level columns and their leaves come in one order.
    tops = _top_names(parquet)
    for index in range(len(schema)):
        if tops[index] in wanted:
            paths.append(schema.column(index).path)
    return paths


def _top_names(parquet: pq.ParquetFile) -> list[str]:
    """Return for each leaf column the name of the top-level column it belongs to."""
    tops: list[str] = []
    for field in parquet.schema_arrow:
        tops.extend([field.name] * _leaves(field.type))
    return tops


def _leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if pa.types.is_struct(kind):
        return sum(_leaves(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    if pa.types.is_nested(kind):
        return _leaves(kind.value_type)
    return 1


def _without_columns(
    parquet: pq.ParquetFile, groups: Sequence[int], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    rows = sum(parquet.metadata.row_group(group).num_rows for group in groups)
    for start in range(0, rows, batch_rows):
        count = min(batch_rows, rows - start)
        yield pa.RecordBatch.from_arrays([pa.nulls(count)], names=[""]).select([])


def _groups(parquet: pq.ParquetFile, within: base.CursorWindow | None) -> list[int]:
    """Return the row groups that may hold rows in the window."""
    metadata = parquet.metadata
    every = list(range(metadata.num_row_groups))
    tops = _top_names(parquet)
    if within is None or tops.count(within.column) != 1:
        return every
    column = tops.index(within.column)
    kind = kinds.base_field(parquet.schema_arrow.field(within.column), "").type
    return [
        group
        for group in every
        if window.may_hold(kind, _bounds(metadata.row_group(group).column(column)), within)
    ]


def _bounds(chunk: pq.ColumnChunkMetaData) -> tuple[Any, Any] | None:
    """Return the least and greatest value of a column in a row group; None when not known."""
    # Statistics of nanoseconds and of moments beyond Python's years have no Python value.
    with contextlib.suppress(ValueError, OverflowError, pa.ArrowException, ImportError):
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is not None and statistics.has_min_max:
            return statistics.min, statistics.max
    return None


class _Int96:
    """Reads INT96 timestamps again, in microseconds.

    In nanoseconds, as they are stored, they end in the years 1677 and 2262 and wrap around beyond;
    in microseconds they lose the last three digits. Both readings together tell what is there.
    """

    def __init__(
        self,
        file: location.File,
        parquet: pq.ParquetFile,
        columns: Sequence[str],
        source: str | ranges.File,
    ) -> None:
        self._file = file
        schema, tops = parquet.schema, _top_names(parquet)
        self._names = [
            tops[index]
            for index in range(len(schema))
            if schema.column(index).physical_type == "INT96" and tops[index] in columns
        ]
        self._names = list(dict.fromkeys(self._names))
        self._parquet: pq.ParquetFile | None = None
        if self._names:
            self._parquet = opened(file, "us", source=source, metadata=parquet.metadata)

    def begin(self, groups: Sequence[int], batch_rows: int) -> None:
        """Read the row groups that `replace` is called for next."""
        if self._parquet is not None:
            self._batches = self._parquet.iter_batches(
                batch_rows,
                row_groups=list(groups),
                columns=_paths(self._parquet, self._names),
                use_threads=False,
            )

    def replace(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its INT96 columns in microseconds.

        Raises:
            errors.DataError: a timestamp is finer than that.
        """
        if self._parquet is None:
            return batch
        coarse = next(self._batches)
        for name in self._names:
            fine, whole = batch.column(name), coarse.column(name)
            self._check(name, fine, whole)
            batch = batch.set_column(batch.schema.get_field_index(name), name, whole)
        return batch

    def _check(self, name: str, fine: pa.Array, whole: pa.Array) -> None:
        if pa.types.is_struct(fine.type):
            for inner in zip(fine.flatten(), whole.flatten(), strict=True):
                self._check(name, *inner)
        elif pa.types.is_map(fine.type):
            self._check(name, fine.keys, whole.keys)
            self._check(name, fine.items, whole.items)
        elif pa.types.is_nested(fine.type):
            self._check(name, fine.flatten(), whole.flatten())
        elif pa.types.is_timestamp(fine.type) and fine.type != whole.type:
            self._check_moments(name, fine, whole)

    def _check_moments(self, name: str, fine: pa.Array, whole: pa.Array) -> None:
        # Both wrap around at 64 bit in the same way, and their difference is right again.
        nanoseconds, microseconds = fine.cast(pa.int64()), whole.cast(pa.int64())
        lost = pc.not_equal(nanoseconds, pc.multiply(microseconds, 1000))
        if pc.any(lost).as_py():
            index = pc.index(lost, True).as_py()
            raise errors.DataError(
                f"{self._file.name}: column {name!r} holds a moment finer than microseconds:"
                f" after {whole[index].cast(pa.string()).as_py()}",
                hint="write it to the file in microseconds",
            )

    def close(self) -> None:
        """Close the second reading."""
        if self._parquet is not None:
            self._parquet.close()
