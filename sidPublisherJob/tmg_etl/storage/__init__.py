"""Object stores: Cloud Storage and S3 behind one interface, and everything about Google's logins.

Belongs here: listing, reading, writing, copying and removing objects (`base.Store`), one module for
each store (`gcs`, `s3`), Google credentials and the meaning of Google's errors (`google`, which the
BigQuery connector uses too), and secrets of Secret Manager (`secret`). Does not belong here: local
files (`connectors.files`), formats, and any knowledge of tables, configs or runs. The clients of
Google and Amazon are imported when a store is first used and in no other package but the BigQuery
connector's, so that a run without a bucket needs neither.
"""

from __future__ import annotations

from tmg_etl import errors
from tmg_etl.storage import base

SCHEMES = ("gs", "s3")
"""The schemes that `open_store` knows."""


def is_object_url(url: str) -> bool:
    """Return whether `url` names something in an object store."""
    return base.scheme_of(url) in SCHEMES


def open_store(
    scheme_or_url: str,
    credentials: base.Credentials = base.Credentials(),  # noqa: B008 - frozen
    *,
    patience_s: float | None = None,
) -> base.Store:
    """Return the store for a scheme or URL; nothing is contacted before its first use.

    Args:
        scheme_or_url: ``gs``, ``s3``, or a URL that starts with one of them.
        credentials: who to be. S3 takes its own from the environment, as every AWS tool does.
        patience_s: how long a call is tried again after temporary failures; None (default) takes
            minutes, as a run may. S3 counts attempts instead: less than a minute are few.

    Raises:
        errors.ConfigError: another scheme; or the store's client is not installed.
    """
    scheme = base.scheme_of(scheme_or_url) or scheme_or_url.lower()
    if scheme == "gs":
        from tmg_etl.storage import gcs

        deadline_s = gcs.DEADLINE_S if patience_s is None else patience_s
        return gcs.GoogleStore(credentials, deadline_s=deadline_s)
    if scheme == "s3":
        from tmg_etl.storage import s3

        is_hasty = patience_s is not None and patience_s < 60
        return s3.S3Store(credentials, attempts=s3.FEW_ATTEMPTS if is_hasty else s3.ATTEMPTS)
    raise errors.ConfigError(
        f"found {errors.shorten(errors.redact(scheme_or_url))}, expected gs:// or s3://",
        hint="name a bucket of Cloud Storage or S3",
    )
