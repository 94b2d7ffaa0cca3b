"""Refused rights and logins: the exception, the error that it becomes, a part of its line."""

import json

import grpc
import requests
from google.api_core import exceptions
from google.auth import exceptions as logins

from tests.storage.google_answer import SUBJECT, Rpc, answered, download, rest
from tmg_etl import errors

SA = "sid@acme.iam.gserviceaccount.com"
GCS_DENIED = (
    f"{SA} does not have storage.objects.list access to the Google Cloud Storage bucket. Permission"
    " 'storage.objects.list' denied on resource (or it may not exist)."
)
GET_HINT = "grant roles/storage.objectViewer to it, or use other credentials"
JOB_HINT = "grant roles/bigquery.jobUser to it, or use other credentials"

REFUSALS = {
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
            "Permission denied on resource",
            errors=[Rpc(grpc.StatusCode.PERMISSION_DENIED, "")],
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
}
