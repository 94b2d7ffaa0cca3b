"""The arguments of both commands: their types, their help, and what is said about wrong ones."""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import difflib
import math
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tmg_etl import __version__, errors, run

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_SEPARATED = re.compile(r"([0-9]{4})[-/.]([0-9]{2})[-/.]([0-9]{2})")

# Spelled out, because click writes a choice that is required in braces and the promise is brackets.
WRITE_MODE = "[truncate|delta]"

LOG_FORMAT = "--log-format"
CONFIG_VARIABLE = "TMG_ETL_CONFIG"
DEFAULT_CONFIG = "config.yaml"


def day(text: str) -> datetime.date:
    """Return the day that an argument names; the type of such arguments."""
    try:
        return parse_day(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def seconds(text: str) -> float:
    """Return the seconds that an argument names; the type of such arguments."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise click.BadParameter(
            f"found {errors.shorten(text, 40)}, expected a number of seconds, 0 or more"
        )
    return value


def parse_day(text: str) -> datetime.date:
    """Return the day that `text` names.

    Raises:
        ValueError: it is not YYYYMMDD, or there is no such day; the message says which.
    """
    if not _EIGHT_DIGITS.fullmatch(text):
        separated = _SEPARATED.fullmatch(text)
        example = "".join(separated.groups()) if separated else "20130131"
        hint = f"write {example}" if separated else f"for example {example}"
        raise ValueError(f"found {errors.shorten(text, 40)}, expected a day as YYYYMMDD; {hint}")
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:])
    reason = None
    if year < datetime.MINYEAR:
        reason = "there is no year 0000"
    elif not 1 <= month <= 12:
        reason = f"there is no month {month:02}"
    else:
        last = calendar.monthrange(year, month)[1]
        if not 1 <= day <= last:
            reason = f"{calendar.month_name[month]} {year} has {last} days"
    if reason:
        raise ValueError(f"{text} is not a day: {reason}; expected YYYYMMDD")
    return datetime.date(year, month, day)


def check_window(
    mode: run.WriteMode, execution_date: datetime.date, delta_start_date: datetime.date | None
) -> None:
    """Refuse a start date that has no meaning.

    Raises:
        errors.UsageError: the mode is truncate, or the window would end before it starts.
    """
    if delta_start_date is None:
        return
    if mode is run.WriteMode.TRUNCATE:
        raise errors.UsageError(
            "--delta_start_date has no meaning in the mode truncate, which replaces all rows",
            hint="leave it out, or use the mode delta",
        )
    run.Window(delta_start_date, execution_date)


def write_mode(command: _Command) -> _Command:
    """Add the argument WRITE_MODE."""
    modes = [mode.value for mode in run.WriteMode]
    add = click.argument("write_mode", metavar=WRITE_MODE, type=click.Choice(modes))
    return add(command)


def delta_start_date(command: _Command) -> _Command:
    """Add the option --delta_start_date, also written with hyphens."""
    return click.option(
        "--delta_start_date",
        "--delta-start-date",
        metavar="TEXT",
        type=day,
        help="Date to backfill from YYYYMMDD, in the mode delta: all days from it to "
        "EXECUTION_DATE. Default: that day alone.",
    )(command)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a command of `tmg-etl` that looks at one run was asked for.

    Attributes:
        transfer_name: a transfer or a publish group.
        config: its location.
        execution_date: the end of the window.
        write_mode: truncate where nothing says it.
        is_mode_given: whether something does: a mode, or the start of a window.
    """

    transfer_name: str
    config: str
    execution_date: datetime.date
    write_mode: run.WriteMode
    is_mode_given: bool = True


def asked(
    places: tuple[str, ...],
    date: datetime.date | None,
    mode: str | None,
    delta_start_date: datetime.date | None,
) -> Asked:
    """Return what TRANSFER [CONFIG] and the options mean; `pipeline`'s own order is understood too.

    Args:
        places: the words given.
        date: of `--date`; None is today in UTC.
        mode: of `--mode`; None is delta where a start date is given, else truncate.
        delta_start_date: start of the window.

    Raises:
        errors.UsageError: words are missing or too many, or what they say contradicts the options.
    """
    words = list(places)
    if words and _EIGHT_DIGITS.fullmatch(words[0]):
        words, date, mode = _in_order_of_pipeline(words, date, mode)
    if not 1 <= len(words) <= 2:
        raise errors.UsageError(
            f"found {len(words)} arguments, expected TRANSFER and at most CONFIG",
            hint="see `tmg-etl --help`",
        )
    location = words[1] if len(words) == 2 else os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG
    is_delta = mode == run.WriteMode.DELTA or (mode is None and delta_start_date is not None)
    execution_date = date or datetime.datetime.now(datetime.UTC).date()
    write_mode = run.WriteMode.DELTA if is_delta else run.WriteMode.TRUNCATE
    check_window(write_mode, execution_date, delta_start_date)
    is_given = mode is not None or is_delta
    return Asked(words[0], location, execution_date, write_mode, is_given)


def _in_order_of_pipeline(
    words: list[str], date: datetime.date | None, mode: str | None
) -> tuple[list[str], datetime.date, str]:
    modes = [known.value for known in run.WriteMode]
    if date is not None or mode is not None:
        raise errors.UsageError(
            f"found the day {words[0]} as first argument, and --date or --mode",
            hint="give them in one way",
        )
    try:
        first = parse_day(words[0])
    except ValueError as error:
        raise errors.UsageError(f"EXECUTION_DATE: {error}") from None
    if len(words) < 3:
        raise errors.UsageError(
            f"found no {('TRANSFER', 'WRITE_MODE')[len(words) - 1]}, expected EXECUTION_DATE"
            " TRANSFER WRITE_MODE [CONFIG]",
            hint="or TRANSFER [CONFIG] and --date, --mode",
        )
    if words[2] not in modes:
        raise errors.UsageError(
            f"WRITE_MODE: found {errors.shorten(words[2], 40)}, expected {' or '.join(modes)}"
        )
    return [words[1], *words[3:]], first, words[2]


def places(command: _Command) -> _Command:
    """Add the arguments TRANSFER and CONFIG, which `asked` takes apart."""
    return click.argument("places", nargs=-1, metavar="TRANSFER [CONFIG]")(command)


def date(command: _Command) -> _Command:
    """Add the option --date."""
    return click.option(
        "--date",
        metavar="TEXT",
        type=day,
        help="Date of pipeline execution YYYYMMDD. Default: today in UTC.",
    )(command)


def mode(command: _Command) -> _Command:
    """Add the option --mode."""
    return click.option(
        "--mode",
        type=click.Choice([known.value for known in run.WriteMode]),
        help="Default: delta with --delta_start_date, else truncate.",
    )(command)


def config(command: _Command) -> _Command:
    """Add the argument CONFIG of the people's command, which may be left out."""
    return click.argument("config", envvar=CONFIG_VARIABLE, default=DEFAULT_CONFIG)(command)


def env(command: _Command) -> _Command:
    """Add the option --env."""
    return click.option(
        "--env",
        metavar="NAME",
        default="local",
        show_default=True,
        help="Environment of the config to use.",
    )(command)


def version(command: _Command) -> _Command:
    """Add the option --version."""
    return click.version_option(
        __version__.__version__,
        message="%(prog)s %(version)s",
        help="Show the version and exit.",
    )(command)


def explain(error: click.ClickException) -> errors.UsageError:
    """Return click's complaint in the words of this product: found, expected, what to do."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else ""
    hint = f"see `{command} --help`" if command else None
    if isinstance(error, click.NoSuchOption):
        known = [name for param in context.command.params for name in param.opts] if context else []
        near = difflib.get_close_matches(error.option_name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else hint
        return errors.UsageError(f"found the unknown option {error.option_name}", hint=hint)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        usage = context.command.collect_usage_pieces(context) if context else []
        return errors.UsageError(
            f"found no {label(error.param)}, expected {' '.join([command, *usage])}", hint=hint
        )
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _explain_value(error, error.param)
    text = error.format_message().rstrip(".")
    return errors.UsageError(text[:1].lower() + text[1:], hint=hint)


def label(param: click.Parameter) -> str:
    """Return the name of a parameter as the help text writes it."""
    if isinstance(param, click.Option):
        return max(param.opts, key=lambda name: name.startswith("--"))
    return (param.name or "").upper()


def _explain_value(error: click.BadParameter, param: click.Parameter) -> errors.UsageError:
    if isinstance(param.type, click.Choice):
        # The value stands in click's message only, in quotes of its own: "'x' is not one of …".
        found = error.message.partition(" is not one of ")[0]
        choices = " or ".join(map(str, param.type.choices))
        return errors.UsageError(f"{label(param)}: found {found}, expected {choices}")
    return errors.UsageError(f"{label(param)}: {error.message.rstrip('.')}")
