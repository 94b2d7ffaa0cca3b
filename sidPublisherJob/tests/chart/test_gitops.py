"""Manifests that are committed instead of deployed by Helm, made by Helm 3 from the real chart."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from tests.chart import chart_kit
from tmg_etl import errors
from tmg_etl.launch import release

DIGEST = "sha256:" + "b" * 64


@pytest.fixture
def copy(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A copy of prod's config, where `helm` is Helm 3."""
    (tmp_path / "helm").symlink_to(chart_kit.HELM3)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "config.yaml").write_text(chart_kit.CONFIG)
    return tmp_path / "config.yaml"


def test_manifests_for_git_name_the_version_by_its_digest(
    copy: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "deploy" / "prod"
    folder.mkdir(parents=True)
    (folder / "gone.yaml").write_text("kind: CronJob")
    (folder / "kustomization.yml").write_text("kept")
    for _ in range(2):
        release.render(
            chart_kit.ROOT, "prod", wanted="1.4.0", digest=DIGEST, output=folder, config=copy
        )
    assert not (folder / "gone.yaml").exists()
    assert (folder / "kustomization.yml").exists()
    text = {file.name: file.read_text() for file in folder.glob("*.yaml")}
    items = chart_kit.objects(text)
    assert {item["kind"] for item in items} == {"CronJob", "NetworkPolicy", "ServiceAccount"}
    for item in items:
        chart_kit.validate(item)
        assert item["metadata"]["namespace"] == "sid"
        assert item["metadata"]["labels"]["app.kubernetes.io/version"] == "1.4.0"
    for pod in chart_kit.pod_specs(items):
        assert pod["containers"][0]["image"].endswith(f"/sidpublisherjob@{DIGEST}")
    cron = yaml.safe_load_all(text["cronjob.yaml"])
    schedules = {item["spec"]["schedule"] for item in cron if item}
    assert schedules == {"5 3 * * 1-5", "47 4 * * *"}


def test_a_digest_that_is_none_is_refused(copy: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="found --digest b{9}; give it as sha256"):
        release.render(chart_kit.ROOT, "prod", digest="b" * 9, config=copy)
