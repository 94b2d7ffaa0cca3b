"""The lock of a table in a bucket: one object that is only changed by the generation that was seen.

See `lease` for what is written in it and when its holder counts as dead.
"""

from __future__ import annotations

from tmg_etl import errors
from tmg_etl.connectors import lease
from tmg_etl.storage import base as objects

_TURNS = 5


class ObjectRegister:
    """A `lease.Register` in an object.

    Args:
        store: of the object's scheme.
        url: of the object.
    """

    def __init__(self, store: objects.Store, url: str) -> None:
        self._store, self.url = store, url

    def create(self, record: str) -> str:
        """Write the record if there is none; return its token."""
        try:
            return self._write(record, objects.ABSENT)
        except objects.ConflictError as error:
            raise lease.HeldError from error

    def read(self) -> tuple[str, str] | None:
        """Return the record and its token, or None when there is none."""
        for _ in range(_TURNS):
            facts = self._store.facts(self.url)
            if facts is None:
                return None
            try:
                data = self._store.read(self.url, generation=facts.generation)
            except errors.TemporaryError:
                # Its holder renewed it between the two requests, or removed it.
                if self._store.facts(self.url) == facts:
                    raise
                continue
            return data.decode("utf-8", "replace"), facts.generation
        raise errors.TemporaryError(f"{self.url} changes faster than it can be read")

    def replace(self, record: str, token: str) -> str:
        """Overwrite the version `token`; return the new token."""
        try:
            return self._write(record, token)
        except objects.ConflictError as error:
            raise lease.LostError from error

    def remove(self, token: str) -> None:
        """Remove the version `token`."""
        try:
            if self._store.delete(self.url, generation=token):
                return
        except objects.ConflictError as error:
            raise lease.LostError from error
        raise lease.LostError

    def _write(self, record: str, expected: str) -> str:
        return self._store.write(self.url, record.encode(), expected=expected).generation
