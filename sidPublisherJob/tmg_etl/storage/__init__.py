"""Object stores: Cloud Storage and S3 behind one interface, and everything about Google's logins.

Belongs here: listing, reading, writing, copying and removing objects (`base.Store`), one module for
each store (`gcs`, `s3`), Google credentials and the meaning of Google's errors (`google`, which the
BigQuery connector uses too). Does not belong here: local files (`connectors.files`), formats, and
any knowledge of tables, configs or runs. The clients of Google and Amazon are imported when a store
is first used and in no other package, so that a run without a bucket needs neither.
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
) -> base.Store:
    """Return the store for a scheme or URL; nothing is contacted before its first use.

    Args:
        scheme_or_url: ``gs``, ``s3``, or a URL that starts with one of them.
        credentials: who to be. S3 takes its own from the environment, as every AWS tool does.

    Raises:
        errors.ConfigError: another scheme; or the store's client is not installed.
    """
    scheme = base.scheme_of(scheme_or_url) or scheme_or_url.lower()
    if scheme == "gs":
        from tmg_etl.storage import gcs

        return gcs.GoogleStore(credentials)
    if scheme == "s3":
        from tmg_etl.storage import s3

        return s3.S3Store(credentials)
    raise errors.ConfigError(
        f"found {errors.shorten(errors.redact(scheme_or_url))}, expected gs:// or s3://",
        hint="name a bucket of Cloud Storage or S3",
    )
