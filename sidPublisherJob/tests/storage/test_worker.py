"""Threads that fetch ahead: what is submitted is done, and no process waits for them."""

import pathlib
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from tmg_etl.storage import worker

ROOT = pathlib.Path(__file__).parents[2]


def test_work_is_done_in_parallel_and_its_errors_come_back():
    pool = worker.Pool(3)
    meeting = threading.Barrier(3, timeout=10)
    assert [f.result(10) for f in [pool.submit(meeting.wait) for _ in range(3)]]
    assert [f.result(10) for f in [pool.submit(pow, 2, n) for n in range(50)]] == [
        2**n for n in range(50)
    ]
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(10)
    pool.shutdown()


def test_threads_are_few():
    pool = worker.Pool(2)
    gate = threading.Event()
    futures = [pool.submit(gate.wait, 10) for _ in range(20)]
    names = {thread.name for thread in threading.enumerate()} & {
        f"tmg-storage-{number}" for number in range(20)
    }
    gate.set()
    assert all(future.result(10) for future in futures)
    pool.shutdown()
    assert len(names) == 2


def test_shutdown_cancels_what_waits_and_takes_no_more():
    pool = worker.Pool(1)
    gate = threading.Event()
    running = pool.submit(gate.wait, 10)
    while not running.running():
        time.sleep(0.01)
    waiting = pool.submit(gate.wait, 10)
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="was closed"):
        pool.submit(gate.wait)
    gate.set()
    assert running.result(10)
    pool.shutdown()


def test_process_that_is_stopped_does_not_wait_for_a_store_that_is_away(fake):
    made = fake.put("lake", "x", bytes(1000))
    fake.fail(503, containing="download", times=100_000)
    code = f"""
        import sys, threading
        from tmg_etl import storage
        store = storage.open_store("gs")
        file = store.open(store.facts("gs://lake/{made.name}"))
        threading.Thread(target=file.read, daemon=True).start()
        while not any(t.name.startswith("tmg-storage") for t in threading.enumerate()):
            pass
        threading.Event().wait(1)
        store.close()
        sys.exit(143)
    """
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, timeout=60)
    assert done.returncode == 143
    assert time.monotonic() - begun < 30
