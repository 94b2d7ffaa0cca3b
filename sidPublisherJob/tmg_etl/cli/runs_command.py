"""`tmg-etl runs`: what ran, from the ledger of a config."""

from __future__ import annotations

import dataclasses
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
# What locations of configs have, and names of transfers seldom.
_OF_PLACES = re.compile(r"[/\\.:]")


@click.command("runs", options_metavar="[OPTIONS]")
@click.argument("places", nargs=-1, metavar="[CONFIG] [RUN_ID|NAME]")
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

    RUN_ID may be cut to its beginning. NAME is that of a transfer or publish group, as --transfer.
    """
    asked = split(places)
    if asked.name is not None and transfer is not None:
        raise errors.UsageError(
            f"found {errors.shorten(asked.name, 40)} and --transfer", hint="give one of them"
        )
    config_location, run_id, transfer = asked.config, asked.run_id, asked.name or transfer
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


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the words of the command line mean.

    Attributes:
        config: location of the config.
        run_id: beginning of a run's id; None: many runs are listed.
        name: of a transfer or publish group; None: of all.
    """

    config: str
    run_id: str | None = None
    name: str | None = None


def split(places: tuple[str, ...]) -> Asked:
    """Return what the words mean; a name may also stand before the config, as in other commands.

    A single word is a run id if it looks like one, else a config if it looks like a location, and
    a config in any case if there is such a file.

    Raises:
        errors.UsageError: more than two words.
    """
    default = os.environ.get(argument.CONFIG_VARIABLE) or argument.DEFAULT_CONFIG
    match places:
        case ():
            return Asked(default)
        case (one,):
            return Asked(one) if _is_place(one) else _narrowed(default, one)
        case (name, config) if not _is_place(name) and _is_place(config):
            return _narrowed(config, name)
        case (config, word):
            return _narrowed(config, word)
    raise errors.UsageError(
        f"found {len(places)} arguments, expected at most CONFIG and RUN_ID or NAME",
        hint="see `tmg-etl runs --help`",
    )


def _narrowed(config: str, word: str) -> Asked:
    return Asked(config, run_id=word) if _RUN_ID.fullmatch(word) else Asked(config, name=word)


def _is_place(word: str) -> bool:
    return _OF_PLACES.search(word) is not None or pathlib.Path(word).exists()


def _width() -> int | None:
    """Return the terminal's columns; None where lines may be as long as they are."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns
