"""The life of a run: order of the hooks, failures, signals, lock and ledger."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tmg_etl
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model

DAY = datetime.date(2013, 1, 1)


def make_run() -> run_module.Run:
    declared = model.Transfer.model_validate(
        {
            "source": {"connection": "a", "table": "t"},
            "target": {"connection": "b", "table": "t"},
        }
    )
    return run_module.Run(
        id=run_module.new_run_id(),
        transfer_name="t",
        execution_date=DAY,
        window=run_module.Window(DAY, DAY),
        write_mode=run_module.WriteMode.TRUNCATE,
        transfer=declared,
        connections={},
    )


class Recorded(tmg_etl.TMGETL):
    """Writes down what was called; fails where it is told to."""

    def __init__(self, *, fails_in: str | None = None, recorder: Any = None) -> None:
        self.calls: list[str] = []
        self.fails_in = fails_in
        super().__init__(make_run(), lock=self.hold, recorder=recorder)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self.call("lock")
        yield
        self.call("unlock")

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_in:
            raise errors.DataError(f"{name} failed")

    def pre_execution_cleansing(self) -> None:
        self.call("cleansing")

    def pipeline(self) -> None:
        self.call("pipeline")
        self.result = tmg_etl.Result(rows_read=3)

    def post_execution_cleanup(self) -> None:
        self.call("cleanup")


class Recorder:
    """Writes into the pipeline's own list, so that the order shows."""

    def __init__(self) -> None:
        self.outcomes: list[run_module.Outcome] = []

    def started(self, run: run_module.Run, started_at: datetime.datetime) -> None:
        assert started_at.tzinfo is not None

    def finished(self, run: run_module.Run, outcome: run_module.Outcome) -> None:
        self.outcomes.append(outcome)


def test_hooks_run_in_order_within_the_lock() -> None:
    recorder = Recorder()
    pipeline = Recorded(recorder=recorder)
    outcome = pipeline.execute()
    assert pipeline.calls == ["lock", "cleansing", "pipeline", "cleanup", "unlock"]
    assert outcome.status is tmg_etl.Status.SUCCEEDED
    assert outcome.exit_code == 0
    assert outcome.result.rows_read == 3
    assert [closed.status for closed in recorder.outcomes] == [tmg_etl.Status.SUCCEEDED]


@pytest.mark.parametrize(
    ("fails_in", "calls"),
    [
        ("lock", ["lock"]),
        ("cleansing", ["lock", "cleansing", "cleanup", "unlock"]),
        ("pipeline", ["lock", "cleansing", "pipeline", "cleanup", "unlock"]),
    ],
)
def test_cleanup_runs_once_after_cleansing_began(fails_in: str, calls: list[str]) -> None:
    pipeline = Recorded(fails_in=fails_in)
    outcome = pipeline.execute()
    assert pipeline.calls == calls
    assert outcome.status is tmg_etl.Status.FAILED
    assert outcome.exit_code == 65
    assert str(outcome.error) == f"{fails_in} failed"


def test_a_failed_cleanup_is_reported_apart() -> None:
    outcome = Recorded(fails_in="cleanup").execute()
    assert outcome.status is tmg_etl.Status.SUCCEEDED
    assert outcome.exit_code == 0
    assert str(outcome.cleanup_error) == "cleanup failed"


def test_a_failed_cleanup_does_not_hide_the_error_of_the_work() -> None:
    class Broken(Recorded):
        def post_execution_cleanup(self) -> None:
            raise errors.TemporaryError("cleanup too")

    outcome = Broken(fails_in="pipeline").execute()
    assert str(outcome.error) == "pipeline failed"
    assert str(outcome.cleanup_error) == "cleanup too"
    assert outcome.exit_code == 65


def test_a_run_that_never_got_the_lock_is_in_the_ledger() -> None:
    recorder = Recorder()
    Recorded(fails_in="lock", recorder=recorder).execute()
    assert [str(closed.error) for closed in recorder.outcomes] == ["lock failed"]


def test_a_lock_that_cannot_be_given_back_does_not_undo_a_success() -> None:
    outcome = Recorded(fails_in="unlock").execute()
    assert outcome.status is tmg_etl.Status.SUCCEEDED
    assert str(outcome.cleanup_error) == "unlock failed"


@pytest.mark.parametrize("method", ["started", "finished"])
def test_a_lost_ledger_loses_neither_run_nor_cleanup(method: str) -> None:
    class Broken(Recorder):
        pass

    def fail(*arguments: object) -> None:
        raise errors.LedgerError("the ledger is gone")

    setattr(Broken, method, fail)
    pipeline = Recorded(recorder=Broken())
    outcome = pipeline.execute()
    assert "cleanup" in pipeline.calls
    assert outcome.exit_code == 0
    assert str(outcome.ledger_error) == "the ledger is gone"


def test_a_warning_is_logged_and_in_the_outcome(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Recorded(fails_in="pipeline")
    pipeline.run.warn("no rows\nat mysql://me:geheim@db/x")
    outcome = pipeline.execute()
    assert outcome.warnings == ("no rows at mysql://me:***@db/x",)
    assert outcome.warnings[0] in caplog.text


def test_a_bug_is_exit_code_70() -> None:
    class Buggy(Recorded):
        def pipeline(self) -> None:
            raise ZeroDivisionError

    assert Buggy().execute().exit_code == 70


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_at_the_next_batch_and_cleans_up(number: int, code: int) -> None:
    class Signalled(Recorded):
        def pipeline(self) -> None:
            self.call("pipeline")
            os.kill(os.getpid(), number)
            for _ in range(100):
                self.run.stop.check()
                time.sleep(0.01)

    before = signal.getsignal(number)
    pipeline = Signalled()
    outcome = pipeline.execute()
    assert pipeline.calls == ["lock", "cleansing", "pipeline", "cleanup", "unlock"]
    assert outcome.status is tmg_etl.Status.STOPPED
    assert outcome.exit_code == code
    assert signal.getsignal(number) is before


def test_a_signal_cancels_what_is_under_way() -> None:
    cancelled = threading.Event()

    class Waiting(Recorded):
        def pipeline(self) -> None:
            with self.run.stop.cancelling(cancelled.set):
                os.kill(os.getpid(), signal.SIGTERM)
                assert cancelled.wait(5)
                raise ConnectionError("the statement was cancelled")

    outcome = Waiting().execute()
    assert outcome.exit_code == 143
    assert isinstance(outcome.error.__cause__, ConnectionError)


def test_what_cancels_a_statement_does_not_come_late() -> None:
    """Else it would hit the next statement, which is one of the cleanup."""
    began, ended = threading.Event(), threading.Event()

    def cancel() -> None:
        began.set()
        time.sleep(0.2)
        ended.set()

    stop = run_module.StopFlag()
    with stop.cancelling(cancel):
        stop.set(signal.SIGTERM)
        assert began.wait(5)
    assert ended.is_set()
    later = threading.Event()
    with pytest.raises(errors.Stopped), stop.cancelling(later.set):
        pass
    assert not later.wait(0.05)


def test_execute_works_outside_the_main_thread() -> None:
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(Recorded().execute()))
    thread.start()
    thread.join()
    assert outcomes[0].exit_code == 0


def test_the_hooks_are_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        tmg_etl.TMGETL(make_run())  # type: ignore[abstract]


def test_a_window_that_ends_before_it_starts_is_a_usage_error() -> None:
    with pytest.raises(errors.UsageError, match="starts on 20130102 and ends on 20130101"):
        run_module.Window(datetime.date(2013, 1, 2), DAY)


def test_names_of_temporary_tables_fit_every_database() -> None:
    names = run_module.TemporaryNames(run_module.new_run_id())
    table = "ä" * 64
    assert len(names.table("shadow", table).encode()) <= 63
    assert names.table("shadow", table).startswith(names.prefix("shadow", table))
    assert names.prefix("shadow", table) != names.prefix("shadow", table + "x")
    assert names.prefix("shadow", table) != names.prefix("stage", table)


def test_run_ids_sort_by_time() -> None:
    moments = [datetime.datetime(2013, 1, day, tzinfo=datetime.UTC) for day in range(1, 10)]
    ids = [run_module.new_run_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("found x", hint="write y", where="config.yaml:3:a.b"),
        errors.ValueRejectedError("t", column="c", value="v", key={"id": 1}, reason="too long"),
        errors.LockBusyError("t", 2.0, "run 1"),
    ],
)
def test_errors_pickle_and_are_one_line(error: errors.TmgEtlError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.exit_code == error.exit_code
    assert "\n" not in str(error)


def test_no_password_of_a_url_reaches_a_message() -> None:
    text = "cannot reach mysql://user:s3cr3t/x@host:3306/db\nat all"
    assert str(errors.ConnectionLostError(text)) != text
    assert errors.redact("postgresql://u:pw@h/d") == "postgresql://u:***@h/d"
    assert "pw" not in str(errors.ConfigError("bad url postgresql://u:pw@h/d"))
