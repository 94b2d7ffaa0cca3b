"""The assertions that authors of pipelines call: they find the bug, and pass what has none."""

import contextlib
import datetime
import pathlib
import sqlite3
import sys
from collections.abc import Callable

import pytest
import yaml

from tmg_etl import testing

DAY = datetime.date(2024, 3, 10)
PIPELINES = pathlib.Path(__file__).parent / "pipelines"


@pytest.fixture
def reset(tmp_path: pathlib.Path) -> Callable[[], None]:
    def empty() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "serving.db")) as raw, raw:
            raw.execute("CREATE TABLE IF NOT EXISTS agent (name TEXT NOT NULL PRIMARY KEY)")
            raw.execute("DELETE FROM agent")
            raw.execute("INSERT INTO agent (name) VALUES ('ada')")

    return empty


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    (tmp_path / "agents.csv").write_text("name\nada\nbob\neve\n")
    monkeypatch.setattr(sys, "path", [str(PIPELINES), *sys.path])

    def write(pipeline: str | None) -> str:
        transfer = {
            "source": {"connection": "lake", "table": "agents"},
            "target": {"connection": "serving", "table": "agent"},
            "key": ["name"],
        }
        if pipeline is not None:
            transfer["pipeline"] = f"hand_written:{pipeline}"
        place = tmp_path / "etl.yaml"
        content = {
            "connections": {
                "lake": {"type": "files", "url": "."},
                "serving": {"type": "sqlite", "url": "sqlite:///serving.db"},
            },
            "packages": ["hand_written"],
            "transfers": {"agents": transfer},
        }
        place.write_text(yaml.safe_dump(content))
        return str(place)

    return write


pytestmark = pytest.mark.slow


def test_half_written_table_is_found(
    config: Callable[[str], str], reset: Callable[[], None]
) -> None:
    with pytest.raises(AssertionError, match="neither what it was before the run"):
        testing.assert_crash_safe(config("DeleteAndInsert"), "agents", day=DAY, reset=reset)


@pytest.mark.parametrize("pipeline", ["OneStatement", None])
def test_whole_or_nothing_passes(
    config: Callable[[str | None], str], reset: Callable[[], None], pipeline: str | None
) -> None:
    assert testing.assert_crash_safe(config(pipeline), "agents", day=DAY, reset=reset) > 5


def test_rows_lost_by_a_caught_error_are_found(
    config: Callable[[str], str], reset: Callable[[], None]
) -> None:
    expected = "cut at read:1 of 'lake': the run ended with 0, and the target has 3 rows missing"
    with pytest.raises(AssertionError, match=expected):
        testing.assert_fault_safe(
            config("Forgiving"), "agents", day=DAY, reset=reset, actions=["cut"]
        )


@pytest.mark.parametrize(
    ("pipeline", "actions"), [("Strict", ["cut"]), (None, ["raise", "cut", "full"])]
)
def test_faults_that_are_told_pass(
    config: Callable[[str | None], str],
    reset: Callable[[], None],
    pipeline: str | None,
    actions: list[str],
) -> None:
    count = testing.assert_fault_safe(
        config(pipeline), "agents", day=DAY, reset=reset, actions=actions
    )
    assert count >= 40 * len(actions)


def test_same_twice_passes_and_equal_its_source(
    config: Callable[[str | None], str], reset: Callable[[], None], tmp_path: pathlib.Path
) -> None:
    reset()
    testing.assert_idempotent(config(None), "agents", day=DAY)
    testing.assert_equal(config(None), "agents", day=DAY)
    with contextlib.closing(sqlite3.connect(tmp_path / "serving.db")) as raw, raw:
        raw.execute("UPDATE agent SET name = 'mallory' WHERE name = 'eve'")
    with pytest.raises(AssertionError, match=r"1 rows missing: \[\('eve',\)\], 1 rows too many"):
        testing.assert_equal(config(None), "agents", day=DAY)


def test_run_returns_its_outcome(
    config: Callable[[str | None], str], reset: Callable[[], None]
) -> None:
    reset()
    outcome = testing.run_pipeline(config(None), "agents", day=DAY)
    assert outcome.exit_code == 0
    assert outcome.result.rows_read == 3
