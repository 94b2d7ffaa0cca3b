"""CSV: rows of one file as Arrow batches of text, then typed by `text`.

pyarrow splits the bytes; every value leaves it as text, so that `text` alone decides what a value
means and a refused one can be named. Null is an unquoted text of `null_values` (default: nothing
between two delimiters); a quoted empty text is the empty string. Quoted values may hold newlines.
A blank line is skipped, but is a null row in a file of one column. Line numbers are found by a
second, slower reading after an error.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.csv

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors.files import kind as kinds
from tmg_etl.connectors.files import location, record, text

# A record must fit into a block; larger ones are tried when one does not.
_BLOCK_BYTES = (4 << 20, 16 << 20, record.LINE_BYTES)


def header(file: location.File, spec: model.SourceSpec) -> list[str]:
    """Return the names of a file's columns.

    Without a header line they are those of `spec.columns`, or ``f0``, ``f1``, ….

    Raises:
        errors.DataError: an empty file, a name that is empty or occurs twice, or bad text.
    """
    with record.Body(file, spec.csv) as body, record.explaining(file, spec):
        first = record.first_record(body, spec.csv)
    _refuse_separator(first, file)
    if not spec.csv.header:
        names = list(spec.columns)
        partitions = {key for key, _ in file.partitions}
        names = [name for name in names if name not in partitions]
        width = len(first) if first is not None else len(names)
        if names and len(names) != width:
            raise errors.ConfigError(
                f"{file.name}:1: the file has {width} columns, `columns` declares {len(names)}",
                hint="without a header line, `columns` names every column in the file's order",
            )
        return names or [f"f{index}" for index in range(width)]
    if first is None:
        raise errors.DataError(
            f"{file.name}:1: the file is empty, expected a header line",
            hint="write the names of the columns, or `csv: {header: false}` in the source",
        )
    _check_names(first, file)
    return first


def _refuse_separator(first: list[str] | None, file: location.File) -> None:
    """Refuse the first line that only spreadsheets understand."""
    text = "".join(first or ())
    if first is not None and len(first) <= 2 and re.fullmatch(r"sep=.?", text):
        shown = text.removeprefix("sep=") or ","
        raise errors.DataError(
            f"{file.name}:1: found `sep={shown}`, which only spreadsheets take for no header",
            hint=f"remove that line, and write `csv: {{delimiter: {shown!r}}}` in the source",
        )


def _check_names(names: Sequence[str], file: location.File) -> None:
    for index, name in enumerate(names):
        if not name.strip():
            raise errors.DataError(
                f"{file.name}:1: the name of column {index + 1} is empty",
                hint="name every column in the header line",
            )
        if name in names[:index]:
            raise errors.DataError(
                f"{file.name}:1: the column {name!r} occurs twice in the header",
                hint="give each column its own name",
            )


def texts(
    file: location.File,
    spec: model.SourceSpec,
    names: Sequence[str],
    columns: Sequence[str],
    batch_bytes: int | None = None,
) -> Generator[pa.RecordBatch, None, None]:
    """Yield `columns` of a file's rows as text, a block at a time.

    Args:
        file: to read.
        spec: how it is written.
        names: all its columns, as `header` gave them.
        columns: those to read.
        batch_bytes: size of the first blocks that are tried; None means 4 MiB.
    """
    sizes = _BLOCK_BYTES if batch_bytes is None else (batch_bytes, *_BLOCK_BYTES)
    rows = 0
    for block_bytes in sizes:
        with record.Body(file, spec.csv) as body, record.explaining(file, spec):
            try:
                for batch in _open(body, file, spec, names, columns, block_bytes, rows):
                    rows += batch.num_rows
                    yield batch
                return
            except pa.ArrowInvalid as error:
                # The block holds no end of a record: a long one, or a quote that is never closed.
                if "straddling" not in str(error) or block_bytes == sizes[-1]:
                    raise


def _open(
    body: record.Body,
    file: location.File,
    source: model.SourceSpec,
    names: Sequence[str],
    columns: Sequence[str],
    block_bytes: int,
    skip_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of one attempt, without the rows that an earlier one gave."""
    spec = source.csv
    if spec.header:
        record.first_record(body, spec)
    head = _head(body)
    if not head:
        return
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=list(names)
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=spec.delimiter,
            quote_char=spec.quote or False,
            double_quote=spec.escape is None,
            escape_char=spec.escape or False,
            newlines_in_values=spec.quote is not None or spec.escape is not None,
            # With one column, nothing between two line ends is a value.
            ignore_empty_lines=len(names) > 1,
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=list(columns) or list(names[:1]),
            null_values=list(spec.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }
    rest = _Rest(head, body, (spec.quote or "").encode())
    with pyarrow.csv.open_csv(pa.PythonFile(rest, mode="r"), **options) as reader:
        for batch in reader:
            skipped = min(skip_rows, batch.num_rows)
            skip_rows -= skipped
            if batch.num_rows > skipped:
                yield batch.slice(skipped).select(list(columns))

    # pyarrow takes the end of the file for the closing quote, and a cut-off file for a whole one.
    if rest.quotes % 2 and spec.escape is None:
        record.require_closed(file, source)


def _head(body: record.Body) -> bytes:
    """Return the next bytes, without byte order mark; none when there are no rows."""
    return body.read(1 << 16).removeprefix(codecs.BOM_UTF8)


class _Rest(io.RawIOBase):
    """A stream whose first bytes were read already, and that counts quotes."""

    def __init__(self, head: bytes, body: record.Body, quote: bytes) -> None:
        self._head, self._body, self._quote = head, body, quote
        self.quotes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found, self._head = self._head, b""
        if size >= 0 and len(found) > size:
            found, self._head = found[:size], found[size:]
        while size < 0 or len(found) < size:
            more = self._body.read(-1 if size < 0 else size - len(found))
            if not more:
                break
            found += more
        self.quotes += found.count(self._quote) if self._quote else 0
        return found


class CsvFormat:
    """Reads CSV files with declared or inferred types.

    Args:
        files: of one source.
        spec: how they are written.
    """

    # Files whose rows are looked at for types; of the others only the header is read.
    _sampled = 32

    def __init__(self, files: Sequence[location.File], spec: model.SourceSpec) -> None:
        self._spec = spec
        self._names: dict[str, list[str]] = {}
        self._schema = self._find_schema(files)

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of all files, without partitions."""
        return self._schema

    def _find_schema(self, files: Sequence[location.File]) -> pa.Schema:
        found: dict[str, list[pa.Array]] = {}
        looked: list[tuple[location.File, list[str], int]] = []
        lake = files[0].lake
        headers = lake.mapped(lambda file: header(file, self._spec), files)
        for index, (file, names) in enumerate(zip(files, headers, strict=True)):
            self._names[file.path] = names
            unknown = [name for name in names if name not in self._spec.columns]
            is_new = any(name not in found for name in unknown)
            for name in names:
                found.setdefault(name, [])
            if unknown and (index < self._sampled or is_new):
                looked.append((file, unknown, _BLOCK_BYTES[0] if index == 0 else 1 << 18))
        for first in lake.mapped(self._first_rows, looked):
            for name in first.schema.names:
                found[name].append(first.column(name))
        return pa.schema([self._field(name, arrays) for name, arrays in found.items()])

    def _first_rows(self, looked: tuple[location.File, list[str], int]) -> pa.RecordBatch:
        """Return columns of a file's first rows as text; none of an empty file."""
        file, columns, size = looked
        names = self._names[file.path]
        with contextlib.closing(texts(file, self._spec, names, columns, size)) as blocks:
            return next(blocks, pa.RecordBatch.from_arrays([], []))

    def _field(self, name: str, arrays: list[pa.Array]) -> pa.Field:
        if name in self._spec.columns:
            return kinds.declared_field(name, self._spec.columns[name])
        sample = pa.concat_arrays(arrays) if arrays else pa.array([], pa.string())
        return text.infer(sample, name)

    def count(self, file: location.File) -> int | None:
        """Return None: rows of a CSV file are known when it is read."""
        return None

    def read(
        self, file: location.File, fields: Sequence[pa.Field], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file with those of `fields` that it has."""
        names = self._names[file.path]
        present = [field for field in fields if field.name in names]
        row = 0
        for block in texts(file, self._spec, names, [field.name for field in present]):
            for start in range(0, block.num_rows, batch_rows):
                part = block.slice(start, batch_rows)
                arrays = [
                    self._typed(file, part.column(index), field, row + start)
                    for index, field in enumerate(present)
                ]
                # A batch without columns would forget how many rows it has.
                yield batch_of(arrays, present, part.num_rows)
            row += block.num_rows

    def _typed(self, file: location.File, texts_: pa.Array, field: pa.Field, row: int) -> pa.Array:
        try:
            return text.parse(texts_, field)
        except text.RefusedError as refused:
            file.check_unchanged()
            line = record.line_of(file, self._spec.csv, row + refused.index)
            raise refusal(
                f"{file.name}:{line}", field, refused.value, field.name in self._spec.columns
            ) from None


def batch_of(arrays: list[pa.Array], fields: Sequence[pa.Field], rows: int) -> pa.RecordBatch:
    """Return a batch that knows its number of rows even without columns."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(fields)))
    return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=[""]).select([])


def refusal(where: str, field: pa.Field, value: str, is_declared: bool) -> errors.DataError:
    """Return the error for a value that is not of its column's type."""
    word = kinds.word_of(field)
    found = f"{where}: column {field.name!r}: {errors.shorten(value)} is no {word}"
    if is_declared:
        return errors.DataError(found, hint="correct the file, or declare another type")
    return errors.DataError(
        f"{found}, the type that the first rows have",
        hint=f"declare the type in the source: `columns: {{{field.name}: string}}`",
    )
