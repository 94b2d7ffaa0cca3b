"""`${NAME}`, `${NAME:-default}`, `${secret:NAME}` and `$$` in the text values of a config.

A secret is a mounted file, or with the name ``projects/P/secrets/N`` one of Secret Manager.

Values are filled in after YAML was read and environments were merged: a value can never change the
structure, and a variable that only another environment needs may be unset.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import urllib.parse
from collections.abc import Mapping

from tmg_etl import errors
from tmg_etl.config import problem, tree
from tmg_etl.storage import secret

SECRETS_DIR_VARIABLE = "TMG_ETL_SECRETS_DIR"
SECRETS_DIR = pathlib.Path("/var/run/secrets/tmg_etl")
"""Where a Pod's Secret is mounted: one file for each secret."""

SECRET_SIZE_LIMIT_BYTES = 64 * 1024

MASK = "***"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(rf"{secret.NAME.pattern}|[A-Za-z0-9_][A-Za-z0-9._-]*")
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_MARK = re.compile(r"\$\$|\$\{|\}")
_UNCLOSED = "found ${ without its closing }"
_DOLLAR = "write $$ for a plain dollar sign"
# User and password of a URL, where each reference was replaced by one NUL.
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#@]*)@")
_URL_PASSWORD = re.compile(
    r"(?P<head>[A-Za-z][A-Za-z0-9+.-]*://[^:/?#\s@]*):(?P<password>.*)@", re.DOTALL
)
_QUERY_PASSWORD = re.compile(
    r"(?P<head>[?&;][^=&;#]*(?:password|passwd|secret|token|key|credential)[^=&;#]*=)[^&;#]+",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or option of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def mask_url(text: str) -> str:
    """Return `text` with the password of a URL, before the host or in the query, as ``***``."""
    text = _URL_PASSWORD.sub(rf"\g<head>:{MASK}@", text)
    return _QUERY_PASSWORD.sub(rf"\g<head>{MASK}", text) if "://" in text else text


def url_passwords(text: str) -> set[str]:
    """Return the password of a URL as written and decoded; empty when there is none."""
    match = _URL_PASSWORD.search(text)
    password = match["password"] if match else ""
    return {password, urllib.parse.unquote(password)} - {""}


@dataclasses.dataclass(frozen=True, slots=True)
class _Reference:
    """One ``${…}``: a variable, or a secret when `is_secret`. `default` is None when not given."""

    name: str
    is_secret: bool
    default: list[str | _Reference] | None


class _FaultError(Exception):
    """A reference that cannot be resolved: message, hint, and whether access was denied."""

    def __init__(self, message: str, hint: str, *, denied: bool = False) -> None:
        self.message, self.hint, self.denied = message, hint, denied
        super().__init__(message)


class Resolver:
    """Fills references in, and remembers which values are secrets.

    Args:
        environ: the variables to read; None means the process's own.

    Attributes:
        secrets: every secret value met so far, as text that could turn up in a message.
        problems: every reference that could not be resolved.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._secrets_dir = pathlib.Path(self._environ.get(SECRETS_DIR_VARIABLE) or SECRETS_DIR)
        self._fetched: dict[str, bytes | None] = {}
        self.secrets: set[str] = set()
        self.problems: list[problem.Problem] = []

    def resolve(self, node: tree.Node, path: problem.Path = ()) -> tree.Node:
        """Return `node` with every reference filled in, and secrets masked beside their values."""
        if isinstance(node.value, dict):
            below = {key: self.resolve(child, (*path, key)) for key, child in node.value.items()}
            return dataclasses.replace(node, value=below)
        if isinstance(node.value, list):
            items = [self.resolve(child, (*path, index)) for index, child in enumerate(node.value)]
            return dataclasses.replace(node, value=items)
        if not isinstance(node.value, str):
            return node
        try:
            value, masked = self._expand(node.value)
        except _FaultError as fault:
            self.problems.append(
                problem.Problem(node.line, path, fault.message, fault.hint, fault.denied)
            )
            return node
        return self._protect(node, path, value, masked)

    def _protect(self, node: tree.Node, path: problem.Path, value: str, masked: str) -> tree.Node:
        self.secrets |= url_passwords(value)
        is_option = len(path) > 1 and path[-2] == "options"
        if is_option and isinstance(path[-1], str) and is_secret_name(path[-1]) and value:
            self.secrets.add(value)
            masked = MASK
        masked = mask_url(masked)
        return dataclasses.replace(node, value=value, masked=None if masked == value else masked)

    def _expand(self, text: str) -> tuple[str, str]:
        """Return `text` filled in, and the same with secrets masked."""
        parts = _split(text)
        template = "".join(part if isinstance(part, str) else "\0" for part in parts)
        userinfo = _USERINFO.match(template)
        value = masked = ""
        offset = 0
        for part in parts:
            if isinstance(part, str):
                value, masked, offset = value + part, masked + part, offset + len(part)
                continue
            found, is_secret = self._lookup(part)
            if userinfo and userinfo.start(1) <= offset < userinfo.end(1):
                # A password is kept raw in its variable; in a URL an @ or / in it would be read as
                # the end of the password, and the rest of it as a host name that messages show.
                found = urllib.parse.quote(found, safe="")
            value += found
            if is_secret and found:
                self.secrets |= {found, urllib.parse.unquote(found)}
                masked += MASK
            else:
                masked += found
            offset += 1
        return value, masked

    def _lookup(self, reference: _Reference) -> tuple[str, bool]:
        if reference.is_secret:
            found = self._read_secret(reference.name, required=reference.default is None)
        else:
            found = self._environ.get(reference.name)
        is_secret = reference.is_secret or is_secret_name(reference.name)
        if reference.default is not None and not found:
            pieces = [
                (part, False) if isinstance(part, str) else self._lookup(part)
                for part in reference.default
            ]
            return "".join(text for text, _ in pieces), is_secret or any(flag for _, flag in pieces)
        if found is None:
            name = reference.name
            raise _FaultError(
                f"found the variable {name} unset, expected a value",
                f"export {name}=… or write ${{{name}:-default}}",
            )
        return found, is_secret

    def _fetch_secret(self, name: str, *, required: bool) -> str | None:
        """Return a secret of Secret Manager, fetched once."""
        if name not in self._fetched:
            try:
                self._fetched[name] = secret.read(name)
            except (errors.AccessError, errors.ConfigError) as error:
                denied = isinstance(error, errors.AccessError)
                hint = error.hint or "enable the version, or name another"
                raise _FaultError(error.message, hint, denied=denied) from None
        data = self._fetched[name]
        if data is None:
            if not required:
                return None
            raise _FaultError(
                f"found no secret {name} in Secret Manager",
                "check project and name, and that it has an enabled version",
            )
        try:
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _FaultError(
                f"found bytes that are not UTF-8 text in the secret {name}", "store it as text"
            ) from None

    def _read_secret(self, name: str, *, required: bool) -> str | None:
        if "/" in name:
            return self._fetch_secret(name, required=required)
        file = self._secrets_dir / name
        hint = f"mount the secret there, or set {SECRETS_DIR_VARIABLE} to the folder that holds it"
        try:
            with file.open("rb") as opened:
                data = opened.read(SECRET_SIZE_LIMIT_BYTES + 1)
        except FileNotFoundError:
            if not required:
                return None
            raise _FaultError(f"found no file {file} for the secret {name}", hint) from None
        except PermissionError:
            raise _FaultError(
                f"the secret {name} in {file} may not be read", "grant read access", denied=True
            ) from None
        except OSError as error:
            raise _FaultError(
                f"the secret {name} in {file} cannot be read: {error.strerror}", hint
            ) from None
        if len(data) > SECRET_SIZE_LIMIT_BYTES:
            raise _FaultError(f"found more than {SECRET_SIZE_LIMIT_BYTES} bytes in {file}", hint)
        try:
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _FaultError(f"found bytes that are not UTF-8 text in {file}", hint) from None


def _split(text: str) -> list[str | _Reference]:
    """Return `text` as literal pieces and references, in order."""
    return _parse(text, 0, depth=0)[0]


def _parse(text: str, start: int, *, depth: int) -> tuple[list[str | _Reference], int]:
    """Return the parts from `start` on and where they end: inside a default, at its ``}``."""
    parts: list[str | _Reference] = []
    at = start
    while mark := _MARK.search(text, at):
        if mark[0] == "}" and not depth:
            parts.append(text[at : mark.end()])
            at = mark.end()
            continue
        parts.append(text[at : mark.start()])
        at = mark.end()
        if mark[0] == "}":
            return [part for part in parts if part], mark.start()
        if mark[0] == "$$":
            parts.append("$")
        else:
            reference, at = _parse_reference(text, at, depth=depth + 1)
            parts.append(reference)
    if depth:
        raise _FaultError(_UNCLOSED, _DOLLAR)
    return [part for part in (*parts, text[at:]) if part], len(text)


def _parse_reference(text: str, start: int, *, depth: int) -> tuple[_Reference, int]:
    """Return the reference whose ``${`` ends at `start`, and where the text after it begins."""
    if depth > tree.DEPTH_LIMIT:
        raise _FaultError(f"found more than {tree.DEPTH_LIMIT} defaults inside each other", _DOLLAR)
    is_secret = text.startswith("secret:", start)
    at = start + len("secret:") * is_secret
    match = (_SECRET if is_secret else _VARIABLE).match(text, at)
    if match:
        if text.startswith("}", match.end()):
            return _Reference(match[0], is_secret, None), match.end() + 1
        if text.startswith(":-", match.end()):
            default, end = _parse(text, match.end() + 2, depth=depth)
            return _Reference(match[0], is_secret, default), end + 1
    if "}" not in text[at:]:
        raise _FaultError(_UNCLOSED, _DOLLAR)
    raise _FaultError(
        "found a ${…} that is no reference, expected ${NAME}, ${NAME:-default} or ${secret:NAME}",
        _DOLLAR,
    )
