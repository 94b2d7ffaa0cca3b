"""The container image: build it, try it as a pod would run it, push it once."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.config import environment as config_environment
from tmg_etl.config import interpolation
from tmg_etl.launch import command, environment, key, registry

ENGINES = ("docker", "podman", "buildah")
"""What can build the image, in the order in which they are looked for."""

ID_FILE = pathlib.Path("dist") / "image.id"
"""Where the engine writes which image it built: that one is pushed, whatever has its name since."""

TITLE = "sidPublisherJob"
USER = 65532
"""User and group of the image and of the pod."""

DIGEST_FILE = pathlib.Path("dist") / "image.txt"
"""Where `deploy` writes what it pushed, as ``registry/name@sha256:…``."""

CONFIG_FOLDER = "/srv"
"""Where the folder of a config is mounted; every base image has it."""

_PACKAGES = ("sidPublisherJob/tmg_etl", "sidPublisherJob/sid_dim_agent")
"""Folders that get into image and wheel with all that lies in them, known to git or not."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)")


def name(root: pathlib.Path, env: str | None = None) -> str:
    """Return the image's name without version: ``registry/image``."""
    places = environment.load(root)
    return f"{environment.select(root, env).registry}/{places.image}"


def reference(root: pathlib.Path, env: str | None = None) -> str:
    """Return the name under which this version is built: ``registry/image:version``."""
    return f"{name(root, env)}:{__version__}"


def engine(
    wanted: str | None = None, among: Sequence[str] = ENGINES, *, dry_run: bool = False
) -> str:
    """Return the container engine to use.

    Args:
        wanted: None means the first one that works.
        among: those that can do what is asked for.
        dry_run: the command is only shown: none is tried, and none need be there.

    Raises:
        errors.UsageError: `wanted` cannot do it.
        errors.ConfigError: several are installed, and none works.
        command.MissingProgramError: none is installed.
    """
    if wanted is not None and wanted not in among:
        raise errors.UsageError(f"found the engine {wanted!r}", hint=f"one of {', '.join(among)}")
    if wanted and dry_run:
        return wanted
    candidates = (wanted,) if wanted else among
    installed = [candidate for candidate in candidates if command.is_installed(candidate)]
    if dry_run:
        return (installed or among)[0]
    if not installed:
        raise command.MissingProgramError(candidates[0])
    if len(installed) == 1:
        # There is nothing to choose, and its own words say best what is wrong with it.
        return installed[0]
    reasons = []
    for candidate in installed:
        try:
            command.read([candidate, "info"])
        except command.CommandError as error:
            reasons.append(str(error))
        else:
            return candidate
    raise errors.ConfigError(
        f"no container engine works here: {'; '.join(reasons)}", hint="start one of them"
    )


def committed_at(root: pathlib.Path) -> datetime.datetime:
    """Return when the commit that is checked out was made: one commit gives one artefact."""
    git = ["git", "-C", str(root), "show", "-s", "--format=%ct", "HEAD"]
    return datetime.datetime.fromtimestamp(int(command.read(git)), datetime.UTC)


def build_facts(root: pathlib.Path) -> dict[str, str]:
    """Return the build arguments that become the image's labels."""
    git = ["git", "-C", str(root)]
    revision = command.read([*git, "rev-parse", "HEAD"]).strip()
    changed = command.read([*git, "status", "--porcelain", "--untracked-files=no"]).strip()
    # A new file of a package is in the image before git knows it.
    changed += command.read(
        [*git, "ls-files", "--others", "--exclude-standard", *_PACKAGES]
    ).strip()
    facts = {
        "VERSION": __version__,
        "REVISION": f"{revision}-dirty" if changed else revision,
        "CREATED": committed_at(root).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    try:
        url = command.read([*git, "config", "--get", "remote.origin.url"]).strip()
    except command.CommandError:
        return facts
    # A clone over https may carry a token.
    return {**facts, "SOURCE": errors.redact(url)}


def build_command(
    using: str,
    root: pathlib.Path,
    tag: str,
    facts: dict[str, str],
    options: Iterable[str] = (),
) -> list[str]:
    """Return the command that builds the image.

    Args:
        using: one of `ENGINES`.
        root: folder of the repository.
        tag: name and version of the image.
        facts: build arguments.
        options: more options of the engine's own.
    """
    arguments = [part for key, value in facts.items() for part in ("--build-arg", f"{key}={value}")]
    # What the others do by themselves: one layer for each step, so that a push sends only the new.
    layers = ["--layers"] if using == "buildah" else []
    # Files and layers of no time: the same requirements are the same bytes, whoever builds them.
    layers += [] if using == "docker" else ["--timestamp", "0"]
    noted = ["--iidfile", str(root / ID_FILE)]
    return [using, "build", "--tag", tag, *noted, *layers, *arguments, *options, str(root)]


def make(
    root: pathlib.Path,
    *,
    env: str | None = None,
    using: str | None = None,
    base: str | None = None,
    options: Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    """Fetch the keys, if the list names any, and build the image of this version without them.

    Args:
        root: folder of the repository.
        env: the environment whose registry gives the image its name, and whose keys are fetched.
        using: container engine; None means the first one that works.
        base: base image; None means the Dockerfile's, which is pinned by its digest.
        options: more options of the engine's own.
        dry_run: print the command only.
    """
    chosen = engine(using, dry_run=dry_run)
    key.download(root, env, dry_run=dry_run)
    facts = build_facts(root)
    if base is not None:
        facts["BASE"] = base
    made = build_command(chosen, root, reference(root, env), facts, options)
    if not dry_run:
        (root / ID_FILE).parent.mkdir(exist_ok=True)
    # BuildKit is what knows RUN --mount; the default of Docker 23 and newer.
    command.run(made, dry_run=dry_run, env={"DOCKER_BUILDKIT": "1"})


def try_command(
    using: str,
    root: pathlib.Path,
    env: str,
    execution_date: datetime.date,
    *,
    transfer: str | None = None,
    write_mode: str | None = None,
) -> list[str]:
    """Return the command that runs the image as the pod does.

    The root is read-only, all capabilities are dropped, the user is not root; the config's folder
    and the keys are mounted read-only, and the network is this machine's, so that ``127.0.0.1`` is
    the same database as without a container.

    Raises:
        errors.ConfigError: the environment says neither what to run nor is it given.
    """
    places = environment.select(root, env)
    chosen = transfer or (places.smoke.transfer if places.smoke else None)
    if chosen is None:
        raise errors.ConfigError(
            f"the environment {env} says no transfer to try",
            where=str(environment.FILE),
            hint="add `smoke: {transfer: …}`, or give --transfer",
        )
    mode = write_mode or (places.smoke.write_mode if places.smoke else "truncate")
    restrictions = [
        "--read-only", "--tmpfs=/tmp:rw,mode=1777", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", *_user(using), "--network=host", "--pull=never",
    ]  # fmt: skip
    config, mounts, variables = places.config, _key_mounts(root), []
    if "://" not in config:
        path = root / config
        variables = _variables(path)
        config = f"{CONFIG_FOLDER}/{path.name}"
        mounts.append(f"--volume={path.parent}:{CONFIG_FOLDER}:ro")
    day = execution_date.strftime("%Y%m%d")
    return [
        using, "run", "--rm", *restrictions, *mounts, *variables, reference(root, env),
        day, chosen, mode, config, "--env", env,
    ]  # fmt: skip


def try_locally(
    root: pathlib.Path,
    *,
    env: str | None = None,
    execution_date: datetime.date | None = None,
    transfer: str | None = None,
    write_mode: str | None = None,
    using: str | None = None,
    dry_run: bool = False,
) -> None:
    """Run the image of this version as the pod would; the exit code is the pipeline's.

    Args:
        root: folder of the repository.
        env: None means ``local``.
        execution_date: None means yesterday, as a nightly run would have it.
        transfer: None means the environment's `smoke`.
        write_mode: None means the environment's `smoke`.
        using: docker or podman; None means the first one that works.
        dry_run: print the command only.
    """
    chosen = engine(using, ENGINES[:2], dry_run=dry_run)
    day = execution_date or datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
    env = env or config_environment.DEFAULT
    made = try_command(chosen, root, env, day, transfer=transfer, write_mode=write_mode)
    command.run(made, dry_run=dry_run)


def refuse_known(root: pathlib.Path, env: str | None = None) -> None:
    """Refuse to go on where the registry has this version.

    Args:
        root: folder of the repository.
        env: the environment whose registry is asked.

    Raises:
        errors.UsageError: it has.
    """
    found = registry.Repository.parse(name(root, env)).digest(__version__)
    if found is not None:
        raise errors.UsageError(
            f"{reference(root, env)} is already in the registry as {found}",
            hint="a version is never overwritten: raise the one in tmg_etl/__version__.py",
        )


def built(root: pathlib.Path, using: str) -> str:
    """Return the id of the image that was built here of the commit that is checked out.

    Another checkout on this machine may have given its image the same name since.

    Args:
        root: folder of the repository.
        using: the container engine that built it.

    Raises:
        errors.UsageError: it is of another commit or version, or the checkout has changes that are
            not committed, which the wheel would have.
    """
    again = "build it again: invoke make-docker-image"
    facts = build_facts(root)
    if facts["REVISION"].endswith("-dirty"):
        raise errors.UsageError(
            "the checkout has changes that are not committed",
            hint="commit or undo them, and " + again,
        )
    try:
        # Without its prefix: buildah takes that for a name and a version.
        wanted = (root / ID_FILE).read_text(encoding="utf-8").strip().removeprefix("sha256:")
        labels = _labels(using, wanted)
    except (OSError, command.CommandError):
        raise errors.UsageError(f"{using} has no image that was built here", hint=again) from None
    for label in ("version", "revision"):
        found, expected = labels.get(f"org.opencontainers.image.{label}"), facts[label.upper()]
        if found != expected:
            raise errors.UsageError(
                f"the image that was built here is of {label} {found}, the checkout of {expected}",
                hint=again,
            )
    return wanted


def deploy(
    root: pathlib.Path,
    *,
    env: str | None = None,
    using: str | None = None,
    dry_run: bool = False,
) -> str | None:
    """Push the image of this version, once and for ever; return its name by digest.

    Args:
        root: folder of the repository.
        env: the environment whose registry it goes to.
        using: container engine; None means the first one that works.
        dry_run: print the command only, and ask no registry.

    Returns:
        ``registry/image@sha256:…``, which is also written to `DIGEST_FILE`; None in a dry run.

    Raises:
        errors.UsageError: the registry has this version already, or what was built is not this
            commit: see `built`.
    """
    chosen = engine(using, dry_run=dry_run)
    tag = reference(root, env)
    if dry_run:
        command.run([chosen, "push", tag], dry_run=True)
        return None
    wanted = built(root, chosen)
    refuse_known(root, env)
    repository = registry.Repository.parse(name(root, env))
    command.run([chosen, "tag", wanted, tag])
    command.run([chosen, "push", tag])
    digest = repository.digest(__version__)
    if digest is None:
        raise errors.TemporaryError(f"{tag} was pushed, and the registry does not list it")
    pinned = f"{repository}@{digest}"
    file = root / DIGEST_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{pinned}\n")
    return pinned


def delete_failed(*, using: str | None = None, dry_run: bool = False) -> None:
    """Remove stopped containers of this image and the nameless images that failed builds left."""
    chosen = engine(using, ENGINES[:2], dry_run=dry_run)
    label = f"label=org.opencontainers.image.title={TITLE}"
    for kind in ("container", "image"):
        command.run([chosen, kind, "prune", "--force", "--filter", label], dry_run=dry_run)


def _labels(using: str, wanted: str) -> dict[str, str]:
    """Return an image's labels, by its id."""
    if using == "buildah":
        described = json.loads(command.read([using, "inspect", "--type", "image", wanted]))
        found = described["OCIv1"]["config"]
    else:
        [described] = json.loads(command.read([using, "image", "inspect", wanted]))
        found = described["Config"]
    labels: dict[str, str] | None = found.get("Labels")
    return labels or {}


def _user(using: str) -> list[str]:
    """Return the options that say who the process is: never root.

    It is the one who starts it, because key files are readable by them alone.
    """
    if os.geteuid() == 0:
        return [f"--user={USER}:{USER}"]
    mapped = ["--userns=keep-id"] if using == "podman" else []
    return [f"--user={os.geteuid()}:{os.getegid()}", *mapped]


def _key_mounts(root: pathlib.Path) -> list[str]:
    """Return the options that mount the downloaded keys; none when there are none."""
    names = [file for file in key.names(root) if (root / key.FOLDER / file).is_file()]
    if not names:
        return []
    folder = str(interpolation.SECRETS_DIR)
    mounts = [f"--volume={root / key.FOLDER}:{folder}:ro"]
    # Google's libraries take one identity: the first that is named.
    google = next((file for file in names if file.endswith(".json")), None)
    if google:
        mounts.append(f"--env=GOOGLE_APPLICATION_CREDENTIALS={folder}/{google}")
    return mounts


def _variables(config: pathlib.Path) -> list[str]:
    """Return the options that pass on the variables a config refers to; no value is shown."""
    if not config.is_file():
        raise errors.ConfigError("there is no such config file", where=str(config))
    wanted = set(_VARIABLE.findall(config.read_text(encoding="utf-8", errors="replace")))
    return [f"--env={variable}" for variable in sorted(wanted & os.environ.keys())]
