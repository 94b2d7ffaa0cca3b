"""The connection that fails where it is told to: its points, and what happens there."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import pathlib
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pytest

from tmg_etl import connectors, errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, flaky

RUN = "20240310000000aaaaaaaaaaaa"
DAY = datetime.date(2024, 3, 10)
SPEC = model.SourceSpec(connection="shaky", table="t")
Connect = Callable[..., base.Connection]


@pytest.fixture
def connect(tmp_path: pathlib.Path) -> Connect:
    """Return a flaky connection before a SQLite file; `stop` is that of its run."""

    def make(stop: run_module.StopFlag | None = None, **faults: str) -> base.Connection:
        declared = {
            "behind": {"type": "sqlite", "url": f"sqlite:///{tmp_path / 'serving.db'}"},
            "shaky": {
                "type": "flaky",
                "of": "behind",
                "faults": {point.replace("__", ":"): act for point, act in faults.items()},
                "record": "points",
            },
        }
        config = model.Config.model_validate({"connections": declared})
        known = connectors.Connections(config.connections, tmp_path, stop or run_module.StopFlag())
        return known["shaky"]

    return make


def points(folder: pathlib.Path) -> list[str]:
    return (folder / "points").read_text().split()


def test_points_are_named_by_call_and_number(connect: Connect, tmp_path: pathlib.Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (id INTEGER)")
    with connection.open_target("t") as target, target.transaction():
        target.describe()
        target.describe()
    assert points(tmp_path) == [
        *("execute:1", "execute:1:after", "open_target:1", "open_target:1:after"),
        *("transaction:1", "transaction:1:after"),
        *("describe:1", "describe:1:after", "describe:2", "describe:2:after"),
        *("commit:1", "commit:1:after", "close:1", "close:1:after"),
    ]


def test_each_batch_is_a_point_and_the_end_too(connect: Connect, tmp_path: pathlib.Path) -> None:
    connection = connect(read__2="cut")
    connection.execute("CREATE TABLE t (id INTEGER)")
    connection.execute("INSERT INTO t VALUES (1), (2)")
    with connection.open_source(SPEC, DAY) as source:
        batches = source.read(["id"], batch_rows=1)
        assert next(batches).num_rows == 1
        with pytest.raises(errors.ConnectionLostError, match="'shaky' at read:2: the connection"):
            next(batches)
        # The next reading goes on counting.
        assert sum(batch.num_rows for batch in source.read(["id"], batch_rows=1)) == 2
    assert [point for point in points(tmp_path) if point.startswith("read")] == [
        *("read:1", "read:1:after", "read:2"),
        *("read:3", "read:3:after", "read:4", "read:4:after", "read:5", "read:5:after"),
    ]


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("raise", flaky.InjectedError),
        ("cut", errors.CommitUnknownError),
        ("full", errors.StorageFullError),
    ],
)
@pytest.mark.parametrize(("point", "rows"), [("commit", 0), ("commit__1__after", 1)])
def test_fault_at_a_commit_undoes_what_was_not_committed(
    connect: Connect, point: str, rows: int, action: str, error: type[Exception]
) -> None:
    connect().execute("CREATE TABLE t (id INTEGER)")
    with connect(**{point: action}).open_target("t") as target, target.lock(RUN, 0):
        target.create("_tmg_new", pa.schema([pa.field("id", pa.int64())]), [], [])
        batch = pa.record_batch({"id": [1]})
        target.load("_tmg_new", base.Batch(batch, None, 0), [])
        with pytest.raises(error), target.transaction():
            target.replace_rows("_tmg_new", ["id"], None)
        held = target.fingerprint("t", ["id"], base.Selection(), hashes=False)
    assert held.rows == rows


def test_what_hangs_ends_when_the_run_is_stopped(connect: Connect) -> None:
    stop = run_module.StopFlag()
    threading.Timer(0.2, stop.set, [signal.SIGTERM]).start()
    with pytest.raises(errors.Stopped), connect(stop, describe="hang").open_target("t") as target:
        target.describe()


def test_what_fails_to_close_has_hung_up(connect: Connect, tmp_path: pathlib.Path) -> None:
    connection = connect(close="raise")
    connection.execute("CREATE TABLE t (id INTEGER)")
    target = connection.open_target("t")
    with pytest.raises(flaky.InjectedError), target.lock(RUN, 0):
        target.close()
    with connect().open_target("t") as other, other.lock("20240310000000bbbbbbbbbbbb", 0):
        assert other.describe() is not None


def test_a_point_that_nothing_has_is_a_config_error(connect: Connect) -> None:
    with pytest.raises(errors.ConfigError, match="no point 'laod:2'; did you mean 'load'"):
        connect(laod__2="cut")


def test_batches_are_loaded_one_after_the_other(connect: Connect) -> None:
    with connect().open_target("t") as target:
        assert target.lanes("t") == 1


def test_every_method_of_the_interface_is_a_point() -> None:
    known = flaky.points()
    for kind in (base.Source, base.Target):
        methods = {
            name
            for name, value in vars(kind).items()
            if callable(value) and not name.startswith("_") and name != "lanes"
        }
        assert methods <= known


class Behind(base.Connection):
    """Stands behind a flaky one: what it opens gives back each call with its arguments."""

    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> base.Source:
        return _echo(base.Source, spec=spec, day=execution_date)

    def open_target(self, table: str) -> base.Target:
        return _echo(base.Target, table=table)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return "query", sql, parameters

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return "execute", sql, parameters


def _echo(kind: type, **attributes: Any) -> Any:
    """Return one of an interface that answers each call with its name and arguments."""

    def method(name: str, promised: str) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            called = (name, arguments, named)
            if "AbstractContextManager" in promised:
                return contextlib.nullcontext(called)
            if "Iterator" in promised:
                return iter([called, called])
            return _echo(base.Target, called=called) if promised == "Target" else called

        return call

    body: dict[str, Any] = {
        name: method(name, value.__annotations__["return"])
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    properties = [name for name, value in vars(kind).items() if isinstance(value, property)]
    return type(f"Echo{kind.__name__}", (kind,), body | {n: n for n in properties} | attributes)()


@pytest.fixture
def forwarding(connect: Connect) -> base.Connection:
    """A flaky connection without faults before one that answers with what it was asked."""
    found = connect()
    found.others = {"behind": Behind(found.spec, found.folder)}
    return found


INTERFACE = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in (base.Source, base.Target)
    for name, value in vars(kind).items()
    if inspect.isfunction(value) and not name.startswith("_") and name != "lanes"
]


@pytest.mark.parametrize(("kind", "name"), INTERFACE)
def test_every_call_goes_to_the_other_one_and_its_answer_comes_back(
    forwarding: base.Connection, kind: type, name: str
) -> None:
    is_source = kind is base.Source
    opened = forwarding.open_source(SPEC, DAY) if is_source else forwarding.open_target("t")
    parameters = list(inspect.signature(getattr(kind, name)).parameters.values())[1:]
    arguments = [object() for one in parameters if one.kind is not one.KEYWORD_ONLY]
    named = {one.name: object() for one in parameters if one.kind is one.KEYWORD_ONLY}
    found = getattr(opened, name)(*arguments, **named)
    wanted = (name, tuple(arguments), named)
    if hasattr(found, "__enter__") and not isinstance(found, base.Target):
        with found as held:
            assert held == wanted
    elif hasattr(found, "__next__"):
        assert list(found) == [wanted, wanted]
    elif isinstance(found, base.Target):
        # It fails where it is told to as well.
        assert type(found) is type(opened)
        assert found.inner.called == wanted  # type: ignore[attr-defined]
    else:
        assert found == wanted


def test_every_property_is_that_of_the_other_one(forwarding: base.Connection) -> None:
    for kind, opened in (
        (base.Source, forwarding.open_source(SPEC, DAY)),
        (base.Target, forwarding.open_target("t")),
    ):
        names = [name for name, value in vars(kind).items() if isinstance(value, property)]
        assert [getattr(opened, name) for name in names] == names
    target: Any = forwarding.open_target("t")
    target.inner.capabilities, target.inner.only_of_its_class = "all", "known"
    assert (target.table, target.capabilities, target.only_of_its_class) == ("t", "all", "known")
    source: Any = forwarding.open_source(SPEC, DAY)
    assert (source.spec, source.day) == (SPEC, DAY)


def test_the_other_one_gets_no_flaky_one(forwarding: base.Connection) -> None:
    target: Any = forwarding.open_target("t")
    other: Any = target.beside("u")
    with target.transaction([other]) as called:
        assert called == ("transaction", ([other.inner],), {})
    exchange = base.Exchange(other, "shadow", "keep")
    assert target.swap_together([exchange], "names") == (
        "swap_together",
        ([base.Exchange(other.inner, "shadow", "keep")], "names"),
        {},
    )


def test_queries_and_statements_go_to_the_other_one(forwarding: base.Connection) -> None:
    assert forwarding.query("SELECT 1", {"a": 1}) == ("query", "SELECT 1", {"a": 1})
    assert forwarding.execute("DROP", None) == ("execute", "DROP", None)
