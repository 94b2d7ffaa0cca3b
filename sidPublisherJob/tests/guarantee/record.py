"""What the last `--full` run of each proving test injected and survived, in pytest's cache."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib

import pytest

from tests.guarantee import promise

PROJECT = pathlib.Path(__file__).parents[2]
FOLDER = "guarantee"


@dataclasses.dataclass
class Tally:
    """Numbers of one test, all its cases together.

    Attributes:
        cases: how often it ran, on other places or with other data.
        injected: faults.
        survived: those after which everything was as promised.
        day: of the latest case.
    """

    cases: int = 0
    injected: int = 0
    survived: int = 0
    day: str = ""


def name_of(item: pytest.Function) -> str:
    """Return a test as `promise` names it."""
    file = pathlib.Path(item.function.__code__.co_filename)
    name = item.originalname or item.name
    return f"{file.relative_to(PROJECT)}::{name}" if file.is_relative_to(PROJECT) else name


def write(item: pytest.Item, has_passed: bool) -> None:
    """Write down what one case did, if it proves a promise.

    A case whose `bench` counts faults injected those; any other one is one fault itself. Only where
    no rerun is left out is a fault survived as the page says it.
    """
    cache = getattr(item.config, "cache", None)
    if cache is None or not item.config.getoption("full"):
        return
    if not isinstance(item, pytest.Function) or name_of(item) not in promise.tests():
        return
    bench = item.funcargs.get("bench")
    injected = len(bench.faults) if bench is not None and bench.faults else 1
    facts = {
        "test": name_of(item),
        "injected": injected,
        # A test ends at the first fault that it does not survive.
        "survived": injected - (not has_passed),
        "day": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    folder = cache.mkdir(FOLDER)
    digest = hashlib.sha256(item.nodeid.encode()).hexdigest()[:24]
    (folder / f"{digest}.json").write_text(json.dumps(facts), encoding="utf-8")


def read(folder: pathlib.Path) -> dict[str, Tally]:
    """Return the numbers of all tests that were written down in a folder."""
    found: dict[str, Tally] = {}
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        tally = found.setdefault(facts["test"], Tally())
        tally.cases += 1
        tally.injected += facts["injected"]
        tally.survived += facts["survived"]
        tally.day = max(tally.day, facts["day"])
    return found
