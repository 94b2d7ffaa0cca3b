"""Back-fills over HTTP and on this machine: plan, order, progress, failed windows, resuming."""

from __future__ import annotations

import datetime
import pathlib

import pytest

from tests.chart import chart_kit
from tests.launch import api_kit
from tmg_etl import errors, run
from tmg_etl.config import loader
from tmg_etl.launch import backfill, session, window
from tmg_etl.ledger import record, store

FIRST, LAST = datetime.date(2024, 1, 1), datetime.date(2024, 1, 10)
ORDERED = chart_kit.CONFIG
FREE = chart_kit.CONFIG.replace(
    "delta: {cursor: flight_date}", "delta: {cursor: flight_date, order_by: [flight_date]}"
)


@pytest.fixture
def free(dev: session.Session) -> session.Session:
    """`dev`, where the windows of fact_flight may run in any order."""
    (dev.root / "config.yaml").write_text(FREE)
    return dev


def start(dev: session.Session, **options: object) -> int:
    return session.backfill(dev, "fact_flight", FIRST, LAST, **options)  # type: ignore[arg-type]


def test_one_indexed_job_runs_all_windows(
    free: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_read(job: api_kit.Object, times: int) -> None:
        states = [("0-2", 3), ("0-2", 3), ("0-9", 0)]
        done, active = states[min(times, 3) - 1]
        job["status"] |= {"completedIndexes": done, "active": active}
        if times == 3:
            api.finish(job)

    api.on_read = on_read
    assert start(free, parallelism=4) == 0
    (body,) = api.bodies
    spec = body["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 10, 4)
    assert spec["backoffLimitPerIndex"] == 3
    assert spec["template"]["spec"]["containers"][0]["args"] == [
        *("windows", "fact_flight", "/etc/tmg_etl/config.yaml", "--env", "local"),
        *("--from", "20240101", "--to", "20240110", "--step", "1d"),
    ]
    shown = [line for line in said if line.startswith("windows:")]
    assert shown == [
        "windows: 3 of 10 done, 3 running",
        "windows: 10 of 10 done, 0 running",
    ]


def test_windows_that_are_done_are_not_listed_again_and_again(
    free: session.Session, api: api_kit.Api
) -> None:
    api.on_job = api.finish
    assert start(free) == 0
    asked = [path for _, path in api.requests if "/pods?" in path]
    assert asked
    assert all("fieldSelector=status.phase%21%3DSucceeded" in path for path in asked)


def test_a_poisoned_window_fails_alone_and_its_rerun_is_told(
    free: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        state = api_kit.terminated(65, message="pipeline: error: the key is null")
        name = job["metadata"]["name"]
        api.pods["p"] = api_kit.pod("p", name, phase="Failed", state=state, index=3)
        job["status"] = {"completedIndexes": "0-2,4-9", "failedIndexes": "3", "failed": 1}
        api.finish(job, "Failed", "FailedIndexes")

    api.on_job = on_job
    assert start(free) == errors.EXIT_DATA
    text = "\n".join(said)
    assert "9 of 10 done, 0 running, 1 failed: 3" in text
    assert "3: 2024-01-04: ExitCode: p: exit code 65" in text
    assert "the key is null" in text
    assert said[-1] == (
        "run just those: invoke backfill --env dev --transfer fact_flight "
        "--from 20240101 --to 20240110 --step 1d --only 3"
    )


def test_some_windows_only_are_mapped_to_the_pods_indexes(
    free: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    def on_job(job: api_kit.Object) -> None:
        job["status"] = {"completedIndexes": "0", "failedIndexes": "1"}
        api.finish(job, "Failed", "FailedIndexes")

    api.on_job = on_job
    assert start(free, only="3,7") == errors.EXIT_BUG
    (body,) = api.bodies
    assert body["spec"]["completions"] == 2
    assert body["spec"]["template"]["spec"]["containers"][0]["args"][-2:] == ["--only", "3,7"]
    assert said[-1].endswith("--only 7")


def test_windows_whose_order_counts_run_one_after_the_other(
    dev: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    api.on_job = api.finish
    assert start(dev, parallelism=8) == 0
    spec = api.bodies[0]["spec"]
    assert (spec["parallelism"], spec["backoffLimit"]) == (1, 3)
    assert not {"backoffLimitPerIndex", "maxFailedIndexes"} & spec.keys()
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"Ignore", "FailJob"}
    assert any("one after the other: the transfer declares no order_by" in line for line in said)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("order_by: [ts]", None),
        (
            "order_by: [ts, _PARTITIONTIME]",
            "the target lacks the order column _PARTITIONTIME",
        ),
        ("strategy: replace_window", None),
        ("", "the transfer declares no order_by"),
    ],
)
def test_order_counts_where_the_target_cannot_tell_newer_rows(
    tmp_path: pathlib.Path, more: str, reason: str | None
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "connections: {s: {type: files, url: x/}}\n"
        "transfers:\n"
        "  t:\n"
        "    source: {connection: s, table: a}\n"
        "    target: {connection: s, table: b}\n"
        "    key: [id]\n"
        "    omit: [note]\n"
        f"    delta: {{cursor: day, {more}}}\n"
    )
    assert backfill.order_reason([loader.load(str(file)).transfer("t")]) == reason


def test_the_plan_is_printed_and_nothing_else_happens_in_a_dry_run(
    free: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    assert start(free, step="1w", parallelism=2, dry_run=True) == 0
    assert said == [
        "back-fill of fact_flight (dev): 2024-01-01 to 2024-01-10 by 1w, 2 of 2 windows",
        "  up to 2 at a time",
        "  0: 2024-01-01 to 2024-01-07",
        "  1: 2024-01-08 to 2024-01-10",
    ]
    assert not api.requests


SECRET = FREE.replace("mysql://sid:${MYSQL_PASSWORD}@127.0.0.1/sid", "${secret:DB_URL}")


@pytest.mark.parametrize("is_dry", [True, False])
def test_what_only_pods_know_is_not_asked_for_here(
    free: session.Session, api: api_kit.Api, said: list[str], is_dry: bool
) -> None:
    unset = SECRET.replace("table: planes}", "path: '${UNSET}.csv'}")
    (free.root / "config.yaml").write_text(f'ledger: "${{secret:LEDGER_URL}}"\n{unset}')
    api.on_job = api.finish
    assert start(free, dry_run=is_dry) == 0
    assert len(api.jobs) == (not is_dry)
    with pytest.raises(errors.ConfigError, match="LEDGER_URL"):
        start(free, resume=True)


def test_resuming_reads_the_ledger_and_no_other_secret(
    free: session.Session, said: list[str], tmp_path: pathlib.Path
) -> None:
    (free.root / "config.yaml").write_text(f"ledger: sqlite:///{tmp_path}/ledger.db\n{SECRET}")
    assert start(free, resume=True, dry_run=True) == 0
    assert "10 of 10 windows" in said[0]


def past_run(
    name: str, transfer: str, day: int, status: record.Status, env: str, mode: str
) -> record.Record:
    at = datetime.date(2024, 1, day)
    return record.Record(
        id=name,
        transfer=transfer,
        target=f"serving:{transfer}",
        execution_date=at,
        window_start=at,
        window_end=at,
        write_mode=mode,
        env=env,
        config_location="c",
        config_digest="d",
        pipeline="p",
        version="1",
        host="h",
        pid=1,
        started_at=datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC),
        status=status,
    )


def test_what_the_ledger_knows_as_published_is_left_out(
    free: session.Session, api: api_kit.Api, said: list[str], tmp_path: pathlib.Path
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    (free.root / "config.yaml").write_text(f"ledger: {ledger}\n{FREE}")
    runs = [
        (1, record.Status.SUCCEEDED, "dev", "delta"),
        (2, record.Status.FAILED, "dev", "delta"),
        (3, record.Status.SUCCEEDED, "prod", "delta"),
        (4, record.Status.SUCCEEDED, "dev", "truncate"),
    ]
    with store.open(ledger) as opened:
        for day, status, env, mode in runs:
            opened.start(past_run(f"run{day}", "fact_flight", day, status, env, mode))
    assert start(free, resume=True, dry_run=True) == 0
    assert "9 of 10 windows" in said[0]
    assert "  done before, by the ledger: 0" in said
    said.clear()
    only = start(free, resume=True, only="0")
    assert only == 0
    assert said[-1] == "nothing to do"
    assert not api.jobs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step": "1y"}, "expected 1d, 1w or 1m"),
        ({"only": "99"}, "expected some of 0-9"),
        ({"only": ""}, "expected some of 0-9"),
        ({"parallelism": 0}, "--parallelism 0"),
    ],
)
def test_wrong_options_are_usage_errors_and_start_nothing(
    free: session.Session, api: api_kit.Api, options: dict[str, object], words: str
) -> None:
    with pytest.raises(errors.UsageError, match=words):
        start(free, **options)
    assert not api.requests


def test_an_inverted_range_starts_nothing(free: session.Session, api: api_kit.Api) -> None:
    with pytest.raises(errors.UsageError, match="--from must not be after --to"):
        session.backfill(free, "fact_flight", LAST, FIRST)
    assert not api.requests


GROUPED = (
    FREE.replace("dim_plane}", "dim_plane}\n    publish_group: nightly")
    .replace("key: [id]", "key: [id]\n    publish_group: nightly")
    .replace('schedule: "17 4 * * *"', 'schedule: "5 3 * * 1-5"')
)


@pytest.fixture
def grouped(free: session.Session) -> session.Session:
    """`dev`, where dim_plane, which has no delta, and fact_flight are published together."""
    (free.root / "config.yaml").write_text(GROUPED)
    return free


def test_a_publish_group_is_back_filled_by_its_name(
    grouped: session.Session, api: api_kit.Api, said: list[str]
) -> None:
    api.on_job = api.finish
    assert session.backfill(grouped, "nightly", FIRST, LAST, parallelism=3) == 0
    (body,) = api.bodies
    assert body["metadata"]["labels"]["tmg-etl/transfer"] == "nightly"
    assert body["spec"]["parallelism"] == 3
    words = body["spec"]["template"]["spec"]["containers"][0]["args"]
    assert words[:2] == ["windows", "nightly"]
    assert said[0].startswith("back-fill of nightly (dev): ")


def test_a_member_alone_is_not_back_filled(grouped: session.Session, api: api_kit.Api) -> None:
    with pytest.raises(errors.ConfigError, match="with its group only; back-fill nightly"):
        session.backfill(grouped, "fact_flight", FIRST, LAST)
    assert not api.requests


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (", order_by: [flight_date]", "", "fact_flight: the transfer declares no order_by"),
        (
            "table: planes",
            "path: 'planes_{execution_date}.csv'",
            "dim_plane: it is refreshed as a whole, from the source of a day",
        ),
    ],
)
def test_one_member_orders_the_windows_of_its_group(
    grouped: session.Session, said: list[str], old: str, new: str, reason: str
) -> None:
    (grouped.root / "config.yaml").write_text(GROUPED.replace(old, new))
    assert session.backfill(grouped, "nightly", FIRST, LAST, dry_run=True) == 0
    assert f"  one after the other: {reason}" in said


def test_a_group_without_a_delta_has_no_windows(grouped: session.Session) -> None:
    lines = [line for line in GROUPED.splitlines() if "delta:" not in line]
    (grouped.root / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(errors.ConfigError, match="no member of the publish group nightly declares"):
        session.backfill(grouped, "nightly", FIRST, LAST)


def test_a_window_of_a_group_is_done_when_each_member_with_a_delta_has_done_it(
    grouped: session.Session, said: list[str], tmp_path: pathlib.Path
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    both = GROUPED.replace(
        "planes}", "planes}\n    key: [id]\n    delta: {cursor: d, order_by: [d]}"
    )
    (grouped.root / "config.yaml").write_text(f"ledger: {ledger}\n{both}")
    done = [("dim_plane", 1), ("fact_flight", 1), ("fact_flight", 2)]
    with store.open(ledger) as opened:
        for transfer, day in done:
            status = record.Status.SUCCEEDED
            opened.start(past_run(f"{transfer}{day}", transfer, day, status, "dev", "delta"))
    assert session.backfill(grouped, "nightly", FIRST, LAST, resume=True, dry_run=True) == 0
    assert "  done before, by the ledger: 0" in said


@pytest.mark.parametrize("transfer", ["dim_plane", "fact_fligth"])
def test_a_transfer_without_windows_or_name_is_a_config_error(
    free: session.Session, transfer: str
) -> None:
    with pytest.raises(errors.ConfigError):
        session.backfill(free, transfer, FIRST, LAST)


def test_every_window_has_its_days_noted_on_the_job(
    free: session.Session, api: api_kit.Api
) -> None:
    api.on_job = api.finish
    start(free, only="2-3")
    windows, indexes = backfill.windows_of(api.bodies[0])
    assert [windows[index] for index in indexes] == [
        run.Window(datetime.date(2024, 1, day), datetime.date(2024, 1, day)) for day in (3, 4)
    ]


def test_progress_counts_windows_not_pods() -> None:
    job = {"status": {"completedIndexes": "0-1", "failedIndexes": "2", "active": 1, "failed": 7}}
    shown = backfill.progress(job, window.parse_indexes("10-13"))
    assert str(shown) == "windows: 2 of 4 done, 1 running, 1 failed: 12"
