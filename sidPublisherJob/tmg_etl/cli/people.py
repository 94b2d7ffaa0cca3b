"""The command `tmg-etl`, which people call: look at a config, at runs, at what a run would do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tmg_etl import __version__, errors
from tmg_etl.cli import argument, group, guard, output

PROG = "tmg-etl"

COMMANDS = {
    "config": group.Entry(
        "tmg_etl.cli.config_command:command", "Check a config, show it, print its JSON Schema."
    ),
    "plan": group.Entry(
        "tmg_etl.cli.plan_command:command", "Show what a run would do; writes nothing."
    ),
    "rollback": group.Entry(
        "tmg_etl.cli.rollback_command:command", "Put the table back that a run replaced."
    ),
    "runs": group.Entry(
        "tmg_etl.cli.runs_command:command", "List what ran, or show one run in full."
    ),
    "status": group.Entry(
        "tmg_etl.cli.status_command:command", "Show jobs and schedules in a cluster."
    ),
    "verify": group.Entry(
        "tmg_etl.cli.verify_command:command", "Compare source and target; name rows that differ."
    ),
    "version": group.Entry("tmg_etl.cli.people:version", "Show the version."),
}


@click.group(PROG, cls=group.LazyGroup, entries=COMMANDS)
@argument.version
def command() -> None:
    """Look at configs and runs.

    CONFIG is a file or a URL as for `pipeline`; without it, $TMG_ETL_CONFIG or ./config.yaml.
    """


@click.command("version")
def version() -> int:
    """Show the version."""
    output.write(__version__.__version__)
    return errors.EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: arguments without the program's name; None takes the process's own.
    """
    return guard.main(command, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
