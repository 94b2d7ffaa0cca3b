"""Floats: servers print them as the encoder does, which the proof of a table rests on."""

import datetime
import math
import random
import struct
import sys

import numpy as np
import pyarrow as pa
import pytest

from tests.connectors import mysql_kit
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.testing import servers
from tmg_etl.transfer import encode


def shortest(value: float) -> str:
    """The text by its definition: fixed for -15 < point <= 15, and for 17 digits at 16."""
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + ("" if fraction == "0" else fraction)
    point = len(whole) + int(exponent or 0) - (len(digits) - len(digits.lstrip("0")))
    digits = digits.strip("0")
    if -15 < point <= 15 or (point == 16 and len(digits) == 17):
        if point <= 0:
            text = "0." + "0" * -point + digits
        elif point >= len(digits):
            text = digits + "0" * (point - len(digits))
        else:
            text = f"{digits[:point]}.{digits[point:]}"
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
    return ("-" if value < 0 else "") + text


def doubles(count: int) -> list[float]:
    """Every power of two and of ten with its neighbours, limits, and random ones of all kinds."""
    rng = random.Random(7)
    exact = [math.ldexp(1.0, exponent) for exponent in range(-1074, 1024)]
    exact += [float(f"{m}e{e}") for e in range(-323, 308) for m in ("1", "1.5", "9.99999999999999")]
    exact += [float(2**53 + number) for number in range(200)]
    exact += [2.225073858507201e-308, sys.float_info.max, math.nextafter(1e15, 0), 0.1, 1.17e-5]
    found = [*exact, *(math.nextafter(one, 0) for one in exact), 0.0]
    while len(found) < count:
        kind = rng.randrange(5)
        if kind == 0:  # any bits
            found.append(struct.unpack("<d", rng.randbytes(8))[0])
        elif kind == 4:  # below the least normal one
            found.append(math.ldexp(rng.getrandbits(rng.randint(1, 52)), -1074))
        elif kind == 1:
            found.append(rng.uniform(0, 1) * 10 ** rng.randint(-25, 25))
        elif kind == 2:  # what people have
            found.append(round(rng.uniform(0, 10 ** rng.randint(0, 9)), rng.randint(0, 6)))
        else:
            found.append(float(rng.getrandbits(rng.randint(53, 70))))
    signs = (rng.choice((1, -1)) for _ in found)
    return [sign * one + 0.0 for sign, one in zip(signs, found, strict=True) if math.isfinite(one)]


def singles(count: int) -> list[float]:
    """Every power of two, and random bits."""
    rng = random.Random(7)
    found = [math.ldexp(1.0, exponent) for exponent in range(-149, 128)]
    found += [struct.unpack("<f", rng.randbytes(4))[0] for _ in range(count)]
    return [one + 0.0 for one in found if math.isfinite(one)]


TEXT = {"mariadb": "CONCAT(c + 0e0)", "mysql": "TRIM(TRAILING '.0' FROM CAST(c + 0e0 AS JSON))"}


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()], ids=str)
def test_the_database_prints_floats_as_the_encoder_does(
    either_server: servers.MySQLFamilyServer,
    either_url: str,
    kind: pa.DataType,
    pytestconfig: pytest.Config,
) -> None:
    single = pa.types.is_float32(kind)
    count = 20_000 if single else 1_000_000 if pytestconfig.option.full else 60_000
    values = singles(count) if single else doubles(count)
    rows = pa.table({"id": pa.array(range(len(values)), pa.int32()), "c": pa.array(values, kind)})
    with mysql_kit.opened(either_url) as target:
        target.create("t", rows.schema, ["id"], [])
        mysql_kit.send(target, "t", rows, ["id"])
        found = target.fingerprint("t", ["c"], base.Selection(), hashes=True)
        sent = encode.Encoder(rows.schema.remove(0), target.capabilities.text, hashes=True)
        for part in rows.select(["c"]).to_batches(60_000):
            sent.add(part)
        assert found == sent.fingerprint
        last = kind.to_pandas_dtype()(values[-1])
        beside = repr(float(np.nextafter(last, type(last)(0))))
        assert target.run(f"UPDATE t SET c = {beside} WHERE id = {len(values) - 1}") == 1
        assert target.fingerprint("t", ["c"], base.Selection(), hashes=True) != found
    is_mysql = isinstance(either_server, servers.MySQLServer)
    query = f"SELECT {TEXT['mysql' if is_mysql else 'mariadb']} FROM t WHERE id < 20000 ORDER BY id"
    assert [row[0] for row in mysql_kit.run_sql(either_url, query)] == [
        shortest(value) for value in values[:20000]
    ]


@pytest.mark.parametrize("kind", ["double", "float"])
def test_a_query_loses_no_digit(either_url: str, kind: str) -> None:
    """MySQL cuts the text of what is computed to 22 characters."""
    values = [-1.7976931348623157e308, -1.2345678901234567e-10, -1.2345678901234567e-300]
    if kind == "float":
        values = [-0.10000000149011612, -1.5414283107572988e-44, 3.4028234663852886e38]
    literals = ", ".join(f"({value!r})" for value in values)
    mysql_kit.run_sql(either_url, f"CREATE TABLE t (c {kind})", f"INSERT INTO t VALUES {literals}")
    connection = mysql_kit.connect(either_url)
    query = "SELECT c * 1e0 AS c FROM t"
    spec = model.SourceSpec(connection="serving", query=query)
    with connection.open_source(spec, datetime.date(2024, 1, 1)) as source:
        (batch,) = source.read(["c"])
    assert sorted(batch.column("c").to_pylist()) == values


def test_negative_zero_is_not_kept_apart(either_url: str) -> None:
    with mysql_kit.opened(either_url) as target:
        assert not target.capabilities.has_negative_zero
        target.create("t", pa.schema({"c": pa.float64()}), [], [])
        mysql_kit.run_sql(either_url, "INSERT INTO t VALUES (-0e0), (0e0)")
        # MySQL keeps the sign of this one.
        target._session.connection.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", b"-0\n")
        found = target.fingerprint("t", ["c"], base.Selection(), hashes=True)
    assert found == mysql_kit.hash_of(["0"] * 3)
