"""What a container registry has, and gets beside images: its HTTP interface, the same everywhere.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from tmg_etl import errors
from tmg_etl.launch import command, login, version

_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_TIMEOUT_S = 30
_NEXT = re.compile(r"<([^>]+)>;\s*rel=\"?next")


class VersionNotFoundError(errors.UsageError):
    """A version that is asked for is not there; says which are."""

    def __init__(self, wanted: str, place: str, known: list[str]) -> None:
        self.wanted, self.known = wanted, known
        listed = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        super().__init__(
            f"version {wanted} is not in {place}", hint=f"versions there: {listed or 'none'}"
        )


@dataclasses.dataclass(frozen=True)
class Blob:
    """Bytes in a registry, which are called by their digest.

    Attributes:
        kind: media type.
        data: the bytes.
    """

    kind: str
    data: bytes

    @property
    def digest(self) -> str:
        """``sha256:…``."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """How a manifest refers to it."""
        return {"mediaType": self.kind, "digest": self.digest, "size": len(self.data)}


def manifest(config: Blob, layer: Blob, **others: Any) -> Blob:
    """Return what a registry is told of something that is no image.

    Args:
        config: what describes it.
        layer: what it is.
        others: keys of the manifest beside these, as the specification names them.
    """
    content = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        **others,
        "config": config.descriptor,
        "layers": [layer.descriptor],
    }
    return Blob(_MANIFEST, json.dumps(content, indent=1).encode())


@dataclasses.dataclass(frozen=True)
class Repository:
    """The versions of one image in a registry.

    Attributes:
        host: name and port of the registry.
        path: of the image there.
    """

    host: str
    path: str
    _authorization: dict[str, str] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def parse(cls, name: str) -> Repository:
        """Return the repository of an image's name without version, ``host/path``."""
        host, _, path = name.partition("/")
        return cls(host, path)

    def __str__(self) -> str:
        """Return the image's name without version."""
        return f"{self.host}/{self.path}"

    @property
    def url(self) -> str:
        """Where the list of versions is."""
        return self._url("tags/list")

    def versions(self) -> list[str]:
        """Return the versions that are there, newest first; tags that are no versions are left out.

        Raises:
            errors.AccessError: the registry refuses.
            errors.TemporaryError: it cannot be reached, or fails.
        """
        found = (tag for tag in self._tags() if version.is_version(tag))
        return sorted(found, key=version.order, reverse=True)

    def digest(self, wanted: str) -> str | None:
        """Return ``sha256:…`` of a version; None when it is not there.

        Raises:
            errors.AccessError: the registry refuses.
            errors.TemporaryError: it cannot be reached, or fails.
        """
        answer = self._ask("HEAD", f"manifests/{wanted}", may_miss=True)
        return None if answer is None else answer.headers["Docker-Content-Digest"]

    def resolve(self, wanted: str) -> str:
        """Return ``host/path@sha256:…`` of a version.

        Raises:
            VersionNotFoundError: it is not there.
        """
        digest = self.digest(wanted)
        if digest is None:
            raise VersionNotFoundError(wanted, str(self), self.versions())
        return f"{self}@{digest}"

    def read(self, wanted: str) -> tuple[Blob, dict[str, Any]]:
        """Return the manifest of a version, and what it says.

        Args:
            wanted: a version or digest.

        Raises:
            VersionNotFoundError: it is not there.
        """
        answer = self._ask("GET", f"manifests/{wanted}", may_miss=True)
        if answer is None:
            raise VersionNotFoundError(wanted, str(self), self.versions())
        return Blob(answer.headers["Content-Type"], answer.body), json.loads(answer.body)

    def fetch(self, descriptor: dict[str, Any]) -> Blob:
        """Return the bytes that a manifest refers to.

        Raises:
            errors.DataError: the registry sends others.
        """
        answer = self._ask("GET", f"blobs/{descriptor['digest']}")
        assert answer is not None
        found = Blob(descriptor["mediaType"], answer.body)
        if found.digest != descriptor["digest"]:
            raise errors.DataError(
                f"the registry {self.host} sends other bytes for {self.path} than it promised: "
                f"found {found.digest}, expected {descriptor['digest']}"
            )
        return found

    def write(self, tag: str, made: Blob, *parts: Blob) -> None:
        """Put a manifest, and what it refers to, under a name.

        Args:
            tag: a version, or a digest.
            made: the manifest; see `manifest`.
            parts: its config and layers.
        """
        for part in parts:
            if self._ask("HEAD", f"blobs/{part.digest}", may_miss=True) is None:
                begun = self._ask("POST", "blobs/uploads/", content=Blob("", b""))
                assert begun is not None
                place = urllib.parse.urljoin(self._url("blobs/uploads/"), begun.headers["Location"])
                mark = "&" if "?" in place else "?"
                digest = urllib.parse.quote(part.digest)
                binary = Blob("application/octet-stream", part.data)
                self._ask("PUT", f"{place}{mark}digest={digest}", content=binary)
        self._ask("PUT", f"manifests/{tag}", content=made)

    def attach(self, subject: str, made: Blob, *parts: Blob) -> None:
        """Put something beside an image that refers to it, as its list of contents.

        Args:
            subject: digest of the image.
            made: its manifest, which names the image as its `subject`.
            parts: its config and layer.
        """
        self.write(made.digest, made, *parts)
        if self._ask("GET", f"referrers/{subject}", may_miss=True) is not None:
            return
        # An older registry has no list of what refers to an image: a tag stands in for it.
        known = self.attached(subject)
        kind = json.loads(made.data)["artifactType"]
        new = {**made.descriptor, "artifactType": kind}
        if made.digest not in {one["digest"] for one in known}:
            listed = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*known, new]}
            self.write(_referrers(subject), Blob(_INDEX, json.dumps(listed).encode()))

    def attached(self, subject: str) -> list[dict[str, Any]]:
        """Return descriptors of what refers to an image.

        Args:
            subject: digest of the image.
        """
        for place in (f"referrers/{subject}", f"manifests/{_referrers(subject)}"):
            answer = self._ask("GET", place, may_miss=True)
            if answer is not None:
                found: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
                return found
        return []

    def delete(self, wanted: str, *, dry_run: bool = False) -> None:
        """Remove a version, its tags, and what refers to it.

        Args:
            wanted: the version.
            dry_run: print what would be done only.
        """
        digest = self.digest(wanted)
        if digest is None:
            return
        if login.is_google(self.host):
            # Artifact Registry removes no manifest that is tagged, but by this command.
            program = ["gcloud", "artifacts", "docker", "images", "delete"]
            options = ["--delete-tags", "--quiet"]
            command.run([*program, f"{self}@{digest}", *options], dry_run=dry_run)
        elif dry_run:
            command.run(["curl", "-X", "DELETE", self._url(f"manifests/{digest}")], dry_run=True)
        else:
            for one in self.attached(digest):
                self._ask("DELETE", f"manifests/{one['digest']}", may_miss=True)
            listed = self.digest(_referrers(digest))
            for gone in (listed, digest):
                if gone:
                    self._ask("DELETE", f"manifests/{gone}")

    def _tags(self) -> Iterator[str]:
        place: str | None = "tags/list?n=1000"
        while place:
            answer = self._ask("GET", place, may_miss=True)
            if answer is None:
                return
            yield from json.loads(answer.body).get("tags") or []
            following = _NEXT.search(answer.headers.get("Link", ""))
            place = following[1] if following else None

    def _url(self, place: str) -> str:
        host = "registry-1.docker.io" if self.host == login.HUB else self.host
        start = f"{'http' if login.is_local(host) else 'https'}://{host}"
        return urllib.parse.urljoin(f"{start}/v2/{self.path}/", place)

    def _ask(
        self, method: str, place: str, *, content: Blob | None = None, may_miss: bool = False
    ) -> _Answer | None:
        if login.is_google(self.host) and (known := login.find(self.host)):
            # It takes the login itself: one request less, and who has none is told at once.
            self._authorization.setdefault("Authorization", known.basic)
        try:
            try:
                return self._send(method, place, content)
            except urllib.error.HTTPError as refusal:
                refusal.close()
                if not self._is_let_in(refusal, method):
                    raise
            return self._send(method, place, content)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            if refusal.code == http.HTTPStatus.NOT_FOUND and may_miss:
                return None
            raise self._refused(refusal) from None
        except (OSError, http.client.HTTPException) as trouble:
            reason = getattr(trouble, "reason", trouble)
            raise errors.ConnectionLostError(
                f"the registry {self.host} cannot be reached: {reason}"
            ) from None

    def _send(self, method: str, place: str, content: Blob | None) -> _Answer:
        headers = {"Accept": _ACCEPTED}
        if content and content.kind:
            headers["Content-Type"] = content.kind
        # The scheme is ours: `_url` begins with it.
        request = urllib.request.Request(  # noqa: S310
            self._url(place), content.data if content else None, headers, method=method
        )
        for name, value in self._authorization.items():
            # A registry may send on to where its files are, which is somebody else.
            request.add_unredirected_header(name, value)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return _Answer(answer.headers, answer.read())

    def _is_let_in(self, refusal: urllib.error.HTTPError, method: str) -> bool:
        """Log in as a refusal asks for; tell whether that is new."""
        challenge = refusal.headers.get("WWW-Authenticate", "")
        if refusal.code != http.HTTPStatus.UNAUTHORIZED or not challenge:
            return False
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "pull,push")
        found = login.answer(challenge, self.host, f"repository:{self.path}:{actions}")
        if found is None or found == self._authorization.get("Authorization"):
            return False
        self._authorization.update(Authorization=found)
        return True

    def _refused(self, refusal: urllib.error.HTTPError) -> errors.TmgEtlError:
        message = (
            f"the registry {self.host} answers {refusal.code} {refusal.reason} for {self.path}"
        )
        if refusal.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            is_google = login.is_google(self.host)
            how = "gcloud auth login" if is_google else f"docker login {self.host}"
            hint = f"log in with `{how}`, and have the right to use {self.path}"
            return errors.AccessError(message, hint=hint)
        if refusal.code == http.HTTPStatus.METHOD_NOT_ALLOWED:
            return errors.ConfigError(message, hint="use the registry's own commands or web page")
        return errors.TemporaryError(message, hint="try again later")


def _referrers(subject: str) -> str:
    """Return the tag that lists what refers to an image, where the registry has no list itself."""
    return subject.replace(":", "-")


@dataclasses.dataclass(frozen=True)
class _Answer:
    headers: Any
    body: bytes
