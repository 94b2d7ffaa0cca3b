"""What Helm is told about an environment, beside the image: its config, account and places."""

from __future__ import annotations

import pathlib

from tmg_etl.launch import environment


def values(root: pathlib.Path, env: str) -> list[str]:
    """Return Helm's arguments for an environment's config and service account.

    A config file of the repository is put into the release; one in a bucket is read by the pods
    from there. Then the chart cannot see its schedules: they stand in `values-ENV.yaml`.

    Args:
        root: folder of the repository.
        env: name of the environment.

    Raises:
        errors.UsageError: there is no such environment.
    """
    places = environment.select(root, env)
    if "://" in places.config:
        arguments = ["--set-string", f"config.location={places.config}"]
    else:
        arguments = ["--set-file", f"config.content={root / places.config}"]
    if places.service_account:
        account = f"serviceAccount.googleServiceAccount={places.service_account}"
        arguments += ["--set-string", account]
    return arguments
