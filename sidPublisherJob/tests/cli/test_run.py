"""Runs of `pipeline` in processes of their own: log lines, summary, failures, signals."""

import json
import os
import pathlib
import re
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from tests.cli import process

RUN = ("20130131", "sample", "truncate")
Sample = Callable[..., pathlib.Path]

RUN_FIELDS = {"run_id", "transfer", "execution_date", "write_mode", "env"}
PHASE_FIELDS = {"phase", "rows", "total_rows", "rows_per_s", "seconds", "is_finished"}


def check_line(line: dict[str, Any]) -> None:
    """Hold a JSON line to what Cloud Logging reads."""
    assert line["severity"] in ("INFO", "WARNING", "ERROR")
    assert line["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
    labels = line["logging.googleapis.com/labels"]
    assert labels == {"run_id": line["run_id"], "transfer": "sample"}
    assert set(line) >= RUN_FIELDS


def test_log_is_json_and_the_summary_is_one_object(
    pipeline: process.Runner, config: pathlib.Path
) -> None:
    done = pipeline(*RUN, config)
    assert done.code == 0
    for line in done.log:
        check_line(line)
    start, *phases = done.log
    assert start["message"] == f"sample: run {start['run_id']} starts, truncate, 2013-01-31"
    assert start["config_location"] == str(config)
    assert start["version"]
    assert [line["phase"] for line in phases] == ["read", "publish"]
    assert all(set(line) >= PHASE_FIELDS for line in phases)
    assert (phases[0]["rows"], phases[0]["total_rows"]) == (1000, 1000)
    assert all(line["is_finished"] for line in phases)
    (text,) = done.out.splitlines()
    summary = json.loads(text)
    check_line(summary)
    assert summary["message"] == (
        "sample: published by swap, truncate, 2013-01-31; fingerprint equal: "
        "source 1,000 rows 0x00000000000000ff = target 1,000 rows 0x00000000000000ff"
    )
    assert summary["run_id"] == start["run_id"]
    assert (summary["status"], summary["exit_code"]) == ("succeeded", 0)
    assert (summary["rows_read"], summary["rows_inserted"]) == (1000, 1000)
    assert (summary["rows_updated"], summary["rows_deleted"]) == (0, None)
    assert summary["rows_per_s"] > 100


def test_text_is_for_people(pipeline: process.Runner, config: pathlib.Path) -> None:
    done = pipeline(*RUN, config, "--log-format", "text")
    assert done.code == 0
    start, read, publish = done.err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ sample: run \w{26} starts, truncate, 2013-01-31", start)
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ read: 1,000 rows, [\d,]+ rows/s, [\d.]+ s", read)
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ publish: [\d.]+ s", publish)
    head, why, rows, took, proof = done.out.splitlines()
    assert head == "sample: published by swap, truncate, 2013-01-31"
    assert why == "  why      the sample says so"
    assert rows == "  rows     1,000 read, 1,000 inserted, 0 updated"
    assert re.fullmatch(r"  time     [\d.]+ s, [\d,]+ rows/s", took)
    assert proof == (
        "  proof    fingerprint equal: "
        "source 1,000 rows 0x00000000000000ff = target 1,000 rows 0x00000000000000ff"
    )


def test_delta_names_the_window(pipeline_here: process.Runner, config: pathlib.Path) -> None:
    done = pipeline_here(
        "20130131", "sample", "delta", config, "--delta_start_date", "20130101", "--verify", "off"
    )
    assert done.code == 0
    summary = json.loads(done.out)
    assert (summary["window_start"], summary["window_end"]) == ("2013-01-01", "2013-01-31")
    assert summary["write_mode"] == "delta"
    assert summary["verify"] == "off"
    assert summary["proof"] == "verify off: source and target were not compared"


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        ("data", 65, "pipeline: error: the data is bad; correct it"),
        (
            "temporary",
            75,
            "pipeline: error: sample is locked by run x; waited 1.5 s; "
            "that must end first; raise `lock_wait_s` to wait longer",
        ),
        ("access", 77, "pipeline: error: no rights"),
        ("config", 78, "pipeline: error: the config is bad"),
        (
            "bug",
            70,
            "pipeline: error: unexpected ZeroDivisionError: a bug at mysql://me:***@db/x; "
            "the traceback is in the log",
        ),
    ],
)
def test_failure_ends_with_one_line_and_its_exit_code(
    pipeline_here: process.Runner, sample: Sample, failure: str, code: int, line: str
) -> None:
    config = sample(fail=failure)
    done = pipeline_here(*RUN, config, "--log-format", "text")
    assert (done.code, done.out, done.error) == (code, "", line)
    assert ("Traceback" in done.err) is (code == 70)
    assert "geheim" not in done.err


@pytest.mark.parametrize(("failure", "code"), [("data", 65), ("bug", 70)])
def test_failure_in_json_is_the_last_line(
    pipeline_here: process.Runner, sample: Sample, failure: str, code: int
) -> None:
    done = pipeline_here(*RUN, sample(fail=failure))
    assert (done.code, done.out) == (code, "")
    last = done.log[-1]
    check_line(last)
    assert last["message"].startswith("pipeline: error: ")
    assert (last["severity"], last["exit_code"], last["status"]) == ("ERROR", code, "failed")
    assert ("stack_trace" in last) is (code == 70)
    assert "geheim" not in done.err


def test_cleanup_failure_is_a_warning_of_a_run_that_succeeded(
    pipeline_here: process.Runner, sample: Sample
) -> None:
    config = sample(cleanup=True)
    done = pipeline_here(*RUN, config, "--log-format", "text")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "  warning  the cleanup failed: the cleanup is stuck"
    summary = json.loads(pipeline_here(*RUN, config).out)
    assert summary["severity"] == "WARNING"
    assert summary["warnings"] == ["the cleanup failed: the cleanup is stuck"]


def test_cleanup_failure_does_not_hide_the_error(
    pipeline_here: process.Runner, sample: Sample
) -> None:
    done = pipeline_here(*RUN, sample(cleanup=True, fail="data"), "--log-format", "text")
    assert done.code == 65
    assert "error: the cleanup failed: the cleanup is stuck" in done.err
    assert done.error == "pipeline: error: the data is bad; correct it"


def test_ledger_failure_is_a_warning_of_a_run_that_succeeded(
    pipeline_here: process.Runner, config: pathlib.Path
) -> None:
    done = pipeline_here(*RUN, config, "--env", "broken", "--log-format", "text")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("  warning  the ledger could not be written: ")


def test_secrets_of_the_config_are_in_no_line(
    pipeline: process.Runner, config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    secret = 'gehe"im/\\token'
    (tmp_path / "TOKEN").write_text(secret)
    env = {"TMG_ETL_SECRETS_DIR": str(tmp_path), "TOKEN": secret}
    for log_format in ("json", "text"):
        done = pipeline(*RUN, config, "--env", "secret", "--log-format", log_format, env=env)
        assert done.code == 70
        assert done.err.count("said: ***") == 2
        assert "warned of ***" in done.err
        assert "gehe" not in done.err + done.out


def wait_for(path: pathlib.Path, word: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and word not in path.read_text():
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_stops_at_the_next_batch(
    sample: Sample, tmp_path: pathlib.Path, number: signal.Signals, code: int
) -> None:
    config = sample(batches=1000, batch_s=0.05, rows=100_000)
    log = tmp_path / "log"
    with (
        log.open("w") as stream,
        process.start(process.PIPELINE, *RUN, config, stderr=stream) as running,
    ):
        wait_for(log, "starts")
        running.send_signal(number)
        assert running.wait(timeout=20) == code
        assert running.stdout is not None
        assert running.stdout.read() == ""
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["message"] == f"pipeline: stopped by {number.name}"
    assert (last["severity"], last["status"]) == ("WARNING", "stopped")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_before_the_run_starts_ends_in_order(
    tmp_path: pathlib.Path, number: signal.Signals, code: int
) -> None:
    # Reading a config from a pipe waits until someone writes.
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    with process.start(process.PIPELINE, *RUN, config) as running:
        with config.open("w"):
            running.send_signal(number)
            assert running.wait(timeout=20) == code
        assert running.stderr is not None
        last = json.loads(running.stderr.read())
    assert last["message"] == f"pipeline: stopped by {number.name}"
    assert last["exit_code"] == code


def test_second_run_on_one_target_waits_and_is_told_to_come_again(
    pipeline_here: process.Runner, sample: Sample, tmp_path: pathlib.Path
) -> None:
    config = sample(batches=1000, batch_s=0.05, rows=100_000, say="begun")
    log = tmp_path / "log"
    with (
        log.open("w") as stream,
        process.start(process.PIPELINE, *RUN, config, stderr=stream) as running,
    ):
        wait_for(log, "said: begun")
        done = pipeline_here(*RUN, config, "--log-format", "text")
        running.terminate()
        running.wait(timeout=20)
    assert (done.code, done.out) == (75, "")
    assert "locked" in done.error


def test_reader_of_the_summary_may_go_away(config: pathlib.Path) -> None:
    with process.start(process.PIPELINE, *RUN, config) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        err = running.stderr.read()
        assert running.wait() == 0
    assert "Broken" not in err
    assert "Exception" not in err


def test_full_disk_under_the_summary_does_not_undo_the_run(config: pathlib.Path) -> None:
    with (
        pathlib.Path("/dev/full").open("w") as full,
        process.start(process.PIPELINE, *RUN, config, stdout=full) as running,
    ):
        assert running.stderr is not None
        err = running.stderr.read()
        assert running.wait() == 0
    assert json.loads(err.splitlines()[-1])["message"] == (
        "the summary was not printed: stdout could not be written: No space left on device"
    )


def test_full_disk_under_the_log_does_not_end_the_run(config: pathlib.Path) -> None:
    with (
        pathlib.Path("/dev/full").open("w") as full,
        process.start(process.PIPELINE, *RUN, config, stderr=full) as running,
    ):
        assert running.stdout is not None
        assert json.loads(running.stdout.read())["status"] == "succeeded"
        assert running.wait() == 0


def test_summary_on_a_terminal_without_utf8(pipeline: process.Runner, config: pathlib.Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = pipeline("20130131", "dím", "truncate", config, env=env)
    assert done.code == 78
    assert done.error.isascii()


# --- declared transfers -------------------------------------------------------------------------


def test_declared_transfer_is_published_and_published_again(
    pipeline: process.Runner, config: pathlib.Path
) -> None:
    first = pipeline("20130131", "dim", "truncate", config, "--log-format", "text")
    assert (first.code, first.err.count("Traceback")) == (0, 0), first.err
    assert first.out.splitlines()[0].startswith("dim: published by ")
    assert "  proof    fingerprint equal: source 3 rows 0x" in first.out
    second = json.loads(pipeline("20130131", "dim", "truncate", config).out)
    assert second["fingerprint_source"] in first.out
    assert second["rows_read"] == 3
    with duckdb.connect(config.parent / "serving.duckdb", read_only=True) as database:
        rows = database.execute("SELECT id, name, born::text FROM dim ORDER BY id").fetchall()
    assert rows == [(1, "Ada", "2013-01-01"), (2, "Grace", "2013-01-02"), (3, "Ида", "2013-01-02")]


def test_delta_publishes_the_window_only(
    pipeline_here: process.Runner, config: pathlib.Path
) -> None:
    day = json.loads(pipeline_here("20130102", "fact", "delta", config).out)
    assert (day["rows_read"], day["rows_inserted"]) == (2, 2)
    done = pipeline_here("20130102", "fact", "delta", config, "--delta-start-date", "20130101")
    both = json.loads(done.out)
    assert (both["rows_read"], both["rows_inserted"], both["rows_unchanged"]) == (3, 1, 2)


def test_verify_count_says_counts(pipeline_here: process.Runner, config: pathlib.Path) -> None:
    done = pipeline_here(
        *("20130131", "dim", "truncate", config, "--verify", "count", "--log-format", "text")
    )
    assert "  proof    counts equal: source 3 rows = target 3 rows" in done.out


def test_plan_writes_nothing(pipeline_here: process.Runner, config: pathlib.Path) -> None:
    shutil.rmtree(config.parent / ".tmg_etl")
    done = pipeline_here("20130131", "dim", "truncate", config, "--plan")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("transfer  dim ")
    assert lines[-1] == "nothing was written"
    assert not (config.parent / ".tmg_etl").exists()
    assert not (config.parent / "serving.duckdb").exists()


def test_plan_as_json(
    pipeline_here: process.Runner, people: process.Runner, config: pathlib.Path
) -> None:
    done = pipeline_here("20130131", "dim", "truncate", config, "--plan", "--log-format", "json")
    assert (done.code, done.err) == (0, "")
    plan = json.loads(done.out)
    assert (plan["transfer"], plan["write_mode"], plan["creates"]) == ("dim", "truncate", True)
    asked = people("plan", "20130131", "dim", "truncate", config, "--json")
    # What is free on the disk changes by the second.
    assert json.loads(asked.out) | {"disk_free_bytes": 0} == plan | {"disk_free_bytes": 0}
    by_options = people("plan", "dim", config, "--date", "20130131", "--json")
    assert json.loads(by_options.out) | {"disk_free_bytes": 0} == plan | {"disk_free_bytes": 0}
    assert people("plan", "20130131", "dim", "truncate", config).out.startswith("transfer  dim ")


@pytest.mark.parametrize(
    ("arguments", "code", "pattern"),
    [
        (
            ("dmi", "truncate"),
            78,
            r".*config\.yaml:transfers: found no transfer .*did you mean `dim`.*",
        ),
        (("dim", "truncate", "--env", "prod"), 78, r".*prod.*"),
        (("dim", "truncate", "--env", "nowhere"), 78, r".*people.*"),
        (("dim", "delta"), 78, r".*delta.*"),
    ],
)
def test_mistakes_of_the_caller_are_one_line(
    pipeline_here: process.Runner,
    config: pathlib.Path,
    arguments: tuple[str, ...],
    code: int,
    pattern: str,
) -> None:
    done = pipeline_here("20130131", arguments[0], arguments[1], config, *arguments[2:])
    assert (done.code, done.out) == (code, "")
    last = done.log[-1]
    assert last["exit_code"] == code
    assert last["message"].startswith("pipeline: error: ")
    assert re.fullmatch(pattern, last["message"])
    assert "stack_trace" not in last


def test_missing_config_names_the_place(
    pipeline_here: process.Runner, tmp_path: pathlib.Path
) -> None:
    done = pipeline_here(*RUN, tmp_path / "none.yaml", "--log-format", "text")
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"pipeline: error: {tmp_path}/none.yaml: ")
    assert len(done.err.splitlines()) == 1


def test_malformed_config_names_the_line(
    pipeline_here: process.Runner, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "bad.yaml").write_text("transfers:\n  a: [\n")
    done = pipeline_here(*RUN, tmp_path / "bad.yaml", "--plan")
    assert (done.code, done.out) == (78, "")
    assert re.match(rf"pipeline: error: {tmp_path}/bad\.yaml:\d+: ", done.err)
