"""Fixtures of the tests on a real cluster; docs/kubernetes.md says how to run them."""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import Iterator

import pytest

from tests.chart import chart_kit
from tests.cluster import cluster_kit


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(pathlib.Path(__file__).parent):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster_kit.Site]:
    """The chart, installed for this session."""
    image = os.environ.get("TMG_ETL_TEST_IMAGE")
    assert image, "TMG_ETL_TEST_IMAGE names no image: registry/name:tag, as the cluster knows it"
    policy = os.environ.get("TMG_ETL_TEST_PULL_POLICY", "IfNotPresent")
    namespace = f"tmg-etl-{secrets.token_hex(4)}"
    cluster_kit.kubectl("create", "namespace", namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    cluster_kit.kubectl("label", "namespace", namespace, restricted)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{chart_kit.HELM3.parent}:{path}"
    try:
        folder = tmp_path_factory.mktemp("repository")
        yield cluster_kit.install(folder, namespace, image, policy)
    finally:
        os.environ["PATH"] = path
        cluster_kit.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def site(release: cluster_kit.Site) -> cluster_kit.Site:
    """The release, with nothing said yet."""
    release.said.clear()
    return release
