"""From the chart to the table without a cluster: what a rendered container says is run."""

from __future__ import annotations

import datetime
import os
import pathlib
import subprocess
import sys

import duckdb
import pytest

from tests.chart import chart_kit
from tests.launch import api_kit
from tmg_etl import run
from tmg_etl.config import loader
from tmg_etl.launch import backfill, manifest, window

CONFIG = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///s.duckdb"}
transfers:
  fact:
    source: {connection: lake, table: facts, columns: {day: date, id: string}}
    target: {connection: serving, table: fact}
    key: [id]
    delta: {cursor: day}
    schedule: "17 4 * * *"
"""
AT = datetime.datetime(2024, 1, 3, 4, 17, tzinfo=datetime.UTC)


@pytest.fixture
def api(tmp_path: pathlib.Path) -> api_kit.Api:
    """Templates of a release whose pods read the config where this test has put it."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "facts.csv").write_text(
        "id,day\na,2024-01-01\nb,2024-01-02\nc,2024-01-03\n"
    )
    (tmp_path / "config.yaml").write_text(CONFIG)
    made = api_kit.Api()
    made.server.server_close()
    made.install(config={"content": CONFIG, "location": str(tmp_path / "config.yaml")})
    return made


def run_container(spec: api_kit.Object, folder: pathlib.Path, **environ: str) -> int:
    """Run the command of a pod's container with its arguments, as the kubelet does."""
    container = spec["template"]["spec"]["containers"][0]
    # The image's entry point.
    words = [*container.get("command", ["pipeline"]), *container["args"]]
    python = pathlib.Path(sys.executable).parent
    path = f"{python}:{os.environ['PATH']}"
    done = subprocess.run(
        words, env={**os.environ, "PATH": path, **environ}, cwd=folder, check=False, timeout=60
    )
    return done.returncode


def rows(folder: pathlib.Path, table: str = "fact") -> list[str]:
    with duckdb.connect(str(folder / "s.duckdb")) as database:
        return [row[0] for row in database.execute(f"SELECT id FROM {table} ORDER BY 1").fetchall()]


def test_a_scheduled_pod_publishes_the_day_before_its_schedule(
    api: api_kit.Api, tmp_path: pathlib.Path
) -> None:
    spec = api.cronjobs["sid-fact"]["spec"]["jobTemplate"]["spec"]
    name = f"sid-fact-{int(AT.timestamp()) // 60}"
    assert run_container(spec, tmp_path, JOB_NAME=name) == 0
    assert rows(tmp_path) == ["b"]


def test_a_run_made_from_the_template_publishes(api: api_kit.Api, tmp_path: pathlib.Path) -> None:
    day = datetime.date(2024, 1, 3)
    job = manifest.run_job(api.cronjobs["sid-run"], "fact", day, run.WriteMode.TRUNCATE)
    chart_kit.validate(job)
    assert run_container(job["spec"], tmp_path) == 0
    assert rows(tmp_path) == ["a", "b", "c"]


def test_each_pod_of_a_backfill_publishes_its_window(
    api: api_kit.Api, tmp_path: pathlib.Path
) -> None:
    span = run.Window(datetime.date(2024, 1, 1), datetime.date(2024, 1, 3))
    job = manifest.backfill_job(
        api.cronjobs["sid-backfill"],
        "fact",
        span,
        window.Step(1, "d"),
        [0, 2],
        only=True,
        parallelism=None,
        is_ordered=False,
    )
    chart_kit.validate(job)
    for index in ("1", "0"):
        assert run_container(job["spec"], tmp_path, JOB_COMPLETION_INDEX=index) == 0
    assert rows(tmp_path) == ["a", "c"]
    assert backfill.windows_of(job)[1] == [0, 2]


GROUPED = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///s.duckdb"}
transfers:
  fact:
    publish_group: nightly
    source: {connection: lake, table: facts, columns: {day: date, id: string}}
    target: {connection: serving, table: fact}
    key: [id]
    delta: {cursor: day}
    schedule: "17 4 * * *"
  dim:
    publish_group: nightly
    source: {connection: lake, query: "SELECT DISTINCT id FROM facts"}
    target: {connection: serving, table: dim}
    key: [id]
"""


def test_pods_of_a_group_publish_all_its_members(api: api_kit.Api, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(GROUPED)
    api.cronjobs.clear()
    api.install(config={"content": GROUPED, "location": str(config)})
    spec = api.cronjobs["sid-nightly"]["spec"]["jobTemplate"]["spec"]
    assert run_container(spec, tmp_path, JOB_NAME=f"sid-nightly-{int(AT.timestamp()) // 60}") == 0
    assert (rows(tmp_path), rows(tmp_path, "dim")) == (["b"], ["a", "b", "c"])
    span = run.Window(datetime.date(2024, 1, 1), datetime.date(2024, 1, 3))
    members = backfill.members(loader.load(str(config)), "nightly")
    wanted = backfill.plan("nightly", members, "local", span.start, span.end, step="3d")
    job = backfill.body(api.cronjobs["sid-backfill"], wanted)
    chart_kit.validate(job)
    assert run_container(job["spec"], tmp_path, JOB_COMPLETION_INDEX="0") == 0
    assert rows(tmp_path) == ["a", "b", "c"]
    alone = manifest.run_job(api.cronjobs["sid-run"], "fact", span.end, run.WriteMode.TRUNCATE)
    code = run_container(alone["spec"], tmp_path)
    assert code in alone["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]


def test_an_unknown_transfer_ends_the_pod_with_the_code_that_fails_the_job(
    api: api_kit.Api, tmp_path: pathlib.Path
) -> None:
    day = datetime.date(2024, 1, 3)
    job = manifest.run_job(api.cronjobs["sid-run"], "fcat", day, run.WriteMode.TRUNCATE)
    code = run_container(job["spec"], tmp_path)
    fatal = job["spec"]["podFailurePolicy"]["rules"][1]
    assert fatal["action"] == "FailJob"
    assert code in fatal["onExitCodes"]["values"]
