"""What Google's refusals become: recorded shapes of REST, plain text, XML and gRPC."""

import json
import urllib.error

import grpc
import pytest
import requests
import urllib3.exceptions
from google.api_core import exceptions
from google.auth import exceptions as logins
from google.cloud.storage import exceptions as media

from tmg_etl import errors
from tmg_etl.storage import base, google, refusal

SUBJECT = "gs://lake/x"


def rest(code, message, reason, **more):
    """The exception of google-api-core for an answer of a JSON API."""
    item = {"message": message, "domain": "global", "reason": reason}
    body = {"error": {"code": code, "message": message, "errors": [item], **more}}
    return answered(code, json.dumps(body), "application/json; charset=UTF-8")


def answered(status, body, kind="text/html"):
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    response.headers["Content-Type"] = kind
    url = "https://bigquery.googleapis.com/bigquery/v2/projects/acme/jobs?prettyPrint=false"
    response.request = requests.Request("POST", url).prepare()
    response.url = url
    return exceptions.from_http_response(response)


def download(status, body):
    """The exception of google-cloud-storage for an answer to a download."""
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    words = "('Request failed with status code', 403, 'Expected one of', <HTTPStatus.OK: 200>)"
    message = f"GET https://storage.googleapis.com/download/storage/v1/b/l/o/x: {body}: {words}"
    return exceptions.from_http_status(status, message, response=response)


class Rpc(grpc.RpcError, grpc.Call):
    """A gRPC error as a call raises it."""

    def __init__(self, code, details):
        super().__init__()
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return ()

    initial_metadata = is_active = time_remaining = cancel = add_callback = trailing_metadata


SA = "sid@acme.iam.gserviceaccount.com"
GCS_DENIED = (
    f"{SA} does not have storage.objects.list access to the Google Cloud Storage bucket. Permission"
    " 'storage.objects.list' denied on resource (or it may not exist)."
)
GET_HINT = "grant roles/storage.objectViewer to it, or use other credentials"
JOB_HINT = "grant roles/bigquery.jobUser to it, or use other credentials"

CASES = {
    # --- rights
    "gcs denied": (
        rest(403, GCS_DENIED, "forbidden"),
        errors.AccessError,
        f"{SUBJECT}: {SA} does not have the permission storage.objects.list; {GET_HINT}",
    ),
    "gcs download denied": (
        download(403, GCS_DENIED.replace("list", "get")),
        errors.AccessError,
        f"{SUBJECT}: {SA} does not have the permission storage.objects.get; {GET_HINT}",
    ),
    "gcs anonymous": (
        rest(
            401,
            "Anonymous caller does not have storage.objects.get access to the Google Cloud Storage"
            " object.",
            "required",
        ),
        errors.AccessError,
        "the login is not valid: Anonymous caller does not have storage.objects.get access",
    ),
    "gcs xml": (
        answered(
            403,
            "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access denied."
            "</Message><Details>x</Details></Error>",
            "application/xml",
        ),
        errors.AccessError,
        f"{SUBJECT}: Access denied. (asked as me@x.com); grant the right",
    ),
    "bigquery job": (
        rest(
            403,
            "Access Denied: Project acme: User does not have bigquery.jobs.create permission in"
            " project acme.",
            "accessDenied",
            status="PERMISSION_DENIED",
        ),
        errors.AccessError,
        f"{SUBJECT}: me@x.com does not have the permission bigquery.jobs.create; {JOB_HINT}",
    ),
    "bigquery table": (
        rest(
            403,
            "Access Denied: Table acme:sid.t: Permission bigquery.tables.get denied on table"
            " acme:sid.t (or it may not exist).",
            "accessDenied",
        ),
        errors.AccessError,
        "me@x.com does not have the permission bigquery.tables.get; grant roles/bigquery.dataView",
    ),
    "bigquery query without a permission's name": (
        rest(
            403,
            "Access Denied: Table acme:sid.t: User does not have permission to query table"
            " acme:sid.t, or perhaps it does not exist.",
            "accessDenied",
        ),
        errors.AccessError,
        "or perhaps it does not exist. (asked as me@x.com); grant the right",
    ),
    "storage read api": (
        Rpc(
            grpc.StatusCode.PERMISSION_DENIED,
            "request failed: the user does not have 'bigquery.readsessions.create' permission for"
            " 'projects/acme'",
        ),
        errors.AccessError,
        "me@x.com does not have the permission bigquery.readsessions.create; grant roles/bigquery.r"
        "eadSessionUser",
    ),
    "storage read api, wrapped": (
        exceptions.PermissionDenied(
            "Permission denied on resource", errors=[Rpc(grpc.StatusCode.PERMISSION_DENIED, "")]
        ),
        errors.AccessError,
        "Permission denied on resource (asked as me@x.com)",
    ),
    "quota project": (
        rest(
            403,
            "Caller does not have required permission to use project acme. Grant the caller the"
            " roles/serviceusage.serviceUsageConsumer role.",
            "forbidden",
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "USER_PROJECT_DENIED",
                    "domain": "googleapis.com",
                }
            ],
        ),
        errors.AccessError,
        "grant roles/serviceusage.serviceUsageConsumer, or correct `quota_project`",
    ),
    "api disabled": (
        rest(
            403,
            "BigQuery API has not been used in project acme before or it is disabled. Enable it by"
            " visiting https://console.developers.google.com/apis/api then retry.",
            "accessNotConfigured",
        ),
        errors.AccessError,
        "enable the API in the project",
    ),
    "billing": (
        rest(403, "Billing has not been enabled for this project.", "billingNotEnabled"),
        errors.AccessError,
        "enable billing",
    ),
    "perimeter": (
        rest(
            403,
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier:"
            " abc",
            "vpcServiceControls",
        ),
        errors.AccessError,
        "Identifier: abc; ask whoever keeps the service perimeter",
    ),
    # --- logins
    "expired token": (
        rest(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            "authError",
        ),
        errors.AccessError,
        "the login is not valid: Request had invalid authentication credentials",
    ),
    "expired token over grpc": (
        Rpc(grpc.StatusCode.UNAUTHENTICATED, "Request had invalid authentication credentials."),
        errors.AccessError,
        "the login is not valid",
    ),
    "revoked key": (
        logins.RefreshError(
            "invalid_grant: Invalid JWT Signature.",
            {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
        ),
        errors.AccessError,
        "the login was refused: invalid_grant: Invalid JWT Signature.; the key was revoked",
    ),
    "removed account": (
        logins.RefreshError("invalid_grant: Invalid grant: account not found", {"error": "x"}),
        errors.AccessError,
        "the key was revoked or its account removed",
    ),
    "clock": (
        logins.RefreshError(
            "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a"
            " reasonable timeframe. Check your iat and exp values in the JWT claim.",
            {"error": "invalid_grant"},
        ),
        errors.AccessError,
        "set this machine's clock",
    ),
    "a person's login ended": (
        logins.RefreshError(
            "Reauthentication is needed. Please run `gcloud auth application-default login` to"
            " reauthenticate."
        ),
        errors.AccessError,
        "log in again with `gcloud auth application-default login`",
    ),
    "impersonation denied": (
        logins.RefreshError(
            "Unable to acquire impersonated credentials",
            json.dumps(
                {
                    "error": {
                        "code": 403,
                        "message": "Permission 'iam.serviceAccounts.getAccessToken' denied on"
                        " resource (or it may not exist).",
                        "status": "PERMISSION_DENIED",
                    }
                }
            ),
        ),
        errors.AccessError,
        "iam.serviceAccounts.getAccessToken is missing; grant roles/iam.serviceAccountTokenCreator",
    ),
    "impersonation of nobody": (
        logins.RefreshError(
            "Unable to acquire impersonated credentials",
            json.dumps(
                {"error": {"code": 404, "message": f"Not found; Gaia id not found for email {SA}"}}
            ),
        ),
        errors.AccessError,
        "correct `impersonate`: there is no such service account",
    ),
    "workload identity not bound": (
        logins.RefreshError(
            "('Failed to retrieve http://metadata.google.internal/computeMetadata/v1/instance/"
            "service-accounts/default/token from the Google Compute Engine metadata service."
            ' Status: 403 Response:\\nb"Unable to generate access token; IAM returned 403'
            " Forbidden: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it"
            " may not exist).\"', <google.auth.transport.requests._Response object at 0x7f>)"
        ),
        errors.AccessError,
        "iam.serviceAccounts.getAccessToken is missing",
    ),
    "no login": (
        logins.DefaultCredentialsError(
            "Your default credentials were not found. To set up Application Default Credentials,"
            " see https://cloud.google.com/docs/authentication/external/set-up-adc for more"
            " information."
        ),
        errors.AccessError,
        f"{SUBJECT}: no Google credentials were found; run `gcloud auth application-default login`",
    ),
    "variable names no file": (
        logins.DefaultCredentialsError("File /no/key.json was not found."),
        errors.ConfigError,
        "File /no/key.json was not found.; correct GOOGLE_APPLICATION_CREDENTIALS",
    ),
    "metadata server away": (
        logins.TransportError(
            "Failed to retrieve http://metadata.google.internal/computeMetadata/v1/ from the Google"
            " Compute Engine metadata service. Compute Engine Metadata server unavailable"
        ),
        errors.TemporaryError,
        "no access token",
    ),
    "token server away": (
        logins.TransportError(requests.ConnectionError("x")),
        errors.ConnectionLostError,
        "the connection failed: x",
    ),
    "token server busy": (
        logins.RefreshError("internal_failure", {"error": "internal_failure"}, retryable=True),
        errors.TemporaryError,
        "no access token",
    ),
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
    "exists": (rest(409, "Already Exists: Job acme:EU.x", "duplicate"), base.ConflictError, "Exis"),
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


@pytest.mark.parametrize("name", CASES)
def test_refusal_becomes_one_line_with_its_code(name):
    exc, kind, text = CASES[name]
    found = google.explained(exc, SUBJECT, "me@x.com")
    assert type(found) is kind
    assert text in str(found)
    assert str(found).startswith(f"{SUBJECT}: ")
    assert "https://" not in str(found).replace("https://console.developers", "")
    assert "\n" not in str(found)


def test_bug_stays_a_bug():
    with pytest.raises(KeyError):
        google.explained(KeyError("x"), SUBJECT)
    with pytest.raises(urllib.error.URLError):
        google.explained(urllib.error.URLError("x"), SUBJECT)


def test_own_error_is_left_alone():
    error = errors.DataError("x")
    assert google.explained(error, SUBJECT) is error


def test_without_a_principal_it_is_this_login():
    text = str(google.explained(CASES["bigquery job"][0], SUBJECT))
    assert "this login does not have the permission bigquery.jobs.create" in text


RETRIED = {
    "rate of a project",
    "quota over grpc",
    "backend",
    "job backend error with status 400",
    "html",
    "empty 500",
    "unavailable over grpc",
    "deadline over grpc",
    "metadata server away",
    "token server away",
    "token server busy",
    "no network",
    "slow network",
    "reset",
    "cut body",
}


@pytest.mark.parametrize("name", CASES)
def test_retried_is_what_google_says(name):
    assert google.is_temporary(CASES[name][0]) is (name in RETRIED)


def test_retry_gives_up_at_its_deadline():
    seen = []

    def call():
        seen.append(1)
        raise exceptions.ServiceUnavailable("x")

    told = []
    with pytest.raises(exceptions.RetryError):
        google.retry(0.1, told.append)(call)()
    assert len(seen) > 1
    # The failure that ended it is not tried again, and told all the same.
    assert len(told) == len(seen)


@pytest.mark.parametrize(
    ("permission", "role"),
    [
        ("storage.objects.get", "roles/storage.objectViewer"),
        ("storage.objects.delete", "roles/storage.objectUser"),
        ("storage.buckets.get", "roles/storage.bucketViewer"),
        ("bigquery.tables.getData", "roles/bigquery.dataViewer"),
        ("bigquery.tables.updateData", "roles/bigquery.dataEditor"),
        ("bigquery.readsessions.getData", "roles/bigquery.readSessionUser"),
        ("serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer"),
        ("pubsub.topics.publish", "a role that holds pubsub.topics.publish"),
    ],
)
def test_role_for_a_permission(permission, role):
    assert refusal.role_for(permission) == role
