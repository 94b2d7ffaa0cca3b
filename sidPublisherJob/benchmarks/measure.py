"""Whole processes, timed by the operating system."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Starts the command and measures it. A peak begins with the size of the process that starts
#: another one: of this one it would be some hundred MiB, of that script alone it is 10.
_MEASURE = """
import os, sys, time
report, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(report, False)
started = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process, 0)
wall_s = time.perf_counter() - started
figures = f"{wall_s} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}"
os.write(report, figures.encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of one command.

    Attributes:
        wall_s: seconds from start to end.
        cpu_s: processor seconds of the process and those it waited for.
        peak_bytes: largest resident size of the process.
        said: what it wrote to its standard error.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    said: str = ""


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    stdout: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Sample:
    """Run a command to its end and return what it took.

    Args:
        command: program and arguments.
        stdin: path of a file to read from; None reads nothing.
        stdout: path of a file to write to; None drops what it prints.
        environment: variables added to this process's own.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    reading, writing = os.pipe()
    with (
        pathlib.Path(stdin or os.devnull).open("rb") as source,
        pathlib.Path(stdout or os.devnull).open("wb") as sink,
        os.fdopen(reading) as report,
    ):
        with os.fdopen(writing, "w"):
            done = subprocess.run(
                [sys.executable, "-ES", "-c", _MEASURE, str(writing), *command],
                stdin=source,
                stdout=sink,
                stderr=subprocess.PIPE,
                env={**os.environ, **(environment or {})},
                pass_fds=[writing],
                check=False,
            )
        figures = report.read().split()
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said[-2000:]}")
    wall_s, cpu_s, peak_kib = map(float, figures)
    return Sample(wall_s, cpu_s, int(peak_kib) * 1024, said)


class LeftOutError(Exception):
    """A piece of work is not done again; the message says why.

    Attributes:
        patience_s: seconds after which it was ended; None: it failed.
    """

    def __init__(self, why: str, patience_s: float | None = None) -> None:
        super().__init__(why)
        self.patience_s = patience_s


@dataclasses.dataclass
class Series:
    """The samples of one piece of work.

    Attributes:
        name: what was done.
        samples: one for each repetition; none where it failed.
        kind: limit, ours or peer.
        note: what the reader should know of it.
        is_ended: whether it was ended, so that it takes longer than its last sample.
        failed: why there are no samples.
    """

    name: str
    samples: list[Sample] = dataclasses.field(default_factory=list)
    kind: str = "ours"
    note: str = ""
    is_ended: bool = False
    failed: str = ""

    def add(self, call: Callable[[], Sample]) -> None:
        """Do the work once more, unless it failed or was ended before."""
        if self.is_ended or self.failed:
            return
        try:
            self.samples.append(call())
        except LeftOutError as left_out:
            if left_out.patience_s is None:
                self.samples, self.failed = [], str(left_out)
            else:
                self.samples.append(Sample(left_out.patience_s, 0.0, 0))
                self.is_ended = True

    @property
    def median_s(self) -> float:
        """Return the median of the wall times."""
        return statistics.median(sample.wall_s for sample in self.samples)

    def row(self) -> dict[str, Any]:
        """Return the figures as they are written to RESULTS.json."""
        walls = [sample.wall_s for sample in self.samples]
        return {
            "name": self.name,
            "kind": self.kind,
            "note": self.note,
            "runs": len(walls),
            "is_ended": self.is_ended,
            "median_s": round(self.median_s, 3),
            "shortest_s": round(min(walls), 3),
            "longest_s": round(max(walls), 3),
            "cpu_s": round(statistics.median(sample.cpu_s for sample in self.samples), 2),
            "peak_mib": round(max(sample.peak_bytes for sample in self.samples) / 2**20),
        }


Work = tuple[str, str, Callable[[], Sample]]
"""Name, kind, and what does it once."""


def interleaved(work: Sequence[Work], repeat: int) -> list[Series]:
    """Do each piece of work once, then each again, so that drift of the machine hits all alike.

    What fails, or is ended because it takes too long, is not done again.
    """
    series = [Series(name, kind=kind) for name, kind, _ in work]
    for number in range(repeat):
        for one, (name, _, call) in zip(series, work, strict=True):
            one.add(call)
            took = f"{one.samples[-1].wall_s:.2f} s" if one.samples else one.failed
            say(f"{name}: {took} ({number + 1} of {repeat})")
    return series


def say(text: str) -> None:
    """Tell a person who waits what was done."""
    print(text, file=sys.stderr, flush=True)
