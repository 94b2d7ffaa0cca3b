"""Log lines: JSON as Cloud Logging reads it, text as people do, and no secret in either."""

import json
import logging
import re
import sys
from typing import Any

import pytest

from tmg_etl import errors
from tmg_etl.cli import log

CONTEXT = {"run_id": "r1", "transfer": "dim", "execution_date": "2013-01-31"}


def make_record(
    message: str = "hello", *args: object, level: int = logging.INFO, **extra: object
) -> logging.LogRecord:
    logger = logging.getLogger("tmg_etl")
    return logger.makeRecord("tmg_etl", level, "file.py", 7, message, args, None, extra=extra)


def to_json(record: logging.LogRecord, redactor: log.Redactor | None = None) -> dict[str, Any]:
    line = log.JsonFormatter(redactor or log.Redactor(), CONTEXT).format(record)
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def make_failed_record(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except type(error):
        record = make_record("it failed", level=logging.ERROR)
        record.exc_info = sys.exc_info()
        return record


def test_json_line_has_the_fields_that_cloud_logging_reads() -> None:
    fields = to_json(make_record("%d rows", 3, phase="load", rows=3))
    assert fields["severity"] == "INFO"
    assert fields["message"] == "3 rows"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields["time"])
    assert fields["logging.googleapis.com/labels"] == {"run_id": "r1", "transfer": "dim"}
    assert {key: fields[key] for key in (*CONTEXT, "phase", "rows")} == {
        **CONTEXT,
        "phase": "load",
        "rows": 3,
    }


def test_json_line_has_no_labels_before_there_is_a_run() -> None:
    line = log.JsonFormatter(log.Redactor(), {}).format(make_record())
    assert "logging.googleapis.com/labels" not in json.loads(line)


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "DEBUG"),
        (logging.INFO, "INFO"),
        (25, "INFO"),
        (logging.WARNING, "WARNING"),
        (logging.ERROR, "ERROR"),
        (logging.CRITICAL, "CRITICAL"),
        (60, "CRITICAL"),
        (5, "DEBUG"),
    ],
)
def test_severity_is_a_word_of_cloud_logging(level: int, word: str) -> None:
    assert to_json(make_record(level=level))["severity"] == word


def test_extra_fields_cannot_pretend_to_be_another_run_or_severity() -> None:
    fields = to_json(make_record(severity="DEBUG", run_id="other", airport="JFK"))
    assert (fields["severity"], fields["run_id"], fields["airport"]) == ("INFO", "r1", "JFK")


def test_exception_is_one_line_with_its_stack() -> None:
    fields = to_json(make_failed_record(ValueError("bad\nvalue")))
    assert fields["message"] == "it failed"
    assert fields["stack_trace"].startswith("Traceback (most recent call last):\n")
    assert fields["stack_trace"].endswith("ValueError: bad\nvalue\n")


def test_stack_without_an_exception_is_kept() -> None:
    record = make_record()
    record.stack_info = "Stack (most recent call last):\n  here"
    assert to_json(record)["stack_trace"] == record.stack_info


def test_values_that_json_does_not_know_are_text() -> None:
    fields = to_json(make_record(error=ValueError("x"), kinds={"a": [1, None, True, 2.5]}))
    assert fields["error"] == "x"
    assert fields["kinds"] == {"a": [1, None, True, 2.5]}


def test_text_line_is_one_line_without_control_characters() -> None:
    line = log.TextFormatter(log.Redactor()).format(make_record("a\x1b[31m\nb\x07"))
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ a\\x1b\[31m b\\x07", line)


def test_text_line_names_the_level_from_warning_on() -> None:
    formatter = log.TextFormatter(log.Redactor())
    assert formatter.format(make_record("x", level=logging.WARNING)).endswith("Z warning: x")
    assert formatter.format(make_record("x", level=logging.ERROR)).endswith("Z error: x")


def test_text_shows_a_traceback_below_the_line() -> None:
    lines = log.TextFormatter(log.Redactor()).format(make_failed_record(ValueError("v")))
    first, second, *_, last = lines.split("\n")
    assert first.endswith("Z error: it failed")
    assert second == "Traceback (most recent call last):"
    assert last == "ValueError: v"


SECRET = 'p"a\\ss/wörd'


def learned() -> log.Redactor:
    redactor = log.Redactor()
    redactor.learn(lambda text: errors.redact(text.replace(SECRET, "***")))
    return redactor


def test_secrets_are_removed_from_every_field_of_json() -> None:
    # The secret has characters that JSON escapes: it must be removed before that.
    record = make_failed_record(ValueError(f"wrong password {SECRET}"))
    record.msg = f"no access with {SECRET}"
    record.facts = {f"key {SECRET}": [f"{SECRET}!"]}
    fields = to_json(record, learned())
    assert fields["message"] == "no access with ***"
    assert fields["facts"] == {"key ***": ["***!"]}
    assert fields["stack_trace"].endswith("ValueError: wrong password ***\n")


def test_secrets_are_removed_from_text() -> None:
    record = make_failed_record(ValueError(f"wrong password {SECRET}"))
    text = log.TextFormatter(learned()).format(record)
    assert text.endswith("ValueError: wrong password ***")


def test_passwords_of_urls_are_removed_before_any_config_is_known() -> None:
    record = make_record("cannot reach %s", "mysql://me:geheim@db/sid")
    assert to_json(record)["message"] == "cannot reach mysql://me:***@db/sid"


def test_a_wrong_log_call_does_not_end_the_run() -> None:
    lines: list[str] = []
    handler = log.LineHandler(lines.append)
    handler.setFormatter(log.JsonFormatter(log.Redactor(), {}))
    handler.emit(make_record("%d rows", "many"))
    assert len(lines) == 1
    assert lines[0].startswith("a log record of file.py:7 is wrong: TypeError(")
