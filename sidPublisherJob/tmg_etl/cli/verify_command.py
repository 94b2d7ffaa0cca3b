"""`tmg-etl verify`: source and target compared now, down to the rows that differ."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tmg_etl import errors
from tmg_etl.cli import argument

if TYPE_CHECKING:
    from tmg_etl.config import model


@click.command("verify", options_metavar="[OPTIONS]")
@argument.places
@argument.date
@argument.mode
@argument.delta_start_date
@argument.env
@click.option(
    "--limit",
    type=click.IntRange(min=0, max=10_000),
    default=20,
    show_default=True,
    help="Most rows to name.",
)
@click.option("--json", "is_json", is_flag=True, help="Print it as one JSON object.")
def command(
    places: tuple[str, ...],
    date: datetime.date | None,
    mode: str | None,
    delta_start_date: datetime.date | None,
    env: str,
    limit: int,
    is_json: bool,
) -> int:
    """Compare source and target as they are now, and name the rows that differ; writes nothing.

    TRANSFER may be a publish group: then each of its members is compared. Exit code 0 means equal,
    65 different. All rows are compared, by the delta rule of a transfer that has one:
    with --delta_start_date or --mode delta those of the window, with --mode truncate
    every row of both sides.
    """
    asked = argument.asked(places, date, mode, delta_start_date)
    from tmg_etl.config import loader

    config = loader.load(asked.config, env)
    how = {
        "execution_date": asked.execution_date,
        "delta_start_date": delta_start_date,
        "write_mode": asked.write_mode if asked.is_mode_given else None,
        "limit": limit,
    }
    compare = _group if asked.transfer_name in config.groups else _transfer
    return compare(config, asked.transfer_name, how, is_json=is_json)


def _transfer(config: model.Config, name: str, how: Mapping[str, Any], *, is_json: bool) -> int:
    from tmg_etl.cli import output, verify_view
    from tmg_etl.transfer import comparison

    found = comparison.make(config, name, **how)
    text = output.to_json(found.as_dict()) if is_json else verify_view.render(found)
    output.write(config.redact(text))
    return errors.EXIT_OK if found.is_equal else errors.EXIT_DATA


def _group(config: model.Config, name: str, how: Mapping[str, Any], *, is_json: bool) -> int:
    from tmg_etl.cli import output, verify_view
    from tmg_etl.transfer import group_comparison

    found = group_comparison.make(config, name, **how)
    text = output.to_json(found.as_dict()) if is_json else verify_view.render_group(found)
    output.write(config.redact(text))
    return found.exit_code
