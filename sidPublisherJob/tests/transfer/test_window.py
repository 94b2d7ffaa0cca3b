"""Text cursors: eight digits, and no other notation by mistake."""

from __future__ import annotations

import datetime
import sqlite3

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.files import window as files_window

NEW_YEAR = base.CursorWindow("day", datetime.date(2023, 12, 31), datetime.date(2024, 1, 2))
DAYS = [
    "20231230",
    "20231231",
    "20240101",
    "20240102",
    "20240103",
    "2024-01-01",
    "2024-12-31",
    None,
]
INSIDE = ["20231231", "20240101", "20240102"]


def test_text_in_sql() -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (day TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [(day,) for day in DAYS])
        condition = sql.window_sql('"day"', pa.string(), NEW_YEAR)
        found = connection.execute(f"SELECT day FROM t WHERE {condition} ORDER BY 1").fetchall()
    connection.close()
    assert [day for (day,) in found] == INSIDE


def test_text_in_files() -> None:
    batch = pa.record_batch({"day": pa.array(DAYS, pa.string())})
    assert files_window.keep(batch, NEW_YEAR).column("day").to_pylist() == INSIDE


def test_a_cursor_of_another_type_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="cursor 'day' is of type double"):
        sql.window_sql('"day"', pa.float64(), NEW_YEAR)
