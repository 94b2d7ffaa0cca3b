"""`TMGETL`, the base class of every pipeline: three hooks to fill in, one final `execute`.

Knows the life of a run and nothing of databases, configs or terminals: the lock and the ledger are
handed in by whoever starts the run.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import logging
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import final

from tmg_etl import errors
from tmg_etl import run as run_module

#: Seconds of waiting for the lock from which on they are written down.
_NOTED_WAIT_S = 1.0


class TMGETL(abc.ABC):
    """A pipeline: subclass it and fill in the three hooks.

    The life of a run, in this order: the lock on the target is taken; the run is written to the
    ledger; `pre_execution_cleansing`; `pipeline`; `post_execution_cleanup`; the ledger row is
    closed; the lock is released.

    - If the lock cannot be had, no hook is called.
    - Once `pre_execution_cleansing` has begun, `post_execution_cleanup` runs exactly once, also
      after a failure and after SIGTERM or SIGINT.
    - A failure of the cleanup neither hides the error of the work nor fails a run that succeeded:
      it is `Outcome.cleanup_error`.

    Args:
        run: what to execute.
        lock: returns a context manager that holds the target; None locks nothing.
        recorder: where the run is written down; None writes nothing.

    Attributes:
        run: date, window, write mode, transfer, connections, temporary names, stop flag, progress,
            and `warn`, for what has to be in the summary.
        logger: a logger whose records carry the run.
        result: what the pipeline did; a pipeline assigns it, and it ends up in the `Outcome`.
    """

    def __init__(
        self,
        run: run_module.Run,
        *,
        lock: Callable[[], AbstractContextManager[object]] | None = None,
        recorder: run_module.Recorder | None = None,
    ) -> None:
        self.run = run
        self.logger: logging.Logger = run.logger
        self.result = run_module.Result()
        self._lock = lock or contextlib.nullcontext
        self._recorder = recorder or run_module.NullRecorder()
        self._waited_s = 0.0

    @abc.abstractmethod
    def pre_execution_cleansing(self) -> None:
        """Make the run idempotent: remove what earlier runs of the same input left.

        Called by `execute`, first of the hooks. After it, running `pipeline` must give the same
        target whether or not it ran before, and however an earlier run ended.
        """

    @abc.abstractmethod
    def pipeline(self) -> None:
        """Do the work; keep it short and put business logic into classes of its own.

        Called by `execute` after `pre_execution_cleansing` succeeded. Call
        ``self.run.stop.check()`` between batches, so that a stop is orderly. Assign
        ``self.result`` to have rows reported.
        """

    @abc.abstractmethod
    def post_execution_cleanup(self) -> None:
        """Remove every temporary resource of this run, whether it succeeded or not.

        Called by `execute` exactly once after `pre_execution_cleansing` began. May find nothing to
        remove.
        """

    def exclusive(self) -> AbstractContextManager[object]:
        """Return what holds the target for the length of the run; the `lock` given at the start.

        A subclass that opens its own target may hold that instead.
        """
        return self._lock()

    @final
    def execute(self) -> run_module.Outcome:
        """Run the pipeline and return how it ended; never raises for what the pipeline did.

        Signals: SIGTERM and SIGINT set the stop flag for the length of the call when it is made in
        the main thread; the run stops at the next batch and cleans up.
        """
        started_at = _now()
        began = time.monotonic()
        outcome: run_module.Outcome | None = None
        with _stop_on_signal(self.run.stop):
            try:
                with self.exclusive():
                    self._waited_s = time.monotonic() - began
                    outcome = self._execute_locked(started_at)
            except BaseException as caught:  # noqa: BLE001 - the outcome carries it
                if outcome is not None:
                    # The lock could not be given back; what was published stays published.
                    return dataclasses.replace(
                        outcome, cleanup_error=outcome.cleanup_error or caught
                    )
                # The lock could not be taken: no hook was called, and the ledger still says so.
                outcome = self._closed(
                    self._outcome(started_at, self._stopped_or(caught), None, None)
                )
        return outcome

    @final
    def forgo(self, error: BaseException) -> run_module.Outcome:
        """Write down that the run will not begin, and why; no hook is called."""
        return self._closed(self._outcome(_now(), error, None, None))

    def _execute_locked(self, started_at: datetime.datetime) -> run_module.Outcome:
        ledger_error = self._record(lambda: self._recorder.started(self.run, started_at))
        error, cleanup_error = self._work()
        outcome = self._outcome(started_at, error, cleanup_error, ledger_error)
        # One warning about a lost ledger is enough.
        return outcome if ledger_error is not None else self._closed(outcome)

    def _closed(self, outcome: run_module.Outcome) -> run_module.Outcome:
        """Write the end of the run to the ledger."""
        ledger_error = self._record(lambda: self._recorder.finished(self.run, outcome))
        return dataclasses.replace(outcome, ledger_error=ledger_error)

    def _work(self) -> tuple[BaseException | None, BaseException | None]:
        error: BaseException | None = None
        cleanup_error: BaseException | None = None
        try:
            self.run.stop.check()
            try:
                self.pre_execution_cleansing()
                self.run.stop.check()
                self.pipeline()
            finally:
                cleanup_error = self._cleanup()
        except BaseException as caught:  # noqa: BLE001 - the outcome carries it
            error = self._stopped_or(caught)
        return error, cleanup_error

    def _cleanup(self) -> BaseException | None:
        try:
            self.post_execution_cleanup()
        except BaseException as caught:  # noqa: BLE001 - reported apart from the work's error
            self.logger.error(
                "the cleanup failed: %s", errors.one_line(str(caught) or repr(caught))
            )
            return caught
        return None

    def _record(self, write: Callable[[], None]) -> BaseException | None:
        try:
            write()
        except Exception as caught:  # noqa: BLE001 - a lost ledger must not lose the run
            self.logger.warning(
                "the ledger could not be written: %s", errors.one_line(str(caught) or repr(caught))
            )
            return caught
        return None

    def _stopped_or(self, error: BaseException) -> BaseException:
        """Return the stop where a cancelled statement failed because of it, else `error`."""
        signal_number = self.run.stop.signal_number
        if signal_number is None or isinstance(error, errors.Stopped):
            return error
        stopped = errors.Stopped(signal_number)
        stopped.__cause__ = error
        return stopped

    def _outcome(
        self,
        started_at: datetime.datetime,
        error: BaseException | None,
        cleanup_error: BaseException | None,
        ledger_error: BaseException | None,
    ) -> run_module.Outcome:
        if error is None:
            status = run_module.Status.SUCCEEDED
        elif isinstance(error, errors.Stopped | KeyboardInterrupt):
            status = run_module.Status.STOPPED
        else:
            status = run_module.Status.FAILED
        result = self.result
        if self._waited_s >= _NOTED_WAIT_S:
            seconds = {**result.phase_seconds, run_module.WAIT: self._waited_s}
            result = dataclasses.replace(result, phase_seconds=seconds)
        return run_module.Outcome(
            status=status,
            result=result,
            error=error,
            cleanup_error=cleanup_error,
            ledger_error=ledger_error,
            started_at=started_at,
            finished_at=_now(),
            warnings=tuple(self.run.warnings),
        )


@contextlib.contextmanager
def _stop_on_signal(stop: run_module.StopFlag) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT for the length of the block."""
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only; a pipeline run elsewhere is stopped by
        # whoever owns that thread.
        yield
        return

    def handle(number: int, frame: types.FrameType | None) -> None:
        stop.set(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
