"""SQLite as a source."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.conformance import sqlite_place
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
    native(pa.bool_(), "BOOLEAN", ("TRUE", True), ("0", False)),
    native(pa.int16(), "SMALLINT", ("-32768", -(2**15)), ("32767", 2**15 - 1)),
    native(pa.int64(), "BIGINT", ("-9223372036854775808", -(2**63)), ("1", 1)),
    native(pa.float64(), "REAL", ("-9e999", -math.inf), ("0.1", 0.1)),
    native(
        pa.decimal128(9, 2), "DECIMAL(9,2)", ("-0.01", Decimal("-0.01")), ("0", Decimal("0.00"))
    ),
    native(pa.string(), "TEXT", ("'\t\n\\ \\N é' || char(0)", "\t\n\\ \\N é\0"), ("''", "")),
    native(pa.string(), "VARCHAR(3)", ("'longer'", "longer"), ("'NULL'", "NULL")),
    native(pa.binary(), "BLOB", ("x'00ff5c0a'", b"\x00\xff\\\n"), ("x''", b"")),
    native(pa.date32(), "DATE", ("'0001-01-01'", datetime.date.min), ("'9999-12-31'", LAST.date())),
    native(
        pa.time64("us"), "TIME", ("'23:59:59.999999'", LAST.time()), ("'00:00'", datetime.time())
    ),
    native(
        pa.timestamp("us"),
        "DATETIME",
        ("'0001-01-01 00:00:00'", datetime.datetime.min),
        (f"'{LAST}'", LAST),
    ),
    native(
        pa.timestamp("us", tz="UTC"),
        "TIMESTAMPTZ",
        ("'2024-03-10 02:30:00.5-05:00'", datetime.datetime(2024, 3, 10, 7, 30, 0, 500000, UTC)),
        (f"'{LAST}+00:00'", LAST.replace(tzinfo=UTC)),
    ),
    native(pa.string(), "JSON", ("""'{"b": [1.50, null]}'""", '{"b": [1.50,null]}'), ("'1'", "1")),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> conformance.SqlOrigin:
    file = tmp_path_factory.mktemp("sqlite") / "origin.db"
    place = sqlite_place.SQLitePlace(file)
    # Without a write-ahead log nobody could change a table while it is read.
    place.execute("PRAGMA journal_mode = WAL")
    return conformance.SqlOrigin(place, NATIVES)


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestSnapshot(conformance.SnapshotConformance):
    """See `conformance`."""
