"""Whole processes, timed by the operating system."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of one command.

    Attributes:
        wall_s: seconds from start to end.
        cpu_s: processor seconds of the process and those it waited for.
        peak_bytes: largest resident size of the process.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Sample:
    """Run a command to its end and return what it took.

    Args:
        command: program and arguments.
        stdin: path of a file to read from; None reads nothing.
        environment: variables added to this process's own.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    with open(stdin or os.devnull, "rb") as source:  # noqa: PTH123 - a path or a device
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        assert process.stderr is not None
        said = process.stderr.read()
        # wait4 gives the peak of this very process, not of the largest child so far.
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said.decode()[-2000:]}")
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


@dataclasses.dataclass
class Series:
    """The samples of one piece of work."""

    name: str
    samples: list[Sample] = dataclasses.field(default_factory=list)

    @property
    def median_s(self) -> float:
        """Return the median of the wall times."""
        return statistics.median(sample.wall_s for sample in self.samples)

    @property
    def spread(self) -> str:
        """Return the shortest and longest wall time, as text."""
        walls = [sample.wall_s for sample in self.samples]
        return f"{min(walls):.1f} to {max(walls):.1f}"

    @property
    def cpu_s(self) -> float:
        """Return the median of the processor seconds."""
        return statistics.median(sample.cpu_s for sample in self.samples)

    @property
    def peak_mib(self) -> float:
        """Return the largest resident size, in MiB."""
        return max(sample.peak_bytes for sample in self.samples) / 2**20
