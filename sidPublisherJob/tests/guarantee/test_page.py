"""The page of guarantees names tests that exist, and is as the table makes it."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

from tests.guarantee import page, promise, record

PAGE = record.PROJECT.parent / "docs" / "guarantees.md"
#: Counts what a run does and breaks nothing.
_COUNTING = "test_cost.py"
_NUMBERS = re.compile(r"\d[\d,]*(?= faults| tests| were|\s\|)|\((?:\d{4}-\d{2}-\d{2}|never run)\)")


def functions(path: pathlib.Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    for test in promise.tests():
        file, _, name = test.partition("::")
        assert name in functions(record.PROJECT / file), test


def test_every_test_that_breaks_runs_proves_a_promise() -> None:
    named = {test.partition("::")[2] for test in promise.tests()}
    for path in (record.PROJECT / "tests" / "crash").glob("test_*.py"):
        if path.name == _COUNTING:
            continue
        proofs = {name for name in functions(path) if name.startswith("test_")}
        assert proofs <= named, f"add to tests/guarantee/promise.py: {proofs - named}"


def test_the_page_is_made_by_the_command() -> None:
    made, found = page.render({}), PAGE.read_text(encoding="utf-8")
    assert _NUMBERS.sub("#", found) == _NUMBERS.sub("#", made), (
        "run: python -m tests.guarantee.page > ../docs/guarantees.md"
    )


@pytest.mark.parametrize("is_full", [False, True])
def test_only_full_runs_are_written_down(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    is_full: bool,
) -> None:
    name = record.name_of(request.node)
    monkeypatch.setitem(promise.PROMISES, "This page", [promise.Promise("", "", (name,))])
    monkeypatch.setattr(request.config.cache, "_cachedir", tmp_path)
    monkeypatch.setattr(request.config.option, "full", is_full)
    record.write(request.node, has_passed=True)
    assert list(record.read(tmp_path / "d" / record.FOLDER)) == ([name] if is_full else [])


def test_nothing_is_on_the_page_that_was_not_survived() -> None:
    rows = re.findall(r"\| ([\d,]+) \| ([\d,]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows
    assert all(injected == survived != "0" for injected, survived in rows)
