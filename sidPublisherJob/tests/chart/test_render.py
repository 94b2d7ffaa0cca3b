"""What the chart makes, by Helm 3 and Helm 4, held against the API's own schemas."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from tests.chart import chart_kit
from tmg_etl import __version__, errors
from tmg_etl.launch import chart, name

FILES = ["values-local.yaml", "values-dev.yaml", "values-val.yaml", "values-prod.yaml"]
DIGEST = "sha256:" + "a" * 64
FULL = {
    "image": {"digest": DIGEST, "pullSecrets": ["pull"]},
    "run": {"transfer": "dim_airline", "executionDate": "20240101"},
    "sqlProxy": {"enabled": True, "instance": "p:r:i", "privateIp": True, "iamAuthn": True},
    "secrets": {"existing": "keys", "googleCredentials": "sid.json"},
    "serviceAccount": {"googleServiceAccount": "sid@p.iam.gserviceaccount.com"},
    "networkPolicy": {"databases": [{"cidr": "10.0.0.5/32", "port": 3306}]},
    "env": {"MYSQL_USER": "sid", "RETRIES": 3},
    "spot": True,
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "batch", "operator": "Exists"}],
    "priorityClassName": "batch",
    "podAnnotations": {"team": "sid"},
    "podLabels": {"cost": "sid"},
    "transfers": {"fact_flight": {"dayOffset": 0, "resources": {"limits": {"memory": "8Gi"}}}},
    "alerts": {"enabled": True, "runbook": "https://docs.example.org/failure"},
    "job": {"oomIsFatal": True, "activeDeadlineSeconds": 2592000},
}
MANAGER = {
    "secrets": {"secretManager": {"MYSQL_PASSWORD": "projects/p/secrets/s/versions/latest"}},
    "serviceAccount": {"create": False, "name": "mine"},
}


@pytest.fixture(params=list(chart_kit.ENGINES))
def helm(request: pytest.FixtureRequest) -> chart_kit.Helm:
    return chart_kit.ENGINES[request.param]


@pytest.mark.parametrize("file", FILES)
def test_each_environment_meets_the_schemas_of_the_api(helm: chart_kit.Helm, file: str) -> None:
    items = chart_kit.objects(helm.render(chart_kit.values(), files=(file,)))
    assert {item["kind"] for item in items} >= {"CronJob", "ConfigMap", "ServiceAccount", "Pod"}
    for item in items:
        chart_kit.validate(item)


@pytest.mark.parametrize("over", [FULL, MANAGER], ids=["full", "manager"])
def test_every_option_meets_the_schemas_of_the_api(
    helm: chart_kit.Helm, over: chart_kit.Values
) -> None:
    for item in chart_kit.objects(helm.render(chart_kit.values(**over))):
        chart_kit.validate(item)


def test_both_majors_render_the_same() -> None:
    rendered = [
        sorted(
            chart_kit.objects(helm.render(chart_kit.values(**FULL))),
            key=lambda item: (item["kind"], item["metadata"]["name"]),
        )
        for helm in chart_kit.ENGINES.values()
    ]
    assert rendered[0] == rendered[1]


def test_lint_finds_nothing(helm: chart_kit.Helm) -> None:
    # An empty chart value is found by the chart itself, so lint is given a config.
    assert helm.lint(chart_kit.values(**FULL)) == []


def test_every_scheduled_transfer_is_one_cronjob_of_the_config(helm: chart_kit.Helm) -> None:
    items = chart_kit.objects(helm.render(chart_kit.values()))
    schedules = {
        item["metadata"]["annotations"]["tmg-etl/transfer"]: item["spec"]["schedule"]
        for item in items
        if item["kind"] == "CronJob" and "tmg-etl/transfer" in item["metadata"]["annotations"]
    }
    assert schedules == {"dim_plane": "5 3 * * 1-5", "fact_flight": "17 4 * * *"}


def test_the_environment_of_the_config_changes_a_schedule(helm: chart_kit.Helm) -> None:
    items = chart_kit.objects(helm.render(chart_kit.values(), files=("values-prod.yaml",)))
    cron = chart_kit.find(items, "CronJob", "sid-fact-flight")
    assert cron["spec"]["schedule"] == "47 4 * * *"
    container = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python3", "-m", "tmg_etl.launch.pod"]
    assert container["args"] == [
        *("scheduled", "fact_flight", "delta", "/etc/tmg_etl/config.yaml"),
        *("--env", "prod", "--time-zone", "Etc/UTC", "--day-offset=-1"),
    ]


GROUPED = """\
transfers:
  dim_plane: {publish_group: nightly, schedule: "5 3 * * *"}
  fact_flight: {publish_group: nightly, delta: {cursor: flight_date}}
  dim_airline: {schedule: "7 7 * * *"}
environments:
  dev: {transfers: {fact_flight: {delta: null}}}
  prod: {transfers: {dim_plane: {publish_group: null}, dim_airline: {publish_group: mornings}}}
"""


def scheduled(items: list[chart_kit.Object]) -> dict[str, list[str]]:
    """Return the first arguments of each scheduled pod, and when it runs, by its CronJob."""
    return {
        item["metadata"]["name"]: [
            *item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][1:3],
            item["spec"]["schedule"],
        ]
        for item in items
        if item["kind"] == "CronJob" and "tmg-etl/transfer" in item["metadata"]["annotations"]
    }


def test_a_publish_group_is_one_cronjob_and_its_members_have_none(helm: chart_kit.Helm) -> None:
    items = chart_kit.objects(helm.render({"config": {"content": GROUPED}}))
    assert scheduled(items) == {
        "sid-nightly": ["nightly", "delta", "5 3 * * *"],
        "sid-dim-airline": ["dim_airline", "truncate", "7 7 * * *"],
    }
    cron = chart_kit.find(items, "CronJob", "sid-nightly")
    assert json.loads(cron["metadata"]["annotations"]["tmg-etl/members"]) == [
        "dim_plane",
        "fact_flight",
    ]
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]
    assert pod["metadata"]["labels"]["tmg-etl/transfer"] == "nightly"
    chart_kit.validate(cron)


def test_an_environment_changes_what_a_group_is(helm: chart_kit.Helm) -> None:
    content = {"config": {"content": GROUPED, "env": "dev"}}
    assert scheduled(chart_kit.objects(helm.render(content)))["sid-nightly"][1] == "truncate"
    content["config"]["env"] = "prod"
    assert scheduled(chart_kit.objects(helm.render(content))) == {
        "sid-dim-plane": ["dim_plane", "truncate", "5 3 * * *"],
        "sid-mornings": ["mornings", "truncate", "7 7 * * *"],
    }


def test_values_change_a_group_by_its_name(helm: chart_kit.Helm) -> None:
    values: chart_kit.Values = {
        "config": {"content": GROUPED},
        "transfers": {
            "nightly": {
                "schedule": "9 9 * * *",
                "writeMode": "truncate",
                "suspend": True,
                "activeDeadlineSeconds": 60,
                "resources": {"limits": {"memory": "8Gi"}},
            }
        },
        "run": {"transfer": "nightly", "executionDate": "20240101"},
    }
    items = chart_kit.objects(helm.render(values))
    cron = chart_kit.find(items, "CronJob", "sid-nightly")["spec"]
    assert scheduled(items)["sid-nightly"] == ["nightly", "truncate", "9 9 * * *"]
    assert cron["suspend"] is True
    for job in (cron["jobTemplate"]["spec"], chart_kit.find(items, "Job")["spec"]):
        assert job["activeDeadlineSeconds"] == 60
        container = job["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"] == {"memory": "8Gi", "ephemeral-storage": "2Gi"}


def test_cronjobs_forbid_two_at_once_and_have_a_time_zone_and_deadlines() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values()))
    for item in items:
        if item["kind"] == "CronJob":
            spec = item["spec"]
            assert spec["concurrencyPolicy"] == "Forbid"
            assert spec["timeZone"] == "Etc/UTC"
            assert spec["startingDeadlineSeconds"] == 3600
            assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 5)
            job = spec["jobTemplate"]["spec"]
            assert job["ttlSecondsAfterFinished"] == 604800
            assert job["activeDeadlineSeconds"] > 0
            assert job["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize("is_fatal", [False, True])
def test_exit_codes_decide_about_retries_as_the_errors_say(is_fatal: bool) -> None:
    values = chart_kit.values(job={"oomIsFatal": is_fatal})
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(values))
    rules = chart_kit.find(items, "CronJob", "sid-fact-flight")["spec"]["jobTemplate"]["spec"][
        "podFailurePolicy"
    ]["rules"]
    assert rules[0] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    fatal = [errors.EXIT_USAGE, errors.EXIT_DATA, errors.EXIT_ACCESS, errors.EXIT_CONFIG]
    assert rules[1:] == [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": "pipeline",
                "operator": "In",
                "values": [*fatal, 137] if is_fatal else fatal,
            },
        }
    ]


def test_a_data_error_fails_one_window_of_a_backfill_only() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values()))
    cron = chart_kit.find(items, "CronJob", "sid-backfill")
    assert cron["spec"]["suspend"] is True
    spec = cron["spec"]["jobTemplate"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (3, 10)
    assert "backoffLimit" not in spec
    actions = [
        (rule["action"], rule.get("onExitCodes", {}).get("values"))
        for rule in spec["podFailurePolicy"]["rules"]
    ]
    assert actions == [
        ("Ignore", None),
        ("FailIndex", [errors.EXIT_DATA]),
        ("FailJob", [errors.EXIT_USAGE, errors.EXIT_ACCESS, errors.EXIT_CONFIG]),
    ]


def test_all_pods_come_from_one_template() -> None:
    values = chart_kit.values(run={"transfer": "dim_airline", "executionDate": "20240101"})
    pods = chart_kit.pod_specs(chart_kit.objects(chart_kit.ENGINES["helm4"].render(values)))
    assert len(pods) == 6
    for pod in pods:
        pod.pop("activeDeadlineSeconds", None)
        pod["containers"][0].pop("command", None)
        pod["containers"][0].pop("args", None)
    assert all(pod == pods[0] for pod in pods)


@pytest.mark.parametrize("over", [{}, FULL, MANAGER], ids=["least", "full", "manager"])
def test_pods_satisfy_the_restricted_standard(over: chart_kit.Values) -> None:
    """Source: https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    allowed = {"configMap", "csi", "emptyDir", "secret"}
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values(**over)))
    for pod in chart_kit.pod_specs(items):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_requests_and_limits_are_on_every_container() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values(**FULL)))
    for pod in chart_kit.pod_specs(items):
        for container in [*pod["containers"], *pod["initContainers"]]:
            assert container["resources"]["limits"]["memory"]
    own = chart_kit.find(items, "CronJob", "sid-fact-flight")["spec"]["jobTemplate"]["spec"]
    # Laid over those of all; what is a limit only is requested too.
    assert own["template"]["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "8Gi", "ephemeral-storage": "2Gi"},
        "requests": {"cpu": "500m", "memory": "8Gi", "ephemeral-storage": "2Gi"},
    }


OWN: chart_kit.Values = {
    "timeZone": "Europe/Berlin",
    "backoffLimit": 0,
    "tmpSize": "20Gi",
    "resources": {"requests": {"ephemeral-storage": "22Gi"}},
    "env": {"DB_PASSWORD": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}},
    "envFrom": [{"secretRef": {"name": "more"}}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    "spot": False,
    "nodeSelector": {"disk": "big"},
    "tolerations": [{"key": "own", "operator": "Exists"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        }
    },
    "priorityClassName": "high",
    "pullSecrets": ["mine"],
    "podLabels": {"size": "l"},
    "podAnnotations": {"note": "own"},
    "jobLabels": {"kueue.x-k8s.io/queue-name": "large"},
}


@pytest.mark.parametrize("transfer", ["fact_flight", "dim_airline"])
def test_everything_about_a_pod_may_differ_for_one_transfer(
    helm: chart_kit.Helm, transfer: str
) -> None:
    """Of one with a schedule, and of one that is run by hand."""
    over: chart_kit.Values = {"jobLabels": {"team": "sid"}, "transfers": {transfer: OWN}}
    items = chart_kit.objects(helm.render(chart_kit.values(**(FULL | over))))
    for item in items:
        chart_kit.validate(item)
    cron = chart_kit.find(items, "CronJob", name.cronjob("sid", transfer))["spec"]
    job = cron["jobTemplate"]
    template = job["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert (cron["timeZone"], job["spec"]["backoffLimit"]) == ("Europe/Berlin", 0)
    assert container["args"][container["args"].index("--time-zone") + 1] == "Europe/Berlin"
    assert job["metadata"]["labels"].items() >= {"team": "sid", **OWN["jobLabels"]}.items()
    assert template["metadata"]["labels"].items() >= {"cost": "sid", "size": "l"}.items()
    assert template["metadata"]["annotations"].items() >= {"team": "sid", "note": "own"}.items()
    assert pod["nodeSelector"] == {"disk": "big"}
    assert pod["tolerations"] == OWN["tolerations"]
    assert pod["affinity"] == OWN["affinity"]
    assert pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "mine"}]
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}} in pod["volumes"]
    assert OWN["volumes"][0] in pod["volumes"]
    assert OWN["volumeMounts"][0] in container["volumeMounts"]
    assert container["envFrom"] == OWN["envFrom"]
    assert {"name": "DB_PASSWORD", **OWN["env"]["DB_PASSWORD"]} in container["env"]
    assert {"name": "MYSQL_USER", "value": "sid"} in container["env"]
    assert container["resources"]["limits"]["ephemeral-storage"] == "22Gi"
    other = chart_kit.find(items, "CronJob", "sid-dim-plane")["spec"]["jobTemplate"]
    assert other["spec"]["template"]["spec"]["priorityClassName"] == "batch"
    assert "affinity" not in other["spec"]["template"]["spec"]


def test_a_thousand_transfers_of_one_hour_do_not_start_at_once(helm: chart_kit.Helm) -> None:
    content = yaml.safe_dump({"transfers": {f"t{n}": {"schedule": "H 3 * * *"} for n in range(99)}})
    made = [
        [item["spec"]["schedule"] for item in chart_kit.objects(helm.render(
            {"config": {"content": content}})) if "tmg-etl/transfer" in item["metadata"].get(
                "annotations", {})]
        for _ in range(2)
    ]  # fmt: skip
    assert made[0] == made[1]
    assert all(re.fullmatch(r"[0-5]?[0-9] 3 \* \* \*", schedule) for schedule in made[0])
    assert len({*made[0]}) > 30


def test_two_releases_never_make_one_name(helm: chart_kit.Helm) -> None:
    names = [
        {item["metadata"]["name"] for item in chart_kit.objects(helm.render(
            {"config": {"content": f'transfers: {{{transfer}: {{schedule: "1 2 * * *"}}}}'}},
            release=release)) if item["kind"] == "CronJob"}
        for release, transfer in (("sid", "dev_x"), ("sid-dev", "x"))
    ]  # fmt: skip
    assert not names[0] & names[1]
    assert name.cronjob("sid-dev", "x") in names[1]


def test_the_proxy_is_a_native_sidecar() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values(**FULL)))
    for pod in chart_kit.pod_specs(items):
        (proxy,) = pod["initContainers"]
        assert proxy["restartPolicy"] == "Always"
        assert proxy["startupProbe"]["httpGet"]["path"] == "/startup"
        assert {"--exit-zero-on-sigterm", "--private-ip", "--auto-iam-authn", "p:r:i"} <= {
            *proxy["args"]
        }


def test_large_numbers_stay_integers() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm3"].render(chart_kit.values(**FULL)))
    job = chart_kit.find(items, "Job")
    assert job["spec"]["activeDeadlineSeconds"] == 2592000


def test_the_config_reaches_the_pod_as_it_was_written(helm: chart_kit.Helm) -> None:
    odd = chart_kit.CONFIG + "# ünïcode, \"quotes\", 'more', <tags> & tabs\t, a colon: here\n"
    items = chart_kit.objects(helm.render(chart_kit.values(config={"content": odd})))
    assert chart_kit.find(items, "ConfigMap")["data"]["config.yaml"] == odd


def test_pods_read_a_config_in_a_bucket_while_the_chart_sees_its_schedules() -> None:
    values = chart_kit.values(config={"location": "gs://b/config.yaml"})
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(values))
    assert not [item for item in items if item["kind"] == "ConfigMap"]
    cron = chart_kit.find(items, "CronJob", "sid-fact-flight")
    container = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert "gs://b/config.yaml" in container["args"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]


def test_a_one_off_job_gets_another_name_with_another_template(helm: chart_kit.Helm) -> None:
    run = {"transfer": "dim_airline", "executionDate": "20240101"}
    names = [
        chart_kit.find(
            chart_kit.objects(helm.render(chart_kit.values(run=run, image={"tag": tag}))), "Job"
        )["metadata"]["name"]
        for tag in ("1.0.0", "1.0.0", "1.0.1")
    ]
    assert names[0] == names[1] != names[2]


def test_no_key_is_in_what_is_rendered() -> None:
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values(**FULL)))
    assert not [item for item in items if item["kind"] == "Secret"]


@pytest.mark.parametrize("length", [1, 30, 40, 41, 48, 49, 50, 60, 63, 200])
def test_names_fit_at_the_edge_and_stay_different(length: int) -> None:
    transfers = ["t" * (length - 1) + letter for letter in "ab"]
    content = yaml.safe_dump(
        {
            "transfers": {
                transfer: {"schedule": "1 2 * * *", "source": {}, "target": {}}
                for transfer in transfers
            }
        }
    )
    values = {
        "config": {"content": content},
        "run": {"transfer": transfers[0], "executionDate": "20240101"},
    }
    items = chart_kit.objects(chart_kit.ENGINES["helm4"].render(values, release="sid"))
    crons = [item["metadata"]["name"] for item in items if item["kind"] == "CronJob"]
    assert len(set(crons)) == len(crons) == 4
    assert {*crons} == {name.cronjob("sid", suffix) for suffix in (*transfers, "run", "backfill")}
    assert all(len(cron) <= name.CRONJOB_LENGTH for cron in crons)
    assert len(chart_kit.find(items, "Job")["metadata"]["name"]) <= name.LABEL_LENGTH
    for item in items:
        for value in item["metadata"]["labels"].values():
            assert re.fullmatch(r"[a-z0-9A-Z]([-a-z0-9A-Z._]{0,61}[a-z0-9A-Z])?", value)


@pytest.mark.parametrize("release", ["s", "s-t", "r" * 40, "r" * 52, "r" * 53])
@pytest.mark.parametrize("transfer", ["Fact Flight", "fact.flight", "über", "_x_", "ok"])
def test_the_launcher_knows_the_names_that_the_chart_makes(release: str, transfer: str) -> None:
    content = yaml.safe_dump({"transfers": {transfer: {"schedule": "1 2 * * *"}}})
    items = chart_kit.objects(
        chart_kit.ENGINES["helm4"].render({"config": {"content": content}}, release=release)
    )
    chart_kit.find(items, "CronJob", name.cronjob(release, transfer))
    assert len(name.job(release, transfer, "facts")) <= name.LABEL_LENGTH - 11


def test_alerts_are_about_this_release_and_lead_to_what_to_do(helm: chart_kit.Helm) -> None:
    assert "PrometheusRule" not in {
        item["kind"] for item in chart_kit.objects(helm.render(chart_kit.values()))
    }
    values = chart_kit.values(**FULL, cron={"startingDeadlineSeconds": 600})
    rule = chart_kit.find(chart_kit.objects(helm.render(values)), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    expressions = {item["alert"]: item["expr"] for item in group["rules"]}
    assert expressions.keys() == {"TransferFailed", "TransferLate", "TransferNotStarted"}
    for item in group["rules"]:
        named = re.findall(r"kube_\w+\{([^}]*)\}", item["expr"])
        assert named
        assert all(re.match(r'namespace="etl",(job_name|cronjob)=~"sid-\.\+"', it) for it in named)
        assert item["expr"].count("(") == item["expr"].count(")")
        assert item["labels"] == {"severity": "warning"}
        assert item["annotations"]["runbook_url"] == "https://docs.example.org/failure"
        assert "{{ $labels." in item["annotations"]["summary"]
    # A retry's failed pod is no failed Job.
    assert 'condition="true"' in expressions["TransferFailed"]
    assert " > 21600 and on (namespace, cronjob) " in expressions["TransferLate"]
    assert expressions["TransferNotStarted"].endswith("> 600")


def test_who_deploys_may_make_everything_that_is_rendered() -> None:
    roles = list(yaml.safe_load_all((chart_kit.CHART / "roles.yaml").read_text()))
    for role in roles:
        chart_kit.validate(role)
    (deployer,) = [role for role in roles if role["metadata"]["name"] == "sid-deployer"]
    allowed = {
        (group, resource)
        for rule in deployer["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if {"get", "list", "watch", "create", "patch", "delete"} <= {*rule["verbs"]}
    }
    made = {("", "secrets")}  # Helm's own
    for over in (FULL, MANAGER):
        for item in chart_kit.objects(chart_kit.ENGINES["helm4"].render(chart_kit.values(**over))):
            group = item["apiVersion"].rpartition("/")[0]
            kind = item["kind"].lower()
            plural = {"networkpolicy": "networkpolicies"}.get(kind, f"{kind}s")
            plural = plural.replace("classs", "classes")
            made.add((group, plural))
    assert made == allowed


def test_the_notes_name_what_is_scheduled() -> None:
    rendered = chart_kit.ENGINES["helm4"].render(chart_kit.values())
    notes = rendered["sidpublisherjob/templates/NOTES.txt"]
    assert "2 scheduled" in notes
    assert 'fact_flight (delta) at "17 4 * * *" Etc/UTC' in notes
    grouped = chart_kit.ENGINES["helm4"].render({"config": {"content": GROUPED}})
    notes = grouped["sidpublisherjob/templates/NOTES.txt"]
    assert 'nightly (dim_plane, fact_flight; delta) at "5 3 * * *" Etc/UTC' in notes


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((chart_kit.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__.__version__


def test_the_values_are_few_and_each_is_documented() -> None:
    text = (chart_kit.CHART / "values.yaml").read_text()
    assert len(text.splitlines()) < 150
    schema = yaml.safe_load((chart_kit.CHART / "values.schema.json").read_text())
    values = yaml.safe_load(text)
    assert schema["properties"].keys() - {"global"} == values.keys()
    templates = "".join(
        path.read_text() for path in pathlib.Path(chart_kit.CHART, "templates").rglob("*.*")
    )
    for section, value in values.items():
        inner = schema["properties"][section].get("properties")
        if inner:
            assert inner.keys() == value.keys(), section
        assert section in templates


def test_the_chart_that_travels_with_an_image_is_one_to_helm(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "sidpublisherjob.tgz"
    file.write_bytes(chart.package(chart_kit.ROOT).data)
    helm = chart_kit.Helm3()
    shown = helm.command("show", "chart", str(file))
    about = yaml.safe_load(shown.stdout)
    assert (about["name"], about["version"]) == ("sidpublisherjob", __version__.__version__)
    values = chart_kit.values()
    made = helm.command("template", "sid", str(file), "--kube-version", "1.29", values=values)
    assert made.returncode == 0, made.stderr
    assert "kind: CronJob" in made.stdout
