"""Tables whose columns are called like what the statements of a merge use themselves."""

import datetime
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from tests.e2e import conftest
from tests.e2e import place as place_module
from tmg_etl.cli import people, pipeline

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


@pytest.mark.parametrize("day", [_DAY, "20130101"])
def test_a_day_without_rows_is_said(
    workshop: conftest.Workshop,
    place: place_module.Place,
    day: object,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In the summary, its JSON, the plan and the ledger: it may be a holiday, or a wrong cursor."""
    kind = pa.string() if isinstance(day, str) else pa.date32()
    schema = conftest.SCHEMA.append(pa.field("day", kind))
    workshop.declare(place.connection, "omit: [day]\n    delta: {cursor: day}")
    workshop.fill([(1, 11, "new", day)], schema)
    before = place.rows()
    words = "no rows in the window 2013-01-02"
    if kind == pa.string():
        words += "; 'day' is string, which is compared as YYYYMMDD"
    arguments = ["20130102", "dim_plane", "delta", str(workshop.config)]
    assert pipeline.main([*arguments, "--log-format", "json"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["warnings"] == [words]
    assert json.loads(printed.out)["severity"] == "WARNING"
    logged = [json.loads(line) for line in printed.err.splitlines()]
    assert [line["message"] for line in logged if line["severity"] == "WARNING"] == [words]
    assert pipeline.main([*arguments, "--log-format", "text"]) == 0
    assert f"  warning  {words}\n" in capfd.readouterr().out
    assert pipeline.main([*arguments, "--plan"]) == 0
    assert f"warning   {words}\n" in capfd.readouterr().out
    assert people.main(["runs", str(workshop.config)]) == 0
    assert capfd.readouterr().out.count(f"  warning: {words}\n") == 2
    assert place.rows() == before


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["v1-0-0", None], pa.string(), "'v1-0-0' (string)"),
        ([None, "2013-01-01"], pa.string(), "'2013-01-01' (string)"),
        (["deadline"], pa.string(), "'deadline' (string)"),
        ([7, 1_357_000_000], pa.int64(), "'7' (int64)"),
        ([None, None], pa.date32(), "only nulls"),
    ],
)
def test_a_cursor_that_lies_in_no_window_is_refused(
    workshop: conftest.Workshop,
    place: place_module.Place,
    values: list[object],
    kind: pa.DataType,
    found: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It would publish nothing, night by night: whatever the source is, which is `place` too."""
    schema = conftest.SCHEMA.append(pa.field("day", kind))
    workshop.declare(place.connection)
    workshop.fill([(n, n, "x", value) for n, value in enumerate(values, 1)], schema)
    place.sql("DROP TABLE t")
    assert pipeline.main(["20130101", "dim_plane", "truncate", str(workshop.config)]) == 0
    for source in ("lake, table: planes", "serving, table: t"):
        workshop.declare(place.connection, "delta: {cursor: day}")
        text = workshop.config.read_text(encoding="utf-8")
        text = text.replace("lake, table: planes", source).replace(
            "table: t}\n    key", "table: u}\n    key"
        )
        workshop.config.write_text(text, encoding="utf-8")
        for more in (["--plan"], []):
            capfd.readouterr()
            arguments = ["20130101", "dim_plane", "delta", str(workshop.config), *more]
            assert pipeline.main(arguments) == 78
            line = capfd.readouterr().err.splitlines()[-1]
            assert f"lies in any window by the cursor 'day': found {found}, expected a date" in line
            declared = text[: text.index("cursor: day")].count("\n") + 1
            where = f"{workshop.config}:{declared}:transfers.dim_plane.delta.cursor"
            assert f"{where}: no row of" in line


def test_a_source_without_rows_is_no_wrong_cursor(
    workshop: conftest.Workshop, place: place_module.Place, capfd: pytest.CaptureFixture[str]
) -> None:
    schema = conftest.SCHEMA.append(pa.field("day", pa.string()))
    workshop.declare(place.connection, "omit: [day]\n    delta: {cursor: day}")
    workshop.fill([], schema)
    assert pipeline.main(["20130101", "dim_plane", "delta", str(workshop.config)]) == 0
    assert json.loads(capfd.readouterr().out)["warnings"][0].startswith("no rows in the window")


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
