"""The chart and the launcher on a real cluster: what its controllers and nodes make of them."""

from __future__ import annotations

import copy
import datetime
import subprocess

from tests.chart import chart_kit
from tests.cluster import cluster_kit
from tmg_etl import errors
from tmg_etl.launch import cluster, diagnosis, job, manifest, pod, session


def test_the_charts_own_test_passes(site: cluster_kit.Site) -> None:
    command = [chart_kit.HELM3, "test", site.session.release, "--namespace", site.namespace]
    context = site.session.places.kubectl_context
    done = subprocess.run(
        [*command, "--kube-context", str(context)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Phase:          Succeeded" in done.stdout


def test_a_run_publishes_and_its_log_is_followed(site: cluster_kit.Site) -> None:
    assert site.run("good") == errors.EXIT_OK
    assert any("fingerprint equal" in line for line in site.said)
    assert diagnosis.condition(site.job_of("good"), "Complete")


def test_what_no_retry_mends_makes_one_pod(site: cluster_kit.Site) -> None:
    assert site.run("wrong") == errors.EXIT_CONFIG
    assert cluster_kit.exit_codes(site.pods_of("wrong")) == [errors.EXIT_CONFIG]
    failed = diagnosis.condition(site.job_of("wrong"), "Failed")
    assert failed is not None
    assert failed["reason"] == "PodFailurePolicy"


def test_what_may_mend_itself_is_retried(site: cluster_kit.Site) -> None:
    assert site.run("away") == errors.EXIT_TEMPORARY
    # `values-local.yaml` allows one retry.
    pods = site.pods_of("away")
    assert cluster_kit.exit_codes(pods) == [errors.EXIT_TEMPORARY] * 2
    # It ran with what the values say of this transfer alone.
    limits = [found["spec"]["containers"][0]["resources"]["limits"] for found in pods]
    assert [limit["memory"] for limit in limits] == ["640Mi"] * 2


def test_a_job_with_a_sidecar_ends_with_its_container(site: cluster_kit.Site) -> None:
    proxied = chart_kit.Helm3().render(
        {
            "config": {"content": (cluster_kit.HERE / "config.yaml").read_text()},
            "sqlProxy": {"enabled": True, "instance": "a:b:c"},
        }
    )
    sidecar = next(
        item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"][0]
        for item in chart_kit.objects(proxied)
        if item["kind"] == "CronJob"
    )
    body = site.body("good")
    spec = body["spec"]["template"]["spec"]
    sidecar |= {
        "image": spec["containers"][0]["image"],
        "imagePullPolicy": spec["containers"][0]["imagePullPolicy"],
        "command": ["python3", "-c", cluster_kit.SIDECAR],
        "args": [],
    }
    spec["initContainers"] = [sidecar]
    body["metadata"]["name"] += "-proxied"
    ended, failure = site.watch(body)
    assert failure is None
    (found,) = site.place.pods(cluster.of_job(ended["metadata"]["name"]))
    (status,) = found["status"]["containerStatuses"]
    finished = cluster_kit.at(status["state"]["terminated"]["finishedAt"])
    complete = cluster_kit.at(ended["status"]["completionTime"])
    assert complete - finished < datetime.timedelta(seconds=30)


def test_a_poisoned_window_fails_alone(site: cluster_kit.Site) -> None:
    first, last = datetime.date(2024, 1, 1), datetime.date(2024, 1, 5)
    code = session.backfill(site.session, "windowed", first, last, parallelism=2)
    assert code == errors.EXIT_DATA
    ended = site.job_of("windowed")
    assert ended["status"]["completedIndexes"] == "0,1,3,4"
    assert ended["status"]["failedIndexes"] == "2"
    assert site.said[-1].endswith("--from 20240101 --to 20240105 --step 1d --only 2")


def test_a_pod_that_needs_too_much_memory_is_named(site: cluster_kit.Site) -> None:
    body = site.body("good")
    body["metadata"]["name"] += "-small"
    body["spec"]["backoffLimit"] = 0
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = copy.deepcopy(container["resources"])
    for kind in ("requests", "limits"):
        container["resources"][kind]["memory"] = "24Mi"
    _, failure = site.watch(body)
    assert isinstance(failure, diagnosis.Diagnosis)
    assert failure.kind is diagnosis.Kind.OOM_KILLED
    assert "24Mi" in str(failure)


def test_an_image_that_is_not_there_is_given_up(site: cluster_kit.Site) -> None:
    body = site.body("good")
    body["metadata"]["name"] += "-imageless"
    container = body["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": f"{container['image']}-missing", "imagePullPolicy": "Never"}
    ended, failure = site.watch(body)
    assert isinstance(failure, diagnosis.Diagnosis)
    assert failure.kind is diagnosis.Kind.IMAGE_PULL
    name = ended["metadata"]["name"]
    cluster_kit.wait_until(lambda: cluster_kit.is_gone(site, name), "the Job to be removed")


def test_a_schedule_starts_a_run_for_the_day_before(site: cluster_kit.Site) -> None:
    (name,) = (
        item["metadata"]["name"]
        for item in site.place.cronjobs(f"{manifest.TRANSFER}=good")
        if manifest.TEMPLATE not in item["metadata"]["labels"]
    )
    every_minute = '{"spec": {"schedule": "* * * * *", "suspend": false}}'
    never = '{"spec": {"suspend": true}}'
    place = ("--namespace", site.namespace)
    cluster_kit.kubectl(*place, "patch", "cronjob", name, "--patch", every_minute)

    def started() -> list[cluster.Object]:
        found = site.place.jobs(f"{manifest.TRANSFER}=good")
        return [item for item in found if item["metadata"].get("ownerReferences")]

    cluster_kit.wait_until(lambda: bool(started()), "the schedule to start a Job")
    cluster_kit.kubectl(*place, "patch", "cronjob", name, "--patch", never)
    made = started()[0]
    _, failure = job.watch(
        site.place, made["metadata"]["name"], site.said.append, pace=site.session.pace
    )
    assert failure is None
    minute = pod.scheduled_at(made["metadata"]["name"])
    assert minute is not None
    day = minute.date() - datetime.timedelta(days=1)
    assert any(f"truncate, {day}" in line for line in site.said)


def test_a_second_launch_attaches_and_a_cancelled_run_ends_in_order(
    site: cluster_kit.Site,
) -> None:
    made, was_there = job.start(site.place, site.body("endless"))
    assert not was_there
    name = made["metadata"]["name"]
    again, was_there = job.start(site.place, site.body("endless"))
    assert was_there
    assert again["metadata"]["uid"] == made["metadata"]["uid"]

    def is_loading() -> bool:
        pods = site.place.pods(cluster.of_job(name))
        return bool(pods) and pods[0]["status"]["phase"] == "Running"

    cluster_kit.wait_until(is_loading, "the pod to run")
    command = ["kubectl", *cluster_kit.context_options(), "--namespace", site.namespace]
    command += ["logs", "--follow", f"job/{name}", "--container", manifest.CONTAINER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout is not None
        # The signal is for a run that is at work, not for a Python that starts.
        assert "starts" in log.stdout.readline()
        session.cancel(site.session, name)
        assert "stopped" in log.communicate(timeout=60)[0]
    assert site.said[-1] == f"{name} is gone"
