"""Failures that pass, conflicts and faults of the config: exception, error, a part of its line."""

import grpc
import requests
import urllib3.exceptions
from google.api_core import exceptions
from google.cloud.storage import exceptions as media

from tests.storage.google_answer import SUBJECT, Rpc, answered, rest
from tmg_etl import errors
from tmg_etl.storage import base

FAILURES = {
    # --- later
    "rate of a project": (
        rest(403, "Exceeded rate limits: too many api requests per user", "rateLimitExceeded"),
        errors.TemporaryError,
        "too many requests at once",
    ),
    "quota of a day": (
        rest(403, "Quota exceeded: Your table exceeded quota for imports", "quotaExceeded"),
        errors.TemporaryError,
        "a quota is used up: run again later, or ask for a higher one",
    ),
    "quota over grpc": (
        Rpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded for quota metric 'Read sessions'"),
        errors.TemporaryError,
        "Quota exceeded for quota metric",
    ),
    "backend": (
        rest(503, "Error encountered during execution. Retrying may help.", "backendError"),
        errors.TemporaryError,
        "Retrying may help.; run again later",
    ),
    "job backend error with status 400": (
        rest(400, "Error encountered during job execution", "jobBackendError"),
        errors.TemporaryError,
        "during job execution",
    ),
    "html": (
        answered(502, "<html><head><title>Error 502 (Server Error)!!1</title></head></html>"),
        errors.TemporaryError,
        f"{SUBJECT}: Error 502 (Server Error)!!1; run again later",
    ),
    "empty 500": (answered(500, ""), errors.TemporaryError, "run again later"),
    "unavailable over grpc": (
        Rpc(grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        errors.TemporaryError,
        f"{SUBJECT}: Socket closed; run again later",
    ),
    "deadline over grpc": (
        exceptions.DeadlineExceeded("Deadline Exceeded"),
        errors.TemporaryError,
        "Deadline Exceeded",
    ),
    "cancelled job": (
        exceptions.from_http_status(
            499,
            "Job execution was cancelled: User requested cancellation",
            errors=[{"reason": "stopped", "message": "Job execution was cancelled"}],
        ),
        errors.TemporaryError,
        "somebody cancelled the job",
    ),
    "retries are used up": (
        exceptions.RetryError("Timeout of 600.0s exceeded", answered(503, "")),
        errors.TemporaryError,
        "run again later",
    ),
    # --- network
    "no network": (
        requests.ConnectionError(
            urllib3.exceptions.MaxRetryError(
                None, "/x", urllib3.exceptions.NewConnectionError(None, "[Errno 101] Network is un")
            )
        ),
        errors.ConnectionLostError,
        f"{SUBJECT}: the connection failed: Network is un; run again later",
    ),
    "slow network": (
        requests.ReadTimeout("Read timed out. (read timeout=60)"),
        errors.ConnectionLostError,
        f"{SUBJECT}: no answer in time",
    ),
    "reset": (
        ConnectionResetError(104, "Connection reset by peer"),
        errors.ConnectionLostError,
        "the connection failed: Connection reset by peer",
    ),
    "cut body": (
        requests.exceptions.ChunkedEncodingError(
            urllib3.exceptions.ProtocolError("Connection broken: IncompleteRead(5 bytes read)")
        ),
        errors.ConnectionLostError,
        "Connection broken",
    ),
    "proxy's certificate": (
        requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
        errors.ConfigError,
        "REQUESTS_CA_BUNDLE",
    ),
    "wrong emulator": (
        requests.exceptions.InvalidSchema("No connection adapters were found for 'x'"),
        errors.ConfigError,
        "correct STORAGE_EMULATOR_HOST or BIGQUERY_EMULATOR_HOST",
    ),
    "damaged download": (
        media.DataCorruption(requests.Response(), "Checksum mismatch while downloading"),
        errors.TemporaryError,
        "do not have the checksum",
    ),
    # --- conflicts
    "precondition": (
        rest(412, "At least one of the pre-conditions you specified did not hold.", "conditionNot"),
        base.ConflictError,
        "another run changed it at the same time",
    ),
    "exists": (
        rest(409, "Already Exists: Job acme:EU.x", "duplicate"),
        base.ConflictError,
        "Exis",
    ),
    # --- the config
    "not found": (
        rest(404, "Not found: Dataset acme:sid was not found in location EU", "notFound"),
        errors.ConfigError,
        "was not found in location EU; check the name, and that this login may see it",
    ),
    "bad query": (
        rest(400, 'Syntax error: Unexpected identifier "SELEC" at [1:1]', "invalidQuery"),
        errors.ConfigError,
        f'{SUBJECT}: Syntax error: Unexpected identifier "SELEC" at [1:1]',
    ),
    "too expensive": (
        rest(
            400,
            "Query exceeded limit for bytes billed: 1000. 10485760 or higher required.",
            "bytesBilledLimitExceeded",
        ),
        errors.ConfigError,
        "raise `maximum_bytes_billed`",
    ),
    "requester pays": (
        rest(
            400,
            "Bucket is a requester pays bucket but no user project provided.",
            "required",
        ),
        errors.ConfigError,
        "write `credentials: {quota_project: …}`",
    ),
    "argument over grpc": (
        Rpc(grpc.StatusCode.INVALID_ARGUMENT, "request failed: row_restriction is not valid"),
        errors.ConfigError,
        "row_restriction is not valid",
    ),
}
