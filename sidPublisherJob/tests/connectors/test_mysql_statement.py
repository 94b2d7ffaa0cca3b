"""Queries and statements that a pipeline writes by hand."""

import datetime
import decimal

import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.connectors.mysql import connection as connection_module


def test_queries_and_statements_take_named_parameters(either_url: str) -> None:
    connection = mysql_kit.connect(either_url)
    connection.execute("CREATE TABLE t (id int, v text, at datetime(6), b blob, j json, y bit(4))")
    values = {
        "id": 1,
        "v": "a'b%s:id\\",
        "at": datetime.datetime(
            2024, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))
        ),
        "b": b"\x00\xff'",
    }
    assert connection.execute("INSERT INTO t VALUES (:id, :v, :at, :b, '{}', 5)", values) == 1
    assert connection.execute("UPDATE t SET v = v") == 0

    found = connection.query(
        "SELECT *, 1.50 AS d, '%:v' AS lit /* :no */ FROM t WHERE v = :v -- :not",
        {"v": values["v"]},
    )
    assert found.to_pylist() == [
        {"id": 1, "v": values["v"], "at": datetime.datetime(2024, 1, 1), "b": b"\x00\xff'",
         "j": "{}", "y": 5, "d": decimal.Decimal("1.50"), "lit": "%:v"}
    ]  # fmt: skip
    empty = connection.query("SELECT id, v FROM t WHERE id > 5")
    assert empty.schema.names == ["id", "v"]
    assert empty.num_rows == 0
    assert connection.query("SELECT TIME '10:00:00' AS t, DATE '2024-01-01' AS d").to_pylist() == [
        {"t": datetime.time(10), "d": datetime.date(2024, 1, 1)}
    ]


@pytest.mark.parametrize("sql", ["CAST('0000-00-00' AS DATE)", "TIME '25:00:00'"])
def test_a_query_refuses_what_no_type_carries(either_url: str, sql: str) -> None:
    mysql_kit.run_sql(
        either_url, "SET sql_mode = ''", f"CREATE TABLE t AS SELECT {sql} AS c",
        "UPDATE t SET c = COALESCE(c, '0000-00-00')",
    )  # fmt: skip
    with pytest.raises(errors.DataError, match="the column 'c'"):
        mysql_kit.connect(either_url).query("SELECT c FROM t")


def test_a_parameter_without_a_value_is_an_error() -> None:
    with pytest.raises(errors.ConfigError, match=":b has no value"):
        connection_module.bound("SELECT :a, :b", {"a": 1})


def test_an_unknown_table_in_a_query_is_a_configuration_error(either_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="1146"):
        mysql_kit.connect(either_url).query("SELECT * FROM nowhere")
    with pytest.raises(errors.DuplicateKeyError):
        mysql_kit.connect(either_url).execute(
            "CREATE TABLE t (id int PRIMARY KEY) SELECT 1 AS id UNION ALL SELECT 1"
        )
