"""`tmg-etl rollback`: the table that the last full refresh replaced, back in its place."""

from __future__ import annotations

import click

from tmg_etl.cli import argument


@click.command("rollback", options_metavar="[OPTIONS]")
@click.argument("transfer_name", metavar="TRANSFER")
@argument.config
@argument.env
@click.option(
    "--to",
    "wanted",
    metavar="RUN_ID",
    help="Undo back to what this run replaced; its beginning is enough. Default: the latest.",
)
@click.option("--list", "is_list", is_flag=True, help="List what is kept, and change nothing.")
@click.option(
    "--unverified",
    is_flag=True,
    help="Put a table back although the ledger does not know what it held.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON, also in the log.")
def command(
    transfer_name: str,
    config: str,
    env: str,
    wanted: str | None,
    is_list: bool,
    unverified: bool,
    is_json: bool,
) -> int:
    """Put the table back that `keep_previous` kept, in one atomic step, proved by its fingerprint.

    The table that it replaces is kept in turn: a second rollback takes the first one back. TRANSFER
    may be a publish group: then the tables that its last step replaced are put back in one step.
    """
    from tmg_etl.cli import feedback, rollback

    style = feedback.Style("json" if is_json else "text", is_live=False, interval_s=None)
    if is_list:
        return rollback.show(config, env, transfer_name, style)
    return rollback.execute(
        rollback.Request(config, env, transfer_name, wanted, is_unverified=unverified), style
    )
