"""Google's logins, and what Google's errors mean: for Cloud Storage and BigQuery alike.

`credentials` is who the job is, `retry` what is tried again, and `explained` the one place where an
exception of Google's libraries becomes one of ours. Its rules go by status and by `reason`, never
by a library's class alone: the same refusal arrives as JSON, as plain text and as gRPC status.

Source: https://cloud.google.com/storage/docs/retry-strategy,
https://cloud.google.com/bigquery/docs/error-messages, https://google.aip.dev/193
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tmg_etl import errors
from tmg_etl.storage import base, refusal

if TYPE_CHECKING:
    import google.auth.credentials
    from google.api_core import retry as retries

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
"""The scope to ask for: what may be done is decided by roles, as Google advises."""

EMULATORS = ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
"""Variables that name a server in Google's place. With one of them nobody logs in anywhere."""

_LOG = logging.getLogger(__name__)
_KEY_LIMIT_BYTES = 64 * 1024
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LOGIN = "`gcloud auth application-default login`"
_KEY_HINT = "download a JSON key of the service account, or remove `key_file` to use the default"


def credentials(
    chosen: base.Credentials = base.Credentials(),  # noqa: B008 - frozen
    scopes: Sequence[str] = (CLOUD_PLATFORM,),
) -> google.auth.credentials.Credentials:
    """Return whom to be: a key file, or what the machine offers; then whom to act as.

    The default is Google's own order: ``GOOGLE_APPLICATION_CREDENTIALS``, the login of gcloud, the
    service account of the pod (Workload Identity) or machine. Nothing is contacted except the
    metadata server that this search asks. With a variable of `EMULATORS` the result is anonymous.

    Args:
        chosen: key file, impersonated account and quota project, each optional.
        scopes: OAuth scopes of the tokens.

    Raises:
        errors.AccessError: there are no credentials, or the key file may not be read.
        errors.ConfigError: the key file is missing or is not a service account's key.
    """
    from google.auth import credentials as kinds
    from google.auth import impersonated_credentials

    if any(os.environ.get(name) for name in EMULATORS):
        return kinds.AnonymousCredentials()  # type: ignore[no-untyped-call]
    found: Any
    found = _of_key(chosen.key_file, scopes) if chosen.key_file else _default(scopes)
    if chosen.impersonate:
        found = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            found, target_principal=chosen.impersonate, target_scopes=list(scopes)
        )
    if chosen.quota_project and isinstance(found, kinds.CredentialsWithQuotaProject):
        found = found.with_quota_project(chosen.quota_project)  # type: ignore[no-untyped-call]
    result: google.auth.credentials.Credentials = found
    return result


def principal(login: google.auth.credentials.Credentials) -> str | None:
    """Return the e-mail of whoever `login` is; None where only Google knows it (a person)."""
    for name in ("service_account_email", "signer_email"):
        found = getattr(login, name, None)
        if isinstance(found, str) and "@" in found:
            return found
    return None


def explained(exc: BaseException, subject: str, principal: str | None = None) -> errors.TmgEtlError:
    """Return the error that stands for an exception of Google's libraries.

    ==========================================  ==================================================
    rate limit, quota, backend, 408, 429, 5xx   `errors.TemporaryError`, whatever the status
    no network, timeout, connection cut         `errors.ConnectionLostError`
    401, expired or revoked login, no login     `errors.AccessError`: what to do about it
    403                                         `errors.AccessError`: permission and principal
    404, 400, a key file that is none           `errors.ConfigError`
    409, 412                                    `base.ConflictError`
    ==========================================  ==================================================

    Args:
        exc: from google-cloud-*, google-auth, google-api-core, requests or gRPC. One of our own
            errors is returned as it is.
        subject: what was asked for, as the user names it: ``gs://b/o``, ``table p.d.t``.
        principal: who asked, from `principal`; used where Google's message says only "User".

    Raises:
        BaseException: `exc` itself, when it is of none of these libraries: a bug stays a bug.
    """
    from google.api_core import exceptions
    from google.auth import exceptions as logins

    if isinstance(exc, errors.TmgEtlError):
        return exc
    if isinstance(exc, exceptions.RetryError) and exc.cause is not None:
        return explained(exc.cause, subject, principal)
    status = refusal.status_of(exc)
    if status is not None:
        found = refusal.Refusal(status, refusal.reasons_of(exc), refusal.text_of(exc))
        return refusal.explained(found, subject, principal)
    if isinstance(exc, logins.TransportError) and _inner(exc) is not None:
        return explained(_inner(exc), subject, principal)  # type: ignore[arg-type]
    if isinstance(exc, logins.GoogleAuthError):
        return _login_failed(exc, subject)
    if _is_network(exc):
        return _away(exc, subject)
    raise exc


def retry(
    deadline_s: float = 120.0, on_error: Callable[[Exception], Any] | None = None
) -> retries.Retry:
    """Return Google's retry loop with Google's rules by status and reason.

    Waits 0.5 s to 30 s between attempts, doubling, with jitter. Hand it only to calls that may run
    twice: reads, calls with a generation precondition or a job id, and resumable uploads.

    Args:
        deadline_s: no attempt starts later than this; the last error is then raised.
        on_error: told of each failure that is tried again.
    """
    from google.api_core import retry as retries

    def told(error: Exception) -> None:
        is_cut = refusal.status_of(error) is None and _is_network(error)
        reason = refusal.network_reason(error) if is_cut else refusal.text_of(error)
        _LOG.info("Google does not answer well; trying again after: %s", errors.one_line(reason))
        if on_error:
            on_error(error)

    return retries.Retry(
        predicate=is_temporary,
        initial=_FIRST_WAIT_S,
        maximum=_LONGEST_WAIT_S,
        timeout=deadline_s,
        on_error=told,
    )


def is_temporary(exc: BaseException) -> bool:
    """Return whether the same call may succeed a moment later, by Google's rules.

    A quota for a day is temporary for the exit code but not here: seconds do not help it.
    """
    from google.auth import exceptions as logins

    status = refusal.status_of(exc)
    if status is not None:
        return refusal.is_transient(status, refusal.reasons_of(exc))
    if isinstance(exc, logins.TransportError):
        inner = _inner(exc)
        return is_temporary(inner) if inner is not None else "metadata" in str(exc).lower()
    if isinstance(exc, logins.GoogleAuthError):
        return bool(exc.retryable)
    return _is_cut(exc) and not _is_certificate(exc)


def _default(scopes: Sequence[str]) -> Any:
    import google.auth
    from google.auth import exceptions as logins

    # Said at every run of a person's own login, and nothing that the job could change.
    warnings.filterwarnings("ignore", "Your application has authenticated using end user")
    # Off Google's machines it warns that this is none of them; the error below says what to do.
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)
    try:
        return google.auth.default(scopes=list(scopes))[0]
    except logins.GoogleAuthError as error:
        raise _login_failed(error, "Google") from None
    except PermissionError:
        raise errors.AccessError(
            "the file in GOOGLE_APPLICATION_CREDENTIALS may not be read",
            hint="grant this user read access to it",
        ) from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        # Valid JSON of another shape fails wherever the library first misses something.
        reason = getattr(error, "strerror", None) or "it is no credentials file"
        raise errors.ConfigError(
            f"the file in GOOGLE_APPLICATION_CREDENTIALS cannot be used: {reason}",
            hint=f"correct the variable, or remove it and run {_LOGIN}",
        ) from None


def _of_key(path: str, scopes: Sequence[str]) -> Any:
    """Return the service account of a key file. Its content never gets into a message."""
    from google.auth import exceptions as logins
    from google.oauth2 import service_account

    info = _key_content(path)
    kind = info.get("type") if isinstance(info, dict) else None
    if kind != "service_account":
        found = f"the type {errors.shorten(kind)}" if kind else "no type"
        raise errors.ConfigError(
            f"the key file {path} has {found}, expected the key of a service account",
            hint="for other kinds of credentials set GOOGLE_APPLICATION_CREDENTIALS instead"
            if kind
            else _KEY_HINT,
        )
    try:
        return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, scopes=list(scopes)
        )
    except logins.MalformedError as error:
        message = f"the key file {path} is not complete: {error.args[0]}"
    except (ValueError, TypeError):
        message = f"the private key in the key file {path} cannot be read"
    raise errors.ConfigError(message, hint=_KEY_HINT) from None


def _key_content(path: str) -> Any:
    try:
        with pathlib.Path(path).expanduser().open("rb") as file:
            data = file.read(_KEY_LIMIT_BYTES + 1)
    except PermissionError:
        raise errors.AccessError(
            f"the key file {path} may not be read", hint="grant this user read access to it"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise errors.ConfigError(
            f"the key file {path} cannot be read: {reason}",
            hint="correct `key_file`; locally, fetch the keys with `invoke download-keys`",
        ) from None
    try:
        return json.loads(data) if len(data) <= _KEY_LIMIT_BYTES else None
    except ValueError:
        raise errors.ConfigError(
            f"the key file {path} is not JSON, expected the key of a service account",
            hint=_KEY_HINT,
        ) from None


def _login_failed(exc: Any, subject: str) -> errors.TmgEtlError:
    """Return what to do about a failure of google-auth."""
    from google.auth import exceptions as logins

    text = " ".join(_words(item) for item in exc.args if item) or type(exc).__name__
    if isinstance(exc, logins.DefaultCredentialsError):
        if "not found" in text and "default credentials" in text:
            hint = f"run {_LOGIN}, or write `credentials: {{key_file: …}}` on the connection"
            return errors.AccessError(f"{subject}: no Google credentials were found", hint=hint)
        hint = f"correct GOOGLE_APPLICATION_CREDENTIALS, or remove it and run {_LOGIN}"
        return errors.ConfigError(f"{subject}: {text}", hint=hint)
    if exc.retryable or ("metadata" in text.lower() and "Status: 4" not in text):
        return errors.TemporaryError(f"{subject}: no access token: {text}", hint="run again later")
    missing = refusal.permission_in(text)
    if missing:
        account = f" on {found}" if (found := refusal.account_in(text)) else ""
        return errors.AccessError(
            f"{subject}: not allowed to act as the service account: {missing} is missing{account}",
            hint=f"grant {refusal.role_for(missing)}, or correct `impersonate`",
        )
    return errors.AccessError(f"{subject}: the login was refused: {text}", hint=_remedy(text))


def _words(item: Any) -> str:
    """Return a part of an auth error as text: Google's own sentence where it is JSON."""
    if isinstance(item, bytes):
        item = item.decode("utf-8", "replace")
    if isinstance(item, str):
        return refusal.sentence_in(item) or item
    return ""


def _remedy(text: str) -> str:
    if "Invalid JWT Signature" in text or "ccount not found" in text:
        return "the key was revoked or its account removed: use a new key file"
    if "reasonable timeframe" in text:
        return "set this machine's clock"
    if "Gaia id not found" in text or "NOT_FOUND" in text:
        return "correct `impersonate`: there is no such service account"
    return f"log in again with {_LOGIN}, or use a key file that is valid"


def _inner(exc: BaseException) -> BaseException | None:
    first = exc.args[0] if exc.args else None
    return first if isinstance(first, BaseException) and first is not exc else None


def _is_cut(exc: BaseException) -> bool:
    """Return whether a connection could not be made, or ended in the middle."""
    import requests
    import urllib3.exceptions

    kinds = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.PoolError,
        urllib3.exceptions.ProtocolError,
        urllib3.exceptions.TimeoutError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    )
    return isinstance(exc, kinds)


def _is_network(exc: BaseException) -> bool:
    import requests
    import urllib3.exceptions

    kinds = (requests.RequestException, urllib3.exceptions.HTTPError)
    return isinstance(exc, kinds) or _is_cut(exc) or _is_corruption(exc)


def _is_corruption(exc: BaseException) -> bool:
    # By name, because the class has moved between packages. Not worth another attempt by itself:
    # the client would go on behind the last byte, get "out of range", and call that the end.
    return type(exc).__name__ == "DataCorruption"


def _is_certificate(exc: BaseException) -> bool:
    import requests

    return isinstance(exc, requests.exceptions.SSLError) and "CERTIFICATE" in str(exc)


def _away(exc: BaseException, subject: str) -> errors.TmgEtlError:
    import requests

    if _is_certificate(exc):
        return errors.ConfigError(
            f"{subject}: the server's certificate is not trusted",
            hint="name the certificates of your proxy in REQUESTS_CA_BUNDLE",
        )
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return errors.ConfigError(f"{subject}: {exc}", hint=f"correct {' or '.join(EMULATORS)}")
    if _is_corruption(exc):
        return errors.TemporaryError(
            f"{subject}: the bytes do not have the checksum that Cloud Storage keeps",
            hint="nothing was used of it; run again",
        )
    if isinstance(exc, (requests.Timeout, TimeoutError)):
        return errors.ConnectionLostError(f"{subject}: no answer in time", hint="run again later")
    return errors.ConnectionLostError(
        f"{subject}: the connection failed: {refusal.network_reason(exc)}", hint="run again later"
    )
