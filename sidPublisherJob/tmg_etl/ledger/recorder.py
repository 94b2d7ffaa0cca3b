"""Writes runs down as they happen: the `tmg_etl.run.Recorder` that the ledger offers."""

from __future__ import annotations

import dataclasses
import datetime
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from tmg_etl import __version__, errors
from tmg_etl import run as run_module
from tmg_etl.ledger import record, writer

if TYPE_CHECKING:
    from tmg_etl.ledger import store


class LedgerRecorder:
    """Opens the ledger when a run begins, and closes it when the run ends.

    Args:
        url: the ledger's database; see `store.open`.
        redact: removes secrets from the text of errors; None removes passwords of URLs only.
    """

    def __init__(self, url: str, redact: Callable[[str], str] | None = None) -> None:
        self._url = url
        self._writer = writer.Writer(url)
        self._redact = redact or errors.redact
        self._ledger: store.Ledger | None = None
        self._started: dict[str, record.Record] = {}

    def started(self, run: run_module.Run, started_at: datetime.datetime) -> None:
        """Write the row of a run that begins, and mark dead runs of its transfer as abandoned.

        Raises:
            errors.ConfigError: the ledger's URL or version is wrong.
            errors.LedgerError: the ledger cannot be written.
        """
        row = _begin(run, started_at)
        for dead in self._writer.begin(row):
            run.logger.warning("the run %s ended without a word; marked as abandoned", dead)
        self._started[run.id] = row

    def finished(self, run: run_module.Run, outcome: run_module.Outcome) -> None:
        """Close the row of a run that ended.

        Raises:
            errors.LedgerError: the ledger cannot be written.
        """
        row = self._started.pop(run.id, None) or _begin(run, outcome.started_at)
        result = outcome.result
        ended = dataclasses.replace(
            row,
            status=outcome.status.value,
            finished_at=outcome.finished_at,
            exit_code=outcome.exit_code,
            publish=result.publish,
            publish_reason=result.publish_reason,
            rows_read=result.rows_read,
            rows_inserted=result.rows_inserted,
            rows_updated=result.rows_updated,
            rows_deleted=result.rows_deleted,
            rows_unchanged=result.rows_unchanged,
            bytes_read=result.bytes_read,
            job_ids=tuple(result.job_ids),
            fingerprint_source=_text(result.fingerprint_source),
            fingerprint_target=_text(result.fingerprint_target),
            snapshot=_text(result.snapshot),
            phase_seconds=dict(result.phase_seconds),
            warnings=tuple(map(self._redact, outcome.warnings)),
            error=self._line(outcome.error),
            cleanup_error=self._line(outcome.cleanup_error),
            previous_table=result.previous_table,
            previous_fingerprint=result.previous_fingerprint,
            previous_expires_at=result.previous_expires_at,
        )
        try:
            self._writer.finish(ended)
        finally:
            if not self._started:
                self.close()

    def published(self, run: run_module.Run, snapshot: str) -> str | None:
        """Return the id of the last run on the target of `run`, if that published the same.

        Raises:
            errors.LedgerError: the ledger cannot be read.
        """
        own = self._started.get(run.id)
        last = self._open().last_writer(own) if own is not None else None
        if own is None or last is None or last.finished_at is None:
            return None
        same = ["transfer", "write_mode", "config_digest", "pipeline", "version"]
        if run.write_mode is run_module.WriteMode.DELTA:
            same += ["window_start", "window_end"]
        is_same = all(getattr(last, name) == getattr(own, name) for name in same)
        is_proved = bool(last.is_verified) and (
            run.transfer.verify != "fingerprint" or "0x" in str(last.fingerprint_target)
        )
        has_ended_well = last.status == record.Status.SUCCEEDED and last.cleanup_error is None
        is_unchanged = is_same and is_proved and has_ended_well and last.snapshot == snapshot
        return last.id if is_unchanged else None

    def close(self) -> None:
        """Close the ledger; harmless when called again."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _open(self) -> store.Ledger:
        if self._ledger is None:
            # To read takes SQLAlchemy, which a run that only writes does not import.
            from tmg_etl.ledger import store

            self._ledger = store.open(self._url)
        return self._ledger

    def _line(self, error: BaseException | None) -> str | None:
        if error is None:
            return None
        text = str(error)
        if not isinstance(error, errors.TmgEtlError | errors.Stopped):
            # A bug: its type is half of what it says.
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return errors.one_line(self._redact(text))


def _begin(run: run_module.Run, started_at: datetime.datetime) -> record.Record:
    target = run.transfer.target
    return record.Record(
        id=run.id,
        transfer=run.transfer_name,
        target=f"{target.connection}:{target.table}",
        execution_date=run.execution_date,
        window_start=run.window.start,
        window_end=run.window.end,
        write_mode="rollback" if run.is_rollback else run.write_mode.value,
        env=run.env,
        config_location=run.config_location,
        config_digest=run.config_digest,
        pipeline=run.pipeline_path,
        version=__version__.__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=started_at,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
