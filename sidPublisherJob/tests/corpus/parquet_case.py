"""Broken Parquet files, each made from a good one; the target is as in the other tables."""

from __future__ import annotations

import datetime
import decimal
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpus import corpus_kit

_ROWS = 2000


def _written(table: pa.Table, **options: object) -> bytes:
    result = io.BytesIO()
    pq.write_table(table, result, **options)
    return result.getvalue()


def _table(**columns: pa.Array) -> pa.Table:
    good = {
        "id": pa.array(range(_ROWS), pa.int64()),
        "v": pa.array([7] * _ROWS, pa.int16()),
        "name": pa.array([f"name {row}" for row in range(_ROWS)]),
    }
    return pa.table({**good, **columns})


def _cell(name: str, value: pa.Array) -> bytes:
    """A file of one row with another value in one column."""
    row = {"id": pa.array([1]), "v": pa.array([1], pa.int16()), "name": pa.array(["x"])}
    return _written(pa.table({**row, name: value}))


GOOD = _written(_table(), compression="none", use_dictionary=False)
PACKED = _written(_table(), compression="zstd")
_FOOTER = int.from_bytes(GOOD[-8:-4], "little")


def _with(data: bytes, at: int, content: bytes) -> bytes:
    at %= len(data)
    return data[:at] + content + data[at + len(content) :]


def _case(
    content: bytes | Callable[..., None], code: int, *says: str, **more: object
) -> corpus_kit.Case:
    name = str(more.pop("name", "rows.parquet"))
    return corpus_kit.Case(code, says, files={name: content}, **more)  # type: ignore[arg-type]


CASES = {
    "no bytes": _case(b"", 65, "rows.parquet is no complete Parquet file"),
    "the magic alone": _case(b"PAR1", 65, "rows.parquet is no complete Parquet file"),
    "the magic twice": _case(b"PAR1PAR1", 65, "rows.parquet is no complete Parquet file"),
    "wrong magic at the end": _case(
        _with(GOOD, -4, b"NONE"), 65, "rows.parquet is no complete Parquet file"
    ),
    "encrypted": _case(
        _with(GOOD, -4, b"PARE"), 78, "rows.parquet is encrypted, which this version cannot read"
    ),
    "cut in the first page": _case(GOOD[:100], 65, "rows.parquet is no complete Parquet file"),
    "cut in half": _case(GOOD[: len(GOOD) // 2], 65, "rows.parquet is no complete Parquet file"),
    "cut before the footer's length": _case(
        GOOD[:-8], 65, "rows.parquet is no complete Parquet file"
    ),
    "cut by a byte": _case(GOOD[:-1], 65, "rows.parquet is no complete Parquet file"),
    "without its start": _case(GOOD[1000:], 65, "rows.parquet is no complete Parquet file"),
    "doubled": _case(GOOD + GOOD[:-5], 65, "rows.parquet is no complete Parquet file"),
    "a footer longer than the file": _case(
        _with(GOOD, -8, b"\xff\xff\xff\x7f"), 65, "rows.parquet is no complete Parquet file"
    ),
    "a footer of negative length": _case(
        _with(GOOD, -8, b"\xff\xff\xff\xff"), 65, "rows.parquet is no complete Parquet file"
    ),
    "a footer of no length": _case(
        _with(GOOD, -8, b"\0\0\0\0"), 65, "rows.parquet is no complete Parquet file"
    ),
    "a footer too short": _case(
        _with(GOOD, -8, (_FOOTER // 2).to_bytes(4, "little")),
        65,
        "rows.parquet is no complete Parquet file",
    ),
    "zeros in the footer": _case(
        _with(GOOD, -8 - _FOOTER // 2, b"\0" * 40), 65, "rows.parquet is no complete Parquet file"
    ),
    "ones in the footer": _case(
        _with(GOOD, -8 - _FOOTER, b"\xff" * 40), 65, "rows.parquet is no complete Parquet file"
    ),
    "a broken page header": _case(
        _with(GOOD, 4, b"\xff" * 20), 65, "rows.parquet is no complete Parquet file"
    ),
    "a broken packed page": _case(
        _with(PACKED, 60, b"\xff" * 200), 65, "rows.parquet is no complete Parquet file"
    ),
    "zeros for pages": _case(
        b"PAR1" + b"\0" * 3000 + GOOD[3004:], 65, "rows.parquet is no complete Parquet file"
    ),
    "text": _case(b"id,v,name\n1,2,x\n", 65, "rows.parquet is no complete Parquet file"),
    "JSON": _case(b'{"id": 1}\n', 65, "rows.parquet is no complete Parquet file"),
    "gzip": _case(corpus_kit.FILES["GZIP"], 65, "rows.parquet is no complete Parquet file"),
    "Arrow's own format": _case(
        b"ARROW1\0\0" + b"\0" * 64 + b"ARROW1", 65, "rows.parquet is no complete Parquet file"
    ),
    "ORC": _case(b"ORC" + b"\0" * 64 + b"ORC\x11", 65, "rows.parquet is no complete Parquet file"),
    "no rows": _case(
        _written(_table().slice(0, 0)),
        65,
        "the source lake: table 'rows' (1 parquet file) is empty and would wipe the",
    ),
    "no columns": _case(
        _written(pa.table({})), 78, "t: `key` names 'id', which the source does not have"
    ),
    "a column twice": _case(
        _written(pa.table([pa.array([1]), pa.array([2])], names=["id", "id"])),
        78,
        "rows.parquet: the column 'id' occurs more than once",
    ),
    "a column twice but for its case": _case(
        _written(pa.table([pa.array([1]), pa.array([2])], names=["id", "ID"])),
        78,
        "t: the columns 'id' and 'ID' differ only by case",
    ),
    "an empty name": _case(_cell("", pa.array([1])), 78, "t: the target lacks the column ''"),
    "a name of quotes and semicolons": _case(
        _cell('"; DROP TABLE t; --', pa.array([1])), 78, "t: the target lacks the column '\""
    ),
    "a name with a NUL": _case(
        _cell("a\0b", pa.array([1])), 78, "t: the target lacks the column 'a\\x00b'"
    ),
    "ten thousand columns": _case(
        _written(pa.table({f"c{n}": pa.array([1], pa.int8()) for n in range(10_000)})),
        78,
        "t: `key` names 'id', which the source does not have",
    ),
    "a struct for a number": _case(
        _cell("v", pa.array([{"a": 1}])),
        78,
        "t: column 'v': struct<a: int64> becomes JSON text, not int16 (smallint)",
    ),
    "a list for a number": _case(
        _cell("v", pa.array([[1]])),
        78,
        "t: column 'v': list<item: int64> becomes JSON text, not int16 (smallint)",
    ),
    "a map for a number": _case(
        _cell("v", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))),
        78,
        "t: column 'v': map<string, int8> becomes JSON text, not int16 (smallint)",
    ),
    "a text for a number": _case(
        _cell("v", pa.array(["1"])), 78, "column 'v': string does not become int16"
    ),
    "bytes for a text": _case(
        _cell("name", pa.array([b"\xff"])),
        78,
        "t: column 'name': binary does not become string without a loss or a guess",
    ),
    "bytes that are no text": _case(
        _cell("name", pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())),
        65,
        "rows.parquet: column 'name' holds text that is no UTF-8",
    ),
    "a duration": _case(
        _cell("v", pa.array([datetime.timedelta(1)])),
        78,
        "rows.parquet: column 'v' is of type duration[us], which no target can hold",
    ),
    "a moment for a number": _case(
        _cell("v", pa.array([datetime.datetime(2024, 1, 1)])),
        78,
        "t: column 'v': timestamp[us] does not become int16 without a loss or a",
    ),
    "a decimal with a fraction": _case(
        _cell("v", pa.array([decimal.Decimal("1.5")])),
        65,
        "t: column 'v' value '1.5' in the row (id='1') was refused: it does not fit",
    ),
    "a float with a fraction": _case(
        _cell("v", pa.array([1.5])),
        65,
        "t: column 'v' value '1.5' in the row (id='1') was refused: it does not fit",
    ),
    "a float that is no number": _case(
        _cell("v", pa.array([float("nan")])),
        65,
        "t: column 'v' value 'nan' in the row (id='1') was refused: it does not fit",
    ),
    "a number too large": _case(
        _cell("v", pa.array([70_000])),
        65,
        "t: column 'v' value '70000' in the row (id='1') was refused: it does not",
    ),
    "an unsigned key too large": _case(
        _cell("id", pa.array([2**63], pa.uint64())),
        65,
        "t: column 'id' value '9223372036854775808' in the row",
    ),
    "a key twice": _case(
        _written(_table(id=pa.array([3] * _ROWS))), 65, "t: the key (id='3') occurs more than once"
    ),
    "a null key": _case(
        _cell("id", pa.array([None], pa.int64())),
        65,
        "t: the key column 'id' is null in the row (id=null, v='1', name='x')",
    ),
    "a day beyond the calendar": _case(
        _cell("v", pa.array([2**31 - 1], pa.date32())),
        78,
        "t: column 'v': date32[day] does not become int16 without a loss or a guess",
    ),
    "columns declared": _case(
        GOOD,
        78,
        "`columns` declares id, but Parquet files hold their types",
        source={"table": "rows", "columns": {"id": "int64"}},
    ),
    "named csv": _case(GOOD, 65, "rows.csv:1: the bytes b'\\x8e' are no utf8", name="rows.csv"),
    "named jsonl": _case(
        GOOD, 65, "rows.jsonl:1: the bytes b'\\x8e' are no UTF-8", name="rows.jsonl"
    ),
    "files that disagree": corpus_kit.Case(
        78,
        ("column 'v' is int16 in rows/a.parquet and string in rows/b.parquet",),
        files={"rows/a.parquet": GOOD, "rows/b.parquet": _cell("v", pa.array(["x"]))},
    ),
    "one file of many broken": corpus_kit.Case(
        65,
        ("rows/b.parquet is no complete Parquet file",),
        files={"rows/a.parquet": GOOD, "rows/b.parquet": GOOD[:-1]},
    ),
}
