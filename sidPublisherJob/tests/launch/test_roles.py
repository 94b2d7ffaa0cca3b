"""The Role of who launches: it allows each call of the launcher, and nothing that it never does."""

from __future__ import annotations

import datetime
import urllib.parse

import yaml

from tests.chart import chart_kit
from tests.launch import api_kit
from tmg_etl.launch import session

DAY = datetime.date(2024, 1, 1)
VERBS = {"GET": "get", "POST": "create", "DELETE": "delete"}


def asked(method: str, path: str) -> tuple[str, str, str]:
    """Return API group, resource and verb of a request, as the API's authorizer sees them."""
    parts = urllib.parse.urlsplit(path).path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if len(rest) == 2:
        return group, rest[0], VERBS[method]
    resource, *name = rest[2:]
    if name[1:]:
        resource = f"{resource}/{name[1]}"
    return group, resource, "list" if method == "GET" and not name else VERBS[method]


def test_the_launcher_may_do_what_it_does(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        name = job["metadata"]["name"]
        api.pods["p"] = api_kit.pod("p", name, state=api_kit.terminated(0), phase="Succeeded")
        api.finish(job)

    api.on_job = on_job
    assert session.run_now(dev, "dim_plane", DAY) == 0
    assert session.run_now(dev, "dim_plane", DAY) == 0
    assert session.backfill(dev, "fact_flight", DAY, DAY) == 0
    assert session.logs(dev) == 0
    session.status(dev)
    session.cancel(dev, sorted(api.jobs)[0])
    api.connect().check_namespace()
    documents = yaml.safe_load_all((chart_kit.CHART / "roles.yaml").read_text())
    (role,) = [item for item in documents if item["metadata"]["name"] == "sid-launcher"]
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    made = {asked(*request) for request in api.requests}
    assert made <= allowed
    # kubectl's own, for the commands that are printed: one object, and waiting for more of a log.
    kubectl = {("", "pods", "get"), ("batch", "cronjobs", "get")}
    kubectl |= {(group, what, "watch") for group, what in (("", "pods"), ("batch", "jobs"))}
    assert allowed - made == kubectl
