"""Starts other people's programs: docker, helm, kubectl, gcloud, git."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tmg_etl import errors

_INSTALL = {
    "docker": "https://docs.docker.com/engine/install/ (podman and buildah serve too)",
    "podman": "https://podman.io/docs/installation",
    "buildah": "https://github.com/containers/buildah/blob/main/install.md",
    "helm": "https://helm.sh/docs/intro/install/",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "gcloud": "https://cloud.google.com/sdk/docs/install",
    "cosign": "https://docs.sigstore.dev/cosign/system_config/installation/",
    "git": "https://git-scm.com/downloads",
}


class MissingProgramError(errors.ConfigError):
    """A program that the task needs is not on the PATH."""

    def __init__(self, program: str) -> None:
        self.program = program
        hint = f"install it: {_INSTALL[program]}" if program in _INSTALL else "install it"
        super().__init__(f"{program} is not installed", hint=hint)


class CommandError(errors.TmgEtlError):
    """A program ended with another exit code than 0; ours is the same."""

    def __init__(self, argv: Sequence[str], exit_code: int, reason: str = "") -> None:
        self.argv = list(argv)
        # A process that a signal ended has a negative code here, and 128 + signal in a shell.
        self.exit_code = exit_code if exit_code > 0 else 128 - exit_code
        words = " ".join(argv[:2])
        super().__init__(
            f"`{words}` ended with exit code {self.exit_code}{': ' + reason if reason else ''}",
            hint=None if reason else "what it printed says why",
        )


def show(argv: Sequence[str | os.PathLike[str]]) -> str:
    """Return a command as one types it."""
    return shlex.join(os.fspath(part) for part in argv)


def run(
    argv: Sequence[str],
    *,
    dry_run: bool = False,
    cwd: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end; what it prints goes where ours goes.

    Args:
        argv: the program and its arguments.
        dry_run: print the command instead, as one types it.
        cwd: where it runs; None means here.
        env: variables beside our own.

    Raises:
        MissingProgramError: it is not installed.
        CommandError: it failed; carries its exit code.
    """
    if dry_run:
        sys.stdout.write(f"{show(argv)}\n")
        return
    done = subprocess.run(
        [_find(argv[0]), *argv[1:]],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise CommandError(argv, done.returncode)


def read(argv: Sequence[str], *, cwd: pathlib.Path | None = None, text: str = "") -> str:
    """Return what a program that changes nothing prints, also in a dry run.

    Args:
        argv: the program and its arguments.
        cwd: where it runs; None means here.
        text: what it reads from stdin.

    Raises:
        MissingProgramError: it is not installed.
        CommandError: it failed; says what it printed last, on stderr if it did.
    """
    done = subprocess.run(
        [_find(argv[0]), *argv[1:]],
        cwd=cwd,
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        lines = said.splitlines() or ["it printed nothing"]
        raise CommandError(argv, done.returncode, lines[-1])
    return done.stdout


def is_installed(program: str) -> bool:
    """Tell whether a program is on the PATH."""
    return shutil.which(program) is not None


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise MissingProgramError(program)
    return found
