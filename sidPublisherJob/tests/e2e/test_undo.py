"""A replaced table is kept and put back, on every database, and nothing of it is in the way."""

from __future__ import annotations

import datetime
import json
import pathlib
import sys
from typing import Any

import pytest

from tests.cli import process
from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors, run
from tmg_etl.ledger import record, store
from tmg_etl.transfer import undo

KEEP = "key: [id]\n    keep_previous: 24h\n    indexes: [{name: by_name, columns: [day]}]"
FIRST = [row(1), row(2, name=None)]
SECOND = [row(1), row(3, amount=-0.5), row(4)]
THIRD = [row(9)]


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn, with a table that was published once."""
    made = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare(KEEP)
    publish(made, FIRST)
    return made


def publish(shop: plan_kit.Shop, rows: Any) -> run.Result:
    """Publish rows."""
    shop.fill(rows)
    return shop.publish()


def rollback(shop: plan_kit.Shop, wanted: str | None = None, **options: Any) -> run.Outcome:
    """Roll back."""
    assert shop.config is not None
    return undo.build(shop.config, "facts", wanted=wanted, **options).execute()


def put_back(shop: plan_kit.Shop, wanted: str | None = None, **options: Any) -> run.Result:
    """Roll back; it has to succeed."""
    outcome = rollback(shop, wanted, **options)
    assert outcome.error is None, outcome.error
    assert outcome.cleanup_error is None
    return outcome.result


def ids(shop: plan_kit.Shop) -> list[int]:
    """The keys of the target's rows."""
    return sorted(int(found[0]) for found in shop.contents() or [])


def kept(shop: plan_kit.Shop) -> list[str]:
    """The names of kept tables."""
    return sorted(name for name in shop.place.tables() if name.startswith("_tmg_prev_"))


def leftovers(shop: plan_kit.Shop) -> list[str]:
    """What should not be there."""
    return [
        name
        for name in shop.place.tables()
        if name.startswith("_tmg_") and not name.startswith(("_tmg_prev_", "_tmg_part_"))
    ]


def runs(shop: plan_kit.Shop) -> list[record.Record]:
    """The ledger, the latest run first."""
    with store.open(f"sqlite:///{shop.folder / 'ledger.db'}") as ledger:
        return ledger.list()


def test_the_first_run_keeps_nothing(shop: plan_kit.Shop) -> None:
    assert kept(shop) == []
    outcome = rollback(shop)
    assert outcome.exit_code == 78
    assert "no earlier table of facts is kept" in str(outcome.error)


def test_there_and_back_and_there_again(shop: plan_kit.Shop) -> None:
    before = shop.contents()
    published = publish(shop, SECOND)
    after = shop.contents()
    (name,) = kept(shop)
    assert published.previous_table == name
    assert published.publish_reason == "the replaced table is kept for 24h"

    result = put_back(shop)
    assert shop.contents() == before
    assert (result.publish, result.rows_inserted, result.rows_deleted) == ("rollback", 2, 3)
    assert result.fingerprint_source == result.fingerprint_target == published.previous_fingerprint
    assert len(kept(shop)) == 1
    assert leftovers(shop) == []

    put_back(shop)
    assert shop.contents() == after
    publish(shop, THIRD)
    assert ids(shop) == [9]
    put_back(shop)
    assert shop.contents() == after
    assert leftovers(shop) == []


def test_the_ledger_tells_of_it(shop: plan_kit.Shop) -> None:
    publish(shop, SECOND)
    put_back(shop)
    latest, replaced, _ = runs(shop)
    assert (latest.write_mode, latest.publish, latest.status) == (
        "rollback",
        "rollback",
        "succeeded",
    )
    assert latest.is_verified
    assert replaced.id in str(latest.publish_reason)
    assert str(replaced.previous_table).endswith(replaced.id)
    assert str(replaced.previous_fingerprint).startswith("2 rows 0x")
    assert replaced.previous_expires_at is not None
    kept_for = replaced.previous_expires_at - replaced.started_at
    assert abs(kept_for - datetime.timedelta(hours=24)) < datetime.timedelta(minutes=1)


def test_an_earlier_one_can_be_chosen(shop: plan_kit.Shop) -> None:
    first = shop.contents()
    publish(shop, SECOND)
    publish(shop, THIRD)
    assert len(kept(shop)) == 2
    replacing = runs(shop)[1].id
    outcome = rollback(shop, "1999")
    assert outcome.exit_code == 64
    assert replacing in str(outcome.error)
    put_back(shop, replacing)
    assert shop.contents() == first


def test_what_was_changed_meanwhile_is_not_put_back(shop: plan_kit.Shop) -> None:
    publish(shop, SECOND)
    (name,) = kept(shop)
    shop.place.sql(f"UPDATE {name} SET version = 7 WHERE id = 2")
    outcome = rollback(shop)
    assert outcome.exit_code == 65
    assert "is not what the run" in str(outcome.error)
    assert ids(shop) == [1, 3, 4]
    assert kept(shop) == [name]


def test_without_a_fingerprint_it_must_be_asked_for(shop: plan_kit.Shop) -> None:
    publish(shop, SECOND)
    (shop.folder / "ledger.db").unlink()
    outcome = rollback(shop)
    assert outcome.exit_code == 65
    assert "--unverified" in str(outcome.error)
    (warning,) = rollback(shop, is_unverified=True).warnings
    assert "is put back as it is: 2 rows" in warning
    assert ids(shop) == [1, 2]


def test_kept_tables_expire_with_the_next_run(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(shop, SECOND)
    (old,) = kept(shop)
    age = old[: -len("20130101000000") - 12]
    older = f"{age}20130101000000{'a' * 12}"
    shop.place.sql(f"ALTER TABLE {old} RENAME TO {older}")
    publish(shop, THIRD)
    assert older not in shop.place.tables()
    assert len(kept(shop)) == 1
    shop.declare("key: [id]")
    publish(shop, FIRST)
    assert kept(shop) == []


def test_indexes_and_keys_are_there_after_a_rollback(shop: plan_kit.Shop) -> None:
    before = structure(shop)
    publish(shop, SECOND)
    assert structure(shop) == before
    put_back(shop)
    assert structure(shop) == before
    put_back(shop)
    assert structure(shop) == before
    with pytest.raises(Exception, match=r"(?i)duplicate|unique|constraint"):
        shop.place.sql("INSERT INTO facts (id, day) VALUES (1, '2013-01-01')")


def structure(shop: plan_kit.Shop) -> Any:
    """Names and columns of the target's indexes."""
    query = {
        "postgres": "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'facts'",
        "mysql": "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS"
        " WHERE TABLE_NAME = 'facts' AND TABLE_SCHEMA = DATABASE()",
        "duckdb": "SELECT index_name, sql FROM duckdb_indexes() WHERE table_name = 'facts'",
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'facts'",
    }[shop.place.kind]
    return sorted(map(tuple, shop.place.sql(query)), key=str)


def test_a_diff_cannot_keep_a_previous_table(shop: plan_kit.Shop) -> None:
    with pytest.raises(errors.ConfigError, match="a diff changes the table in place"):
        shop.declare(KEEP + "\n    publish: diff")


def test_a_delta_leaves_kept_tables_alone(shop: plan_kit.Shop) -> None:
    publish(shop, SECOND)
    names = kept(shop)
    shop.declare(KEEP + "\n    delta: {cursor: day}")
    shop.fill([row(77)])
    shop.publish("delta")
    assert kept(shop) == names
    put_back(shop)
    assert ids(shop) == [1, 2]


def test_a_run_after_a_rollback_publishes_though_the_source_is_unchanged(
    shop: plan_kit.Shop,
) -> None:
    shop.declare(KEEP + "\n    skip_unchanged: true")
    publish(shop, SECOND)
    put_back(shop)
    assert ids(shop) == [1, 2]
    assert shop.publish().publish == "swap"
    assert ids(shop) == [1, 3, 4]


def test_the_command(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> None:
    place = place_module.SQLite(tmp_path)
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare(KEEP)
    publish(shop, FIRST)
    config = shop.folder / "config.yaml"
    program = [sys.executable, "-m", "tmg_etl.cli.people", "rollback", "facts", str(config)]
    done = process.call(program, "--list", cwd=tmp_path)
    assert (done.code, done.out) == (0, "no earlier table of facts is kept\n")
    done = process.call(program, cwd=tmp_path)
    assert done.code == 78
    assert "Traceback" not in done.err
    publish(shop, SECOND)
    done = process.call(program, "--list", cwd=tmp_path)
    assert done.out.startswith("replaced by run 2")
    assert "2 rows 0x" in done.out
    done = process.call(program, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("facts: rolled back; run ")
    assert ids(shop) == [1, 2]
    done = process.call(program, "--json", cwd=tmp_path)
    assert json.loads(done.out.splitlines()[-1])["rows_put_back"] == 3
    assert ids(shop) == [1, 3, 4]
