"""The windows of a back-fill as processes on this machine: no cluster, the same command."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import threading
from collections.abc import Sequence

from tmg_etl import errors
from tmg_etl.launch import backfill, job, window

_TRIES = 3
_RETRIED = {errors.EXIT_BUG, errors.EXIT_TEMPORARY}
_FATAL = {errors.EXIT_USAGE, errors.EXIT_ACCESS, errors.EXIT_CONFIG}


def run_windows(
    wanted: backfill.Plan, config: str, processes: int, say: job.Say, *, pause_s: float = 5.0
) -> int:
    """Run the windows of a plan in processes of their own; return the exit code.

    A window that fails by its data does not stop the others, unless they must run in order. What
    fails by the command, the rights or the config would fail everywhere: nothing more is started.

    Args:
        wanted: the plan.
        config: location of the config.
        processes: windows at a time; one, where the plan says that they run in order.
        say: prints a line.
        pause_s: seconds before a window is tried again.
    """
    if processes < 1:
        raise errors.UsageError(f"found --local {processes}, expected 1 or more")
    stop = threading.Event()
    outcomes: dict[int, tuple[int, str]] = {}

    def one(index: int) -> None:
        if stop.is_set():
            return
        code, last = _run(wanted, config, index, stop, pause_s)
        outcomes[index] = (code, last)
        if code in _FATAL or (code and wanted.is_ordered):
            stop.set()
        done = sum(code == 0 for code, _ in outcomes.values())
        words = "published" if code == 0 else f"exit code {code}: {last}"
        say(
            f"{wanted.windows[index]}: {words} "
            f"({done} of {len(wanted.indexes)} done, {len(outcomes) - done} failed)"
        )

    workers = 1 if wanted.is_ordered else min(processes, max(1, len(wanted.indexes)))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(one, wanted.indexes))
        except BaseException:
            stop.set()
            raise
    done = [index for index, (code, _) in outcomes.items() if code == 0]
    if len(done) == len(wanted.indexes):
        return errors.EXIT_OK
    reasons = {index: last for index, (code, last) in outcomes.items() if code}
    backfill.report(wanted, done, reasons, say, local=processes)
    return next(code for code, _ in reversed(outcomes.values()) if code)


def command(wanted: backfill.Plan, config: str, index: int) -> Sequence[str]:
    """Return the command of one window."""
    span = wanted.windows[index]
    return [
        *(sys.executable, "-m", "tmg_etl.cli.pipeline"),
        *(f"{span.end:%Y%m%d}", wanted.transfer, "delta", config),
        *("--delta_start_date", f"{span.start:%Y%m%d}", "--env", wanted.env),
        *("--lock-wait-s", str(window.LOCK_WAIT_S), "--log-format", "text", "--no-progress"),
    ]


def _run(
    wanted: backfill.Plan, config: str, index: int, stop: threading.Event, pause_s: float
) -> tuple[int, str]:
    """Run one window, again where that may help; return its exit code and its last line."""
    code, last = errors.EXIT_BUG, ""
    for attempt in range(_TRIES):
        if attempt and stop.wait(pause_s):
            break
        ended = subprocess.run(
            command(wanted, config, index),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        code = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
        last = errors.one_line((ended.stderr.strip().splitlines() or [""])[-1])
        if code not in _RETRIED:
            break
    return code, last
