"""Every broken input ends with its exit code and one clear line, and the target is as it was."""

from __future__ import annotations

import pathlib
import sys

import pytest

from tests.cli import process
from tests.corpus import corpus_kit, parquet_case, place_case
from tmg_etl.cli import people, pipeline

TABLES = {
    **{
        name: corpus_kit.table(f"{name}.yaml") for name in ("command", "config", "csv", "jsonlines")
    },
    "parquet": parquet_case.CASES,
    "place": place_case.CASES,
}
CASES = {
    f"{table}: {name}": case for table, cases in TABLES.items() for name, case in cases.items()
}
#: As real processes too: what this process shares with them is the point of the others.
_SAMPLE = list(CASES)[::45]
_MAINS = {"pipeline": pipeline.main, "tmg-etl": people.main}
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
#: Half a gigabyte of zeros is in each bomb; a run that does nothing takes 150 MiB.
_PEAK_KIB = 900 << 10


@pytest.fixture
def workshop(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> corpus_kit.Workshop:
    return corpus_kit.Workshop(tmp_path, empty_ledger)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 350
    assert all(any(fragment for fragment in case.says) for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_broken_input_is_refused(
    name: str,
    workshop: corpus_kit.Workshop,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    workshop.fill(case)
    before = workshop.state()
    for variable, value in corpus_kit.environ(case).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(workshop.folder)
    capfd.readouterr()
    code = _MAINS[case.command](corpus_kit.arguments(case, workshop))
    corpus_kit.check(case, process.Done(code, *capfd.readouterr()), before, workshop)


@pytest.mark.parametrize("name", _SAMPLE)
def test_broken_input_is_refused_by_a_process(name: str, workshop: corpus_kit.Workshop) -> None:
    case = CASES[name]
    workshop.fill(case)
    before = workshop.state()
    command = process.PIPELINE if case.command == "pipeline" else process.PEOPLE
    done = process.call(
        command,
        *corpus_kit.arguments(case, workshop),
        env=corpus_kit.environ(case),
        cwd=workshop.folder,
    )
    corpus_kit.check(case, done, before, workshop)


@pytest.mark.parametrize(
    "name",
    [
        "csv: a line that unpacks to a gigabyte",
        "csv: a quote that unpacks to a gigabyte",
        "jsonlines: a line that unpacks to a gigabyte",
        "config: a billion laughs",
    ],
)
def test_a_bomb_fits_into_memory(name: str, workshop: corpus_kit.Workshop) -> None:
    case = CASES[name]
    workshop.fill(case)
    # By a process between: this one's own peak would be handed down.
    measure = [sys.executable, "-c", _MEASURE, *process.PIPELINE]
    done = process.call(
        measure,
        *corpus_kit.arguments(case, workshop),
        env=corpus_kit.environ(case),
        cwd=workshop.folder,
    )
    code, peak_kib = map(int, done.out.split())
    assert code == case.code
    assert peak_kib < _PEAK_KIB


def test_columns_without_values_are_published_as_nulls(
    workshop: corpus_kit.Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.folder)
    case = corpus_kit.Case(0, files={"rows.csv": "id,v,name\n1,,\n2,,\n"})
    workshop.fill(case)
    monkeypatch.setenv("CORPUS_PASSWORD", corpus_kit.SECRET)
    assert pipeline.main(corpus_kit.arguments(case, workshop)) == 0
    assert workshop.state()[0][-2:] == [(1, None, None), (2, None, None)]


def test_a_value_after_many_nulls_is_no_guess(
    workshop: corpus_kit.Workshop,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setenv("CORPUS_PASSWORD", corpus_kit.SECRET)
    rows = "".join(f"{row},,{'x' * 90}\n" for row in range(60_000))
    case = corpus_kit.Case(
        65,
        ("column 'v' value '7' in the row (id='60000')", "declare the column's type"),
        files={"rows.csv": f"id,v,name\n{rows}60000,7,y\n"},
    )
    workshop.fill(case)
    before = workshop.state()
    capfd.readouterr()
    code = pipeline.main(corpus_kit.arguments(case, workshop))
    corpus_kit.check(case, process.Done(code, *capfd.readouterr()), before, workshop)
