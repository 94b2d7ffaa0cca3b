"""The copy job that puts a shadow in the target's place.

It is atomic for readers, costs nothing, and the target stays the same table. What it is called is
written down before it is sent, so that whoever holds the lock next can wait for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import predecessor
from tmg_etl.connectors.bigquery import session as session_module


class Replacement:
    """One replacement of a target.

    Args:
        session: of the target.
        source: the shadow.
        target: what it replaces.
        note: writes into the lock what would be left if this process died.
        settle: forgets it.
    """

    def __init__(
        self,
        session: session_module.Session,
        source: bigquery.TableReference,
        target: bigquery.TableReference,
        note: Callable[[str], None],
        settle: Callable[[], None],
    ) -> None:
        self._session = session
        self._clients = session.clients
        self._source = source
        self._target = target
        self._note = note
        self._settle = settle

    def run(self, before: bigquery.Table | None) -> None:
        """Copy the shadow over the target; its note stays where the job may still be under way.

        Args:
            before: the target as it is; None when there is none yet.
        """
        config = self._config(before)

        def start(job_id: str) -> Any:
            self._note(predecessor.job_note(job_id, self._session.location))
            return self._clients.rest.copy_table(
                self._source,
                self._target,
                job_id=job_id,
                location=self._session.location,
                job_config=config,
                retry=self._clients.retry,
            )

        sent: list[Any] = []
        try:
            self._clients.run(
                "publish",
                start,
                subject=self._session.subject,
                location=self._session.location,
                on_start=sent.append,
            )
        except errors.TmgEtlError as error:
            was_refused = not sent and not isinstance(error, errors.TemporaryError)
            if was_refused or (sent and sent[0].state == "DONE"):
                self._settle()
            raise
        self._settle()

    def _config(self, before: bigquery.Table | None) -> bigquery.CopyJobConfig:
        config = bigquery.CopyJobConfig(
            labels=self._clients.labels,
            # A target that came or went meanwhile is somebody else's.
            write_disposition="WRITE_EMPTY" if before is None else "WRITE_TRUNCATE",
            create_disposition="CREATE_IF_NEEDED" if before is None else "CREATE_NEVER",
        )
        if before is not None and before.encryption_configuration is not None:
            config.destination_encryption_configuration = before.encryption_configuration
        return config
