"""`tmg-etl plan`: what a run would do."""

from __future__ import annotations

import datetime

import click

from tmg_etl.cli import argument


@click.command("plan", options_metavar="[OPTIONS]")
@argument.places
@argument.date
@argument.mode
@argument.delta_start_date
@argument.env
@click.option(
    "--rows",
    type=click.Choice(["auto", "exact", "estimate"]),
    default="auto",
    show_default=True,
    help="How rows are counted. exact: in temporary tables of the target's database; estimate: "
    "not; auto: exact up to a million rows of a source that costs nothing to read.",
)
@click.option("--json", "is_json", is_flag=True, help="Print it as one JSON object.")
def command(
    places: tuple[str, ...],
    date: datetime.date | None,
    mode: str | None,
    delta_start_date: datetime.date | None,
    env: str,
    rows: str,
    is_json: bool,
) -> int:
    """Show what a run would do: rows, schema, rights, locks, disk, time; writes nothing.

    TRANSFER may be a publish group. The arguments may also be those of `pipeline`: EXECUTION_DATE
    TRANSFER WRITE_MODE [CONFIG].
    """
    asked = argument.asked(places, date, mode, delta_start_date)
    from tmg_etl.cli import execution, feedback

    request = execution.Request(
        execution_date=asked.execution_date,
        transfer_name=asked.transfer_name,
        write_mode=asked.write_mode,
        config_location=asked.config,
        delta_start_date=delta_start_date,
        env=env,
    )
    style = feedback.Style("json" if is_json else "text", is_live=False, interval_s=None)
    return execution.plan(request, style, prog="tmg-etl", rows=rows)
