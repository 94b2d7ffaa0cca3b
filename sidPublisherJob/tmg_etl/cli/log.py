"""Log records as lines: JSON for Google Cloud Logging, text for people. No secret passes.

Source: https://cloud.google.com/logging/docs/structured-logging for the field names.
"""

from __future__ import annotations

import datetime
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tmg_etl import errors
from tmg_etl.cli import output

LABELS = "logging.googleapis.com/labels"

_SEVERITIES = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
)
# What every record has; anything else was given by the caller with ``extra=``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redactor:
    """Removes secrets from what is about to be printed; learns the config's once it is loaded."""

    def __init__(self) -> None:
        self._redact: Callable[[str], str] = errors.redact

    def learn(self, redact: Callable[[str], str]) -> None:
        """Use `redact` from now on, as `tmg_etl.config.model.Config.redact`."""
        self._redact = redact

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        return self._redact(text)

    def value(self, value: Any) -> Any:
        """Return `value` without secrets in any text at any depth; numbers stay numbers."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return self.text(str(value))


class JsonFormatter(logging.Formatter):
    """One JSON object on one line for each record.

    Args:
        redactor: removes secrets.
        context: fields of every line; its `run_id` and `transfer` become labels too. Read at every
            record, so that what becomes known later is in later lines.
    """

    def __init__(self, redactor: Redactor, context: Mapping[str, Any]) -> None:
        super().__init__()
        self._redactor = redactor
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        fields = entry(record.levelno, record.getMessage(), record.created, self._context)
        # What the line is must not be changed by what it says.
        fields.update({key: value for key, value in extra.items() if key not in fields})
        if record.name != "tmg_etl":
            fields.setdefault("logger", record.name)
        if stack := _stack(record):
            fields["stack_trace"] = stack
        return output.to_json(self._redactor.value(fields))


class TextFormatter(logging.Formatter):
    """One line of text for each record; a traceback follows in lines of its own.

    Args:
        redactor: removes secrets.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        level = "" if record.levelno <= logging.INFO else f"{severity(record.levelno).lower()}: "
        message = output.printable(" ".join(record.getMessage().split()))
        text = f"{moment:%H:%M:%SZ} {level}{message}"
        if stack := _stack(record):
            lines = (output.printable(line) for line in stack.rstrip("\n").split("\n"))
            text = "\n".join((text, *lines))
        return self._redactor.text(text)


class LineHandler(logging.Handler):
    """Hands every formatted record to `write`, which must not raise."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a wrong log call of a pipeline must not end it
            line = f"a log record of {record.pathname}:{record.lineno} is wrong: {error!r}"
        self._write(line)


def entry(level: int, message: str, created: float, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that every JSON line has, those of `context` included.

    Args:
        level: as `logging` counts.
        message: what happened.
        created: seconds since 1970.
        context: fields of the run; empty before there is one.
    """
    fields: dict[str, Any] = {
        "severity": severity(level),
        "message": message,
        "time": timestamp(created),
    }
    labels = {key: context[key] for key in ("run_id", "transfer") if context.get(key)}
    if labels:
        fields[LABELS] = labels
    return {**fields, **context}


def severity(level: int) -> str:
    """Return Cloud Logging's word for a level of `logging`."""
    return next((word for bound, word in _SEVERITIES if level >= bound), "DEBUG")


def timestamp(created: float) -> str:
    """Return an instant as RFC 3339 in UTC with microseconds."""
    moment = datetime.datetime.fromtimestamp(created, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _stack(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[1] is not None:
        parts.append("".join(traceback.format_exception(record.exc_info[1])))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)
