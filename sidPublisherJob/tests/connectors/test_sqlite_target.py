"""SQLite as a target: what a swap keeps, what a diff changes, and every refused row."""

import pathlib
import re
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.connectors import sqlite_kit as kit
from tmg_etl import errors, run
from tmg_etl.connectors import base


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "s.db"


def numbered(*ids: int, text: str = "new") -> pa.RecordBatch:
    return pa.record_batch(
        {"id": pa.array(ids, pa.int64()), "v": pa.array([f"{text}{n}" for n in ids])}
    )


_RICH = (
    """CREATE TABLE "t"( -- the table's comment
        id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT COLLATE NOCASE NOT NULL DEFAULT 'a, (b',
        [n n] DECIMAL(9, 2) DEFAULT 1.5 CHECK ("n n" > 0), u INTEGER UNIQUE,
        g AS (id * 2) STORED)""",
    "CREATE INDEX ix ON t (v)",
    'CREATE UNIQUE INDEX "u x" ON "t" (lower(v), id) WHERE u IS NOT NULL',
    "CREATE VIEW w AS SELECT count(*) AS n, min(v) AS v FROM t",
    "CREATE TABLE log (n INTEGER)",
    "CREATE TRIGGER tr AFTER INSERT ON log BEGIN UPDATE t SET v = 'by trigger'; END",
    "INSERT INTO t (id, v, u) VALUES (1, 'old', 1), (99, 'old', 2)",
    "DELETE FROM t WHERE id = 99",
)
_STATE = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2"


def _state(path: pathlib.Path) -> list[tuple[str, ...]]:
    # A rename quotes the table's name in its own statement.
    return [
        (*names, re.sub(r'^CREATE TABLE "?t"?\s*\(', "CREATE TABLE t(", sql or ""))
        for *names, sql in kit.sql(path, _STATE)
    ]


def test_swap_keeps_everything_but_the_rows(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    before = _state(path)
    with kit.opened(path, "T") as target:
        assert target.describe().swap_blockers == ()
        assert kit.swap(target, numbered(3, 4, 5)) == 1
        assert target.describe().indexes == ("ix", "u x")
    assert _state(path) == before
    assert kit.sql(path, "SELECT * FROM w") == [(3, "new3")]
    assert kit.sql(path, 'SELECT id, "n n", g FROM t ORDER BY id')[0] == (3, 1.5, 6)
    assert kit.sql(path, "PRAGMA integrity_check") == [("ok",)]
    plan = kit.sql(path, "EXPLAIN QUERY PLAN SELECT * FROM t WHERE v = 'new3'")
    assert "USING INDEX ix" in plan[0][3]
    # AUTOINCREMENT never gives a key twice, also not one of a row that was deleted before.
    kit.sql(path, "INSERT INTO log VALUES (1)", "INSERT INTO t (v) VALUES ('x')")
    assert kit.sql(path, "SELECT id, v FROM t ORDER BY id")[2:] == [(5, "by trigger"), (100, "x")]


def test_statistics_follow_the_swap(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH, "ANALYZE")
    with kit.opened(path) as target:
        kit.swap(target, numbered(*range(100)))
    found = kit.sql(path, "SELECT tbl, idx, stat FROM sqlite_stat1 WHERE tbl = 't' ORDER BY idx")
    assert ("t", "ix", "100 1") in found
    assert not any("_tmg" in str(row) for row in kit.sql(path, "SELECT * FROM sqlite_stat1"))


def test_target_is_described(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        table = target.describe()
    assert table.primary_key == ("id",)
    assert table.unique_keys == (("u",),)
    assert table.column("id").has_default
    assert table.column("v").has_default
    assert not table.column("v").field.nullable
    assert table.column("g").is_generated
    assert table.column("n n").field.type == pa.decimal128(9, 2)


def test_new_table_gets_key_and_indexes(path: pathlib.Path) -> None:
    indexes = [base.Index("by v", ("v",)), base.Index("one", ("v", "id"), unique=True)]
    with kit.opened(path) as target:
        assert target.describe() is None
        assert kit.swap(target, numbered(1, 2), indexes=indexes) == 0
        assert target.describe().indexes == ("by v", "one")
        assert target.describe().is_unique_over(["id"])
        assert kit.swap(target, numbered(1), indexes=indexes) == 2
    state = kit.sql(path, "SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1")
    assert state == [("by v",), ("one",), ("t",)]


@pytest.mark.parametrize(
    ("statement", "phrase"),
    [
        ("CREATE TABLE c (t_id INTEGER REFERENCES T (id))", "foreign key of table c"),
        ("CREATE TRIGGER tr AFTER DELETE ON t BEGIN SELECT 1; END", "trigger tr"),
    ],
)
def test_what_a_rename_would_break_forbids_the_swap(
    path: pathlib.Path, statement: str, phrase: str
) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", statement)
    with kit.opened(path) as target:
        assert [phrase in blocker for blocker in target.describe().swap_blockers] == [True]


def test_own_foreign_key_and_own_name_forbid_the_swap(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE p (id INTEGER PRIMARY KEY)")
    kit.sql(path, "CREATE TABLE t (id INTEGER CHECK (T.id > 0) REFERENCES p (id), x TEXT)")
    with kit.opened(path) as target:
        blockers = target.describe().swap_blockers
    assert any("to table p" in blocker for blocker in blockers)
    assert any("own name" in blocker for blocker in blockers)


def test_diff_keeps_foreign_keys_and_fires_triggers(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, kept INTEGER DEFAULT 7)",
        "CREATE TABLE c (t_id INTEGER REFERENCES t (id))",
        "CREATE TABLE log (n INTEGER)",
        "CREATE TRIGGER tr AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.id); END",
        "INSERT INTO t VALUES (1, 'new1', 1), (2, 'x', 2), (3, NULL, 3), (4, 'y', 4)",
        "INSERT INTO c VALUES (1)",
    )
    with kit.opened(path) as target:
        assert kit.diff(target, numbered(1, 2, 3, 5)) == base.Changes(1, 2, 1, 1)
        with pytest.raises(errors.DataError, match="FOREIGN KEY"):
            kit.diff(target, numbered(2))
        target.drop(kit.SHADOW)
    assert kit.sql(path, "SELECT * FROM t ORDER BY id") == [
        (1, "new1", 1), (2, "new2", 2), (3, "new3", 3), (5, "new5", 7)
    ]  # fmt: skip
    assert kit.sql(path, "SELECT n FROM log ORDER BY n") == [(2,), (3,)]


def test_keys_follow_the_collation_and_cells_their_bytes(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, n DECIMAL_TEXT(9, 1), x)")
    kit.sql(path, "INSERT INTO t VALUES ('a', '1.0', NULL), ('c', '3.0', NULL)")
    rows = pa.record_batch(
        {
            "k": pa.array(["A", "a", "b", "C"]),
            "n": pa.array([Decimal("2.0"), Decimal("3.0"), Decimal("4.0"), Decimal("3.0")]).cast(
                pa.decimal128(9, 1)
            ),
            "version": pa.array([Decimal(10), Decimal(9), Decimal(-1), Decimal(0)]).cast(
                pa.decimal128(20, 0)
            ),
        }
    )
    with kit.opened(path) as target:
        extra = pa.schema([("version", pa.uint64())])
        target.create_staging(kit.STAGE, ["k", "n"], extra)
        target.load(kit.STAGE, kit.batch(rows), ["k"])
        # 10 is later than 9, though not as text.
        assert target.keep_latest(kit.STAGE, ["k", "n", "version"], ["k"], ["version"]) == 1
        with target.transaction():
            changes = target.upsert(kit.STAGE, ["k", "n"], ["k"], ["version"], None)
    assert changes == base.Changes(inserted=1, updated=2)
    assert kit.sql(path, "SELECT k, n FROM t ORDER BY k") == [
        ("A", "2.0"), ("b", "4.0"), ("C", "3.0")
    ]  # fmt: skip


def test_older_decimal_version_does_not_overwrite(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n DECIMAL_TEXT(9, 0))")
    kit.sql(path, "INSERT INTO t VALUES (1, '10'), (2, '-10'), (3, NULL)")
    numbers = pa.array([Decimal(9), Decimal(-9), Decimal(1)]).cast(pa.decimal128(9, 0))
    rows = pa.record_batch({"id": pa.array([1, 2, 3], pa.int64()), "n": numbers})
    with kit.opened(path) as target:
        target.create_staging(kit.STAGE, ["id", "n"], pa.schema([]))
        target.load(kit.STAGE, kit.batch(rows), ["id"])
        with target.transaction():
            changes = target.upsert(kit.STAGE, ["id", "n"], ["id"], ["n"], None)
    assert changes == base.Changes(updated=2, unchanged=1)
    assert kit.sql(path, "SELECT n FROM t ORDER BY id") == [("10",), ("-9",), ("1",)]


def test_existing_tables_of_any_kind_are_replaced(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INT NOT NULL, v TEXT, PRIMARY KEY (id DESC)) STRICT, WITHOUT ROWID",
    )
    before = _state(path)
    with kit.opened(path) as target:
        kit.swap(target, numbered(1, 2))
        assert kit.diff(target, numbered(2, 3)) == base.Changes(1, 0, 1, 1)
    assert _state(path) == before
    assert kit.sql(path, "SELECT * FROM t ORDER BY id") == [(2, "new2"), (3, "new3")]


def test_refused_rows_are_told_apart(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INT PRIMARY KEY NOT NULL, v TEXT NOT NULL CHECK (v <> 'no'), n INT,"
        " UNIQUE (n)) STRICT",
    )

    def refused(kind: type[errors.DataError], **columns: pa.Array) -> str:
        with pytest.raises(kind) as caught:
            target.load(kit.SHADOW, kit.batch(pa.record_batch(columns)), ["id"])
        assert type(caught.value) is kind
        assert target.rows(f"SELECT count(*) FROM {kit.SHADOW}") == [(1,)]
        return str(caught.value)

    ids = pa.array([2, 1], pa.int64())
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(numbered(1)), ["id"])
        ok = pa.array(["a", "b"])
        assert "id='1'" in refused(errors.DuplicateKeyError, id=ids, v=ok)
        others = pa.array([2, 3], pa.int64())
        same = pa.array([5, 5])
        assert "id='3'" in refused(errors.UniqueError, id=others, v=ok, n=same)
        message = refused(errors.ValueRejectedError, id=others, v=pa.array(["a", None]))
        assert "'v'" in message
        assert "id='3'" in message
        none = pa.array([2, None], pa.int64())
        assert "'id'" in refused(errors.NullKeyError, id=none, v=ok)
        assert "id='3'" in refused(errors.ConstraintError, id=others, v=pa.array(["a", "no"]))
        message = refused(errors.ValueRejectedError, id=others, v=ok, n=pa.array(["1", "word"]))
        assert "'n'" in message
        assert "word" in message


def test_unique_index_is_built_before_the_swap(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER, v TEXT)", "CREATE UNIQUE INDEX ux ON t (v)")
    kit.sql(path, "INSERT INTO t VALUES (1, 'x')")
    same = pa.record_batch({"id": pa.array([1, 2]), "v": pa.array(["same", "same"])})
    with kit.opened(path) as target:
        with pytest.raises(errors.DuplicateKeyError, match="same"):
            kit.swap(target, same, key=())
        target.drop(kit.SHADOW)
    assert kit.sql(path, "SELECT name FROM sqlite_schema ORDER BY 1") == [("t",), ("ux",)]


def test_index_name_of_another_table_is_refused(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE o (a INTEGER)", "CREATE INDEX ix ON o (a)")
    with kit.opened(path) as target, pytest.raises(errors.ConfigError, match="IX"):
        kit.swap(target, numbered(1), indexes=[base.Index("IX", ("v",))])


def test_views_are_no_targets(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE VIEW t AS SELECT 1 AS id")
    with kit.opened(path) as target, pytest.raises(errors.ConfigError, match="view"):
        target.describe()


def test_names_of_any_kind_work(path: pathlib.Path) -> None:
    table, column = 'a "b"; [DROP].c ü {x}', "select"
    rows = pa.record_batch({column: pa.array([1], pa.int64())})
    with kit.opened(path, table) as target:
        for _ in range(3):
            kit.swap(target, rows, key=[column], indexes=[base.Index('i"x', (column,))])
        assert kit.diff(target, rows, key=[column]) == base.Changes(unchanged=1)
    found = kit.sql(path, "SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type")
    assert found == [('i"x',), (table,)]


def test_failed_transaction_changes_nothing(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        for statement in ("SELECT nope", "INSERT INTO t (id, u) VALUES (5, 6), (5, 7)"):
            with pytest.raises(errors.TmgEtlError), target.transaction():  # noqa: PT012
                target.run("DELETE FROM t")
                target.run(statement)
        assert target.rows("SELECT count(*) FROM t") == [(1,)]


def test_swap_that_fails_leaves_the_old_table(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    before = kit.sql(path, _STATE)
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.run(f'ALTER TABLE "{kit.SHADOW}" RENAME TO elsewhere')
        with pytest.raises(errors.ConfigError):
            target.swap(kit.SHADOW, kit.NAMES)
        target.drop("elsewhere")
        assert target.describe().indexes == ("ix", "u x")
    assert kit.sql(path, _STATE) == before


def test_drop_works_while_a_reading_is_unfinished(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER, v TEXT)")
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(numbered(*range(70_000))), ())
        reading = target.scan(kit.SHADOW, ["id"], base.Selection())
        assert next(reading).num_rows == 65_536
        target.drop(kit.SHADOW)
        reading.close()


def test_drop_is_not_taken_back_by_a_transaction_that_did_not_end(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER, v TEXT)")
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.run("BEGIN")
        target.drop(kit.SHADOW)
    assert kit.sql(path, "SELECT name FROM sqlite_schema") == [("t",)]


def test_sweep_removes_only_this_targets_leftovers(path: pathlib.Path) -> None:
    old = run.TemporaryNames("older")
    mine = [old.table(kind, "t") for kind in ("shadow", "stage", "latest", "old")]
    others = [old.table("shadow", "tt"), "_tmg_shadowX", "t"]
    kit.sql(path, *(f'CREATE TABLE "{name}" (a INTEGER)' for name in mine + others))
    with kit.opened(path) as target:
        assert sorted(target.sweep(kit.NAMES)) == sorted(mine)
    found = kit.sql(path, "SELECT name FROM sqlite_schema")
    assert sorted(name for (name,) in found) == sorted(others)


def test_columns_are_added(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        target.add_columns(pa.schema([("extra", pa.timestamp("us", "UTC")), ("f", pa.float32())]))
        assert target.describe().column("extra").native == "TIMESTAMPTZ"
        assert target.describe().column("f").field == pa.field("f", pa.float32())


def test_the_disk_that_a_run_needs_grows_with_its_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s.db"
    kit.sql(
        path,
        "CREATE TABLE t (id INTEGER, text TEXT)",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 1000)"
        " INSERT INTO t SELECT n, hex(randomblob(50)) FROM r",
    )
    with kit.connect(path).open_target("t") as target:
        needed = [
            target.readiness(base.Intent(renames=True, creates=False, evolves=False, rows=rows))
            for rows in (1000, 10_000)
        ]
    assert needed[1].needed_bytes == 10 * needed[0].needed_bytes > 1_000_000


# --- one statement ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w INTEGER)",
        "CREATE TABLE t (id INTEGER, v TEXT, w INTEGER); CREATE UNIQUE INDEX u ON t (id)",
        "CREATE TABLE t (id INTEGER, v TEXT, w INTEGER); CREATE UNIQUE INDEX u ON t (id DESC)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w INTEGER) WITHOUT ROWID",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE, w INTEGER)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w INTEGER, noted INTEGER);"
        " CREATE TRIGGER seen AFTER INSERT ON t BEGIN"
        " UPDATE t SET noted = coalesce(noted, 0) + 1 WHERE id = NEW.id; END",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w INTEGER, kept NOT NULL DEFAULT 'x')",
    ],
    ids=["plain", "index", "descending", "no rowid", "another key", "trigger", "default"],
)
def test_a_merge_tells_what_it_inserted_and_what_it_updated(path: pathlib.Path, table: str) -> None:
    kit.sql(
        path,
        *table.split("; ", 1 if "TRIGGER" in table else -1),
        "INSERT INTO t (id, v, w) VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    texts = ["a", "B", None, "h", "i"]
    rows = pa.record_batch({"id": [1, 2, 3, 8, 9], "v": texts, "w": [1, 2, 3, 8, 9]})
    with kit.opened(path) as target:
        target.create_staging(kit.STAGE, rows.schema.names, pa.schema([]))
        target.load(kit.STAGE, kit.batch(rows), ["id"])
        target.keep_latest(kit.STAGE, rows.schema.names, ["id"], [])
        with target.transaction():
            changes = target.upsert(kit.STAGE, rows.schema.names, ["id"], [], None)
            again = target.upsert(kit.STAGE, rows.schema.names, ["id"], [], None)
        target.drop(kit.STAGE)
    assert changes == base.Changes(inserted=2, updated=2, unchanged=1)
    assert again == base.Changes(unchanged=5)
    assert kit.sql(path, "SELECT id, v, w FROM t ORDER BY id") == [
        (1, "a", 1), (2, "B", 2), (3, None, 3), (8, "h", 8), (9, "i", 9)
    ]  # fmt: skip
    if "noted" in table:
        assert kit.sql(path, "SELECT DISTINCT noted FROM t") == [(1,)]


def test_an_index_that_ignores_case_may_stand_beside_the_key(path: pathlib.Path) -> None:
    """ON CONFLICT names columns, and finds no index of another collation by them."""
    kit.sql(
        path,
        "CREATE TABLE t (k TEXT, v TEXT)",
        "CREATE UNIQUE INDEX u ON t (k COLLATE NOCASE)",
        "INSERT INTO t VALUES ('a', 'x'), ('b', 'y')",
    )
    rows = pa.record_batch({"k": ["a", "c"], "v": ["X", "z"]})
    with kit.opened(path) as target:
        target.create_staging(kit.STAGE, ["k", "v"], pa.schema([]))
        target.load(kit.STAGE, kit.batch(rows), ["k"])
        with target.transaction():
            changes = target.upsert(kit.STAGE, ["k", "v"], ["k"], [], None)
        target.drop(kit.STAGE)
    assert changes == base.Changes(inserted=1, updated=1)
    assert kit.sql(path, "SELECT k, v FROM t ORDER BY k") == [("a", "X"), ("b", "y"), ("c", "z")]
