"""Releases: which version runs where, put there by Helm, and which versions may go."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.config import environment as config_environment
from tmg_etl.launch import chart, command, environment, image, registry, sbom, version, wheel
from tmg_etl.launch import name as object_name

BUILT_FOR = "dev"
"""The environment that new versions go to first, and are promoted from."""

_HISTORY = 10  # revisions that Helm keeps for a rollback: its own default, said so that it stays
_TIMEOUT = "5m"
_KUBERNETES = "1.29.0"  # the oldest that the chart takes
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Why a registry or a cluster cannot be asked; a dry run goes on without.
_UNASKED = (
    errors.AccessError,
    errors.TemporaryError,
    command.MissingProgramError,
    command.CommandError,
)


class FailedError(errors.TmgEtlError):
    """A version was deployed, and failed when it was tried."""

    def __init__(self, env: str, exit_code: int, *, is_back: bool, shown: Sequence[str]) -> None:
        self.exit_code = exit_code
        what = (
            "the revision before runs again"
            if is_back
            else "it could not be put back: there is no revision before, or Helm says why not"
        )
        hint = f"see why: {command.show(shown)}"
        super().__init__(f"what was deployed to {env} fails its test; {what}", hint=hint)


def name(root: pathlib.Path) -> str:
    """Return the name of the Helm release."""
    return environment.load(root).image


def kubectl(root: pathlib.Path, env: str, *arguments: str) -> list[str]:
    """Return a kubectl command for an environment's namespace, whatever context is current."""
    places = environment.select(root, env)
    context = ["--context", places.kubectl_context] if places.kubectl_context else []
    return ["kubectl", *context, "--namespace", places.namespace, *arguments]


def helm_command(
    root: pathlib.Path,
    env: str,
    pinned: str,
    *,
    action: str = "upgrade",
    config: pathlib.Path | None = None,
    sql_proxy: bool = False,
    package: str | None = None,
) -> list[str]:
    """Return the Helm command that installs or renders the chart for an environment.

    Args:
        root: folder of the repository.
        env: name of the environment.
        pinned: the image, as ``registry/name@sha256:…`` or ``registry/name:version``.
        action: ``upgrade`` or ``template``.
        config: a copy of the config where it is in a bucket.
        sql_proxy: run the Cloud SQL Auth Proxy beside the job.
        package: the chart; None means the one of the repository.

    Raises:
        errors.ConfigError: the environment has no values file, or no proxy where one is asked for.
    """
    places = environment.select(root, env)
    values = root / chart.FOLDER / f"values-{env}.yaml"
    if not values.is_file():
        raise errors.ConfigError("there is no such file of Helm values", where=str(values))
    verb = ["upgrade", "--install"] if action == "upgrade" else [action]
    source = package or str(root / chart.FOLDER)
    helm = ["helm", *verb, name(root), source, "--namespace", places.namespace]
    if action == "upgrade":
        context = places.kubectl_context
        helm += ["--kube-context", context] if context else []
        # Helm 4 calls it --rollback-on-failure, and takes this name too.
        helm += ["--history-max", str(_HISTORY), "--timeout", _TIMEOUT, "--atomic"]
    helm += ["--values", str(values), *_image_values(pinned), *chart.values(root, env, config)]
    return helm + (_proxy_values(env, places) if sql_proxy else [])


def push(
    root: pathlib.Path, env: str, *, using: str | None = None, dry_run: bool = False
) -> list[str]:
    """Push this version: wheel and chart, then the image, whose presence says that all is there.

    Where the image's push fails, the same call again is welcome.

    Args:
        root: folder of the repository.
        env: the environment whose registry and bucket they go to.
        using: container engine; None means the first one that works.
        dry_run: print the commands only.

    Returns:
        What was pushed: the image by its digest, the chart, the wheel's URL if it has a bucket, and
        the list of the image's packages.

    Raises:
        errors.UsageError: the registry has this version, or what was built is not this commit.
    """
    chosen = image.engine(using, dry_run=dry_run)
    if not dry_run:
        image.built(root, chosen)
        image.refuse_known(root, env)
    url = wheel.upload(root, env, dry_run=dry_run)
    charted = chart.push(root, env, dry_run=dry_run)
    pinned = image.deploy(root, env=env, using=chosen, dry_run=dry_run)
    if pinned is None:
        return []
    return [pinned, charted, *([url] if url else []), sbom.attach(root, env)]


def sign(root: pathlib.Path, *, dry_run: bool = False) -> None:
    """Sign the image that was pushed last and its list of packages, as whom cosign is run by.

    Args:
        root: folder of the repository.
        dry_run: print the commands only.

    Raises:
        errors.UsageError: nothing was pushed from here.
    """
    try:
        pinned = (root / image.DIGEST_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        hint = "push it first: invoke deploy-docker-image"
        raise errors.UsageError(f"there is no {image.DIGEST_FILE}", hint=hint) from None
    file = root / image.DIGEST_FILE.parent / "sbom.json"
    file.write_text(json.dumps(sbom.make(root), indent=1), encoding="utf-8")
    attest = ["attest", "--yes", "--type", "cyclonedx", "--predicate", str(file), pinned]
    for arguments in (["sign", "--yes", pinned], attest):
        command.run(["cosign", *arguments], dry_run=dry_run)


def deploy(
    root: pathlib.Path,
    env: str | None = None,
    *,
    wanted: str | None = None,
    pinned: str | None = None,
    sql_proxy: bool = False,
    package: str | None = None,
    dry_run: bool = False,
) -> None:
    """Have an environment run a version: deploy it, try it there, and go back where that fails.

    Args:
        root: folder of the repository.
        env: name of the environment; None means ``local``, whose cluster was given the image.
        wanted: the version; None means this one.
        pinned: the version's image; None: the registry is asked, but for ``local``.
        sql_proxy: run the Cloud SQL Auth Proxy beside the job.
        package: the version's chart; None means the one of the repository.
        dry_run: print the command only. The registry is asked all the same; where it cannot be, a
            word stands for what it knows.

    Raises:
        registry.VersionNotFoundError: the registry has no such version; lists those it has.
    """
    env = env or config_environment.DEFAULT
    wanted = wanted or __version__
    pinned = pinned or _resolve(root, env, wanted, dry_run=dry_run)
    config = chart.copy_config(root, env, dry_run=dry_run)
    made = helm_command(root, env, pinned, config=config, sql_proxy=sql_proxy, package=package)
    command.run(made, dry_run=dry_run)
    _try(root, env, dry_run=dry_run)


def _resolve(root: pathlib.Path, env: str, wanted: str, *, dry_run: bool) -> str:
    """Return a version's image by its digest; in a dry run without a login, with a word for it."""
    repository = image.name(root, env)
    if env == config_environment.DEFAULT:
        return f"{repository}:{wanted}"
    try:
        return registry.Repository.parse(repository).resolve(wanted)
    except _UNASKED as error:
        if not dry_run:
            raise
        _say_unasked(error)
        return f"{repository}@<digest of {wanted}>"


def _say_unasked(error: errors.TmgEtlError) -> None:
    sys.stderr.write(f"not asked, so not known: {error}\n")


def _try(root: pathlib.Path, env: str, *, dry_run: bool) -> None:
    """Run the chart's tests in the cluster; go back to the revision before where one fails.

    Raises:
        FailedError: one failed.
    """
    places = environment.select(root, env)
    context = ["--kube-context", places.kubectl_context] if places.kubectl_context else []
    where = [name(root), "--namespace", places.namespace, *context, "--timeout", _TIMEOUT]
    try:
        command.run(["helm", "test", *where], dry_run=dry_run)
    except command.CommandError as failed:
        shown = kubectl(root, env, "logs", f"pod/{object_name.label(f'{name(root)}-test')}")
        try:
            command.run(["helm", "rollback", *where])
        except command.CommandError:
            raise FailedError(env, failed.exit_code, is_back=False, shown=shown) from None
        raise FailedError(env, failed.exit_code, is_back=True, shown=shown) from None


def refuse_unasked(root: pathlib.Path, env: str) -> None:
    """Do nothing where a checkout may be deployed without further ado.

    Raises:
        errors.UsageError: versions are promoted to this environment, or there is none such.
    """
    environment.select(root, env)
    if env not in (config_environment.DEFAULT, BUILT_FOR):
        raise errors.UsageError(
            f"versions are promoted to {env}: this would go past whoever approves that",
            hint=f"invoke promote --version {__version__} --env {env}, or add --yes",
        )


def render(
    root: pathlib.Path,
    env: str | None = None,
    *,
    wanted: str | None = None,
    digest: str | None = None,
    output: pathlib.Path | None = None,
    config: pathlib.Path | None = None,
    sql_proxy: bool = False,
    dry_run: bool = False,
) -> None:
    """Print what Helm would deploy, by this checkout's chart, or write it for git.

    Neither cluster nor registry is asked.

    Args:
        root: folder of the repository.
        env: name of the environment; None means ``local``.
        wanted: the version; None means this one.
        digest: of the version's image, ``sha256:…``; None: the image is named by its version.
        output: a folder for one file of each template, without the chart's tests, that can be
            committed; None: everything is printed.
        config: a copy of the environment's config; None: it is fetched where it is in a bucket.
        sql_proxy: run the Cloud SQL Auth Proxy beside the job.
        dry_run: print the command only.

    Raises:
        errors.UsageError: the digest is none.
    """
    env = env or config_environment.DEFAULT
    wanted = wanted or __version__
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise errors.UsageError(f"found --digest {digest}", hint="give it as sha256:… (64 digits)")
    repository = image.name(root, env)
    pinned = f"{repository}@{digest}" if digest else f"{repository}:{wanted}"
    if config is not None and not config.is_file():
        raise errors.UsageError(
            f"found no file {config}", hint="give --config a copy of the config"
        )
    copy = config.resolve() if config else chart.copy_config(root, env, dry_run=dry_run)
    made = helm_command(root, env, pinned, action="template", config=copy, sql_proxy=sql_proxy)
    if digest:
        made += ["--set-string", f"image.tag={wanted}"]  # for the labels
    # Without a cluster Helm takes its own year's version, which for an older Helm is too old.
    made += ["--kube-version", _KUBERNETES]
    if output is None:
        command.run(made, dry_run=dry_run)
        return
    with tempfile.TemporaryDirectory(prefix="tmg-etl-") as folder:
        target = output.resolve()
        command.run(
            [*made, "--skip-tests", "--output-dir", str(target) if dry_run else folder],
            dry_run=dry_run,
        )
        if dry_run:
            return
        # What an earlier version had and this one has not must go, or it would stay deployed.
        [written] = pathlib.Path(folder).glob("*/templates")
        target.mkdir(parents=True, exist_ok=True)
        for file in target.glob("*.yaml"):
            file.unlink()
        for file in written.iterdir():
            shutil.copy(file, target)


def promote(
    root: pathlib.Path, wanted: str, env: str, *, sql_proxy: bool = False, dry_run: bool = False
) -> None:
    """Have an environment run a version that another one has been running, by that version's chart.

    Raises:
        errors.UsageError: `env` is where versions start, not where they are promoted to; or the
            version has no chart.
        registry.VersionNotFoundError: the registry or the bucket of wheels has no such version.
    """
    if env in (config_environment.DEFAULT, BUILT_FOR):
        raise errors.UsageError(
            f"nothing is promoted to {env}", hint="use local-deploy-gke, or another --env"
        )
    environment.select(root, env)
    # Image, chart and wheel must be there before the first thing is changed. The wheel is copied
    # last: the environment's bucket has what the environment has run.
    pinned = _resolve(root, env, wanted, dry_run=dry_run)
    charted: contextlib.AbstractContextManager[str]
    if pinned.endswith(">"):
        charted = contextlib.nullcontext(f"oci://{chart.repository(root, env)}:{wanted}")
    else:
        charted = chart.fetched(root, wanted, env, dry_run=dry_run)
    with charted as package:
        copy = wheel.promotion(root, wanted, BUILT_FOR, env, dry_run=dry_run)
        deploy(root, env, pinned=pinned, package=package, sql_proxy=sql_proxy, dry_run=dry_run)
    copy()


def versions(root: pathlib.Path, env: str | None = None) -> list[str]:
    """Return the versions in an environment's registry, newest first."""
    return registry.Repository.parse(image.name(root, env)).versions()


def running(root: pathlib.Path) -> dict[str, set[str]]:
    """Return, for each environment with a cluster, the images that it runs or may be put back to.

    They are what its jobs and schedules name, and what a rollback of Helm's would bring back.

    Raises:
        command.CommandError: a cluster cannot be asked: then nobody knows what it runs.
    """
    found: dict[str, set[str]] = {}
    for env, places in environment.load(root).environments.items():
        if places.cluster is None or places.kubectl_context is None:
            continue
        everything = ("get", "cronjobs,jobs,pods", "--output", "json")
        listed = command.read(kubectl(root, env, *everything))
        found[env] = set(_images(json.loads(listed))) | _revisions(root, places)
    return found


def doomed(known: dict[str, str], used: set[str], keep: int) -> list[str]:
    """Return the versions to remove.

    Args:
        known: version → digest, newest first.
        used: images that something runs, as they are named there.
        keep: how many of the newest stay.
    """
    return [
        there
        for place, (there, digest) in enumerate(known.items())
        if place >= keep and not any(name.endswith((f"@{digest}", f":{there}")) for name in used)
    ]


def prune(root: pathlib.Path, env: str, keep: int, *, dry_run: bool = False) -> list[str]:
    """Remove old versions from a registry, with their charts, and from the buckets of wheels.

    Args:
        root: folder of the repository.
        env: name of an environment; its registry is meant, and the buckets of all that share it.
        keep: how many of the newest stay, beside what any environment runs or may be put back to.
        dry_run: print what would be done only.

    Returns:
        The versions that went, newest first.

    Raises:
        errors.UsageError: `keep` is below one.
    """
    if keep < 1:
        raise errors.UsageError(f"found --keep {keep}", hint="keep one version or more")
    repository = registry.Repository.parse(image.name(root, env))
    try:
        known = {there: repository.digest(there) or "" for there in repository.versions()}
        used = running(root) if len(known) > keep else {}
    except _UNASKED as error:
        if not dry_run:
            raise
        _say_unasked(error)
        return [f"<all but the newest {keep} that nothing runs or may be put back to>"]
    gone = doomed(known, set().union(*used.values()), keep)
    kept_digests = {digest for there, digest in known.items() if there not in gone}
    for wanted in gone:
        # Two versions may be one image: removing it would take the other's name away.
        if known[wanted] not in kept_digests:
            repository.delete(wanted, dry_run=dry_run)
        chart.repository(root, env).delete(wanted, dry_run=dry_run)
    shared = environment.select(root, env).registry
    everywhere = environment.load(root).environments.values()
    folders = {one.buckets.wheels for one in everywhere if one.registry == shared}
    for folder in sorted(filter(None, folders)):
        wheel.prune(folder, _orphans(wheel.versions(folder), known, gone, keep), dry_run=dry_run)
    return gone


def _orphans(there: list[str], known: dict[str, str], gone: list[str], keep: int) -> list[str]:
    """Return the versions whose wheel has no image any more.

    A wheel is pushed before its image: what is newer than the oldest of the newest `keep` may be on
    its way.
    """
    if not known:
        return []
    oldest = version.order(list(known)[:keep][-1])
    return [
        wanted
        for wanted in there
        if wanted in gone or (wanted not in known and version.order(wanted) < oldest)
    ]


def _revisions(root: pathlib.Path, places: environment.Environment) -> set[str]:
    """Return the images of the revisions that Helm can roll back to."""
    where = ["--kube-context", str(places.kubectl_context), "--namespace", places.namespace]
    where += ["--output", "json"]
    try:
        listed = command.read(["helm", "history", name(root), "--max", str(_HISTORY), *where])
    except command.CommandError as error:
        if "release: not found" in str(error):
            return set()
        raise
    found = set()
    for one in json.loads(listed):
        asked = ["helm", "get", "values", name(root), "--revision", str(one["revision"]), *where]
        made = json.loads(command.read(asked)).get("image") or {}
        end = f"@{made['digest']}" if made.get("digest") else f":{made.get('tag')}"
        found.add(f"{made.get('repository')}{end}")
    return found


def _image_values(pinned: str) -> list[str]:
    name, _, digest = pinned.partition("@")
    if digest:
        return ["--set-string", f"image.repository={name},image.digest={digest}"]
    name, _, tag = pinned.rpartition(":")
    return ["--set-string", f"image.repository={name},image.tag={tag}"]


def _proxy_values(env: str, places: environment.Environment) -> list[str]:
    """Return the values that put the Cloud SQL Auth Proxy beside the job."""
    proxy = places.sql_proxy
    if proxy is None:
        raise errors.ConfigError(
            f"the environment {env} has no Cloud SQL proxy",
            where=str(environment.FILE),
            hint="add `sql_proxy: {instance: project:region:instance}`",
        )
    is_private = str(proxy.private_ip).lower()
    flags = f"sqlProxy.enabled=true,sqlProxy.port={proxy.port},sqlProxy.privateIp={is_private}"
    return ["--set", flags, "--set-string", f"sqlProxy.instance={proxy.instance}"]


def _images(node: Any) -> list[str]:
    """Return every container's image anywhere in what the cluster lists."""
    if isinstance(node, list):
        return [name for item in node for name in _images(item)]
    if not isinstance(node, dict):
        return []
    own = [node["image"]] if isinstance(node.get("image"), str) else []
    return own + [name for item in node.values() for name in _images(item)]
