"""What a terminal shows while a run works and when it has ended."""

import pathlib
import re
from collections.abc import Callable

import pytest

from tests.cli import process, screen

RUN = ("20130131", "sample", "truncate")
TERM = {"TERM": "xterm-256color"}
Sample = Callable[..., pathlib.Path]


def show(
    config: pathlib.Path, *options: str, columns: int = screen.COLUMNS, **env: str
) -> screen.Seen:
    command = [*process.PIPELINE, *RUN, str(config), *options]
    return screen.run(command, env=process.environ(**{**TERM, **env}), columns=columns)


def test_phases_are_drawn_and_stay_on_the_screen(sample: Sample) -> None:
    seen = show(sample(rows=10_000, batches=20, batch_s=0.05, publish_s=0.3))
    assert seen.exit_code == 0
    assert seen.stdout.splitlines()[0] == "sample: published by swap, truncate, 2013-01-31"
    read, publish, *rest = seen.screen.lines
    assert re.fullmatch(r"read +━+ +10,000 rows +[\d,]+ rows/s +[\d.]+ s", read)
    assert re.fullmatch(r"publish +[\d.]+ s", publish)
    assert rest == [""]
    assert seen.screen.is_cursor_shown


def test_rows_are_counted_while_they_are_read(sample: Sample) -> None:
    seen = show(sample(rows=10_000, batches=20, batch_s=0.05))
    counted = re.findall(r"read .*?([\d,]+) rows ", "\n".join(seen.frames))
    numbers = sorted({int(number.replace(",", "")) for number in counted})
    assert len(numbers) > 4
    assert numbers[-1] == 10_000


def test_a_narrow_terminal_shows_numbers_and_no_bar(sample: Sample) -> None:
    seen = show(sample(rows=123_456_789, batches=3, batch_s=0.1), columns=60)
    assert re.fullmatch(r"read +123,456,789 rows +[\d,]+ rows/s +[\d.]+ s", seen.screen.lines[0])


def test_a_terminal_without_utf8_shows_a_plain_bar(sample: Sample) -> None:
    seen = show(sample(batch_s=0.05), PYTHONIOENCODING="ascii")
    assert seen.raw.isascii()
    assert re.match(r"read +-+ +1,000 rows ", seen.screen.lines[0])


def test_log_lines_stand_above_the_phases(sample: Sample) -> None:
    seen = show(sample(say="[red]hello[/red]", batch_s=0.2))
    lines = [line for line in seen.screen.lines if line]
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ warning: said: \[red\]hello\[/red\]", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ error: a client said: \[red\]hello\[/red\]", lines[1])
    assert lines[-2].startswith("read ")
    assert lines[-1].startswith("publish ")


def test_error_stands_below_the_phases(sample: Sample) -> None:
    seen = show(sample(fail="data", batch_s=0.05))
    assert (seen.exit_code, seen.stdout) == (65, "")
    lines = [line for line in seen.screen.lines if line]
    assert lines[0].startswith("read ")
    assert lines[-1] == "pipeline: error: the data is bad; correct it"
    assert seen.screen.is_cursor_shown


def test_traceback_stands_below_the_phases_and_above_the_error(sample: Sample) -> None:
    seen = show(sample(fail="bug", batch_s=0.05))
    assert seen.exit_code == 70
    lines = [line for line in seen.screen.lines if line]
    assert lines[0].startswith("read ")
    assert lines[1] == "Traceback (most recent call last):"
    text = "".join(lines)
    assert "unexpected ZeroDivisionError: a bug at mysql://me:***@db/x; the traceback" in text
    assert "geheim" not in seen.raw


@pytest.mark.parametrize(
    ("options", "env"),
    [
        ((), {"NO_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
        ((), {"CI": "true"}),
        (("--no-progress",), {}),
    ],
)
def test_plain_lines_where_nothing_should_be_drawn(
    config: pathlib.Path, options: tuple[str, ...], env: dict[str, str]
) -> None:
    seen = show(config, *options, **env)
    assert seen.exit_code == 0
    assert "\x1b" not in seen.raw
    start, read, publish, *rest = seen.screen.lines
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ sample: run \w{26} starts, truncate, 2013-01-31", start)
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ read: 1,000 rows, [\d,]+ rows/s, [\d.]+ s", read)
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ publish: [\d.]+ s", publish)
    assert rest == [""]
    assert seen.stdout.startswith("sample: published by swap")


def test_progress_draws_although_ci_is_set(config: pathlib.Path) -> None:
    seen = show(config, "--progress", CI="true")
    assert seen.screen.lines[0].startswith("read ")


def test_json_on_a_terminal_is_json(config: pathlib.Path) -> None:
    seen = show(config, "--log-format", "json")
    assert "\x1b" not in seen.raw
    assert all(line.startswith("{") for line in seen.raw.splitlines())
    assert seen.stdout.startswith("{")
