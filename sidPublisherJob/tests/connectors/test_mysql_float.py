"""Floats: MariaDB prints them as the encoder does, which the proof of a table rests on."""

import random
import struct

import pyarrow as pa
import pytest

from tests.connectors import mysql_kit
from tmg_etl.connectors import base

pytestmark = pytest.mark.mariadb


def shortest(value: float) -> str:
    """The text that MariaDB prints: fixed for -15 < point <= 15, and for 17 digits at 16."""
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


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_the_database_prints_floats_as_the_encoder_does(
    mariadb_url: str, kind: pa.DataType
) -> None:
    single = pa.types.is_float32(kind)
    rng = random.Random(7)
    exponents = range(-44, 38) if single else range(-323, 308)
    values = [float(f"{m}e{e}") for e in exponents for m in ("1", "-1.5", "9.999999999999999")]
    values += [rng.uniform(-1, 1) * 10 ** rng.randint(-20, 20) for _ in range(1500)]
    values += [rng.uniform(1, 10) * 10 ** rng.randint(13, 17) for _ in range(500)]
    size, form = (32, "<If") if single else (64, "<Qd")
    bits = [struct.pack(form[:2], rng.getrandbits(size)) for _ in range(1000)]
    values += [struct.unpack("<" + form[2], item)[0] for item in bits]
    column = pa.array(values, pa.float64()).cast(kind)
    values = [value for value in column.to_pylist() if abs(value) < float("inf")]
    rows = pa.table({"id": pa.array(range(len(values)), pa.int32()), "c": pa.array(values, kind)})
    with mysql_kit.opened(mariadb_url) as target:
        target.create("t", rows.schema, ["id"], [])
        mysql_kit.send(target, "t", rows, ["id"])
        found = target.fingerprint("t", ["c"], base.Selection(), hashes=True)

    texts = [
        row[0]
        for row in mysql_kit.run_sql(mariadb_url, "SELECT CONCAT(c + 0e0) FROM t ORDER BY id")
    ]
    assert texts == [shortest(value) for value in values]
    assert found == mysql_kit.hash_of(texts)


def test_negative_zero_is_not_kept_apart(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        assert not target.capabilities.has_negative_zero
        target.create("t", pa.schema({"c": pa.float64()}), [], [])
        target._session.connection.upload("LOAD DATA LOCAL INFILE {file} INTO TABLE t", b"-0\n")
    assert mysql_kit.run_sql(mariadb_url, "SELECT CONCAT(c), ATAN2(c, -1) > 0 FROM t") == [("0", 1)]
