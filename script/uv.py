"""Run the uv beside this interpreter with the settings that its pip has on this machine.

    .venv/bin/python script/uv.py pip install …

uv reads neither pip.conf nor PIP_* variables: a company's index, certificate or proxy that pip was
told of would be lost. What uv itself was told by UV_* variables or in uv.toml holds.
"""

from __future__ import annotations

import ast
import os
import pathlib
import ssl
import subprocess
import sys

NAMES = {
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "proxy": "ALL_PROXY",
    "retries": "UV_HTTP_RETRIES",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
"""pip's setting → the variable that tells uv the same."""


def pip_settings() -> dict[str, str]:
    """Return the settings that pip would install with here."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, str] = {}
    # In pip's own order: a variable has the last word.
    for section in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            if line.startswith(section):
                name, _, value = line.removeprefix(section).partition("=")
                # pip takes an empty one for none.
                if text := " ".join(ast.literal_eval(value).split()):
                    found[name] = text
    return found


def translate(settings: dict[str, str]) -> dict[str, str]:
    """Return the variables that tell uv what these settings tell pip."""
    found = {NAMES[name]: text for name, text in settings.items() if name in NAMES}
    if "UV_FIND_LINKS" in found:
        # pip passes over a folder that is missing.
        places = found["UV_FIND_LINKS"].split()
        found["UV_FIND_LINKS"] = ",".join(
            place for place in places if "://" in place or pathlib.Path(place).exists()
        )
    if "UV_INDEX" in found:
        # As pip does: any index that has the file, not only the first that knows the name.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if found.get("UV_KEYRING_PROVIDER") in ("auto", "import"):
        del found["UV_KEYRING_PROVIDER"]
    return found


def certificates() -> dict[str, str]:
    """Return what makes uv trust whom pip trusts when no `cert` is set."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if file := os.environ.get(name):
            return {"SSL_CERT_FILE": file}
    # uv brings a list of its own, which knows no company's authority.
    there = ssl.get_default_verify_paths().cafile
    return {"UV_SYSTEM_CERTS": "true"} if there else {}


def cache() -> dict[str, str]:
    """Return what makes uv do without a cache where there is no place for one, as pip does."""
    if os.environ.get("UV_CACHE_DIR"):
        return {}
    try:
        folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "uv"
        folder.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):
        is_writable = False
    return {} if is_writable else {"UV_NO_CACHE": "true"}


def main() -> None:
    """Become uv."""
    settings = pip_settings()
    told = {name: text for name, text in os.environ.items() if name.startswith("UV_") and text}
    environment = {**os.environ, **certificates(), **cache(), **translate(settings), **told}
    if "UV_INDEX_URL" in told and "UV_DEFAULT_INDEX" not in told:
        environment.pop("UV_DEFAULT_INDEX", None)
    command = [str(pathlib.Path(sys.executable).parent / "uv"), *sys.argv[1:]]
    if settings.get("no-index", "").lower() in ("1", "on", "true", "yes"):
        command.append("--no-index")
    os.execve(command[0], command, environment)  # noqa: S606 - there is nothing to quote


if __name__ == "__main__":
    main()
