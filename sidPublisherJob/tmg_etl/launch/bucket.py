"""Files in Cloud Storage, by Google's own client. `STORAGE_EMULATOR_HOST` names another server."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from tmg_etl import errors

if TYPE_CHECKING:
    from google.cloud import storage

_RETRY_S = 60


def split(url: str) -> tuple[str, str]:
    """Return bucket and name of ``gs://bucket/name``; the name may be empty."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return bucket, name


def say(source: str, target: str) -> None:
    """Print a copy that is not made."""
    sys.stdout.write(f"gcloud storage cp {source} {target}\n")


def read(url: str) -> bytes:
    """Return the content of a file.

    Raises:
        errors.AccessError: it is not there or may not be read, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    return bytes(_try(url, lambda blob: blob.download_as_bytes(retry=_retry())))


def write_new(url: str, data: bytes) -> bool:
    """Write a file that must not be there yet; return False when it is.

    Raises:
        errors.AccessError: it may not be written, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    from google.api_core import exceptions

    def upload(blob: storage.Blob) -> bool:
        # The emulators ignore the precondition, which is what makes this safe against a second one.
        if blob.exists(retry=_retry()):
            return False
        try:
            blob.upload_from_string(
                data, "application/octet-stream", if_generation_match=0, retry=_retry()
            )
        except exceptions.PreconditionFailed:
            return False
        return True

    return bool(_try(url, upload))


def names(url: str) -> list[str]:
    """Return the names of the files right below a folder, without it, in order.

    Raises:
        errors.AccessError: it may not be listed, or nobody is logged in.
        errors.TemporaryError: Cloud Storage cannot be reached.
    """
    prefix = split(url)[1].rstrip("/") + "/"
    prefix = "" if prefix == "/" else prefix

    def listed(blob: storage.Blob) -> list[str]:
        found = blob.client.list_blobs(blob.bucket, prefix=prefix, delimiter="/", retry=_retry())
        return sorted(item.name.removeprefix(prefix) for item in found)

    return list(_try(f"{url.rstrip('/')}/", listed))


def delete(url: str) -> None:
    """Remove a file; nothing happens when it is not there."""
    from google.api_core import exceptions

    def remove(blob: storage.Blob) -> None:
        try:
            blob.delete(retry=_retry())
        except exceptions.NotFound:
            return

    _try(url, remove)


def _retry() -> Any:
    from google.cloud.storage import retry

    return retry.DEFAULT_RETRY.with_timeout(_RETRY_S)


def _try(url: str, work: Any) -> Any:
    """Return what `work` makes of the file's handle; word what goes wrong."""
    try:
        import requests
        from google.api_core import exceptions
        from google.auth import exceptions as login
    except ModuleNotFoundError as missing:
        raise errors.ConfigError(
            f"the Python package {missing.name} is not installed",
            hint="pip install --require-hashes -r sidPublisherJob/dev-requirements.txt",
        ) from None
    try:
        return work(_blob(url))
    except exceptions.NotFound:
        raise errors.AccessError(f"{url} is not there", hint="check its name and bucket") from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        hint = "ask for the right to read and write the bucket"
        raise errors.AccessError(f"{url}: {error.message}", hint=hint) from None
    except login.GoogleAuthError as error:
        hint = "log in with `gcloud auth application-default login`"
        raise errors.AccessError(f"{url}: {error}", hint=hint) from None
    except (
        exceptions.GoogleAPICallError,
        exceptions.RetryError,
        requests.RequestException,
    ) as error:
        raise errors.TemporaryError(f"{url}: {error}", hint="try again later") from None


def _blob(url: str) -> storage.Blob:
    from google.auth import credentials
    from google.cloud import storage

    bucket, name = split(url)
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        anonymous = credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = storage.Client(project="test", credentials=anonymous)
    else:
        client = storage.Client()
    return client.bucket(bucket).blob(name)
