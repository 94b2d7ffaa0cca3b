"""A plan counts what the run that follows it reports, and writes nothing."""

from __future__ import annotations

import datetime
import pathlib
import threading
import time

import pyarrow as pa
import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import connectors
from tmg_etl.cli import plan_view
from tmg_etl.transfer import rehearsal

KEY = "key: [id]"
UPSERT = KEY + "\n    delta: {cursor: day, order_by: [version], deleted: 'gone = 1'}"
WINDOW = KEY + "\n    delta: {cursor: day, strategy: replace_window}"
OLD = [row(1), row(2), row(3, day=1), row(4, name=None), row(5, amount=-0.25), row(6, day=3)]
NEW = [
    row(1),
    row(2, name="new"),
    row(4, name=None, amount=None),
    row(7),
    row(8),
    row(3, day=1),
    row(6, day=3),
]


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def seed(shop: plan_kit.Shop, more: str) -> None:
    """Publish the old rows."""
    shop.declare(more)
    shop.fill(OLD)
    shop.publish()


def compare(
    shop: plan_kit.Shop, mode: str = "truncate", start: datetime.date | None = None
) -> rehearsal.Changes:
    """Plan, run, and hold them to each other."""
    plan = shop.plan(mode, start)
    assert plan.rows_exact, plan.rows_reason
    assert plan.exit_code == 0
    result = shop.publish(mode, start)
    assert plan.rows == plan_kit.reported(result)
    assert (plan.publish, plan.publish_reason) == (result.publish, result.publish_reason)
    assert plan.source_rows in (None, result.rows_read)
    again = shop.plan(mode, start)
    assert plan_kit.reported(shop.publish(mode, start)) == again.rows
    return plan.rows


def test_swap(shop: plan_kit.Shop) -> None:
    seed(shop, KEY + "\n    publish: swap")
    shop.fill(NEW)
    plan = shop.plan()
    assert plan.rows == rehearsal.Changes(7, 0, 6, 0)
    assert plan.difference == rehearsal.Changes(insert=2, update=2, delete=1, leave=3)
    compare(shop)


def test_swap_without_a_key(shop: plan_kit.Shop) -> None:
    seed(shop, "publish: swap")
    shop.fill([*NEW, row(1)])
    assert shop.plan().difference is None
    assert compare(shop) == rehearsal.Changes(8, 0, 6, 0)


def test_diff(shop: plan_kit.Shop) -> None:
    seed(shop, KEY + "\n    publish: diff")
    shop.fill(NEW)
    assert compare(shop) == rehearsal.Changes(insert=2, update=2, delete=1, leave=3)


def test_new_target(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill(OLD)
    plan = shop.plan()
    assert (plan.creates, plan.publish) == (True, "swap")
    assert compare(shop) == rehearsal.Changes(6, 0, 0, 0)


def test_what_would_fail_is_said_of_a_new_target_too(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill([*NEW, row(4)])
    plan = shop.plan()
    assert plan.exit_code == 65
    assert "occurs more than once" in str(plan.fails)
    shop.declare(KEY.replace("id", "name"))
    assert shop.plan().exit_code == 65
    assert shop.run().exit_code == 65


def test_upsert(shop: plan_kit.Shop) -> None:
    seed(shop, UPSERT)
    shop.fill(
        [
            row(1),  # equal
            row(2, version=2, name="later"),  # updated, the earlier version dropped
            row(2, version=1, name="earlier"),
            row(4, version=0, name="superseded"),  # older than what is held
            row(5, version=2, gone=1),  # deleted
            row(9, version=2, gone=1),  # never was there
            row(10),
            row(11, day=3),  # outside the window
        ]
    )
    changes = compare(shop, "delta")
    assert changes == rehearsal.Changes(insert=1, update=1, delete=1, leave=2)


def test_upsert_into_a_new_table(shop: plan_kit.Shop) -> None:
    shop.declare(UPSERT)
    shop.fill([row(1), row(2, version=2), row(2), row(3, gone=1), row(4, day=1)])
    assert compare(shop, "delta") == rehearsal.Changes(2, 0, 0, 0)


def test_upsert_of_columns_that_the_target_lacks(shop: plan_kit.Shop) -> None:
    narrow = pa.schema([plan_kit.SCHEMA.field(at) for at in range(4)])
    shop.declare(UPSERT + "\n    schema: evolve")
    shop.fill([item[:4] for item in OLD], narrow)
    shop.declare(KEY)
    shop.publish()
    shop.declare(UPSERT + "\n    schema: evolve")
    shop.fill([row(1), row(2, name=None, gone=0), row(12)])
    plan = shop.plan("delta")
    assert plan.added == ("name string", "gone int64")
    assert compare(shop, "delta") == rehearsal.Changes(insert=1, update=2, delete=0, leave=0)


def test_upsert_by_an_order_column_that_the_target_lacks(shop: plan_kit.Shop) -> None:
    narrow = pa.schema([plan_kit.SCHEMA.field(at) for at in range(4)])
    shop.declare(KEY)
    shop.fill([item[:4] for item in OLD], narrow)
    shop.publish()
    shop.declare(KEY + "\n    delta: {cursor: day, order_by: [version, name]}\n    schema: evolve")
    shop.fill([row(1, version=0), row(2, version=2), row(12)])
    plan = shop.plan("delta")
    words = "the order column 'name' is new to the target: the rows that it holds count as older"
    assert words in plan.warnings
    assert plan.rows == rehearsal.Changes(insert=1, update=1, delete=0, leave=1)
    outcome = shop.run("delta")
    assert outcome.warnings == (words,)
    assert plan_kit.reported(outcome.result) == plan.rows
    assert shop.run("delta").warnings == ()


@pytest.mark.parametrize("key", ["", KEY])
def test_replace_window(shop: plan_kit.Shop, key: str) -> None:
    more = WINDOW if key else WINDOW.removeprefix(KEY + "\n    ")
    seed(shop, more)
    shop.fill(NEW)
    changes = compare(shop, "delta", datetime.date(2013, 1, 1))
    wanted = rehearsal.Changes(2, 2, 1, 2) if key else rehearsal.Changes(6, 0, 5, 0)
    assert changes == wanted


def test_what_would_fail_is_said_with_its_code(shop: plan_kit.Shop) -> None:
    seed(shop, WINDOW)
    shop.fill([*NEW, row(1, day=3, version=9)])
    for plan, outcome in [
        (shop.plan(), shop.run()),
        (shop.plan("delta"), shop.run("delta")),
    ]:
        assert plan.exit_code == outcome.exit_code == (65 if plan.write_mode == "truncate" else 0)
    shop.fill([row(6)])  # held outside the window
    plan, outcome = shop.plan("delta"), shop.run("delta")
    assert (plan.exit_code, plan.fails) == (65, getattr(outcome.error, "message", ""))
    shop.fill([])
    plan = shop.plan()
    assert (plan.exit_code, plan.rows.insert) == (65, None)
    assert "empty" in str(plan.fails) or "no rows" in str(plan.fails)


def test_an_estimate_reads_nothing(shop: plan_kit.Shop) -> None:
    seed(shop, KEY)
    shop.fill(NEW)
    plan = shop.plan(depth="estimate")
    assert (plan.rows_exact, plan.source_rows) == (False, 7)
    assert plan.rows_reason == "an estimate was asked for"


def test_more_rows_than_the_limit_are_not_counted(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(shop, UPSERT)
    shop.fill(NEW)
    monkeypatch.setattr(rehearsal, "MOST_ROWS", 3)
    plan = shop.plan("delta")
    assert not plan.rows_exact
    assert plan.rows == rehearsal.Changes()
    assert "more than 3 rows" in str(plan.rows_reason)
    assert shop.plan("delta", depth="exact").rows_exact


def test_past_runs_tell_how_long_it_takes(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill(NEW)
    assert shop.plan().estimated_seconds is None
    shop.publish()
    shop.publish()
    plan = shop.plan()
    assert plan.estimated_from_runs == 2
    assert plan.estimated_seconds is not None
    assert 0 <= plan.estimated_seconds < 60


def test_runs_that_did_nothing_are_no_measure(shop: plan_kit.Shop) -> None:
    shop.declare(KEY + "\n    skip_unchanged: true")
    shop.fill(NEW)
    assert shop.publish().publish == "swap"
    assert shop.publish().publish == "none"
    plan = shop.plan()
    assert plan.estimated_from_runs == 1
    assert any("skip_unchanged" in warning for warning in plan.warnings)


def test_disk_follows_the_rows(shop: plan_kit.Shop) -> None:
    seed(shop, KEY + "\n    publish: swap")
    shop.fill([row(number) for number in range(20_000)])
    shop.publish()
    began = time.monotonic()
    plan = shop.plan()
    # Every key is looked up: a scan for each would take minutes.
    assert time.monotonic() - began < 60
    assert plan.difference == rehearsal.Changes(0, 0, 0, 20_000)
    assert plan.disk_needed_bytes is not None
    assert 20_000 * 10 < plan.disk_needed_bytes < 20_000 * 1000
    embedded = shop.place.kind in ("duckdb", "sqlite")
    assert (plan.disk_free_bytes is not None) is embedded


def test_code_of_ones_own_need_not_write_the_columns_of_the_source(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines = pathlib.Path(__file__).parents[1] / "testing" / "pipelines"
    monkeypatch.syspath_prepend(str(pipelines))
    shop.place.sql("CREATE TABLE facts (name varchar(20) NOT NULL PRIMARY KEY)")
    shop.declare("pipeline: hand_written:OneStatement\npackages: [hand_written]")
    shop.fill(OLD)
    plan = shop.plan()
    assert plan.exit_code == 0
    assert plan.columns == ()
    assert plan.rows_reason == "the pipeline's own code decides what it writes"


def test_a_second_unique_key_that_the_rows_break_is_found(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill([row(1, version=1, name="x"), row(2, version=2, name=None), row(3, version=3)])
    shop.publish()
    shop.place.sql("CREATE UNIQUE INDEX facts_version ON facts (version)")
    again = [row(1, version=1), row(2, version=7), row(3, version=7)]
    shop.fill(again)
    plan = shop.plan()
    assert plan.exit_code == 65
    assert "version='7'" in str(plan.fails)
    assert shop.run().exit_code == 65


def test_what_only_the_run_finds_out_is_said(shop: plan_kit.Shop) -> None:
    shop.declare(UPSERT)
    shop.place.sql(
        "CREATE TABLE facts (id bigint NOT NULL PRIMARY KEY, day date, version bigint UNIQUE,"
        " amount double precision, name varchar(20), gone bigint, status varchar(9) DEFAULT 'new',"
        " CONSTRAINT few CHECK (id < 90), CONSTRAINT fit CHECK (status <> name))"
    )
    shop.fill([row(1)])
    (said,) = (warning for warning in shop.plan().warnings if "not looked at" in warning)
    assert said.count("the check") == 1
    assert "(over status, which the source lacks)" in said
    assert "unique" not in said
    (said,) = (warning for warning in shop.plan("delta").warnings if "not looked at" in warning)
    assert "the unique key over version" in said


def test_time_does_not_count_the_waiting_for_a_lock(shop: plan_kit.Shop) -> None:
    shop.declare(KEY)
    shop.fill(OLD)
    config, is_held = shop.config, threading.Event()
    assert config is not None

    def hold() -> None:
        serving = connectors.connect(config.connections["serving"], config.folder)
        with serving.open_target("facts") as target, target.lock("other", 0):
            is_held.set()
            time.sleep(2)

    other = threading.Thread(target=hold)
    other.start()
    is_held.wait(30)
    outcome = shop.run()
    other.join()
    assert outcome.error is None
    waited_s = outcome.result.phase_seconds["wait"]
    assert waited_s > 1
    assert shop.plan().estimated_seconds == pytest.approx(outcome.duration_s - waited_s, abs=0.2)


def test_of_code_of_ones_own_no_step_is_invented(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines = pathlib.Path(__file__).parents[1] / "testing" / "pipelines"
    monkeypatch.syspath_prepend(str(pipelines))
    # There is neither a source nor a target, and the class may need neither.
    shop.declare("pipeline: hand_written:OneStatement\npackages: [hand_written]")
    plan = shop.plan()
    assert (plan.exit_code, plan.target) == (0, "serving: facts")
    known = {"transfer", "pipeline", "write_mode", "target", "rows_reason"}
    told = {name for name, value in plan.as_dict().items() if value and name not in known}
    assert told == {"rows"}
    assert set(plan.as_dict()["rows"].values()) == {None}
    assert plan_view.render(plan).splitlines() == [
        "transfer  facts (hand_written:OneStatement)",
        "mode      truncate",
        "steps     not known: the pipeline's own code decides what it writes, and what it reads",
        "target    serving: facts",
        "nothing was written",
    ]
