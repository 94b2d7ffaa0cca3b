"""Runs the commands as users do: in processes of their own."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

HERE = pathlib.Path(__file__).parent
PROJECT = HERE.parent.parent
PIPELINE = [sys.executable, "-m", "tmg_etl.cli.pipeline"]
PEOPLE = [sys.executable, "-m", "tmg_etl.cli.people"]


@dataclasses.dataclass(frozen=True)
class Done:
    """What a process left."""

    code: int
    out: str
    err: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of stderr as JSON."""
        return [json.loads(line) for line in self.err.splitlines()]

    @property
    def error(self) -> str:
        """The last line of stderr."""
        return self.err.splitlines()[-1]


Runner = Callable[..., Done]


def environ(**more: str) -> dict[str, str]:
    """The variables of a plain user with the sample pipeline installed."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    coverage = {key: value for key, value in os.environ.items() if key.startswith("COV")}
    path = os.pathsep.join((str(PROJECT), str(HERE / "pipelines")))
    return {**kept, **coverage, "PYTHONPATH": path, **more}


def start(
    command: list[str], *arguments: object, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a command without waiting for it."""
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environ(**(env or {})),
        text=True,
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def call(command: list[str], *arguments: object, **options: Any) -> Done:
    with start(command, *arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out or "", err or "")
