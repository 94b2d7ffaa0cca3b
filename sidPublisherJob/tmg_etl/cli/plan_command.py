"""`tmg-etl plan`: what a run would do."""

from __future__ import annotations

import datetime

import click

from tmg_etl import run
from tmg_etl.cli import argument


@click.command("plan")
@click.argument("execution_date", type=argument.day)
@click.argument("transfer_name")
@argument.write_mode
@argument.config
@argument.delta_start_date
@argument.env
@click.option("--json", "is_json", is_flag=True, help="Print it as one JSON object.")
def command(
    execution_date: datetime.date,
    transfer_name: str,
    write_mode: str,
    config: str,
    delta_start_date: datetime.date | None,
    env: str,
    is_json: bool,
) -> int:
    """Show what a run would do: opens source and target, and writes nothing."""
    mode = run.WriteMode(write_mode)
    argument.check_window(mode, execution_date, delta_start_date)
    from tmg_etl.cli import execution, feedback

    request = execution.Request(
        execution_date=execution_date,
        transfer_name=transfer_name,
        write_mode=mode,
        config_location=config,
        delta_start_date=delta_start_date,
        env=env,
    )
    style = feedback.Style("json" if is_json else "text", is_live=False, interval_s=None)
    return execution.plan(request, style, prog="tmg-etl")
