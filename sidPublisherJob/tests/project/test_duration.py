"""What items took is kept from run to run, and the longest come first."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests import duration


def count(session: Any, **took: float) -> None:
    """Have a run of these items end; each took as long in two phases."""
    recorder = duration.Recorder()
    for name, seconds in took.items():
        for phase in ("setup", "call"):
            report = pytest.TestReport(
                f"tests/a/{name}.py::t", ("", 0, ""), {}, "passed", "", phase
            )  # type: ignore[arg-type]
            report.duration = seconds / 2
            report.user_properties = [("processors_s", 0.25)]
            recorder.pytest_runtest_logreport(report)
    recorder.pytest_sessionfinish(session)


def test_an_item_keeps_what_it_took_when_it_last_ran(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(duration, "FILE", tmp_path / "durations.json")
    monkeypatch.delattr(request.config, "workerinput", raising=False)
    assert duration.load() == {}
    count(request.session, first=2.0, second=3.0)
    count(request.session, first=4.0)
    assert duration.load() == {
        "tests/a/first.py::t": [4.0, 0.5],
        "tests/a/second.py::t": [3.0, 0.5],
    }


def test_the_longest_come_first() -> None:
    known = {"tests/a/b.py::T::t[x/y]": (2.0, 1.0), "tests/c/d.py::t": (3.0, 0.5)}
    assert duration.render(known).splitlines() == [
        " seconds of cores  items  folder",
        "     5.0      1.5      2  all",
        "     3.0      0.5      1  tests/c",
        "     2.0      1.0      1  tests/a",
        "",
        " seconds of cores  item",
        "     3.0      0.5  tests/c/d.py::t",
        "     2.0      1.0  tests/a/b.py::T::t[x/y]",
    ]
