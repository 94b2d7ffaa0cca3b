"""The people's command on a real config and its ledger."""

import json
import pathlib
import re
from collections.abc import Callable

import click
import pytest
import yaml

from tests.cli import process
from tmg_etl.cli import people as people_module


def test_check_counts_what_it_found(people: process.Runner, config: pathlib.Path) -> None:
    line = f"ok: {config}, environment local: 3 transfers, 3 connections\n"
    assert people("config", "check", config) == process.Done(0, line, "")


def test_config_is_found_without_naming_it(people: process.Runner, config: pathlib.Path) -> None:
    done = people("config", "check", cwd=config.parent)
    assert done.out.startswith("ok: config.yaml, ")
    done = people("config", "check", env={"TMG_ETL_CONFIG": str(config)})
    assert done.out.startswith(f"ok: {config}, ")
    assert people("runs", cwd=config.parent) == process.Done(0, "no runs\n", "")
    assert people("runs", env={"TMG_ETL_CONFIG": str(config)}).out == "no runs\n"


def test_check_prints_every_problem(people: process.Runner, config: pathlib.Path) -> None:
    text = config.read_text().replace("key: [id]", "kye: [id]")
    config.write_text(text)
    done = people("config", "check", config)
    assert (done.code, done.out) == (78, "")
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert all(re.match(rf"tmg-etl: error: {config}:\d+:transfers\.", line) for line in lines)
    assert all("did you mean `key`?" in line for line in lines)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("cli_sample:Nothing", "has no class 'Nothing'; its pipelines are Sample"),
        ("cli_sample:FAILURES", "'cli_sample:FAILURES' is no subclass of tmg_etl.TMGETL"),
        ("cli_sample.other:Sample", "cannot import 'cli_sample.other': "),
    ],
)
def test_check_imports_the_pipeline_classes(
    people: process.Runner, config: pathlib.Path, pipeline: str, message: str
) -> None:
    config.write_text(config.read_text().replace("cli_sample:Sample", pipeline))
    done = people("config", "check", config)
    assert (done.code, done.out) == (78, "")
    (line,) = done.err.splitlines()
    assert line.startswith("tmg-etl: error: ")
    assert message in line


def test_show_masks_secrets(
    people: process.Runner, config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    url = "mysql://me:${PASSWORD}@db/sid"
    text = config.read_text().replace("duckdb:///serving.duckdb", url)
    config.write_text(text.replace("type: duckdb", "type: mysql"))
    done = people("config", "show", config, env={"PASSWORD": "geheim"})
    assert (done.code, done.err) == (0, "")
    assert "geheim" not in done.out
    shown = yaml.safe_load(done.out)
    assert "***" in shown["connections"]["serving"]["url"]
    assert shown["transfers"]["dim"]["verify"] == "fingerprint"


def test_every_listed_command_exists() -> None:
    context = click.Context(people_module.command)
    for name in people_module.command.list_commands(context):
        found = people_module.command.get_command(context, name)
        assert found is not None
        assert found.name == name
    assert people_module.command.get_command(context, "run") is None


def test_schema_is_json(people: process.Runner) -> None:
    done = people("config", "schema")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["properties"]["transfers"]


def test_runs_are_listed_latest_first(
    pipeline_here: process.Runner, people: process.Runner, config: pathlib.Path
) -> None:
    pipeline_here("20130101", "sample", "truncate", config)
    pipeline_here("20130102", "sample", "delta", config, "--delta_start_date", "20130101")
    done = people("runs", config)
    assert (done.code, done.err) == (0, "")
    header, delta, truncate = done.out.splitlines()
    assert header.split()[:3] == ["RUN", "STARTED", "(UTC)"]
    assert "  delta     20130101-20130102  succeeded  " in delta
    assert "  truncate  20130101           succeeded  " in truncate
    assert delta.endswith("  equal 00000000")
    listed = json.loads(people("runs", config, "--json").out)
    assert [run["write_mode"] for run in listed] == ["delta", "truncate"]
    assert len(json.loads(people("runs", config, "--json", "--limit", "1").out)) == 1


def test_runs_are_filtered(
    pipeline_here: process.Runner, people: process.Runner, config: pathlib.Path
) -> None:
    pipeline_here("20130101", "sample", "truncate", config)
    assert len(people("runs", config, "--transfer", "sample").out.splitlines()) == 2
    for words in ((config, "sample"), ("sample", config)):
        assert len(people("runs", *words).out.splitlines()) == 2
    assert len(people("runs", "sample", cwd=config.parent).out.splitlines()) == 2
    assert people("runs", config, "--transfer", "dim").out == "no runs\n"
    assert people("runs", config, "--status", "failed").out == "no runs\n"
    done = people("runs", config, "--transfer", "sampel")
    assert (done.code, done.out) == (78, "")
    assert "did you mean `sample`?" in done.err


def test_a_failed_run_shows_its_error(
    pipeline_here: process.Runner, people: process.Runner, sample: Callable[..., pathlib.Path]
) -> None:
    config = sample(fail="data")
    pipeline_here("20130101", "sample", "truncate", config)
    _, run, error = people("runs", config).out.splitlines()
    assert "  failed  " in run
    assert error == "  error: the data is bad; correct it"


def test_one_run_is_shown_in_full(
    pipeline_here: process.Runner, people: process.Runner, config: pathlib.Path
) -> None:
    run_id = json.loads(pipeline_here("20130101", "sample", "truncate", config).out)["run_id"]
    done = people("runs", config, run_id)
    assert done.code == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in done.out.splitlines())
    assert facts["id"] == run_id
    assert facts["status"] == "succeeded"
    assert facts["rows read"] == "1,000"
    assert facts["is verified"] == "yes"
    assert people("runs", config, run_id[:16]).out == done.out
    assert people("runs", run_id[:18], cwd=config.parent).code == 0
    assert json.loads(people("runs", config, run_id, "--json").out)["id"] == run_id


def test_a_run_id_that_fits_nothing_is_a_usage_error(
    people: process.Runner, config: pathlib.Path
) -> None:
    done = people("runs", config, "1999")
    assert (done.code, done.out) == (64, "")
    assert done.err == (
        "tmg-etl: error: no run has an id that starts with '1999'; `tmg-etl runs` lists the ids\n"
    )


def test_output_to_a_full_disk_is_said(people: process.Runner) -> None:
    with (
        pathlib.Path("/dev/full").open("w") as full,
        process.start(process.PEOPLE, "version", stdout=full) as running,
    ):
        assert running.stderr is not None
        assert running.stderr.read() == (
            "tmg-etl: error: stdout could not be written: No space left on device\n"
        )
        assert running.wait() == 75


def test_runs_need_the_variables_of_the_ledger_alone(people, config):
    text = config.read_text(encoding="utf-8")
    away = "  away: {type: mysql, url: 'mysql://u:${NOT_SET_ANYWHERE}@h/d'}\npackages:"
    config.write_text(text.replace("packages:", away, 1), encoding="utf-8")
    done = people("runs", config, cwd=config.parent)
    assert done.code == 0, done.err
    refused = people("config", "check", config)
    assert refused.code == 78
    assert "NOT_SET_ANYWHERE" in refused.err
