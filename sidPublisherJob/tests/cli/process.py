"""Runs the commands as users do: in processes of their own."""

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tmg_etl.testing import fork

HERE = pathlib.Path(__file__).parent
PROJECT = HERE.parent.parent
PIPELINE = [sys.executable, "-m", "tmg_etl.cli.pipeline"]
PEOPLE = [sys.executable, "-m", "tmg_etl.cli.people"]
_WARM = [
    "tmg_etl.cli.config_command",
    "tmg_etl.cli.people",
    "tmg_etl.cli.plan_view",
    "tmg_etl.cli.rollback_command",
    "tmg_etl.cli.runs_command",
    "tmg_etl.cli.verify_command",
]


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
    """Run a command in an interpreter of its own."""
    with start(command, *arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out or "", err or "")


def branch(
    command: list[str],
    *arguments: object,
    cwd: pathlib.Path,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run `PIPELINE` or `PEOPLE` in a fork of one interpreter, sooner by what a start takes.

    For what the work ends with. What looks at the start, at memory or at signals takes `call`.
    """
    words = list(map(str, arguments))
    called = _interpreter().call(command[-1], words, cwd, environ(**(env or {})))
    return Done(called.code, called.out, called.err)


@functools.cache
def _interpreter() -> fork.ForkServer:
    server = contextlib.ExitStack()
    atexit.register(server.close)
    return server.enter_context(fork.ForkServer(python_path=[str(HERE / "pipelines")], warm=_WARM))
