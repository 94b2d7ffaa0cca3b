"""Runs of the ledger as people see them."""

import dataclasses
import datetime
import json

from tmg_etl.cli import output, runs_view
from tmg_etl.ledger import record

FINGERPRINT = "336,776 rows 0x00c0ffee12345678"
FLIGHTS = record.Record(
    id="20261121120705fe7961c4c30c",
    transfer="fact_flight",
    target="serving:fact_flight",
    execution_date=datetime.date(2013, 12, 31),
    window_start=datetime.date(2013, 1, 1),
    window_end=datetime.date(2013, 12, 31),
    write_mode="delta",
    env="local",
    config_location="config.yaml",
    config_digest="ab" * 32,
    pipeline="tmg_etl.transfer.pipeline:TransferPipeline",
    version="0.1.0",
    host="here",
    pid=12345,
    started_at=datetime.datetime(2026, 11, 21, 12, 7, 5, 250, tzinfo=datetime.UTC),
    status="succeeded",
    finished_at=datetime.datetime(2026, 11, 21, 12, 7, 13, 250, tzinfo=datetime.UTC),
    exit_code=0,
    publish="merge",
    publish_reason="strategy upsert",
    rows_read=336_776,
    rows_inserted=300_000,
    rows_updated=0,
    rows_deleted=0,
    rows_unchanged=36_776,
    fingerprint_source=FINGERPRINT,
    fingerprint_target=FINGERPRINT,
    snapshot="12 files",
    phase_seconds={"load": 6.25, "verify": 0.5},
    bytes_read=5_123_456,
    job_ids=("tmg_read_1", "tmg_\x1b_2"),
)
PLANES = dataclasses.replace(
    FLIGHTS,
    id="20261121120600aaaabbbbcccc",
    transfer="dim_plane",
    write_mode="truncate",
    window_start=datetime.date(2013, 12, 31),
    started_at=datetime.datetime(2026, 11, 21, 12, 6, 0, tzinfo=datetime.UTC),
    finished_at=datetime.datetime(2026, 11, 21, 12, 6, 1, tzinfo=datetime.UTC),
    status="failed",
    exit_code=65,
    rows_read=None,
    bytes_read=None,
    job_ids=(),
    rows_inserted=None,
    rows_updated=None,
    rows_deleted=None,
    fingerprint_source=None,
    fingerprint_target=None,
    error="the source planes is empty and would wipe the target",
    cleanup_error="OSError: \x1b[2J",
)

TABLE = """\
RUN                 STARTED (UTC)        TRANSFER     MODE      DAYS               STATUS      TOOK     READ   BYTES  INSERTED  UPDATED  DELETED  ROWS/S  PROOF
20261121120705fe79  2026-11-21 12:07:05  fact_flight  delta     20130101-20131231  succeeded  8.0 s  336,776  5.1 MB   300,000        0        0  42,097  equal 00c0ffee
20261121120600aaaa  2026-11-21 12:06:00  dim_plane    truncate  20131231           failed     1.0 s        -       -         -        -        -       -  -
  error: the source planes is empty and would wipe the target
  cleanup: OSError: \\x1b[2J"""  # noqa: E501

NARROW = """\
RUN                 STARTED (UTC)        TRANSFER     MODE      DAYS               STATUS      TOOK
20261121120705fe79  2026-11-21 12:07:05  fact_flight  delta     20130101-20131231  succeeded  8.0 s
  336,776 read, 5.1 MB fetched, 300,000 inserted, 0 updated, 0 deleted, 42,097 rows/s, proof: equal 00c0ffee
20261121120600aaaa  2026-11-21 12:06:00  dim_plane    truncate  20131231           failed     1.0 s
  error: the source planes is empty and would wipe the target
  cleanup: OSError: \\x1b[2J"""  # noqa: E501

DETAIL = """\
id                  20261121120705fe7961c4c30c
transfer            fact_flight
target              serving:fact_flight
execution date      2013-12-31
window start        2013-01-01
window end          2013-12-31
write mode          delta
env                 local
config location     config.yaml
config digest       abababababababababababababababababababababababababababababababab
pipeline            tmg_etl.transfer.pipeline:TransferPipeline
version             0.1.0
host                here
pid                 12345
started at          2026-11-21 12:07:05.000250 UTC
status              succeeded
finished at         2026-11-21 12:07:13.000250 UTC
exit code           0
publish             merge
publish reason      strategy upsert
rows read           336,776
rows inserted       300,000
rows updated        0
rows deleted        0
rows unchanged      36,776
bytes read          5,123,456
fingerprint source  336,776 rows 0x00c0ffee12345678
fingerprint target  336,776 rows 0x00c0ffee12345678
snapshot            12 files
phase seconds       load 6.2 s, verify 0.5 s
job ids             tmg_read_1, tmg_\\x1b_2
duration s          8.0 s
rows per s          42,097
is verified         yes"""


def test_table_has_a_line_for_each_run_and_each_error() -> None:
    assert runs_view.table([FLIGHTS, PLANES], width=None) == TABLE
    assert runs_view.table([FLIGHTS, PLANES], width=170) == TABLE


def test_table_folds_on_a_narrow_terminal() -> None:
    assert runs_view.table([FLIGHTS, PLANES], width=110) == NARROW


def test_no_runs_are_said_in_words() -> None:
    assert runs_view.table([], width=80) == "no runs"


def test_proof_tells_counts_and_differences_apart() -> None:
    counted = dataclasses.replace(FLIGHTS, fingerprint_source="2 rows", fingerprint_target="2 rows")
    assert runs_view.table([counted], width=None).endswith("  equal count")
    differs = dataclasses.replace(FLIGHTS, fingerprint_target="2 rows 0x0000000000000001")
    assert runs_view.table([differs], width=None).endswith("  DIFFERENT 00c0ffee")
    failed = dataclasses.replace(FLIGHTS, status="failed")
    assert runs_view.table([failed], width=None).endswith("  unpublished")


def test_a_run_under_way_has_no_duration() -> None:
    running = dataclasses.replace(FLIGHTS, status="running", finished_at=None)
    assert "  running     -  " in runs_view.table([running], width=None)


def test_detail_shows_all_that_is_known() -> None:
    assert runs_view.detail(FLIGHTS) == DETAIL


def test_detail_leaves_out_what_is_not_known() -> None:
    names = [line.partition("  ")[0] for line in runs_view.detail(PLANES).splitlines()]
    assert "rows read" not in names
    assert "job ids" not in names
    assert "error" in names


def test_json_has_every_field_of_the_ledger() -> None:
    fields = json.loads(output.to_json(runs_view.as_dict(FLIGHTS)))
    assert {field.name for field in dataclasses.fields(record.Record)} <= set(fields)
    assert fields["started_at"] == "2026-11-21T12:07:05.000250+00:00"
    assert fields["execution_date"] == "2013-12-31"
    assert fields["duration_s"] == 8.0
    assert fields["rows_per_s"] == 42_097
    assert fields["is_verified"] is True
    assert fields["bytes_read"] == 5_123_456
    assert fields["job_ids"] == ["tmg_read_1", "tmg_\x1b_2"]
    assert fields["phase_seconds"] == {"load": 6.25, "verify": 0.5}


def test_warnings_stand_below_their_run() -> None:
    warned = dataclasses.replace(FLIGHTS, warnings=("no rows in the window", "b\x1b[2J"))
    for width in (None, 80):
        lines = runs_view.table([warned], width=width).splitlines()
        assert lines[-2:] == ["  warning: no rows in the window", "  warning: b\\x1b[2J"]
    detail = runs_view.detail(warned).splitlines()
    assert [line.split(None, 1) for line in detail[-2:]] == [
        ["warning", "no rows in the window"],
        ["warning", "b\\x1b[2J"],
    ]
    assert runs_view.as_dict(warned)["warnings"] == warned.warnings
