"""`tmg-etl status`: what a release does in a cluster."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from typing import TYPE_CHECKING

import click

from tmg_etl import errors
from tmg_etl.cli import output

if TYPE_CHECKING:
    from tmg_etl.launch import status


@click.command("status")
@click.option("--env", metavar="NAME", help="Environment in ./gke_deploy/environments.yaml.")
@click.option("--context", metavar="NAME", help="kubectl's context. Default: its current one.")
@click.option("--namespace", metavar="NAME", default="default", show_default=True)
@click.option(
    "--release",
    metavar="NAME",
    default="sidpublisherjob",
    show_default=True,
    help="Name of the Helm release.",
)
@click.option("--json", "is_json", is_flag=True, help="Print it as one JSON object.")
def command(
    env: str | None, context: str | None, namespace: str, release: str, is_json: bool
) -> int:
    """Show a release's Jobs, and its CronJobs with last success and next run.

    With --env, cluster, namespace and release are the environment's.
    """
    from tmg_etl.launch import cluster, session, status

    if env is not None:
        found = session.status(session.Session(pathlib.Path(), env))
    else:
        place = cluster.connect(context, namespace)
        found = status.read(place, release, datetime.datetime.now(datetime.UTC))
    if is_json:
        output.write_json(dataclasses.asdict(found), indent=2)
    else:
        output.write("\n".join(lines(found)))
    return errors.EXIT_OK


def lines(found: status.Status) -> list[str]:
    """Return a release's state as it is printed."""
    if not found.schedules and not found.jobs:
        return [f"{found.namespace} has nothing of the release {found.release}"]
    table = [["TRANSFER", "SCHEDULE", "LAST SUCCESS", "NEXT RUN"]]
    for cron in found.schedules:
        coming = "suspended" if cron.is_suspended else cron.next_at or "never"
        schedule = f"{cron.schedule} {cron.time_zone}"
        table.append([cron.transfer, schedule, cron.last_success_at or "none", coming])
        # A group runs as one: its members have no times of their own.
        table += [[f"  {member}", "", "", ""] for member in cron.members]
    text = _columns(table) if found.schedules else []
    if found.jobs:
        rows = [["JOB", "TRANSFER", "STATE", "STARTED", ""]]
        rows += [
            [job.name, job.transfer, job.state, job.started_at or "not yet", job.detail]
            for job in found.jobs
        ]
        text += [*([""] if text else []), *_columns(rows)]
    return [output.printable(line) for line in text]


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
