"""Starts a Job or attaches to it, and watches it to its end; its conditions decide."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import time
from collections.abc import Callable

from tmg_etl import errors, run
from tmg_etl.config import problem
from tmg_etl.launch import cluster, diagnosis, log, manifest, name

_ATTEMPTS = 99
_LAST_LINES_S = 15.0  # of all pods, after the end; it is waited only as long as some are missing
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long to wait for what, in seconds.

    Attributes:
        poll_s: between two looks at the Job.
        stuck_s: until a pod that cannot start is reported and, for a bad image, given up.
        second_s: after the first Ctrl-C, for the second one.
    """

    poll_s: float = 2.0
    stuck_s: float = 60.0
    second_s: float = 3.0


def template(place: cluster.Cluster, release: str, kind: str) -> cluster.Object:
    """Return a release's template: the one of a run or of a back-fill.

    Raises:
        errors.ConfigError: there is no such namespace, or no release in it.
    """
    selector = f"{manifest.INSTANCE}={release},{manifest.TEMPLATE}={kind}"
    found = place.cronjobs(selector)
    if not found:
        place.check_namespace()
        raise errors.ConfigError(
            f"the namespace {place.namespace} has no release {release!r}",
            hint="deploy it first: invoke local-deploy-gke --env ENV",
        )
    return found[0]


def own(place: cluster.Cluster, release: str, transfer: str) -> cluster.Object | None:
    """Return the CronJob of a transfer or publish group; None where the release has none."""
    label = name.label(transfer)
    for found in place.cronjobs(f"{manifest.INSTANCE}={release},{manifest.TRANSFER}={label}"):
        if found["metadata"]["annotations"][manifest.TRANSFER] == transfer:
            return found
    return None


def mode(template: cluster.Object, transfer: str, given: run.WriteMode | None) -> run.WriteMode:
    """Return the mode to run a transfer in: the one that is given, or the one of its schedule.

    Args:
        template: the release's template of runs.
        transfer: name of the transfer or of the publish group.
        given: by the user; None: as deployed.

    Raises:
        errors.UsageError: the release has nothing of that name; or no mode is given and it does not
            know one, because its chart never saw the config.
    """
    noted = template["metadata"]["annotations"].get(manifest.TRANSFERS)
    if noted is None:
        if given is None:
            raise errors.UsageError(
                "the release does not say in which mode it runs a transfer",
                hint="give --write-mode truncate or delta",
            )
        return given
    known = json.loads(noted)
    if transfer not in known:
        raise errors.UsageError(
            f"the release runs nothing called {problem.describe(transfer)}",
            hint=problem.help_for(transfer, list(known), "transfers"),
        )
    return given or run.WriteMode(known[transfer])


def start(place: cluster.Cluster, body: cluster.Object) -> tuple[cluster.Object, bool]:
    """Create a Job, or find the one of the same run that has not ended.

    A run that has ended is started again under the next name: NAME, NAME-2, … Two launchers agree
    on it, because the API lets only one of them create it.

    Returns:
        The Job, and whether it was there before.
    """
    base = body["metadata"]["name"]
    for attempt in range(1, _ATTEMPTS + 1):
        wanted = copy.deepcopy(body)
        if attempt > 1:
            wanted["metadata"]["name"] = f"{base}-{attempt}"
        with contextlib.suppress(cluster.ExistsError):
            return place.create_job(wanted), False
        with contextlib.suppress(cluster.NotFoundError):
            there = place.job(wanted["metadata"]["name"])
            if not is_ended(there):
                return there, True
    raise errors.UsageError(
        f"the run {base} was started {_ATTEMPTS} times", hint="delete its old Jobs"
    )


def is_ended(job: cluster.Object) -> bool:
    """Tell whether a Job has succeeded or failed, or is being deleted."""
    return (
        diagnosis.condition(job, "Complete") is not None
        or diagnosis.condition(job, "Failed") is not None
        or "deletionTimestamp" in job["metadata"]
    )


def watch(
    place: cluster.Cluster,
    name: str,
    say: Say,
    *,
    pace: Pace,
    on_job: Callable[[cluster.Object], None] | None = None,
    with_logs: bool = True,
) -> tuple[cluster.Object, diagnosis.Diagnosis | None]:
    """Follow a Job to its end; its conditions alone decide when that is.

    Args:
        place: the cluster.
        name: of the Job.
        say: prints a line.
        pace: how often to look.
        on_job: called with the Job at each look.
        with_logs: print what its pods print.

    Returns:
        The Job as it ended, and why it failed; None when it succeeded.

    Raises:
        cluster.NotFoundError: the Job was deleted.
        errors.TmgEtlError: the cluster was away for more than five minutes.
    """
    follower = log.Follower(place, say, pause_s=pace.poll_s)
    patience = _Patience(say, pace)
    last_lines_s = max(1.0, pace.poll_s)
    try:
        while True:
            try:
                found = place.job(name)
                pods = place.pods(cluster.of_job(name), with_succeeded=with_logs)
            except errors.TemporaryError as error:
                patience.lost(error)
                time.sleep(pace.poll_s)
                continue
            patience.found()
            if on_job is not None:
                on_job(found)
            if with_logs:
                follower.update(pods, is_many=(found["spec"].get("completions") or 1) > 1)
            failure = diagnosis.failed(found, pods)
            if failure is not None or diagnosis.condition(found, "Complete") is not None:
                last_lines_s = _LAST_LINES_S
                return found, failure
            given_up = patience.waiting(diagnosis.waiting(pods))
            if given_up is not None:
                place.delete_job(name)
                return found, given_up
            time.sleep(pace.poll_s)
    finally:
        follower.close(timeout_s=last_lines_s)


class _Patience:
    """How long a cluster may be away and a pod may fail to start."""

    def __init__(self, say: Say, pace: Pace) -> None:
        self._say, self._pace = say, pace
        self._away_since: float | None = None
        self._stuck_since: float | None = None
        self._said: diagnosis.Kind | None = None

    def lost(self, error: errors.TemporaryError) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._say(f"(waiting for the cluster: {error})")
        if now - self._away_since > self._pace.stuck_s * 5:
            raise error

    def found(self) -> None:
        self._away_since = None

    def waiting(self, found: diagnosis.Diagnosis | None) -> diagnosis.Diagnosis | None:
        """Say once what a pod waits for; return it when there is no hope."""
        if found is None:
            self._stuck_since, self._said = None, None
            return None
        if found.kind is not self._said:
            self._say(str(found))
            self._said, self._stuck_since = found.kind, time.monotonic()
        assert self._stuck_since is not None
        is_hopeless = found.kind is not diagnosis.Kind.UNSCHEDULABLE
        if is_hopeless and time.monotonic() - self._stuck_since >= self._pace.stuck_s:
            return found
        return None


def attend(
    place: cluster.Cluster, name: str, say: Say, work: Callable[[], int], *, pace: Pace
) -> int:
    """Return the exit code of `work`, which watches a Job; Ctrl-C detaches, twice cancels.

    Args:
        place: the cluster.
        name: of the Job.
        say: prints a line.
        work: watches it.
        pace: how long to wait for the second Ctrl-C.
    """
    try:
        return work()
    except KeyboardInterrupt:
        pass
    try:
        say(f"detached: {name} goes on. Ctrl-C once more within {pace.second_s:g} s cancels it.")
        time.sleep(pace.second_s)
    except KeyboardInterrupt:
        cancel(place, name, say, pace=pace)
    else:
        say("`invoke logs` attaches again, `invoke cancel` ends it.")
    return errors.EXIT_SIGINT


def cancel(place: cluster.Cluster, name: str, say: Say, *, pace: Pace) -> None:
    """Delete a Job and wait until its pods have ended in order.

    Raises:
        errors.UsageError: there is no such Job.
    """
    try:
        place.delete_job(name)
    except cluster.NotFoundError:
        raise errors.UsageError(
            f"the namespace {place.namespace} has no Job {name!r}", hint="see `invoke status`"
        ) from None
    say(f"cancelling {name}: its pods end in order")
    with contextlib.suppress(cluster.NotFoundError):
        while True:
            place.job(name)
            time.sleep(pace.poll_s)
    say(f"{name} is gone")
