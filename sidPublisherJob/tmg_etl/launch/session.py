"""What the Kubernetes tasks call: run one transfer, back-fill, status, logs, cancel.

Each function takes the repository's folder and the name of an environment, prints through `say`,
and returns the exit code.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import sys
from collections.abc import Callable

from tmg_etl import errors, run
from tmg_etl.config import loader
from tmg_etl.launch import backfill as backfills
from tmg_etl.launch import cluster, environment, job, local, manifest
from tmg_etl.launch import status as statuses


def say_line(text: str) -> None:
    """Print a line to stdout at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclasses.dataclass(frozen=True)
class Session:
    """One environment, as the launcher sees it.

    Attributes:
        root: folder of the repository.
        env: name of the environment.
        say: prints a line.
        pace: how often to look at the cluster.
    """

    root: pathlib.Path
    env: str
    say: Callable[[str], None] = say_line
    pace: job.Pace = dataclasses.field(default_factory=job.Pace)

    @property
    def places(self) -> environment.Environment:
        """Where the environment lives."""
        return environment.select(self.root, self.env)

    @property
    def release(self) -> str:
        """Name of the Helm release."""
        return environment.load(self.root).image

    def connect(self) -> cluster.Cluster:
        """Return the namespace of the environment's cluster.

        Raises:
            errors.ConfigError: kubectl does not know the cluster.
        """
        return cluster.connect(self.places.kubectl_context, self.places.namespace)

    def config_location(self) -> str:
        """Return where the transfers' config is; a relative path starts at the repository."""
        location = self.places.config
        return location if "://" in location else str(self.root / location)


def run_now(
    session: Session,
    transfer: str,
    execution_date: datetime.date,
    mode: run.WriteMode | None = None,
    *,
    delta_start_date: datetime.date | None = None,
    dry_run: bool = False,
) -> int:
    """Run one transfer in the cluster and follow it; attaches where the same run is going on.

    Args:
        session: the environment.
        transfer: name of the transfer or of the publish group.
        execution_date: of the run.
        mode: truncate or delta; None: the one that is deployed.
        delta_start_date: first day of the window; None: the execution date.
        dry_run: print the Job instead.

    Returns:
        The exit code of the job; 130 after Ctrl-C.

    Raises:
        errors.TmgEtlError: nothing was started.
    """
    _check_start(mode, delta_start_date, execution_date)
    place = session.connect()
    template = job.template(place, session.release, "run")
    chosen = job.mode(template, transfer, mode)
    _check_start(chosen, delta_start_date, execution_date)
    own = job.own(place, session.release, transfer)
    body = manifest.run_job(template, transfer, execution_date, chosen, delta_start_date, own=own)
    if dry_run:
        session.say(json.dumps(body, indent=2))
        return errors.EXIT_OK
    name = _start(session, place, body)
    session.say(f"  {chosen.value}{', as deployed' if mode is None else ''}")
    return job.attend(
        place, name, session.say, lambda: _follow(session, place, name), pace=session.pace
    )


def backfill(
    session: Session,
    transfer: str,
    first: datetime.date,
    last: datetime.date,
    *,
    step: str = "1d",
    parallelism: int | None = None,
    only: str | None = None,
    resume: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
) -> int:
    """Run many windows of one transfer; report those that failed and how to run just those.

    Args:
        session: the environment.
        transfer: name of the transfer, which declares a delta, or of a publish group in which one
            does.
        first: first day.
        last: last day.
        step: length of a window: ``1d``, ``1w``, ``1m``.
        parallelism: windows at a time in the cluster; None: as the chart says.
        only: windows to run, as in ``3,7-9``; None: all.
        resume: leave out the windows that the ledger knows as published.
        processes: run them in so many processes on this machine; None: in the cluster.
        dry_run: print the plan only.

    Returns:
        0 when all windows are published; else the exit code of one that failed.

    Raises:
        errors.TmgEtlError: nothing was started.
    """
    location = session.config_location()
    members = backfills.members(loader.load_transfers(location, session.env), transfer)
    done = None
    if resume:
        ledger = loader.load_ledger(location, session.env).ledger
        done = backfills.published(ledger, members, session.env)
    wanted = backfills.plan(
        transfer,
        members,
        session.env,
        first,
        last,
        step=step,
        only=only,
        parallelism=processes or parallelism,
        done=done,
    )
    for line in wanted.lines():
        session.say(line)
    if not wanted.indexes:
        session.say("nothing to do")
        return errors.EXIT_OK
    if processes is not None and not dry_run:
        return local.run_windows(wanted, location, processes, session.say)
    if dry_run:
        return errors.EXIT_OK
    place = session.connect()
    template = job.template(place, session.release, "backfill")
    body = backfills.body(template, wanted, job.own(place, session.release, transfer))
    name = _start(session, place, body)
    return job.attend(
        place,
        name,
        session.say,
        lambda: backfills.follow(place, name, wanted, session.say, pace=session.pace),
        pace=session.pace,
    )


def status(session: Session) -> statuses.Status:
    """Return what the environment's release does."""
    return statuses.read(session.connect(), session.release, datetime.datetime.now(datetime.UTC))


def logs(session: Session, name: str | None = None) -> int:
    """Follow a Job that is there already, the latest where none is named; return its exit code.

    Raises:
        errors.UsageError: there is none.
    """
    place = session.connect()
    found = _find(session, place, name)
    return job.attend(
        place, found, session.say, lambda: _follow(session, place, found), pace=session.pace
    )


def cancel(session: Session, name: str) -> int:
    """End a Job in order and remove it.

    Raises:
        errors.UsageError: there is none of that name.
    """
    place = session.connect()
    job.cancel(place, _find(session, place, name), session.say, pace=session.pace)
    return errors.EXIT_OK


def _check_start(
    mode: run.WriteMode | None, start: datetime.date | None, execution_date: datetime.date
) -> None:
    """Do nothing where a start date fits; raises errors.UsageError where it does not."""
    if start is not None:
        if mode is run.WriteMode.TRUNCATE:
            raise errors.UsageError("a start date has no meaning in the mode truncate")
        run.Window(start, execution_date)


def _start(session: Session, place: cluster.Cluster, body: cluster.Object) -> str:
    found, was_there = job.start(place, body)
    name = str(found["metadata"]["name"])
    namespace = place.namespace
    session.say(f"{'attached to' if was_there else 'started'} {name} in {namespace}")
    session.say(f"  kubectl --namespace {namespace} logs --follow job/{name}")
    if session.places.project:
        session.say(
            f"  gcloud logging read --project {session.places.project} "
            f'\'labels."k8s-pod/batch_kubernetes_io/job-name"="{name}"\''
        )
    return name


def _follow(session: Session, place: cluster.Cluster, name: str) -> int:
    _, failure = job.watch(place, name, session.say, pace=session.pace)
    if failure is None:
        session.say(f"{name}: succeeded")
        return errors.EXIT_OK
    session.say(f"{name}: {failure}")
    return failure.exit_code


def _find(session: Session, place: cluster.Cluster, name: str | None) -> str:
    """Return the name of a Job of the release: the one named, or the latest."""
    jobs = place.jobs(f"{manifest.INSTANCE}={session.release}")
    jobs.sort(key=lambda item: str(item["metadata"].get("creationTimestamp", "")))
    names = [str(item["metadata"]["name"]) for item in jobs]
    if name is None and names:
        return names[-1]
    if name not in names:
        place.check_namespace()
        raise errors.UsageError(
            f"the namespace {place.namespace} has no Job {name or 'of this release'}",
            hint=f"there are: {', '.join(names[-5:])}" if names else "see `invoke status`",
        )
    return str(name)
