"""DuckDB and the world outside: other processes, kill -9, signals, rights, memory."""

import pathlib
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from tests.connectors import duckdb_kit as kit
from tests.connectors import user_kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.duckdb import failure

ROWS = pa.record_batch({"id": pa.array(range(1000), pa.int32())})
_HOLD = """
import duckdb, sys
c = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
c.close()
print("gone", flush=True)
sys.stdin.readline()
"""
_PUBLISH = """
import os, pathlib, sys
import pyarrow as pa
import duckdb_kit as kit
rows = pa.record_batch({"id": pa.array(range(1000), pa.int32())})
with kit.opened(pathlib.Path(sys.argv[1])) as target:
    if sys.argv[2] == "load":
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(rows), ())
    elif sys.argv[2] == "swap":
        target._session.run("PRAGMA disable_checkpoint_on_shutdown")
        target._checkpoint = lambda: os.kill(os.getpid(), 9)
        kit.swap(target, rows, ())
    elif sys.argv[2] == "within":
        target._comment = None
        target.create_shadow = lambda *a: None
        target.run(f'CREATE TABLE "{kit.SHADOW}" (id INTEGER)')
        with target.transaction():
            target.run("DROP TABLE t")
            target.run(f'ALTER TABLE "{kit.SHADOW}" RENAME TO t')
            os.kill(os.getpid(), 9)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "wh.duckdb"
    kit.sql(
        path,
        "CREATE TABLE t AS SELECT 7 AS id",
        "CREATE INDEX ix ON t (id)",
        "CREATE VIEW v AS SELECT count(*) AS n FROM t",
    )
    return path


@pytest.fixture
def holder(path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file open for writing until it gets a line."""
    with kit.python(_HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_target_waits_for_the_file_and_names_its_holder(
    path: pathlib.Path, holder: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    with (
        kit.connect(path).open_target("t") as target,
        pytest.raises(errors.LockBusyError) as caught,
    ):
        target.lock("run1", 0.5).__enter__()
    assert 0.5 <= time.monotonic() - began < 5
    assert f"process {holder.pid}" in str(caught.value)
    assert caught.value.exit_code == errors.EXIT_TEMPORARY
    assert [found.name for found in path.parent.iterdir()] == ["wh.duckdb"]


def test_target_begins_when_the_file_is_given_back(
    path: pathlib.Path, holder: subprocess.Popen[str]
) -> None:
    def release() -> None:
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()

    threading.Timer(0.3, release).start()
    with kit.connect(path).open_target("t") as target, target.lock("run1", 20):
        target.check_lock()
        assert kit.swap(target, ROWS, ()) == 1


def test_stop_ends_the_waiting_for_the_file(
    path: pathlib.Path, holder: subprocess.Popen[str]
) -> None:
    connection = kit.connect(path)
    threading.Timer(0.2, connection.stop.set, [signal.SIGTERM]).start()
    with connection.open_target("t") as target, pytest.raises(errors.Stopped):
        target.lock("run1", 30).__enter__()


@pytest.mark.parametrize("moment", ["load", "within", "swap"])
def test_killed_run_leaves_the_old_or_the_new_table(path: pathlib.Path, moment: str) -> None:
    with kit.python(_PUBLISH, path, moment) as process:
        assert process.wait() == -signal.SIGKILL
    with kit.opened(path) as target:
        swept = target.sweep(kit.NAMES)
        assert swept == ([] if moment == "swap" else [kit.SHADOW])
        expected = 1000 if moment == "swap" else 1
        assert target.rows("SELECT n FROM v") == [(expected,)]
        assert target.describe().indexes == ("ix",)
        assert kit.swap(target, ROWS, ()) == expected
    assert kit.sql(path, "SELECT count(*) FROM t WHERE id = 5") == [(1,)]


def test_two_targets_of_one_table_exclude_each_other(path: pathlib.Path) -> None:
    with (
        kit.opened(path, "t"),
        kit.connect(path).open_target("T") as other,
        pytest.raises(errors.LockBusyError, match="run run1"),
    ):
        other.lock("run2", 0).__enter__()
    with kit.opened(path, "t"), kit.opened(path, "another"):
        pass


def test_lost_lock_is_noticed(path: pathlib.Path) -> None:
    with kit.opened(path) as target:
        target.check_lock()
        for lock in path.parent.glob("*.lock"):
            lock.unlink()
        with pytest.raises(errors.LockLostError):
            target.check_lock()


def test_describing_creates_no_file(tmp_path: pathlib.Path) -> None:
    with kit.connect(tmp_path / "new.duckdb").open_target("t") as target:
        assert target.describe() is None
        target.drop("_tmg_shadow")
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(errors.ConfigError, match="folder"),
        kit.opened(tmp_path / "no" / "x.duckdb"),
    ):
        pass


def test_stop_interrupts_a_long_statement(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    with connection.open_target("t") as target, target.lock("run1", 0):
        threading.Timer(0.3, connection.stop.set, [signal.SIGTERM]).start()
        began = time.monotonic()
        with pytest.raises(errors.Stopped), target.transaction():
            target.rows(
                "SELECT count(*) FROM range(10000000) a, range(1000000) b"
                " WHERE hash(a.range + b.range) = 7"
            )
        assert time.monotonic() - began < 10
        # The cleanup works after the stop.
        target.drop(kit.SHADOW)


def test_read_only_file_is_an_access_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "wh.duckdb")
        kit.sql(path, "CREATE TABLE t AS SELECT 7 AS id")
        path.chmod(0o444)
        pathlib.Path(folder).chmod(0o777)
        with (
            user_kit.without_root(),
            pytest.raises(errors.AccessError, match=r"wh\.duckdb"),
            kit.opened(path),
        ):
            pass
        pathlib.Path(folder).chmod(0o555)
        with (
            user_kit.without_root(),
            pytest.raises(errors.AccessError, match="locked"),
            kit.opened(path),
        ):
            pass
        with user_kit.without_root():
            assert kit.read(path, table="t").num_rows == 1
        pathlib.Path(folder).chmod(0o755)


def test_too_little_memory_says_which_option_to_raise(path: pathlib.Path) -> None:
    connection = kit.connect(path, options={"memory_limit": "20MB", "threads": 1})
    with pytest.raises(errors.ConfigError, match="memory_limit"):
        connection.execute("CREATE TABLE b AS SELECT list(range) AS x FROM range(20000000)")


@pytest.mark.parametrize(
    "error",
    [
        duckdb.TransactionException(
            'TransactionContext Error: Failed to commit: Could not write file "/d/wh.duckdb.wal":'
            " No space left on device"
        ),
        duckdb.IOException(
            'IO Error: Could not write file "/d/wh.duckdb": No space left on device'
        ),
    ],
)
def test_full_disk_says_what_to_do(error: duckdb.Error) -> None:
    told = failure.translate(error, "wh.duckdb")
    assert isinstance(told, errors.StorageFullError)
    assert "the target is unchanged; free space" in str(told)


def test_memory_is_limited_unless_the_options_say_otherwise(path: pathlib.Path) -> None:
    setting = "SELECT current_setting('memory_limit') AS m, current_setting('threads') AS t"
    assert kit.connect(path).query(setting).to_pylist()[0]["m"] == "488.2 MiB"
    options = {"memory_limit": "1GiB", "threads": 1}
    found = kit.connect(path, options=options).query(setting).to_pylist()
    assert found == [{"m": "1.0 GiB", "t": 1}]


def test_readers_of_this_process_see_the_old_table_until_the_commit(path: pathlib.Path) -> None:
    with kit.source(path, table="t") as before:
        with kit.opened(path) as target:
            target.create_shadow(kit.SHADOW, [base.Index("second", ("id",))])
            target.load(kit.SHADOW, kit.batch(ROWS), ())
            assert before.count() == 1
            target.swap(kit.SHADOW, kit.NAMES)
            with kit.source(path, table="t") as after:
                assert after.count() == 1000
        assert before.count() == 1
