"""What somebody probably meant who named a bucket or object that is not there."""

from __future__ import annotations

import difflib
import itertools
import os
from typing import TYPE_CHECKING, Any

from tmg_etl import errors
from tmg_etl.storage import base

if TYPE_CHECKING:
    import google.cloud.storage as storage

_LOOKED_AT = 1000
_TIMEOUT_S = 10.0


def object_hint(store: base.Store, url: str) -> str:
    """Return the closest name in the object's folder; looks at a thousand names at most."""
    folder = url[: url.rindex("/") + 1]
    try:
        found = [item.url for item in itertools.islice(store.list(folder), _LOOKED_AT)]
    except errors.TmgEtlError:
        return "check its name"
    close = difflib.get_close_matches(url, found, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return "check its name" if found else f"nothing is in {folder}: check the path"


def bucket_hint(client: storage.Client, login: Any, name: str) -> str:
    """Return the closest bucket of the login's project, if it may list them."""
    project = getattr(login, "project_id", None) or os.environ.get("GOOGLE_CLOUD_PROJECT")
    hint = "check its name"
    if not project:
        return hint
    try:
        pages = client.list_buckets(
            project=project,
            max_results=_LOOKED_AT,
            fields="items(name),nextPageToken",
            retry=None,
            timeout=_TIMEOUT_S,
        )
        close = difflib.get_close_matches(name, [item.name for item in pages], n=1, cutoff=0.6)
    except Exception:  # noqa: BLE001 - the right to list buckets is rare, and a hint is no duty
        return hint
    return f"did you mean gs://{close[0]}?" if close else hint
