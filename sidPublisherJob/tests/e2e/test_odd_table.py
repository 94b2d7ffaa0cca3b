"""Tables whose columns are called like what the statements of a merge use themselves."""

import datetime
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tests.e2e import conftest
from tests.e2e import place as place_module

_DAY = datetime.date(2013, 1, 1)
_SCHEMA = pa.schema(
    [
        ("_tmg_row", pa.int64()),
        ("_tmg_rank", pa.int64()),
        ("_tmg_version", pa.string()),
        ("rowid", pa.int64()),
        ("day", pa.date32()),
    ]
)
_DELTA = "delta: {cursor: day, order_by: [_tmg_rank]}"


def _declare(
    workshop: conftest.Workshop, place: place_module.Place, rows: Sequence[Sequence[Any]]
) -> None:
    workshop.declare(place.connection, _DELTA)
    text = workshop.config.read_text(encoding="utf-8")
    text = text.replace("table: t}", "table: odd}").replace("key: [id]", "key: [_tmg_row]")
    workshop.config.write_text(text, encoding="utf-8")
    workshop.fill([(*row, _DAY) for row in rows], _SCHEMA)


def test_columns_called_like_our_own(
    workshop: conftest.Workshop, place: place_module.Place
) -> None:
    _declare(workshop, place, [(1, 1, "old", 7), (1, 2, "new", 8), (2, 1, "only", 7)])
    for _ in range(2):
        done = workshop.run(mode="delta")
        assert done.code == 0, done.err
        found = [row[:4] for row in place.rows("odd")]
        assert found == [(1, 2, "new", 8), (2, 1, "only", 7)]


def test_equal_versions_are_refused_whatever_columns_are_called(
    workshop: conftest.Workshop, place: place_module.Place
) -> None:
    _declare(workshop, place, [(1, 1, "one", 7), (1, 1, "other", 8)])
    done = workshop.run(mode="delta")
    assert done.code == 65, done.err
    assert "equally late" in conftest.only_error(done)


def test_a_day_without_rows_is_said(workshop: conftest.Workshop, place: place_module.Place) -> None:
    """Text that is no YYYYMMDD is in no window: a delta by it would publish nothing for ever."""
    schema = conftest.SCHEMA.append(pa.field("day", pa.string()))
    workshop.declare(place.connection, "omit: [day]\n    delta: {cursor: day}")
    workshop.fill([(1, 11, "new", "2013-01-01")], schema)
    done = workshop.run(mode="delta")
    assert done.code == 0
    (warning,) = [entry["message"] for entry in done.log if entry["severity"] == "WARNING"]
    assert "no rows in the window 2013-01-01" in warning
    assert "'day' is string, which is compared as YYYYMMDD" in warning


def test_a_target_that_holds_a_key_twice(
    workshop: conftest.Workshop, place: place_module.Place
) -> None:
    """A legacy job doubled rows, and nothing in the database forbids it: truncate mends that."""
    place.sql("DROP TABLE t", "CREATE TABLE t (id int, v smallint, name varchar(20))")
    place.sql("INSERT INTO t VALUES (1, 11, 'new'), (1, 11, 'new'), (2, 2, 'x')")
    schema = conftest.SCHEMA.append(pa.field("day", pa.date32()))
    workshop.declare(place.connection, "omit: [day]\n    delta: {cursor: day}")
    workshop.fill([(*row, _DAY) for row in conftest.ROWS], schema)
    before = place.rows()
    done = workshop.run(mode="delta")
    assert done.code == 65
    message = conftest.only_error(done)
    assert "id='1'" in message
    assert "publish by truncate once" in message
    assert place.rows() == before
    done = workshop.run()
    assert done.code == 0, done.err
    assert place.rows() == conftest.ROWS
