"""Fixtures of the launcher's tests."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.chart import chart_kit
from tests.launch import api_kit
from tmg_etl.launch import job, session

FAST = job.Pace(poll_s=0.05, stuck_s=0.3, second_s=0.3)


@pytest.fixture
def api() -> Iterator[api_kit.Api]:
    yield from api_kit.serve()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def dev(
    api: api_kit.Api,
    said: list[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> session.Session:
    """The environment `dev` of a repository whose cluster is the test's API."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
    monkeypatch.setenv("MYSQL_PASSWORD", "x")
    (tmp_path / "gke_deploy").mkdir()
    (tmp_path / "config.yaml").write_text(chart_kit.CONFIG)
    (tmp_path / "gke_deploy" / "environments.yaml").write_text(
        f"image: {api_kit.RELEASE}\n"
        "environments:\n"
        f"  dev: {{registry: r, namespace: {api_kit.NAMESPACE}, context: test, project: acme,"
        " config: config.yaml}\n"
        "  lost: {registry: r, namespace: nowhere, context: test, config: config.yaml}\n"
        "  away: {registry: r, namespace: etl, context: other, config: config.yaml}\n"
    )
    return session.Session(tmp_path, "dev", said.append, FAST)
