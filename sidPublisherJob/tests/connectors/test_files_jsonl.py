"""JSON lines: exact numbers, inferred and declared types, and how each fault is named."""

import contextlib
import datetime
import decimal
import json
import pathlib
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connectors.files_kit import UTC, column, opened, rows, written
from tmg_etl import errors
from tmg_etl.connectors import base


def lines(folder: pathlib.Path, *objects: str, **spec: object) -> base.Source:
    return written(folder, "".join(f"{text}\n" for text in objects), "t.jsonl", **spec)


def values(folder: pathlib.Path, *cells: str, **spec: object) -> list[object]:
    return column(lines(folder, *(f'{{"a": {cell}}}' for cell in cells), **spec))


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1", "null", "-2"], pa.int64(), [1, None, -2]),
        (["9007199254740993"], pa.int64(), [2**53 + 1]),
        (
            ["123456789012345678901234567890", "1"],
            pa.decimal128(38, 0),
            [decimal.Decimal("123456789012345678901234567890"), decimal.Decimal(1)],
        ),
        (["1", "2.5"], pa.float64(), [1.0, 2.5]),
        (["1e3"], pa.float64(), [1000.0]),
        (
            ["0.12345678901234567890"],
            pa.decimal128(38, 20),
            [decimal.Decimal("0.12345678901234567890")],
        ),
        (["true", "false"], pa.bool_(), [True, False]),
        (['"x"', '""', "null"], pa.string(), ["x", "", None]),
        (['"12"', '"3"'], pa.string(), ["12", "3"]),
        (['"true"'], pa.string(), ["true"]),
        (['"2024-01-02"'], pa.date32(), [datetime.date(2024, 1, 2)]),
        (['"2024-01-02"', '"soon"'], pa.string(), ["2024-01-02", "soon"]),
        (
            ['"2024-01-02T03:04:05.678901Z"'],
            pa.timestamp("us", tz="UTC"),
            [datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)],
        ),
        (["null"], pa.string(), [None]),
        (["[1, null]", "[]"], pa.list_(pa.int64()), [[1, None], []]),
        (
            ['{"x": 1.5}', '{"y": "z"}'],
            pa.struct([("x", pa.float64()), ("y", pa.string())]),
            [{"x": 1.5, "y": None}, {"x": None, "y": "z"}],
        ),
        (['"\\u00e9\\ud83d\\ude00\\n\\u0000"'], pa.string(), ["é\U0001f600\n\0"]),
    ],
)
def test_inference(
    tmp_path: pathlib.Path, cells: list[str], kind: pa.DataType, expected: list[object]
) -> None:
    found = lines(tmp_path, *(f'{{"a": {cell}}}' for cell in cells))
    assert found.schema().field("a").type == kind
    assert column(found) == expected


@pytest.mark.parametrize("cells", [['[1, "x"]'], ["{}"], ['{"a": {}}'], ['[{"a": 1}, [2]]']])
def test_nested_values_without_one_type_become_json(
    tmp_path: pathlib.Path, cells: list[str]
) -> None:
    found = lines(tmp_path, *(f'{{"a": {cell}}}' for cell in cells))
    assert base.is_json(found.schema().field("a"))
    assert [json.loads(str(value)) for value in column(found)] == [json.loads(c) for c in cells]


def test_a_column_of_several_types_must_be_declared(tmp_path: pathlib.Path) -> None:
    cells = ["1", '"x"', "1.10", "true", '{"k": 1.10}']
    with pytest.raises(errors.ConfigError, match="values of several types: boolean, integer"):
        values(tmp_path, *cells)
    as_text = values(tmp_path, *cells, columns={"a": "string"})
    assert as_text == ["1", "x", "1.10", "true", '{"k": 1.10}']
    as_json = values(tmp_path, *cells, columns={"a": "json"})
    assert as_json == ["1", '"x"', "1.10", "true", '{"k": 1.10}']


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("decimal(38,10)", "1234567890.0123456789", decimal.Decimal("1234567890.0123456789")),
        ("decimal(5,2)", '"1.5"', decimal.Decimal("1.50")),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("int8", '"-5"', -5),
        ("float64", "NaN", "nan"),
        ("float64", "-Infinity", float("-inf")),
        ("float32", "1", 1.0),
        ("bool", '"true"', True),
        ("bool", "1", True),
        ("bytes", '"AP8="', b"\x00\xff"),
        ("time", '"10:00:00.5"', datetime.time(10, 0, 0, 500000)),
        ("string", '"2024-01-02"', "2024-01-02"),
        ("json", "[1, {}]", "[1, {}]"),
        ("json", '"x"', '"x"'),
    ],
)
def test_declared_values(tmp_path: pathlib.Path, kind: str, cell: str, expected: object) -> None:
    found = values(tmp_path, cell, "null", columns={"a": kind})
    assert [str(found[0]) if expected == "nan" else found[0], found[1]] == [expected, None]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("int8", "300"),
        ("int64", "1.5"),
        ("int64", "true"),
        ("int64", "[1]"),
        ("decimal(3,1)", "1.25"),
        ("float64", "1e999"),
        ("date", '"yesterday"'),
        ("timestamp", "1700000000"),
        ("string", '"\\ud800"'),
        ("json", "NaN"),
    ],
)
def test_declared_values_that_do_not_fit(tmp_path: pathlib.Path, kind: str, cell: str) -> None:
    with pytest.raises(errors.DataError, match=r"t\.jsonl:2: column 'a'"):
        values(tmp_path, "null", cell, columns={"a": kind})


def test_missing_keys_are_null_and_blank_lines_nothing(tmp_path: pathlib.Path) -> None:
    found = lines(tmp_path, '{"a": 1}', "", '{"b": "x"}', "  ", '{"b": null, "a": 3}')
    assert rows(found) == [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": 3, "b": None}]


def test_a_declared_column_may_be_absent(tmp_path: pathlib.Path) -> None:
    found = lines(tmp_path, '{"a": 1}', columns={"note": "string"})
    assert rows(found) == [{"note": None, "a": 1}]


def test_declared_columns_stay_where_the_lines_have_them(tmp_path: pathlib.Path) -> None:
    declared = {"gone": "int64", "doc": "json", "day": "date"}
    found = lines(
        tmp_path,
        '{"id": 1, "doc": {"x": 1}, "name": "a"}',
        '{"id": 2, "day": null}',
        columns=declared,
    )
    # A declared one that no line has comes last: nobody knows where it belongs.
    assert found.schema().names == ["id", "doc", "name", "day", "gone"]


def test_byte_order_mark_crlf_and_no_last_newline(tmp_path: pathlib.Path) -> None:
    assert column(written(tmp_path, '\ufeff{"a": 1}\r\n{"a": 2}', "t.jsonl")) == [1, 2]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.ndjson", "t.jsonl.gz", "t.json.gz"])
def test_names(tmp_path: pathlib.Path, name: str) -> None:
    assert column(written(tmp_path, '{"a": 1}\n', name)) == [1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"a": ', "no JSON"),
        ("[1]", "expected an object"),
        ('{"a": 1} {"a": 2}', "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: pathlib.Path, bad: str, message: str) -> None:
    with pytest.raises(errors.DataError, match=rf"t\.jsonl:3: .*{message}"):
        rows(lines(tmp_path, '{"a": 1}', "", bad))


def test_bad_utf8_names_the_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match=r"t\.jsonl:2: the bytes b'\\xff' are no UTF-8"):
        rows(written(tmp_path, b'{"a": "x"}\n{"a": "\xff"}\n', "t.jsonl"))


def test_values_after_the_sampled_lines(tmp_path: pathlib.Path) -> None:
    many = ['{"a": 1, "n": {"x": 1}}'] * 10_000
    with pytest.raises(errors.DataError, match=r"t\.jsonl:10001: column 'a': '1\.5' is no int64"):
        rows(lines(tmp_path, *many, '{"a": 1.5}'))
    with pytest.raises(errors.DataError, match=r"t\.jsonl:10001: the key 'late' is in none"):
        rows(lines(tmp_path, *many, '{"late": 1}'))
    with pytest.raises(errors.DataError, match=r"t\.jsonl:10001: column 'n'"):
        rows(lines(tmp_path, *many, '{"n": {"x": 1, "y": 2}}'))
    with pytest.raises(errors.DataError, match=r"t\.jsonl:10001: column 'n'"):
        rows(lines(tmp_path, *many, '{"n": {"x": "one"}}'))


def test_files_are_united(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "t" / "2.jsonl").write_text('{"a": 2.5, "b": "x"}\n')
    assert rows(opened(tmp_path)) == [{"a": 1.0, "b": None}, {"a": 2.5, "b": "x"}]


def test_a_cut_off_gzip_names_the_file(tmp_path: pathlib.Path) -> None:
    written(tmp_path, '{"a": 1}\n' * 50, "t.jsonl.gz")
    data = (tmp_path / "t.jsonl.gz").read_bytes()
    (tmp_path / "t.jsonl.gz").write_bytes(data[:-9])
    with pytest.raises(errors.DataError, match=r"t\.jsonl\.gz: the compressed file is cut off"):
        rows(opened(tmp_path))


def test_random_lines_end_in_rows_or_a_clear_error(tmp_path: pathlib.Path) -> None:
    generator = random.Random(20240506)
    cells = [
        *(
            "1",
            "-0.0",
            "1e999",
            "9" * 40,
            "NaN",
            "true",
            "null",
            '"x"',
            '"\\ud800"',
            '"2024-01-01"',
        ),
        *(
            "[1, 2.5]",
            "[1, 1e999]",
            f"[1.5, {'9' * 400}]",
            '["x", "\\udc00"]',
            "{}",
            '{"b": {"c": 1}}',
        ),
        *(
            '{"b": "\\ud800"}',
            '{"\\ud800": 1}',
            "[[], [1]]",
            "[null]",
            "[{}, {}]",
            '"\\u0000"',
            "{,",
        ),
    ]
    for _ in range(200):
        names = generator.choices(["a", "b", "\\ud800"], [6, 6, 1], k=6)
        objects = (f'{{"{name}": {generator.choice(cells)}}}' for name in names)
        with contextlib.suppress(errors.DataError, errors.ConfigError):
            rows(lines(tmp_path, *objects))


_TEXT = st.text(st.characters(codec="utf-8"), max_size=10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "i": st.none() | st.integers(-(2**63), 2**63 - 1),
                "s": st.none() | _TEXT,
                "l": st.none() | st.lists(st.none() | _TEXT, max_size=3),
                "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            }
        ),
        max_size=20,
    )
)
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    kinds = {"i": "int64", "s": "string", "f": "float64"}
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)
    found = written(folder, text, "t.jsonl", columns=kinds)
    read = rows(found)
    for row in read:
        if isinstance(row.get("l"), str):
            row["l"] = json.loads(str(row["l"]))
        row.setdefault("l", None)
    assert read == objects
