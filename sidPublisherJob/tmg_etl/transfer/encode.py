"""Arrow batches to text rows, and their fingerprint, a column at a time.

One text serves three ends: it is what ``COPY`` and ``LOAD DATA`` load, what the fingerprint hashes,
and what a database recomputes to prove itself (see `base.TextFormat` for its rules). Pure: no I/O,
no database.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl.connectors import base
from tmg_etl.transfer import document, lookup3, number

_NULL = "\\N"
#: Characters that the canonical text keeps and that a loaded line cannot hold.
_LINE_BREAKERS = ((b"\n", "\n", "\\n"), (b"\r", "\r", "\\r"), (b"\0", "\0", "\\0"))
_HASH_SHIFT = np.uint64(4)
#: The hash functions of `hashlib` and the bytes of their results. No secret is protected here: a
#: FIPS build of OpenSSL may refuse md5 for one.
_DIGESTS: dict[base.Digest, tuple[Callable[[memoryview], Any], int]] = {
    base.Digest.MD5: (functools.partial(hashlib.md5, usedforsecurity=False), 16),
    base.Digest.SHA256: (hashlib.sha256, 32),
}


class Encoder:
    """Turns batches of one schema into text rows and adds up their fingerprint.

    Args:
        schema: fields of the batches, in the order of the loaded columns; scalar types only.
        text: how values are written.
        hashes: whether to hash rows; else they are counted.
    """

    def __init__(self, schema: pa.Schema, text: base.TextFormat, *, hashes: bool) -> None:
        self.schema = schema
        self._writers = [column_writer(field, text) for field in schema]
        self._hashes = hashes
        self._digest = text.digest
        self._rows = 0
        self._sum = 0

    @property
    def fingerprint(self) -> base.Fingerprint:
        """Return the fingerprint of everything encoded so far."""
        return base.Fingerprint(self._rows, self._sum % 2**64 if self._hashes else None)

    def encode(self, batch: pa.RecordBatch) -> memoryview:
        """Return the rows as lines to load, each ended by a newline, and add them up.

        Args:
            batch: rows with exactly the fields of the schema.
        """
        columns = [
            write(column) for write, column in zip(self._writers, batch.columns, strict=True)
        ]
        lines = _lines(columns)
        self._rows += len(lines)
        if self._hashes:
            self._sum += _hash_sum(columns, self._digest, lines)
        data = _data(lines)
        # Every row ends in one newline; more of them means that a value holds one.
        if data.tobytes().count(b"\n") == len(lines) and not _holds(data, b"\r", b"\0"):
            return data
        return _data(_lines([_break_free(column) for column in columns]))

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows to the fingerprint without keeping their text."""
        self._rows += batch.num_rows
        if self._hashes:
            columns = [
                write(column) for write, column in zip(self._writers, batch.columns, strict=True)
            ]
            self._sum += _hash_sum(columns, self._digest)


class Hasher:
    """Hashes rows one by one: the numbers that an `Encoder` adds up.

    Args:
        schema: fields of the batches.
        text: how values are written.
        columns: which of them are hashed, in this order; None means all.
    """

    def __init__(
        self, schema: pa.Schema, text: base.TextFormat, columns: Sequence[str] | None = None
    ) -> None:
        self._columns = list(columns if columns is not None else schema.names)
        self._writers = [column_writer(schema.field(name), text) for name in self._columns]
        self._digest = text.digest

    def hashes(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return the hash of each row, as uint64."""
        texts = [
            write(batch.column(name))
            for name, write in zip(self._columns, self._writers, strict=True)
        ]
        return _hashes(texts, self._digest)


def column_writer(field: pa.Field, text: base.TextFormat) -> Callable[[pa.Array], pa.StringArray]:
    """Return the function that writes one column: an array of its type to an array of texts.

    Null stays null. Texts of character columns carry the two canonical escapes.

    Raises:
        TypeError: a nested type, which must have become JSON before.
    """
    kind = field.type
    if pa.types.is_string(kind):
        if base.is_json(field) and text.canonical_json:
            return lambda array: _escape(_map(array, document.canonical))
        return _escape
    if pa.types.is_boolean(kind):
        return lambda array: pc.if_else(array, text.true, text.false)
    if pa.types.is_integer(kind) or pa.types.is_date32(kind):
        return _cast
    if pa.types.is_decimal(kind):
        return _decimals
    if pa.types.is_floating(kind):
        style = number.STYLES[text.float_style]
        return lambda array: _floats(array, style)
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return lambda array: _instants(array, text)
    if pa.types.is_binary(kind):
        return lambda array: _hex(array, text)
    raise TypeError(f"column {field.name!r}: no text for the type {kind}")


def _cast(array: pa.Array) -> pa.StringArray:
    return array.cast(pa.string())


def _map(array: pa.Array, write: Callable[[str], str]) -> pa.StringArray:
    return pa.array(
        [None if value is None else write(value) for value in array.to_pylist()], pa.string()
    )


def _escape(array: pa.StringArray) -> pa.StringArray:
    """Return the texts with backslash and tab escaped; most columns hold neither."""
    data = _data(array)
    if _holds(data, b"\\"):
        array = pc.replace_substring(array, "\\", "\\\\")
    if _holds(data, b"\t"):
        array = pc.replace_substring(array, "\t", "\\t")
    return array


def _break_free(array: pa.StringArray) -> pa.StringArray:
    """Return the texts with newline, carriage return and NUL escaped."""
    data = _data(array)
    for character, found, escaped in _LINE_BREAKERS:
        if _holds(data, character):
            array = pc.replace_substring(array, found, escaped)
    return array


def _decimals(array: pa.Array) -> pa.StringArray:
    texts = array.cast(pa.string())
    if not _holds(_data(texts), b"E"):
        return texts
    # Arrow writes 0.0000001 as 1E-7; databases write every digit.
    return _patch(texts, pc.match_substring(texts, "E"), lambda text: f"{Decimal(text):f}")


def _floats(array: pa.Array, style: number.Style) -> pa.StringArray:
    # A float32 is written as the double it equals: its own shortest text would be read back as
    # another double by a server that computes in doubles.
    doubles = array.cast(pa.float64())
    texts = doubles.cast(pa.string())
    size = pc.abs(doubles)
    plain = pc.or_kleene(
        pc.equal(size, 0.0), pc.and_(pc.greater_equal(size, 1e-4), pc.less(size, 1e10))
    )
    # From 1e10 on Arrow writes an exponent, where databases do not yet.
    # NaN compares false and so is not plain; null stays null.
    if pc.all(plain, skip_nulls=True).as_py() in (True, None):
        return texts
    return _patch(texts, pc.invert(plain), lambda text: style(float(text)))


def _instants(array: pa.Array, text: base.TextFormat) -> pa.StringArray:
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    if zoned:
        array = array.cast(pa.timestamp("us"))
    texts = array.cast(pa.string())
    if text.trims_fraction:
        texts = pc.utf8_rtrim(pc.utf8_rtrim(texts, characters="0"), characters=".")
    if zoned and text.utc_suffix:
        texts = pc.binary_join_element_wise(texts, text.utc_suffix, "")
    return texts


def _hex(array: pa.BinaryArray, text: base.TextFormat) -> pa.StringArray:
    """Return the bytes as hexadecimal digits: the whole data buffer at once, offsets doubled."""
    offsets = _offsets(array)
    digits = binascii.hexlify(_data(array))
    texts = pa.StringArray.from_buffers(
        len(array),
        pa.py_buffer(((offsets - offsets[0]) * 2).astype(np.int32)),
        pa.py_buffer(digits.upper() if text.bytes_upper else digits),
    )
    if array.null_count:
        texts = pc.if_else(pc.is_null(array), pa.scalar(None, pa.string()), texts)
    if text.bytes_prefix:
        prefix = text.bytes_prefix.replace("\\", "\\\\")
        texts = pc.binary_join_element_wise(prefix, texts, "")
    return texts


def _patch(
    texts: pa.StringArray, mask: pa.BooleanArray, write: Callable[[str], str]
) -> pa.StringArray:
    """Return `texts` with those under `mask` rewritten; a loop over the exceptions only."""
    chosen = pc.fill_null(mask, False)
    found = texts.filter(chosen)
    return pc.replace_with_mask(
        texts, chosen, pa.array([write(text) for text in found.to_pylist()], pa.string())
    )


def _lines(columns: Sequence[pa.StringArray]) -> pa.StringArray:
    r"""Return the rows: columns joined by tab, null as ``\N``, a newline at the end."""
    *first, last = columns
    ended = pc.binary_join_element_wise(
        last, "\n", "", null_handling="replace", null_replacement=_NULL
    )
    if not first:
        return ended
    return pc.binary_join_element_wise(
        *first, ended, "\t", null_handling="replace", null_replacement=_NULL
    )


def _hash_sum(
    columns: Sequence[pa.StringArray], digest: base.Digest, lines: pa.StringArray | None = None
) -> int:
    """Return the sum of the row hashes modulo 2**64; `lines` are the columns, if joined already."""
    return int(_hashes(columns, digest, lines).sum(dtype=np.uint64))


def _hashes(
    columns: Sequence[pa.StringArray], digest: base.Digest, lines: pa.StringArray | None = None
) -> np.ndarray:
    """Return the hash of each row as uint64; the newline at a row's end is not hashed."""
    if digest is base.Digest.LOOKUP3 and any(map(_is_long, columns)):
        columns, lines = [_shortened(column) for column in columns], None
    lines = _lines(columns) if lines is None else lines
    data, offsets = _data(lines), _offsets(lines)
    bounds = offsets - offsets[0]
    if digest is base.Digest.LOOKUP3:
        return lookup3.hashes(data, bounds[:-1], bounds[1:] - 1) & np.uint64(base.HASH_MASK)
    hashed, size = _DIGESTS[digest]
    digests = b"".join(
        [
            hashed(data[start : end - 1]).digest()
            for start, end in itertools.pairwise(bounds.tolist())
        ]
    )
    heads = np.frombuffer(digests, dtype=">u8")[:: size // 8].astype(np.uint64)
    return heads >> _HASH_SHIFT


def _is_long(column: pa.StringArray) -> bool:
    return len(column) > 0 and int(np.diff(_offsets(column)).max()) > base.LONG_TEXT_BYTES


def _shortened(column: pa.StringArray) -> pa.StringArray:
    """Return the texts, long ones as the hexadecimal digits of their SHA-256."""
    long = pc.greater(pc.binary_length(column), base.LONG_TEXT_BYTES)
    return _patch(column, long, lambda text: hashlib.sha256(text.encode()).hexdigest())


def _offsets(array: pa.Array) -> np.ndarray:
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(buffer, dtype=np.int32)[
        array.offset : array.offset + len(array) + 1
    ].astype(np.int64)


def _data(array: pa.Array) -> memoryview:
    """Return the bytes of a string or binary array's values, one after the other."""
    buffer = array.buffers()[2]
    if buffer is None:
        return memoryview(b"")
    offsets = _offsets(array)
    return memoryview(buffer)[int(offsets[0]) : int(offsets[-1])]


def _holds(data: memoryview, *characters: bytes) -> bool:
    content = data.tobytes()
    return any(character in content for character in characters)
