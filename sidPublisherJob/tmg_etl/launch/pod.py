"""What a pod of a CronJob or a back-fill starts: works out its days, then becomes `pipeline`.

    … pod scheduled TRANSFER MODE CONFIG --env E --time-zone Z --day-offset N
    … pod windows TRANSFER CONFIG --env E --from D --to D --step S [--only I]

A retry must work on the same days as the first try, also after midnight. So the day of a scheduled
run comes from the name of its Job, in which the CronJob controller writes the scheduled minute, and
the window of a back-fill from the index of the pod.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tmg_etl import errors
from tmg_etl.launch import window

# Minutes since 1970 from 2020 to 2100: eight digits that a person types as a day are less.
_MINUTES = range(26_297_280, 68_374_080)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.UsageError(message)


def day(text: str) -> datetime.date:
    """Return the day that YYYYMMDD names.

    Raises:
        argparse.ArgumentTypeError: it names none.
    """
    try:
        if not re.fullmatch(r"[0-9]{8}", text):
            raise ValueError
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a day as YYYYMMDD") from None


def scheduled_at(job_name: str) -> datetime.datetime | None:
    """Return the scheduled instant in the name of a CronJob's Job; None for another Job's name."""
    match = re.search(r"-([0-9]{8})$", job_name)
    if match is None or int(match[1]) not in _MINUTES:
        return None
    return datetime.datetime.fromtimestamp(int(match[1]) * 60, datetime.UTC)


def command(
    arguments: Sequence[str], environ: Mapping[str, str], now: datetime.datetime
) -> list[str]:
    """Return the command that a pod becomes.

    Args:
        arguments: of this module.
        environ: JOB_NAME and JOB_COMPLETION_INDEX are read.
        now: aware; taken for a Job that no CronJob made.

    Raises:
        errors.UsageError: the arguments or the index are wrong.
        errors.ConfigError: there is no such time zone.
    """
    given = _parser().parse_args(arguments)
    if given.kind == "windows":
        return _window_command(given, environ)
    try:
        zone = zoneinfo.ZoneInfo(given.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        # UTC needs no data, which a slim image may lack.
        if given.time_zone not in ("UTC", "Etc/UTC"):
            raise errors.ConfigError(
                f"found no time zone {given.time_zone!r}", hint="correct cron.timeZone"
            ) from None
        zone = datetime.UTC  # type: ignore[assignment]
    moment = scheduled_at(environ.get("JOB_NAME", "")) or now
    execution = moment.astimezone(zone).date() + datetime.timedelta(days=given.day_offset)
    words = ["pipeline", f"{execution:%Y%m%d}", given.transfer, given.mode, given.config]
    return [*words, "--env", given.env]


def _window_command(given: argparse.Namespace, environ: Mapping[str, str]) -> list[str]:
    windows = window.cut(given.first, given.last, window.Step.parse(given.step))
    chosen = window.pick(windows, window.parse_indexes(given.only) if given.only else None)
    index = environ.get("JOB_COMPLETION_INDEX", "")
    if not index.isdigit() or int(index) >= len(chosen):
        raise errors.UsageError(
            f"found JOB_COMPLETION_INDEX {index!r}, expected 0 to {len(chosen) - 1}",
            hint="only a pod of an Indexed Job can run this",
        )
    span = windows[chosen[int(index)]]
    words = ["pipeline", f"{span.end:%Y%m%d}", given.transfer, "delta", given.config]
    words += ["--delta_start_date", f"{span.start:%Y%m%d}", "--env", given.env]
    return [*words, "--lock-wait-s", str(window.LOCK_WAIT_S)]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tmg_etl.launch.pod", add_help=False, allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", required=True, parser_class=_Parser)
    scheduled = kinds.add_parser("scheduled", allow_abbrev=False)
    scheduled.add_argument("transfer")
    scheduled.add_argument("mode", choices=["truncate", "delta"])
    scheduled.add_argument("config")
    scheduled.add_argument("--env", default="local")
    scheduled.add_argument("--time-zone", default="Etc/UTC")
    scheduled.add_argument("--day-offset", type=int, default=0)
    windows = kinds.add_parser("windows", allow_abbrev=False)
    windows.add_argument("transfer")
    windows.add_argument("config")
    windows.add_argument("--env", default="local")
    windows.add_argument("--from", dest="first", type=day, required=True)
    windows.add_argument("--to", dest="last", type=day, required=True)
    windows.add_argument("--step", default="1d")
    windows.add_argument("--only", default="")
    return parser


def main() -> int:
    """Become `pipeline`; return an exit code only where that is not possible."""
    try:
        words = command(sys.argv[1:], os.environ, datetime.datetime.now(datetime.UTC))
    except errors.TmgEtlError as error:
        sys.stderr.write(f"pod: error: {error}\n")
        return error.exit_code
    sys.stderr.flush()
    try:
        # The process is replaced: signals and the exit code are the run's own.
        os.execvp(words[0], words)  # noqa: S606 - no shell on purpose
    except FileNotFoundError:
        sys.stderr.write("pod: error: the command `pipeline` is not on the PATH\n")
        return errors.EXIT_CONFIG


if __name__ == "__main__":
    sys.exit(main())
