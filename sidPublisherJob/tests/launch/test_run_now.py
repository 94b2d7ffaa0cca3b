"""Runs over HTTP: the Job that is made, its logs, its end, Ctrl-C, and what goes wrong before."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from tests.chart import chart_kit
from tests.launch import api_kit
from tmg_etl import errors, run
from tmg_etl.launch import cluster, manifest, session

DAY = datetime.date(2024, 1, 31)
TRUNCATE, DELTA = run.WriteMode.TRUNCATE, run.WriteMode.DELTA
STAMP = "2026-01-02T03:04:05.{:09}Z {}"


def start(dev: session.Session, transfer: str = "fact_flight") -> int:
    return session.run_now(dev, transfer, DAY, DELTA)


def succeed(api: api_kit.Api) -> None:
    def on_job(job: api_kit.Object) -> None:
        name = job["metadata"]["name"]
        api.pods["p"] = api_kit.pod("p", name, state=api_kit.terminated(0), phase="Succeeded")
        api.logs["p"] = [[STAMP.format(1, "published")]]
        api.finish(job)

    api.on_job = on_job


def fail(api: api_kit.Api, code: int, reason: str = "PodFailurePolicy") -> None:
    def on_job(job: api_kit.Object) -> None:
        name = job["metadata"]["name"]
        state = api_kit.terminated(code, message="pipeline: error: it says why")
        api.pods["p"] = api_kit.pod("p", name, phase="Failed", state=state)
        api.finish(job, "Failed", reason)

    api.on_job = on_job


def test_a_run_prints_its_log_and_ends_with_0(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    succeed(api)
    assert start(dev) == 0
    assert "published" in said
    assert said[-1].endswith("succeeded")
    assert any("kubectl --namespace etl logs" in line for line in said)
    assert any("gcloud logging read --project acme" in line for line in said)


def test_the_job_is_the_charts_template_with_the_runs_arguments(
    dev: session.Session, api: api_kit.Api
) -> None:
    succeed(api)
    session.run_now(dev, "fact_flight", DAY, DELTA, delta_start_date=datetime.date(2024, 1, 1))
    (body,) = api.bodies
    chart_kit.validate(body)
    template = api.cronjobs["sid-run"]["spec"]["jobTemplate"]["spec"]
    container = body["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == [
        *("20240131", "fact_flight", "delta", "/etc/tmg_etl/config.yaml"),
        *("--delta_start_date", "20240101", "--env", "local"),
    ]
    assert "command" not in container
    assert body["spec"]["podFailurePolicy"] == template["podFailurePolicy"]
    assert body["metadata"]["labels"][manifest.TRANSFER] == "fact-flight"
    assert body["metadata"]["annotations"][manifest.TRANSFER] == "fact_flight"


OWN = {
    "resources": {"limits": {"memory": "8Gi"}},
    "activeDeadlineSeconds": 400000,
}


@pytest.mark.parametrize("transfer", ["fact_flight", "dim_airline"])
def test_a_run_has_the_resources_and_the_deadline_that_its_schedule_has(
    dev: session.Session, api: api_kit.Api, said: list[str], transfer: str
) -> None:
    """A transfer without a schedule has them too."""
    succeed(api)
    api.install(transfers={transfer: OWN})
    assert session.run_now(dev, transfer, DAY, DELTA) == 0
    day = datetime.date(2024, 1, 1)
    free = chart_kit.CONFIG.replace(
        "dim_airline}", "dim_airline}\n    key: [id]\n    delta: {cursor: day}"
    )
    (dev.root / "config.yaml").write_text(free)
    assert session.backfill(dev, transfer, day, day) == 0
    assert session.run_now(dev, "dim_plane", DAY, TRUNCATE) == 0
    made = [
        (
            body["spec"]["activeDeadlineSeconds"],
            body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"],
        )
        for body in api.bodies
    ]
    assert made == [(400000, "8Gi"), (400000, "8Gi"), (14400, "1Gi")]
    commands = [body["spec"]["template"]["spec"]["containers"][0] for body in api.bodies]
    assert [item.get("command") for item in commands] == [
        None, ["python3", "-m", "tmg_etl.launch.pod"], None,
    ]  # fmt: skip
    shown = [item.transfer for item in session.status(dev).schedules]
    assert shown == ["dim_plane", "fact_flight"]


@pytest.mark.parametrize(
    ("transfer", "values", "expected"),
    [
        ("fact_flight", {}, "delta"),
        ("dim_airline", {}, "truncate"),
        ("fact_flight", {"transfers": {"fact_flight": {"writeMode": "truncate"}}}, "truncate"),
    ],
)
def test_the_mode_is_the_deployed_one_and_said(
    dev: session.Session,
    api: api_kit.Api,
    said: list[str],
    transfer: str,
    values: dict[str, object],
    expected: str,
) -> None:
    succeed(api)
    api.install(**values)
    assert session.run_now(dev, transfer, DAY) == 0
    (body,) = api.bodies
    assert body["spec"]["template"]["spec"]["containers"][0]["args"][2] == expected
    assert f"  {expected}, as deployed" in said


@pytest.mark.parametrize(
    ("transfer", "mode", "values", "words"),
    [
        ("fact_fligth", DELTA, {}, "nothing called 'fact_fligth'; did you mean `fact_flight`"),
        ("dim_airline", None, {}, "a start date has no meaning in the mode truncate"),
        (
            "fact_flight",
            None,
            {
                "config": {"content": "", "location": "gs://b/c.yaml"},
                "transfers": {"fact_flight": {"schedule": "1 2 * * *"}},
            },
            "does not say in which mode.*give --write-mode",
        ),
    ],
)
def test_what_the_release_does_not_run_is_not_started(
    dev: session.Session,
    api: api_kit.Api,
    transfer: str,
    mode: run.WriteMode | None,
    values: dict[str, object],
    words: str,
) -> None:
    api.install(**values)
    with pytest.raises(errors.UsageError, match=words):
        session.run_now(dev, transfer, DAY, mode, delta_start_date=DAY)
    assert not api.jobs


@pytest.mark.parametrize("code", [65, 75, 137, 3])
def test_the_exit_code_is_the_jobs(
    dev: session.Session, api: api_kit.Api, said: list[str], code: int
) -> None:
    fail(api, code)
    assert start(dev) == code
    assert "it says why" in said[-1]


def test_dry_run_prints_the_job_and_creates_nothing(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    assert session.run_now(dev, "fact_flight", DAY, DELTA, dry_run=True) == 0
    assert json.loads(said[0])["kind"] == "Job"
    assert not api.jobs


def test_a_second_launch_of_the_same_run_attaches(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(start(dev)), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    api_kit.eventually(lambda: sum("attached to" in line for line in said) == 2)
    (job,) = api.jobs.values()
    api.finish(job)
    for thread in threads:
        thread.join(30)
    assert codes == [0, 0, 0]
    assert len(api.bodies) == 1


def test_another_day_or_another_image_is_another_run(
    dev: session.Session, api: api_kit.Api
) -> None:
    succeed(api)
    session.run_now(dev, "fact_flight", DAY, DELTA)
    session.run_now(dev, "fact_flight", DAY, TRUNCATE)
    session.run_now(dev, "dim_plane", DAY, TRUNCATE)
    api.install(image={"tag": "9.9.9"})
    session.run_now(dev, "fact_flight", DAY, DELTA)
    assert len(api.jobs) == 4
    assert all(len(name) <= 52 for name in api.jobs)


def test_a_run_that_has_ended_is_started_again_under_the_next_name(
    dev: session.Session, api: api_kit.Api
) -> None:
    fail(api, 75, "BackoffLimitExceeded")
    assert start(dev) == 75
    succeed(api)
    assert start(dev) == 0
    first, second = sorted(api.jobs)
    assert second == f"{first}-2"


def test_logs_go_on_where_a_cut_stream_ended_and_repeat_nothing(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    lines = [STAMP.format(number // 2, f"line {number}") for number in range(6)]
    api.logs["p"] = [[*lines[:3], "CUT"], [*lines[1:4], "CUT"], lines[2:]]

    def on_job(job: api_kit.Object) -> None:
        name = job["metadata"]["name"]
        api.pods["p"] = api_kit.pod("p", name, state=api_kit.running())

    def on_read(job: api_kit.Object, times: int) -> None:
        if times == 12:
            api.pods["p"]["status"]["containerStatuses"][0]["state"] = api_kit.terminated(0)
            api.finish(job)

    api.on_job, api.on_read = on_job, on_read
    assert start(dev) == 0
    assert [line for line in said if line.startswith("line")] == [f"line {n}" for n in range(6)]
    asked = [path for _, path in api.requests if "/log?" in path]
    assert "sinceSeconds" not in asked[0]
    assert "sinceSeconds" in asked[1]


def test_the_last_lines_of_a_slow_log_are_waited_for(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    succeed(api)
    finish = api.on_job

    def on_job(job: api_kit.Object) -> None:
        finish(job)
        api.logs["p"] = [["WAIT 1.2", STAMP.format(1, "the last line")]]

    api.on_job = on_job
    assert start(dev) == 0
    assert "the last line" in said


def test_the_logs_of_a_retry_are_followed_too(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        name = job["metadata"]["name"]
        first = api_kit.pod("a", name, phase="Failed", state=api_kit.terminated(75))
        api.pods |= {"a": first, "b": api_kit.pod("b", name, state=api_kit.terminated(0))}
        api.logs |= {"a": [[STAMP.format(1, "busy")]], "b": [[STAMP.format(2, "published")]]}
        api.finish(job)

    api.on_job = on_job
    assert start(dev) == 0
    assert {"busy", "published"} <= {*said}


def test_a_bad_image_is_told_and_given_up(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        state = api_kit.waiting("ImagePullBackOff", "manifest unknown")
        api.pods["p"] = api_kit.pod("p", job["metadata"]["name"], phase="Pending", state=state)

    api.on_job = on_job
    assert start(dev) == errors.EXIT_CONFIG
    assert sum("ImagePull: p: r/sid:1 cannot be pulled" in line for line in said) == 2
    assert ("DELETE", next(path for verb, path in api.requests if verb == "DELETE")) in api.requests


def test_a_cluster_that_is_away_for_a_moment_changes_nothing(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        succeed(api)
        api.on_job(job)
        api.failures += [503, 429]

    api.on_job = on_job
    assert start(dev) == 0
    assert sum("waiting for the cluster" in line for line in said) == 1


def test_a_namespace_that_is_missing_is_named(dev: session.Session, said: list[str]) -> None:
    lost = session.Session(dev.root, "lost", said.append, dev.pace)
    with pytest.raises(errors.ConfigError, match="no namespace 'nowhere'"):
        start(lost)


def test_a_release_that_is_missing_is_named(dev: session.Session, api: api_kit.Api) -> None:
    api.cronjobs.clear()
    with pytest.raises(errors.ConfigError, match="no release 'sid'.*deploy it first"):
        start(dev)


def test_a_context_that_is_missing_is_named(dev: session.Session, said: list[str]) -> None:
    away = session.Session(dev.root, "away", said.append, dev.pace)
    with pytest.raises(errors.ConfigError, match="other"):
        start(away)


def test_a_cluster_that_nobody_answers_for_is_temporary(
    dev: session.Session, api: api_kit.Api
) -> None:
    api.server.shutdown()
    api.server.server_close()
    with pytest.raises(errors.TemporaryError, match="cannot be reached"):
        start(dev)
    # What the fixture ends is this server again.
    api.server = type(api.server)(("127.0.0.1", 0), api.server.RequestHandlerClass)
    api.thread = threading.Thread(target=api.server.serve_forever, daemon=True)
    api.thread.start()


@pytest.mark.parametrize(("status", "kind"), [(401, errors.AccessError), (403, errors.AccessError)])
def test_missing_rights_are_access_errors(
    dev: session.Session, api: api_kit.Api, status: int, kind: type[errors.TmgEtlError]
) -> None:
    api.failures.append(status)
    with pytest.raises(kind) as caught:
        start(dev)
    assert caught.value.hint


def test_cancel_ends_the_job_in_order_and_waits(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    place = api.connect()
    template = api.cronjobs["sid-run"]
    name = place.create_job(manifest.run_job(template, "dim_plane", DAY, TRUNCATE))["metadata"][
        "name"
    ]
    assert session.cancel(dev, name) == 0
    assert not api.jobs
    assert said[-1] == f"{name} is gone"
    with pytest.raises(errors.UsageError, match="has no Job"):
        session.cancel(dev, name)


def test_logs_attach_to_the_latest_job(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    succeed(api)
    start(dev)
    said.clear()
    assert session.logs(dev) == 0
    assert "published" in said
    with pytest.raises(errors.UsageError, match="has no Job x"):
        session.logs(dev, "x")


def test_deleting_the_job_ends_the_watch(dev: session.Session, api: api_kit.Api) -> None:
    api.on_read = lambda job, times: (
        api.jobs.pop(job["metadata"]["name"], None) if times == 3 else None  # type: ignore[func-returns-value]
    )
    with pytest.raises(cluster.NotFoundError):
        start(dev)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_detaches_and_twice_cancels(
    dev: session.Session, api: api_kit.Api, tmp_path: pathlib.Path, times: int
) -> None:
    script = tmp_path / "launch.py"
    script.write_text(
        textwrap.dedent(
            """
            import datetime, pathlib, sys
            from tmg_etl import run
            from tmg_etl.launch import job, session
            pace = job.Pace(poll_s=0.05, second_s=3.0 if sys.argv[2] == "2" else 0.5)
            dev = session.Session(pathlib.Path(sys.argv[1]), "dev", pace=pace)
            day = datetime.date(2024, 1, 31)
            sys.exit(session.run_now(dev, "dim_plane", day, run.WriteMode.TRUNCATE))
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(times)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    ) as process:
        assert process.stdout is not None
        deadline = threading.Timer(60, process.kill)
        deadline.daemon = True
        deadline.start()
        api_kit.eventually(lambda: api.reads.total() > 1, timeout_s=30)
        process.send_signal(signal.SIGINT)
        while not (line := process.stdout.readline()).startswith("detached"):
            assert line
        if times == 2:
            process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        deadline.cancel()
        assert process.wait(30) == errors.EXIT_SIGINT
    assert bool(api.jobs) == (times == 1)
    assert ("is gone" in rest) == (times == 2)
