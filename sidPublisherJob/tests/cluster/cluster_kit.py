"""The release under test: the chart of this checkout, installed in a namespace of its own."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable

import yaml

from tests.chart import chart_kit
from tmg_etl import errors, run
from tmg_etl.launch import cluster, job, manifest, release, session

HERE = pathlib.Path(__file__).parent
DAY = datetime.date(2024, 1, 5)

# The proxy needs an instance of Cloud SQL. What is tested is how the cluster starts and ends a
# sidecar: this one answers its probes and ends on SIGTERM, like the proxy.
SIDECAR = """\
import http.server, signal, sys, threading
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("", 9801), Ready)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""


def kubectl(*arguments: str, content: str | None = None) -> str:
    """Return what kubectl prints; fails the test with what it complains of."""
    done = subprocess.run(
        ["kubectl", *context_options(), *arguments],
        input=content,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"kubectl {arguments[0]}: {done.stderr}"
    return done.stdout


def context_options() -> list[str]:
    """Return kubectl's options for the cluster under test."""
    context = os.environ.get("TMG_ETL_TEST_CONTEXT")
    return ["--context", context] if context else []


AWAY = {"AWAY_TYPE": "postgres", "AWAY_URL": "postgresql://nobody@127.0.0.1:1/none"}


@dataclasses.dataclass(frozen=True)
class Site:
    """A release in a namespace of its own.

    Attributes:
        session: what the tasks hand to the launcher.
        said: the lines that the launcher printed.
    """

    session: session.Session
    said: list[str]

    @property
    def place(self) -> cluster.Cluster:
        """The namespace."""
        return self.session.connect()

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        return self.session.places.namespace

    def run(self, transfer: str, mode: run.WriteMode = run.WriteMode.TRUNCATE) -> int:
        """Run a transfer as `invoke run-gke` does; return the exit code."""
        return session.run_now(self.session, transfer, DAY, mode)

    def job_of(self, transfer: str) -> cluster.Object:
        """Return the latest Job of a transfer."""
        selector = f"{manifest.INSTANCE}={self.session.release},{manifest.TRANSFER}={transfer}"
        found = self.place.jobs(selector)
        assert found, f"there is no Job of {transfer}"
        return max(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))

    def pods_of(self, transfer: str) -> list[cluster.Object]:
        """Return the pods of the latest Job of a transfer, the oldest first."""
        return self.place.pods(cluster.of_job(self.job_of(transfer)["metadata"]["name"]))

    def body(self, transfer: str) -> cluster.Object:
        """Return the Job of a run, to be changed before it is created."""
        template = job.template(self.place, self.session.release, "run")
        return manifest.run_job(template, transfer, DAY, run.WriteMode.TRUNCATE)

    def watch(self, body: cluster.Object) -> tuple[cluster.Object, object]:
        """Create a Job and follow it to its end."""
        made, _ = job.start(self.place, body)
        name = made["metadata"]["name"]
        return job.watch(self.place, name, self.said.append, pace=self.session.pace)


def install(folder: pathlib.Path, namespace: str, image: str, policy: str) -> Site:
    """Install the chart as `invoke local-deploy-gke` does.

    Args:
        folder: an empty folder, which becomes the repository that is deployed.
        namespace: to install into; it exists.
        image: as the cluster knows it, with its tag.
        policy: whether nodes pull it.
    """
    shutil.copytree(chart_kit.CHART, folder / "gke_deploy")
    shutil.copy(HERE / "config.yaml", folder)
    repository, _, tag = image.rpartition(":")
    registry, _, name = repository.rpartition("/")
    context = os.environ.get("TMG_ETL_TEST_CONTEXT") or kubectl("config", "current-context").strip()
    places = {
        "registry": registry,
        "namespace": namespace,
        "context": context,
        "config": "config.yaml",
    }
    (folder / "gke_deploy" / "environments.yaml").write_text(
        json.dumps({"image": name, "environments": {"local": places}})
    )
    values = folder / "gke_deploy" / "values-local.yaml"
    own = {"transfers": {"away": {"env": AWAY, "resources": {"limits": {"memory": "640Mi"}}}}}
    text = values.read_text().replace("pullPolicy: Never", f"pullPolicy: {policy}")
    values.write_text(f"{text}{yaml.safe_dump(own)}")
    release.deploy(folder, "local", wanted=tag)
    said: list[str] = []
    pace = job.Pace(poll_s=1, stuck_s=10, second_s=1)
    return Site(session.Session(folder, "local", said.append, pace), said)


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait until `is_so`, or fail."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, f"waited {timeout_s:g} s for {what}"
        time.sleep(1)


def exit_codes(pods: list[cluster.Object]) -> list[int]:
    """Return how the job's container ended in each pod that ended."""
    return [
        state["terminated"]["exitCode"]
        for pod in pods
        for status in pod["status"].get("containerStatuses", [])
        if status["name"] == manifest.CONTAINER and "terminated" in (state := status["state"])
    ]


def at(text: str) -> datetime.datetime:
    """Return an instant as the API writes it."""
    return datetime.datetime.fromisoformat(text)


def is_gone(site: Site, name: str) -> bool:
    """Tell whether a Job is no more."""
    try:
        site.place.job(name)
    except cluster.NotFoundError:
        return True
    except errors.TemporaryError:
        return False
    return False
