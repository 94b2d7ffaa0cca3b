"""One run as the ledger remembers it: a frozen value that knows no database."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping


class Status(enum.StrEnum):
    """What the ledger knows about a run; the ends of a run and two states beside them."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    ABANDONED = "abandoned"
    """It never wrote its end, and a later run of the same transfer found it dead."""


NOTHING = "none"
"""The `publish` of a run that had nothing to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One row of the ledger.

    Attributes:
        id: the run's id, at most 32 characters; ids sort by start time.
        transfer: name of the transfer.
        target: connection and table that it writes, as ``serving:dim_plane``.
        execution_date: the day that the run is for.
        window_start: first day of the window.
        window_end: last day of the window.
        write_mode: truncate, delta, or rollback.
        env: environment of the config.
        config_location: where the config was read from.
        config_digest: sha256 of its resolved values.
        pipeline: the class that ran, as ``module:Class``.
        version: version of this software.
        host: name of the machine or Pod.
        pid: process id on that host.
        started_at: aware UTC.
        status: a `Status`.
        finished_at: aware UTC; None while it runs. For an abandoned run, when it was found dead.
        exit_code: None while it runs and when it was abandoned.
        publish: swap, diff, merge, replace_window or none; None when it was not reached.
        publish_reason: why that kind was chosen.
        rows_read: rows from the source; None: not known. The same holds for the other counts.
        rows_inserted: rows new in the target.
        rows_updated: rows of the target that changed.
        rows_deleted: rows that left the target.
        rows_unchanged: rows that were equal already.
        bytes_read: bytes that came from the source, as its system counts them.
        fingerprint_source: what was sent.
        fingerprint_target: what the database holds.
        snapshot: the state of the source that was read.
        phase_seconds: seconds by phase.
        error: one line; None when there was none.
        cleanup_error: one line; None when there was none.
        previous_table: name under which the replaced table is kept; None: it is not.
        previous_fingerprint: what that table holds; None: not known.
        previous_expires_at: until when it is kept, aware UTC.
        job_ids: jobs that ran in the systems of source and target.
        warnings: what the result is to be read with, one line each.
    """

    id: str
    transfer: str
    target: str
    execution_date: datetime.date
    window_start: datetime.date
    window_end: datetime.date
    write_mode: str
    env: str
    config_location: str
    config_digest: str
    pipeline: str
    version: str
    host: str
    pid: int
    started_at: datetime.datetime
    status: str = Status.RUNNING
    finished_at: datetime.datetime | None = None
    exit_code: int | None = None
    publish: str | None = None
    publish_reason: str | None = None
    rows_read: int | None = None
    rows_inserted: int | None = None
    rows_updated: int | None = None
    rows_deleted: int | None = None
    rows_unchanged: int | None = None
    bytes_read: int | None = None
    fingerprint_source: str | None = None
    fingerprint_target: str | None = None
    snapshot: str | None = None
    phase_seconds: Mapping[str, float] | None = None
    error: str | None = None
    cleanup_error: str | None = None
    previous_table: str | None = None
    previous_fingerprint: str | None = None
    previous_expires_at: datetime.datetime | None = None
    job_ids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """Return the seconds from start to end; None while it runs or when it was abandoned."""
        if self.finished_at is None or self.status == Status.ABANDONED:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def rows_per_s(self) -> float | None:
        """Return rows read by second of the whole run; None when either is not known."""
        if not self.duration_s or self.rows_read is None:
            return None
        return self.rows_read / self.duration_s

    @property
    def is_verified(self) -> bool | None:
        """Return whether both fingerprints are equal; None when they were not taken."""
        if self.fingerprint_source is None or self.fingerprint_target is None:
            return None
        return self.fingerprint_source == self.fingerprint_target
