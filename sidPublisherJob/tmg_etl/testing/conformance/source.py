"""Sources: types and values, windows, batches, names, one snapshot, and what cannot be read."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from tmg_etl import connectors, errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import origin as origin_module
from tmg_etl.testing.conformance import publication, sample
from tmg_etl.testing.conformance.schema import NASTY_NAMES

_DAY = datetime.date(2024, 3, 10)
_ROWS = [
    (number, None if number == 4 else _DAY + datetime.timedelta(days=number - 5), f"n{number}")
    for number in range(1, 10)
]
_WINDOW = base.CursorWindow("day", _DAY - datetime.timedelta(2), _DAY + datetime.timedelta(1))


@contextlib.contextmanager
def _connected(connection: Mapping[str, Any], **spec: Any) -> Iterator[base.Source]:
    """Open a source as a run does."""
    config = model.Config.model_validate({"connections": {"origin": dict(connection)}})
    known = connectors.Connections(config.connections, config.folder, run_module.StopFlag())
    declared = model.SourceSpec.model_validate({"connection": "origin"} | spec)
    with known["origin"].open_source(declared, _DAY) as source:
        yield source


def _opened(
    origin: origin_module.Origin, **spec: Any
) -> contextlib.AbstractContextManager[base.Source]:
    """Open a source there as a run does."""
    return _connected(origin.connection, **origin.source, **spec)


def _read(source: base.Source, *columns: str, **arguments: Any) -> pa.Table:
    schema = source.schema()
    names = list(columns) or schema.names
    batches = list(source.read(names, **arguments))
    chosen = pa.schema([schema.field(name) for name in names])
    for batch in batches:
        assert batch.schema.equals(chosen, check_metadata=True)
    return pa.Table.from_batches(batches, chosen)


def _tuples(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


class _SourceSuite:
    @pytest.fixture
    def table(self, origin: origin_module.Origin) -> str:
        """Return a table with nine rows."""
        name = publication.new_name("origin")
        origin.seed(name, _ROWS)
        return name


class SourceConformance(_SourceSuite):
    """What every source must do.

    A test module supplies the fixture `origin`, of scope ``module``: an `Origin`.
    """

    def test_every_type_arrives(self, origin: origin_module.Origin) -> None:
        name = publication.new_name("types")
        wanted = origin.seed_types(name)
        with _opened(origin, table=name) as source:
            found = _read(source).sort_by("id")
        for field in wanted.schema:
            read = found.schema.field(field.name)
            assert read.type == field.type, field.name
            assert base.is_json(read) is base.is_json(field), field.name
        assert sample.differences(_documents(wanted), _documents(found)) == []

    def test_rows_arrive(self, origin: origin_module.Origin, table: str) -> None:
        with _opened(origin, table=table) as source:
            assert _tuples(_read(source)) == _ROWS
            assert source.count() in (None, len(_ROWS))
            assert table in source.description
            assert 0 < len(source.snapshot) <= 500

    def test_a_window_is_a_filter(self, origin: origin_module.Origin, table: str) -> None:
        with _opened(origin, table=table) as source:
            found = _tuples(_read(source, window=_WINDOW))
            assert source.count(_WINDOW) in (None, 3)
            assert [row[0] for row in found] == [3, 5, 6]
            # The column of the window need not be among those that are read.
            assert _tuples(_read(source, "name", window=_WINDOW)) == [("n3",), ("n5",), ("n6",)]

    def test_columns_arrive_in_the_order_asked_for(
        self, origin: origin_module.Origin, table: str
    ) -> None:
        with _opened(origin, table=table) as source:
            assert _tuples(_read(source, "name", "id"))[0] == ("n1", 1)
            assert _tuples(_read(source, "id"))[-1] == (9,)

    @pytest.mark.parametrize("rows", [1, 4, 9, 1000])
    def test_batches_have_at_most_the_rows_asked_for(
        self, origin: origin_module.Origin, table: str, rows: int
    ) -> None:
        with _opened(origin, table=table) as source:
            sizes = [batch.num_rows for batch in source.read(["id"], batch_rows=rows)]
        assert sum(sizes) == len(_ROWS)
        assert 0 < max(sizes) <= rows

    def test_a_source_is_read_again(self, origin: origin_module.Origin, table: str) -> None:
        with _opened(origin, table=table) as source:
            assert _tuples(_read(source)) == _tuples(_read(source))

    def test_an_empty_table_has_its_columns(self, origin: origin_module.Origin) -> None:
        name = publication.new_name("empty")
        origin.seed(name, [])
        with _opened(origin, table=name) as source:
            assert source.schema().names == ["id", "day", "name"]
            assert _read(source).num_rows == 0
            assert source.count() in (None, 0)

    @pytest.mark.parametrize("name", [name for name in NASTY_NAMES if name != "longest"])
    def test_names_of_any_kind(self, origin: origin_module.Origin, name: str) -> None:
        table, column = name, "day"
        if not origin.takes_table(name):
            with (
                pytest.raises(errors.ConfigError) as caught,
                _opened(origin, table=name) as source,
            ):
                _read(source)
            assert "\n" not in str(caught.value)
            table = publication.new_name("origin")
        origin.seed(table, _ROWS)
        if origin.takes_column(name):
            column = f"{name} column"
            origin.rename_column(table, "day", column)
        window = base.CursorWindow(column, _WINDOW.start, _WINDOW.end)
        with _opened(origin, table=table) as source:
            assert _tuples(_read(source)) == _ROWS
            assert _read(source, column, window=window).num_rows == 3

    def test_a_missing_table_is_a_config_error(self, origin: origin_module.Origin) -> None:
        with (
            pytest.raises(errors.ConfigError, match="no_such_table") as caught,
            _opened(origin, table="no_such_table") as source,
        ):
            _read(source)
        assert "\n" not in str(caught.value)

    def test_closing_early_leaves_nothing_open(
        self, origin: origin_module.Origin, table: str
    ) -> None:
        with _opened(origin, table=table) as source:
            batches = source.read(["id"], batch_rows=1)
            next(batches)
            source.close()
            source.close()
        origin.drop(table)

    def test_a_reading_that_is_given_up_leaves_nothing_open(
        self, origin: origin_module.Origin, table: str
    ) -> None:
        with _opened(origin, table=table) as source:
            batches = source.read(["id"], batch_rows=1)
            next(batches)
            batches.close()  # type: ignore[attr-defined]
            assert _read(source).num_rows == len(_ROWS)
        origin.drop(table)


class SnapshotConformance(_SourceSuite):
    """What every source must do whose system has queries and snapshots."""

    def test_a_query_is_read(self, origin: origin_module.Origin, table: str) -> None:
        query = (
            f"SELECT id AS key_column, day, name FROM {table} -- the day is fixed\n"
            "WHERE day >= '{execution_date:%Y-%m-%d}' -- and a comment at the end;"
        )
        with _opened(origin, query=query) as source:
            assert source.schema().names == ["key_column", "day", "name"]
            assert _tuples(_read(source)) == [row for row in _ROWS if row[1] and row[1] >= _DAY]
            assert [row[0] for row in _tuples(_read(source, window=_WINDOW))] == [5, 6]

    def test_a_query_that_is_wrong_is_a_config_error(self, origin: origin_module.Origin) -> None:
        for query in ("SELECT * FROM no_such_table", "SELECT (1 AS x", "SELEC 1"):
            with (
                pytest.raises(errors.ConfigError) as caught,
                _opened(origin, query=query) as source,
            ):
                _read(source)
            assert "\n" not in str(caught.value)

    def test_changes_after_the_opening_are_not_seen(
        self, origin: origin_module.Origin, table: str
    ) -> None:
        with _opened(origin, table=table) as source:
            origin.change(table)
            assert _tuples(_read(source)) == _ROWS
            assert _tuples(_read(source)) == _ROWS
        with _opened(origin, table=table) as source:
            found = _tuples(_read(source, "id", "name"))
            assert (99, "added") in found
            assert (1, "n1") not in found


class ServerSourceConformance:
    """What the source of a server must do when it cannot be read.

    A test module supplies the fixtures `denied` and `unreachable`: entries for `connections` with
    a wrong password, and with a port where nobody listens; the password is ``wrong-s3cret``.
    """

    def test_a_wrong_password_is_an_access_error(self, denied: Mapping[str, Any]) -> None:
        self._refused(denied, errors.AccessError)

    def test_a_server_that_is_not_there_is_a_temporary_error(
        self, unreachable: Mapping[str, Any]
    ) -> None:
        self._refused(unreachable, errors.ConnectionLostError)

    def _refused(self, connection: Mapping[str, Any], expected: type[errors.TmgEtlError]) -> None:
        with pytest.raises(expected) as caught, _connected(connection, table="any"):
            pass
        error: BaseException | None = caught.value
        assert "\n" not in str(error)
        while error is not None:
            assert "s3cret" not in str(error)
            error = error.__cause__
        config = model.Config.model_validate({"connections": {"target": dict(connection)}})
        known = connectors.Connections(config.connections, config.folder, run_module.StopFlag())
        with (
            pytest.raises(expected) as caught,
            known["target"].open_target("any") as target,
            target.lock("20240310000000aaaaaaaaaaaa", 0),
        ):
            pass
        assert "s3cret" not in str(caught.value)


def _documents(table: pa.Table) -> list[dict[str, object]]:
    """Return rows as Python values; JSON as documents."""
    rows: list[dict[str, object]] = table.to_pylist()
    for field in table.schema:
        if base.is_json(field):
            for row in rows:
                text = row[field.name]
                row[field.name] = None if text is None else sample.Document(str(text))
    return rows
