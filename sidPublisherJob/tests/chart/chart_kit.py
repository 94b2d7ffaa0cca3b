"""Renders the chart with real Helm, both majors, and checks the result by the API's own schemas."""

from __future__ import annotations

import abc
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import helm_python
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parents[3]
CHART = ROOT / "gke_deploy"
HELM3 = pathlib.Path(sys.prefix) / "helm3" / "node_modules" / ".bin" / "helm"
OLDEST, NEWEST = "1.29", "1.37"
"""The Kubernetes versions whose schemas a manifest must meet."""

# What no schema is published for: they belong to add-ons.
FOREIGN_KINDS = {"SecretProviderClass", "PrometheusRule"}

CONFIG = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: mysql, url: "mysql://sid:${MYSQL_PASSWORD}@127.0.0.1/sid"}
transfers:
  dim_plane:
    source: {connection: lake, table: planes}
    target: {connection: serving, table: dim_plane}
    schedule: "5 3 * * 1-5"
  dim_airline:
    source: {connection: lake, table: airlines}
    target: {connection: serving, table: dim_airline}
  fact_flight:
    source: {connection: lake, table: flights}
    target: {connection: serving, table: fact_flight}
    key: [id]
    delta: {cursor: flight_date}
    schedule: "17 4 * * *"
environments:
  dev: {}
  val: {}
  prod:
    transfers: {fact_flight: {schedule: "47 4 * * *"}}
"""

Values = dict[str, Any]
Object = dict[str, Any]


class RefusedError(Exception):
    """Helm rendered nothing; the text is what it said."""


class Helm(abc.ABC):
    """One major version of Helm."""

    @abc.abstractmethod
    def render(
        self, values: Values, release: str = "sid", files: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """Return the rendered text by template; raises RefusedError."""

    @abc.abstractmethod
    def lint(self, values: Values) -> list[str]:
        """Return what `helm lint` finds wrong."""


class Helm3(Helm):
    """The command of Helm 3."""

    def command(
        self, *arguments: str, values: Values | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Helm 3 to its end."""
        if values is None:
            return self._call(*arguments)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "values.json"
            file.write_text(json.dumps(values))
            return self._call(*arguments, "--values", str(file))

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(HELM3), *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def render(
        self, values: Values, release: str = "sid", files: tuple[str, ...] = ()
    ) -> dict[str, str]:
        more = [word for file in files for word in ("--values", str(CHART / file))]
        done = self.command(
            *("template", release, str(CHART), "--namespace", "etl", "--kube-version", OLDEST),
            *more,
            values=values,
        )
        if done.returncode:
            raise RefusedError(done.stderr)
        found: dict[str, str] = {}
        for text in re.split(r"^---$", done.stdout, flags=re.MULTILINE):
            if source := re.search(r"^# Source: (\S+)$", text, re.MULTILINE):
                found[source[1]] = f"{found.get(source[1], '')}\n---\n{text}"
        return found

    def lint(self, values: Values) -> list[str]:
        done = self.command("lint", str(CHART), "--strict", values=values)
        return re.findall(r"^(?:\[(?:ERROR|WARNING)\] |- ).*$", done.stdout + done.stderr, re.M)


class Helm4(Helm):
    """Helm 4 within this process."""

    def render(
        self, values: Values, release: str = "sid", files: tuple[str, ...] = ()
    ) -> dict[str, str]:
        merged: Values = {}
        for file in files:
            merged = merge(merged, yaml.safe_load((CHART / file).read_text()))
        merged = merge(merged, values)
        with helm_python.Chart.load(str(CHART)) as chart:
            try:
                chart.validate_schema(merged)
                return chart.render(merged, name=release, namespace="etl", is_install=True)
            except helm_python.HelmError as error:
                raise RefusedError(str(error)) from None

    def lint(self, values: Values) -> list[str]:
        report = helm_python.lint(str(CHART), values, strict=True, kube_version=f"v{OLDEST}.0")
        return [found["error"] for found in report["messages"] if found["severity"] > 1]


ENGINES: dict[str, Helm] = {"helm3": Helm3(), "helm4": Helm4()}


def merge(base: Values, over: Values) -> Values:
    """Return `base` with `over` laid over it, as Helm merges values."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value
    return merged


def values(**over: Any) -> Values:
    """Return the least values that render, with more laid over them."""
    return merge({"config": {"content": CONFIG}}, over)


def objects(rendered: dict[str, str]) -> list[Object]:
    """Return the rendered objects, without the notes."""
    found = []
    for template, text in rendered.items():
        if template.endswith(".yaml"):
            found += [item for item in yaml.safe_load_all(text) if item]
    return found


def find(items: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of a kind, and a name where there are several."""
    fitting = [
        item
        for item in items
        if item["kind"] == kind and (name is None or item["metadata"]["name"] == name)
    ]
    assert len(fitting) == 1, [(item["kind"], item["metadata"]["name"]) for item in items]
    return fitting[0]


def validate(item: Object) -> None:
    """Hold one object against the schemas of the oldest and the newest API."""
    if item["kind"] not in FOREIGN_KINDS:
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(item, version, strict=True)
    for spec in job_specs([item]):
        validate_job(spec)


def validate_job(spec: Object) -> None:
    """Hold a Job against the rules of the API server that no schema says.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/batch/validation.
    """
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"
    is_by_index = "backoffLimitPerIndex" in spec
    if is_by_index or "maxFailedIndexes" in spec:
        assert spec["completionMode"] == "Indexed"
        assert is_by_index
        assert spec["maxFailedIndexes"] <= spec["completions"]
    containers = [item["name"] for item in spec["template"]["spec"]["containers"]]
    for rule in spec["podFailurePolicy"]["rules"]:
        assert is_by_index or rule["action"] != "FailIndex"
        if codes := rule.get("onExitCodes"):
            assert codes["containerName"] in containers
            assert codes["values"] == sorted(set(codes["values"]))
            assert 0 not in codes["values"]


def job_specs(items: list[Object]) -> list[Object]:
    """Return the specs of all Jobs and of all that CronJobs make."""
    return [
        item["spec"] if item["kind"] == "Job" else item["spec"]["jobTemplate"]["spec"]
        for item in items
        if item["kind"] in {"Job", "CronJob"}
    ]


def pod_specs(items: list[Object]) -> list[Object]:
    """Return the specs of all pods."""
    pods = [spec["template"]["spec"] for spec in job_specs(items)]
    return [*pods, *(item["spec"] for item in items if item["kind"] == "Pod")]
