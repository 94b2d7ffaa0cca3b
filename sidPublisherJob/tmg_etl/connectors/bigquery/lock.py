"""The lock of a target: a small table beside it, whose description is the record of a lease.

``tables.insert`` creates it or says that it is there; ``tables.patch`` with ``If-Match`` changes
the version that was seen and no other. Both are atomic.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import time

from google.api_core import exceptions
from google.cloud import bigquery

from tmg_etl.connectors import lease
from tmg_etl.connectors.bigquery import client as client_module
from tmg_etl.storage import google

#: The table goes away by itself if no run ever comes back; far beyond the length of any run.
_EXPIRES = datetime.timedelta(days=7)
_RELEASED = "released"
#: Seconds for one answer: a call that hangs must not outlast the lease that it renews.
_CALL_S = 10.0
#: A deletion that is not through by then is left out: a waiting run may have taken the lock over.
_DELETION_S = 10.0
#: A change that is not older needs no other before the deletion; both are far below `lease.TTL_S`.
_RECENT_S = 5.0


def table_of(target: bigquery.TableReference) -> bigquery.TableReference:
    """Return the lock table of a target."""
    digest = hashlib.sha256(target.table_id.encode()).hexdigest()[:12]
    dataset = bigquery.DatasetReference(target.project, target.dataset_id)
    return dataset.table(f"_tmg_lock_{digest}")


class TableRegister:
    """The record of one target's lease.

    Args:
        clients: of the connection.
        target: what is locked.
    """

    def __init__(self, clients: client_module.Clients, target: bigquery.TableReference) -> None:
        self._clients = clients
        self._reference = table_of(target)
        self._token, self._changed_at = "", 0.0
        self._subject = f"the lock of {target.dataset_id}.{target.table_id}"

    def create(self, record: str) -> str:
        """Create the table with the record."""
        table = bigquery.Table(self._reference)
        table.description = record
        table.expires = datetime.datetime.now(datetime.UTC) + _EXPIRES
        made = None
        with self._clients.guarded(self._subject), contextlib.suppress(exceptions.Conflict):
            made = self._clients.rest.create_table(
                table, retry=self._clients.contact, timeout=_CALL_S
            )
        if made is None:
            raise lease.HeldError
        return self._changed(made)

    def read(self) -> tuple[str, str] | None:
        """Return the record and the table's etag."""
        found = None
        with self._clients.guarded(self._subject), contextlib.suppress(exceptions.NotFound):
            found = self._clients.rest.get_table(
                self._reference, retry=self._clients.contact, timeout=_CALL_S
            )
        return None if found is None else (str(found.description or ""), str(found.etag))

    def replace(self, record: str, token: str) -> str:
        """Change the description if the table is of that etag."""
        table = bigquery.Table.from_api_repr(
            {"tableReference": self._reference.to_api_repr(), "etag": token}
        )
        table.description = record
        changed, lost = None, (exceptions.PreconditionFailed, exceptions.NotFound)
        with self._clients.guarded(self._subject), contextlib.suppress(*lost):
            # The client sends the table's etag as If-Match.
            changed = self._clients.rest.update_table(
                table, ["description"], retry=self._clients.contact, timeout=_CALL_S
            )
        if changed is None:
            raise lease.LostError
        return self._changed(changed)

    def _changed(self, table: bigquery.Table) -> str:
        self._token, self._changed_at = str(table.etag), time.monotonic()
        return self._token

    def remove(self, token: str) -> None:
        """Delete the table.

        ``tables.delete`` takes no etag. The last change before it was made under one, not long ago,
        and no other run takes the lock over for much longer than the deletion is tried.
        """
        if token != self._token or time.monotonic() - self._changed_at > _RECENT_S:
            self.replace(_RELEASED, token)
        with self._clients.guarded(self._subject):
            self._clients.rest.delete_table(
                self._reference,
                retry=google.retry(0.0),
                timeout=_DELETION_S,
                not_found_ok=True,
            )
