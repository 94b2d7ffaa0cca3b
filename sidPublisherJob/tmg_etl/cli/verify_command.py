"""`tmg-etl verify`: source and target compared now, down to the rows that differ."""

from __future__ import annotations

import datetime

import click

from tmg_etl import errors
from tmg_etl.cli import argument


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

    Exit code 0 means equal, 65 different. With --delta_start_date or --mode delta, the rows of the
    window are compared by the transfer's own delta rule; else all rows.
    """
    asked = argument.asked(places, date, mode, delta_start_date)
    from tmg_etl.cli import output, verify_view
    from tmg_etl.config import loader
    from tmg_etl.transfer import comparison

    config = loader.load(asked.config, env)
    found = comparison.make(
        config,
        asked.transfer_name,
        execution_date=asked.execution_date,
        delta_start_date=delta_start_date,
        write_mode=asked.write_mode,
        limit=limit,
    )
    text = output.to_json(found.as_dict()) if is_json else verify_view.render(found)
    output.write(config.redact(text))
    return errors.EXIT_OK if found.is_equal else errors.EXIT_DATA
