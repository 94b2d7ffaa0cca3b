"""Secrets of Google's Secret Manager, by its REST API and the login that all of Google gets.

One call needs no client library of its own.

Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import base64
import binascii
import re

from tmg_etl import errors
from tmg_etl.storage import google

NAME = re.compile(
    r"projects/(?P<project>[a-z0-9:.-]+)"
    r"(?:/locations/(?P<location>[a-z0-9-]+))?"
    r"/secrets/[A-Za-z0-9_-]+(?P<version>/versions/[A-Za-z0-9_-]+)?"
)
"""``projects/P/secrets/N``; regional ones with a location; a version, or the latest."""

ENDPOINT = "https://secretmanager.googleapis.com"
REGIONAL = "https://secretmanager.{location}.rep.googleapis.com"

DEADLINE_S = 60.0
TIMEOUT_S = (10.0, 20.0)


def read(name: str) -> bytes | None:
    """Return the content of a secret; None when there is no such secret or version.

    Args:
        name: as `NAME` describes it.

    Raises:
        errors.AccessError: nobody is logged in, or ``secretmanager.versions.access`` is missing.
        errors.ConfigError: the version is disabled or destroyed.
        errors.TemporaryError: Secret Manager cannot be reached, or the bytes were damaged.
    """
    match = NAME.fullmatch(name)
    assert match, name
    whole = name if match["version"] else f"{name}/versions/latest"
    location = match["location"]
    place = REGIONAL.format(location=location) if location else ENDPOINT
    answer = _asked(f"{place}/v1/{whole}:access", f"secret {name}")
    if answer is None:
        return None
    return _checked(answer, name)


def _asked(url: str, subject: str) -> dict[str, dict[str, str]] | None:
    from google.api_core import exceptions
    from google.auth.transport import requests as transport

    login = google.credentials()

    def attempt() -> dict[str, dict[str, str]]:
        # A session of its own for each attempt: secrets are few.
        with transport.AuthorizedSession(login) as session:  # type: ignore[no-untyped-call]
            answer = session.get(url, timeout=TIMEOUT_S)
            if answer.status_code != 200:
                raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
            found: dict[str, dict[str, str]] = answer.json()
            return found

    try:
        return google.retry(DEADLINE_S)(attempt)()
    except exceptions.NotFound:
        return None
    except Exception as error:  # noqa: BLE001 - `explained` raises what it does not know
        raise google.explained(error, subject, google.principal(login)) from None


def _checked(answer: dict[str, dict[str, str]], name: str) -> bytes:
    import google_crc32c

    payload = answer.get("payload", {})
    try:
        data = base64.b64decode(payload.get("data", ""), validate=True)
    except binascii.Error:
        data, wanted = b"", "none"
    else:
        wanted = payload.get("dataCrc32c", "")
    if wanted and wanted != str(google_crc32c.value(data)):
        raise errors.TemporaryError(
            f"secret {name}: the bytes do not have the checksum that Secret Manager keeps",
            hint="run again",
        )
    return data
