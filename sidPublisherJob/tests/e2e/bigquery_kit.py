"""A config with BigQuery on one side, the real command on it, and what the process took."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

import yaml

from tests.bigquery import emulator
from tests.cli import process

KINDS = {"mariadb": "mysql", "postgres": "postgres"}


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
        out, err = self.folder / "out", self.folder / "err"
        started = time.monotonic()
        with out.open("wb") as to_out, err.open("wb") as to_err:
            running = process.start(
                process.PIPELINE,
                *(date, transfer, mode, self.config, *arguments),
                env=self.environment,
                cwd=self.folder,
                stdout=to_out,
                stderr=to_err,
            )
            # wait4 gives the peak of this very process, not of the largest child so far.
            _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - started
        peak_mib = usage.ru_maxrss / 1024
        return Ran(running.returncode, out.read_text(), err.read_text(), wall_s, peak_mib)

    def publish(self, transfer: str, mode: str, *arguments: str, **options: Any) -> Ran:
        """Run the command, which must succeed."""
        done = self.run(transfer, mode, *arguments, **options)
        assert done.code == 0, done.out + done.err
        return done
