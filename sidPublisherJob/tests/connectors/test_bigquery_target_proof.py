"""The fingerprint in SQL: each type's text against one written by hand, and when it is not used.

The expected texts are those of the reference of GoogleSQL, never what the emulator says.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib

import pyarrow as pa
import pytest

from tests.connectors import bigquery_target_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import fingerprint
from tmg_etl.transfer import verify

Case = tuple[kit.Field, str, str]


def _case(kind: str, value: str, text: str, **members: int) -> Case:
    return kit.Field("x", kind, **members), value, text


_CASES = [
    _case("BOOL", "true", "true"),
    _case("BOOLEAN", "false", "false"),
    _case("INT64", "-9223372036854775808", "-9223372036854775808"),
    _case("INTEGER", "0", "0"),
    _case("NUMERIC", "NUMERIC '-0.000000001'", "-0.000000001"),
    _case("NUMERIC", "NUMERIC '1.5'", "1.500000000"),
    _case("NUMERIC", "NUMERIC '-12345678.9'", "-12345678.90", precision=10, scale=2),
    _case("NUMERIC", "NUMERIC '7'", "7", precision=10),
    _case("BIGNUMERIC", "BIGNUMERIC '-5.5'", f"-5.5{'0' * 37}"),
    _case("STRING", r"'a\tb\\N\nü\r'", "a\\tb\\\\N\nü\r"),
    _case("STRING", "''", ""),
    _case("BYTES", r"FROM_HEX('00ff5c')", "00ff5c"),
    _case("BYTES", "b''", ""),
    _case("DATE", "DATE '0001-01-01'", "0001-01-01"),
    _case("DATE", "DATE '9999-12-31'", "9999-12-31"),
    _case("TIME", "TIME '00:00:00'", "00:00:00.000000"),
    _case("TIME", "TIME '23:59:59.999999'", "23:59:59.999999"),
    _case("DATETIME", "DATETIME '0001-01-01 00:00:00'", "0001-01-01 00:00:00.000000"),
    _case("DATETIME", "DATETIME '9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
    _case("TIMESTAMP", "TIMESTAMP '1969-12-31 23:59:59.5+00'", "1969-12-31 23:59:59.500000"),
    _case("TIMESTAMP", "TIMESTAMP '2024-03-10 02:30:00+07'", "2024-03-09 19:30:00.000000"),
]
# Computed through doubles by the emulator, exactly by BigQuery.
_WIDE = [
    _case("NUMERIC", f"NUMERIC '{'9' * 29}.{'9' * 9}'", f"{'9' * 29}.{'9' * 9}"),
    _case("BIGNUMERIC", f"BIGNUMERIC '1.{'0' * 37}1'", f"1.{'0' * 37}1"),
]


def _texts(raw: kit.Raw, cases: list[Case]) -> list[str]:
    queries = (
        f"SELECT {number} AS n, {fingerprint.text(field, 'x')} AS text FROM (SELECT {value} AS x)"
        for number, (field, value, _) in enumerate(cases)
    )
    return [row[1] for row in raw.query(" UNION ALL ".join(queries) + " ORDER BY n")]


def test_texts_are_those_of_the_reference(raw: kit.Raw) -> None:
    assert _texts(raw, _CASES) == [text for _, _, text in _CASES]


@pytest.mark.xfail(
    raises=AssertionError, strict=True, reason="the emulator formats decimals through doubles"
)
def test_texts_of_wide_decimals(raw: kit.Raw) -> None:
    assert _texts(raw, _WIDE) == [text for _, _, text in _WIDE]


def test_null_is_apart_from_every_text(raw: kit.Raw) -> None:
    fields = [kit.Field("x", "STRING"), kit.Field("y", "INT64")]
    text = fingerprint.row_text(fields, ["x", "y"])
    rows = r"SELECT CAST(NULL AS STRING) AS x, 1 AS y UNION ALL SELECT '\\N', NULL"
    assert {row[0] for row in raw.query(f"SELECT {text} FROM ({rows})")} == {
        "\\N\t1",
        "\\\\N\t\\N",
    }


def test_the_fingerprint_is_the_sum_of_the_rows(raw: kit.Raw, bigquery_dataset: str) -> None:
    numbers = [-(2**63), 0, 2**63 - 1, None]
    rows = pa.record_batch({"id": [1, 2, 3, 4], "n": pa.array(numbers, pa.int64())})
    null = "\\N"
    texts = [f"{key}\t{null if n is None else n}" for key, n in enumerate(numbers, 1)]
    total = sum(int(hashlib.md5(text.encode()).hexdigest()[:15], 16) for text in texts)
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, rows, ["id"])
        found = target.fingerprint(shadow, ["id", "n"], base.Selection(), hashes=True)
        assert found == base.Fingerprint(4, total % 2**64)
        empty = target.fingerprint(shadow, ["id", "n"], base.Selection(), hashes=False)
        assert empty == base.Fingerprint(4)
        raw.query(f"DELETE FROM `{shadow}` WHERE TRUE")
        gone = target.fingerprint(shadow, ["id", "n"], base.Selection(), hashes=True)
        assert gone == base.Fingerprint(0, 0)
        target.drop(shadow)


def test_a_sum_beyond_the_range_of_integers(raw: kit.Raw, bigquery_dataset: str) -> None:
    rows = pa.record_batch({"id": list(range(200))})
    texts = (str(key).encode() for key in range(200))
    total = sum(int(hashlib.md5(text).hexdigest()[:15], 16) for text in texts)
    assert total > 2**64
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, rows, ["id"])
        found = target.fingerprint(shadow, ["id"], base.Selection(), hashes=True)
        assert found == base.Fingerprint(200, total % 2**64)
        target.drop(shadow)


def test_every_exact_type_is_proved_in_sql(raw: kit.Raw, bigquery_dataset: str) -> None:
    moment = datetime.datetime(2024, 3, 10, 2, 30, 0, 5)
    rows = pa.record_batch(
        {
            "id": [1, 2],
            "flag": [True, None],
            "text": ["a\t\\\n\U0001f680", ""],
            "blob": [b"\x00\xff", None],
            "day": [moment.date(), None],
            "time": pa.array([moment.time(), None], pa.time64("us")),
            "wall": pa.array([moment, None], pa.timestamp("us")),
            "instant": pa.array([moment, None], pa.timestamp("us", tz="UTC")),
            "price": pa.array([decimal.Decimal("-1.50"), None], pa.decimal128(9, 2)),
        }
    )
    with kit.opened(bigquery_dataset) as target:
        assert target.capabilities.proof is base.Proof.DATABASE
        shadow = kit.fill(target, rows, ["id"])
        held = verify.prove(target, shadow, rows.schema, base.Selection(), "fingerprint")
        encoder = verify.encode.Encoder(rows.schema, target.capabilities.text, hashes=True)
        encoder.add(rows)
        assert held == encoder.fingerprint
        target.drop(shadow)


def test_a_table_with_doubles_is_read_back(raw: kit.Raw, bigquery_dataset: str) -> None:
    values = [0.1, -0.0, 5e-324, float("nan"), float("inf"), None]
    rows = pa.record_batch({"id": list(range(6)), "x": pa.array(values, pa.float64())})
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, rows, ["id"])
        assert target.capabilities.proof is base.Proof.READ_BACK
        held = verify.prove(target, shadow, rows.schema, base.Selection(), "fingerprint")
        encoder = verify.encode.Encoder(rows.schema, target.capabilities.text, hashes=True)
        encoder.add(rows)
        assert held == encoder.fingerprint
        target.drop(shadow)
    raw.make("t", kit.Field("x", "FLOAT"))
    assert kit.opened(bigquery_dataset).capabilities.proof is base.Proof.READ_BACK


@pytest.mark.parametrize("kind", ["FLOAT64", "JSON", "GEOGRAPHY"])
def test_types_without_an_exact_text_are_not_hashed_in_sql(kind: str) -> None:
    with pytest.raises(errors.ConfigError, match="no exact text"):
        fingerprint.text(kit.Field("x", kind), "x")


def test_buckets_add_up_to_the_fingerprint(raw: kit.Raw, bigquery_dataset: str) -> None:
    rows = pa.record_batch({"id": list(range(100)), "name": [f"n{key}" for key in range(100)]})
    buckets = base.Buckets(7, ("id",))
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, rows, ["id"])
        columns, everything = ["id", "name"], base.Selection()
        whole = target.fingerprint(shadow, columns, everything, hashes=True)
        sums = target.bucket_sums(shadow, columns, everything, buckets)
        assert set(sums) == set(range(7))
        assert sum(found.rows for found in sums.values()) == whole.rows
        assert sum(found.hash or 0 for found in sums.values()) % 2**64 == whole.hash
        wanted = base.Selection(buckets=base.Buckets(7, ("id",), wanted=(3,)))
        keys = [key for batch in target.scan(shadow, ["id"], wanted) for key in batch["id"]]
        digests = (hashlib.md5(str(key).encode()).hexdigest() for key in keys)
        assert {int(digest[:15], 16) % 7 for digest in digests} == {3}
        assert len(keys) == sums[3].rows
        target.drop(shadow)
