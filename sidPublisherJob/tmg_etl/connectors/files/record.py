"""CSV as bytes and lines: decoding, the header's record, and where a fault is.

pyarrow splits the rows (`delimited`); Python's own csv module, which is slow and knows its line
numbers, reads the first record of a file, and the whole of it again after an error.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import threading
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors.files import location, storage

_UTF8_NAMES = ("utf-8", "utf-8-sig")
_mutex = threading.Lock()
# What the limit of fields was when each block under way began.
_limits: list[int] = []
#: No line, header or value that is looked for a fault is larger: a file that unpacks to gigabytes
#: without an end of line must not fill the memory.
LINE_BYTES = 64 << 20
#: What the first bytes of files say that are no text in the declared encoding.
_SIGNS = {
    b"\xff\xfe": "it looks like UTF-16: write `csv: {encoding: utf-16}` in the source",
    b"\xfe\xff": "it looks like UTF-16: write `csv: {encoding: utf-16}` in the source",
    b"\x1f\x8b": "it is compressed by gzip: have its name end in .gz",
    b"PAR1": "it is a Parquet file: have its name end in .parquet, or write `format: parquet`",
    b"PK\x03\x04": "it is a ZIP archive: unpack it",
}


class Body(io.RawIOBase):
    """The bytes of a file from the record after the header, as UTF-8, without byte order mark."""

    def __init__(self, file: location.File, spec: model.CsvSpec) -> None:
        self._stream: BinaryIO = file.open()
        self._text: io.TextIOWrapper | None = None
        if codecs.lookup(spec.encoding).name not in _UTF8_NAMES:
            # newline="": what ends a line inside quotes is data.
            self._text = io.TextIOWrapper(self._stream, spec.encoding, newline="")
        self._is_first = True
        #: Lines that `line` has given.
        self.lines = 0

    def line(self) -> str:
        """Return the next line; empty at the end.

        Raises:
            csv.Error: it is larger than `LINE_BYTES`.
        """
        if self._text is not None:
            line = self._text.readline(LINE_BYTES + 1)
        else:
            line = self._stream.readline(LINE_BYTES + 1).decode("utf-8")
        if len(line) > LINE_BYTES:
            raise csv.Error(f"a line of more than {LINE_BYTES >> 20} MiB")
        if self._is_first:
            line, self._is_first = line.removeprefix("\ufeff"), False
        self.lines += 1
        return line

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, as UTF-8; `size` counts characters in other encodings."""
        if self._text is not None:
            return self._text.read(size).encode()
        return self._stream.read(size)

    def close(self) -> None:
        """Close the file; harmless when called again."""
        if not self.closed:
            self._stream.close()
        super().close()


def first_record(body: Body, spec: model.CsvSpec) -> list[str] | None:
    """Return the first record that is not blank, reading no further; None at the end.

    Raises:
        csv.Error: its quotes are not closed.
    """
    for _, values, is_closed in _records(body, spec):
        if not is_closed:
            raise csv.Error("the file ends within quotes")
        if values:
            return values
    return None


def _reader(lines: Iterator[str], spec: model.CsvSpec) -> Any:
    return csv.reader(
        lines,
        delimiter=spec.delimiter,
        quotechar=spec.quote,
        escapechar=spec.escape,
        doublequote=spec.escape is None,
        quoting=csv.QUOTE_NONE if spec.quote is None else csv.QUOTE_MINIMAL,
    )


@contextlib.contextmanager
def _large_fields() -> Iterator[None]:
    """Raise the limit that Python sets to fields, for a block.

    It is one limit for all threads: the last block that ends sets it back.
    """
    with _mutex:
        _limits.append(csv.field_size_limit(LINE_BYTES))
    try:
        yield
    finally:
        with _mutex:
            before = _limits.pop()
            if not _limits:
                csv.field_size_limit(before)


@contextlib.contextmanager
def explaining(file: location.File, spec: model.SourceSpec) -> Iterator[None]:
    """Turn what reading a CSV file raises into an error that names file and line."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeError, csv.Error, EOFError, OSError, zlib.error) as error:
        # A file that was being written is no broken file.
        file.check_unchanged()
        if isinstance(error, OSError) and error.errno is not None:
            raise storage.explained(error, file.name) from error
        raise _diagnosed(file, spec, error) from error


def _records(body: Body, spec: model.CsvSpec) -> Iterator[tuple[int, list[str], bool]]:
    """Yield the line that each record starts on, its values, and whether its quotes are closed."""
    is_through = False

    def lines() -> Iterator[str]:
        nonlocal is_through
        yield from iter(body.line, "")
        is_through = True

    with _large_fields():
        reader = _reader(lines(), spec)
        start = 1
        for values in reader:
            # A record is given before the next line is asked for, unless it wants more of them.
            yield start, values, not is_through
            start = reader.line_num + 1


def require_closed(file: location.File, spec: model.SourceSpec) -> None:
    """Refuse a file that ends within quotes.

    Raises:
        errors.DataError: it does; names the line of the record.
    """
    with Body(file, spec.csv) as body, explaining(file, spec):
        for start, _, is_closed in _records(body, spec.csv):
            if not is_closed:
                file.check_unchanged()
                raise _unclosed(file, start)


def _unclosed(file: location.File, line: int) -> errors.DataError:
    return errors.DataError(
        f"{file.name}:{line}: the file ends within quotes that this record opens",
        hint="close the quotes, or write a file that was cut off again",
    )


def _diagnosed(
    file: location.File, spec: model.SourceSpec, error: BaseException
) -> errors.DataError:
    """Return the first fault of a file with its line, found by reading it from the start."""
    width, start = 0, 0
    body = Body(file, spec.csv)
    try:
        for start, values, is_closed in _records(body, spec.csv):
            if not is_closed:
                return _unclosed(file, start)
            width = width or len(values)
            if values and len(values) != width:
                return errors.DataError(
                    f"{file.name}:{start}: found {len(values)} value{'s' * (len(values) != 1)},"
                    f" expected {width}:"
                    f" {errors.shorten(spec.csv.delimiter.join(values))}",
                    hint="quote values that hold the delimiter, quotes or newlines",
                )
    except UnicodeError as fault:
        bad, line = b"", body.lines + 1
        if isinstance(fault, UnicodeDecodeError):
            bad = fault.object[fault.start : fault.end]
            # Other encodings are decoded by the block, which may hold lines before the fault.
            line += fault.object[: fault.start].count(b"\n")
        return errors.DataError(
            f"{file.name}:{line}: the bytes {bad!r} are no {spec.csv.encoding}",
            hint=_sign(file, spec)
            or "write `csv: {encoding: …}` in the source, or correct the file",
        )
    except (EOFError, OSError, zlib.error) as fault:
        return errors.DataError(
            f"{file.name}: the compressed file is broken or cut off: {fault}",
            hint="write the file again",
        )
    except csv.Error as fault:
        return errors.DataError(
            f"{file.name}:{start + 1}: {fault}",
            hint=_sign(file, spec) or "look for a quote that is never closed",
        )
    finally:
        body.close()
    return errors.DataError(f"{file.name}: {error}", hint="look for a quote that is never closed")


def _sign(file: location.File, spec: model.SourceSpec) -> str | None:
    """Return what a file is by its first bytes, and what to do; None where they say nothing."""
    if codecs.lookup(spec.csv.encoding).name not in _UTF8_NAMES:
        return None
    with contextlib.suppress(EOFError, OSError, zlib.error), Body(file, model.CsvSpec()) as body:
        head = body.read(4)
        return next((said for sign, said in _SIGNS.items() if head.startswith(sign)), None)
    return None


def line_of(file: location.File, spec: model.CsvSpec, row: int) -> int:
    """Return the line that a row starts on."""
    width, index, line = 0, -1 if spec.header else 0, 1
    with Body(file, spec) as body:
        for line, values, _ in _records(body, spec):
            width = width or len(values)
            # A blank line is a row in a file of one column, but not before its header.
            if values or (width == 1 and index >= 0):
                if index == row:
                    return line
                index += 1
    return line
