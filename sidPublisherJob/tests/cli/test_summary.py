"""The last words of a run."""

import dataclasses
import datetime
import json
from typing import Any

import pytest

from tmg_etl import errors, run
from tmg_etl.cli import output, summary
from tmg_etl.transfer import nest

START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
FINGERPRINT = "336,776 rows 0x00c0ffee00c0ffee"
RESULT = run.Result(
    rows_read=336_776,
    rows_inserted=300_000,
    rows_updated=776,
    rows_deleted=0,
    rows_unchanged=36_000,
    publish="merge",
    publish_reason="strategy upsert",
    fingerprint_source=FINGERPRINT,
    fingerprint_target=FINGERPRINT,
    snapshot="generation 7",
    bytes_read=4_096,
    job_ids=("job_1",),
    phase_seconds={run.Phase.LOAD: 4.00049},
)


def make(
    result: run.Result = RESULT, verify: str = "fingerprint", **outcome: Any
) -> summary.Summary:
    facts: dict[str, Any] = {
        "status": run.Status.SUCCEEDED,
        "result": result,
        "error": None,
        "cleanup_error": None,
        "ledger_error": None,
        "started_at": START,
        "finished_at": START + datetime.timedelta(seconds=8),
        **outcome,
    }
    window = run.Window(datetime.date(2013, 1, 1), datetime.date(2013, 12, 31))
    return summary.Summary("fact_flight", window, run.WriteMode.DELTA, verify, run.Outcome(**facts))


def test_summary_says_what_was_done_and_that_it_is_equal() -> None:
    assert make().render().splitlines() == [
        "fact_flight: published by merge, delta, 2013-01-01 to 2013-12-31",
        "  why      strategy upsert",
        "  rows     336,776 read, 300,000 inserted, 776 updated, 0 deleted, 36,000 unchanged",
        "  time     8.0 s, 42,097 rows/s",
        f"  proof    fingerprint equal: source {FINGERPRINT} = target {FINGERPRINT}",
    ]


def test_summary_of_a_pipeline_that_reports_nothing() -> None:
    assert make(run.Result()).render().splitlines() == [
        "fact_flight: published, delta, 2013-01-01 to 2013-12-31",
        "  rows     not reported by the pipeline",
        "  time     8.0 s",
        "  proof    not verified: the pipeline reports no fingerprint",
    ]


@pytest.mark.parametrize(
    ("verify", "source", "target", "proof"),
    [
        ("fingerprint", "2 rows 0x1", "2 rows 0x1", "fingerprint equal: source 2 rows 0x1 = "),
        ("fingerprint", "2 rows 0x1", "2 rows 0x2", "fingerprint DIFFERENT: source 2 rows 0x1 ≠ "),
        ("count", "2 rows", "2 rows", "counts equal: source 2 rows = target 2 rows"),
        ("off", "2 rows", None, "verify off: source and target were not compared"),
        ("count", "2 rows", None, "not verified: the pipeline reports no fingerprint"),
    ],
)
def test_proof_claims_no_more_than_was_compared(
    verify: str, source: str, target: str | None, proof: str
) -> None:
    result = run.Result(fingerprint_source=source, fingerprint_target=target)
    assert make(result, verify).proof().startswith(proof)


def test_failures_beside_the_work_are_warnings_at_the_end() -> None:
    outcome = make(
        cleanup_error=OSError("stage\nis stuck"),
        ledger_error=errors.LedgerError("no ledger at postgresql://me:geheim@db/ledger"),
    )
    assert outcome.render().splitlines()[-2:] == [
        "  warning  the cleanup failed: stage is stuck",
        "  warning  the ledger could not be written: no ledger at postgresql://me:***@db/ledger",
    ]
    assert len(outcome.as_dict()["warnings"]) == 2


def test_what_the_result_is_to_be_read_with_stands_in_it() -> None:
    outcome = make(warnings=("no rows in the window 2013-01-01",), cleanup_error=OSError("stuck"))
    assert outcome.render().splitlines()[-2:] == [
        "  warning  no rows in the window 2013-01-01",
        "  warning  the cleanup failed: stuck",
    ]
    assert outcome.as_dict()["warnings"] == outcome.warnings
    assert len(outcome.warnings) == 2


def test_an_error_without_words_is_named() -> None:
    assert make(cleanup_error=KeyError()).warnings == ["the cleanup failed: KeyError"]


def test_json_has_every_fact() -> None:
    fields = json.loads(output.to_json(make().as_dict()))
    assert fields == {
        "status": "succeeded",
        "exit_code": 0,
        "window_start": "2013-01-01",
        "window_end": "2013-12-31",
        "publish": "merge",
        "publish_reason": "strategy upsert",
        "rows_read": 336_776,
        "rows_inserted": 300_000,
        "rows_updated": 776,
        "rows_deleted": 0,
        "rows_unchanged": 36_000,
        "duration_s": 8.0,
        "rows_per_s": 42_097,
        "phase_seconds": {"load": 4.0},
        "verify": "fingerprint",
        "proof": f"fingerprint equal: source {FINGERPRINT} = target {FINGERPRINT}",
        "fingerprint_source": FINGERPRINT,
        "fingerprint_target": FINGERPRINT,
        "snapshot": "generation 7",
        "bytes_read": 4_096,
        "job_ids": ["job_1"],
        "previous_table": None,
        "previous_fingerprint": None,
        "previous_expires_at": None,
        "warnings": [],
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:13+00:00",
    }


def test_every_field_of_the_result_is_in_json() -> None:
    assert {field.name for field in dataclasses.fields(run.Result)} <= set(make().as_dict())


def test_control_characters_of_data_do_not_reach_the_terminal() -> None:
    result = dataclasses.replace(RESULT, publish_reason="a\x1b[2Jb")
    assert "\x1b" not in make(result).render()


def make_group(*members: summary.Summary, error: BaseException | None = None) -> Any:
    outcomes = {one.transfer: one.outcome for one in members}
    return summary.GroupSummary(
        members[0].window,
        run.WriteMode.DELTA,
        members,
        nest.GroupOutcome("nightly", outcomes, error),
    )


def test_group_is_said_once_and_its_members_below() -> None:
    first, second = make(), dataclasses.replace(make(), transfer="dim_plane")
    group = make_group(first, second)
    lines = group.render().splitlines()
    assert lines[:3] == [
        "nightly: 2 tables published in one step, delta, 2013-01-01 to 2013-12-31",
        "  time     8.0 s, 84,194 rows/s",
        "fact_flight: published by merge, delta, 2013-01-01 to 2013-12-31",
    ]
    assert "dim_plane: published by merge, delta, 2013-01-01 to 2013-12-31" in lines
    assert sum(line.startswith("  time") for line in lines) == 1
    fields = json.loads(json.dumps(group.as_dict()))
    assert (fields["status"], fields["exit_code"], fields["rows_read"]) == (
        "succeeded",
        0,
        673_552,
    )
    assert [one["transfer"] for one in fields["members"]] == ["fact_flight", "dim_plane"]
    assert fields["members"][0] == {"transfer": "fact_flight", **first.as_dict()}


def test_group_that_failed_has_the_code_of_who_failed() -> None:
    error = errors.DataError("no")
    failed = make(run.Result(), status=run.Status.FAILED, error=error)
    fields = make_group(failed, make(), error=error).as_dict()
    assert (fields["status"], fields["exit_code"], fields["rows_read"]) == ("failed", 65, None)
    assert "not published" in make_group(failed, error=error).headline()
    stopped = make_group(failed, error=errors.Stopped(15)).as_dict()
    assert (stopped["status"], stopped["exit_code"]) == ("stopped", 143)


def test_group_without_changes_says_so() -> None:
    skipped = run.Result(publish="none", publish_reason="nothing to do: unchanged")
    assert "nightly: nothing to do" in make_group(make(skipped), make(skipped)).headline()


def test_group_names_the_member_that_a_warning_is_about() -> None:
    group = make_group(make(cleanup_error=OSError("gone")), make())
    assert group.warnings == ["fact_flight: the cleanup failed: gone"]


def test_a_run_with_nothing_to_do_read_nothing() -> None:
    reason = "nothing to do: the source is unchanged since run 1"
    lines = make(run.Result(publish="none", publish_reason=reason)).render().splitlines()
    assert lines[2] == "  rows     none read: nothing to do"


def test_the_proof_of_a_run_that_failed_claims_nothing_of_the_target() -> None:
    failed = make(status=run.Status.FAILED, error=errors.DataError("a foreign key"))
    assert failed.proof().startswith("not published; what was loaded beside the target: finger")
    assert failed.as_dict()["proof"] == failed.proof()
