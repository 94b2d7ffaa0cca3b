"""Which style is chosen, and what a run says in each of them."""

import datetime
import io
import json
import logging
import re
import time
import warnings
from typing import Any

import pytest

from tmg_etl import run
from tmg_etl.cli import feedback, meter

TERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("is_terminal", "environ", "log_format", "progress", "expected"),
    [
        # A terminal draws.
        (True, TERM, None, None, ("text", True, 10.0)),
        (True, TERM, "text", None, ("text", True, 10.0)),
        (True, {**TERM, "CI": "false"}, None, None, ("text", True, 10.0)),
        # A terminal that cannot, or should not.
        (True, {"TERM": "dumb"}, None, None, ("text", False, 10.0)),
        (True, {"TERM": "dumb"}, None, True, ("text", False, 10.0)),
        (True, {}, None, None, ("text", False, 10.0)),
        (True, {**TERM, "NO_COLOR": "1"}, None, None, ("text", False, 10.0)),
        (True, {**TERM, "CI": "true"}, None, None, ("text", False, 10.0)),
        # What the user says comes first.
        (True, {**TERM, "CI": "true"}, None, True, ("text", True, 10.0)),
        (True, TERM, None, False, ("text", False, None)),
        (True, TERM, "json", None, ("json", False, 10.0)),
        (True, TERM, "json", True, ("json", False, 10.0)),
        # A pipe.
        (False, TERM, None, None, ("json", False, 10.0)),
        (False, TERM, "text", None, ("text", False, 10.0)),
        (False, TERM, "text", True, ("text", False, 10.0)),
        (False, TERM, None, False, ("json", False, None)),
    ],
)
def test_style_follows_the_terminal_and_the_user(
    is_terminal: bool,
    environ: dict[str, str],
    log_format: str | None,
    progress: bool | None,
    expected: tuple[str, bool, float | None],
) -> None:
    style = feedback.choose(
        is_terminal=is_terminal, environ=environ, log_format=log_format, progress=progress
    )
    assert style == feedback.Style(*expected)


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_feedback(stream: io.StringIO, interval_s: float | None = 10.0) -> feedback.Feedback:
    return feedback.Feedback(feedback.Style("json", is_live=False, interval_s=interval_s), stream)


def identify(voice: feedback.Feedback) -> None:
    voice.identify(
        run_id="r1",
        transfer="dim",
        execution_date=datetime.date(2013, 1, 31),
        write_mode=run.WriteMode.DELTA,
        env="local",
    )


def test_phase_ends_with_one_line_of_all_fields() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        identify(voice)
        voice.progress.begin(run.Phase.LOAD, 2000)
        voice.progress.advance(run.Phase.LOAD, 1500)
        voice.progress.advance(run.Phase.LOAD, 500)
        time.sleep(0.02)
        voice.progress.end(run.Phase.LOAD)
    (line,) = json_lines(stream)
    assert line.pop("seconds") >= 0.02
    assert 1000 < line.pop("rows_per_s") <= 100_000
    assert line.pop("message").startswith("load: 2,000 rows, ")
    assert line.pop("time")
    assert line == {
        "severity": "INFO",
        "logging.googleapis.com/labels": {"run_id": "r1", "transfer": "dim"},
        "run_id": "r1",
        "transfer": "dim",
        "execution_date": "2013-01-31",
        "write_mode": "delta",
        "env": "local",
        "phase": "load",
        "rows": 2000,
        "total_rows": 2000,
        "is_finished": True,
    }


def test_phase_without_rows_tells_its_time() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        voice.progress.begin(run.Phase.INDEX)
        voice.progress.end(run.Phase.INDEX)
    (line,) = json_lines(stream)
    assert re.fullmatch(r"index: \d\.\d s", line["message"])
    assert (line["rows"], line["rows_per_s"], line["total_rows"]) == (0, None, None)


def test_lines_come_during_a_phase_that_counts_nothing() -> None:
    stream = io.StringIO()
    with json_feedback(stream, interval_s=0.05) as voice:
        voice.progress.begin(run.Phase.INDEX)
        time.sleep(0.6)
        voice.progress.end(run.Phase.INDEX)
    lines = json_lines(stream)
    assert [line["is_finished"] for line in lines[-1:]] == [True]
    assert not any(line["is_finished"] for line in lines[:-1])
    assert 2 <= len(lines) - 1 <= 12


def test_a_phase_that_is_resumed_often_is_not_written_often() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        for _ in range(50):
            voice.progress.begin(run.Phase.VERIFY)
            voice.progress.advance(run.Phase.VERIFY, 10)
            voice.progress.end(run.Phase.VERIFY)
    assert [line["rows"] for line in json_lines(stream)] == [10, 500]


def test_without_progress_only_ends_are_written() -> None:
    stream = io.StringIO()
    with json_feedback(stream, interval_s=None) as voice:
        voice.progress.begin(run.Phase.LOAD)
        voice.progress.end(run.Phase.LOAD)
        assert isinstance(voice.progress, feedback.LineProgress)
        assert voice.progress._thread is None
    assert len(json_lines(stream)) == 1


def test_all_loggers_and_warnings_speak_through_it() -> None:
    stream = io.StringIO()
    with json_feedback(stream):
        logging.getLogger("tmg_etl.transfer").info("ours")
        logging.getLogger("my_package").info("a client's gossip")
        logging.getLogger("my_package").warning("a client's warning")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # As a library would: the handler of `captureWarnings` is on `showwarning`.
            logging.captureWarnings(True)
            warnings.warn("old function", DeprecationWarning, stacklevel=1)
    messages = [line["message"] for line in json_lines(stream)]
    assert messages[:2] == ["ours", "a client's warning"]
    assert "DeprecationWarning: old function" in messages[2]
    assert json_lines(stream)[1]["logger"] == "my_package"


def test_packages_of_pipelines_speak_from_info_on() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        voice.listen_to(["my_package"])
        logging.getLogger("my_package.flights").info("we are told")
    assert [line["message"] for line in json_lines(stream)] == ["we are told"]
    assert logging.getLogger("my_package").level == logging.NOTSET


def test_the_log_is_given_back() -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers), feedback.LOGGER.level
    with json_feedback(io.StringIO()):
        assert list(root.handlers) != before[1]
    assert (root.level, list(root.handlers), feedback.LOGGER.level) == before


def test_text_style_writes_plain_lines() -> None:
    stream = io.StringIO()
    style = feedback.Style("text", is_live=False, interval_s=None)
    with feedback.Feedback(style, stream) as voice:
        identify(voice)
        voice.logger.info("the run starts")
        voice.fail("pipeline: error: no luck", logging.ERROR, {"stack_trace": "Traceback:\n  x\n"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("Z the run starts")
    assert rest == ["Traceback:", "  x", "pipeline: error: no luck"]


def test_failure_is_the_last_line_of_json() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        identify(voice)
        voice.progress.begin(run.Phase.LOAD)
        voice.progress.end(run.Phase.LOAD)
        voice.fail("pipeline: error: no luck", logging.ERROR, {"exit_code": 65})
    last = json_lines(stream)[-1]
    assert last["severity"] == "ERROR"
    assert last["message"] == "pipeline: error: no luck"
    assert last["exit_code"] == 65
    assert last["run_id"] == "r1"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_meter_counts_only_the_time_within_a_phase() -> None:
    clock = Clock()
    gauge = meter.Meter(clock)
    gauge.begin(run.Phase.READ, 1000)
    clock.now += 2
    gauge.advance(run.Phase.READ, 300)
    assert gauge.read(run.Phase.READ).render() == "read: 300 of 1,000 rows, 150 rows/s, 2.0 s"
    gauge.end(run.Phase.READ)
    clock.now += 50
    gauge.begin(run.Phase.READ)
    clock.now += 1
    gauge.advance(run.Phase.READ, 300)
    gauge.end(run.Phase.READ)
    gauge.end(run.Phase.READ)
    assert gauge.read(run.Phase.READ) == meter.Reading(run.Phase.READ, 600, 1000, 3.0, False)
    assert gauge.read(run.Phase.READ).render() == "read: 600 rows, 200 rows/s, 3.0 s"


def test_a_total_that_was_too_small_is_not_shown() -> None:
    clock = Clock()
    gauge = meter.Meter(clock)
    gauge.begin(run.Phase.READ, 10)
    gauge.advance(run.Phase.READ, 11)
    clock.now += 1
    assert gauge.read(run.Phase.READ).render() == "read: 11 rows, 11 rows/s, 1.0 s"


def test_meter_lists_phases_as_they_began_and_knows_nothing_of_others() -> None:
    gauge = meter.Meter()
    for phase in (run.Phase.LOAD, run.Phase.READ, run.Phase.LOAD):
        gauge.begin(phase)
    assert gauge.phases() == [run.Phase.LOAD, run.Phase.READ]
    gauge.end(run.Phase.PUBLISH)
    assert gauge.read(run.Phase.PUBLISH).render() == "publish: 0.0 s"


def test_a_stream_that_is_gone_does_not_end_the_run() -> None:
    stream = io.StringIO()
    with json_feedback(stream) as voice:
        stream.close()
        voice.logger.info("nobody hears this")
        voice.fail("pipeline: error: nor this", logging.ERROR, {})
