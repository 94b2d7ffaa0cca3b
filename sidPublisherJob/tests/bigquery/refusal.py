"""How Google says no: status, reason and words of each kind of refusal.

Source: https://cloud.google.com/bigquery/docs/error-messages
"""

from __future__ import annotations

import json
from typing import Any

#: Reason → HTTP status, status of gRPC, and a message as Google writes it.
REASONS: dict[str, tuple[int, str, str]] = {
    "accessDenied": (
        403,
        "PERMISSION_DENIED",
        "Access Denied: Project acme-test: User does not have bigquery.jobs.create permission in"
        " project acme-test.",
    ),
    "authError": (
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login"
        " cookie or other valid authentication credential.",
    ),
    "backendError": (503, "UNAVAILABLE", "Error encountered during execution. Retrying may solve."),
    "billingNotEnabled": (403, "PERMISSION_DENIED", "Billing has not been enabled for project."),
    "bytesBilledLimitExceeded": (
        400,
        "INVALID_ARGUMENT",
        "Query exceeded limit for bytes billed: 1000. 10485760 or higher required.",
    ),
    "conditionNotMet": (412, "FAILED_PRECONDITION", "Precondition Failed"),
    "duplicate": (409, "ALREADY_EXISTS", "Already Exists: Job acme-test:US.x"),
    "internalError": (
        500,
        "INTERNAL",
        "An internal error occurred and the request could not be completed.",
    ),
    "invalid": (400, "INVALID_ARGUMENT", "Invalid value"),
    "invalidQuery": (400, "INVALID_ARGUMENT", "Syntax error: Unexpected keyword FROM at [1:8]"),
    "notFound": (404, "NOT_FOUND", "Not found: Table acme-test:sid.t was not found in location US"),
    "quotaExceeded": (
        403,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded: Your project exceeded quota for free query bytes scanned. For more"
        " information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    ),
    "rateLimitExceeded": (
        403,
        "RESOURCE_EXHAUSTED",
        "Exceeded rate limits: too many table update operations for this table. For more"
        " information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    ),
    "responseTooLarge": (
        403,
        "PERMISSION_DENIED",
        "Response too large to return. Consider specifying a destination table in your job"
        " configuration. For more details, see https://cloud.google.com/bigquery/troubleshooting-errors",
    ),
    "jobRateLimitExceeded": (
        400,
        "RESOURCE_EXHAUSTED",
        "Job exceeded rate limits: Your table exceeded quota for imports or query appends per"
        " table. For more information, see"
        " https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    ),
    "resourcesExceeded": (
        400,
        "INVALID_ARGUMENT",
        "Resources exceeded during query execution: Not enough resources for query planning -"
        " too many subqueries or query is too complex.",
    ),
    "stopped": (
        400,
        "CANCELLED",
        "Job execution was cancelled: User requested cancellation",
    ),
}

NO_READ_SESSIONS = (
    "request failed: the user does not have 'bigquery.readsessions.create' permission for"
    " 'projects/acme-test'"
)


def proto(reason: str, message: str | None = None) -> dict[str, Any]:
    """Return an `ErrorProto`, as jobs carry it."""
    return {"reason": reason, "message": message or REASONS[reason][2]}


def body(reason: str, message: str | None = None) -> tuple[int, bytes]:
    """Return status and body of a refused request."""
    status, name, words = REASONS[reason]
    words = message or words
    domain = "usageLimits" if name == "RESOURCE_EXHAUSTED" else "global"
    error = {"message": words, "domain": domain, "reason": reason}
    content = {"code": status, "message": words, "errors": [error], "status": name}
    return status, json.dumps({"error": content}).encode()
