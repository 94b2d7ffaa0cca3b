"""DuckDB as a source."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.conformance import duckdb_place
from tmg_etl.connectors import base
from tmg_etl.testing import conformance

UTC = datetime.UTC
LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)


def native(
    kind: pa.DataType, word: str, first: tuple[str, object], second: tuple[str, object]
) -> conformance.Native:
    name = f"{word} column"
    field = base.json_field(name) if word == "JSON" else pa.field(name, kind)
    return conformance.Native(field, word, (first, second))


NATIVES = [
    native(pa.bool_(), "BOOLEAN", ("true", True), ("false", False)),
    native(pa.int8(), "TINYINT", ("-128", -128), ("127", 127)),
    native(pa.uint16(), "USMALLINT", ("0", 0), ("65535", 65535)),
    native(pa.int64(), "BIGINT", ("-9223372036854775808", -(2**63)), ("1", 1)),
    native(pa.uint64(), "UBIGINT", ("18446744073709551615", 2**64 - 1), ("0", 0)),
    native(
        pa.decimal128(38, 0),
        "HUGEINT",
        (f"-{'9' * 38}", Decimal("-" + "9" * 38)),
        ("1", Decimal(1)),
    ),
    native(pa.float32(), "FLOAT", ("'NaN'", math.nan), ("-0.0::FLOAT", -0.0)),
    native(pa.float64(), "DOUBLE", ("'-Infinity'", -math.inf), ("5e-324", 5e-324)),
    native(
        pa.decimal128(9, 2), "DECIMAL(9,2)", ("-0.01", Decimal("-0.01")), ("0", Decimal("0.00"))
    ),
    native(
        pa.string(), "VARCHAR", ("chr(0) || e'\\t\\n\\\\ \\\\N é'", "\0\t\n\\ \\N é"), ("''", "")
    ),
    native(pa.binary(), "BLOB", (r"'\x00\xFFA'", b"\x00\xffA"), ("''", b"")),
    native(pa.date32(), "DATE", ("'0001-01-01'", datetime.date.min), ("'9999-12-31'", LAST.date())),
    native(
        pa.time64("us"), "TIME", ("'23:59:59.999999'", LAST.time()), ("'0:0:0'", datetime.time())
    ),
    native(
        pa.timestamp("us"),
        "TIMESTAMP",
        ("'0001-01-01'", datetime.datetime.min),
        (f"'{LAST}'", LAST),
    ),
    native(
        pa.timestamp("us"),
        "TIMESTAMP_NS",
        ("'2024-03-10 02:30:00.5'", datetime.datetime(2024, 3, 10, 2, 30, 0, 500000)),
        ("'1970-01-01'", datetime.datetime(1970, 1, 1)),
    ),
    native(
        pa.timestamp("us", tz="UTC"),
        "TIMESTAMPTZ",
        ("'2024-03-10 02:30:00.5-05'", datetime.datetime(2024, 3, 10, 7, 30, 0, 500000, UTC)),
        (f"'{LAST}+00'", LAST.replace(tzinfo=UTC)),
    ),
    native(pa.string(), "JSON", ("""'{"b": [1.50, null]}'""", '{"b": [1.50,null]}'), ("'1'", "1")),
    native(pa.list_(pa.field("l", pa.int64())), "BIGINT[]", ("[1, NULL]", [1, None]), ("[]", [])),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[conformance.SqlOrigin]:
    place = duckdb_place.DuckDBPlace(tmp_path_factory.mktemp("duckdb") / "origin.duckdb")
    yield conformance.SqlOrigin(place, NATIVES)
    place.raw.close()


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestSnapshot(conformance.SnapshotConformance):
    """See `conformance`."""
