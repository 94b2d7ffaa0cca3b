"""A config with BigQuery on one side, the real command on it, and what the process took."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import yaml

from tests.bigquery import emulator
from tests.cli import process

#: Runs a command and writes its largest resident size in kB. Started from here, it would begin with
#: the size of the tests' own process.
_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
KINDS = {"mariadb": "mysql", "mysql": "mysql", "postgres": "postgres"}


@dataclasses.dataclass(frozen=True)
class Ran:
    """A run that ended.

    Attributes:
        code: of its exit.
        out: what it printed.
        err: what it logged.
        wall_s: seconds.
        peak_mib: largest resident size.
    """

    code: int
    out: str
    err: str
    wall_s: float
    peak_mib: float


class Workshop:
    """A folder with a config and a ledger.

    Args:
        folder: empty.
        ledger: copied into it.
        server: the emulator.
        dataset: in it.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        ledger: pathlib.Path,
        server: emulator.BigQueryServer,
        dataset: str,
    ) -> None:
        self.folder = folder
        self.server = server
        self.environment: dict[str, str] = server.environment
        self.dataset = dataset
        self.lake: dict[str, Any] = {
            "type": "bigquery",
            "project": emulator.PROJECT,
            "dataset": dataset,
        }
        self.config = folder / "config.yaml"
        shutil.copy(ledger, folder)

    def name(self, table: str) -> str:
        """Return a table's full name."""
        return f"{emulator.PROJECT}.{self.dataset}.{table}"

    def declare(self, serving: Mapping[str, Any], **transfers: Mapping[str, Any]) -> None:
        """Write the config."""
        content = {
            "connections": {"lake": self.lake, "serving": dict(serving)},
            "ledger": "sqlite:///ledger.db",
            "transfers": transfers,
        }
        self.config.write_text(yaml.safe_dump(content), encoding="utf-8")

    def run(self, transfer: str, mode: str, *arguments: str, date: str = "20240229") -> Ran:
        """Run the command as a process of its own."""
        out, err, peak = (self.folder / name for name in ("out", "err", "peak"))
        started = time.monotonic()
        with out.open("wb") as to_out, err.open("wb") as to_err:
            running = process.start(
                [sys.executable, "-c", _MEASURE, str(peak), *process.PIPELINE],
                *(date, transfer, mode, self.config, *arguments),
                env=self.environment,
                cwd=self.folder,
                stdout=to_out,
                stderr=to_err,
            )
            code = running.wait(timeout=300)
        wall_s = time.monotonic() - started
        return Ran(code, out.read_text(), err.read_text(), wall_s, int(peak.read_text()) / 1024)

    def publish(self, transfer: str, mode: str, *arguments: str, **options: Any) -> Ran:
        """Run the command, which must succeed."""
        done = self.run(transfer, mode, *arguments, **options)
        assert done.code == 0, done.out + done.err
        return done
