"""`skip_unchanged: true`: a run ends at once where the last one published the same, only there."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import run as run_module
from tmg_etl.ledger import store
from tmg_etl.transfer import pipeline, runner

SKIP = "key: [id]\n    skip_unchanged: true\n    delta: {cursor: day, order_by: [version]}"
ROWS = [row(1), row(2)]


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake of two rows that were published once."""
    made = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare(SKIP)
    made.fill(ROWS)
    assert made.publish().publish != "none"
    return made


def test_a_second_run_of_the_same_files_has_nothing_to_do(shop: plan_kit.Shop) -> None:
    before = shop.contents()
    with store.open(f"sqlite:///{shop.folder}/ledger.db") as ledger:
        (first,) = ledger.list()
    for _ in range(2):
        result = shop.publish()
        assert result.publish == "none"
        assert result.publish_reason == (
            f"nothing to do: the source is unchanged since run {first.id}"
        )
        assert result.rows_read is None
    assert shop.contents() == before


def test_without_the_key_of_the_config_it_is_published_again(shop: plan_kit.Shop) -> None:
    shop.declare("key: [id]")
    assert shop.publish().publish != "none"


def test_files_that_were_written_again_are_published(shop: plan_kit.Shop) -> None:
    shop.fill([row(1, name="other"), row(2)])
    assert shop.publish().publish != "none"
    assert shop.publish().publish == "none"
    (shop.folder / "lake" / "facts.parquet").touch()
    assert shop.publish().publish != "none"


@pytest.mark.parametrize(
    "more", [SKIP + "\n    batch_rows: 7", SKIP + "\n    indexes: [{name: by_day, columns: [day]}]"]
)
def test_another_config_publishes(shop: plan_kit.Shop, more: str) -> None:
    shop.declare(more)
    assert shop.publish().publish != "none"
    assert shop.publish().publish == "none"


def test_a_run_that_was_not_verified_is_no_reason_to_skip(shop: plan_kit.Shop) -> None:
    shop.declare(SKIP + "\n    verify: off")
    shop.publish()
    assert shop.publish().publish != "none"


def test_rows_that_were_counted_are_no_proof_of_their_values(shop: plan_kit.Shop) -> None:
    """The level of proof of one run, as the option `--verify` sets it, is not in the config."""

    def publish(verify: str) -> str | None:
        made = runner.build(**shop._arguments("truncate", None))
        transfer = made.run.transfer.model_copy(update={"verify": verify})
        run = dataclasses.replace(made.run, transfer=transfer)
        outcome = type(made)(run, lock=made._lock, recorder=made._recorder).execute()
        assert outcome.error is None
        return outcome.result.publish

    shop.fill([row(1), row(2), row(3)])
    assert publish("count") != "none"
    assert publish("count") == "none"
    assert publish("fingerprint") != "none"
    assert publish("count") == "none"


def test_what_another_run_did_to_the_target_since_is_published_over(shop: plan_kit.Shop) -> None:
    # The same rows by another mode, of another window, and a run that failed.
    assert shop.publish("delta").publish != "none"
    assert shop.publish("delta").publish == "none"
    assert shop.publish("delta", datetime.date(2013, 1, 1)).publish != "none"
    assert shop.publish().publish != "none"
    shop.fill([])
    assert isinstance(shop.run().error, Exception)
    shop.fill(ROWS)
    assert shop.publish().publish != "none"
    assert shop.publish().publish == "none"


def test_a_run_that_died_is_no_reason_to_skip(shop: plan_kit.Shop) -> None:
    with store.open(f"sqlite:///{shop.folder}/ledger.db") as ledger:
        (first,) = ledger.list()
        ledger.start(
            dataclasses.replace(
                first, id="dead", status="running", finished_at=None, transfer="another"
            )
        )
    assert shop.publish().publish != "none"


def test_a_target_that_is_gone_is_made_again(shop: plan_kit.Shop) -> None:
    shop.place.sql("DROP TABLE facts")
    assert shop.publish().publish != "none"
    assert shop.contents() is not None


def test_a_lost_ledger_publishes(shop: plan_kit.Shop, caplog: pytest.LogCaptureFixture) -> None:
    (shop.folder / "ledger.db").write_bytes(b"not a database" * 100)
    outcome = shop.run()
    assert outcome.error is None
    assert outcome.result.publish != "none"


class Own(pipeline.TransferPipeline):
    """May publish anything."""


def test_a_pipeline_of_ones_own_is_never_skipped(shop: plan_kit.Shop) -> None:
    made = runner.build(**shop._arguments("truncate", None))
    own = Own(made.run, recorder=made._recorder)
    for _ in range(2):
        outcome = own.execute()
        assert outcome.error is None
        assert outcome.result.publish != "none"


def test_a_source_that_does_not_tell_is_published_with_a_warning(
    shop: plan_kit.Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert shop.config is not None
        source = shop.config.transfer("facts").source.model_copy(
            update={"table": None, "query": "SELECT * FROM facts"}
        )
        arguments = shop._arguments("truncate", None)
        made = runner.build(**arguments)
        transfer = made.run.transfer.model_copy(update={"source": source})
        again = pipeline.TransferPipeline(
            dataclasses.replace(made.run, transfer=transfer), recorder=made._recorder
        )
        outcome = again.execute()
    assert outcome.status is run_module.Status.SUCCEEDED, outcome.error
    assert outcome.result.publish != "none"
    assert "does not tell whether it changed" in caplog.text
