"""A Kubernetes API on a port: the part the launcher uses, answering as a real one does.

Objects that are created are held against the real API schemas; templates are the chart's own,
rendered by real Helm. What a controller would do is written by the test, as `on_job`.
"""

from __future__ import annotations

import collections
import http.server
import json
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from tests.chart import chart_kit
from tmg_etl.launch import cluster

NAMESPACE, RELEASE = "etl", "sid"
STARTED = "2026-01-02T03:04:05Z"
Object = dict[str, Any]


def condition(kind: str, reason: str = "", message: str = "") -> Object:
    found = {"type": kind, "status": "True", "lastTransitionTime": STARTED}
    return found | ({"reason": reason, "message": message} if reason else {})


def pod(
    name: str,
    job: str,
    *,
    phase: str = "Running",
    state: Object | None = None,
    index: int | None = None,
    sidecar: Object | None = None,
    limits: Object | None = None,
    **status: Any,
) -> Object:
    """A pod of a Job; `state` is that of the container `pipeline`, as the kubelet writes it."""
    labels = {"app.kubernetes.io/instance": RELEASE, "batch.kubernetes.io/job-name": job}
    if index is not None:
        labels["batch.kubernetes.io/job-completion-index"] = str(index)
    container = {"name": "pipeline", "image": "r/sid:1", "resources": {"limits": limits or {}}}
    states = [{"name": "pipeline", "image": "r/sid:1", "state": state}] if state else []
    init = [{"name": "cloud-sql-proxy", "state": sidecar}] if sidecar else []
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": labels,
            "creationTimestamp": STARTED,
        },
        "spec": {"containers": [container]},
        "status": {
            "phase": phase,
            "containerStatuses": states,
            "initContainerStatuses": init,
            **status,
        },
    }


def terminated(code: int, reason: str | None = None, message: str = "") -> Object:
    word = reason or ("Completed" if code == 0 else "Error")
    return {"terminated": {"exitCode": code, "reason": word, "message": message}}


def running() -> Object:
    return {"running": {"startedAt": STARTED}}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


class Api:
    """The server and what is in its one namespace."""

    def __init__(self) -> None:
        self.cronjobs: dict[str, Object] = {}
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        # Pod → what each request for its log yields: lines, `CUT`, or `WAIT` with seconds.
        self.logs: dict[str, list[list[str]]] = collections.defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Object] = []
        self.on_job: Callable[[Object], None] = lambda job: None
        self.on_read: Callable[[Object, int], None] = lambda job, times: None
        self.failures: list[int] = []  # statuses to answer the next requests with
        self.lock = threading.Lock()
        self.reads: collections.Counter[str] = collections.Counter()
        api = self

        class Handler(_Handler):
            server_api = api

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def install(self, **values: Any) -> None:
        """Put the chart's CronJobs there, as `helm install` would."""
        rendered = chart_kit.ENGINES["helm4"].render(chart_kit.values(**values), release=RELEASE)
        for item in chart_kit.objects(rendered):
            if item["kind"] == "CronJob":
                self.cronjobs[item["metadata"]["name"]] = item

    def kubeconfig(self, folder: pathlib.Path) -> pathlib.Path:
        file = folder / "kubeconfig"
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": {"server": self.url}}],
                    "users": [{"name": "test", "user": {"token": "t"}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )
        return file

    def connect(self) -> cluster.Cluster:
        from kubernetes import client

        configuration = client.Configuration(host=self.url)
        configuration.retries = False
        return cluster.Cluster(client.ApiClient(configuration), NAMESPACE)

    def finish(self, job: Object, kind: str = "Complete", reason: str = "") -> None:
        job.setdefault("status", {})["conditions"] = [condition(kind, reason, "said by a test")]

    def __enter__(self) -> Api:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server_api: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        api = self.server_api
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        api.requests.append((method, self.path))
        if api.failures:
            status = api.failures.pop(0)
            self._status(status, "TooManyRequests" if status == 429 else "Error", "told to fail")
            return
        match url.path.strip("/").split("/"):
            case ["api", "v1", "namespaces", namespace]:
                if namespace == NAMESPACE:
                    self._json(200, {"kind": "Namespace", "metadata": {"name": namespace}})
                else:
                    self._missing("namespaces", namespace)
            case ["apis", "batch", "v1", "namespaces", namespace, "cronjobs"]:
                self._list(namespace, api.cronjobs, query)
            case ["apis", "batch", "v1", "namespaces", namespace, "jobs"]:
                if method == "POST":
                    # One at a time, as the store behind a real API does it.
                    with api.lock:
                        self._create(namespace, body)
                else:
                    self._list(namespace, api.jobs, query)
            case ["apis", "batch", "v1", "namespaces", _, "jobs", name]:
                self._job(method, name, body, query)
            case ["api", "v1", "namespaces", namespace, "pods"]:
                self._list(namespace, api.pods, query)
            case ["api", "v1", "namespaces", _, "pods", name, "log"]:
                self._log(name)
            case _:
                self._status(404, "NotFound", f"the server has no {url.path}")

    def _create(self, namespace: str, body: Object) -> None:
        api, name = self.server_api, body["metadata"]["name"]
        if namespace != NAMESPACE:
            self._missing("namespaces", namespace)
            return
        if name in api.jobs:
            text = f'jobs.batch "{name}" already exists'
            self._status(409, "AlreadyExists", text)
            return
        chart_kit.validate(body)
        api.bodies.append(body)
        stored = json.loads(json.dumps(body))
        stored["metadata"] |= {"uid": "u", "creationTimestamp": f"{STARTED}{len(api.jobs):04}"}
        stored["status"] = {}
        api.jobs[name] = stored
        api.on_job(stored)
        self._json(201, stored)

    def _job(self, method: str, name: str, body: Object, query: dict[str, str]) -> None:
        api = self.server_api
        job = api.jobs.get(name)
        if job is None:
            self._missing("jobs.batch", name)
        elif method == "DELETE":
            policy = query.get("propagationPolicy") or body.get("propagationPolicy")
            assert policy == "Foreground"
            # Foreground: the Job is there until its pods are gone.
            job["metadata"]["deletionTimestamp"] = STARTED
            threading.Timer(0.2, api.jobs.pop, (name, None)).start()
            self._json(200, job)
        else:
            api.reads[name] += 1
            api.on_read(job, api.reads[name])
            self._json(200, job)

    def _list(self, namespace: str, items: dict[str, Object], query: dict[str, str]) -> None:
        wanted = dict(
            item.split("=", 1) for item in query.get("labelSelector", "").split(",") if item
        )
        found = [
            item
            for item in list(items.values())
            if namespace == NAMESPACE and wanted.items() <= item["metadata"]["labels"].items()
        ]
        if "fieldSelector" in query:
            assert query["fieldSelector"] == "status.phase!=Succeeded"
            found = [item for item in found if item["status"]["phase"] != "Succeeded"]
        begin, limit = int(query.get("continue", "0")), int(query["limit"])
        end = begin + limit
        about = {"continue": str(end)} if end < len(found) else {}
        page = found[begin:end]
        self._json(200, {"kind": "List", "apiVersion": "v1", "metadata": about, "items": page})

    def _log(self, name: str) -> None:
        streams = self.server_api.logs[name]
        lines = streams.pop(0) if len(streams) > 1 else (streams or [[]])[0]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            if line.startswith("WAIT "):
                time.sleep(float(line.removeprefix("WAIT ")))
                continue
            if line == "CUT":
                # As a proxy does it: the connection ends within the stream.
                self.close_connection = True
                self.connection.close()
                return
            data = f"{line}\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _missing(self, what: str, name: str) -> None:
        self._status(404, "NotFound", f'{what} "{name}" not found')

    def _status(self, code: int, reason: str, message: str) -> None:
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        self._json(code, body)

    def _json(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def eventually(check: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until `check` holds."""
    until = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


def serve() -> Iterator[Api]:
    """A server with the chart installed."""
    with Api() as api:
        api.install()
        yield api
