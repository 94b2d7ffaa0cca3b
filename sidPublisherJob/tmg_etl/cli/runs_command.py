"""`tmg-etl runs`: what ran, from the ledger of a config."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import sys

import click

from tmg_etl import errors
from tmg_etl.cli import argument, output, runs_view
from tmg_etl.ledger import record

# A run id or the beginning of one: the second it started in, then letters of chance.
_RUN_ID = re.compile(r"[0-9]{4,14}|[0-9]{14}[0-9a-f]{1,12}")


@click.command("runs", options_metavar="[OPTIONS]")
@click.argument("places", nargs=-1, metavar="[CONFIG] [RUN_ID]")
@click.option("--transfer", metavar="NAME", help="Only runs of this transfer or publish group.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in record.Status]),
    help="Only runs with this status.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Most runs to list, the latest first.",
)
@argument.env
@click.option("--json", "is_json", is_flag=True, help="Print JSON: a list, or one object.")
def command(
    places: tuple[str, ...],
    transfer: str | None,
    status: str | None,
    limit: int,
    env: str,
    is_json: bool,
) -> int:
    """List what ran, the latest first; with RUN_ID, show one run in full.

    RUN_ID may be cut to its beginning.
    """
    config_location, run_id = split(places)
    from tmg_etl.config import loader
    from tmg_etl.ledger import store

    config = loader.load_ledger(config_location, env)
    with store.open(config.ledger) as ledger:
        if run_id is not None:
            run = ledger.get(run_id)
            text = runs_view.detail(run)
            shown: object = runs_view.as_dict(run)
        else:
            runs = ledger.list(transfer, status, limit)
            if not runs and transfer is not None:
                # Only now: the ledger also knows transfers that the config no longer has.
                whole = loader.load(config_location, env)
                members = whole.groups.get(transfer) or [whole.transfer(transfer)]
                runs = ledger.list([member.name for member in members], status, limit)
            text = runs_view.table(runs, width=_width())
            shown = [runs_view.as_dict(run) for run in runs]
    output.write(config.redact(output.to_json(shown, indent=2) if is_json else text))
    return errors.EXIT_OK


def split(places: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the config's location and the run id, None for all runs.

    A single word is a run id if it looks like one and no such file exists.

    Raises:
        errors.UsageError: more than two words.
    """
    default = os.environ.get(argument.CONFIG_VARIABLE) or argument.DEFAULT_CONFIG
    match places:
        case ():
            return default, None
        case (one,):
            is_run_id = _RUN_ID.fullmatch(one) and not pathlib.Path(one).exists()
            return (default, one) if is_run_id else (one, None)
        case (config, run_id):
            return config, run_id
    raise errors.UsageError(
        f"found {len(places)} arguments, expected at most CONFIG and RUN_ID",
        hint="see `tmg-etl runs --help`",
    )


def _width() -> int | None:
    """Return the terminal's columns; None where lines may be as long as they are."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns
