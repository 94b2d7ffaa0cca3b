"""What `invoke` runs: build, try, push and deploy the job. `invoke --list` shows the tasks.

Each task calls one function of `tmg_etl.launch` or one command; `--dry-run` prints what would be
run. Places (registries, clusters, buckets) stand in `gke_deploy/environments.yaml`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import invoke

ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "sidPublisherJob"))

from tmg_etl import errors, run  # noqa: E402 - after the path to it
from tmg_etl.cli import people  # noqa: E402
from tmg_etl.launch import command, image, key, registry, release, sbom, session, vulnerability  # noqa: E402

HELP = {
    "env": "environment in gke_deploy/environments.yaml",
    "dry_run": "print what would be run, and change nothing",
    "yes": "deploy where versions are promoted to, past whoever approves that",
    "engine": "docker, podman or buildah; the first one that works by default",
    "version": "as in tmg_etl/__version__.py, for instance 1.4.0",
    "config": "a copy of the environment's config; by default it is read where it is",
    "digest": "of that version's image, sha256:…; the manifests name it instead of the version",
    "output": "a folder: one file of each template, to be committed, instead of printing all",
    "sql_proxy": "run the Cloud SQL Auth Proxy beside the job",
    "transfer": "name of a transfer or publish group in the config",
    "base": "base image instead of the Dockerfile's",
    "option": "an option of the engine's own, as --volume=…; may be repeated",
    "advisories": "zip file of OSV's advisories for PyPI; --dry-run tells where it is",
    "keep": "how many of the newest versions stay",
    "test_execution_date": "YYYYMMDD; yesterday by default",
    "arguments": "for pytest, in one text",
    "execution_date": "YYYYMMDD; yesterday by default",
    "write_mode": "truncate or delta; the one that is deployed by default",
    "delta_start_date": "YYYYMMDD; first day of a delta's window, the execution date by default",
    "from_": "YYYYMMDD; first day",
    "to": "YYYYMMDD; last day",
    "step": "length of a window: 1d, 1w, 1m",
    "parallelism": "windows at a time; as the chart says by default",
    "only": "the windows to run, as 3,7-9",
    "resume": "leave out what the ledger knows as published",
    "local": "run in so many processes on this machine, without a cluster",
    "job": "name of a Job; see the task status",
}


class UnknownError(invoke.Exit):
    """A task or an option that there is not, as the parser of Invoke found it."""

    def __init__(self, message: str, _: object = None) -> None:
        text = f"error: {errors.one_line(message)}; see `invoke --list`, `invoke --help TASK`"
        super().__init__(text, errors.EXIT_USAGE)


# Its own ends with 1, which is what a task ends with whose program failed.
invoke.parser.parser.ParseError = UnknownError  # type: ignore[misc,assignment]


def task(body: Callable[..., None]) -> invoke.Task[Any]:
    """Return a task that ends with one line and our exit code where `body` fails."""

    @functools.wraps(body)
    def guarded(context: invoke.Context, *arguments: Any, **options: Any) -> None:
        try:
            body(context, *arguments, **options)
        except errors.TmgEtlError as error:
            raise invoke.Exit(f"error: {error}", error.exit_code) from None
        except KeyboardInterrupt:
            raise invoke.Exit("stopped", errors.EXIT_SIGINT) from None

    names = body.__code__.co_varnames[1 : body.__code__.co_argcount]
    iterable = [name for name in names if name == "option"]
    # Invoke's one-letter options are the first letter that is free: -d was a dry run in one task
    # and a day in the next.
    return invoke.task(
        guarded,
        help={name: HELP[name] for name in names if name in HELP},
        iterable=iterable,
        auto_shortflags=False,
    )


def day(text: str | None) -> datetime.date | None:
    """Return the day that YYYYMMDD names."""
    if text is None:
        return None
    try:
        if len(text) != 8:
            raise ValueError
        return datetime.datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise errors.UsageError(f"found the day {text!r}", hint="write it as YYYYMMDD") from None


def yesterday() -> datetime.date:
    """Return the day that a nightly run is for."""
    return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)


def required(text: str, option: str) -> datetime.date:
    """Return the day of an option that must be given."""
    found = day(text)
    if found is None:
        raise errors.UsageError(f"{option} is missing", hint="write it as YYYYMMDD")
    return found


def mode(text: str) -> run.WriteMode:
    """Return the write mode of that name."""
    try:
        return run.WriteMode(text)
    except ValueError:
        known = " or ".join(known.value for known in run.WriteMode)
        raise errors.UsageError(f"found the write mode {text!r}", hint=known) from None


def number(text: str | int | None, option: str) -> int | None:
    """Return a whole number above zero.

    Invoke hands over text where the default is no number, and ends in a traceback where it is.
    """
    if text is None:
        return None
    if not str(text).isdigit() or int(text) == 0:
        raise errors.UsageError(f"found {option} {text}", hint="give a whole number, 1 or more")
    return int(text)


def end(exit_code: int) -> None:
    """End with the exit code of a job."""
    if exit_code:
        raise invoke.Exit(code=exit_code)


# --- develop


@task
def lint(c: invoke.Context, dry_run: bool = False) -> None:
    """Check format, style, types and layers."""
    command.run([str(ROOT / "script" / "lint")], dry_run=dry_run)


@task
def check(c: invoke.Context, dry_run: bool = False) -> None:
    """Check lint and the tests without servers."""
    command.run([str(ROOT / "script" / "check")], dry_run=dry_run)


@task
def test(c: invoke.Context, arguments: str = "", dry_run: bool = False) -> None:
    """Run the tests."""
    command.run([str(ROOT / "script" / "test"), *arguments.split()], dry_run=dry_run)


@task
def check_release(c: invoke.Context, dry_run: bool = False) -> None:
    """Check lint, tests and measured speed."""
    for call in (["lint"], ["test"], ["benchmark", "--check"]):
        command.run([str(ROOT / "script" / call[0]), *call[1:]], dry_run=dry_run)


# --- the image


@task
def download_keys(c: invoke.Context, env: str = "dev", dry_run: bool = False) -> None:
    """Fetch the keys that the list names."""
    files = key.download(ROOT, env, dry_run=dry_run)
    for file in files:
        print(file.relative_to(ROOT))
    if not files and not dry_run:
        print(f"{key.LIST} names no key")


@task
def make_docker_image(
    c: invoke.Context,
    env: str = "dev",
    engine: str | None = None,
    base: str | None = None,
    option: list[str] | None = None,
    dry_run: bool = False,
) -> None:
    """Create the docker image of this version."""
    image.make(ROOT, env=env, using=engine, base=base, options=tuple(option or ()), dry_run=dry_run)


@task
def test_docker_local(
    c: invoke.Context,
    test_execution_date: str | None = None,
    env: str = "local",
    transfer: str | None = None,
    engine: str | None = None,
    dry_run: bool = False,
) -> None:
    """Run the docker image here as the pod does."""
    image.try_locally(
        ROOT,
        env=env,
        execution_date=day(test_execution_date),
        transfer=transfer,
        using=engine,
        dry_run=dry_run,
    )


@task
def deploy_docker_image(
    c: invoke.Context, env: str = "dev", engine: str | None = None, dry_run: bool = False
) -> None:
    """Push this version's image and wheel."""
    for what in release.push(ROOT, env, using=engine, dry_run=dry_run):
        print(what)


@task
def attach_sbom(c: invoke.Context, env: str = "dev", dry_run: bool = False) -> None:
    """Put the image's list of packages beside it."""
    print("CycloneDX, of requirements.txt" if dry_run else sbom.attach(ROOT, env))


@task
def show_sbom(
    c: invoke.Context, version: str | None = None, env: str = "dev", dry_run: bool = False
) -> None:
    """Print a version's list of packages."""
    found = sbom.read(ROOT, env, version) if version and not dry_run else sbom.make(ROOT)
    print(json.dumps(found, indent=1))


@task
def scan(c: invoke.Context, advisories: str, dry_run: bool = False) -> None:
    """Look for known vulnerabilities in the lock."""
    if dry_run:
        command.run(
            ["curl", "--fail", "--output", advisories, vulnerability.SNAPSHOT], dry_run=True
        )
        return
    today = datetime.datetime.now(datetime.UTC).date()
    seen = vulnerability.scan(ROOT, pathlib.Path(advisories), today)
    print(f"none of {seen} advisories concerns the lock, or is not accepted")


@task
def sign(c: invoke.Context, dry_run: bool = False) -> None:
    """Sign what was pushed last, with cosign."""
    release.sign(ROOT, dry_run=dry_run)


@task
def delete_failed_container_image(
    c: invoke.Context, engine: str | None = None, dry_run: bool = False
) -> None:
    """Remove what failed runs and builds left."""
    image.delete_failed(using=engine, dry_run=dry_run)


# --- versions


@task
def versions(c: invoke.Context, env: str = "dev", dry_run: bool = False) -> None:
    """List the versions in the registry."""
    if dry_run:
        command.run(["curl", registry.Repository.parse(image.name(ROOT, env)).url], dry_run=True)
        return
    for version in release.versions(ROOT, env):
        print(version)


@task
def promote(
    c: invoke.Context,
    version: str,
    env: str,
    sql_proxy: bool = False,
    dry_run: bool = False,
) -> None:
    """Deploy a version that the registry has."""
    release.promote(ROOT, version, env, sql_proxy=sql_proxy, dry_run=dry_run)


@task
def prune_images(
    c: invoke.Context, keep: str = "5", env: str = "dev", dry_run: bool = False
) -> None:
    """Remove old versions that nothing runs."""
    for version in release.prune(ROOT, env, number(keep, "--keep"), dry_run=dry_run):
        print(f"{'would remove' if dry_run else 'removed'} {version}")


# --- Kubernetes


@task
def local_deploy_gke(
    c: invoke.Context,
    env: str = "local",
    sql_proxy: bool = False,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Deploy this version on Kubernetes with Helm."""
    if not (yes or dry_run):
        release.refuse_unasked(ROOT, env)
    release.deploy(ROOT, env, sql_proxy=sql_proxy, dry_run=dry_run)


@task
def render(
    c: invoke.Context,
    env: str = "local",
    version: str | None = None,
    digest: str | None = None,
    output: str | None = None,
    config: str | None = None,
    sql_proxy: bool = False,
    dry_run: bool = False,
) -> None:
    """Print what Helm would deploy."""
    release.render(
        ROOT,
        env,
        wanted=version,
        digest=digest,
        output=pathlib.Path(output) if output else None,
        config=pathlib.Path(config) if config else None,
        sql_proxy=sql_proxy,
        dry_run=dry_run,
    )


@task
def run_gke(
    c: invoke.Context,
    transfer: str,
    execution_date: str | None = None,
    write_mode: str | None = None,
    delta_start_date: str | None = None,
    env: str = "local",
    dry_run: bool = False,
) -> None:
    """Run one transfer on Kubernetes now."""
    end(
        session.run_now(
            session.Session(ROOT, env),
            transfer,
            day(execution_date) or yesterday(),
            None if write_mode is None else mode(write_mode),
            delta_start_date=day(delta_start_date),
            dry_run=dry_run,
        )
    )


@task
def backfill(
    c: invoke.Context,
    transfer: str,
    from_: str,
    to: str,
    step: str = "1d",
    parallelism: int | None = None,
    only: str | None = None,
    resume: bool = False,
    local: int | None = None,
    env: str = "local",
    dry_run: bool = False,
) -> None:
    """Run a span of days on Kubernetes or here."""
    end(
        session.backfill(
            session.Session(ROOT, env),
            transfer,
            required(from_, "--from"),
            required(to, "--to"),
            step=step,
            parallelism=number(parallelism, "--parallelism"),
            only=only,
            resume=resume,
            processes=number(local, "--local"),
            dry_run=dry_run,
        )
    )


@task
def status(c: invoke.Context, env: str = "local", dry_run: bool = False) -> None:
    """Show jobs and schedules, and how they went."""
    arguments = ["status", "--env", env]
    if dry_run:
        command.run(["tmg-etl", *arguments], dry_run=True)
        return
    with contextlib.chdir(ROOT):
        end(people.main(arguments))


@task
def logs(
    c: invoke.Context, job: str | None = None, env: str = "local", dry_run: bool = False
) -> None:
    """Follow a Job, by default the latest."""
    if dry_run:
        what = (
            f"job/{job}" if job else f"--selector=app.kubernetes.io/instance={release.name(ROOT)}"
        )
        command.run(release.kubectl(ROOT, env, "logs", "--follow", what), dry_run=True)
        return
    end(session.logs(session.Session(ROOT, env), job))


@task
def cancel(c: invoke.Context, job: str, env: str = "local", dry_run: bool = False) -> None:
    """End a Job in order."""
    if dry_run:
        options = ("delete", f"job/{job}", "--cascade=foreground")
        command.run(release.kubectl(ROOT, env, *options), dry_run=True)
        return
    end(session.cancel(session.Session(ROOT, env), job))
