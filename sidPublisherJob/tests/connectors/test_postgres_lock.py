"""The lock of a target: who holds it, who waits, and that a lost one is noticed."""

import multiprocessing
import threading
import time
from multiprocessing import connection as pipes

import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors

pytestmark = pytest.mark.postgres


def test_second_run_is_told_who_holds_the_target(postgres_url):
    with postgres_kit.opened(postgres_url) as first, postgres_kit.opened(postgres_url) as second:
        with first.lock("run-one", 0):
            first.check_lock()
            started = time.monotonic()
            with pytest.raises(errors.LockBusyError) as caught, second.lock("run-two", 0.5):
                pass
            assert 0.4 < time.monotonic() - started < 3
            assert "run run-one" in str(caught.value.holder)
            with pytest.raises(errors.LockLostError):
                second.check_lock()
        with second.lock("run-two", 0):
            second.check_lock()


def test_waiting_run_goes_on_when_the_first_ends(postgres_url):
    with postgres_kit.opened(postgres_url) as first, postgres_kit.opened(postgres_url) as second:
        held = first.lock("one", 0)
        held.__enter__()
        timer = threading.Timer(0.4, held.__exit__, [None, None, None])
        timer.start()
        with second.lock("two", 10):
            second.check_lock()
        timer.join()


def test_other_tables_and_schemas_have_locks_of_their_own(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE SCHEMA other")
    with (
        postgres_kit.opened(postgres_url, "t") as one,
        postgres_kit.opened(postgres_url, "u") as two,
        postgres_kit.opened(postgres_url, "t", schema="other") as three,
        postgres_kit.opened(postgres_url, "t", schema="public") as same,
        one.lock("1", 0),
        two.lock("2", 0),
        three.lock("3", 0),
    ):
        for target in (one, two, three):
            target.check_lock()
        with pytest.raises(errors.LockBusyError), same.lock("4", 0):
            pass


def test_lost_lock_is_noticed_before_a_publish(postgres_url):
    with postgres_kit.opened(postgres_url) as target, target.lock("run-x", 0):
        target.check_lock()
        postgres_kit.run_sql(
            postgres_url,
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            "SELECT pg_sleep(0.1)::text",
        )
        with pytest.raises(errors.LockLostError):
            target.check_lock()


def _hold(url: str, report: pipes.Connection) -> None:
    with postgres_kit.opened(url) as target, target.lock("in another process", 0):
        report.send("held")
        report.recv()


def test_lock_of_a_killed_process_is_free(postgres_url):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_hold, args=(postgres_url, theirs), daemon=True
    )
    process.start()
    assert ours.recv() == "held"
    with postgres_kit.opened(postgres_url) as target:
        with pytest.raises(errors.LockBusyError, match="in another process"), target.lock("2", 0):
            pass
        process.kill()
        process.join()
        with target.lock("2", 10):
            target.check_lock()


def test_stop_ends_the_wait_for_a_lock(postgres_url):
    with postgres_kit.opened(postgres_url) as first, first.lock("one", 0):
        connection = postgres_kit.connect(postgres_url)
        with connection.open_target("t") as second:
            timer = threading.Timer(0.3, connection.stop.set, [15])
            timer.start()
            with pytest.raises(errors.Stopped), second.lock("two", 30):
                pass
            timer.join()
