"""Logins at registries: what docker keeps of them is used, and goes to nobody else."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import sys
from collections.abc import Iterator

import pytest

from tests.package import registry_kit
from tmg_etl import errors
from tmg_etl.launch import login, registry

HELPER = """\
#!{python}
import json, pathlib, sys
assert sys.argv[1:] == ["get"]
host = sys.stdin.read()
with open({log!r}, "a") as file:
    file.write(host)
if host not in {known!r}:
    print("credentials not found in native keychain")
    sys.exit(1)
print(json.dumps({{"ServerURL": host, "Username": "robot", "Secret": "hush-word"}}))
"""


@pytest.fixture(params=["htpasswd", "token"])
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[registry.Repository]:
    """An image in a registry that asks who one is: for the password itself, or by tokens."""
    with contextlib.ExitStack() as stack:
        if request.param == "token":
            auth = stack.enter_context(registry_kit.tokens(tmp_path))
        else:
            auth = registry_kit.passwords(tmp_path)
        host = stack.enter_context(registry_kit.registry(tmp_path, auth))
        yield registry.Repository(host, "sid/sidpublisherjob")


@pytest.fixture(autouse=True)
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A home that nobody logged in from."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    login.find.cache_clear()
    (tmp_path / ".docker").mkdir()
    yield tmp_path
    login.find.cache_clear()


def write(home: pathlib.Path, content: object) -> None:
    (home / ".docker" / "config.json").write_text(json.dumps(content))


def pair(secret: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"robot:{secret}".encode()).decode()}


def test_what_docker_login_wrote_is_used(place: registry.Repository, home: pathlib.Path) -> None:
    write(home, {"auths": {place.host: pair("hush-word"), "other.example": pair("other")}})
    assert place.versions() == []


def test_what_podman_login_wrote_is_used(place: registry.Repository, home: pathlib.Path) -> None:
    write(home, {"auths": {}})
    file = home / ".config" / "containers" / "auth.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"auths": {place.host: pair("hush-word")}}))
    assert place.versions() == []


@pytest.mark.parametrize("setting", ["credHelpers", "credsStore"])
def test_a_credential_helper_is_asked_once(
    place: registry.Repository,
    home: pathlib.Path,
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = home / "docker-credential-tests"
    log = home / "asked"
    known = [place.host]
    helper.write_text(HELPER.format(python=sys.executable, log=str(log), known=known))
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    write(home, {setting: {place.host: "tests"} if setting == "credHelpers" else "tests"})
    assert place.versions() == []
    assert registry.Repository(place.host, "sid/other").versions() == []
    assert log.read_text() == place.host
    assert login.find("other.example") is None


@pytest.mark.parametrize("content", [{}, {"auths": {"other.example": {"auth": "eDp5"}}}, "wrong"])
def test_who_is_not_known_is_told_how_to_log_in(
    place: registry.Repository, home: pathlib.Path, content: object
) -> None:
    write(home, {"auths": {place.host: pair("wr0ng")}} if content == "wrong" else content)
    with pytest.raises(errors.AccessError) as caught:
        place.versions()
    assert str(caught.value) == (
        f"the registry {place.host} answers 401 Unauthorized for sid/sidpublisherjob; log in with "
        f"`docker login {place.host}`, and have the right to use sid/sidpublisherjob"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"credsStore": "gone"}', "docker-credential-gone is not installed"),
        ('{"auths": {"host.example": {"auth": "?"}}}', "is not readable; log in again"),
    ],
)
def test_a_broken_file_of_logins_is_one_line(
    home: pathlib.Path, content: str, message: str
) -> None:
    (home / ".docker" / "config.json").write_text(content)
    with pytest.raises(errors.ConfigError, match=message):
        login.find("host.example")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("gcr.io", True), ("eu.gcr.io", True), ("europe-west1-docker.pkg.dev", True),
        ("notgcr.io", False), ("evil-pkg.dev", False), ("gcr.io.example.com", False),
    ],
)  # fmt: skip
def test_google_s_token_goes_to_google_only(host: str, expected: bool) -> None:
    assert login.is_google(host) is expected


def test_no_password_is_sent_without_encryption(home: pathlib.Path) -> None:
    write(home, {"auths": {"host.example": pair("hush-word")}})
    with pytest.raises(errors.AccessError, match=r"not https; no password is sent there"):
        login.answer('Bearer realm="http://host.example/token",service="x"', "host.example", "s")


def test_the_hub_has_names_of_its_own(home: pathlib.Path) -> None:
    write(home, {"auths": {"https://index.docker.io/v1/": pair("hush-word")}})
    assert login.find("docker.io") == login.Login("robot", "hush-word")
    assert registry.Repository.parse("docker.io/acme/sid").url == (
        "https://registry-1.docker.io/v2/acme/sid/tags/list"
    )
