"""SQLite and the world outside: readers, locks, kill -9, signals, rights, a full disk."""

import contextlib
import pathlib
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.connectors import sqlite_kit as kit
from tests.connectors import user_kit
from tmg_etl import errors
from tmg_etl.connectors import base

ROWS = pa.record_batch({"id": pa.array(range(1000), pa.int64())})
_READ = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=10)
print("reading", flush=True)
counts, longest, reads = set(), 0.0, 0
while 200_000 not in counts:
    began = time.monotonic()
    counts.add(c.execute("SELECT count(*) FROM t").fetchone()[0])
    longest = max(longest, time.monotonic() - began)
    reads += 1
print(sorted(counts), reads > 20, longest < 1 or longest, flush=True)
"""
_PUBLISH = """
import os, pathlib, sys
import pyarrow as pa
import sqlite_kit as kit
from sqlite_kit import target_module
rows = pa.record_batch({"id": pa.array(range(1000), pa.int64())})
with kit.opened(pathlib.Path(sys.argv[1])) as target:
    if sys.argv[2] == "swap":
        kit.swap(target, rows, ())
    else:
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(rows), ())
        if sys.argv[2] == "within":
            target.finish_load(kit.SHADOW, ())
            target_module.rename.statistics = lambda *a: os.kill(os.getpid(), 9)
            target.swap(kit.SHADOW, kit.NAMES)
    os.kill(os.getpid(), 9)
"""

# Killed in a transaction that has written to the file itself.
_SPILL = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA cache_size = 10")
c.execute("BEGIN")
c.execute("UPDATE more SET n = n + 1, text = 'changed' || text")
c.execute("DELETE FROM t")
os.kill(os.getpid(), 9)
"""
_NUMBERS = (
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 20000)"
    " SELECT n, hex(randomblob(50)) AS text FROM r"
)


@pytest.fixture(params=["delete", "wal"])
def path(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> pathlib.Path:
    path = tmp_path / "s.db"
    kit.sql(
        path,
        f"PRAGMA journal_mode = {request.param}",
        "CREATE TABLE t (id INTEGER)",
        "INSERT INTO t VALUES (7)",
        "CREATE INDEX ix ON t (id)",
        "CREATE VIEW v AS SELECT count(*) AS n FROM t",
    )
    return path


def test_reader_sees_the_old_or_the_new_count_and_is_not_kept_waiting(path: pathlib.Path) -> None:
    with kit.python(_READ, path) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        with kit.opened(path) as target:
            target.create_shadow(kit.SHADOW, [base.Index("other", ("id",))])
            for start in range(0, 200_000, 50_000):
                numbers = pa.array(range(start, start + 50_000), pa.int64())
                target.load(kit.SHADOW, kit.batch(pa.record_batch({"id": numbers})), ())
            target.finish_load(kit.SHADOW, ())
            assert target.swap(kit.SHADOW, kit.NAMES) == 1
        assert reader.stdout.readline() == "[1, 200000] True True\n"
    assert kit.sql(path, "PRAGMA integrity_check") == [("ok",)]


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
    assert kit.sql(path, "PRAGMA integrity_check", "SELECT n FROM v") == [(1000,)]


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
        for lock in path.parent.glob(".*.lock"):
            lock.unlink()
        with pytest.raises(errors.LockLostError):
            target.check_lock()


def test_another_writer_is_waited_for(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with (
            pytest.raises(errors.TemporaryError, match="locked"),
            kit.connect(path, options={"timeout": 0.3}).open_target("t") as target,
            target.lock("run1", 30),
        ):
            pass
        assert 0.2 < time.monotonic() - began < 5


_HOLD = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def writer(path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the middle of a transaction."""
    with kit.python(_HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_writer_is_waited_for_as_long_as_a_run_and_named(
    path: pathlib.Path, writer: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    began = time.monotonic()
    with kit.connect(path).open_target("t") as target, pytest.raises(errors.LockBusyError) as busy:
        target.lock("run1", 0.4).__enter__()
    assert 0.4 <= time.monotonic() - began < 1.9
    holder = f"process {writer.pid} (python"
    assert holder in str(busy.value)
    said = [record.message for record in caplog.records if "waiting" in record.message]
    assert len(said) == 1, "once"
    assert holder in said[0]
    assert "at most 0.4 s" in said[0]


def test_a_stop_is_heard_while_a_writer_is_waited_for(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        connection.open_target("t") as target,
        target.lock("run1", 30),
    ):
        target.create_shadow(kit.SHADOW, [])
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        threading.Timer(0.3, connection.stop.set, [signal.SIGTERM]).start()
        with pytest.raises(errors.Stopped):
            target.load(kit.SHADOW, kit.batch(ROWS), ())
        assert time.monotonic() - began < 1.5
        # A cleanup waits a moment, too, and then leaves the table to the next run.
        with pytest.raises(errors.LockBusyError):
            target.drop(kit.SHADOW)
        assert time.monotonic() - began < 5


def test_a_stop_is_heard_while_the_file_is_opened(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        connection.open_target("t") as target,
    ):
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        threading.Timer(0.3, connection.stop.set, [signal.SIGTERM]).start()
        with pytest.raises(errors.Stopped):
            target.lock("run1", 30).__enter__()
        assert time.monotonic() - began < 1.5


def test_what_a_killed_writer_left_is_undone_before_it_is_read(path: pathlib.Path) -> None:
    kit.sql(path, f"CREATE TABLE more AS {_NUMBERS}")
    with kit.python(_SPILL, path) as process:
        assert process.wait() == -signal.SIGKILL
    assert kit.read(path, table="t").num_rows == 1
    with kit.connect(path).open_target("t") as target:
        assert target.describe().indexes == ("ix",)


def test_what_a_killed_writer_left_takes_the_right_to_write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "s.db")
        kit.sql(path, "CREATE TABLE t (id INTEGER)", f"CREATE TABLE more AS {_NUMBERS}")
        with kit.python(_SPILL, path) as process:
            assert process.wait() == -signal.SIGKILL
        path.chmod(0o444)
        pathlib.Path(folder).chmod(0o555)
        for left in pathlib.Path(folder).iterdir():
            left.chmod(0o444)
        with user_kit.without_root(), pytest.raises(errors.AccessError, match="may write"):
            kit.read(path, table="t")
        pathlib.Path(folder).chmod(0o755)


def test_a_shadow_is_dropped_in_little_room(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s.db"
    kit.sql(path, "CREATE TABLE t (id INTEGER)")
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [base.Index("ix", ("id",))])
        numbers = pa.array(range(200_000), pa.int64())
        target.load(kit.SHADOW, kit.batch(pa.record_batch({"id": numbers})), ())
        target.finish_load(kit.SHADOW, ())
        # Its size afterwards is the room that the drop took.
        target.rows("PRAGMA journal_mode = PERSIST")
        journal = path.with_name("s.db-journal")
        journal.unlink(missing_ok=True)
        target.drop(kit.SHADOW)
        assert journal.stat().st_size < path.stat().st_size / 50


def test_describing_creates_no_file(tmp_path: pathlib.Path) -> None:
    with kit.connect(tmp_path / "new.db").open_target("t") as target:
        assert target.describe() is None
        target.drop("_tmg_shadow")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(errors.ConfigError, match="folder"), kit.opened(tmp_path / "no" / "x.db"):
        pass


def test_what_is_no_database_is_a_config_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.db").write_text("hello " * 1000)
    with pytest.raises(errors.ConfigError, match="not a database"), kit.opened(tmp_path / "x.db"):
        pass


def test_stop_interrupts_a_long_statement(path: pathlib.Path) -> None:
    connection = kit.connect(path)
    with connection.open_target("t") as target, target.lock("run1", 0):
        threading.Timer(0.3, connection.stop.set, [signal.SIGTERM]).start()
        with pytest.raises(errors.Stopped), target.transaction():
            target.rows(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
                " SELECT count(*) FROM r"
            )
        # The cleanup works after the stop.
        target.drop(kit.SHADOW)


def test_full_disk_is_temporary_and_changes_nothing(path: pathlib.Path) -> None:
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        pages = target.rows("PRAGMA page_count")[0][0]
        target.run(f"PRAGMA max_page_count = {pages + 2}")
        many = pa.record_batch({"id": pa.array(range(50_000), pa.int64())})
        with pytest.raises(errors.StorageFullError, match="full"):
            target.load(kit.SHADOW, kit.batch(many), ())
        target.drop(kit.SHADOW)
    assert kit.sql(path, "SELECT n FROM v") == [(1,)]


def test_read_only_file_or_folder_is_an_access_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "s.db")
        kit.sql(path, "CREATE TABLE t (id INTEGER)")
        path.chmod(0o444)
        pathlib.Path(folder).chmod(0o777)
        with (
            user_kit.without_root(),
            pytest.raises(errors.AccessError, match=r"s\.db.*readonly"),
            kit.opened(path),
        ):
            pass
        pathlib.Path(folder).chmod(0o555)
        with user_kit.without_root():
            with pytest.raises(errors.AccessError, match="locked"), kit.opened(path):
                pass
            assert kit.read(path, table="t").num_rows == 0
        path.chmod(0o000)
        with user_kit.without_root(), pytest.raises(errors.AccessError, match="read"):
            kit.read(path, table="t")
        pathlib.Path(folder).chmod(0o755)
