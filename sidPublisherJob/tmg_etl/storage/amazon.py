"""What the errors of Amazon's client mean to the user, in one place.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import re
from typing import Any

from tmg_etl import errors
from tmg_etl.storage import base

ABSENT_CODES = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})
CONFLICT_CODES = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})

_LOGIN_CODES = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "NotSignedUp",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
_LATER_CODES = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
# The permission that an operation needs where the answer does not name it.
_PERMISSIONS = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
_DENIED = re.compile(r"User: (\S+) is not authorized to perform: (\S+)")
_LOGIN_HINT = "give AWS credentials, as AWS_PROFILE, AWS_ACCESS_KEY_ID or a role of the machine"


def code_of(exc: BaseException) -> str:
    """Return S3's code, such as ``NoSuchKey``; empty when nothing was answered."""
    answer = getattr(exc, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def was_repeated(exc: BaseException) -> bool:
    """Return whether the client tried the call before: the first attempt may have worked."""
    answer = getattr(exc, "response", None)
    facts = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return int(facts.get("RetryAttempts", 0)) > 0


def explained(exc: BaseException, subject: str) -> errors.TmgEtlError:
    """Return the error that stands for an exception of boto3.

    Raises:
        BaseException: `exc` itself, when it is not boto3's: a bug stays a bug.
    """
    from botocore import exceptions

    if isinstance(exc, errors.TmgEtlError):
        return exc
    if isinstance(exc, exceptions.ClientError):
        return _answered(exc, subject)
    logins = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    if isinstance(exc, logins):
        return errors.AccessError(f"{subject}: {exc}", hint=_LOGIN_HINT)
    if isinstance(exc, (exceptions.NoRegionError, exceptions.ProfileNotFound)):
        return errors.ConfigError(f"{subject}: {exc}", hint="correct AWS_REGION or AWS_PROFILE")
    if isinstance(exc, (exceptions.ParamValidationError, exceptions.InvalidRegionError)):
        return errors.ConfigError(f"{subject}: {exc}", hint="correct the URL")
    if isinstance(exc, exceptions.FlexibleChecksumError):
        message = "the bytes read do not have the checksum that the store keeps"
        return errors.TemporaryError(f"{subject}: {message}", hint="run again")
    if isinstance(exc, exceptions.SSLError):
        return errors.ConfigError(
            f"{subject}: the server's certificate is not trusted",
            hint="name the certificates of your proxy in AWS_CA_BUNDLE",
        )
    if isinstance(exc, exceptions.BotoCoreError):
        return errors.ConnectionLostError(f"{subject}: {exc}", hint="run again later")
    if isinstance(exc, OSError):
        return errors.ConnectionLostError(f"{subject}: {exc}", hint="run again later")
    raise exc


def _answered(exc: Any, subject: str) -> errors.TmgEtlError:
    code, status = code_of(exc), exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = exc.response.get("Error", {}).get("Message") or code
    said = f"{subject}: {text}" if text != "None" else f"{subject}: {code}"
    if code in CONFLICT_CODES:
        return base.ConflictError(said, hint="another run works here; run again later")
    if code in _LATER_CODES or status in (408, 429) or status >= 500:
        return errors.TemporaryError(said, hint="run again later")
    if code in _REGION_CODES:
        return errors.ConfigError(said, hint="set AWS_REGION to the bucket's region")
    if code in _LOGIN_CODES or status == 401:
        hint = "set this machine's clock" if code == "RequestTimeTooSkewed" else _LOGIN_HINT
        return errors.AccessError(f"{subject}: the login was refused: {text}", hint=hint)
    if status == 403:
        return _forbidden(exc, subject, text)
    if code == "NoSuchBucket":
        bucket = base.split(subject)[0]
        message = f"{subject}: there is no bucket {bucket}"
        return errors.ConfigError(message, hint="check its name")
    return errors.ConfigError(said)


def _forbidden(exc: Any, subject: str, text: str) -> errors.AccessError:
    match = _DENIED.search(text)
    if match:
        who, permission = match.groups()
    else:
        who = "this login"
        permission = _PERMISSIONS.get(exc.operation_name, f"s3:{exc.operation_name}")
    return errors.AccessError(
        f"{subject}: {who} does not have the permission {permission}",
        hint="grant it in the role's or the bucket's policy, or use other credentials",
    )
