"""What Amazon's refusals become, and S3's store where moto is asked or fails on purpose."""

import os
import secrets

import pytest
from botocore import exceptions

from tests.storage.conftest import Place
from tmg_etl import errors, storage
from tmg_etl.storage import amazon, base, multipart
from tmg_etl.storage import s3 as s3_module

MIB = 1024 * 1024
SUBJECT = "s3://lake/x"
ARN = "arn:aws:iam::123456789012:user/sid"


def answer(code, message, status, operation="GetObject", attempts=0):
    facts = {"HTTPStatusCode": status, "RetryAttempts": attempts}
    return exceptions.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": facts}, operation
    )


# What several answers become, and a part of the line.
LOGIN = (errors.AccessError, "the login was refused")
LATER = (errors.TemporaryError, "run again later")
OTHER_RUN = (base.ConflictError, "another run works here")

CASES = {
    "denied, with words": (
        answer(
            "AccessDenied",
            f"User: {ARN} is not authorized to perform: s3:GetObject on resource: "
            '"arn:aws:s3:::lake/x" because no identity-based policy allows the s3:GetObject action',
            403,
        ),
        errors.AccessError,
        f"{SUBJECT}: {ARN} does not have the permission s3:GetObject; grant it in the role's",
    ),
    "denied, without": (
        answer("AccessDenied", "Access Denied", 403, "ListObjectsV2"),
        errors.AccessError,
        f"{SUBJECT}: this login does not have the permission s3:ListBucket",
    ),
    "denied head": (
        answer("403", "Forbidden", 403, "HeadObject"),
        errors.AccessError,
        "does not have the permission s3:GetObject",
    ),
    "expired": (
        answer("ExpiredToken", "The provided token has expired.", 400),
        errors.AccessError,
        "the login was refused: The provided token has expired.; give AWS credentials",
    ),
    "unknown key": (
        answer("InvalidAccessKeyId", "The AWS Access Key Id does not exist in our records.", 403),
        *LOGIN,
    ),
    "wrong key": (
        answer("SignatureDoesNotMatch", "The request signature does not match", 403),
        *LOGIN,
    ),
    "clock": (
        answer("RequestTimeTooSkewed", "The difference is too large.", 403),
        errors.AccessError,
        "set this machine's clock",
    ),
    "no bucket": (
        answer("NoSuchBucket", "The specified bucket does not exist", 404),
        errors.ConfigError,
        f"{SUBJECT}: there is no bucket lake; check its name",
    ),
    "other region": (
        answer("PermanentRedirect", "The bucket must be addressed using its endpoint.", 301),
        errors.ConfigError,
        "set AWS_REGION to the bucket's region",
    ),
    "slow down": (
        answer("SlowDown", "Please reduce your request rate.", 503),
        errors.TemporaryError,
        "Please reduce your request rate.; run again later",
    ),
    "internal": (answer("InternalError", "We encountered an internal error.", 500), *LATER),
    "conflict": (
        answer("PreconditionFailed", "At least one of the preconditions did not hold", 412),
        *OTHER_RUN,
    ),
    "race": (
        answer("ConditionalRequestConflict", "A conflicting operation occurred", 409, "PutObject"),
        *OTHER_RUN,
    ),
    "wrong argument": (
        answer("InvalidBucketName", "The specified bucket is not valid.", 400),
        errors.ConfigError,
        f"{SUBJECT}: The specified bucket is not valid.",
    ),
    "no credentials": (
        exceptions.NoCredentialsError(),
        errors.AccessError,
        f"{SUBJECT}: Unable to locate credentials; give AWS credentials",
    ),
    "no profile": (
        exceptions.ProfileNotFound(profile="x"),
        errors.ConfigError,
        "correct AWS_REGION or AWS_PROFILE",
    ),
    "away": (
        exceptions.EndpointConnectionError(endpoint_url="https://s3.eu-west-1.amazonaws.com"),
        errors.ConnectionLostError,
        "Could not connect",
    ),
    "cut": (
        exceptions.ResponseStreamingError(error="Connection broken"),
        errors.ConnectionLostError,
        "Connection broken",
    ),
    "slow": (
        exceptions.ReadTimeoutError(endpoint_url="x"),
        errors.ConnectionLostError,
        "Read timeout",
    ),
    "certificate": (
        exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED"),
        errors.ConfigError,
        "AWS_CA_BUNDLE",
    ),
    "damaged": (
        exceptions.FlexibleChecksumError(error_msg="Expected checksum x did not match y"),
        errors.TemporaryError,
        "do not have the checksum",
    ),
    "socket": (ConnectionResetError(104, "Reset"), errors.ConnectionLostError, "Reset"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusal_becomes_one_line_with_its_code(name):
    exc, kind, text = CASES[name]
    found = amazon.explained(exc, SUBJECT)
    assert type(found) is kind
    assert text in str(found)
    assert str(found).startswith(f"{SUBJECT}: ")


def test_bug_stays_a_bug():
    with pytest.raises(KeyError):
        amazon.explained(KeyError("x"), SUBJECT)


# --- answers that are lost: the client's repeated call meets its own first one


@pytest.fixture
def refuse_once(s3: Place, monkeypatch: pytest.MonkeyPatch):
    """Carry an operation out, and answer what a repeated one would get."""

    def arrange(operation, code, status):
        client = s3.store.client
        real = getattr(client, operation)

        def first(**arguments):
            monkeypatch.setattr(client, operation, real)
            real(**arguments)
            raise answer(code, "", status, attempts=1)

        monkeypatch.setattr(client, operation, first)

    return arrange


def test_repeated_write_knows_its_own_object(s3, refuse_once):
    refuse_once("put_object", "PreconditionFailed", 412)
    made = s3.store.write(s3.url("x"), b"mine", expected=base.ABSENT)
    assert made == s3.store.facts(s3.url("x"))


def test_repeated_upload_knows_its_own_object(s3, refuse_once):
    refuse_once("complete_multipart_upload", "NoSuchUpload", 404)
    with s3.store.create(s3.url("x"), expected=base.ABSENT) as writer:
        writer.write(bytes(20 * MIB))
    assert writer.facts == s3.store.facts(s3.url("x"))


@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_repeated_copy_knows_its_own_object(s3, refuse_once, size):
    # Of parts its ETag is another one than that of its copy.
    with s3.store.create(s3.url("a")) as writer:
        writer.write(bytes(size))
    refuse_once("copy_object", "PreconditionFailed", 412)
    made = s3.store.copy(writer.facts, s3.url("b"), expected=base.ABSENT)
    assert made == s3.store.facts(s3.url("b"))


def test_refused_copy_is_not_taken_for_a_repeated_one(s3, monkeypatch):
    source = s3.store.write(s3.url("a"), b"mine")
    other = s3.store.write(s3.url("b"), b"another run's")

    def refused(**_):
        raise answer("PreconditionFailed", "", 412, attempts=1)

    monkeypatch.setattr(s3.store.client, "copy_object", refused)
    with pytest.raises(base.ConflictError):
        s3.store.copy(source, s3.url("b"), expected=other.generation)


def test_refused_write_is_not_taken_for_a_repeated_one(s3, monkeypatch):
    s3.store.write(s3.url("x"), b"another run's")

    def refused(**_):
        raise answer("PreconditionFailed", "", 412, attempts=1)

    monkeypatch.setattr(s3.store.client, "put_object", refused)
    with pytest.raises(base.ConflictError):
        s3.store.write(s3.url("x"), b"mine", expected=base.ABSENT)


def test_repeated_delete_says_that_it_was_there(s3, refuse_once):
    made = s3.store.write(s3.url("x"), b"x")
    refuse_once("delete_object", "NoSuchKey", 404)
    assert s3.store.delete(made.url, generation=made.generation)


# --- sizes


def test_abandoned_upload_leaves_no_parts(s3):
    writer = s3.store.create(s3.url("x"))
    with pytest.raises(KeyboardInterrupt), writer:
        interrupted(writer)
    found = s3.store.client.list_multipart_uploads(Bucket=s3.bucket_url.removeprefix("s3://"))
    assert found.get("Uploads", []) == []


def interrupted(writer):
    writer.write(bytes(20 * MIB))
    raise KeyboardInterrupt


def test_parts_grow_so_that_their_number_is_enough(s3, monkeypatch):
    monkeypatch.setattr(multipart, "PIECE_BYTES", 5 * MIB)
    monkeypatch.setattr(multipart, "_GROW_EVERY", 2)
    with s3.store.create(s3.url("x")) as writer:
        writer.write(bytes(40 * MIB))
    bucket = s3.bucket_url.removeprefix("s3://")
    sizes = [
        s3.store.client.head_object(Bucket=bucket, Key="x", PartNumber=number)["ContentLength"]
        for number in (1, 2, 3, 4)
    ]
    assert [size // MIB for size in sizes] == [5, 5, 10, 10]
    # The largest object that S3 takes.
    total = sum((8 * MIB << part // 1000) for part in range(10_000))
    assert total > 5 * 1024**4


def test_copy_that_is_too_large_for_one_request(s3, monkeypatch):
    data = os.urandom(MIB) * 16
    source = s3.store.write(s3.url("a"), data)
    monkeypatch.setattr(s3_module, "COPY_LIMIT_BYTES", 6 * MIB)
    made = s3.store.copy(source, s3.url("b"))
    assert s3.store.read(s3.url("b")) == data
    assert made == s3.store.facts(s3.url("b"))
    with pytest.raises(base.ConflictError):
        s3.store.copy(source, s3.url("b"), expected=base.ABSENT)


def test_metadata_is_kept_with_the_object(s3):
    s3.store.write(s3.url("x"), b"x", metadata={"run": "r1"})
    found = s3.store.client.head_object(Bucket=s3.bucket_url.removeprefix("s3://"), Key="x")
    assert found["Metadata"]["run"] == "r1"


def test_nobody_is_logged_in(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = storage.open_store("s3")
    with pytest.raises(errors.AccessError, match="give AWS credentials, as AWS_PROFILE"):
        store.facts(s3.url("x"))


def test_nobody_listens(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    store = s3_module.S3Store(attempts=1)
    with pytest.raises(errors.ConnectionLostError, match="Could not connect"):
        store.facts(f"s3://lake-{secrets.token_hex(4)}/x")
