"""What a constraint of the target refuses: named with table, row and what to do next."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors

SWAP = "key: [id]\n    publish: swap"
DIFF = "key: [id]\n    publish: diff"
UPSERT = "key: [id]\n    delta: {cursor: day}"
WINDOW = "key: [id]\n    delta: {cursor: day, strategy: replace_window}"
COLUMNS = (
    "id bigint NOT NULL PRIMARY KEY, day date, version bigint, amount double precision,"
    " name varchar(20), gone bigint"
)
WAYS = pytest.mark.parametrize(
    ("more", "mode"),
    [(SWAP, "truncate"), (DIFF, "truncate"), (UPSERT, "delta")],
    ids=["swap", "diff", "upsert"],
)


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def refused(shop: plan_kit.Shop, more: str, mode: str, *, is_foreseen: bool = False) -> str:
    """Run; return what the error says, which holds what each must.

    Args:
        shop: filled.
        more: of the transfer.
        mode: truncate or delta.
        is_foreseen: whether the plan names the same row, and what refuses it.
    """
    shop.declare(more)
    before = shop.contents()
    if is_foreseen:
        planned = shop.plan(mode)
        assert planned.exit_code == 65, planned.warnings
        failed = shop.run(mode).error
        assert isinstance(failed, errors.ConstraintError)
        assert f"{failed.message.partition(f'{failed.rule}: ')[0]}{failed.rule}: " in str(
            planned.fails
        )
    error = shop.run(mode).error
    assert isinstance(error, errors.DataError), error
    assert shop.contents() == before
    said = str(error)
    assert said.startswith("facts: ")
    assert "the target is unchanged; " in said
    assert "_tmg_" not in said
    return said


@WAYS
def test_a_second_unique_constraint_is_not_the_key(
    shop: plan_kit.Shop, more: str, mode: str
) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, CONSTRAINT one_name UNIQUE (name))")
    shop.fill([row(number, name=f"n{min(number, 30)}") for number in range(32)])
    said = refused(shop, more, mode)
    assert "the key" not in said
    assert "unique constraint" in said
    assert "n30" in said or "one_name" in said or "name" in said
    if more != SWAP:
        assert "(id='31')" in said or "(id='30')" in said


def _moved(shop: plan_kit.Shop, name: str, extra: str = "") -> None:
    """Fill the target, and a source in which each name is at another row and some rows are new."""
    columns = COLUMNS.replace("name varchar(20)", name)
    shop.place.sql(f"CREATE TABLE facts ({columns}{extra}, CONSTRAINT one_name UNIQUE (name))")
    shop.place.sql(
        *(
            "INSERT INTO facts (id, day, version, amount, name, gone)"
            f" VALUES ({number}, '2013-01-02', 1, 1.5, 'n{number}', 0)"
            for number in range(20)
        )
    )
    rows = [row(number, name=f"n{(number + 7) % 20}") for number in range(20)]
    shop.fill([*rows, *(row(number, name=f"n{number}") for number in range(20, 23))])


@pytest.mark.parametrize(
    ("more", "mode", "name", "extra"),
    [
        (DIFF, "truncate", "name varchar(20)", ", status varchar(9) DEFAULT 'new'"),
        (UPSERT, "delta", "name varchar(20) CHECK (name <> '' AND name IS NOT NULL)", ""),
        (WINDOW, "delta", "name varchar(20) NOT NULL", ""),
    ],
    ids=["diff", "upsert", "replace_window"],
)
def test_values_of_a_second_unique_constraint_change_places(
    shop: plan_kit.Shop, more: str, mode: str, name: str, extra: str
) -> None:
    """No row may ever have the value of another one, so each must have none for a moment."""
    _moved(shop, name, extra)
    if extra:
        shop.place.sql("UPDATE facts SET status = 'done'")
    if extra and shop.place.kind != "duckdb":
        reference = "FOREIGN KEY (fact) REFERENCES facts (id) ON DELETE CASCADE"
        shop.place.sql(
            f"CREATE TABLE child (fact bigint, {reference})", "INSERT INTO child VALUES (3), (4)"
        )
    shop.declare(more)
    planned = shop.plan(mode)
    assert planned.rows == plan_kit.rehearsal.Changes(3, 20, 0, 0)
    assert plan_kit.reported(shop.publish(mode)) == planned.rows
    found = shop.place.sql("SELECT id, name FROM facts ORDER BY id")
    wanted = [(number, f"n{(number + 7) % 20}") for number in range(20)]
    assert [*found] == [*wanted, (20, "n20"), (21, "n21"), (22, "n22")]
    if extra:
        done = shop.place.sql("SELECT status, count(*) FROM facts GROUP BY status ORDER BY 2")
        assert [*done] == [("new", 3), ("done", 20)]
        if shop.place.kind != "duckdb":
            assert shop.place.rows("child") == [(3,), (4,)]
    assert plan_kit.reported(shop.publish(mode)) == plan_kit.rehearsal.Changes(0, 0, 0, 23)


def test_values_that_cannot_change_places_are_told_as_that(shop: plan_kit.Shop) -> None:
    """What others fill would be lost if the row went for a moment, and the name may not be null."""
    _moved(shop, "name varchar(20) NOT NULL", ", status varchar(9) DEFAULT 'new'")
    shop.declare(DIFF)
    words = "values of the unique key over name that change places"
    told = [words in "".join(shop.plan().warnings)]
    if shop.place.kind == "duckdb":
        assert told == [False]
        shop.publish()  # looked at when all rows are changed
        return
    assert told == [True]
    said = refused(shop, DIFF, "truncate")
    assert "values of the unique key over name change places between rows" in said
    assert "more than once" not in said


@WAYS
def test_a_check_names_the_row(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, CHECK (version > 0 AND (name <> 'it''s')))")
    shop.fill([row(number, version=0 if number == 17 else 1) for number in range(32)])
    said = refused(shop, more, mode, is_foreseen=True)
    assert "(id='17') was refused, a check constraint" in said


def test_a_plan_that_loses_its_connection_does_not_call_it_a_constraint(
    tmp_path: pathlib.Path, empty_ledger: pathlib.Path
) -> None:
    shop = plan_kit.Shop(tmp_path / "shop", place_module.SQLite(tmp_path), empty_ledger)
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, CHECK (version > 0))")
    shop.fill([row(1)])
    flaky = "{type: flaky, of: behind, faults: {breaking: cut}}"
    shop.declare(DIFF, f"{flaky}\n  behind: {shop.place.connection}")
    with pytest.raises(errors.ConnectionLostError):
        shop.plan()


_TRIGGERS = {
    "postgres": (
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.version = 0"
        " THEN RAISE EXCEPTION 'not welcome: %', NEW.id; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER look BEFORE INSERT OR UPDATE ON facts FOR EACH ROW EXECUTE FUNCTION look()",
    ),
    "mysql": (
        "CREATE TRIGGER look BEFORE INSERT ON facts FOR EACH ROW BEGIN IF NEW.version = 0 THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not welcome: 17'; END IF; END",
    ),
    "sqlite": (
        "CREATE TRIGGER look BEFORE INSERT ON facts WHEN NEW.version = 0"
        " BEGIN SELECT RAISE(ABORT, 'not welcome: 17'); END",
    ),
}


@pytest.mark.parametrize(
    ("more", "mode"), [(DIFF, "truncate"), (UPSERT, "delta")], ids=["diff", "upsert"]
)
def test_a_trigger_names_the_row(shop: plan_kit.Shop, more: str, mode: str) -> None:
    if shop.place.kind not in _TRIGGERS:
        return  # DuckDB has none
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS})", *_TRIGGERS[shop.place.kind])
    shop.fill([row(number, version=0 if number == 17 else 1) for number in range(32)])
    said = refused(shop, more, mode)
    assert "(id='17') was refused, a trigger: " in said
    assert "not welcome: 17" in said


@WAYS
def test_a_column_that_nobody_fills_names_itself(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(f"CREATE TABLE facts ({COLUMNS}, extra int NOT NULL)")
    shop.fill([row(5), row(6)])
    reset = "\n    reset: [extra]" if more == SWAP else ""
    said = refused(shop, f"{more}\n    omit: [extra]{reset}", mode)
    assert "was refused, a column that may not be null: " in said
    if shop.place.kind != "mysql" or mode == "truncate":  # which refuses the statement, not a row
        assert "the row (id='5') was refused" in said
    assert "extra" in said


@WAYS
def test_a_foreign_key_names_the_row(shop: plan_kit.Shop, more: str, mode: str) -> None:
    shop.place.sql(
        "CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY)",
        "INSERT INTO parent VALUES (1)",
        f"CREATE TABLE facts ({COLUMNS}, FOREIGN KEY (version) REFERENCES parent (id))",
    )
    shop.fill([row(number, version=77 if number == 17 else 1) for number in range(32)])
    if more == SWAP and shop.place.kind != "postgres":
        return  # a table with a foreign key is not swapped
    said = refused(shop, more, mode, is_foreseen=True)
    assert "was refused, a foreign key: " in said
    assert "publish_group" in said
    assert "(id='17')" in said


def test_a_row_that_others_refer_to_is_said(shop: plan_kit.Shop) -> None:
    shop.place.sql(
        f"CREATE TABLE facts ({COLUMNS})",
        "INSERT INTO facts (id) VALUES (1), (2)",
        "CREATE TABLE child (id int PRIMARY KEY, fact bigint REFERENCES facts (id))"
        if shop.place.kind != "mysql"
        else "CREATE TABLE child (id int PRIMARY KEY, fact bigint,"
        " FOREIGN KEY (fact) REFERENCES facts (id))",
        "INSERT INTO child VALUES (1, 2)",
    )
    shop.fill([row(1)])
    shop.declare(DIFF)
    assert "the row (id='2') was refused, a foreign key of another table" in str(shop.plan().fails)
    said = refused(shop, DIFF, "truncate")
    assert "a foreign key of another table" in said
    assert "other tables refer to rows that would go" in said
