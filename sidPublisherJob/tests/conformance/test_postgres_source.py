"""PostgreSQL as a source."""

from __future__ import annotations

import datetime
import math
import secrets
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.conformance import postgres_place
from tmg_etl.connectors import base
from tmg_etl.testing import conformance, servers

UTC = datetime.UTC
LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)


def native(
    kind: pa.DataType, word: str, first: tuple[str, object], second: tuple[str, object]
) -> conformance.Native:
    name = f"{word.split('(')[0].replace(' ', '_')}_column"
    field = base.json_field(name) if word.startswith("json") else pa.field(name, kind)
    return conformance.Native(field, word, (first, second))


NATIVES = [
    native(pa.bool_(), "boolean", ("true", True), ("false", False)),
    native(pa.int16(), "smallint", ("-32768", -(2**15)), ("32767", 2**15 - 1)),
    native(pa.int32(), "integer", ("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)),
    native(pa.int64(), "bigint", ("-9223372036854775808", -(2**63)), ("1", 1)),
    native(pa.float32(), "real", ("'NaN'", math.nan), ("'-0'", -0.0)),
    native(pa.float64(), "double precision", ("'-Infinity'", -math.inf), ("5e-324", 5e-324)),
    native(
        pa.decimal128(9, 2), "numeric(9,2)", ("-0.01", Decimal("-0.01")), ("0", Decimal("0.00"))
    ),
    native(pa.decimal256(76, 0), "decimal(76)", ("9" * 76, Decimal("9" * 76)), ("0", Decimal(0))),
    native(
        pa.string(),
        "text",
        (r"E'\t\n\r\\ \\N ''\U0001F680'", "\t\n\r\\ \\N '\U0001f680"),
        ("''", ""),
    ),
    native(pa.binary(), "bytea", (r"'\x00ff5c0a'", b"\x00\xff\\\n"), ("''", b"")),
    native(
        pa.date32(),
        "date",
        ("'0001-01-01'", datetime.date.min),
        ("'9999-12-31'", datetime.date.max),
    ),
    native(
        pa.time64("us"),
        "time",
        ("'23:59:59.999999'", datetime.time.max),
        ("'0:0'", datetime.time.min),
    ),
    native(
        pa.timestamp("us"),
        "timestamp",
        ("'0001-01-01'", datetime.datetime.min),
        (f"'{LAST}'", LAST),
    ),
    native(
        pa.timestamp("us", tz="UTC"),
        "timestamptz",
        ("'2024-03-10 02:30:00.5-05'", datetime.datetime(2024, 3, 10, 7, 30, 0, 500000, UTC)),
        (f"'{LAST}Z'", LAST.replace(tzinfo=UTC)),
    ),
    native(
        pa.string(),
        "jsonb",
        ("""'{"b": [1.50, null], "a": "é"}'""", '{"a":"é","b":[1.50,null]}'),
        ("'null'", "null"),
    ),
]


@pytest.fixture(scope="module")
def origin(postgres_server: servers.PostgresServer) -> Iterator[conformance.SqlOrigin]:
    name = f"conformance_{secrets.token_hex(4)}"
    place = postgres_place.PostgresPlace(postgres_server.create_database(name))
    yield conformance.SqlOrigin(place, NATIVES)
    place.close()
    postgres_server.drop_database(name)


@pytest.fixture
def denied(postgres_server: servers.PostgresServer) -> dict[str, str]:
    return {"type": "postgres", "url": postgres_server.url("postgres", password="wrong-s3cret")}


@pytest.fixture
def unreachable() -> dict[str, str]:
    return {"type": "postgres", "url": "postgresql://someone:wrong-s3cret@127.0.0.1:1/any"}


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestSnapshot(conformance.SnapshotConformance):
    """See `conformance`."""


class TestServer(conformance.ServerSourceConformance):
    """See `conformance`."""
