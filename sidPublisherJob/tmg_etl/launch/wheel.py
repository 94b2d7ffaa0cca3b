"""The wheel: the same version as the image, for those who install the package without one."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable

from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.launch import bucket, command, environment, image, registry, version

FOLDER = pathlib.Path("dist")

_NAME = re.compile(r"[\w.]+-(?P<version>[^-]+)-py3-none-any\.whl")


def make(root: pathlib.Path, *, dry_run: bool = False) -> pathlib.Path:
    """Build the wheel of this version into `FOLDER` and return its path.

    Args:
        root: folder of the repository.
        dry_run: print the command only.
    """
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--wheel-dir", str(root / FOLDER)]
    # The commit's time in the archive: building a commit again gives the same bytes.
    stamp = str(int(image.committed_at(root).timestamp()))
    project = str(root / "sidPublisherJob")
    command.run([*pip, *options, project], dry_run=dry_run, env={"SOURCE_DATE_EPOCH": stamp})
    return root / FOLDER / file_name(__version__)


def file_name(wanted: str) -> str:
    """Return the name of a version's wheel."""
    return f"sidpublisherjob-{wanted}-py3-none-any.whl"


def upload(root: pathlib.Path, env: str, *, dry_run: bool = False) -> str | None:
    """Put the wheel of this version into an environment's bucket; return its URL.

    Args:
        root: folder of the repository.
        env: name of the environment.
        dry_run: print what would be done only.

    Returns:
        The URL; None when the environment has no bucket of wheels.

    Raises:
        errors.UsageError: the bucket has this version already, made of something else.
    """
    folder = environment.select(root, env).buckets.wheels
    if folder is None:
        return None
    path = make(root, dry_run=dry_run)
    url = f"{folder}/{path.name}"
    if dry_run:
        bucket.say(str(path.relative_to(root)), url)
    elif not bucket.write_new(url, path.read_bytes()) and bucket.read(url) != path.read_bytes():
        raise errors.UsageError(
            f"{url} is there already, with another content",
            hint="a version is never overwritten: raise the one in tmg_etl/__version__.py",
        )
    return url


def versions(folder: str) -> list[str]:
    """Return the versions whose wheel is in a bucket's folder, newest first."""
    matches = (_NAME.fullmatch(name) for name in bucket.names(folder))
    found = {match["version"] for match in matches if match}
    return sorted(filter(version.is_version, found), key=version.order, reverse=True)


def promotion(
    root: pathlib.Path, wanted: str, source: str, target: str, *, dry_run: bool
) -> Callable[[], object]:
    """Return what copies a version's wheel from one environment's bucket to another's.

    It does nothing when one of them has no bucket of wheels, or the target has the version.

    Raises:
        registry.VersionNotFoundError: the source has no such version.
    """
    first = environment.select(root, source).buckets.wheels
    second = environment.select(root, target).buckets.wheels
    if first is None or second is None or first == second:
        return lambda: None
    name = file_name(wanted)
    if dry_run:
        return lambda: bucket.say(f"{first}/{name}", f"{second}/{name}")
    known = versions(first)
    if wanted not in known:
        raise registry.VersionNotFoundError(wanted, first, known)
    return lambda: bucket.write_new(f"{second}/{name}", bucket.read(f"{first}/{name}"))


def prune(folder: str, doomed: list[str], *, dry_run: bool) -> None:
    """Remove versions' wheels from a bucket's folder."""
    for wanted in doomed:
        url = f"{folder}/{file_name(wanted)}"
        if dry_run:
            sys.stdout.write(f"gcloud storage rm {url}\n")
        else:
            bucket.delete(url)
