"""The connection that fails where it is told to: its points, and what happens there."""

from __future__ import annotations

import datetime
import pathlib
import signal
import threading
from collections.abc import Callable

import pyarrow as pa
import pytest

from tmg_etl import connectors, errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, flaky

RUN = "20240310000000aaaaaaaaaaaa"
DAY = datetime.date(2024, 3, 10)
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
    spec = model.SourceSpec(connection="shaky", table="t")
    with connection.open_source(spec, DAY) as source:
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
