"""Jobs made from the templates that the chart left in the cluster. Pure: dictionaries in and out.

A template is a suspended CronJob of the release, labelled ``tmg-etl/template``. Where a transfer
has a CronJob of its own, its pods and deadline are taken from that. What is deployed is so what
runs: image, resources, secrets, proxy and retry rules are the chart's alone.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Sequence

from tmg_etl import run
from tmg_etl.launch import cluster, name, window

CONTAINER = "pipeline"
TEMPLATE, TRANSFER = "tmg-etl/template", "tmg-etl/transfer"
CONFIG, ENV, BACKFILL = "tmg-etl/config", "tmg-etl/env", "tmg-etl/backfill"
MEMBERS = "tmg-etl/members"
TRANSFERS = "tmg-etl/transfers"
"""Noted on the template of runs: what there is to run, and in which mode."""
INSTANCE = "app.kubernetes.io/instance"


def run_job(
    template: cluster.Object,
    transfer: str,
    execution_date: datetime.date,
    mode: run.WriteMode,
    delta_start_date: datetime.date | None = None,
    *,
    own: cluster.Object | None = None,
) -> cluster.Object:
    """Return the Job of one run; the same run has the same name.

    Args:
        template: the release's CronJob labelled ``tmg-etl/template: run``.
        transfer: name of the transfer or of the publish group.
        execution_date: of the run.
        mode: truncate or delta.
        delta_start_date: first day of the window; None: the execution date.
        own: the CronJob of the transfer; None where it has none.
    """
    notes = template["metadata"]["annotations"]
    arguments = [f"{execution_date:%Y%m%d}", transfer, mode.value, notes[CONFIG]]
    if delta_start_date is not None:
        arguments += ["--delta_start_date", f"{delta_start_date:%Y%m%d}"]
    arguments += ["--env", notes[ENV]]
    made = (own or template)["spec"]["jobTemplate"]
    return _job(template, made, transfer, arguments, {})


def backfill_job(
    template: cluster.Object,
    transfer: str,
    span: run.Window,
    step: window.Step,
    indexes: Sequence[int],
    *,
    only: bool,
    parallelism: int | None,
    is_ordered: bool,
    own: cluster.Object | None = None,
) -> cluster.Object:
    """Return the Indexed Job of a back-fill.

    Args:
        template: the release's CronJob labelled ``tmg-etl/template: backfill``.
        transfer: name of the transfer or of the publish group.
        span: all days of the back-fill.
        step: length of a window.
        indexes: windows to run, of those that `span` is cut into.
        only: whether `indexes` are fewer than all.
        parallelism: windows at a time; None: as the chart says.
        is_ordered: a window may only start when the one before it is done.
        own: the CronJob of the transfer; None where it has none.
    """
    notes = template["metadata"]["annotations"]
    chosen = window.format_indexes(indexes)
    arguments = ["windows", transfer, notes[CONFIG], "--env", notes[ENV]]
    arguments += ["--from", f"{span.start:%Y%m%d}", "--to", f"{span.end:%Y%m%d}"]
    arguments += ["--step", str(step), *(["--only", chosen] if only else [])]
    facts = {"from": f"{span.start}", "to": f"{span.end}", "step": str(step), "only": chosen}
    made = template["spec"]["jobTemplate"]
    if own is not None:
        theirs = own["spec"]["jobTemplate"]
        # All windows together may take as long as one run of the transfer, at least.
        limits = [item["spec"]["activeDeadlineSeconds"] for item in (made, theirs)]
        pods = {"template": theirs["spec"]["template"], "activeDeadlineSeconds": max(limits)}
        made = {**theirs, "spec": {**made["spec"], **pods}}
    job = _job(template, made, transfer, arguments, {BACKFILL: json.dumps(facts)})
    spec = job["spec"]
    spec["completions"] = len(indexes)
    spec["parallelism"] = min(parallelism or spec["parallelism"], len(indexes))
    if "maxFailedIndexes" in spec:
        spec["maxFailedIndexes"] = min(spec["maxFailedIndexes"], len(indexes))
    if is_ordered:
        _in_order(spec)
    return job


def _in_order(spec: cluster.Object) -> None:
    """Have no window overtake another.

    With limits for each index, the controller starts the next index while a failed one waits for
    its retry. With one limit for all, it takes the lowest index that is not done.
    """
    spec["parallelism"] = 1
    spec["backoffLimit"] = spec.pop("backoffLimitPerIndex")
    spec.pop("maxFailedIndexes", None)
    for rule in spec["podFailurePolicy"]["rules"]:
        if rule["action"] == "FailIndex":
            rule["action"] = "FailJob"


def _job(
    template: cluster.Object,
    job_template: cluster.Object,
    transfer: str,
    arguments: list[str],
    notes: dict[str, str],
) -> cluster.Object:
    made = copy.deepcopy(job_template)
    release = template["metadata"]["labels"][INSTANCE]
    component = name.label(transfer)
    labels = {"app.kubernetes.io/component": component, TRANSFER: component}
    pod = made["spec"]["template"]
    pod["metadata"]["labels"] |= labels
    container = _container(made)
    container.pop("command", None)
    container["args"] = arguments
    if command := _container(template["spec"]["jobTemplate"]).get("command"):
        container["command"] = command
    metadata = made.get("metadata", {})
    facts = json.dumps([made["spec"], arguments], sort_keys=True)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name.job(release, transfer, facts),
            "namespace": template["metadata"]["namespace"],
            "labels": {**metadata.get("labels", {}), **labels},
            "annotations": {**metadata.get("annotations", {}), TRANSFER: transfer, **notes},
        },
        "spec": made["spec"],
    }


def _container(job: cluster.Object) -> cluster.Object:
    found: list[cluster.Object] = job["spec"]["template"]["spec"]["containers"]
    return next(item for item in found if item["name"] == CONTAINER)
