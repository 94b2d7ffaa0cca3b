"""From what a command raises to one line and an exit code."""

import logging
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click
import pytest

from tmg_etl import errors, run
from tmg_etl.cli import guard


class Kept:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.line = ""
        self.level = 0
        self.fields: Mapping[str, Any] = {}

    def fail(self, line: str, level: int, fields: Mapping[str, Any]) -> None:
        self.line, self.level, self.fields = line, level, fields


DEAF = """
import signal, threading
from tmg_etl import run
from tmg_etl.cli import guard
guard.PATIENCE_S = 0.5
stop = run.StopFlag()
with guard.deadline(stop, "p", guard.PlainReporter()):
    stop.set(signal.SIGTERM)
    threading.Event().wait()
"""


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.UsageError("bad"), 64, "p: error: bad"),
        (errors.DataError("bad", hint="do this"), 65, "p: error: bad; do this"),
        (errors.TemporaryError("bad"), 75, "p: error: bad"),
        (errors.AccessError("bad"), 77, "p: error: bad"),
        (errors.ConfigError("bad", where="c.yaml:3:key"), 78, "p: error: c.yaml:3:key: bad"),
        (errors.Stopped(signal.SIGTERM), 143, "p: stopped by SIGTERM"),
        (errors.Stopped(signal.SIGINT), 130, "p: stopped by SIGINT"),
        (KeyboardInterrupt(), 130, "p: stopped by SIGINT"),
        (click.Abort(), 130, "p: stopped by SIGINT"),
        (
            ValueError("two\nlines"),
            70,
            "p: error: unexpected ValueError: two lines; the traceback is in the log",
        ),
        (KeyError(), 70, "p: error: unexpected KeyError; the traceback is in the log"),
        (click.UsageError("Bad thing."), 64, "p: error: bad thing"),
    ],
)
def test_each_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, line: str
) -> None:
    kept = Kept()
    assert guard.call("p", raising(error), kept) == code
    assert kept.line == line
    assert kept.fields["exit_code"] == code
    assert kept.level == (logging.WARNING if code > 128 else logging.ERROR)


def test_only_a_bug_has_a_traceback() -> None:
    kept = Kept()
    guard.call("p", raising(errors.DataError("bad")), kept)
    assert "stack_trace" not in kept.fields
    guard.call("p", raising(ZeroDivisionError("bug")), kept)
    assert kept.fields["stack_trace"].endswith("ZeroDivisionError: bug\n")


def test_control_characters_of_a_message_are_escaped() -> None:
    kept = Kept()
    guard.call("p", raising(errors.DataError("a\x1b[2Jb")), kept)
    assert kept.line == r"p: error: a\x1b[2Jb"


def test_success_keeps_its_code_and_says_nothing() -> None:
    kept = Kept()
    assert guard.call("p", lambda: 7, kept) == 7
    assert kept.line == ""


def test_plain_report_shows_the_traceback_above_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guard.call("p", raising(ValueError("mysql://me:geheim@db/x")), guard.PlainReporter())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.splitlines()[-1].startswith("p: error: unexpected ValueError: mysql://me:***@db/x;")
    assert "geheim" not in err


@click.command()
def terminate() -> int:
    """End this process as Kubernetes does."""
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


def test_sigterm_outside_a_run_ends_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert guard.main(terminate, "p", []) == 143
    assert capsys.readouterr().err == "p: stopped by SIGTERM\n"
    assert signal.getsignal(signal.SIGTERM) is before


@click.command()
def terminate_too_late() -> int:
    """End this process after its work is done."""
    guard.settle()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return 0


def test_a_late_signal_does_not_change_the_exit_code() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert guard.main(terminate_too_late, "p", []) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@click.command()
def lose_a_server() -> int:
    """Fail as a socket to a database does."""
    raise BrokenPipeError(32, "Broken pipe")


def test_a_broken_pipe_to_a_server_is_not_taken_for_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert guard.main(lose_a_server, "p", []) == 70
    assert "unexpected BrokenPipeError" in capsys.readouterr().err


_EXITING = """
import atexit, threading, time, click
from tmg_etl.cli import guard

atexit.register(print, "at the exit")

@click.command("p")
@click.option("--thread", is_flag=True)
def command(thread):
    if thread:
        threading.Thread(target=lambda: (time.sleep(0.2), print("the thread"))).start()
    print("x" * 100_000)
    return 65

raise SystemExit(guard.main(command, "p"))
"""


@pytest.mark.parametrize("arguments", [[], ["--thread"]])
def test_the_end_of_the_process_forgets_nothing(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EXITING, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 65, done.stderr
    said = done.stdout.splitlines()
    assert said == ["x" * 100_000, *(["the thread"] if arguments else []), "at the exit"]


def test_what_does_not_stop_is_ended_in_time(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "deaf.py"
    script.write_text(DEAF)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 143
    assert "p: stopped by SIGTERM in the middle of what does not answer" in done.stderr
    # And until whoever reads the log has had a second to.
    assert guard.PATIENCE_S + guard._TELLING_S < 10


def test_what_stops_by_itself_is_left_alone() -> None:
    stop, kept = run.StopFlag(), Kept()
    with guard.deadline(stop, "p", kept):
        stop.set(signal.SIGTERM)
    assert kept.line == ""
