"""Statements of a target: DML and small queries, in one transaction where a block asks for it.

A transaction over several requests lives in a session of BigQuery. Its id is written into the lock
before anything is changed: a run that dies leaves the session open, and the next holder of the lock
ends it, which rolls back what was not committed.

Source: https://cloud.google.com/bigquery/docs/sessions-write-queries#multi_transactions
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module

_LOG = logging.getLogger("tmg_etl")

#: What BigQuery says when another statement changed the table meanwhile. It comes as a fault of the
#: query (400), and is none.
#: Source: https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
_CONFLICTS = ("concurrent update", "could not serialize", "concurrent transaction")
#: What it says while another statement of the session is under way.
#: Source: https://github.com/googleapis/nodejs-bigquery/issues/1220
_BUSY = "concurrent jobs in the same session"
#: Seconds in which that statement must have ended; a run that is stopped has hardly more.
_BUSY_S, _BUSY_POLL_S = 20.0, 0.5


class Session:
    """Runs the statements of one target.

    Args:
        clients: of the connection.
        dataset: where names without a dataset are.
        subject: the target, as messages name it.
    """

    def __init__(
        self, clients: client_module.Clients, dataset: bigquery.DatasetReference, subject: str
    ) -> None:
        self.clients = clients
        self.subject = subject
        self._dataset = dataset
        self._id: str | None = None
        self._location: str | None = None

    @property
    def location(self) -> str:
        """Return where the dataset is, and jobs on it must run.

        Raises:
            errors.ConfigError: there is no such dataset.
        """
        if self._location is None:
            found = self.clients.spec.location
            if not found:
                subject = f"dataset {self._dataset.project}.{self._dataset.dataset_id}"
                with self.clients.guarded(subject):
                    dataset = self.clients.rest.get_dataset(
                        self._dataset, retry=self.clients.contact
                    )
                found = str(dataset.location)
            self._location = found
        return self._location

    def know_location(self, location: str | None) -> None:
        """Take a location that was told with something else."""
        self._location = self._location or self.clients.spec.location or location

    @property
    def is_open(self) -> bool:
        """Return whether a transaction is under way."""
        return self._id is not None

    # --- statements -----------------------------------------------------------------------------

    def query(self, sql: str, purpose: str = "query", *, can_stop: bool = True) -> Any:
        """Run one statement to its end and return its job."""
        config = bigquery.QueryJobConfig(
            default_dataset=self._dataset,
            labels=self.clients.labels,
            use_query_cache=False,
        )
        if self.clients.spec.maximum_bytes_billed is not None:
            config.maximum_bytes_billed = self.clients.spec.maximum_bytes_billed
        if self._id is not None:
            config.connection_properties = [bigquery.ConnectionProperty("session_id", self._id)]
        return self._run(sql, config, purpose, can_stop=can_stop)

    def _run(
        self, sql: str, config: bigquery.QueryJobConfig, purpose: str, *, can_stop: bool = True
    ) -> Any:
        def start(job_id: str) -> Any:
            return self.clients.rest.query(
                sql,
                job_config=config,
                job_id=job_id,
                location=self.location,
                retry=self.clients.retry if can_stop else self.clients.contact,
                job_retry=None,
            )

        try:
            return self.clients.run(
                purpose, start, subject=self.subject, location=self.location, can_stop=can_stop
            )
        except errors.ConfigError as error:
            if any(text in str(error).lower() for text in _CONFLICTS):
                raise errors.TemporaryError(
                    f"{self.subject}: somebody else changed the table at the same time:"
                    f" {error.message}",
                    hint="nothing was published; run again",
                ) from error
            raise

    def touch(self, sql: str, purpose: str = "change") -> int:
        """Run a statement and return the rows it touched; 0 where it has none."""
        return int(self.query(sql, purpose).num_dml_affected_rows or 0)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        job = self.query(sql)
        with self.clients.guarded(self.subject):
            return [tuple(row.values()) for row in job.result(retry=self.clients.retry)]

    # --- transactions ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(
        self, note: Callable[[str], None], settle: Callable[[], None]
    ) -> Iterator[None]:
        """Run the statements of a block in one transaction.

        Args:
            note: writes down what would be left if this process died; called before any change.
            settle: forgets it: the session has ended.
        """
        begun = self._begin()
        try:
            note(begun)
            self._id = begun
            self.query("BEGIN TRANSACTION", "begin")
            yield
            self.clients.stop.check()
            self.query("COMMIT TRANSACTION", "commit")
        finally:
            self._id = None
            # Rolls back what is not committed. If it does not get through, the note stays.
            with contextlib.suppress(errors.TmgEtlError):
                self.end(begun)
                settle()

    def _begin(self) -> str:
        config = bigquery.QueryJobConfig(create_session=True, labels=self.clients.labels)
        job = self._run("SELECT 1", config, "session")
        return str(job.session_info.session_id)

    def end(self, session_id: str) -> None:
        """End a session; one that has ended already is no error.

        Raises:
            errors.TemporaryError: a statement of it goes on and on.
        """
        deadline = time.monotonic() + _BUSY_S
        while not self._has_ended(session_id):
            if time.monotonic() > deadline:
                raise errors.TemporaryError(
                    f"{self.subject}: a statement of a session that is to end is still under way",
                    hint="run again later",
                )
            time.sleep(_BUSY_POLL_S)

    def _has_ended(self, session_id: str) -> bool:
        """Try to end a session; return False while it is busy."""
        self._id = session_id
        try:
            self.query("CALL BQ.ABORT_SESSION()", "end", can_stop=False)
        except errors.TmgEtlError as error:
            text = str(error).replace(self.subject, "").replace(self.clients.place, "").lower()
            if _BUSY in text:
                return False
            # What BigQuery calls a session that has ended, or that never was.
            if not isinstance(error, errors.ConfigError) or "session" not in text:
                raise
        finally:
            self._id = None
        return True
