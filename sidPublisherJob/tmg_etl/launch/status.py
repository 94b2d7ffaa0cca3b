"""What a release does in its namespace: CronJobs with last success and next run, Jobs with why."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import zoneinfo

from tmg_etl.launch import backfill, cluster, diagnosis, manifest

_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_WORDS = {
    3: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A CronJob.

    Attributes:
        name: of the CronJob.
        transfer: that it runs, or the publish group.
        members: the transfers of the group; empty for a transfer.
        schedule: five fields.
        time_zone: of the schedule.
        is_suspended: whether it starts nothing.
        last_success_at: when a Job of it last succeeded; None: not yet.
        next_at: when it starts the next one; None: never.
    """

    name: str
    transfer: str
    members: tuple[str, ...]
    schedule: str
    time_zone: str
    is_suspended: bool
    last_success_at: str | None
    next_at: str | None


@dataclasses.dataclass(frozen=True)
class JobState:
    """A Job.

    Attributes:
        name: of the Job.
        transfer: that it runs, or the publish group.
        state: running, waiting, succeeded or failed.
        started_at: as the cluster writes it.
        detail: why it waits or failed, or how far a back-fill is.
    """

    name: str
    transfer: str
    state: str
    started_at: str | None
    detail: str


@dataclasses.dataclass(frozen=True)
class Status:
    """A release, seen at one moment."""

    release: str
    namespace: str
    schedules: tuple[Schedule, ...]
    jobs: tuple[JobState, ...]


def read(place: cluster.Cluster, release: str, now: datetime.datetime) -> Status:
    """Return what a release does.

    Args:
        place: the cluster.
        release: name of the Helm release.
        now: aware; the next runs come after it.

    Raises:
        errors.ConfigError: there is no such namespace.
    """
    selector = f"{manifest.INSTANCE}={release}"
    crons, jobs = place.cronjobs(selector), place.jobs(selector)
    if not crons and not jobs:
        place.check_namespace()
    templates = [item for item in crons if manifest.TEMPLATE in item["metadata"]["labels"]]
    pods: dict[str, list[cluster.Object]] = {}
    if any(diagnosis.condition(item, "Complete") is None for item in jobs):
        for pod in place.pods(selector, with_succeeded=False):
            pods.setdefault(pod["metadata"]["labels"].get(cluster.JOB, ""), []).append(pod)
    states = [_job(item, pods.get(item["metadata"]["name"], [])) for item in jobs]
    states.sort(key=lambda item: item.started_at or "~", reverse=True)
    return Status(
        release,
        place.namespace,
        tuple(_schedule(item, now) for item in crons if item not in templates),
        tuple(states),
    )


def next_run(schedule: str, zone: datetime.tzinfo, now: datetime.datetime) -> datetime.datetime:
    """Return the first minute after `now` that five cron fields name.

    Args:
        schedule: as a CronJob takes it.
        zone: that its fields are in.
        now: aware.

    Raises:
        ValueError: no day of the next five years fits, or the fields are none.
    """
    minutes, hours, days, months, weekdays = (
        _numbers(text, place) for place, text in enumerate(schedule.split())
    )
    day_text, weekday_text = schedule.split()[2], schedule.split()[4]
    start = now.astimezone(zone)
    for ahead in range(366 * 5):
        day = start.date() + datetime.timedelta(days=ahead)
        is_day, is_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        # Cron's own rule: where both are restricted, one is enough.
        both = "*" not in (day_text[0], weekday_text[0])
        fits = (is_day or is_weekday) if both else (is_day and is_weekday)
        if day.month not in months or not fits:
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                at = datetime.datetime.combine(day, datetime.time(hour, minute), zone)
                if at > start:
                    return at.astimezone(datetime.UTC)
    raise ValueError(f"{schedule!r} names no day")


def _numbers(text: str, place: int) -> set[int]:
    low, high = _FIELDS[place]
    found: set[int] = set()
    for item in text.lower().split(","):
        for number, word in enumerate(_WORDS.get(place, ())):
            item = re.sub(rf"\b{word}\b", str(number + low), item)
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if first in ("*", "?"):
            start, end = low, high
        else:
            # "5/10" means from 5 on, as the controller's parser has it.
            start, end = int(first), int(last) if dash else (high if slash else int(first))
        found |= set(range(start, end + 1, int(step) if slash else 1))
    return found


def _schedule(item: cluster.Object, now: datetime.datetime) -> Schedule:
    spec, metadata = item["spec"], item["metadata"]
    name = spec.get("timeZone") or "Etc/UTC"
    is_suspended = bool(spec.get("suspend"))
    coming = None
    if not is_suspended:
        try:
            zone = datetime.UTC if name.endswith("UTC") else zoneinfo.ZoneInfo(name)
            coming = f"{next_run(spec['schedule'], zone, now):%Y-%m-%dT%H:%M:%SZ}"
        except (ValueError, zoneinfo.ZoneInfoNotFoundError):
            coming = None
    return Schedule(
        name=metadata["name"],
        transfer=_transfer(item),
        members=_members(metadata.get("annotations", {}).get(manifest.MEMBERS)),
        schedule=spec["schedule"],
        time_zone=name,
        is_suspended=is_suspended,
        last_success_at=item.get("status", {}).get("lastSuccessfulTime"),
        next_at=coming,
    )


def _members(noted: str | None) -> tuple[str, ...]:
    """Return the names that the chart noted; none where somebody wrote something else."""
    try:
        found = json.loads(noted or "[]")
    except ValueError:
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _job(item: cluster.Object, pods: list[cluster.Object]) -> JobState:
    name, detail = item["metadata"]["name"], ""
    if manifest.BACKFILL in item["metadata"].get("annotations", {}):
        detail = str(backfill.progress(item, backfill.windows_of(item)[1]))
    if diagnosis.condition(item, "Complete") is not None:
        state = "succeeded"
    elif diagnosis.condition(item, "Failed") is not None:
        cause = diagnosis.failed(item, pods)
        state, detail = "failed", "; ".join(filter(None, (detail, str(cause or ""))))
    else:
        cause = diagnosis.waiting(pods)
        state = "running" if cause is None else "waiting"
        detail = "; ".join(filter(None, (detail, str(cause or ""))))
    started = item.get("status", {}).get("startTime")
    return JobState(name, _transfer(item), state, started, detail)


def _transfer(item: cluster.Object) -> str:
    notes = item["metadata"].get("annotations", {})
    return str(
        notes.get(manifest.TRANSFER) or item["metadata"]["labels"].get(manifest.TRANSFER, "")
    )
