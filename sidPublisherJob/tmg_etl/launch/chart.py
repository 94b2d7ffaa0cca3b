"""The chart: what Helm is told about an environment, and the package that travels with an image.

Source of the package's form: https://helm.sh/docs/topics/registries/#helm-chart-manifest
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import io
import json
import pathlib
import re
import tarfile
import tempfile
from collections.abc import Iterator

import yaml

from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.config import place as config_place
from tmg_etl.launch import bucket, environment, image, registry, version

FOLDER = pathlib.Path("gke_deploy")

_ABOUT = "Chart.yaml"
_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_VERSION = re.compile(r"(?m)^(version|appVersion):.*$")


def repository(root: pathlib.Path, env: str | None = None) -> registry.Repository:
    """Return where the charts of an environment's images are, one for each version."""
    name = yaml.safe_load((root / FOLDER / _ABOUT).read_text(encoding="utf-8"))["name"]
    places = environment.select(root, env)
    return registry.Repository.parse(f"{places.registry}/charts/{name}")


def package(root: pathlib.Path) -> registry.Blob:
    """Return the chart of this version as Helm packages one; one commit gives the same bytes."""
    about = _about(root)
    name = yaml.safe_load(about)["name"]
    ignored = (root / FOLDER / ".helmignore").read_text(encoding="utf-8").split()
    packed = io.BytesIO()
    stamp = int(image.committed_at(root).timestamp())
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in sorted((root / FOLDER).rglob("*")):
            if file.is_dir() or any(fnmatch.fnmatch(file.name, pattern) for pattern in ignored):
                continue
            path = file.relative_to(root / FOLDER)
            data = about.encode() if path == pathlib.Path(_ABOUT) else file.read_bytes()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mtime, entry.mode = len(data), stamp, 0o644
            archive.addfile(entry, io.BytesIO(data))
    return registry.Blob(_CONTENT, gzip.compress(packed.getvalue(), mtime=0))


def push(root: pathlib.Path, env: str, *, dry_run: bool = False) -> str:
    """Put the chart of this version beside the image's place in the registry.

    Args:
        root: folder of the repository.
        env: the environment whose registry it goes to.
        dry_run: push nothing.

    Returns:
        Its name, as Helm takes it.

    Raises:
        errors.UsageError: the registry has this version's chart already, made of something else.
    """
    place = repository(root, env)
    name = f"oci://{place}:{__version__}"
    if dry_run:
        return name
    config = registry.Blob(_CONFIG, json.dumps(yaml.safe_load(_about(root))).encode())
    layer = package(root)
    made = registry.manifest(config, layer)
    found = place.digest(__version__)
    if found not in (None, made.digest):
        raise errors.UsageError(
            f"{name} is already in the registry, with another content",
            hint="a version is never overwritten: raise the one in tmg_etl/__version__.py",
        )
    place.write(__version__, made, config, layer)
    return name


@contextlib.contextmanager
def fetched(root: pathlib.Path, wanted: str, env: str, *, dry_run: bool = False) -> Iterator[str]:
    """Give Helm's name of a version's chart: a file of a folder that vanishes afterwards.

    Args:
        root: folder of the repository.
        wanted: the version.
        env: the environment whose registry it comes from.
        dry_run: give its name in the registry, and fetch nothing.

    Raises:
        errors.UsageError: the version was pushed without a chart.
        errors.DataError: what the registry sends is not what its digest says.
    """
    place = repository(root, env)
    digest = place.digest(wanted)
    if digest is None:
        raise errors.UsageError(
            f"version {wanted} has no chart in {place}",
            hint="deploy it from its own checkout, with local-deploy-gke",
        )
    if dry_run:
        yield f"oci://{place}@{digest}"
        return
    _, content = place.read(digest)
    [layer] = [part for part in content["layers"] if part["mediaType"] == _CONTENT]
    with tempfile.TemporaryDirectory(prefix="tmg-etl-") as folder:
        file = pathlib.Path(folder) / f"{place.path.rpartition('/')[2]}-{wanted}.tgz"
        file.write_bytes(place.fetch(layer).data)
        yield str(file)


def values(root: pathlib.Path, env: str, copy: pathlib.Path | None = None) -> list[str]:
    """Return Helm's arguments for an environment's config and service account.

    A config file of the repository is put into the release. One in a bucket is read by the pods
    from there; the chart is given a copy too, because the schedules stand in it.

    Args:
        root: folder of the repository.
        env: name of the environment.
        copy: of the config where it is in a bucket: what `copy_config` returns.

    Raises:
        errors.UsageError: there is no such environment.
    """
    places = environment.select(root, env)
    arguments = ["--set-file", f"config.content={copy or root / places.config}"]
    if _is_remote(places.config):
        arguments += ["--set-string", f"config.location={places.config}"]
    if places.service_account:
        account = f"serviceAccount.googleServiceAccount={places.service_account}"
        arguments += ["--set-string", account]
    return arguments


def copy_config(root: pathlib.Path, env: str, *, dry_run: bool = False) -> pathlib.Path | None:
    """Copy an environment's config from its bucket, with the caller's login; return the copy.

    Args:
        root: folder of the repository.
        env: name of the environment.
        dry_run: print the command only.

    Returns:
        The copy, below `dist`; None where the config is a file of the repository.

    Raises:
        errors.ConfigError: there is no such file.
        errors.AccessError: it may not be read, or nobody is logged in.
        errors.TemporaryError: the bucket cannot be reached.
    """
    location = environment.select(root, env).config
    if not _is_remote(location):
        return None
    copy = root / "dist" / f"config-{env}.yaml"
    if dry_run:
        bucket.say(location, str(copy.relative_to(root)))
        return copy
    try:
        text = config_place.read(location)
    except errors.AccessError as error:
        hint = "gcloud auth application-default login; `render` takes a copy too, by --config"
        raise errors.AccessError(error.message, where=location, hint=hint) from None
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(text)
    return copy


def _is_remote(location: str) -> bool:
    return "://" in location


def _about(root: pathlib.Path) -> str:
    """Return the chart's description, with the version of the image that it travels with."""
    text = (root / FOLDER / _ABOUT).read_text(encoding="utf-8")
    return _VERSION.sub(lambda found: f'{found[1]}: "{version.semantic(__version__)}"', text)
