"""CSV: what each byte sequence means, and how each fault is named."""

import contextlib
import datetime
import decimal
import gzip
import pathlib
import random
import string

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connectors.files_kit import UTC, column, opened, rows, written
from tmg_etl import errors
from tmg_etl.connectors import base


def typed(folder: pathlib.Path, kind: str, *texts: str) -> list[object]:
    found = written(
        folder, "\n".join(["a,b", *(f"{text},x" for text in texts), ""]), columns={"a": kind}
    )
    return column(found)


def refused(folder: pathlib.Path, kind: str, text: str) -> str:
    with pytest.raises(errors.DataError) as caught:
        typed(folder, kind, text)
    assert caught.value.exit_code == 65
    return str(caught.value)


def test_unquoted_empty_is_null_and_quoted_empty_is_the_empty_text(tmp_path: pathlib.Path) -> None:
    assert rows(written(tmp_path, 'a,b\n,""\n"",\n')) == [
        {"a": None, "b": ""},
        {"a": "", "b": None},
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('a,b\n"x\ny","q""q"\n', [("x\ny", 'q"q')]),
        ('a,b\r\nx,"l\r\nm"\r\n', [("x", "l\r\nm")]),
        ("\ufeffa,b\nx,y\n", [("x", "y")]),
        ("a,b\nx,y", [("x", "y")]),
        ('a,b\n"x",y', [("x", "y")]),
        ("a,b\n\nx,y\n\n", [("x", "y")]),
        ("a,b\n\n", []),
        ("a,b\n", []),
        ("a,b", []),
        ("\n\na,b\nx,y\n", [("x", "y")]),
        ("a,b\n\U0001f600 é,\t\n", [("\U0001f600 é", "\t")]),
        ("a,b\n\\N,NULL\n", [("\\N", "NULL")]),
        ('"a","b"\n"x,y",\'\n', [("x,y", "'")]),
        ('a,b\nx,5" pipe\n', [("x", '5" pipe')]),
        ("a,b\n x , y \n", [(" x ", " y ")]),
        ("a,b\nx\0y,z\n", [("x\0y", "z")]),
    ],
)
def test_text_is_kept_byte_by_byte(
    tmp_path: pathlib.Path, content: str, expected: list[tuple[str, str]]
) -> None:
    found = written(tmp_path, content, columns={"a": "string", "b": "string"})
    assert [(row["a"], row["b"]) for row in rows(found)] == expected


def test_header_with_newlines_in_quotes(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, '"a\nz","b,""c"\n1,2\n')
    assert rows(found) == [{"a\nz": 1, 'b,"c': 2}]


def test_gzip_of_several_members_is_read_to_the_end(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert column(opened(tmp_path)) == [1, 2]


def test_gzip_cut_off_names_the_file(tmp_path: pathlib.Path) -> None:
    data = gzip.compress(random.Random(1).randbytes(5000).hex().encode())
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n") + data[:-20])
    with pytest.raises(errors.DataError, match=r"t\.csv\.gz: the compressed file is broken"):
        column(opened(tmp_path))


def test_no_gzip_inside_names_the_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(errors.DataError, match=r"t\.csv\.gz: the compressed file is broken"):
        opened(tmp_path)


def test_options(tmp_path: pathlib.Path) -> None:
    options = {"delimiter": ";", "quote": "'", "null_values": ["", "NULL", "\\N"]}
    found = written(tmp_path, "a;b\n'x;''y';NULL\n\\N;'NULL'\n;''\n", csv=options)
    assert rows(found) == [
        {"a": "x;'y", "b": None},
        {"a": None, "b": "NULL"},
        {"a": None, "b": ""},
    ]


def test_escape_takes_the_next_character(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, 'a,b\n"x\\"y",u\\,v\n', csv={"escape": "\\"})
    assert rows(found) == [{"a": 'x"y', "b": "u,v"}]


def test_no_quote(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, 'a|b\n"x|y"\n', csv={"quote": None, "delimiter": "|"})
    assert rows(found) == [{"a": '"x', "b": 'y"'}]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_encodings(tmp_path: pathlib.Path, encoding: str) -> None:
    content = 'a,b\n"é\nü",1\n'.encode(encoding)
    found = written(tmp_path, content, csv={"encoding": encoding})
    assert rows(found) == [{"a": "é\nü", "b": 1}]


def test_one_column_keeps_null_rows(tmp_path: pathlib.Path) -> None:
    assert column(written(tmp_path, 'a\n1\n\n2\n""\n', columns={"a": "string"})) == [
        "1",
        None,
        "2",
        "",
    ]


def test_without_header(tmp_path: pathlib.Path) -> None:
    assert rows(written(tmp_path, "1,x\n2,y\n", csv={"header": False})) == [
        {"f0": 1, "f1": "x"},
        {"f0": 2, "f1": "y"},
    ]
    named = opened(tmp_path, csv={"header": False}, columns={"id": "int16", "name": "string"})
    assert rows(named) == [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    with pytest.raises(errors.ConfigError, match="has 2 columns, `columns` declares 1"):
        opened(tmp_path, csv={"header": False}, columns={"id": "int16"})


def test_an_empty_file_without_header_has_no_rows(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, "", csv={"header": False}, columns={"id": "int16"})
    assert rows(found) == []


def test_an_empty_file_with_header_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match=r"t\.csv:1: the file is empty"):
        written(tmp_path, "")


def test_faulty_headers(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match=r"t\.csv:1: the name of column 2 is empty"):
        written(tmp_path, "a,,c\n1,2,3\n")
    with pytest.raises(errors.DataError, match=r"t\.csv:1: the column 'a' occurs twice"):
        written(tmp_path, "a,b,a\n1,2,3\n")


def test_faults_name_the_line(tmp_path: pathlib.Path) -> None:
    head = 'a,b\n"x\ny",1\nz,2\n'
    with pytest.raises(errors.DataError, match=r"t\.csv:5: found 1 value, expected 2: 'q'"):
        rows(written(tmp_path, head + "q\n"))
    with pytest.raises(errors.DataError, match=r"t\.csv:5: found 3 values, expected 2"):
        rows(written(tmp_path, head + "q,r,s\n"))
    with pytest.raises(errors.DataError, match=r"t\.csv:5: the bytes b'\\xff' are no utf8"):
        rows(written(tmp_path, head.encode() + b"q,\xff\n"))
    with pytest.raises(errors.DataError, match=r"t\.csv:5: the file ends within quotes"):
        rows(written(tmp_path, head + 'q,"r\ns,3\n'))
    with pytest.raises(errors.DataError, match=r"t\.csv:5: column 'b': 'r' is no int64"):
        rows(written(tmp_path, head + "q,r\n", columns={"b": "int64"}))


def test_line_ends_of_old_macs_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match=r"t\.csv:1: .*new-line character"):
        written(tmp_path, "a,b\r1,2\r")


def test_a_value_unlike_the_first_block_names_line_column_value_and_remedy(
    tmp_path: pathlib.Path,
) -> None:
    block = "".join(f"{number},{'x' * 90}\n" for number in range(60_000))
    assert len(block) > 5 << 20
    found = written(tmp_path, f"a,b\n{block}N/A,y\n")
    assert found.schema().field("a").type == pa.int64()
    with pytest.raises(errors.DataError) as caught:
        rows(found)
    message = str(caught.value)
    assert "t.csv:60002: column 'a': 'N/A' is no int64" in message
    assert "columns: {a: string}" in message


def test_a_record_larger_than_a_block(tmp_path: pathlib.Path) -> None:
    long = "y\n" * (3 << 20)
    found = written(tmp_path, f'a,b\n1,x\n2,"{long}"\n3,z\n')
    assert [(row["a"], len(str(row["b"]))) for row in rows(found)] == [(1, 1), (2, 6 << 20), (3, 1)]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-5", ""], pa.int64()),
        (["9223372036854775807"], pa.int64()),
        (["9223372036854775808", "1"], pa.decimal128(38, 0)),
        (["1" * 39], pa.string()),
        (["007", "12"], pa.string()),
        (["0x1F"], pa.string()),
        (["+1"], pa.string()),
        (["1.5", "2"], pa.float64()),
        (["1e5", "NaN", "-inf"], pa.float64()),
        (["NaN"], pa.string()),
        (["0.12345678901234567890", "10"], pa.decimal128(38, 20)),
        (["00.5"], pa.string()),
        (["true", "FALSE"], pa.bool_()),
        (["2024-02-29", "0001-01-01"], pa.date32()),
        (["2023-02-29"], pa.string()),
        (["2024-02-29", "2024-02-29 10:00:00.5"], pa.timestamp("us")),
        (["2024-02-29T10:00:00Z"], pa.timestamp("us", tz="UTC")),
        (["2024-02-29 10:00:00.123456 UTC"], pa.timestamp("us", tz="UTC")),
        (["2024-02-29 10:00:00.1234567"], pa.string()),
        (["10:00", "10:00:01.5"], pa.time64("us")),
        (["25:00"], pa.string()),
        (["x", ""], pa.string()),
        (["", ""], pa.string()),
    ],
)
def test_inference(tmp_path: pathlib.Path, texts: list[str], kind: pa.DataType) -> None:
    found = written(tmp_path, "a,b\n" + "".join(f"{text},1\n" for text in texts))
    assert found.schema().field("a").type == kind


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int8", "-128", -128),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("int64", "-9223372036854775808", -(2**63)),
        ("int32", " +7 ", 7),
        ("int32", "007", 7),
        ("float64", "1.7976931348623157e308", 1.7976931348623157e308),
        ("float64", "-inf", float("-inf")),
        ("float64", "5e-324", 5e-324),
        ("float32", "0.5", 0.5),
        ("decimal(5,2)", "1.500", decimal.Decimal("1.50")),
        ("decimal(5,2)", "-1e2", decimal.Decimal("-100.00")),
        ("decimal(76,38)", "9" * 38 + "." + "9" * 38, decimal.Decimal("9" * 38 + "." + "9" * 38)),
        ("bool", "True", True),
        ("bool", "0", False),
        ("bool", "t", True),
        ("date", "9999-12-31", datetime.date(9999, 12, 31)),
        ("date", "0001-01-01", datetime.date(1, 1, 1)),
        ("time", "23:59:59.999999", datetime.time(23, 59, 59, 999999)),
        ("time", "10:00:00.5000000", datetime.time(10, 0, 0, 500000)),
        ("timestamp", "0001-01-01T00:00:00", datetime.datetime(1, 1, 1)),
        (
            "timestamp",
            "9999-12-31 23:59:59.999999",
            datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        ),
        (
            "timestamp",
            "2024-01-01 00:00:00.123456000",
            datetime.datetime(2024, 1, 1, 0, 0, 0, 123456),
        ),
        (
            "timestamptz",
            "2024-01-01 00:00:00+05:30",
            datetime.datetime(2023, 12, 31, 18, 30, tzinfo=UTC),
        ),
        ("timestamptz", "2024-01-01 00:00:00 UTC", datetime.datetime(2024, 1, 1, tzinfo=UTC)),
        ("timestamptz", "2024-01-01T00:00:00 -01", datetime.datetime(2024, 1, 1, 1, tzinfo=UTC)),
        ("bytes", "AP8=", b"\x00\xff"),
        ("json", '"{""a"": [1]}"', '{"a": [1]}'),
        ("string", "2024-01-01", "2024-01-01"),
    ],
)
def test_declared_values(tmp_path: pathlib.Path, kind: str, text: str, expected: object) -> None:
    assert typed(tmp_path, kind, text, "") == [expected, None]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int8", "128"),
        ("uint8", "-1"),
        ("int64", "9223372036854775808"),
        ("int64", "1.0"),
        ("int64", "0x10"),
        ("int64", '""'),
        ("float64", "1e999"),
        ("float32", "1e39"),
        ("float64", "1_000"),
        ("decimal(5,2)", "1.505"),
        ("decimal(5,2)", "1000"),
        ("bool", "yes"),
        ("date", "2023-02-29"),
        ("date", "0000-01-01"),
        ("date", "2024-01-01 10:00"),
        ("time", "24:00:00"),
        ("time", "10"),
        ("timestamp", "2024-01-01 00:00:00.1234567"),
        ("timestamp", "2024-01-01 00:00:00Z"),
        ("timestamptz", "2024-01-01 00:00:00"),
        ("timestamptz", "0001-01-01 00:00:00+01"),
        ("bytes", "not base64"),
        ("json", "{a}"),
        ("json", "NaN"),
    ],
)
def test_declared_values_that_do_not_fit(tmp_path: pathlib.Path, kind: str, text: str) -> None:
    message = refused(tmp_path, kind, text)
    assert "t.csv:2: column 'a'" in message
    assert "correct the file, or declare another type" in message


def test_json_columns_are_marked(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, "a\n{}\n", columns={"a": "json"})
    assert base.is_json(found.schema().field("a"))


def test_a_declared_column_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="did you mean 'amount'"):
        written(tmp_path, "amount,b\n1,2\n", columns={"amuont": "int64"})


def test_columns_are_read_in_the_order_asked_for(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, "a,b,c\n1,x,2024-01-01\n2,y,2024-01-02\n")
    batches = list(found.read(["c", "a"]))
    assert [batch.schema.names for batch in batches] == [["c", "a"]]
    day = datetime.date(2024, 1, 2)
    window = base.CursorWindow("c", day, day)
    assert [batch.to_pylist() for batch in found.read(["b"], window)] == [[{"b": "y"}]]
    assert sum(batch.num_rows for batch in found.read([])) == 2
    assert found.count() is None
    with pytest.raises(errors.ConfigError, match="has no column 'bb'"):
        list(found.read(["bb"]))


def test_batches_are_no_larger_than_asked_for(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, "a\n" + "".join(f"{number}\n" for number in range(1000)))
    sizes = [batch.num_rows for batch in found.read(["a"], batch_rows=300)]
    assert sizes == [300, 300, 300, 100]


def test_files_with_other_columns_are_united_by_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.csv").write_text("b,a\nx,1\n")
    (tmp_path / "t" / "2.csv").write_text("a,c\n2,true\n")
    found = opened(tmp_path)
    assert rows(found) == [{"b": "x", "a": 1, "c": None}, {"b": None, "a": 2, "c": True}]


def test_a_file_that_grows_is_a_temporary_error(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path, "a,b\n1,2\n")
    with (tmp_path / "t.csv").open("a") as file:
        file.write("3")
    with pytest.raises(errors.TemporaryError, match=r"the lake changed under the run: t\.csv"):
        rows(found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.none() | st.text(st.characters(codec="utf-8"), max_size=8)] * 2), max_size=20
    )
)
def test_quoted_text_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str | None, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        file.write("a,b\r\n")
        for row in values:
            cells = ["" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row]
            file.write(",".join(cells) + "\r\n")
    found = opened(folder, columns={"a": "string", "b": "string"})
    assert [(row["a"], row["b"]) for row in rows(found)] == values


def test_random_bytes_end_in_rows_or_a_clear_error(tmp_path: pathlib.Path) -> None:
    generator = random.Random(20240506)
    alphabet = [*string.printable.encode()[:40], *b'",\n\r\n",', 0xFF, 0xC3, 0]
    for _ in range(150):
        content = bytes(generator.choices(alphabet, k=generator.randrange(1, 60)))
        with contextlib.suppress(errors.DataError):
            rows(written(tmp_path, content))
