"""`tmg-etl status` over HTTP: schedules with last success and next run, Jobs with why."""

from __future__ import annotations

import datetime
import json
import zoneinfo

import pytest

from tests.launch import api_kit
from tmg_etl.cli import people
from tmg_etl.launch import session, status

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)  # a Sunday


def add_job(api: api_kit.Api, name: str, transfer: str, **more: object) -> api_kit.Object:
    job: api_kit.Object = {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/instance": api_kit.RELEASE},
            "annotations": {"tmg-etl/transfer": transfer},
        },
        "spec": {"activeDeadlineSeconds": 60},
        "status": {"startTime": api_kit.STARTED, **more},
    }
    api.jobs[name] = job
    return job


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("17 4 * * *", "2026-03-02T04:17"),
        ("0 13 * * *", "2026-03-01T13:00"),
        ("0 12 * * *", "2026-03-02T12:00"),
        ("5 3 * * 1-5", "2026-03-02T03:05"),
        ("*/20 * * * *", "2026-03-01T12:20"),
        ("5/25 12 * * *", "2026-03-01T12:05"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * fri", "2026-03-06T00:00"),
        ("0 6 1 jan,jul *", "2026-07-01T06:00"),
    ],
)
def test_the_next_run_is_the_next_minute_that_fits(schedule: str, expected: str) -> None:
    found = status.next_run(schedule, datetime.UTC, NOW)
    assert f"{found:%Y-%m-%dT%H:%M}" == expected


def test_the_next_run_is_told_in_utc_from_the_schedules_zone() -> None:
    found = status.next_run("17 4 * * *", zoneinfo.ZoneInfo("Europe/Berlin"), NOW)
    assert f"{found:%Y-%m-%dT%H:%M}" == "2026-03-02T03:17"


def test_a_day_that_never_comes_is_no_next_run() -> None:
    with pytest.raises(ValueError, match="names no day"):
        status.next_run("0 0 31 2 *", datetime.UTC, NOW)


def test_a_release_is_shown_with_its_schedules_and_jobs(api: api_kit.Api) -> None:
    cron = api.cronjobs["sid-fact-flight"]
    cron["status"] = {"lastSuccessfulTime": "2026-03-01T04:20:00Z"}
    api.cronjobs["sid-dim-plane"]["spec"]["suspend"] = True
    api.finish(add_job(api, "done", "fact_flight"))
    api.finish(add_job(api, "bad", "dim_plane"), "Failed", "BackoffLimitExceeded")
    api.pods["p"] = api_kit.pod("p", "bad", phase="Failed", state=api_kit.terminated(78))
    add_job(api, "stuck", "dim_plane")
    state = api_kit.waiting("ErrImagePull")
    api.pods["q"] = api_kit.pod("q", "stuck", phase="Pending", state=state)
    add_job(api, "going", "dim_plane", active=1)
    found = status.read(api.connect(), api_kit.RELEASE, NOW)
    assert [
        (item.transfer, item.last_success_at, item.next_at, item.is_suspended)
        for item in found.schedules
    ] == [
        ("dim_plane", None, None, True),
        ("fact_flight", "2026-03-01T04:20:00Z", "2026-03-02T04:17:00Z", False),
    ]
    states = {item.name: (item.state, item.detail.partition(":")[0]) for item in found.jobs}
    assert states == {
        "done": ("succeeded", ""),
        "bad": ("failed", "ExitCode"),
        "stuck": ("waiting", "ImagePull"),
        "going": ("running", ""),
    }


def test_a_thousand_jobs_are_a_few_requests(api: api_kit.Api) -> None:
    for number in range(1200):
        job = add_job(api, f"j{number}", "dim_plane")
        if number % 3 == 0:
            api.finish(job)
        elif number % 3 == 1:
            api.finish(job, "Failed", "BackoffLimitExceeded")
            state = api_kit.terminated(78)
            api.pods[f"p{number}"] = api_kit.pod("p", f"j{number}", phase="Failed", state=state)
    found = status.read(api.connect(), api_kit.RELEASE, NOW)
    assert len(found.jobs) == 1200
    assert sum(item.detail.startswith("ExitCode") for item in found.jobs) == 400
    # CronJobs, three pages of Jobs, one of pods.
    assert len(api.requests) == 5


def test_a_backfill_is_shown_with_its_windows(dev: session.Session, api: api_kit.Api) -> None:
    api.on_job = api.finish
    day = datetime.date(2024, 1, 1)
    session.backfill(dev, "fact_flight", day, day + datetime.timedelta(days=3))
    (job,) = api.jobs.values()
    job["status"]["completedIndexes"] = "0-3"
    (found,) = session.status(dev).jobs
    assert found.detail == "windows: 4 of 4 done, 0 running"


def test_the_command_prints_it(
    dev: session.Session, api: api_kit.Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.finish(add_job(api, "done", "fact_flight"))
    words = ["status", "--context", "test", "--namespace", "etl", "--release", "sid"]
    assert people.main(words) == 0
    text = capsys.readouterr().out
    assert "fact_flight  17 4 * * * Etc/UTC" in text
    assert "done  fact_flight  succeeded" in text
    assert people.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"][0]["state"] == "succeeded"


def test_a_group_is_shown_with_its_members(
    dev: session.Session, api: api_kit.Api, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (
        'transfers: {dim: {publish_group: nightly, schedule: "17 4 * * *"},'
        " fact: {publish_group: nightly, delta: {cursor: day}}}"
    )
    api.cronjobs.clear()
    api.install(config={"content": content})
    (found,) = session.status(dev).schedules
    assert (found.transfer, found.members) == ("nightly", ("dim", "fact"))
    words = ["status", "--context", "test", "--namespace", "etl", "--release", "sid"]
    assert people.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("nightly   17 4 * * * Etc/UTC")
    assert lines[2:4] == ["  dim", "  fact"]


def test_the_command_takes_an_environment(
    dev: session.Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dev.root)
    assert people.main(["status", "--env", "dev"]) == 0
    assert "dim_plane" in capsys.readouterr().out
    assert people.main(["status", "--env", "nowhere"]) == 64
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--context", "test", "--namespace", "nowhere"], 78, "no namespace 'nowhere'"),
        (["--context", "other"], 78, "other"),
    ],
)
def test_what_is_missing_is_one_line(
    dev: session.Session,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    expected: str,
) -> None:
    assert people.main(["status", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
