"""The lock beside a file: exclusion between processes, loss, release by death, and bad folders."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from tests.connectors import user_kit
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import filelock

_HOLD = """
import pathlib, sys, time
from tmg_etl.connectors import filelock
with filelock.FileLock(pathlib.Path(sys.argv[1]), "t").hold("other-run", 0):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return filelock.lock_path(tmp_path / "wh.duckdb", "t")


@pytest.fixture
def holder(path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_lock_is_named_after_the_file_and_the_table(tmp_path: pathlib.Path) -> None:
    one = filelock.lock_path(tmp_path / "wh.duckdb", "one")
    assert one.parent == tmp_path.resolve()
    assert one.name.startswith(".wh.duckdb.")
    assert one.name.endswith(".tmg_etl.lock")
    assert one != filelock.lock_path(tmp_path / "wh.duckdb", "two")
    assert one != filelock.lock_path(tmp_path / "other.duckdb", "one")


def test_link_and_file_have_one_lock(tmp_path: pathlib.Path) -> None:
    (tmp_path / "wh.duckdb").touch()
    (tmp_path / "link").symlink_to(tmp_path / "wh.duckdb")
    assert filelock.lock_path(tmp_path / "link", "t") == filelock.lock_path(
        tmp_path / "wh.duckdb", "t"
    )


def test_lock_file_exists_only_while_held(path: pathlib.Path) -> None:
    with filelock.FileLock(path, "t").hold("run-1", 0):
        assert path.read_text().startswith("run run-1 (process ")
    assert not path.exists()


def test_other_process_keeps_us_out_and_is_named(
    path: pathlib.Path, holder: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(errors.LockBusyError, match="t is locked by run other-run") as caught:
        filelock.FileLock(path, "t").acquire("run-1", 0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert caught.value.exit_code == errors.EXIT_TEMPORARY


def test_killed_holder_leaves_the_lock_free(
    path: pathlib.Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    assert path.exists()
    with filelock.FileLock(path, "t").hold("run-1", 0):
        assert "run-1" in path.read_text()
    assert not path.exists()


def test_two_locks_of_one_process_exclude_each_other(path: pathlib.Path) -> None:
    with (
        filelock.FileLock(path, "t").hold("run-1", 0),
        pytest.raises(errors.LockBusyError, match="run-1"),
    ):
        filelock.FileLock(path, "t").acquire("run-2", 0)


def test_waiting_ends_when_the_holder_releases(path: pathlib.Path) -> None:
    first, second = filelock.FileLock(path, "t"), filelock.FileLock(path, "t")
    first.acquire("run-1", 0)
    timer = threading.Timer(0.2, first.release)
    timer.start()
    second.acquire("run-2", 10)
    timer.join()
    second.check()
    assert "run-2" in path.read_text()
    second.release()


def test_stop_ends_the_waiting(path: pathlib.Path) -> None:
    stop = run_module.StopFlag()
    with filelock.FileLock(path, "t").hold("run-1", 0):
        threading.Timer(0.1, stop.set, [signal.SIGTERM]).start()
        with pytest.raises(errors.Stopped):
            filelock.FileLock(path, "t").acquire("run-2", 30, stop)


def test_removed_lock_file_is_noticed(path: pathlib.Path) -> None:
    lock = filelock.FileLock(path, "t")
    with lock.hold("run-1", 0):
        lock.check()
        path.unlink()
        with pytest.raises(errors.LockLostError):
            lock.check()


def test_replaced_lock_file_is_noticed_and_left_to_its_owner(path: pathlib.Path) -> None:
    lost, owner = filelock.FileLock(path, "t"), filelock.FileLock(path, "t")
    lost.acquire("run-1", 0)
    path.unlink()
    owner.acquire("run-2", 0)
    with pytest.raises(errors.LockLostError):
        lost.check()
    lost.release()
    owner.check()
    owner.release()


def test_lock_that_is_not_held_is_lost(path: pathlib.Path) -> None:
    lock = filelock.FileLock(path, "t")
    with pytest.raises(errors.LockLostError):
        lock.check()
    lock.release()


def test_many_threads_hold_it_one_at_a_time(path: pathlib.Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            with filelock.FileLock(path, "t").hold(f"run-{number}-{turn}", 30):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_missing_folder_is_a_config_error(tmp_path: pathlib.Path) -> None:
    lock = filelock.FileLock(filelock.lock_path(tmp_path / "nowhere" / "x.db", "t"), "t")
    with pytest.raises(errors.ConfigError, match="nowhere"):
        lock.acquire("run-1", 0)


def test_read_only_folder_is_an_access_error() -> None:
    # Not under tmp_path, whose parents are closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o555)
        lock = filelock.FileLock(filelock.lock_path(pathlib.Path(folder, "x.db"), "t"), "t")
        with user_kit.without_root(), pytest.raises(errors.AccessError, match="cannot write"):
            lock.acquire("run-1", 0)
        assert not lock.path.exists()
