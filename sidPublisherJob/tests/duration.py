"""What each item took when it last ran, kept beside `.venv` for `script/test --slowest`."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Generator, Mapping

import pytest

#: Of this clone.
FILE = pathlib.Path(__file__).parents[2] / ".venv" / "durations.json"

#: Seconds on the clock, and of processors: of the tests' process and of those that it waited for.
Spent = tuple[float, float]

_PROPERTY = "processors_s"
_SHOWN = 50


class Recorder:
    """The plugin that keeps it."""

    def __init__(self) -> None:
        self._found: dict[str, Spent] = {}
        self._before_s = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Begin an item."""
        self._before_s = _processors_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Have the report say what its phase used; from a worker it goes to the controller."""
        report = yield
        before_s, self._before_s = self._before_s, _processors_s()
        report.user_properties.append((_PROPERTY, self._before_s - before_s))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase."""
        wall_s, used_s = self._found.get(report.nodeid, (0.0, 0.0))
        used_s += sum(value for name, value in report.user_properties if name == _PROPERTY)
        self._found[report.nodeid] = (wall_s + report.duration, used_s)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep what was counted, and what is known of other items."""
        if self._found and not hasattr(session.config, "workerinput"):
            known = json.dumps({**load(), **self._found})
            FILE.write_text(known, encoding="utf-8")


def _processors_s() -> float:
    return sum(os.times()[:4])


def load() -> dict[str, Spent]:
    """Return what is known, by item."""
    try:
        found: dict[str, Spent] = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def render(known: Mapping[str, Spent]) -> str:
    """Return a table of the folders and one of the slowest items."""
    folders: dict[str, list[Spent]] = {}
    for name, spent in known.items():
        folders.setdefault(name.partition("::")[0].rpartition("/")[0], []).append(spent)
    lines = [f"{'seconds':>8} {'of cores':>8} {'items':>6}  folder"]
    sums = {
        name: (sum(wall_s for wall_s, _ in all_of), sum(used_s for _, used_s in all_of))
        for name, all_of in {**folders, "all": list(known.values())}.items()
    }
    for name, (wall_s, used_s) in _longest_first(sums):
        items = len(folders.get(name, known))
        lines.append(f"{wall_s:8.1f} {used_s:8.1f} {items:6}  {name}")
    lines += ["", f"{'seconds':>8} {'of cores':>8}  item"]
    for name, (wall_s, used_s) in _longest_first(known)[:_SHOWN]:
        lines.append(f"{wall_s:8.1f} {used_s:8.1f}  {name}")
    return "\n".join(lines)


def _longest_first(spent: Mapping[str, Spent]) -> list[tuple[str, Spent]]:
    return sorted(spent.items(), key=lambda item: item[1], reverse=True)
