r"""Text rows and fingerprints, against a straightforward computation row by row."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.transfer import plain_lookup3
from tmg_etl.connectors import base
from tmg_etl.transfer import encode, number

FORMAT = base.TextFormat(
    true="1", false="0", trims_fraction=True, utc_suffix="+00", bytes_prefix="\\x"
)


def text_of(array: pa.Array, text: base.TextFormat = FORMAT) -> list[str]:
    batch = pa.record_batch([array], names=["c"])
    encoder = encode.Encoder(batch.schema, text, hashes=True)
    return bytes(encoder.encode(batch)).decode().removesuffix("\n").split("\n")


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([True, False, None]), ["1", "0", "\\N"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
        (pa.array([-(2**63)], pa.int64()), ["-9223372036854775808"]),
        (pa.array([Decimal("1.50"), Decimal("-0.01")], pa.decimal128(5, 2)), ["1.50", "-0.01"]),
        (pa.array([Decimal("1E-10")], pa.decimal128(20, 10)), ["0.0000000001"]),
        (pa.array([Decimal(0)], pa.decimal256(65, 30)), ["0." + "0" * 30]),
        (pa.array([0.1, 1e20, 1e-7, math.nan]), ["0.1", "1e+20", "1e-07", "NaN"]),
        (pa.array([9999999999.5, 1e10, 123456789012345.6, 1e15]),
         ["9999999999.5", "10000000000", "123456789012345.6", "1e+15"]),
        (pa.array([0.1], pa.float32()), ["0.10000000149011612"]),
        (pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
         ["0001-01-01", "9999-12-31"]),
        (pa.array([datetime.time(10, 0), datetime.time(10, 0, 0, 500000)], pa.time64("us")),
         ["10:00:00", "10:00:00.5"]),
        (pa.array([datetime.datetime(1, 1, 1)], pa.timestamp("us")), ["0001-01-01 00:00:00"]),
        (pa.array([datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)], pa.timestamp("us", "UTC")),
         ["2013-01-01 00:00:00+00"]),
        (pa.array([b"\x00\xff", b"", None]), ["\\\\x00ff", "\\\\x", "\\N"]),
        (pa.array(["a\tb", "a\nb", "a\\b", "a\rb", "\\N", "", None]),
         ["a\\tb", "a\\nb", "a\\\\b", "a\\rb", "\\\\N", "", "\\N"]),
        (pa.array(["a\0b"]), ["a\\0b"]),
    ],
)  # fmt: skip
def test_text_of_each_type(array: pa.Array, texts: list[str]) -> None:
    assert text_of(array) == texts


def test_text_follows_the_format() -> None:
    mysql = base.TextFormat(float_style=base.FloatStyle.MYSQL, bytes_upper=True)
    assert text_of(pa.array([1e15]), mysql) == ["1e15"]
    assert text_of(pa.array([b"\xab"]), mysql) == ["AB"]
    assert text_of(pa.array([datetime.time(1)], pa.time64("us")), mysql) == ["01:00:00.000000"]


def test_json_is_rewritten_only_where_the_server_does() -> None:
    field = base.json_field("c")
    batch = pa.record_batch([pa.array(['{"b":1,"a":"\\\\"}'])], schema=pa.schema([field]))
    plain = encode.Encoder(batch.schema, base.TextFormat(), hashes=False)
    assert bytes(plain.encode(batch)) == b'{"b":1,"a":"\\\\\\\\"}\n'
    canonical = encode.Encoder(batch.schema, base.TextFormat(canonical_json=True), hashes=False)
    assert bytes(canonical.encode(batch)) == b'{"a": "\\\\\\\\", "b": 1}\n'


def test_nested_types_have_no_text() -> None:
    with pytest.raises(TypeError, match="list"):
        encode.Encoder(pa.schema([("c", pa.list_(pa.int8()))]), FORMAT, hashes=True)


def straightforward(
    rows: list[tuple[str | None, float | None, bytes | None]], digest: base.Digest
) -> int:
    total = 0
    for text, double, raw in rows:
        cells = [
            "\\N" if text is None else text.replace("\\", "\\\\").replace("\t", "\\t"),
            "\\N" if double is None else number.postgres(double),
            "\\N" if raw is None else "\\\\x" + raw.hex(),
        ]
        if digest is base.Digest.LOOKUP3:
            short = [
                hashlib.sha256(cell.encode()).hexdigest() if len(cell.encode()) > 1024 else cell
                for cell in cells
            ]
            total += plain_lookup3.lookup3("\t".join(short).encode()) % 2**60
        else:
            hashed = hashlib.new(digest.value, "\t".join(cells).encode())
            total += int(hashed.hexdigest()[:15], 16)
    return total % 2**64


LONG = [("é" * 512 + tail, 1.5, b"\xff" * size) for tail in ("", "\t") for size in (510, 511)]


ROWS = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.none() | st.floats(),
        st.none() | st.binary(),
    )
)


@example(LONG, 0, base.Digest.LOOKUP3)
@example(LONG, 1, base.Digest.SHA256)
@given(ROWS, st.integers(0, 3), st.sampled_from(base.Digest))
def test_fingerprint_equals_the_definition(
    rows: list[tuple[str | None, float | None, bytes | None]], skipped: int, digest: base.Digest
) -> None:
    text = dataclasses.replace(FORMAT, digest=digest)
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    batch = pa.record_batch(
        [pa.array(columns[0], pa.string()), pa.array(columns[1], pa.float64()),
         pa.array(columns[2], pa.binary())],
        names=["text", "double", "raw"],
    ).slice(skipped)  # fmt: skip
    loaded = encode.Encoder(batch.schema, text, hashes=True)
    lines = bytes(loaded.encode(batch))
    expected = base.Fingerprint(len(rows[skipped:]), straightforward(rows[skipped:], digest))
    assert loaded.fingerprint == expected
    assert lines.count(b"\n") == expected.rows
    counted = encode.Encoder(batch.schema, text, hashes=True)
    counted.add(batch)
    assert counted.fingerprint == expected


def test_order_does_not_matter_and_doubled_rows_do() -> None:
    def fingerprint(values: list[int]) -> base.Fingerprint:
        batch = pa.record_batch({"n": pa.array(values, pa.int64())})
        encoder = encode.Encoder(batch.schema, FORMAT, hashes=True)
        encoder.add(batch)
        return encoder.fingerprint

    assert fingerprint([1, 2, 3]) == fingerprint([3, 1, 2])
    assert fingerprint([1, 1, 2]) != fingerprint([1, 2, 2])
