"""Back-fills: many windows of one transfer or publish group.

They run as one Indexed Job or as processes on this machine.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import json
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tmg_etl import errors, run
from tmg_etl.launch import cluster, diagnosis, job, manifest, window

if TYPE_CHECKING:
    from tmg_etl.config import model

_SHOWN = 20  # windows of a plan or a report that are written out
_LEDGER_ROWS = 100_000
#: BigQuery's, which order rows of a source and are no columns of a target.
_UNPUBLISHED = frozenset({"_PARTITIONTIME", "_PARTITIONDATE"})


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a back-fill will run.

    Attributes:
        transfer: name of the transfer or of the publish group.
        env: environment of the config.
        span: first and last day.
        step: length of a window.
        windows: all windows of the span, by index.
        indexes: those to run.
        done: index → id of the run that published it before, for those left out.
        parallelism: windows at a time; None: as the chart says.
        is_ordered: why windows run one after the other; None where they need not.
    """

    transfer: str
    env: str
    span: run.Window
    step: window.Step
    windows: tuple[run.Window, ...]
    indexes: tuple[int, ...]
    done: dict[int, str]
    parallelism: int | None
    is_ordered: str | None

    def lines(self) -> list[str]:
        """Return the plan as it is printed."""
        chosen = len(self.indexes)
        lines = [
            f"back-fill of {self.transfer} ({self.env}): {self.span} by {self.step}, "
            f"{chosen} of {len(self.windows)} windows"
        ]
        if self.done:
            lines.append(f"  done before, by the ledger: {window.format_indexes(self.done)}")
        if self.is_ordered:
            lines.append(f"  one after the other: {self.is_ordered}")
        elif self.parallelism:
            lines.append(f"  up to {self.parallelism} at a time")
        lines += [f"  {index}: {self.windows[index]}" for index in self.indexes[:_SHOWN]]
        if chosen > _SHOWN:
            lines.append(f"  … {chosen - _SHOWN} more")
        return lines

    def rerun(self, indexes: Sequence[int], *, local: int | None = None) -> str:
        """Return the command that runs just these windows."""
        words = ["invoke", "backfill", "--env", self.env, "--transfer", self.transfer]
        words += ["--from", f"{self.span.start:%Y%m%d}", "--to", f"{self.span.end:%Y%m%d}"]
        words += ["--step", str(self.step), "--only", window.format_indexes(indexes)]
        return shlex.join([*words, *(["--local", str(local)] if local else [])])


def members(config: model.Config, name: str) -> tuple[model.Transfer, ...]:
    """Return the transfers that run by a name: one, or all of a publish group.

    Raises:
        errors.ConfigError: there is neither, or it is a member of a group, which runs as a whole.
    """
    if name in config.groups:
        return config.groups[name]
    transfer = config.transfer(name)
    if transfer.publish_group is not None:
        raise errors.ConfigError(
            f"the transfer {name} is published with its group only",
            hint=f"back-fill {transfer.publish_group}",
        )
    return (transfer,)


def order_reason(members: Sequence[model.Transfer]) -> str | None:
    """Return why windows must run in order; None where they need not.

    An upsert keeps the newer version of a row by its order columns. Where the target does not hold
    them, the last window to run wins, whatever it holds. So it does where a member of a group
    without a delta reads another file for each day.

    Args:
        members: the transfers that run together; one alone is no group.

    Raises:
        errors.ConfigError: none has a delta.
    """
    if all(member.delta is None for member in members):
        one = members[0]
        who = f"the transfer {one.name} declares"
        if len(members) > 1:
            who = f"no member of the publish group {one.publish_group} declares"
        raise errors.ConfigError(
            f"{who} {'no' if len(members) == 1 else 'a'} delta, so it has no windows",
            hint="run it once in the mode truncate",
        )
    for member in members:
        reason = _order_reason(member)
        if reason is not None:
            return reason if len(members) == 1 else f"{member.name}: {reason}"
    return None


def _order_reason(transfer: model.Transfer) -> str | None:
    delta = transfer.delta
    if delta is None:
        source = transfer.source
        is_daily = "{execution_date" in (source.path or source.query or source.table or "")
        by_day = is_daily or transfer.pipeline is not None
        return "it is refreshed as a whole, from the source of a day" if by_day else None
    if delta.strategy == "replace_window":
        return None
    lost = [column for column in delta.order_by if column in _UNPUBLISHED]
    if lost:
        return f"the target lacks the order column {', '.join(lost)}"
    if not delta.order_by:
        return "the transfer declares no order_by"
    return None


def plan(
    name: str,
    members: Sequence[model.Transfer],
    env: str,
    first: datetime.date,
    last: datetime.date,
    *,
    step: str = "1d",
    only: str | None = None,
    parallelism: int | None = None,
    done: dict[run.Window, str] | None = None,
) -> Plan:
    """Return what a back-fill will run.

    Args:
        name: of the transfer or of the publish group.
        members: the transfers that run by that name, of which one has a delta.
        env: environment of the config.
        first: first day.
        last: last day.
        step: as in ``1d``, ``1w``, ``1m``.
        only: indexes to run, as in ``3,7-9``; None: all.
        parallelism: windows at a time, 1 or more; None: as the chart says.
        done: window → run id, for windows to leave out.

    Raises:
        errors.UsageError: the span, the step, the indexes or the parallelism.
        errors.ConfigError: no member has a delta.
    """
    reason = order_reason(members)
    if parallelism is not None and parallelism < 1:
        raise errors.UsageError(f"found --parallelism {parallelism}, expected 1 or more")
    length = window.Step.parse(step)
    windows = window.cut(first, last, length)
    chosen = window.pick(windows, window.parse_indexes(only) if only is not None else None)
    left_out = {index: done[windows[index]] for index in chosen if done and windows[index] in done}
    return Plan(
        transfer=name,
        env=env,
        span=run.Window(first, last),
        step=length,
        windows=tuple(windows),
        indexes=tuple(index for index in chosen if index not in left_out),
        done=left_out,
        parallelism=1 if reason else parallelism,
        is_ordered=reason,
    )


def published(
    ledger_url: str, members: Sequence[model.Transfer], env: str
) -> dict[run.Window, str]:
    """Return the windows that the ledger knows as published, with the run's id.

    Those of a group are published when all its members with a delta have published them.

    Raises:
        errors.LedgerError: the ledger cannot be read.
    """
    from tmg_etl.ledger import record, store

    windowed = [member.name for member in members if member.delta is not None]
    with store.open(ledger_url) as ledger:
        rows = [ledger.list(name, str(record.Status.SUCCEEDED), _LEDGER_ROWS) for name in windowed]
    found = [
        {
            run.Window(row.window_start, row.window_end): row.id
            for row in of_one
            if row.env == env and row.write_mode == run.WriteMode.DELTA
        }
        for of_one in rows
    ]
    first, *others = found or [{}]
    return {span: run_id for span, run_id in first.items() if all(span in one for one in others)}


def body(
    template: cluster.Object, wanted: Plan, own: cluster.Object | None = None
) -> cluster.Object:
    """Return the Job of a plan, made from a template and the transfer's own CronJob, if any."""
    return manifest.backfill_job(
        template,
        wanted.transfer,
        wanted.span,
        wanted.step,
        wanted.indexes,
        only=len(wanted.indexes) < len(wanted.windows),
        parallelism=wanted.parallelism,
        is_ordered=wanted.is_ordered is not None,
        own=own,
    )


def windows_of(found: cluster.Object) -> tuple[list[run.Window], list[int]]:
    """Return the windows and the indexes of a back-fill's Job, from what is noted on it."""
    facts = json.loads(found["metadata"]["annotations"][manifest.BACKFILL])
    first, last = (datetime.date.fromisoformat(facts[key]) for key in ("from", "to"))
    windows = window.cut(first, last, window.Step.parse(facts["step"]))
    return windows, window.parse_indexes(facts["only"])


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a back-fill is, in indexes of the plan's windows."""

    total: int
    done: tuple[int, ...]
    failed: tuple[int, ...]
    running: int

    def __str__(self) -> str:
        """Return the line that is printed."""
        words = f"windows: {len(self.done)} of {self.total} done, {self.running} running"
        failed = f", {len(self.failed)} failed: {window.format_indexes(self.failed)}"
        return words + (failed if self.failed else "")


def progress(found: cluster.Object, indexes: Sequence[int]) -> Progress:
    """Return how far the Job of a back-fill is.

    Args:
        found: the Job.
        indexes: of the windows, by the index of the pod.
    """
    status = found.get("status", {})

    def of(key: str) -> tuple[int, ...]:
        places = window.parse_indexes(status.get(key) or "")
        return tuple(indexes[place] for place in places if place < len(indexes))

    return Progress(
        len(indexes), of("completedIndexes"), of("failedIndexes"), int(status.get("active") or 0)
    )


def follow(place: cluster.Cluster, name: str, wanted: Plan, say: job.Say, *, pace: job.Pace) -> int:
    """Watch the Job of a back-fill and report its windows; return its exit code.

    Raises:
        errors.TmgEtlError: as `job.watch`.
    """
    said = collections.deque([""], maxlen=1)

    def show(found: cluster.Object) -> None:
        text = str(progress(found, wanted.indexes))
        if text != said[-1]:
            said.append(text)
            say(text)

    found, failure = job.watch(place, name, say, pace=pace, on_job=show, with_logs=False)
    if failure is None:
        say(f"{name}: all {len(wanted.indexes)} windows are published")
        return errors.EXIT_OK
    end = progress(found, wanted.indexes)
    reasons = reasons_by_window(place, name, wanted.indexes)
    report(wanted, end.done, reasons, say)
    causes = [reason for index, reason in reasons.items() if index not in end.done]
    return (causes[-1] if causes else failure).exit_code


def reasons_by_window(
    place: cluster.Cluster, name: str, indexes: Sequence[int]
) -> dict[int, diagnosis.Diagnosis]:
    """Return why windows failed, by the latest pod of each that is still there."""
    found: dict[int, diagnosis.Diagnosis] = {}
    for pod in place.pods(cluster.of_job(name), with_succeeded=False):
        notes = pod["metadata"].get("annotations", {}) | pod["metadata"].get("labels", {})
        index = str(notes.get("batch.kubernetes.io/job-completion-index", ""))
        cause = diagnosis.ended(pod)
        if cause is not None and index.isdigit() and int(index) < len(indexes):
            found[indexes[int(index)]] = cause
    return found


def report(
    wanted: Plan,
    done: Sequence[int],
    reasons: dict[int, diagnosis.Diagnosis] | dict[int, str],
    say: Callable[[str], None],
    *,
    local: int | None = None,
) -> None:
    """Say which windows are not published, why, and the command that runs just those."""
    missing = [index for index in wanted.indexes if index not in set(done)]
    say(f"{len(missing)} of {len(wanted.indexes)} windows are not published:")
    for index in missing[:_SHOWN]:
        reason = reasons.get(index, "did not run to its end")
        say(f"  {index}: {wanted.windows[index]}: {reason}")
    if len(missing) > _SHOWN:
        say(f"  … {len(missing) - _SHOWN} more")
    say(f"run just those: {wanted.rerun(missing, local=local)}")
