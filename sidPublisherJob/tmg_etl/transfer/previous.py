"""Replaced tables that are kept for a while (`keep_previous`): what they hold, when they go.

A kept table's name ends with the id of the run that replaced it, and an id begins with the instant:
age and owner are known without the ledger. What happens here happens after the publish; it warns
and never fails the run.
"""

from __future__ import annotations

import dataclasses
import datetime

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import verify


def fingerprint(run: run_module.Run, name: str) -> base.Fingerprint:
    """Return what a kept table holds, over all columns that hold values of their own.

    Args:
        run: its connections and its level of verification; "off" counts rows.
        name: the kept table.
    """
    level: verify.Level = "fingerprint" if run.transfer.verify == "fingerprint" else "count"
    with run.connections[run.transfer.target.connection].open_target(name) as table:
        described = table.describe()
        if described is None:
            raise errors.ConfigError(f"there is no table {name}")
        fields = [column.field for column in described.columns if not column.is_generated]
        return verify.prove(table, name, pa.schema(fields), base.Selection(), level)


def remembered(run: run_module.Run, result: run_module.Result, kept: str) -> run_module.Result:
    """Return a run's result with what its ledger row says of the table that it kept.

    The fingerprint is taken now: before the swap, others might still have written to the table.
    """
    found = None
    try:
        found = fingerprint(run, kept)
    except (Exception, errors.Stopped) as error:  # noqa: BLE001 - the run has published
        run.warn(f"{kept} is kept, without a fingerprint: {error}")
    return dataclasses.replace(
        result,
        previous_table=kept,
        previous_fingerprint=None if found is None else str(found),
        previous_expires_at=expires_at(run, kept),
    )


def expires_at(run: run_module.Run, kept: str) -> datetime.datetime | None:
    """Return until when a table is kept; None: the next run drops it."""
    keep_s = run.transfer.keep_previous_s
    began = run_module.started_at(run_module.TemporaryNames.owner(kept))
    if keep_s is None or began is None:
        return None
    return began + datetime.timedelta(seconds=keep_s)


def expire(run: run_module.Run, target: base.Target) -> None:
    """Drop the kept tables whose time is over; all of them when none are to be kept."""
    own = run.names.table("prev", target.table)
    now = datetime.datetime.now(datetime.UTC)
    try:
        for name in target.kept(run.names):
            end = expires_at(run, name)
            if name != own and (end is None or end <= now):
                target.drop(name)
                run.logger.info("dropped %s, which was kept long enough", name)
    except (Exception, errors.Stopped) as error:  # noqa: BLE001 - the run has published
        run.warn(f"a table that was kept long enough is still there: {error}")
