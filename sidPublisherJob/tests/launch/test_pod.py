"""What a pod works out before it becomes `pipeline`."""

from __future__ import annotations

import datetime
import os
import pathlib
import subprocess
import sys

import pytest

from tmg_etl import errors
from tmg_etl.launch import pod

NOW = datetime.datetime(2031, 5, 6, 7, 8, tzinfo=datetime.UTC)
AT = datetime.datetime(2026, 3, 1, 0, 30, tzinfo=datetime.UTC)
MINUTES = int(AT.timestamp()) // 60
SCHEDULED = ["scheduled", "fact", "delta", "/etc/c.yaml", "--env", "prod"]
WINDOWS = [*("windows", "fact", "c.yaml", "--env", "dev", "--from", "20240101"), "--to", "20240301"]


def test_a_retry_after_midnight_works_on_the_day_that_was_scheduled() -> None:
    environ = {"JOB_NAME": f"sid-fact-{MINUTES}"}
    words = pod.command([*SCHEDULED, "--day-offset=-1"], environ, NOW)
    assert words == ["pipeline", "20260228", "fact", "delta", "/etc/c.yaml", "--env", "prod"]


def test_the_day_is_that_of_the_schedules_time_zone() -> None:
    environ = {"JOB_NAME": f"sid-fact-{MINUTES}"}
    words = pod.command([*SCHEDULED, "--time-zone", "America/New_York"], environ, NOW)
    assert words[1] == "20260228"


@pytest.mark.parametrize("name", ["", "by-hand", "sid-fact-20240101", "sid-fact-123", "x-99999999"])
def test_a_job_that_no_schedule_made_takes_the_clock(name: str) -> None:
    assert pod.command(SCHEDULED, {"JOB_NAME": name}, NOW)[1] == "20310506"


def test_each_index_is_one_window_in_every_try() -> None:
    months = [*WINDOWS, "--step", "1m"]
    words = [pod.command(months, {"JOB_COMPLETION_INDEX": str(i)}, NOW) for i in (0, 1, 1, 2)]
    assert words[1] == words[2]
    assert [(w[1], w[6]) for w in words] == [
        ("20240131", "20240101"),
        ("20240229", "20240201"),
        ("20240229", "20240201"),
        ("20240301", "20240301"),
    ]
    assert words[0][:6] == ["pipeline", "20240131", "fact", "delta", "c.yaml", "--delta_start_date"]


def test_a_rerun_of_some_windows_maps_indexes_to_those() -> None:
    some = [*WINDOWS, "--step", "1d", "--only", "3,7-8"]
    days = [pod.command(some, {"JOB_COMPLETION_INDEX": str(i)}, NOW)[1] for i in range(3)]
    assert days == ["20240104", "20240108", "20240109"]


@pytest.mark.parametrize("index", ["", "x", "61", "-1"])
def test_an_index_without_a_window_is_a_usage_error(index: str) -> None:
    with pytest.raises(errors.UsageError, match="expected 0 to 60"):
        pod.command(WINDOWS, {"JOB_COMPLETION_INDEX": index}, NOW)


@pytest.mark.parametrize("arguments", [[], ["other"], ["scheduled", "a", "both", "c"], WINDOWS[:5]])
def test_wrong_arguments_are_usage_errors(arguments: list[str]) -> None:
    with pytest.raises(errors.UsageError):
        pod.command(arguments, {}, NOW)


def test_an_unknown_time_zone_is_a_config_error() -> None:
    with pytest.raises(errors.ConfigError, match="no time zone 'Mars/Base'"):
        pod.command([*SCHEDULED, "--time-zone", "Mars/Base"], {}, NOW)


def test_the_process_becomes_pipeline_with_its_exit_code(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "pipeline"
    program.write_text('#!/bin/sh\necho "$@"\nexit 65\n')
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tmg_etl.launch.pod", *WINDOWS],
        env={**os.environ, "PATH": f"{tmp_path}:/bin", "JOB_COMPLETION_INDEX": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 65, done.stderr
    assert (
        done.stdout
        == "20240101 fact delta c.yaml --delta_start_date 20240101 --env dev --lock-wait-s 3600\n"
    )


def test_a_wrong_start_prints_one_line_and_ends_with_64() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tmg_etl.launch.pod", "windows"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == errors.EXIT_USAGE
    assert len(done.stderr.splitlines()) == 1
