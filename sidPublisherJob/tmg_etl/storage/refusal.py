"""The refusals of Google's APIs: status, reasons and sentence, whatever library brought them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from typing import Any

from tmg_etl import errors
from tmg_etl.storage import base

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TRANSIENT_REASONS = frozenset(
    {
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "jobRateLimitExceeded",
        "backendError",
        "jobBackendError",
        "internalError",
        "jobInternalError",
        "badGateway",
        "tableUnavailable",
        "RATE_LIMIT_EXCEEDED",
    }
)
"""Worth another attempt seconds later."""

LATER_REASONS = TRANSIENT_REASONS | {
    "quotaExceeded",
    "dailyLimitExceeded",
    "concurrentLimitExceeded",
    "blocked",
    "resourceInUse",
    "stopped",
    "timeout",
    "RESOURCE_EXHAUSTED",
    "QUOTA_EXCEEDED",
}
"""Worth another run: a quota that fills up again, a resource in use, a job that was cancelled."""

FINAL_REASONS = frozenset({"bytesBilledLimitExceeded"})
"""Never worth another attempt, although Google's client gives a job that failed so a status 500."""

_CONFLICTS = frozenset({409, 412})
_ROLES = (
    (r"storage\.objects\.(get|list)", "roles/storage.objectViewer"),
    (r"storage\.objects\.", "roles/storage.objectUser"),
    (r"storage\.buckets\.", "roles/storage.bucketViewer"),
    (r"bigquery\.jobs\.", "roles/bigquery.jobUser"),
    (r"bigquery\.readsessions\.", "roles/bigquery.readSessionUser"),
    (r"bigquery\.\w+\.(get|getData|list|export)$", "roles/bigquery.dataViewer"),
    (r"bigquery\.(tables|datasets|routines)\.", "roles/bigquery.dataEditor"),
    (r"iam\.serviceAccounts\.", "roles/iam.serviceAccountTokenCreator"),
    (r"serviceusage\.services\.use", "roles/serviceusage.serviceUsageConsumer"),
    (r"secretmanager\.versions\.access", "roles/secretmanager.secretAccessor"),
)
_PERMISSION = re.compile(
    r"(?:does not have|lacks|[Pp]ermissions?:?)\s+['\"`]?"
    r"([a-z][A-Za-z]*(?:\.googleapis\.com/)?(?:\.[A-Za-z][A-Za-z]*){2})\b"
)
_ACCOUNT = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_REQUEST = re.compile(r"^(?:\d{3} )?(?:GET|POST|PUT|PATCH|DELETE|HEAD) https?://\S+ ?:? ")
_LIBRARY = re.compile(r":? ?\('Request failed with status code'.*$", re.DOTALL)
_ERRNO = re.compile(r"\[Errno [^]]*\] ([^'\")]+)")
# What Google's client repeats of a job that failed.
_REPEATED = re.compile(r"; reason: \w+, (?:location: .*?, )?message: .*$", re.DOTALL)
_JOB = re.compile(r"\s*Location: \S+\s+Job ID: \S+\s*$")
_MARKUP = re.compile(r"<(?:Message|title)>([^<]+)<")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """What an API answered instead of a result.

    Attributes:
        status: HTTP status; gRPC codes are translated to it.
        reasons: machine-readable words such as ``rateLimitExceeded``, the first one first.
        text: Google's sentence.
    """

    status: int
    reasons: tuple[str, ...]
    text: str


def status_of(exc: BaseException) -> int | None:
    """Return the HTTP status that an exception carries; None when it carries none."""
    from google.api_core import exceptions

    exc = _translated(exc)
    if isinstance(exc, exceptions.GoogleAPICallError):
        return int(exc.code) if exc.code is not None else 500
    found = getattr(getattr(exc, "response", None), "status_code", None)
    # A checksum that does not match comes with the response that was fine.
    return int(found) if isinstance(found, int) and found >= 300 else None


def reasons_of(exc: BaseException) -> tuple[str, ...]:
    """Return the reasons that an exception carries, of REST and of gRPC."""
    exc = _translated(exc)
    listed = getattr(exc, "errors", None)
    found = [item.get("reason") for item in listed or () if isinstance(item, dict)]
    # gRPC's ErrorInfo, and the same in REST answers of newer APIs.
    found.append(getattr(exc, "reason", None))
    if not any(found):
        found += _reasons_in(_body(exc))
    return tuple(dict.fromkeys(word for word in found if isinstance(word, str) and word))


def text_of(exc: BaseException) -> str:
    """Return Google's sentence without the request's URL and the library's own words."""
    exc = _translated(exc)
    text = str(getattr(exc, "message", None) or exc)
    text = _JOB.sub("", _REPEATED.sub("", text))
    text = _LIBRARY.sub("", _REQUEST.sub("", text)).strip().rstrip(":")
    text = sentence_in(text) or text
    return text if text else sentence_in(_body(exc)) or type(exc).__name__


def sentence_in(text: str) -> str | None:
    """Return the message inside the JSON or XML body of an error; None when there is none."""
    start = text.find("{")
    if start >= 0:
        with contextlib.suppress(ValueError):
            body, _ = json.JSONDecoder().raw_decode(text[start:])
            error = body.get("error") if isinstance(body, dict) else None
            if isinstance(error, dict) and error.get("message"):
                return str(error["message"])
            if isinstance(error, str):
                return f"{error}: {body.get('error_description') or ''}".rstrip(": ")
    match = _MARKUP.search(text)
    return match[1].strip() if match else None


def permission_in(text: str) -> str | None:
    """Return the permission that a message says is missing."""
    match = _PERMISSION.search(text)
    return match[1].replace(".googleapis.com/", ".") if match else None


def account_in(text: str) -> str | None:
    """Return the first e-mail address in a message."""
    match = _ACCOUNT.search(text)
    return match[0].rstrip(".") if match else None


def role_for(permission: str) -> str:
    """Return the smallest predefined role that holds a permission."""
    for pattern, role in _ROLES:
        if re.match(pattern, permission):
            return role
    return f"a role that holds {permission}"


def is_transient(status: int, reasons: tuple[str, ...]) -> bool:
    """Return whether Google says that the same call may succeed seconds later."""
    if reasons and set(reasons) & TRANSIENT_REASONS:
        return True
    return status in TRANSIENT_STATUS and not set(reasons) & (LATER_REASONS | FINAL_REASONS)


def explained(found: Refusal, subject: str, principal: str | None) -> errors.TmgEtlError:
    """Return the error for a refusal; the table is at `google.explained`."""
    status, reasons, text = found.status, set(found.reasons), found.text
    said = f"{subject}: {text}"
    if "bytesBilledLimitExceeded" in reasons:
        return errors.ConfigError(said, hint="raise `maximum_bytes_billed` if that is meant")
    if status not in (401, 409, 412) and reasons & LATER_REASONS:
        return errors.TemporaryError(said, hint=_later(reasons))
    if status == 401:
        return errors.AccessError(
            f"{subject}: the login is not valid: {text}",
            hint="log in again with `gcloud auth application-default login`, or use a new key file",
        )
    if status == 403:
        return _forbidden(found, subject, principal)
    if status in _CONFLICTS:
        return base.ConflictError(said, hint="another run changed it at the same time; run again")
    if status in TRANSIENT_STATUS or status == 499 or (status > 504 and status < 600):
        return errors.TemporaryError(said, hint="run again later")
    if status == 404:
        return errors.ConfigError(said, hint="check the name, and that this login may see it")
    if "userProjectMissing" in reasons or "requester pays" in text:
        return errors.ConfigError(said, hint="write `credentials: {quota_project: …}`")
    return errors.ConfigError(said)


def network_reason(exc: BaseException) -> str:
    """Return the innermost reason of a failed connection: the outer ones repeat the URL."""
    seen: list[BaseException] = []
    current: Any = exc
    while isinstance(current, BaseException) and current not in seen:
        seen.append(current)
        nested = [item for item in current.args if isinstance(item, BaseException)]
        current = getattr(current, "reason", None) or next(iter(nested), None)
    for error in reversed(seen):
        match = _ERRNO.search(str(error))
        text = getattr(error, "strerror", None) or (match[1] if match else str(error))
        if text.strip("'()\", "):
            return str(text)
    return type(exc).__name__


def _forbidden(found: Refusal, subject: str, principal: str | None) -> errors.TmgEtlError:
    text, reasons = found.text, set(found.reasons)
    if reasons & {"accessNotConfigured", "SERVICE_DISABLED"} or "it is disabled" in text:
        hint = "enable the API in the project, then wait a minute"
        return errors.AccessError(f"{subject}: {text}", hint=hint)
    if reasons & {"billingNotEnabled", "accountDisabled", "userProjectAccountProblem"}:
        return errors.AccessError(f"{subject}: {text}", hint="enable billing for the project")
    if reasons & {"vpcServiceControls", "SECURITY_POLICY_VIOLATED"}:
        hint = "ask whoever keeps the service perimeter, with that identifier"
        return errors.AccessError(f"{subject}: {text}", hint=hint)
    if "responseTooLarge" in reasons:
        return errors.ConfigError(f"{subject}: {text}")
    missing = permission_in(text)
    who = account_in(text) or principal or _someone(text)
    if missing:
        return errors.AccessError(
            f"{subject}: {who} does not have the permission {missing}",
            hint=f"grant {role_for(missing)} to it, or use other credentials",
        )
    asker = f" (asked as {principal})" if principal and principal not in text else ""
    if "USER_PROJECT_DENIED" in reasons:
        hint = "grant roles/serviceusage.serviceUsageConsumer, or correct `quota_project`"
        return errors.AccessError(f"{subject}: {text}{asker}", hint=hint)
    hint = "grant the right, or use other credentials"
    return errors.AccessError(f"{subject}: {text}{asker}", hint=hint)


def _someone(text: str) -> str:
    return "an anonymous caller" if text.startswith("Anonymous caller") else "this login"


def _later(reasons: set[str]) -> str:
    if reasons & {"quotaExceeded", "dailyLimitExceeded", "QUOTA_EXCEEDED"}:
        return "a quota is used up: run again later, or ask for a higher one"
    if reasons & {"rateLimitExceeded", "userRateLimitExceeded", "jobRateLimitExceeded"}:
        return "too many requests at once: run again later"
    if "stopped" in reasons:
        return "somebody cancelled the job; run again"
    return "run again later"


def _translated(exc: BaseException) -> Any:
    """Return a bare gRPC error as the API exception that stands for it."""
    if type(exc).__module__.partition(".")[0] != "grpc" and not callable(getattr(exc, "code", 0)):
        return exc
    from google.api_core import exceptions

    try:
        return exceptions.from_grpc_error(exc)  # type: ignore[no-untyped-call]
    except (AttributeError, TypeError):
        return exc


def _body(exc: BaseException) -> str:
    response = getattr(exc, "response", None)
    # A gRPC call stands in `response` too and has no text.
    text = getattr(response, "text", "") if response is not None else ""
    return text if isinstance(text, str) else ""


def _reasons_in(body: str) -> list[str]:
    try:
        error = json.loads(body)["error"]
        listed = [item.get("reason") for item in error.get("errors", ())]
        return listed + [item.get("reason") for item in error.get("details", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
