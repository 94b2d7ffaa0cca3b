"""MariaDB and MySQL as sources."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.conformance import mysql_place
from tmg_etl.connectors import base
from tmg_etl.testing import conformance, servers

LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)


def native(
    kind: pa.DataType, word: str, first: tuple[str, object], second: tuple[str, object]
) -> conformance.Native:
    name = f"{word.split('(')[0].replace(' ', '_')}_column"
    field = base.json_field(name) if word == "JSON" else pa.field(name, kind)
    return conformance.Native(field, word, (first, second))


NATIVES = [
    native(pa.bool_(), "BOOL", ("1", True), ("0", False)),
    native(pa.int8(), "TINYINT", ("-128", -128), ("127", 127)),
    native(pa.uint8(), "TINYINT UNSIGNED", ("0", 0), ("255", 255)),
    native(pa.int16(), "SMALLINT", ("-32768", -(2**15)), ("32767", 2**15 - 1)),
    native(pa.int32(), "INT", ("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)),
    native(pa.int64(), "BIGINT", ("-9223372036854775808", -(2**63)), ("1", 1)),
    native(pa.uint64(), "BIGINT UNSIGNED", ("18446744073709551615", 2**64 - 1), ("0", 0)),
    native(pa.float32(), "FLOAT", ("0.1", 0.10000000149011612), ("-1.5", -1.5)),
    native(
        pa.float64(), "DOUBLE", ("1.7976931348623157e308", 1.7976931348623157e308), ("0.1", 0.1)
    ),
    native(
        pa.decimal128(9, 2), "DECIMAL(9,2)", ("-0.01", Decimal("-0.01")), ("0", Decimal("0.00"))
    ),
    native(pa.decimal256(65, 0), "DEC(65)", ("9" * 65, Decimal("9" * 65)), ("0", Decimal(0))),
    native(pa.string(), "TEXT", (r"'\t\n\r\\ \\N \0 \''", "\t\n\r\\ \\N \0 '"), ("''", "")),
    native(pa.string(), "VARCHAR(50)", ("'\U0001f680 '", "\U0001f680 "), ("'NULL'", "NULL")),
    native(pa.binary(), "BLOB", ("x'00ff5c0a'", b"\x00\xff\\\n"), ("''", b"")),
    native(pa.date32(), "DATE", ("'0001-01-01'", datetime.date.min), ("'9999-12-31'", LAST.date())),
    native(
        pa.time64("us"),
        "TIME(6)",
        ("'23:59:59.999999'", datetime.time.max),
        ("'00:00:00'", datetime.time.min),
    ),
    native(
        pa.timestamp("us"),
        "DATETIME(6)",
        ("'0001-01-01 00:00:00'", datetime.datetime.min),
        (f"'{LAST}'", LAST),
    ),
    native(
        pa.timestamp("us", tz="UTC"),
        "TIMESTAMP(6)",
        # The place's connection is in the server's zone, five hours behind UTC.
        ("'2024-03-10 02:30:00.5'", datetime.datetime(2024, 3, 10, 7, 30, 0, 500000, datetime.UTC)),
        ("'1999-12-31 19:00:00'", datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)),
    ),
    native(pa.string(), "JSON", ("""'{"b": [1.5, null]}'""", '{"b": [1.5,null]}'), ("'1'", "1")),
]


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> servers.MySQLFamilyServer:
    found: servers.MySQLFamilyServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="module")
def origin(server: servers.MySQLFamilyServer) -> Iterator[conformance.SqlOrigin]:
    name = f"conformance_{secrets.token_hex(4)}"
    place = mysql_place.MySQLPlace(server, name)
    yield conformance.SqlOrigin(place, NATIVES)
    place.close()
    server.drop_database(name)


@pytest.fixture
def denied(server: servers.MySQLFamilyServer) -> dict[str, str]:
    return {"type": "mysql", "url": server.url("mysql", password="wrong-s3cret")}


@pytest.fixture
def unreachable() -> dict[str, str]:
    return {"type": "mysql", "url": "mysql://someone:wrong-s3cret@127.0.0.1:1/any"}


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestSnapshot(conformance.SnapshotConformance):
    """See `conformance`."""


class TestServer(conformance.ServerSourceConformance):
    """See `conformance`."""
