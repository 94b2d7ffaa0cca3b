"""The command `pipeline`, which processes call: its arguments and its help.

Imports what help and usage errors need and nothing else; the work is in `execution`.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Sequence

import click

from tmg_etl import run
from tmg_etl.cli import argument, guard

PROG = "pipeline"

HELP = """\
This will run the pipeline.

\b
EXECUTION_DATE: date of pipeline execution YYYYMMDD
TRANSFER_NAME: pipeline name to transfer
WRITE_MODE: Options truncate/delta
CONFIG_LOCATION: location of config file in form gs://bucket/filename or
  /path/to/file

truncate replaces the whole table; delta merges the rows of a window of days. Logs go to stderr,
the summary to stdout.
"""

EXIT_CODES = """\
\b
Exit codes:
  0    published and verified, or nothing to do
  64   usage: bad date, unknown mode, wrong arguments
  65   data: verification failed, bad key or value, empty source
  70   unexpected error: a bug; the traceback is in the log
  75   temporary: connection lost, lock busy, deadlock, quota; run again later
  77   permission or credentials
  78   configuration: unknown transfer, bad YAML, missing key, schema conflict
  143  stopped by SIGTERM (130: by SIGINT) after an orderly cleanup
"""


@click.command(PROG, help=HELP, epilog=EXIT_CODES)
@click.argument("execution_date", type=argument.day)
@click.argument("transfer_name")
@argument.write_mode
@click.argument("config_location")
@argument.delta_start_date
@argument.env
@click.option("--plan", is_flag=True, help="Print what the run would do, and write nothing.")
@click.option(
    "--verify",
    type=click.Choice(["fingerprint", "count", "off"]),
    help="What to compare after the load, instead of what the config says.",
)
@click.option(
    "--lock-wait-s",
    type=argument.seconds,
    metavar="SECONDS",
    help="How long to wait for another run on the same target, instead of what the config says.",
)
@click.option(
    argument.LOG_FORMAT,
    type=click.Choice(["text", "json"]),
    help="Format of log and summary. Default: text on a terminal and for --plan, json (as Google "
    "Cloud Logging reads it) elsewhere.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Draw phases live on a terminal; not by default if NO_COLOR or CI is set. Elsewhere, log "
    "one line every 10 s; with --no-progress only at the end of each phase.",
)
@argument.version
def command(
    execution_date: datetime.date,
    transfer_name: str,
    write_mode: str,
    config_location: str,
    delta_start_date: datetime.date | None,
    env: str,
    plan: bool,
    verify: str | None,
    lock_wait_s: float | None,
    log_format: str | None,
    progress: bool | None,
) -> int:
    """Parse one call, then load what it needs."""
    mode = run.WriteMode(write_mode)
    argument.check_window(mode, execution_date, delta_start_date)
    from tmg_etl.cli import execution, feedback

    request = execution.Request(
        execution_date=execution_date,
        transfer_name=transfer_name,
        write_mode=mode,
        config_location=config_location,
        delta_start_date=delta_start_date,
        env=env,
        verify=verify,
        lock_wait_s=lock_wait_s,
    )
    # A plan is an answer and not a log: it is text unless JSON is asked for.
    style = feedback.choose(
        is_terminal=sys.stderr is not None and sys.stderr.isatty(),
        environ=os.environ,
        log_format=log_format or ("text" if plan else None),
        progress=progress,
    )
    return execution.plan(request, style) if plan else execution.execute(request, style)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: arguments without the program's name; None takes the process's own.
    """
    return guard.main(command, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
