"""Where a config file may lie: one opener for each scheme of a location."""

from __future__ import annotations

import pathlib
import re
import urllib.parse
from collections.abc import Callable

from tmg_etl import errors

SIZE_LIMIT_BYTES = 4 * 1024 * 1024
"""A config is written by hand. The limit keeps a device or a data file out of memory."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_EXPECTED = "expected a YAML config file"


def read(location: str) -> str:
    """Return the text of the config file at `location`.

    Args:
        location: a path, or a URL whose scheme is in `OPENERS`.

    Raises:
        errors.ConfigError: no such file, a directory, not UTF-8, too large, or an unknown scheme.
        errors.AccessError: the file exists and may not be read.
    """
    match = _SCHEME.match(location)
    opener = OPENERS.get(match[1].lower() if match else "")
    if opener is None:
        raise errors.ConfigError(
            f"found a location with the scheme {match[1] if match else ''}://, "
            f"which is not built into this version, expected a local path or file://",
            where=errors.redact(location),
            hint="copy the file here and give its path",
        )
    data = opener(location)
    if len(data) > SIZE_LIMIT_BYTES:
        limit = f"{SIZE_LIMIT_BYTES // 1024 // 1024} MiB"
        raise errors.ConfigError(f"found more than {limit}, {_EXPECTED}", where=location)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise errors.ConfigError(
            f"found bytes that are not UTF-8 text, {_EXPECTED}",
            where=f"{location}:{line}",
            hint="save it with the encoding UTF-8",
        ) from None


def folder_of(location: str) -> pathlib.Path:
    """Return the absolute folder that relative paths in the config start at.

    Symbolic links are kept: a mounted ConfigMap is a link into a folder whose name changes.
    """
    return _path(location).absolute().parent


def _path(location: str) -> pathlib.Path:
    if _SCHEME.match(location):
        return pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(location).path))
    return pathlib.Path(location)


def _read_local(location: str) -> bytes:
    path = _path(location)
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT_BYTES + 1)
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


OPENERS: dict[str, Callable[[str], bytes]] = {"": _read_local, "file": _read_local}
"""Scheme → reader of at most `SIZE_LIMIT_BYTES` + 1 bytes. The one place to add gs:// and s3://."""
