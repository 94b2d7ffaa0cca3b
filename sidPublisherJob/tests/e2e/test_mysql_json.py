"""MySQL's own JSON columns, published from files, PostgreSQL and MySQL, and read into others."""

from __future__ import annotations

import datetime
import json
import pathlib

import pyarrow as pa
import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import errors
from tmg_etl.config import loader

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("doc", pa.string())])
TABLE = "CREATE TABLE facts (id bigint NOT NULL PRIMARY KEY, day date, doc json)"
UPSERT = "delta: {cursor: day}"
WINDOW = "delta: {cursor: day, strategy: replace_window}"
DOCUMENTS = [
    '{"bb":1.50,"a":[1E2,"\\u00e9"]}',
    "null",
    None,
    '"2020-01-01"',
    "12345678901234567890",
]
HELD = ['{"a": [100.0, "é"], "bb": 1.5}', "null", None, '"2020-01-01"', "12345678901234567890"]


@pytest.fixture
def shop(mysql_url: str, tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> plan_kit.Shop:
    """A lake, and a table of MySQL with a JSON column."""
    made = plan_kit.Shop(tmp_path / "shop", place_module.MySQL(mysql_url), empty_ledger)
    made.place.sql(TABLE)
    fill(made, DOCUMENTS)
    return made


def fill(shop: plan_kit.Shop, documents: list[str | None]) -> None:
    day = datetime.date(2013, 1, 2)
    shop.fill([(number, day, text) for number, text in enumerate(documents, 1)], SCHEMA)


def held(shop: plan_kit.Shop) -> list[str | None]:
    return [text for (text,) in shop.place.sql("SELECT CAST(doc AS CHAR) FROM facts ORDER BY id")]


@pytest.mark.parametrize(
    ("more", "mode"),
    [("publish: swap", "truncate"), ("publish: diff", "truncate"), (UPSERT, "delta"),
     (WINDOW, "delta")],
)  # fmt: skip
def test_every_publish_proves_json(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.declare(f"key: [id]\n    {more}")
    shop.publish(mode)
    assert held(shop) == HELD
    assert shop.verify(mode).is_equal
    ((_, definition),) = shop.place.sql("SHOW CREATE TABLE facts")
    assert "`doc` json DEFAULT NULL" in definition
    assert "CHECK" not in definition
    # Equal to MySQL, and another document.
    shop.place.sql('UPDATE facts SET doc = \'{"a": [100, "é"], "bb": 1.5}\' WHERE id = 1')
    shown = shop.verify(mode)
    assert shown.changed == 1
    assert shop.publish(mode).rows_updated in (1, None) or more == "publish: swap"
    assert held(shop) == HELD
    if more != "publish: swap":
        assert shop.publish(mode).rows_unchanged == len(HELD)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[0.1000000000000000000001]", "its number 0.1000000000000000000001 has more digits"),
        ('{"a":1,"a":2}', "the key 'a' occurs twice"),
        ("[" * 101 + "]" * 101, "nested more than 100 levels"),
        (r'"\ud800"', "half of a surrogate pair"),
        ("{", "not a JSON document"),
    ],
)
def test_what_json_cannot_keep_names_its_row(shop: plan_kit.Shop, text: str, reason: str) -> None:
    fill(shop, ["1", text])
    shop.declare("key: [id]")
    outcome = shop.run()
    assert outcome.exit_code == 65
    line = str(outcome.error)
    assert "facts" in line
    assert "'doc'" in line
    assert "id='2'" in line
    assert reason in line
    assert held(shop) == []


def test_postgres_and_back(shop: plan_kit.Shop, postgres_url: str) -> None:
    """From jsonb and json into JSON, and from JSON into jsonb."""
    postgres = place_module.Postgres(postgres_url)
    postgres.sql(
        "CREATE TABLE origin (id bigint PRIMARY KEY, doc jsonb, text json)",
        "INSERT INTO origin VALUES (1, '{\"a\": 1e2, \"bb\": [1.50]}', '[1,  2.0]')",
        "CREATE TABLE back (id bigint PRIMARY KEY, doc jsonb, text jsonb)",
    )
    shop.place.sql(
        "DROP TABLE facts", "CREATE TABLE facts (id bigint PRIMARY KEY, doc json, text json)"
    )
    path = shop.folder / "config.yaml"
    config = (
        "connections:\n"
        f"  pg: {postgres.connection}\n  serving: {shop.place.connection}\n"
        "  lake: {type: files, url: lake/}\n  duck: {type: duckdb, url: 'duckdb:///d.duckdb'}\n"
        f'ledger: "sqlite:///{shop.folder}/ledger.db"\ntransfers:\n  facts:\n    key: [id]\n'
    )

    def publish(source: str, target: str) -> None:
        path.write_text(f"{config}    source: {source}\n    target: {target}\n", encoding="utf-8")
        shop.config = loader.load(str(path))
        assert shop.run().exit_code == 0

    publish("{connection: pg, table: origin}", "{connection: serving, table: facts}")
    found = shop.place.sql("SELECT CAST(doc AS CHAR), CAST(text AS CHAR) FROM facts")
    assert [*found] == [('{"a": 100, "bb": [1.5]}', "[1, 2.0]")]
    for target in ("{connection: pg, table: back}", "{connection: duck, table: back}",
                   "{connection: lake, table: back}"):  # fmt: skip
        publish("{connection: serving, table: facts}", target)
    assert [*postgres.sql("SELECT doc::text FROM back")] == [('{"a": 100, "bb": [1.5]}',)]


def test_values_that_only_sql_makes_are_read_as_text(shop: plan_kit.Shop) -> None:
    """A day, a decimal, bytes: from one JSON column into another."""
    shop.place.sql(
        "CREATE TABLE origin (id bigint PRIMARY KEY, day date, doc json)",
        "INSERT INTO origin (id, doc) VALUES (1, JSON_OBJECT('d', DATE'2020-01-01', 'n', 1.50)),"
        " (2, CAST(x'00ff' AS JSON)), (3, CAST(TIMESTAMP'2020-01-01 10:00:00' AS JSON))",
    )
    shop.declare("key: [id]")
    path = shop.folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("{connection: lake, table: facts}", "{connection: serving, table: origin}")
    path.write_text(text, encoding="utf-8")
    shop.config = loader.load(str(path))
    shop.publish()
    assert [json.loads(text or "") for text in held(shop)] == [
        {"d": "2020-01-01", "n": 1.5},
        "base64:type15:AP8=",
        "2020-01-01 10:00:00.000000",
    ]
    assert shop.verify().is_equal
    shop.place.sql("INSERT INTO origin (id, doc) VALUES (4, CAST(0.12345678901234567891 AS JSON))")
    assert isinstance(shop.run().error, errors.ValueRejectedError)
