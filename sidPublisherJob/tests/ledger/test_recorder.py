"""What a run writes down: success, failure, stop, cleanup, and a process that was killed."""

import dataclasses
import datetime
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tmg_etl
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.ledger import record, recorder, store

DAY = datetime.date(2013, 1, 1)
RESULT = run_module.Result(
    rows_read=5,
    rows_inserted=4,
    rows_updated=1,
    rows_deleted=0,
    rows_unchanged=0,
    publish="swap",
    publish_reason="nothing depends on it",
    fingerprint_source="5:ab",
    fingerprint_target="5:ab",
    snapshot="2 files",
    phase_seconds={"read": 0.5},
    bytes_read=1_234_567,
    job_ids=("job_1", "job_2"),
)


def make_run() -> run_module.Run:
    declared = model.Transfer.model_validate(
        {
            "source": {"connection": "lake", "table": "planes"},
            "target": {"connection": "serving", "table": "dim_plane"},
        }
    )
    return run_module.Run(
        id=run_module.new_run_id(),
        transfer_name="dim_plane",
        execution_date=DAY,
        window=run_module.Window(DAY, DAY),
        write_mode=run_module.WriteMode.TRUNCATE,
        transfer=declared,
        connections={},
        config_location="config.yaml",
        config_digest="d" * 64,
        pipeline_path="tests:Scripted",
    )


class Scripted(tmg_etl.TMGETL):
    """Raises what it is told to, where it is told to."""

    def __init__(self, book: recorder.LedgerRecorder, **raises: BaseException) -> None:
        super().__init__(make_run(), recorder=book)
        self.raises = raises

    def pre_execution_cleansing(self) -> None:
        self.step("cleansing")

    def pipeline(self) -> None:
        self.step("work")
        self.result = RESULT

    def post_execution_cleanup(self) -> None:
        self.step("cleanup")

    def step(self, name: str) -> None:
        if name in self.raises:
            raise self.raises[name]


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def execute(url: str, **raises: BaseException) -> record.Record:
    pipeline = Scripted(recorder.LedgerRecorder(url), **raises)
    assert pipeline.execute().ledger_error is None
    with store.open(url) as ledger:
        return ledger.get(pipeline.run.id)


def test_success(url):
    row = execute(url)
    assert (row.status, row.exit_code, row.error, row.cleanup_error) == ("succeeded", 0, None, None)
    assert (row.transfer, row.target, row.env) == ("dim_plane", "serving:dim_plane", "local")
    assert (row.write_mode, row.execution_date) == ("truncate", DAY)
    assert (row.host, row.pid) == (socket.gethostname(), os.getpid())
    assert row.pipeline == "tests:Scripted"
    assert row.duration_s is not None
    assert row.duration_s >= 0
    for field in dataclasses.fields(run_module.Result):
        assert getattr(row, field.name) == getattr(RESULT, field.name)


def test_failure(url):
    row = execute(url, work=errors.EmptySourceError("planes"))
    assert (row.status, row.exit_code, row.rows_read) == ("failed", 65, None)
    assert row.error == (
        "the source planes is empty and would wipe the target; "
        "write `on_empty: allow` in the transfer if that is meant"
    )


def test_bug_is_named_by_its_type(url):
    row = execute(url, work=KeyError("a\nb"), cleanup=ValueError())
    assert (row.status, row.exit_code, row.error) == ("failed", 70, r"KeyError: 'a\nb'")
    assert row.cleanup_error == "ValueError"


def test_cleanup_failure_is_no_failure(url):
    row = execute(url, cleanup=errors.ConnectionLostError("gone"))
    assert (row.status, row.exit_code, row.cleanup_error) == ("succeeded", 0, "gone")


def test_warnings_are_kept_without_secrets(url):
    book = recorder.LedgerRecorder(url, lambda text: text.replace("geheim", "***"))
    pipeline = Scripted(book)
    pipeline.run.warn("no rows for\ngeheim")
    assert pipeline.execute().ledger_error is None
    with store.open(url) as ledger:
        assert ledger.get(pipeline.run.id).warnings == ("no rows for ***",)


def test_more_and_longer_warnings_than_a_row_holds(url):
    pipeline = Scripted(recorder.LedgerRecorder(url))
    for number in range(1000):
        pipeline.run.warn(f"{number} " + "ж" * 1000)
    assert pipeline.execute().ledger_error is None
    with store.open(url) as ledger:
        found = ledger.get(pipeline.run.id).warnings
    assert len(found) == run_module.MOST_WARNINGS
    assert found[-1] == "there are more warnings in the log"
    # The smallest type of this kind, MySQL's TEXT, holds so many bytes.
    assert len(json.dumps(found)) < 65_536


def test_stop(url):
    row = execute(url, work=errors.Stopped(signal.SIGTERM))
    assert (row.status, row.exit_code, row.error) == ("stopped", 143, "stopped by SIGTERM")


def test_secrets_are_removed_from_errors(url):
    book = recorder.LedgerRecorder(url, lambda text: text.replace("geheim", "***"))
    pipeline = Scripted(book, work=RuntimeError("password geheim\nat mysql://u:p@h/d"))
    pipeline.execute()
    with store.open(url) as ledger:
        row = ledger.get(pipeline.run.id)
    assert row.error == "RuntimeError: password *** at mysql://u:***@h/d"


def test_a_lost_ledger_loses_no_run(tmp_path, caplog):
    (tmp_path / "file").touch()
    book = recorder.LedgerRecorder(f"sqlite:///{tmp_path}/file/ledger.db")
    outcome = Scripted(book).execute()
    assert outcome.status == "succeeded"
    assert isinstance(outcome.ledger_error, errors.LedgerError)


def test_a_ledger_lost_on_the_way_is_reported(url, tmp_path):
    class Destroying(Scripted):
        def pipeline(self) -> None:
            (tmp_path / "ledger.db").write_text("overwritten" * 100)

    outcome = Destroying(recorder.LedgerRecorder(url)).execute()
    assert outcome.status == "succeeded"
    assert "cannot be written: file is not a database" in str(outcome.ledger_error)


def test_a_killed_run_is_abandoned_by_the_next(url, caplog):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_recorder
from tmg_etl.ledger import recorder
class Killed(test_recorder.Scripted):
    def pipeline(self):
        print(self.run.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
Killed(recorder.LedgerRecorder({url!r})).execute()
"""
    killed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    killed_id = killed.stdout.strip()
    with store.open(url) as ledger:
        assert ledger.get(killed_id).status == "running"
    with caplog.at_level(logging.WARNING):
        row = execute(url)
    assert row.status == "succeeded"
    assert f"the run {killed_id} ended without a word; marked as abandoned" in caplog.text
    with store.open(url) as ledger:
        assert ledger.get(killed_id).status == "abandoned"
        assert [run.id for run in ledger.list()] == [row.id, killed_id]


def test_making_a_recorder_imports_no_sqlalchemy():
    code = (
        "import sys; from tmg_etl.ledger import recorder\n"
        "recorder.LedgerRecorder('sqlite:///x')\n"
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
