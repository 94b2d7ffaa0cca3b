"""Files in Cloud Storage for the Invoke tasks: keys and wheels, with a person's own login."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tmg_etl.storage import base, gcs

_RETRY_S = 60.0


def say(source: str, target: str) -> None:
    """Print a copy that is not made."""
    sys.stdout.write(f"gcloud storage cp {source} {target}\n")


def read(url: str) -> bytes:
    """Return the content of a file.

    Raises:
        errors.ConfigError: it is not there.
        errors.AccessError: it may not be read, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    with _opened() as store:
        return store.read(url)


def write_new(url: str, data: bytes) -> bool:
    """Write a file that must not be there yet; return False when it is.

    Raises:
        errors.ConfigError: there is no such bucket.
        errors.AccessError: it may not be written, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    with _opened() as store:
        # The emulators ignore the precondition, which is what makes this safe against a second one.
        if store.facts(url) is not None:
            return False
        try:
            store.write(url, data, expected=base.ABSENT)
        except base.ConflictError:
            return False
        return True


def names(url: str) -> list[str]:
    """Return the names of the files right below a folder, without it, in order.

    Raises:
        errors.ConfigError: there is no such bucket.
        errors.AccessError: it may not be listed, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    folder = f"{url.rstrip('/')}/"
    with _opened() as store:
        found = [facts.url.removeprefix(folder) for facts in store.list(folder)]
    return [name for name in found if name and "/" not in name]


def delete(url: str) -> None:
    """Remove a file; nothing happens when it is not there."""
    with _opened() as store:
        store.delete(url)


@contextlib.contextmanager
def _opened() -> Iterator[base.Store]:
    store = gcs.GoogleStore(deadline_s=_RETRY_S)
    try:
        yield store
    finally:
        store.close()
