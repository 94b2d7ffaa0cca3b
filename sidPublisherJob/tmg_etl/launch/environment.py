"""Where each environment lives, as `gke_deploy/environments.yaml` says."""

from __future__ import annotations

import pathlib
from typing import Annotated, Literal

from pydantic import Field

from tmg_etl import errors
from tmg_etl.config import complaint, environment, place, problem, strict, tree

FILE = pathlib.Path("gke_deploy") / "environments.yaml"
"""The file, seen from the root of the repository."""

Text = Annotated[str, Field(min_length=1)]
Bucket = Annotated[str, Field(pattern=r"^gs://[a-z0-9][a-z0-9._-]+(/[^/]+)*$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]


class Cluster(strict.Strict):
    """A GKE cluster.

    Attributes:
        name: of the cluster.
        location: its region or zone.
    """

    name: Text
    location: Text


class Buckets(strict.Strict):
    """Folders in Cloud Storage, as ``gs://bucket/folder``.

    Attributes:
        keys: where `download-keys` finds key files; None where there are none.
        wheels: where the environment's wheels go; None where none are wanted.
    """

    keys: Bucket | None = None
    wheels: Bucket | None = None


class SqlProxy(strict.Strict):
    """The Cloud SQL Auth Proxy beside the job.

    Attributes:
        instance: ``project:region:instance``.
        port: the proxy listens on ``127.0.0.1`` at it. 3306 is MySQL's, 5432 PostgreSQL's.
        private_ip: connect to the instance's private address instead of its public one.
    """

    instance: Annotated[str, Field(pattern=r"^[^:\s]+(:[^:\s]+){2,3}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    private_ip: bool = False


class Smoke(strict.Strict):
    """What is run to see whether an image works.

    Attributes:
        transfer: name of a transfer in the environment's config.
        write_mode: ``truncate`` or ``delta``.
    """

    transfer: Text
    write_mode: Literal["truncate", "delta"] = "truncate"


class Environment(strict.Strict):
    """One environment.

    Attributes:
        registry: where images are pushed to and pulled from, as ``host/project/repository``. The
            same for all environments where an image is promoted by its digest.
        project: Google Cloud project; None outside Google Cloud.
        cluster: the GKE cluster; None outside Google Cloud.
        context: kubectl's context; None means the one that `gcloud container clusters
            get-credentials` writes for `cluster`.
        namespace: of the release.
        config: location of the transfers' config file; relative paths start at the repository.
        service_account: Google service account that the job acts as (Workload Identity); None
            where keys are used.
        buckets: folders in Cloud Storage.
        sql_proxy: the proxy that `--sql-proxy` adds; None where there is none.
        smoke: what `test-docker-local` runs; None where nothing is.
    """

    registry: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*$")]
    project: Text | None = None
    cluster: Cluster | None = None
    context: Text | None = None
    namespace: Label = "default"
    config: Text
    service_account: Text | None = None
    buckets: Buckets = Buckets()
    sql_proxy: SqlProxy | None = None
    smoke: Smoke | None = None

    @property
    def kubectl_context(self) -> str | None:
        """The context to talk to; None means kubectl's current one."""
        if self.context is None and self.cluster is not None and self.project is not None:
            return f"gke_{self.project}_{self.cluster.location}_{self.cluster.name}"
        return self.context


class Environments(strict.Strict):
    """The whole file.

    Attributes:
        image: name of the image below the registry, and of the Helm release.
        environments: the environments by name.
    """

    image: Label
    environments: Annotated[dict[str, Environment], Field(min_length=1)]


def load(root: pathlib.Path) -> Environments:
    """Return all environments of a repository.

    Args:
        root: folder of the repository.

    Raises:
        errors.ConfigError: the file is missing or wrong, with its line and key.
    """
    location = str(root / FILE)
    try:
        node = tree.parse(place.read(location))
    except tree.InvalidError as invalid:
        raise invalid.problem.to_error(location) from None
    if node is None or not isinstance(node.value, dict):
        hint = "start with image: and environments:"
        raise errors.ConfigError("found no mapping, expected one", where=location, hint=hint)
    loaded, problems = complaint.validate_as(node, Environments)
    problems = [*complaint.unknown_keys(node, Environments), *problems]
    if loaded is None or problems:
        # An unknown key is reported twice: by its near miss, and by the model.
        raise problems[0].to_error(location)
    return loaded


def select(root: pathlib.Path, name: str | None = None) -> Environment:
    """Return one environment of a repository.

    Args:
        root: folder of the repository.
        name: of the environment; None means `local`.

    Raises:
        errors.UsageError: there is no such environment.
        errors.ConfigError: as for `load`.
    """
    known = load(root).environments
    name = name or environment.DEFAULT
    if name not in known:
        raise errors.UsageError(
            f"found no environment {problem.describe(name)} in {FILE}",
            hint=problem.help_for(name, list(known), "environments"),
        )
    return known[name]
