"""Where a config file may lie: one opener for each scheme of a location."""

from __future__ import annotations

import dataclasses
import pathlib
import posixpath
import re
import urllib.parse
from collections.abc import Callable

from tmg_etl import errors, storage
from tmg_etl.storage import base as storage_base

SIZE_LIMIT_BYTES = 4 * 1024 * 1024
"""A config is written by hand. The limit keeps a device or a data file out of memory."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_EXPECTED = "expected a YAML config file"
# Somebody may wait for it: a run that began is more patient.
_PATIENCE_S = 20.0
# ``gs://bucket/object#generation``, as gcloud writes it and the ledger records it; an ETag on S3.
_GENERATION = re.compile(r"#([0-9]{10,19}|[0-9a-f]{32}(?:-[0-9]+)?)$")


@dataclasses.dataclass(frozen=True)
class Document:
    """A config file as it was read.

    Attributes:
        text: its content.
        location: where exactly it was; an object's with its generation, ``gs://bucket/name#17…``,
            which reads the same content again as long as the bucket keeps that generation.
    """

    text: str
    location: str


def read(location: str) -> str:
    """Return the text of the config file at `location`; see `fetch`."""
    return fetch(location).text


def fetch(location: str) -> Document:
    """Return the config file at `location`.

    Args:
        location: a path, or a URL whose scheme is in `OPENERS`.

    Raises:
        errors.ConfigError: no such file, a directory, not UTF-8, too large, or an unknown scheme.
        errors.AccessError: the file exists and may not be read, or the login is refused.
        errors.TemporaryError: the bucket cannot be reached.
    """
    match = _SCHEME.match(location)
    opener = OPENERS.get(match[1].lower() if match else "")
    if opener is None:
        raise errors.ConfigError(
            f"found a location with the scheme {match[1] if match else ''}://, "
            f"which is not built into this version, expected a local path, gs:// or s3://",
            where=errors.redact(location),
            hint="copy the file here and give its path",
        )
    data, exact = opener(location)
    if len(data) > SIZE_LIMIT_BYTES:
        limit = f"{SIZE_LIMIT_BYTES // 1024 // 1024} MiB"
        raise errors.ConfigError(f"found more than {limit}, {_EXPECTED}", where=location)
    try:
        return Document(data.decode("utf-8-sig"), exact)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise errors.ConfigError(
            f"found bytes that are not UTF-8 text, {_EXPECTED}",
            where=f"{location}:{line}",
            hint="save it with the encoding UTF-8",
        ) from None


def folder_of(location: str) -> pathlib.Path:
    """Return the absolute local folder that relative paths in the config start at.

    Symbolic links are kept: a mounted ConfigMap is a link into a folder whose name changes. A
    config in a bucket has no such folder: the working directory takes its place.
    """
    if storage.is_object_url(location):
        return pathlib.Path.cwd()
    return _path(location).absolute().parent


def beside(location: str, path: str) -> str:
    """Return the URL of what a relative path means in a config that lies in a bucket.

    Args:
        location: of the config, ``gs://…`` or ``s3://…``.
        path: as written: ``lake/``, ``../lake``, ``.``.

    Raises:
        errors.ConfigError: the path leads out of the bucket.
    """
    bucket, name = storage_base.split(location)
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), path))
    climbs = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).startswith("..")
    if climbs:
        raise errors.ConfigError(
            f"found the path {path!r}, which leads out of the bucket {bucket}",
            hint="write a whole URL or an absolute path",
        )
    below = joined.strip("/")
    return f"{storage_base.scheme_of(location)}://{bucket}/{below}{'/' if below else ''}"


def _path(location: str) -> pathlib.Path:
    if _SCHEME.match(location):
        return pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(location).path))
    return pathlib.Path(location)


def _read_object(location: str) -> tuple[bytes, str]:
    """Return an object of a bucket, as whoever this machine or pod is."""
    match = _GENERATION.search(location)
    url = location[: match.start()] if match else location
    _, name = storage_base.split(url)
    if not name or name.endswith("/"):
        kind = "folder" if name else "bucket"
        raise errors.ConfigError(
            f"found the URL of a {kind}, {_EXPECTED}",
            where=location,
            hint=f"name the file inside it: {url.rstrip('/')}/config.yaml",
        )
    store = storage.open_store(url, patience_s=_PATIENCE_S)
    try:
        if match:
            return _read_generation(store, url, match[1]), location
        facts = store.facts(url)
        generation = facts.generation if facts else None
        data = store.read(url, generation=generation, limit=SIZE_LIMIT_BYTES + 1)
        return data, f"{url}#{generation}" if generation else url
    finally:
        store.close()


def _read_generation(store: storage_base.Store, url: str, generation: str) -> bytes:
    try:
        return store.read(url, generation=generation, limit=SIZE_LIMIT_BYTES + 1)
    except storage_base.GoneError:
        if store.facts(url) is None:
            return store.read(url)
        raise errors.ConfigError(
            f"the object has no generation {generation} any more",
            where=url,
            hint="leave it out to read the current one",
        ) from None


def _read_local(location: str) -> tuple[bytes, str]:
    path = _path(location)
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT_BYTES + 1), location
    except (FileNotFoundError, NotADirectoryError):
        message, hint = "there is no such file", f"looked in {path.absolute().parent}"
    except IsADirectoryError:
        message, hint = f"found a directory, {_EXPECTED}", "name the file inside it"
    except PermissionError:
        raise errors.AccessError(
            "the config file may not be read by this user", where=location, hint="grant read access"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message, hint = f"the config file cannot be read: {reason}", "check the path"
    raise errors.ConfigError(message, where=location or "''", hint=hint)


OPENERS: dict[str, Callable[[str], tuple[bytes, str]]] = {
    "": _read_local,
    "file": _read_local,
    "gs": _read_object,
    "s3": _read_object,
}
"""Scheme → reader of at most `SIZE_LIMIT_BYTES` + 1 bytes and where exactly they were."""
