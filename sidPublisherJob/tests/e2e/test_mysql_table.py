"""Tables of MySQL and MariaDB that can be published in one way only, or lose something in one."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import errors
from tmg_etl.config import loader
from tmg_etl.transfer import comparison, plan, rehearsal

UPSERT = "key: [id]\n    delta: {cursor: day}"
COLUMNS = (
    "id bigint NOT NULL PRIMARY KEY, day date, version bigint, amount double, name varchar(20),"
    " gone bigint"
)


#: What a server may have for all its sessions.
ODD = {
    "autocommit": 0,
    "completion_type": 1,
    "sql_safe_updates": 1,
    "sql_select_limit": 3,
}
ODD_OF_MYSQL = {"sql_generate_invisible_primary_key": 1, "sql_require_primary_key": 1}


@pytest.fixture(params=["mariadb", "mysql"])
def shop(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake with two rows, and each of the two servers."""
    url = request.getfixturevalue(f"{request.param}_url")
    made = plan_kit.Shop(tmp_path / "shop", place_module.MySQL(url), empty_ledger)
    made.fill([plan_kit.row(1), plan_kit.row(2)])
    return made


def test_an_engine_without_transactions_is_swapped_however_small(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS}) ENGINE=MyISAM", "INSERT INTO facts (id) VALUES (9)"
    )
    shop.declare("key: [id]")
    assert shop.plan().publish == "swap"
    assert shop.publish().publish == "swap"
    before = shop.contents()
    assert before is not None
    assert len(before) == 2
    for more, mode in ((UPSERT, "delta"), ("key: [id]\n    publish: diff", "truncate")):
        shop.declare(more)
        with pytest.raises(errors.ConfigError, match="its engine MyISAM has no transactions"):
            shop.plan(mode)
        assert "ENGINE=InnoDB" in str(shop.run(mode).error)
    assert shop.contents() == before


def test_settings_of_a_server_neither_hide_rows_nor_keep_them_from_being_written(
    shop: plan_kit.Shop,
) -> None:
    """Read as a source, published in each way, planned, and compared."""
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS})", "INSERT INTO facts (id) VALUES (1), (99)")
    shop.fill([plan_kit.row(number) for number in range(40)])
    [(version,)] = shop.place.sql("SELECT VERSION()")
    odd = ODD if "MariaDB" in version else ODD | ODD_OF_MYSQL
    path = shop.folder / "config.yaml"
    ways = [("key: [id]\n    publish: diff", "truncate"), (UPSERT, "delta"),
            ("key: [id]\n    publish: swap", "truncate"), ("verify: fingerprint", "truncate"),
            (f"{UPSERT[:-1]}, strategy: replace_window}}", "delta")]  # fmt: skip
    shop.place.sql(*(f"SET GLOBAL {name} = {value}" for name, value in odd.items()))
    try:
        for more, mode in ways:
            shop.declare(more)
            arguments = shop._arguments(mode, None)
            assert plan.make(**arguments, depth=rehearsal.Depth.EXACT).rows.insert is not None
            shop.publish(mode)
            assert comparison.make(**arguments).is_equal
        text = path.read_text(encoding="utf-8").replace("connection: serving", "connection: x")
        text = text.replace("connection: lake, table: facts", "connection: serving, table: facts")
        path.write_text(
            text.replace("connection: x, table: facts", "connection: serving, table: copy")
        )
        shop.config = loader.load(str(path))
        shop.publish()
    finally:
        shop.place.sql(*(f"SET GLOBAL {name} = DEFAULT" for name in reversed(odd)))
    for table in ("facts", "copy"):
        assert [*shop.place.sql(f"SELECT count(*), sum(id) FROM {table}")] == [(40, 780)]


def test_what_a_trigger_signals_names_the_row(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS})",
        "CREATE TRIGGER look BEFORE INSERT ON facts FOR EACH ROW BEGIN IF NEW.id = 2 THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not welcome'; END IF; END",
    )
    shop.declare(UPSERT)
    error = shop.run("delta").error
    assert isinstance(error, errors.DataError), error
    assert "facts: the row (id='2') was refused, a trigger: not welcome" in str(error)


def test_a_column_of_a_type_that_nobody_carries(shop: plan_kit.Shop) -> None:
    """It is no hindrance while it is not published: in the target, and in a source."""
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS}, g geometry)",
        "INSERT INTO facts (id, g) VALUES (1, ST_GeomFromText('POINT(1 2)')), (9, NULL)",
    )
    for more, mode in (("key: [id]", "truncate"), (UPSERT + "\n    omit: [g]", "delta")):
        shop.declare(more)
        plan = shop.plan(mode)
        assert plan.own == ("g: kept",)
        shop.publish(mode)
    kept = "SELECT id, ST_AsText(g) FROM facts ORDER BY id"
    assert [*shop.place.sql(kept)] == [(1, "POINT(1 2)"), (2, None)]
    other = shop.folder / "config.yaml"
    for omit, code in (("[g]", 0), ("[]", 78)):
        shop.place.sql("DROP TABLE IF EXISTS other")
        text = other.read_text(encoding="utf-8").split("transfers:")[0] + (
            "transfers:\n  facts:\n    source: {connection: serving, table: facts}\n"
            "    target: {connection: serving, table: other}\n"
            f"    key: [id]\n    omit: {omit}\n"
        )
        other.write_text(text, encoding="utf-8")
        shop.config = loader.load(str(other))
        outcome = shop.run()
        assert outcome.exit_code == code, outcome.error
    assert "the column 'g' of the source is of a type that cannot" in str(outcome.error)


def test_a_column_of_such_a_type_is_not_written(shop: plan_kit.Shop) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS.replace('name varchar(20)', 'name geometry')})")
    shop.declare("key: [id]")
    assert "column 'name': a type that cannot be carried (geometry)" in str(shop.run().error)


def test_no_swap_loses_a_trigger_that_its_user_cannot_see(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS})",
        "CREATE TRIGGER look BEFORE DELETE ON facts FOR EACH ROW SET @gone = 1",
    )
    assert isinstance(shop.place, place_module.MySQL)
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER"
    url = shop.place.user(f"GRANT {rights} ON * TO {{user}}")
    connection = f"{{type: mysql, url: '{url}'}}"
    shop.declare("key: [id]\n    publish: swap", connection)
    assert "trigger" in str(shop.run().error)
    shop.declare("key: [id]", connection)
    assert shop.publish().publish == "diff"
    found = shop.place.sql(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS"
        " WHERE EVENT_OBJECT_SCHEMA = DATABASE()"
    )
    assert found == [("look",)]
