"""What `invoke` runs: build, try, push and deploy the job. `invoke --list` shows the tasks.

Each task calls one function of `tmg_etl.launch` or one command; `--dry-run` prints what would be
run. Places (registries, clusters, buckets) stand in `gke_deploy/environments.yaml`.
"""

from __future__ import annotations

import datetime
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import invoke

ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "sidPublisherJob"))

from tmg_etl import errors  # noqa: E402 - after the path to it
from tmg_etl.launch import command, image, key, registry, release, wheel  # noqa: E402

HELP = {
    "env": "environment in gke_deploy/environments.yaml",
    "dry_run": "print what would be run, and change nothing",
    "engine": "docker, podman or buildah; the first one that is installed by default",
    "version": "as in tmg_etl/__version__.py, for instance 1.4.0",
    "sql_proxy": "run the Cloud SQL Auth Proxy beside the job",
    "transfer": "name of a transfer in the config",
    "base": "base image instead of the Dockerfile's",
    "option": "an option of the engine's own, as --volume=…; may be repeated",
    "keep": "how many of the newest versions stay",
    "test_execution_date": "YYYYMMDD; yesterday by default",
    "arguments": "for pytest, in one text",
}


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
    return invoke.task(
        guarded, help={name: HELP[name] for name in names if name in HELP}, iterable=iterable
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


# --- develop


@task
def lint(c: invoke.Context, dry_run: bool = False) -> None:
    """Check format, style, types and layers."""
    command.run([str(ROOT / "script" / "lint")], dry_run=dry_run)


@task
def test(c: invoke.Context, arguments: str = "", dry_run: bool = False) -> None:
    """Run the tests."""
    command.run([str(ROOT / "script" / "test"), *arguments.split()], dry_run=dry_run)


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
    pinned = image.deploy(ROOT, env=env, using=engine, dry_run=dry_run)
    url = wheel.upload(ROOT, env, dry_run=dry_run)
    if not dry_run:
        print(*filter(None, (pinned, url)), sep="\n")


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
def prune_images(c: invoke.Context, keep: int = 5, env: str = "dev", dry_run: bool = False) -> None:
    """Remove old versions that nothing runs."""
    for version in release.prune(ROOT, env, keep, dry_run=dry_run):
        print(f"{'would remove' if dry_run else 'removed'} {version}")


# --- Kubernetes


@task
def local_deploy_gke(
    c: invoke.Context, env: str = "local", sql_proxy: bool = False, dry_run: bool = False
) -> None:
    """Deploy this version on Kubernetes with Helm."""
    release.deploy(ROOT, env, sql_proxy=sql_proxy, dry_run=dry_run)
