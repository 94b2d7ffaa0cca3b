"""S3, and what speaks its protocol, by boto3. Credentials, region and endpoint are AWS's own.

A generation here is the ETag, also in buckets that keep versions: it is what listings give and what
S3's conditional requests take. Bytes that are equal may have equal ETags, which readers do not mind
and writers who race must not rely on: make such objects differ.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import threading
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from tmg_etl import errors
from tmg_etl.storage import amazon, base, near, stream, worker

TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two bytes of an answer."""

COPY_LIMIT_BYTES = 5 * 1024**3
"""The largest object that S3 copies in one request; others are copied in parts of that size."""

ATTEMPTS, FEW_ATTEMPTS = 8, 3
"""How often a call is tried: the pauses double up to 20 s, so that eight are about a minute."""

_THREADS = 8
_CONNECTIONS = 32
_TOKEN = "tmg-write"  # noqa: S105 - the name of a metadata key


class S3Store(base.Store):
    """The objects of S3.

    Args:
        credentials: must be empty: they are Google's.
        attempts: how often boto3 tries a call, by its own standard rules.
    """

    def __init__(
        self,
        credentials: base.Credentials = base.Credentials(),  # noqa: B008 - frozen
        *,
        attempts: int = ATTEMPTS,
    ) -> None:
        if credentials != base.Credentials():
            raise errors.ConfigError(
                "found Google credentials for s3://, which takes AWS's own",
                hint="remove `credentials` and set AWS_PROFILE or AWS_ACCESS_KEY_ID",
            )
        try:
            import boto3  # noqa: F401 - to say it before anything is read
        except ModuleNotFoundError:
            raise errors.ConfigError(
                "s3:// needs the Python package boto3, which is not installed",
                hint="pip install 'sidPublisherJob[s3]'",
            ) from None
        self._attempts = attempts
        self._lock = threading.Lock()
        self._made: Any = None
        self._threads: worker.Pool | None = None

    def list(self, prefix_url: str) -> Iterator[base.Facts]:
        """Yield every object whose URL starts with `prefix_url`, all pages, sorted by name."""
        bucket, prefix = base.split(prefix_url)
        with self.explaining(prefix_url):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    yield _facts(f"s3://{bucket}/{item['Key']}", item, item["Size"])

    def facts(self, url: str) -> base.Facts | None:
        """Return the object's facts; None when there is no such object."""
        answer = self._head(url)
        return _facts(url, answer, answer["ContentLength"]) if answer else None

    def read(self, url: str, *, generation: str | None = None, limit: int | None = None) -> bytes:
        """Return an object's bytes; the client verifies the checksum that S3 keeps of all."""
        bucket, name = base.split_object(url)
        options: dict[str, Any] = {"IfMatch": generation} if generation else {}
        if limit == 0:
            return b""
        if limit is not None:
            options["Range"] = f"bytes=0-{limit - 1}"
        with self.explaining(url):
            try:
                answer = self.client.get_object(Bucket=bucket, Key=name, **options)
                return bytes(answer["Body"].read())
            except _client_error() as error:
                code = amazon.code_of(error)
                if code == "InvalidRange":
                    return b""
                if generation and code in amazon.ABSENT_CODES | amazon.CONFLICT_CODES:
                    raise base.GoneError(url) from None
                if code in amazon.ABSENT_CODES:
                    hint = near.object_hint(self, url)
                    raise errors.ConfigError(f"there is no object {url}", hint=hint) from None
                raise

    def open(self, facts: base.Facts) -> BinaryIO:
        """Return a seekable, buffered stream of exactly the generation in `facts`."""
        bucket, name = base.split_object(facts.url)

        def fetch(start: int, end: int) -> bytes:
            span = f"bytes={start}-{end - 1}"
            with self.explaining(facts.url):
                try:
                    answer = self.client.get_object(
                        Bucket=bucket, Key=name, Range=span, IfMatch=facts.generation
                    )
                    return bytes(answer["Body"].read())
                except _client_error() as error:
                    gone = amazon.ABSENT_CODES | amazon.CONFLICT_CODES | {"InvalidRange"}
                    if amazon.code_of(error) in gone:
                        raise base.GoneError(facts.url) from None
                    raise

        return stream.opened(facts.size_bytes, fetch, self.pool())

    def write(
        self,
        url: str,
        data: bytes,
        *,
        expected: str | None = None,
        metadata: Mapping[str, str] = types.MappingProxyType({}),
    ) -> base.Facts:
        """Make an object of `data` in one step; the bytes' checksum is verified by the store."""
        bucket, name = base.split_object(url)
        token = uuid.uuid4().hex

        def put() -> Any:
            return self.client.put_object(
                Bucket=bucket,
                Key=name,
                Body=data,
                Metadata={**metadata, _TOKEN: token},
                **conditions(expected),
            )

        return self.conditional(url, expected, token, put, len(data))

    def create(self, url: str, *, expected: str | None = None) -> base.Writer:
        """Return a writer that uploads an object of any size in bounded memory."""
        from tmg_etl.storage import multipart

        return multipart.Upload(self, url, expected)

    def copy(self, source: base.Facts, url: str, *, expected: str | None = None) -> base.Facts:
        """Copy a generation to another name inside the store."""
        from tmg_etl.storage import multipart

        bucket, name = base.split_object(url)
        self.check(url, expected)
        if not self._is_there(source):
            raise base.GoneError(source.url)
        origin = dict(zip(("Bucket", "Key"), base.split_object(source.url), strict=True))
        if source.size_bytes > COPY_LIMIT_BYTES:
            return multipart.copied(self, source, url, expected)
        with self.explaining(url):
            try:
                answer = self.client.copy_object(
                    Bucket=bucket,
                    Key=name,
                    CopySource=origin,
                    CopySourceIfMatch=source.generation,
                    **conditions(expected),
                )
            except _client_error() as error:
                code = amazon.code_of(error)
                if code in amazon.CONFLICT_CODES and self._is_there(source):
                    # A copy that is repeated after its answer was lost meets itself.
                    if amazon.was_repeated(error) and self._is_copy(source, url):
                        found = self.facts(url)
                        if found:
                            return found
                    raise conflict(url, expected) from None
                if code in amazon.ABSENT_CODES | amazon.CONFLICT_CODES:
                    raise base.GoneError(source.url) from None
                raise
        return _facts(url, answer["CopyObjectResult"], source.size_bytes)

    def _is_copy(self, source: base.Facts, url: str) -> bool:
        """Return whether an object was copied from `source`, which had its mark or its ETag.

        What was uploaded in parts has another ETag than its copy.
        """
        found, origin = self._head(url), self._head(source.url)
        if not found or not origin:
            return False
        mark = origin.get("Metadata", {}).get(_TOKEN)
        if mark:
            return bool(found.get("Metadata", {}).get(_TOKEN) == mark)
        return str(found["ETag"]).strip('"') == source.generation

    def delete(self, url: str, *, generation: str | None = None) -> bool:
        """Remove an object; return False when it was not there."""
        bucket, name = base.split_object(url)
        found = self.facts(url)
        if found is None:
            return False
        if generation is not None and found.generation != generation:
            raise conflict(url, generation)
        options = {"IfMatch": generation} if generation else {}
        with self.explaining(url):
            try:
                self.client.delete_object(Bucket=bucket, Key=name, **options)
            except _client_error() as error:
                if amazon.code_of(error) in amazon.CONFLICT_CODES:
                    raise conflict(url, generation) from None
                if amazon.code_of(error) not in amazon.ABSENT_CODES:
                    raise
                return amazon.was_repeated(error)
        return True

    def close(self) -> None:
        """Give back connections. The store can be used again afterwards."""
        with self._lock:
            client, threads = self._made, self._threads
            self._made = self._threads = None
        if threads:
            threads.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            client.close()

    @property
    def client(self) -> Any:
        """Amazon's client, made on first use; it may be used from several threads."""
        with self._lock:
            if self._made is None:
                import boto3
                from botocore import config

                settings = config.Config(
                    connect_timeout=TIMEOUT_S[0],
                    read_timeout=TIMEOUT_S[1],
                    max_pool_connections=_CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                )
                # A session of our own: the default one is not for several threads.
                self._made = boto3.session.Session().client("s3", config=settings)
            return self._made

    @contextlib.contextmanager
    def explaining(self, url: str) -> Iterator[None]:
        """Turn what boto3 raises inside into our errors."""
        try:
            yield
        except (errors.TmgEtlError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - `explained` raises what it does not know
            raise amazon.explained(error, url) from None

    def check(self, url: str, expected: str | None) -> None:
        """Look whether an object is as `expected`.

        S3 checks it again when it writes; stores that only speak its protocol may not.

        Raises:
            base.ConflictError: it is not.
        """
        if expected is not None:
            found = self.facts(url)
            if (found.generation if found else base.ABSENT) != expected:
                raise conflict(url, expected)

    def conditional(
        self, url: str, expected: str | None, token: str, call: Any, size_bytes: int
    ) -> base.Facts:
        """Make an object by `call`, which carries `token` in its metadata; return its facts.

        Raises:
            base.ConflictError: the object is not as `expected`, and it is not what an earlier
                attempt of this very call made, whose answer was lost.
        """
        with self.explaining(url):
            try:
                answer = call()
            except _client_error() as error:
                code = amazon.code_of(error)
                refused = amazon.CONFLICT_CODES | amazon.ABSENT_CODES | {"NoSuchUpload"}
                if code not in refused:
                    raise
                found = self._head(url) if amazon.was_repeated(error) else None
                if found and found.get("Metadata", {}).get(_TOKEN) == token:
                    return _facts(url, found, size_bytes)
                if expected is not None and code != "NoSuchUpload":
                    raise conflict(url, expected) from None
                raise
        return _facts(url, answer, size_bytes)

    def _head(self, url: str) -> dict[str, Any] | None:
        bucket, name = base.split_object(url)
        with self.explaining(url):
            try:
                answer: dict[str, Any] = self.client.head_object(Bucket=bucket, Key=name)
                return answer
            except _client_error() as error:
                if amazon.code_of(error) not in amazon.ABSENT_CODES:
                    raise
                self._check_bucket(url, bucket)
                return None

    def _check_bucket(self, url: str, bucket: str) -> None:
        """Raise errors.ConfigError when it is the bucket that is missing: HEAD does not say."""
        try:
            self.client.head_bucket(Bucket=bucket)
        except _client_error() as error:
            if amazon.code_of(error) in amazon.ABSENT_CODES | {"NoSuchBucket"}:
                message = f"{url}: there is no bucket {bucket}"
                raise errors.ConfigError(message, hint="check its name") from None

    def _is_there(self, facts: base.Facts) -> bool:
        found = self.facts(facts.url)
        return found is not None and found.generation == facts.generation

    def pool(self) -> concurrent.futures.Executor:
        """Return the threads of this store, made on first use."""
        with self._lock:
            if self._threads is None:
                self._threads = worker.Pool(_THREADS)
            return self._threads


def conditions(expected: str | None) -> dict[str, str]:
    """Return `expected` as the arguments of a conditional request."""
    if expected is None:
        return {}
    return {"IfNoneMatch": "*"} if expected == base.ABSENT else {"IfMatch": expected}


def metadata(token: str) -> dict[str, str]:
    """Return the metadata by which a writer knows its own object."""
    return {_TOKEN: token}


def conflict(url: str, expected: str | None) -> base.ConflictError:
    """Return the error for a precondition that did not hold."""
    if expected == base.ABSENT:
        message = f"{url}: somebody else made this object first"
    else:
        message = f"{url}: somebody else changed this object; expected the ETag {expected}"
    return base.ConflictError(message, hint="another run works here; run again later")


def _facts(url: str, answer: Mapping[str, Any], size_bytes: int) -> base.Facts:
    # Answers to writes do not say when; the listing of the same object does.
    updated = answer.get("LastModified") or datetime.datetime.now(datetime.UTC)
    return base.Facts(
        url=url,
        size_bytes=int(size_bytes),
        generation=str(answer["ETag"]).strip('"'),
        updated=updated.astimezone(datetime.UTC),
    )


def _client_error() -> type[Exception]:
    from botocore import exceptions

    found: type[Exception] = exceptions.ClientError
    return found
