"""The live display on a terminal: one line for each phase."""

from __future__ import annotations

import threading
from typing import TextIO

import rich.console
import rich.live
import rich.progress_bar
import rich.table
import rich.text

from tmg_etl import run
from tmg_etl.cli import meter, quantity

_REFRESHES_PER_S = 8
_BAR_COLUMNS = 24
_COLUMNS_FOR_BAR = 80  # below that the numbers would be cut


class LiveProgress:
    """A `run.Progress` that draws phases on a terminal until it is closed; the last state stays.

    Args:
        stream: the terminal.
        meter_: counts; None makes one.
    """

    def __init__(self, stream: TextIO, meter_: meter.Meter | None = None) -> None:
        self._meter = meter_ or meter.Meter()
        self._console = rich.console.Console(file=stream, highlight=False, markup=False)
        self._lock = threading.Lock()
        self._live = rich.live.Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES_PER_S,
            # Whatever else writes to stdout and stderr is this program's own doing, and in order.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._is_shown = False

    def begin(self, phase: run.Phase, total_rows: int | None = None) -> None:
        """Start or resume a line."""
        self._meter.begin(phase, total_rows)
        with self._lock:
            if not self._is_shown:
                self._live.start()
                self._is_shown = True

    def advance(self, phase: run.Phase, rows: int) -> None:
        """Count rows; they are drawn at the next refresh."""
        self._meter.advance(phase, rows)

    def end(self, phase: run.Phase) -> None:
        """Stop the clock of a line."""
        self._meter.end(phase)

    def print(self, text: str) -> None:
        """Print `text` above the lines."""
        self._console.print(rich.text.Text(text), soft_wrap=True)

    def close(self) -> None:
        """Draw the last state and give the terminal back."""
        with self._lock:
            if self._is_shown:
                self._live.stop()
                self._is_shown = False

    def _render(self) -> rich.table.Table:
        table = rich.table.Table.grid(padding=(0, 2))
        width = max(len(phase) for phase in run.Phase)
        table.add_column(width=width, min_width=width, no_wrap=True)
        has_bar = self._console.width >= _COLUMNS_FOR_BAR
        if has_bar:
            table.add_column(width=_BAR_COLUMNS)
        for _ in ("rows", "rate", "time"):
            table.add_column(justify="right", no_wrap=True)
        for phase in self._meter.phases():
            name, bar, *numbers = _cells(self._meter.read(phase))
            table.add_row(name, *([bar] if has_bar else []), *numbers)
        return table


def _cells(reading: meter.Reading) -> tuple[rich.console.RenderableType, ...]:
    style = "bold" if reading.is_open else "dim"
    texts = (
        quantity.rows(reading.rows) if reading.rows else "",
        f"{quantity.count(reading.rows_per_s)} rows/s" if reading.rows_per_s else "",
        quantity.duration(reading.seconds),
    )
    cells = (rich.text.Text(text, style=style) for text in texts)
    return rich.text.Text(reading.phase, style=style), _bar(reading), *cells


def _bar(reading: meter.Reading) -> rich.console.RenderableType:
    """Return a bar where the total is known, a pulse where it is not, nothing when it is over."""
    if not reading.total_rows:
        if not reading.is_open:
            return rich.text.Text("")
        return rich.progress_bar.ProgressBar(
            width=_BAR_COLUMNS, pulse=True, animation_time=reading.seconds
        )
    # A total may be an estimate; a phase that failed half way must not look complete.
    completed = min(reading.rows, reading.total_rows)
    return rich.progress_bar.ProgressBar(
        total=reading.total_rows, completed=completed, width=_BAR_COLUMNS
    )
