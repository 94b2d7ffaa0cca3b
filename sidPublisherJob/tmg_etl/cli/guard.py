"""From whatever a command raises to one line and an exit code; from signals and pipes to order."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import itertools
import logging
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from tmg_etl import errors
from tmg_etl.cli import argument, log, output

if TYPE_CHECKING:
    from tmg_etl import run as run_module

#: Objects made until cycles are looked for. What a command imports lives as long as it does: to
#: visit it again for each 700 new objects, as is the default, took a tenth of a short run.
_COLLECT_AFTER = 50_000
#: Seconds between the signal to stop and the end, whatever a run is waiting for: orchestrators are
#: promised ten.
PATIENCE_S = 8.0
_TELLING_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Reporter(Protocol):
    """Where failures are written; `tmg_etl.cli.feedback.Feedback` is one."""

    def fail(self, line: str, level: int, fields: Mapping[str, Any]) -> None:
        """Write the one line that says why; more facts are in `fields`."""


class PlainReporter:
    """Writes the line to stderr."""

    def fail(self, line: str, level: int, fields: Mapping[str, Any]) -> None:
        """Write the line, below the traceback if there is one."""
        for text in lines(line, fields):
            print_error(errors.redact(text))


class JsonReporter:
    """Writes the line to stderr as the log's JSON has it, where there is no log yet."""

    def fail(self, line: str, level: int, fields: Mapping[str, Any]) -> None:
        """Write the line as one object."""
        facts = {**log.entry(level, line, time.time(), {}), **fields}
        print_error(output.to_json(log.Redactor().value(facts)))


def lines(line: str, fields: Mapping[str, Any]) -> list[str]:
    """Return what is printed for people: the line, below the traceback if there is one."""
    stack: str = fields.get("stack_trace", "")
    return [*map(output.printable, stack.splitlines()), line]


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a command did not succeed, ready to be reported.

    Attributes:
        line: without the program's name.
        exit_code: of the process.
        level: of `logging`: a stop is a warning, all else an error.
        error: the exception.
    """

    line: str
    exit_code: int
    level: int
    error: BaseException

    @property
    def is_bug(self) -> bool:
        """Return whether nobody foresaw it, so that the traceback is needed."""
        return self.exit_code == errors.EXIT_BUG


def failure_of(error: BaseException) -> Failure:
    """Return what to say about `error`."""
    code = errors.exit_code_of(error)
    if isinstance(error, (errors.Stopped, KeyboardInterrupt)):
        name = errors.signal_name(code - 128)
        return Failure(f"stopped by {name}", code, logging.WARNING, error)
    if isinstance(error, errors.TmgEtlError):
        return Failure(f"error: {errors.one_line(str(error))}", code, logging.ERROR, error)
    if isinstance(error, OSError) and errors.is_refused_file(error):
        name = errors.one_line(str(error.filename or "a file"))
        text = f"error: {name}: {error.strerror}; grant this user access to it"
        return Failure(text, code, logging.ERROR, error)
    words = errors.one_line(str(error))
    text = f"error: unexpected {type(error).__name__}{': ' + words if words else ''}"
    hint = "the traceback is in the log"
    return Failure(f"{text}; {hint}", errors.EXIT_BUG, logging.ERROR, error)


def report(prog: str, failure: Failure, reporter: Reporter, **fields: Any) -> int:
    """Write `failure` as one line and return its exit code.

    Args:
        prog: the command's name, which the line begins with.
        failure: what to write.
        reporter: where to write it.
        fields: more facts for machines.
    """
    facts = {"exit_code": failure.exit_code, "error_type": type(failure.error).__name__, **fields}
    if failure.is_bug:
        facts["stack_trace"] = "".join(traceback.format_exception(failure.error))
    reporter.fail(f"{prog}: {output.printable(failure.line)}", failure.level, facts)
    return failure.exit_code


def call(prog: str, work: Callable[[], int], reporter: Reporter) -> int:
    """Return the exit code of `work`, or the one of what it raises, which is reported."""
    try:
        return work()
    except click.ClickException as error:
        return report(prog, failure_of(argument.explain(error)), reporter)
    except click.Abort:
        return report(prog, failure_of(KeyboardInterrupt()), reporter)
    except (Exception, KeyboardInterrupt, errors.Stopped) as error:  # noqa: BLE001 - the last line
        return report(prog, failure_of(error), reporter)


def main(command: click.Command, prog: str, argv: Sequence[str] | None = None) -> int:
    """Run a command of click's as this product's commands behave; return the exit code.

    Args:
        command: its callbacks return their exit code.
        prog: the name to show, however it was started.
        argv: arguments; None takes the process's own, and ends the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(_COLLECT_AFTER)
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        # A terminal without UTF-8 shows an escape instead of ending the run at its last line.
        sys.stdout.reconfigure(errors="backslashreplace")

    def parse_and_run() -> int:
        # Not `command.main`: it answers a broken pipe, also one to a database, with exit code 1.
        try:
            # Click takes the words out of the list as it reads them.
            with command.make_context(prog, [*words]) as context:
                return int(command.invoke(context) or errors.EXIT_OK)
        except click.exceptions.Exit as done:
            return done.exit_code
        except BrokenPipeError:
            # Click printed help to a reader that has gone.
            if not output.is_broken():
                raise
            output.silence(sys.stdout)
            return errors.EXIT_OK

    with _terminable():
        code = call(prog, parse_and_run, _reporter(command, words))
        with contextlib.suppress(errors.TmgEtlError):
            output.flush()
        if argv is None:
            _leave(code)
        return code


def _reporter(command: click.Command, words: Sequence[str]) -> Reporter:
    """Return who tells of wrong arguments: as `--log-format` says, whatever else is wrong."""
    options = {name for param in command.params for name in param.opts}
    if argument.LOG_FORMAT not in options:
        return PlainReporter()
    is_json = False
    for word, following in itertools.pairwise([*words, ""]):
        name, mark, value = word.partition("=")
        if word == "--":
            break
        if name == argument.LOG_FORMAT:
            is_json = (value if mark else following) == "json"
    return JsonReporter() if is_json else PlainReporter()


def _leave(code: int) -> None:
    """End the process with what an exit does for others, and without taking modules apart.

    The interpreter visits everything that was imported once more, which takes as long as a fifth of
    a short run. A thread that somebody wants to be waited for is: then the process ends as usual.
    """
    others = [thread for thread in threading.enumerate() if not thread.daemon]
    if others == [threading.main_thread()] and threading.current_thread() in others:
        # Whoever registered something to do at the exit counts on it: a profiler, an exporter.
        atexit._run_exitfuncs()
        with contextlib.suppress(errors.TmgEtlError):
            output.flush()
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os._exit(code)


def print_error(line: str) -> None:
    """Write a line to stderr; nobody is left to be told when that fails."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        output.silence(sys.stderr)


def settle() -> None:
    """Ignore signals from now on: what happened is decided, and the exit code must say it."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def deadline(stop: run_module.StopFlag, prog: str, reporter: Reporter) -> Iterator[None]:
    """End this process where the block has not ended some seconds after `stop` was set.

    A statement that is cancelled ends at once; a server that is gone without a word answers neither
    it nor the cancelling. What is left then is what `kill -9` leaves, and the next run removes it.
    """
    is_done = threading.Event()

    def expire() -> None:
        number = stop.signal_number
        if number is None or is_done.wait(PATIENCE_S):
            return
        stopped = errors.Stopped(number)
        line = (
            f"stopped by {errors.signal_name(number)} in the middle of what does not answer;"
            " the target is as before or as published, and the next run removes what is left"
        )
        failure = Failure(line, stopped.exit_code, logging.ERROR, stopped)
        # Whoever reads the log may be what does not answer.
        teller = threading.Thread(target=report, args=(prog, failure, reporter), daemon=True)
        teller.start()
        teller.join(_TELLING_S)
        if not is_done.is_set():
            os._exit(stopped.exit_code)

    def begin() -> None:
        threading.Thread(target=expire, name="tmg-etl-deadline", daemon=True).start()

    with stop.cancelling(begin):
        try:
            yield
        finally:
            is_done.set()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM raise, so that it ends in order also before and after a run.

    The first process of a container has no default action for it: it would be ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: types.FrameType | None) -> None:
        raise errors.Stopped(number)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
