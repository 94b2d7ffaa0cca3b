"""JSON text: as servers rewrite it, and from nested Arrow values."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmg_etl.transfer import document


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ('{"bb":1,"a":2}', '{"a": 2, "bb": 1}'),
        ('{"a":1,"a":2}', '{"a": 2}'),
        ("[1.0,1e2,-0,1E-3]", "[1.0, 100, 0, 0.001]"),
        ('"\\u00e9\\n\\u0001"', '"é\\n\\u0001"'),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
        (" null ", "null"),
        ("[true,false,{}]", "[true, false, {}]"),
        ('{"é":1,"ab":2,"z":3}', '{"z": 3, "ab": 2, "é": 1}'),
    ],
)
def test_canonical_document(given_text: str, text: str) -> None:
    assert document.canonical(given_text) == text


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "{'a': 1}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        document.canonical(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(JSON)
def test_canonical_text_means_the_same_and_is_stable(value: object) -> None:
    text = document.canonical(json.dumps(value))
    assert json.loads(text) == value
    assert document.canonical(text) == text


def test_nested_values_become_json() -> None:
    kind = pa.struct(
        [
            ("n", pa.decimal128(20, 3)),
            ("days", pa.list_(pa.date32())),
            ("at", pa.timestamp("us", "UTC")),
            ("raw", pa.binary()),
            ("tags", pa.map_(pa.string(), pa.int64())),
            ("missing", pa.int8()),
        ]
    )
    value = {
        "n": Decimal("12345678901234567.125"),
        "days": [datetime.date(1, 1, 1), None],
        "at": datetime.datetime(2013, 1, 1, 12, tzinfo=datetime.UTC),
        "raw": b"\x00\xff",
        "tags": [("a", 1)],
        "missing": None,
    }
    assert document.render(value, kind) == (
        '{"n":12345678901234567.125,"days":["0001-01-01",null],"at":"2013-01-01T12:00:00Z",'
        '"raw":"AP8=","tags":{"a":1},"missing":null}'
    )
    assert document.render([], pa.map_(pa.string(), pa.int64())) == "{}"


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        document.render([float("nan")], pa.list_(pa.float64()))
    with pytest.raises(TypeError, match="text keys"):
        document.render([(1, 2)], pa.map_(pa.int64(), pa.int64()))


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ('{"bb":1,"a":2,"é":[],"B":{}}', '{"B": {}, "a": 2, "bb": 1, "é": []}'),
        ("[1.0,1.50,1e2,-0,-0.0,0e5]", "[1.0, 1.5, 100.0, 0, -0.0, 0.0]"),
        ("[1e15,123456789012345.0,1.17e-5,1E-20]", "[1e15, 123456789012345.0, 0.0000117, 1e-20]"),
        ("[18446744073709551615, -9223372036854775808]",) * 2,
        ("100000000000000000000", "1e20"),
        (r'"\u00e9\/\u0000\u001f\u007f\ud83d\ude80\t"', '"é/\\u0000\\u001f\x7f\U0001f680\\t"'),
        ('{"[[":"' + "[" * 200 + '"}', '{"[[": "' + "[" * 200 + '"}'),
        ("[" * 100 + "1" + "]" * 100,) * 2,
    ],
)
def test_document_of_mysql(given_text: str, text: str) -> None:
    """Each was read off the server; tests/connectors/test_mysql_json.py reads random ones."""
    assert document.mysql(given_text) == text
    assert document.mysql(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[0.1000000000000000000001]", "has more digits than a double keeps"),
        ("18446744073709551616", "has more digits"),
        ("1e400", "1e400 has more digits"),
        ("1e-400", "1e-400 has more digits"),
        ("1e99999999999999999999", "has more digits"),
        (r'["\ud800"]', "half of a surrogate pair"),
        (r'{"\udc00": 1}', "half of a surrogate pair"),
        ("[" * 101 + "]" * 101, "more than 100 levels"),
        ('{"a":' * 9000 + "1" + "}" * 9000, "more than 100 levels"),
        ('{"' + "é" * 32768 + '": 1}', "a key of more than 65535 bytes"),
        ('[{"a": 1, "a": 1}]', "the key 'a' occurs twice"),
    ],
)
def test_what_mysql_would_not_keep_is_refused(text: str, reason: str) -> None:
    with pytest.raises(document.NotKeptError, match=reason):
        document.mysql(text)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "{'a': 1}", "01", "\ufeff1"])
def test_what_is_no_json_is_refused_for_mysql(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        document.mysql(text)
    assert not isinstance(caught.value, document.NotKeptError)


@pytest.mark.parametrize("text", ["[" * 9000 + "]" * 9000, "1e999999999", "1e99999999999999999999"])
def test_what_no_jsonb_holds_is_refused(text: str) -> None:
    """Not with a traceback, and not after writing a gigabyte of zeros."""
    with pytest.raises(document.NotKeptError, match="nested too deep|has too many digits"):
        document.require_kept(text)
