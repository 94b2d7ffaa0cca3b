"""The promises of `pipeline --help`: its text, its speed, and wrong arguments in one line."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import pytest

from tests.cli import process
from tmg_etl import __version__

USAGE = """\
Usage: pipeline [OPTIONS] EXECUTION_DATE TRANSFER_NAME [truncate|delta]
                CONFIG_LOCATION
"""
HELP = f"""\
{USAGE}
  This will run the pipeline.

  EXECUTION_DATE: date of pipeline execution YYYYMMDD
  TRANSFER_NAME: pipeline name to transfer
  WRITE_MODE: Options truncate/delta
  CONFIG_LOCATION: location of config file in form gs://bucket/filename or
    /path/to/file

  truncate replaces the whole table; delta merges the rows of a window of
  days. Logs go to stderr, the summary to stdout.

Options:
  --delta_start_date, --delta-start-date TEXT
                                  Date to backfill from YYYYMMDD, in the mode
                                  delta: all days from it to EXECUTION_DATE.
                                  Default: that day alone.
  --env NAME                      Environment of the config to use.  [default:
                                  local]
  --plan                          Print what the run would do, and write
                                  nothing.
  --verify [fingerprint|count|off]
                                  What to compare after the load, instead of
                                  what the config says.
  --lock-wait-s SECONDS           How long to wait for another run on the same
                                  target, instead of what the config says.
  --log-format [text|json]        Format of log and summary. Default: text on
                                  a terminal and for --plan, json (as Google
                                  Cloud Logging reads it) elsewhere.
  --progress / --no-progress      Draw phases live on a terminal; not by
                                  default if NO_COLOR or CI is set. Elsewhere,
                                  log one line every 10 s; with --no-progress
                                  only at the end of each phase.
  --version                       Show the version and exit.
  --help                          Show this message and exit.

  Exit codes:
    0    published and verified, or nothing to do
    64   usage: bad date, unknown mode, wrong arguments
    65   data: verification failed, bad key or value, empty source
    70   unexpected error: a bug; the traceback is in the log
    75   temporary: connection lost, lock busy, deadlock, quota; run again later
    77   permission or credentials
    78   configuration: unknown transfer, bad YAML, missing key, schema conflict
    143  stopped by SIGTERM (130: by SIGINT) after an orderly cleanup
"""

PEOPLE_HELP = """\
Usage: tmg-etl [OPTIONS] COMMAND [ARGS]...

  Look at configs and runs.

  CONFIG is a file or a URL as for `pipeline`; without it, $TMG_ETL_CONFIG or
  ./config.yaml.

Options:
  --version  Show the version and exit.
  --help     Show this message and exit.

Commands:
  config    Check a config, show it, print its JSON Schema.
  plan      Show what a run would do; writes nothing.
  rollback  Put the table back that a run replaced.
  runs      List what ran, or show one run in full.
  status    Show jobs and schedules in a cluster.
  verify    Compare source and target; name rows that differ.
  version   Show the version.
"""

RUNS_HELP = """\
Usage: tmg-etl runs [OPTIONS] [CONFIG] [RUN_ID|NAME]

  List what ran, the latest first; with RUN_ID, show one run in full.

  RUN_ID may be cut to its beginning. NAME is that of a transfer or publish
  group, as --transfer.

Options:
  --transfer NAME                 Only runs of this transfer or publish group.
  --status [running|succeeded|failed|stopped|abandoned]
                                  Only runs with this status.
  --limit INTEGER RANGE           Most runs to list, the latest first.
                                  [default: 20; x>=1]
  --env NAME                      Environment of the config to use.  [default:
                                  local]
  --json                          Print JSON: a list, or one object.
  --help                          Show this message and exit.
"""


def test_help_explains_arguments_options_and_exit_codes(pipeline: process.Runner) -> None:
    assert pipeline("--help") == process.Done(0, HELP, "")


def test_no_line_of_help_is_wider_than_80_columns() -> None:
    assert max(map(len, HELP.splitlines())) <= 80


def test_run_pipeline_is_the_same_command() -> None:
    script = [sys.executable, str(process.PROJECT / "run_pipeline.py")]
    assert process.call(script, "--help") == process.Done(0, HELP, "")
    assert len((process.PROJECT / "run_pipeline.py").read_text().splitlines()) < 30


def test_people_help_lists_commands(people: process.Runner) -> None:
    assert process.call(process.PEOPLE, "--help") == process.Done(0, PEOPLE_HELP, "")
    assert people() == process.Done(0, PEOPLE_HELP, "")
    assert people("runs", "--help") == process.Done(0, RUNS_HELP, "")


def test_subcommands_without_help_text_do_not_exist(people: process.Runner) -> None:
    for words in (("config", "check"), ("config", "schema"), ("config", "show"), ("plan",)):
        done = people(*words, "--help")
        assert done.code == 0
        assert done.out.startswith(f"Usage: tmg-etl {' '.join(words)} ")


def test_version(pipeline: process.Runner, people: process.Runner) -> None:
    version = __version__.__version__
    assert pipeline("--version") == process.Done(0, f"pipeline {version}\n", "")
    assert people("--version") == process.Done(0, f"tmg-etl {version}\n", "")
    assert people("version") == process.Done(0, f"{version}\n", "")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("tmg_etl.cli.pipeline", ["--help"]),
        ("tmg_etl.cli.pipeline", ["20130229", "dim", "truncate", "config.yaml"]),
        ("tmg_etl.cli.pipeline", ["20130201", "dim", "truncate"]),
        ("tmg_etl.cli.people", ["--help"]),
    ],
)
def test_only_click_is_imported_before_the_arguments_are_parsed(
    module: str, arguments: list[str]
) -> None:
    script = (
        "import sys, json, importlib; before = set(sys.modules)\n"
        f"code = importlib.import_module({module!r}).main({arguments!r})\n"
        "print('\\n' + json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = process.call([sys.executable, "-c", script])
    imported = {name.partition(".")[0] for name in json.loads(done.out.splitlines()[-1])}
    assert imported - set(sys.stdlib_module_names) == {"click", "tmg_etl"}


def answer_s(*arguments: str) -> float:
    """Seconds of the processor that an answer takes.

    Help waits for nothing, so these are the seconds on the wall of an idle machine; under the load
    of other tests the wall shows that load.
    """
    before = os.times()
    subprocess.run(
        [*process.PIPELINE, *arguments], env=process.environ(), capture_output=True, check=False
    )
    after = os.times()
    user_s = after.children_user - before.children_user
    return user_s + after.children_system - before.children_system


@pytest.mark.parametrize("arguments", [("--help",), ("2013", "dim", "delta", "config.yaml")])
def test_help_and_usage_errors_answer_in_under_300_milliseconds(arguments: tuple[str, ...]) -> None:
    assert statistics.median(answer_s(*arguments) for _ in range(7)) < 0.3


GOOD = ("20130131", "dim", "delta", "config.yaml")
FULL_USAGE = "pipeline [OPTIONS] EXECUTION_DATE TRANSFER_NAME [truncate|delta] CONFIG_LOCATION"
SEE = "see `pipeline --help`"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), f"found no EXECUTION_DATE, expected {FULL_USAGE}; {SEE}"),
        (GOOD[:1], f"found no TRANSFER_NAME, expected {FULL_USAGE}; {SEE}"),
        (GOOD[:2], f"found no WRITE_MODE, expected {FULL_USAGE}; {SEE}"),
        (GOOD[:3], f"found no CONFIG_LOCATION, expected {FULL_USAGE}; {SEE}"),
        ((*GOOD, "x"), f"got unexpected extra argument (x); {SEE}"),
        (
            ("20130229", *GOOD[1:]),
            "EXECUTION_DATE: 20130229 is not a day: February 2013 has 28 days; expected YYYYMMDD",
        ),
        (
            ("2013-01-31", *GOOD[1:]),
            "EXECUTION_DATE: found '2013-01-31', expected a day as YYYYMMDD; write 20130131",
        ),
        (
            (*GOOD, "--delta_start_date", "20131301"),
            "--delta_start_date: 20131301 is not a day: there is no month 13; expected YYYYMMDD",
        ),
        (
            (*GOOD, "--delta-start-date", "yesterday"),
            "--delta_start_date: found 'yesterday', expected a day as YYYYMMDD; "
            "for example 20130131",
        ),
        (
            (*GOOD, "--delta_start_date", "20130201"),
            "the window starts on 20130201 and ends on 20130131; "
            "--delta_start_date must not be after EXECUTION_DATE",
        ),
        (
            ("20130131", "dim", "truncate", "config.yaml", "--delta_start_date", "20130101"),
            "--delta_start_date has no meaning in the mode truncate, which replaces all rows; "
            "leave it out, or use the mode delta",
        ),
        (
            ("20130131", "dim", "Truncate", "config.yaml"),
            "WRITE_MODE: found 'Truncate', expected truncate or delta",
        ),
        (
            ("20130131", "dim", "config.yaml", "delta"),
            "WRITE_MODE: found 'config.yaml', expected truncate or delta",
        ),
        (
            (*GOOD, "--verify", "hash"),
            "--verify: found 'hash', expected fingerprint or count or off",
        ),
        (
            (*GOOD, "--log-format", "xml"),
            "--log-format: found 'xml', expected text or json",
        ),
        ((*GOOD, "--pln"), "found the unknown option --pln; did you mean --plan?"),
        ((*GOOD, "--quiet"), f"found the unknown option --quiet; {SEE}"),
        ((*GOOD, "--env"), "option '--env' requires an argument"),
        ((*GOOD, "--plan=yes"), "option '--plan' does not take a value"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_64(
    pipeline: process.Runner, arguments: tuple[str, ...], line: str
) -> None:
    assert pipeline(*arguments) == process.Done(64, "", f"pipeline: error: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "found no EXECUTION_DATE, expected "),
        (("2013", *GOOD[1:]), "EXECUTION_DATE: found '2013', expected a day as YYYYMMDD"),
        ((*GOOD[:2], "append", *GOOD[3:]), "WRITE_MODE: found 'append', expected truncate or "),
        ((*GOOD, "--quiet"), "found the unknown option --quiet; "),
        ((*GOOD, "--env"), "option '--env' requires an argument"),
        ((*GOOD, "--delta_start_date", "20140101"), "the window starts on 20140101 and ends "),
    ],
)
@pytest.mark.parametrize(
    "asked", [("--log-format", "json"), ("--log-format=text", "--log-format=json")]
)
def test_wrong_arguments_are_json_where_the_log_is(
    pipeline_here: process.Runner, asked: tuple[str, ...], arguments: tuple[str, ...], line: str
) -> None:
    done = pipeline_here(*asked, *arguments)
    assert (done.code, done.out) == (64, "")
    (entry,) = done.log
    assert entry["message"].startswith(f"pipeline: error: {line}")
    assert (entry["severity"], entry["exit_code"]) == ("ERROR", 64)
    assert entry["error_type"] == "UsageError"


def test_wrong_arguments_are_text_where_text_is_asked_for_last(
    pipeline_here: process.Runner,
) -> None:
    done = pipeline_here("--log-format", "json", *GOOD, "--quiet", "--log-format", "text")
    assert done.err.startswith("pipeline: error: found the unknown option --quiet; ")
    done = pipeline_here(*GOOD, "--quiet", "--", "--log-format", "json")
    assert done.err.startswith("pipeline: error: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("run",),
            "found the unknown command 'run', expected one of config, plan, rollback, "
            "runs, status, verify, version; did you mean runs?",
        ),
        (
            ("config", "validate"),
            "found the unknown command 'validate', expected one of check, schema, show",
        ),
        (("--foo",), "found the unknown option --foo; see `tmg-etl --help`"),
        (
            ("runs", "--limit", "0"),
            "--limit: 0 is not in the range x>=1",
        ),
        (
            ("runs", "a", "b", "c"),
            "found 3 arguments, expected at most CONFIG and RUN_ID or NAME;"
            " see `tmg-etl runs --help`",
        ),
        (
            ("plan", "20130131", "dim", "both"),
            "WRITE_MODE: found 'both', expected truncate or delta",
        ),
    ],
)
def test_wrong_arguments_of_people_are_one_line_and_exit_64(
    people: process.Runner, arguments: tuple[str, ...], line: str
) -> None:
    assert people(*arguments) == process.Done(64, "", f"tmg-etl: error: {line}\n")


def test_help_to_a_reader_that_has_gone_is_quiet() -> None:
    with process.start(process.PIPELINE, "--help") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait() == 0


def test_help_without_stdout_is_quiet() -> None:
    command = ["bash", "-c", '"$@" >&-', "bash", *process.PIPELINE]
    assert process.call(command, "--help") == process.Done(0, "", "")


def test_usage_error_without_stderr_keeps_its_code() -> None:
    command = ["bash", "-c", '"$@" 2>&-', "bash", *process.PIPELINE]
    assert process.call(command, "2013").code == 64


def test_a_name_that_is_not_utf8_is_shown(pipeline: process.Runner, tmp_path: pathlib.Path) -> None:
    arguments = ("20130131", "dim", "truncate", b"caf\xe9.yaml".decode(errors="surrogateescape"))
    done = process.call([*process.PIPELINE, *arguments], cwd=tmp_path)
    assert done.code == 78
    assert "caf" in done.error
