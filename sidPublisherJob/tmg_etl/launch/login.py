"""Who one is at a container registry: what `docker login` left, or podman's, or gcloud's account.

Source: https://docs.docker.com/reference/cli/docker/login/, and
https://distribution.github.io/distribution/spec/auth/token/ for tokens.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import json
import os
import pathlib
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from tmg_etl import errors
from tmg_etl.launch import command

HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call one who has a token instead of a password
_GOOGLE = ("gcr.io", "pkg.dev")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Login:
    """A name and a password, or a token that is exchanged for others.

    Attributes:
        user: the name; `<token>` where `secret` is a token.
        secret: the password or token.
    """

    user: str
    secret: str = dataclasses.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of the header ``Authorization``."""
        pair = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
        return f"Basic {pair}"


def is_google(host: str) -> bool:
    """Tell whether a registry is Google's: Artifact Registry or what came before it."""
    return host in _GOOGLE or host.endswith(tuple(f".{name}" for name in _GOOGLE))


def is_local(host: str) -> bool:
    """Tell whether a registry is on this machine: there, as for docker, it speaks plain HTTP."""
    return host.split(":")[0] in ("localhost", "127.0.0.1")


@functools.cache
def find(host: str) -> Login | None:
    """Return the login for a registry, asked for once in a process; None when there is none.

    Args:
        host: name and port of the registry.

    Raises:
        errors.ConfigError: a file of logins cannot be read, or names a helper that is not there.
        errors.AccessError: it is gcloud's login, and there is none.
        command.CommandError: a helper failed.
    """
    key = _HUB_KEY if host == HUB else host
    for file in _files():
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise errors.ConfigError(f"cannot be read: {error}", where=str(file)) from None
        if isinstance(content, dict) and (found := _of_file(content, key)):
            return found
    if is_google(host):
        try:
            token = command.read(["gcloud", "auth", "print-access-token"]).strip()
        except command.CommandError as error:
            # Its last line is half a sentence: where to go on after logging in.
            raise errors.AccessError(
                f"nobody is logged in to {host}: `gcloud auth` ended with {error.exit_code}",
                hint=f"gcloud auth login, or docker login {host}",
            ) from None
        return Login("oauth2accesstoken", token)
    return None


def answer(challenge: str, host: str, scope: str) -> str | None:
    """Return the header ``Authorization`` that a registry asks for; None when nobody is logged in.

    Args:
        challenge: the header ``WWW-Authenticate`` of its refusal.
        host: name and port of the registry.
        scope: what is to be done, where the challenge does not say it.

    Raises:
        errors.AccessError: the token would have to be fetched without encryption.
        OSError: the server of tokens refuses, or cannot be reached.
    """
    kind, _, rest = challenge.partition(" ")
    login = find(host)
    if kind.lower() != "bearer":
        return login.basic if login else None
    said = dict(_PARAMETER.findall(rest))
    realm = urllib.parse.urlsplit(said.get("realm", ""))
    if realm.scheme != "https" and not (realm.scheme == "http" and is_local(realm.netloc)):
        raise errors.AccessError(
            f"the registry {host} has its tokens at {realm.geturl()!r}: not https",
            hint="no password is sent there",
        )
    asked = {"service": said.get("service", host), "scope": said.get("scope", scope)}
    request = urllib.request.Request(f"{realm.geturl()}?{urllib.parse.urlencode(asked)}")  # noqa: S310
    if login and login.user == _TOKEN_USER:
        grant = {
            "grant_type": "refresh_token",
            "client_id": "tmg-etl",
            "refresh_token": login.secret,
        }
        form = urllib.parse.urlencode({**asked, **grant}).encode()
        request = urllib.request.Request(realm.geturl(), data=form)  # noqa: S310
    elif login:
        # Not sent on to where a redirect leads.
        request.add_unredirected_header("Authorization", login.basic)
    with urllib.request.urlopen(request, timeout=30) as said_token:  # noqa: S310
        content = json.loads(said_token.read())
    return f"Bearer {content.get('token') or content['access_token']}"


def _files() -> Iterator[pathlib.Path]:
    """Yield where logins may be: docker's file, then podman's and buildah's."""
    home = pathlib.Path(os.environ.get("HOME", "/"))
    yield pathlib.Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if os.environ.get("REGISTRY_AUTH_FILE"):
        yield pathlib.Path(os.environ["REGISTRY_AUTH_FILE"])
    if os.environ.get("XDG_RUNTIME_DIR"):
        yield pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield home / ".config" / "containers" / "auth.json"


def _of_file(content: dict[str, Any], key: str) -> Login | None:
    """Return what one file says of a registry."""
    helper = (content.get("credHelpers") or {}).get(key) or content.get("credsStore")
    if helper and (found := _of_helper(helper, key)):
        return found
    entries = content.get("auths") or {}
    entry = entries.get(key) or entries.get(f"https://{key}") or {}
    if entry.get("identitytoken"):
        return Login(_TOKEN_USER, entry["identitytoken"])
    if not entry.get("auth"):
        return None
    try:
        user, _, secret = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise errors.ConfigError(
            f"the login for {key} is not readable", hint="log in again"
        ) from None
    return Login(user, secret)


def _of_helper(helper: str, key: str) -> Login | None:
    """Return what a credential helper knows of a registry."""
    try:
        said = json.loads(command.read([f"docker-credential-{helper}", "get"], text=key))
    except command.CommandError as error:
        # Docker's own words, the same in every helper.
        if "credentials not found" in str(error):
            return None
        raise
    return Login(said["Username"], said["Secret"])
