"""Rows go in and come out on every database; lists, prefixes and dead runs."""

import dataclasses
import datetime
import os
import subprocess
import sys

import pytest

from tmg_etl import errors
from tmg_etl.ledger import record, store, writer


@pytest.fixture
def ledger(url):
    with store.open(url) as opened:
        yield opened


def ended(row: record.Record, **changes: object) -> record.Record:
    values = {
        "status": "succeeded",
        "finished_at": row.started_at + datetime.timedelta(seconds=2, microseconds=7),
        "exit_code": 0,
        "publish": "merge",
        "publish_reason": "the mode is delta",
        "rows_read": 2**62,
        "rows_inserted": 1,
        "rows_updated": 2,
        "rows_deleted": 3,
        "rows_unchanged": 4,
        "bytes_read": 2**62,
        "fingerprint_source": "3:abc",
        "fingerprint_target": "3:abc",
        "snapshot": "files of Zürich 🛫",
        "phase_seconds": {"read": 0.25, "load": 1.5},
        "job_ids": ("tmg_a_1", "tmg_ä_2"),
    }
    return dataclasses.replace(row, **{**values, **changes})


def test_a_run_comes_back_as_it_was_written(ledger, make):
    row = make()
    ledger.start(row)
    assert ledger.get(row.id) == row
    assert ledger.get(row.id).status == "running"
    done = ended(row)
    ledger.finish(done)
    assert ledger.get(row.id) == done


def test_a_url_that_says_more_is_written_by_sqlalchemy(tmp_path, make):
    url = f"sqlite:///{tmp_path}/folder/ledger.db?timeout=5"
    row = make()
    ledger = writer.Writer(url)
    assert ledger.begin(make("dead", host="gone")) == []
    assert ledger.begin(row) == ["dead"]
    ledger.finish(ended(row))
    with store.open(url) as opened:
        assert opened.get(row.id) == ended(row)
        assert opened.get("dead").status == "abandoned"


def test_instants_are_aware_utc_to_the_microsecond(ledger, make):
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    row = make(started_at=datetime.datetime(2013, 1, 1, 22, 0, 0, 1, tzinfo=zone))
    ledger.start(row)
    found = ledger.get(row.id).started_at
    assert found == row.started_at
    assert found.tzinfo is datetime.UTC
    assert found.isoformat() == "2013-01-02T03:00:00.000001+00:00"


def test_an_instant_without_zone_is_refused(ledger, make):
    with pytest.raises(errors.LedgerError, match="without time zone"):
        ledger.start(make(started_at=datetime.datetime(2013, 1, 1)))
    assert ledger.list() == []


def test_long_and_strange_texts_are_cut_and_kept(ledger, make):
    row = make(env="e" * 300, config_location="ü" * 2000)
    ledger.start(row)
    ledger.finish(ended(row, error="a\0b'\"\\%s" + "ß" * 5000))
    found = ledger.get(row.id)
    assert found.env == "e" * 200
    assert found.config_location == "ü" * 1000
    assert found.error is not None
    assert (len(found.error), found.error[:8]) == (2000, "ab'\"\\%sß")


def test_finish_without_start_writes_the_whole_row(ledger, make):
    done = ended(make())
    ledger.finish(done)
    ledger.finish(done)
    assert ledger.list() == [done]


def test_an_id_is_written_once(ledger, make):
    ledger.start(make())
    with pytest.raises(errors.LedgerError, match="cannot be written"):
        ledger.start(make())


def test_list_is_latest_first_and_filtered(ledger, make):
    for hour in range(6):
        row = make(
            f"run{hour}",
            transfer="A" if hour % 2 else "a",
            started_at=datetime.datetime(2013, 1, 1, hour, tzinfo=datetime.UTC),
        )
        ledger.start(row)
        if hour > 3:
            ledger.finish(ended(row, status="failed"))
    assert [run.id for run in ledger.list()] == [f"run{hour}" for hour in (5, 4, 3, 2, 1, 0)]
    assert [run.id for run in ledger.list(limit=2)] == ["run5", "run4"]
    assert [run.id for run in ledger.list("a")] == ["run4", "run2", "run0"]
    assert [run.id for run in ledger.list("A", record.Status.RUNNING)] == ["run3", "run1"]
    assert [run.id for run in ledger.list(status="failed")] == ["run5", "run4"]
    assert ledger.list("none") == []


def test_prefix_finds_one_run(ledger, make):
    for run_id in ("20130101a", "20130101ab", "20130102c"):
        ledger.start(make(run_id))
    assert ledger.get("20130102").id == "20130102c"
    assert ledger.get(" 20130102C ").id == "20130102c"
    assert ledger.get("20130101a").id == "20130101a"  # exact, though another one starts with it


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (
            "2013",
            "several runs have an id that starts with '2013': 20130101a, 20130102c; give more",
        ),
        ("9", "no run has an id that starts with '9'; `tmg-etl runs` lists the ids"),
        ("%", "no run has an id that starts with '%'"),
        ("_", "no run has an id that starts with '_'"),
        (" ", "the run id is empty"),
    ],
)
def test_prefix_that_does_not(ledger, make, prefix, message):
    ledger.start(make("20130101a"))
    ledger.start(make("20130102c"))
    with pytest.raises(errors.UsageError) as caught:
        ledger.get(prefix)
    assert str(caught.value).startswith(message)


def test_prefix_of_many_names_five(ledger, make):
    for number in range(8):
        ledger.start(make(f"run{number}"))
    with pytest.raises(errors.UsageError, match=r"run0, run1, run2, run3, run4 and more"):
        ledger.get("run")


# --- runs that died


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_runs_whose_lock_we_hold_are_dead(ledger, make):
    me = make("me", host="host-b", pid=os.getpid())
    ledger.start(make("killed", host="node-that-is-gone"))
    ledger.start(make("other-env", env="prod", host="node"))
    ledger.start(make("other-target", target="other:fact_flight", host="node"))
    ledger.start(make("other-transfer", transfer="dim_plane"))
    ledger.finish(ended(make("done")))
    ledger.start(me)
    assert ledger.abandon_dead(me) == ["killed"]
    found = ledger.get("killed")
    assert (found.status, found.exit_code, found.duration_s) == ("abandoned", None, None)
    assert found.error == "ended without a word; found dead by the run me"
    assert found.finished_at is not None
    assert ledger.abandon_dead(me) == []
    assert {run.id for run in ledger.list(status="running")} == {
        "me", "other-env", "other-target", "other-transfer"
    }  # fmt: skip


def test_runs_of_this_host_whose_process_is_gone_are_dead(ledger, make):
    me = make("me")
    ledger.start(make("gone", env="prod", pid=dead_pid()))
    ledger.start(make("alive", env="prod", pid=os.getpid()))
    ledger.start(make("elsewhere", env="prod", pid=dead_pid(), host="host-b"))
    assert ledger.abandon_dead(me) == ["gone"]


def test_a_run_that_was_only_thought_dead_corrects_it(ledger, make):
    row = make("slow")
    ledger.start(row)
    assert ledger.abandon_dead(make("me")) == ["slow"]
    ledger.finish(ended(row))
    assert ledger.get("slow") == ended(row)


# --- the record itself


def test_what_a_record_derives(make):
    row = make()
    assert (row.duration_s, row.rows_per_s, row.is_verified) == (None, None, None)
    done = ended(row, rows_read=100, finished_at=row.started_at + datetime.timedelta(seconds=4))
    assert (done.duration_s, done.rows_per_s, done.is_verified) == (4.0, 25.0, True)
    assert dataclasses.replace(done, fingerprint_target="x").is_verified is False
    assert dataclasses.replace(done, finished_at=row.started_at).rows_per_s is None
