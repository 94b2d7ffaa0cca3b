"""The frozen values of one execution: `Window`, `Run`, `Outcome`, and the two doors to the outside.

No I/O here. `Progress` and `Recorder` are protocols, so that
this layer knows neither terminals nor databases.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from tmg_etl import errors

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.connectors import base


class WriteMode(enum.StrEnum):
    """How rows reach the target: all of it, or the window's."""

    TRUNCATE = "truncate"
    DELTA = "delta"


@dataclasses.dataclass(frozen=True)
class Window:
    """The closed day interval [start, end]; both are days in UTC."""

    start: datetime.date
    end: datetime.date

    def __post_init__(self) -> None:
        """Refuse a window that ends before it starts."""
        if self.start > self.end:
            raise errors.UsageError(
                f"the window starts on {self.start:%Y%m%d} and ends on {self.end:%Y%m%d}",
                hint="--delta_start_date must not be after EXECUTION_DATE",
            )

    def __str__(self) -> str:
        """Return the window as people read it."""
        if self.start == self.end:
            return f"{self.start}"
        return f"{self.start} to {self.end}"


#: Warnings that a result keeps, and characters of each: together they fit the ledger's column,
#: however many a pipeline of one's own has.
MOST_WARNINGS = 20
_WARNING_LENGTH = 500


class Phase(enum.StrEnum):
    """The phases that feedback and the ledger name."""

    READ = "read"
    LOAD = "load"
    INDEX = "index"
    VERIFY = "verify"
    PUBLISH = "publish"


#: Beside the phases of a run, the seconds that it waited for the lock of its target.
WAIT = "wait"


class Progress(Protocol):
    """Where a run says how far it is."""

    def begin(self, phase: Phase, total_rows: int | None = None) -> None:
        """Start or resume a phase; `total_rows` None means that the total is not known."""

    def advance(self, phase: Phase, rows: int) -> None:
        """Count `rows` more in a phase."""

    def end(self, phase: Phase) -> None:
        """Close a phase; its rows and seconds are final."""


class StopFlag:
    """Set by a signal, read at every batch.

    A long statement in a database does not read flags: connectors register a callback that cancels
    what their server is doing, and the flag calls it when it is set.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._cancellers: list[Callable[[], None]] = []
        # Of the same thread again: what cancels may send a statement of its own.
        self._guard = threading.RLock()

    @property
    def is_set(self) -> bool:
        """Return whether a signal has asked to stop."""
        return self.signal_number is not None

    def set(self, signal_number: int) -> None:
        """Remember the first signal that asked to stop and cancel what is under way.

        The callbacks run in a thread of their own: a signal handler interrupts the very code that
        holds the connection's locks.
        """
        if self.signal_number is None:
            self.signal_number = signal_number
            threading.Thread(target=self._cancel, name="tmg-etl-cancel", daemon=True).start()

    def _cancel(self) -> None:
        with self._guard:
            for cancel in list(self._cancellers):
                # A statement that ended meanwhile cannot be cancelled; the flag still stops the
                # run.
                with contextlib.suppress(Exception):
                    cancel()

    @contextlib.contextmanager
    def cancelling(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` called, from another thread, if the stop comes within the block.

        It is not called after the block: where it is under way at its end, that is waited for. A
        late one would hit the next statement on the same connection, which is the cleanup's.
        """
        self.check()
        self._cancellers.append(cancel)
        try:
            yield
        finally:
            with self._guard:
                self._cancellers.remove(cancel)

    def check(self) -> None:
        """Raise `errors.Stopped` if a signal has asked to stop."""
        if self.signal_number is not None:
            raise errors.Stopped(self.signal_number)


class SilentProgress:
    """A `Progress` that says nothing."""

    def begin(self, phase: Phase, total_rows: int | None = None) -> None:
        """Say nothing."""

    def advance(self, phase: Phase, rows: int) -> None:
        """Say nothing."""

    def end(self, phase: Phase) -> None:
        """Say nothing."""


def new_run_id(now: datetime.datetime | None = None) -> str:
    """Return a run id: 26 characters ``[0-9a-z]`` that sort by start time.

    Args:
        now: an aware instant; None takes the clock.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    return f"{moment:%Y%m%d%H%M%S}{secrets.token_hex(6)}"


@dataclasses.dataclass(frozen=True)
class TemporaryNames:
    """Names for temporary tables of one run, recognisable by the next one.

    A name is ``_tmg_<kind>_<hash of the table>_<id of the run>``: at most 63 bytes whatever the
    table's name is, and all leftovers of dead runs on one table share `prefix`.
    """

    run_id: str

    def prefix(self, kind: str, table: str) -> str:
        """Return what the names of `kind` for `table` start with, in every run."""
        digest = hashlib.sha256(table.encode()).hexdigest()[:12]
        return f"_tmg_{kind}_{digest}_"

    def table(self, kind: str, table: str) -> str:
        """Return this run's name for a temporary table of `kind` beside `table`."""
        return f"{self.prefix(kind, table)}{self.run_id}"

    @staticmethod
    def owner(name: str) -> str:
        """Return the id of the run that a name belongs to."""
        return name.rpartition("_")[2]


def started_at(run_id: str) -> datetime.datetime | None:
    """Return when a run began, by its id, as aware UTC to the second; None for a foreign id."""
    try:
        return datetime.datetime.strptime(f"{run_id[:14]}+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None


@dataclasses.dataclass(frozen=True)
class Run:
    """One execution of one pipeline.

    Attributes:
        id: unique, sortable by time; see `new_run_id`.
        transfer_name: the name given on the command line.
        execution_date: the day the run is for, not the day it happens on.
        window: the days a delta reads and merges.
        write_mode: truncate or delta.
        transfer: the declared transfer.
        connections: the named systems of the config, opened on demand.
        names: names for temporary tables.
        stop: raise-if-set flag, checked at every batch.
        progress: where to report rows.
        logger: a logger whose records carry the run id.
        config_location: where the config came from, as given.
        config_digest: sha256 of the resolved config.
        env: name of the environment.
        pipeline_path: class that runs, as module:Class.
        is_rollback: it puts an earlier table back instead of reading the source.
        group: the publish group that it is part of; None: it runs alone.
        step_id: what names of temporary and kept tables end with: the id of the group's first run;
            empty: its own id.
        warnings: what `warn` was told.
    """

    id: str
    transfer_name: str
    execution_date: datetime.date
    window: Window
    write_mode: WriteMode
    transfer: model.Transfer
    connections: Mapping[str, base.Connection]
    stop: StopFlag = dataclasses.field(default_factory=StopFlag)
    progress: Progress = dataclasses.field(default_factory=SilentProgress)
    logger: logging.Logger = dataclasses.field(default_factory=lambda: logging.getLogger("tmg_etl"))
    config_location: str = ""
    config_digest: str = ""
    env: str = "local"
    pipeline_path: str = ""
    is_rollback: bool = False
    group: str | None = None
    step_id: str = ""
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        """Say what the result is to be read with: in the log, the summary and the ledger.

        Args:
            text: one sentence. All are logged, and the first ones kept.
        """
        line = errors.one_line(text)
        self.logger.warning("%s", line)
        if len(self.warnings) < MOST_WARNINGS - 1:
            self.warnings.append(line[:_WARNING_LENGTH])
        elif len(self.warnings) < MOST_WARNINGS:
            self.warnings.append("there are more warnings in the log")

    @property
    def names(self) -> TemporaryNames:
        """Return the names for this run's temporary tables, and for those that it keeps."""
        return TemporaryNames(self.step_id or self.id)

    @contextlib.contextmanager
    def phase(self, phase: Phase, total_rows: int | None = None) -> Iterator[None]:
        """Report a phase for the length of a ``with`` block."""
        self.progress.begin(phase, total_rows)
        try:
            yield
        finally:
            self.progress.end(phase)


class Status(enum.StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a pipeline did, in rows; None means that it does not know.

    Attributes:
        rows_read: rows that came from the source.
        rows_inserted: rows that are new in the target.
        rows_updated: rows of the target that changed.
        rows_deleted: rows that left the target.
        rows_unchanged: rows that were already equal.
        publish: swap, diff, merge, replace_window, rollback, or none.
        publish_reason: why that kind was chosen.
        fingerprint_source: what was sent.
        fingerprint_target: what the database holds.
        snapshot: the source state that was read, as the connector describes it.
        phase_seconds: seconds by phase; with `WAIT` where the lock was waited for.
        bytes_read: bytes that came from the source, as its system counts them.
        job_ids: jobs that ran in the systems of source and target.
        previous_table: name under which the replaced table is kept; None: it is not.
        previous_fingerprint: what it holds.
        previous_expires_at: until when it is kept, aware UTC.
    """

    rows_read: int | None = None
    rows_inserted: int | None = None
    rows_updated: int | None = None
    rows_deleted: int | None = None
    rows_unchanged: int | None = None
    publish: str | None = None
    publish_reason: str | None = None
    fingerprint_source: str | None = None
    fingerprint_target: str | None = None
    snapshot: str | None = None
    phase_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bytes_read: int | None = None
    job_ids: tuple[str, ...] = ()
    previous_table: str | None = None
    previous_fingerprint: str | None = None
    previous_expires_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended; produced once, by `tmg_etl.etl.TMGETL.execute`.

    Attributes:
        status: succeeded, failed or stopped.
        result: what the pipeline did; empty when it did not get that far.
        error: why it failed or stopped; None on success.
        cleanup_error: why `post_execution_cleanup` failed; never changes `status`.
        ledger_error: why the ledger could not be written; never changes `status`.
        started_at: aware UTC.
        finished_at: aware UTC.
        warnings: what the result is to be read with; see `Run.warn`.
    """

    status: Status
    result: Result
    error: BaseException | None
    cleanup_error: BaseException | None
    ledger_error: BaseException | None
    started_at: datetime.datetime
    finished_at: datetime.datetime
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return the process exit code that stands for this outcome."""
        return errors.exit_code_of(self.error)

    @property
    def duration_s(self) -> float:
        """Return the seconds from start to finish."""
        return (self.finished_at - self.started_at).total_seconds()


class Recorder(Protocol):
    """Where runs are written down; the ledger implements it."""

    def started(self, run: Run, started_at: datetime.datetime) -> None:
        """Write the row of a run that begins."""

    def finished(self, run: Run, outcome: Outcome) -> None:
        """Close the row of a run that ended."""

    def published(self, run: Run, snapshot: str) -> str | None:
        """Return the id of the last run on the target of `run`, if that published the same.

        The same is: this state of the source, by the same config, class, mode and software, proved
        at least as `run` would prove it. None in any doubt.
        """


class NullRecorder:
    """A `Recorder` that remembers nothing."""

    def started(self, run: Run, started_at: datetime.datetime) -> None:
        """Remember nothing."""

    def finished(self, run: Run, outcome: Outcome) -> None:
        """Remember nothing."""

    def published(self, run: Run, snapshot: str) -> str | None:
        """Know of no other run."""
        return None
