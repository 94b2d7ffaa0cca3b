"""What the owner of a PostgreSQL database has others refuse: told as that, in the plan too."""

from __future__ import annotations

import logging
import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import errors

pytestmark = pytest.mark.postgres

UPSERT = "key: [id]\n    delta: {cursor: day}"
SWAP = "key: [id]\n    publish: swap"
_FORBID = (
    "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql"
    " AS $$ BEGIN RAISE EXCEPTION 'not on a weekday'; END $$"
)


@pytest.fixture
def shop(tmp_path: pathlib.Path, postgres_url: str, empty_ledger: pathlib.Path) -> plan_kit.Shop:
    """A lake and PostgreSQL, with a table of one row that is to be changed."""
    made = plan_kit.Shop(tmp_path / "shop", place_module.Postgres(postgres_url), empty_ledger)
    made.place.sql(
        "CREATE TABLE facts (id bigint NOT NULL PRIMARY KEY, day date, version bigint,"
        " amount double precision, name varchar(20), gone bigint)",
        "INSERT INTO facts (id, name) VALUES (1, 'old')",
    )
    made.fill([plan_kit.row(1), plan_kit.row(2)])
    return made


def test_drops_that_an_event_trigger_refuses(
    shop: plan_kit.Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """A delta needs none but of its own table, which it empties; a swap ends with 78."""
    shop.place.sql(
        _FORBID,
        "CREATE EVENT TRIGGER keeper ON sql_drop WHEN TAG IN ('DROP TABLE')"
        " EXECUTE FUNCTION no_ddl()",
    )
    shop.declare(UPSERT)
    assert "event trigger keeper (sql_drop)" in "".join(shop.plan("delta").warnings)
    for attempt in range(2):
        with caplog.at_level(logging.WARNING):
            shop.publish("delta")
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1 + attempt, said
        assert "keeper" not in said[0]
        assert all("an event trigger refuses" in text for text in said)
        caplog.clear()
    staged = sorted(name for name in shop.place.tables() if name.startswith("_tmg_stage"))
    assert len(staged) == 2
    assert [shop.place.rows(name) for name in staged] == [[], []]
    before = shop.contents()
    assert before is not None
    assert len(before) == 2
    shop.fill([plan_kit.row(1)])
    shop.declare(SWAP)
    outcome = shop.run()
    assert isinstance(outcome.error, errors.ConfigError), outcome.error
    assert "an event trigger refuses this: not on a weekday" in str(outcome.error)
    assert outcome.cleanup_error is None
    assert shop.contents() == before


def test_tables_that_an_event_trigger_refuses(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        _FORBID, "CREATE EVENT TRIGGER keeper ON ddl_command_start EXECUTE FUNCTION no_ddl()"
    )
    shop.declare(UPSERT)
    plan = shop.plan("delta")
    assert "event trigger keeper (ddl_command_start)" in "".join(plan.warnings)
    assert "not on a weekday" in str(plan.rows_reason)
    outcome = shop.run("delta")
    assert isinstance(outcome.error, errors.ConfigError), outcome.error
    assert "an event trigger refuses this: not on a weekday" in str(outcome.error)
    assert outcome.cleanup_error is None


@pytest.mark.parametrize(
    ("more", "mode"),
    [("key: [id]", "truncate"), ("key: [id]\n    publish: diff", "truncate"), (UPSERT, "delta")],
    ids=["auto", "diff", "upsert"],
)
def test_a_publication_of_rows_that_have_no_identity(
    shop: plan_kit.Shop, more: str, mode: str
) -> None:
    shop.place.sql(
        "ALTER TABLE facts DROP CONSTRAINT facts_pkey", "CREATE PUBLICATION news FOR TABLE facts"
    )
    shop.declare(more)
    before = shop.contents()
    said = []
    with pytest.raises(errors.ConfigError) as refused:
        shop.plan(mode)
    said.append(str(refused.value))
    error = shop.run(mode).error
    assert isinstance(error, errors.ConfigError), error
    assert [*said, said[0]] == [said[0], str(error)]
    assert "publication news publishes its updates and deletes, and it has no replica" in said[0]
    assert "REPLICA IDENTITY FULL" in said[0]
    assert shop.contents() == before
    shop.place.sql("ALTER TABLE facts REPLICA IDENTITY FULL")
    shop.publish(mode)
