"""What a run says while it works: log lines and progress, on stderr, in one of three styles."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from tmg_etl import run
from tmg_etl.cli import guard, log, meter, output

if TYPE_CHECKING:
    from tmg_etl.cli import terminal

LOG_FORMATS = ("text", "json")
INTERVAL_S = 10.0

LOGGER = logging.getLogger("tmg_etl")


@dataclasses.dataclass(frozen=True)
class Style:
    """How a run speaks.

    Attributes:
        log_format: text for people, json for Cloud Logging.
        is_live: whether phases are drawn on a terminal.
        interval_s: seconds between two lines about a phase that is under way; None writes one at
            its end only.
    """

    log_format: str
    is_live: bool
    interval_s: float | None


def choose(
    *,
    is_terminal: bool,
    environ: Mapping[str, str],
    log_format: str | None = None,
    progress: bool | None = None,
) -> Style:
    """Return the style for a terminal or a pipe.

    Args:
        is_terminal: whether stderr is one.
        environ: the process's variables: NO_COLOR, TERM and CI are read.
        log_format: what the user asked for; None is text on a terminal and json elsewhere.
        progress: what the user asked for; None draws where that can be read.
    """
    chosen = log_format or ("text" if is_terminal else "json")
    can_draw = is_terminal and environ.get("TERM", "") not in ("dumb", "")
    is_plain = bool(environ.get("NO_COLOR")) or is_ci(environ)
    is_wanted = not is_plain if progress is None else progress
    return Style(
        log_format=chosen,
        is_live=chosen == "text" and can_draw and is_wanted,
        interval_s=None if progress is False else INTERVAL_S,
    )


def is_ci(environ: Mapping[str, str]) -> bool:
    """Return whether a CI system runs this: there, a terminal is only a log file."""
    return environ.get("CI", "").lower() not in ("", "0", "false")


class LineProgress:
    """A `run.Progress` that writes log lines: one at each phase's end, and now and then during it.

    The lines during a phase come from a thread, so that a long index build is seen to be alive
    although it counts no rows.

    Args:
        logger: where the lines go.
        interval_s: at most one line for each phase in that time; None writes none during it.
        meter_: counts; None makes one.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        interval_s: float | None = INTERVAL_S,
        meter_: meter.Meter | None = None,
    ) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._meter = meter_ or meter.Meter()
        self._lock = threading.Lock()
        self._said_at_s: dict[run.Phase, float] = {}
        self._ended: set[run.Phase] = set()
        # Phases that were opened and closed again since they were last written about.
        self._unsaid: set[run.Phase] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, phase: run.Phase, total_rows: int | None = None) -> None:
        """Start or resume a phase."""
        self._meter.begin(phase, total_rows)
        with self._lock:
            self._said_at_s.setdefault(phase, time.monotonic())
            if self._thread is None and self._interval_s is not None:
                self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
                self._thread.start()

    def advance(self, phase: run.Phase, rows: int) -> None:
        """Count rows."""
        self._meter.advance(phase, rows)

    def end(self, phase: run.Phase) -> None:
        """Write the phase's line; one that is resumed often is written about now and then."""
        self._meter.end(phase)
        with self._lock:
            if phase in self._ended:
                self._unsaid.add(phase)
                return
            self._ended.add(phase)
        self._say(phase)

    def close(self) -> None:
        """Stop the thread and write what was not written yet."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        for phase in self._meter.phases():
            if phase in self._unsaid:
                self._say(phase)

    def _tick(self) -> None:
        assert self._interval_s is not None
        # Looks more often than it speaks: each phase has its own beat.
        while not self._closed.wait(self._interval_s / 10):
            for phase in self._meter.phases():
                is_due = time.monotonic() - self._said_at_s[phase] >= self._interval_s
                if is_due and (phase in self._unsaid or self._meter.read(phase).is_open):
                    self._say(phase)

    def _say(self, phase: run.Phase) -> None:
        with self._lock:
            self._said_at_s[phase] = time.monotonic()
            self._unsaid.discard(phase)
        reading = self._meter.read(phase)
        fields = {
            "phase": str(phase),
            "rows": reading.rows,
            "total_rows": reading.total_rows,
            "rows_per_s": reading.rows_per_s,
            "seconds": round(reading.seconds, 3),
            "is_finished": not reading.is_open,
        }
        self._logger.info("%s", reading.render(), extra=fields)


class Feedback:
    """Log lines and progress of one process, from ``with`` to its end.

    Everything that is logged under any name goes through it: `tmg_etl` from INFO on, and what
    `listen_to` names; all else, as clients of databases, from WARNING on.

    Args:
        style: see `choose`.
        stream: None is stderr.

    Attributes:
        progress: to be handed to a run.
        logger: to be handed to a run.
        redactor: removes secrets from all lines; teach it the config's.
    """

    def __init__(self, style: Style, stream: TextIO | None = None) -> None:
        self.style = style
        self.logger = LOGGER
        self.redactor = log.Redactor()
        self._stream = stream or sys.stderr
        self._context: dict[str, Any] = {}
        self._live: terminal.LiveProgress | None = None
        self.progress = self._make_progress()
        self._handler = log.LineHandler(self._write)
        self._handler.setFormatter(
            log.JsonFormatter(self.redactor, self._context)
            if style.log_format == "json"
            else log.TextFormatter(self.redactor)
        )
        self._levels: dict[logging.Logger, int] = {}

    def __enter__(self) -> Self:
        """Take over all log records and Python's warnings."""
        root = logging.getLogger()
        self._set_level(root, logging.WARNING)
        self._set_level(self.logger, logging.INFO)
        root.addHandler(self._handler)
        logging.captureWarnings(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the display and give the log back."""
        self.close_progress()
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self._handler)
        for logger, level in self._levels.items():
            logger.setLevel(level)

    def listen_to(self, packages: Iterable[str]) -> None:
        """Let these packages speak from INFO on: those that pipelines come from."""
        for package in packages:
            self._set_level(logging.getLogger(package), logging.INFO)

    def identify(
        self,
        *,
        run_id: str,
        transfer: str,
        execution_date: datetime.date,
        write_mode: run.WriteMode,
        env: str,
    ) -> None:
        """Put the run into every line from now on."""
        self._context.update(
            run_id=run_id,
            transfer=transfer,
            execution_date=execution_date.isoformat(),
            write_mode=str(write_mode),
            env=env,
        )

    def fields(self, level: int, message: str) -> dict[str, Any]:
        """Return the fields that a JSON line of this run has."""
        return log.entry(level, message, time.time(), self._context)

    def fail(self, line: str, level: int, fields: Mapping[str, Any]) -> None:
        """Write the last line: why it did not succeed.

        Args:
            line: what is printed, as ``pipeline: error: …``.
            level: of `logging`.
            fields: more facts, for JSON.
        """
        self.close_progress()
        if self.style.log_format == "json":
            self.logger.log(level, "%s", line, extra=dict(fields))
        else:
            for text in guard.lines(line, fields):
                self._write(self.redactor.text(text))

    def close_progress(self) -> None:
        """End the display, so that what follows stands below it."""
        self.progress.close()

    def _set_level(self, logger: logging.Logger, level: int) -> None:
        self._levels.setdefault(logger, logger.level)
        logger.setLevel(level)

    def _make_progress(self) -> LineProgress | terminal.LiveProgress:
        if not self.style.is_live:
            return LineProgress(self.logger, interval_s=self.style.interval_s)
        from tmg_etl.cli import terminal

        self._live = terminal.LiveProgress(self._stream)
        return self._live

    def _write(self, line: str) -> None:
        if self._live is not None:
            self._live.print(line)
            return
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError, AttributeError):
            # A full disk under the log, or a reader that has gone, must not end the run.
            output.silence(self._stream)
