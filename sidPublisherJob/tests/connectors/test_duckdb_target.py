"""DuckDB as a target: what a swap keeps, what a diff changes, and every refused row."""

import datetime
import pathlib
from decimal import Decimal
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest

from tests.connectors import duckdb_kit as kit
from tmg_etl import errors, run
from tmg_etl.connectors import base


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "wh.duckdb"


def numbered(*ids: int, text: str = "new") -> pa.RecordBatch:
    return pa.record_batch(
        {"id": pa.array(ids, pa.int32()), "v": pa.array([f"{text}{n}" for n in ids])}
    )


_RICH = (
    "CREATE SEQUENCE seq START 100",
    """CREATE TABLE t (id INTEGER PRIMARY KEY DEFAULT nextval('seq'),
        v VARCHAR COLLATE NOCASE NOT NULL, n DECIMAL(9, 2) DEFAULT 1.5 CHECK (n > 0),
        u INTEGER UNIQUE, d TIMESTAMP DEFAULT current_timestamp,
        g INTEGER GENERATED ALWAYS AS (id * 2) VIRTUAL)""",
    "CREATE INDEX ix ON t (v)",
    'CREATE UNIQUE INDEX "u x" ON t (lower(v), id)',
    "COMMENT ON TABLE t IS 'it''s {a} table'",
    "COMMENT ON COLUMN t.v IS 'a column'",
    "COMMENT ON INDEX ix IS 'an index'",
    "CREATE VIEW w AS SELECT count(*) AS n, min(v) AS v FROM t",
    "INSERT INTO t (id, v, u) VALUES (1, 'old', 1), (2, 'old', 2)",
)
_STATE = (
    "SELECT sql, comment FROM duckdb_tables() WHERE table_name = 't'"
    " UNION ALL SELECT sql, comment FROM duckdb_indexes()"
    " UNION ALL SELECT column_name, comment FROM duckdb_columns()"
    " WHERE table_name = 't' AND comment IS NOT NULL ORDER BY ALL"
)


def test_swap_keeps_everything_but_the_rows(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    before = kit.sql(path, _STATE)
    with kit.opened(path, "T") as target:
        assert target.describe().swap_blockers == ()
        assert kit.swap(target, numbered(3, 4, 5)) == 2
    assert kit.sql(path, _STATE) == before
    assert kit.sql(path, "SELECT * FROM w") == [(3, "new3")]
    assert kit.sql(path, "SELECT id, n, g FROM t ORDER BY id")[0] == (3, Decimal("1.50"), 6)
    assert kit.sql(path, "INSERT INTO t (v) VALUES ('x')", "SELECT max(id) FROM t") == [(100,)]
    for statement in ("(3, 'x', 1)", "(6, NULL, 1)", "(6, 'x', -1)"):
        with pytest.raises(Exception, match="Constraint"):
            kit.sql(path, f"INSERT INTO t (id, v, n) VALUES {statement}")
    assert kit.sql(path, "SELECT table_name FROM duckdb_tables() ORDER BY 1") == [("t",)]


def test_target_is_described(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        table = target.describe()
    assert table.primary_key == ("id",)
    assert table.unique_keys == (("u",),)
    assert table.indexes == ("ix", "u x")
    assert table.row_estimate == 2
    assert table.column("id").has_default
    assert not table.column("id").field.nullable
    assert not table.column("v").has_default
    assert table.column("g").is_generated
    assert table.column("n").native == "DECIMAL(9,2)"


def test_new_table_gets_key_and_indexes(path: pathlib.Path) -> None:
    indexes = [base.Index("by v", ("v",)), base.Index("one", ("v", "id"), unique=True)]
    with kit.opened(path) as target:
        assert target.describe() is None
        assert kit.swap(target, numbered(1, 2), indexes=indexes) == 0
        assert target.describe().indexes == ("by v", "one")
        assert target.describe().is_unique_over(["id"])
        assert kit.swap(target, numbered(1), indexes=indexes) == 2
        assert target.describe().indexes == ("by v", "one")


def test_foreign_keys_and_own_names_forbid_the_swap(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR, CHECK (t.id > 0))",
        "CREATE TABLE child (t_id INTEGER REFERENCES t (id))",
    )
    with kit.opened(path) as target:
        blockers = target.describe().swap_blockers
    assert any("foreign key" in phrase and "child" in phrase for phrase in blockers)
    assert any("own name" in phrase for phrase in blockers)
    with kit.opened(path, "child") as target:
        assert any("to table t" in phrase for phrase in target.describe().swap_blockers)


def test_diff_touches_only_what_differs(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR, kept INTEGER DEFAULT 7)")
    kit.sql(path, "INSERT INTO t VALUES (1, 'new1', 1), (2, 'x', 2), (3, NULL, 3), (4, 'y', 4)")
    with kit.opened(path) as target:
        assert kit.diff(target, numbered(1, 2, 3, 5)) == base.Changes(1, 2, 1, 1)
    assert kit.sql(path, "FROM t ORDER BY id") == [
        (1, "new1", 1), (2, "new2", 2), (3, "new3", 3), (5, "new5", 7)
    ]  # fmt: skip


def test_diff_moves_values_under_a_unique_constraint(path: pathlib.Path) -> None:
    """DuckDB's constraint checks were over-eager within a transaction; they must not be here."""
    kit.sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR UNIQUE, l INTEGER[])")
    kit.sql(path, "INSERT INTO t (id, v) VALUES (1, 'new2'), (2, 'new1'), (3, 'gone')")
    with kit.opened(path) as target:
        assert kit.diff(target, numbered(1, 2, 4)) == base.Changes(1, 2, 1, 0)
        with target.transaction():
            target.run("DELETE FROM t WHERE id = 1")
            target.run("INSERT INTO t (id, v) VALUES (1, 'new1')")
            target.run("UPDATE t SET v = 'again' WHERE id = 1")
    assert kit.sql(path, "SELECT id, v FROM t ORDER BY id") == [
        (1, "again"),
        (2, "new2"),
        (4, "new4"),
    ]


def test_replaced_rows_may_have_the_old_keys(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR)")
    kit.sql(path, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    with kit.opened(path) as target:
        target.create_staging(kit.STAGE, ["id", "v"], pa.schema([]))
        target.load(kit.STAGE, kit.batch(numbered(2, 3)), ["id"])
        with target.transaction():
            changes = target.replace_rows(kit.STAGE, ["id", "v"], None)
    assert changes == base.Changes(inserted=2, deleted=2)
    assert kit.sql(path, "FROM t ORDER BY id") == [(2, "new2"), (3, "new3")]


@pytest.mark.parametrize(
    ("native", "old", "new", "kind", "sent"),
    [
        ("DOUBLE", "0.0", "-0.0", pa.float64(), -0.0),
        ("DOUBLE NOT NULL", "'-0.0'::DOUBLE", "0.0", pa.float64(), 0.0),
        ("DOUBLE", "NULL", "-0.0", pa.float64(), -0.0),
        ("FLOAT", "0.0", "-0.0", pa.float32(), -0.0),
        ("INTERVAL", "'30 days'", "1 month", pa.string(), "1 month"),
        ("VARCHAR COLLATE NOCASE", "'a'", "A", pa.string(), "A"),
        ("JSON", """'{"a":1}'""", '{"a": 1}', pa.string(), '{"a": 1}'),
    ],
)
def test_diff_writes_what_duckdb_takes_for_equal(
    path: pathlib.Path, native: str, old: str, new: str, kind: pa.DataType, sent: object
) -> None:
    """DuckDB leaves a cell as it is when the assigned value is equal to it, or is behind a null."""
    kit.sql(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, x {native})")
    # A null over a zero: what is behind a null decides whether the next update is written.
    kit.sql(path, f"INSERT INTO t VALUES (1, {'0.0' if old == 'NULL' else old})")
    if old == "NULL":
        kit.sql(path, "UPDATE t SET x = NULL")
    rows = pa.record_batch({"id": pa.array([1], pa.int32()), "x": pa.array([sent], kind)})
    with kit.opened(path) as target:
        assert kit.diff(target, rows) == base.Changes(updated=1)
        assert kit.diff(target, rows) == base.Changes(unchanged=1)
    assert kit.sql(path, "SELECT x::VARCHAR FROM t") == [(new,)]


def test_existing_types_take_what_carries_them(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INTEGER, u UUID, e ENUM('a', 'b'), i INTERVAL, h HUGEINT,"
        " n TIMESTAMP_NS, s TIMESTAMP_S)",
    )
    uuid = "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee"
    with kit.opened(path) as target:
        schema = target.describe().schema
        values = [
            1,
            uuid,
            "b",
            "1 month",
            Decimal(10) ** 37,
            datetime.datetime(2024, 1, 1, 1, 1, 1, 5),
        ]
        columns = [*values, datetime.datetime(2024, 1, 1)]
        rows = pa.record_batch(
            [pa.array([value], field.type) for value, field in zip(columns, schema, strict=True)],
            schema=schema,
        )
        kit.swap(target, rows, key=())
        found = list(target.scan("t", schema.names, base.Selection()))
    assert [batch.to_pylist() for batch in found] == [rows.to_pylist()]


def test_refused_value_names_key_column_and_value(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER, v ENUM('a', 'b'), n TINYINT)")
    ids = pa.array(range(5000), pa.int32())
    rows = pa.record_batch({"id": ids, "v": pa.array(["a"] * 4321 + ["wrong"] * 679)})
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        with pytest.raises(errors.ValueRejectedError) as caught:
            target.load(kit.SHADOW, kit.batch(rows), ["id"])
        assert (caught.value.column, caught.value.key) == ("v", {"id": 4321})
        assert "wrong" in str(caught.value)
        big = pa.record_batch({"id": ids[:1], "n": pa.array([300], pa.int32())})
        with pytest.raises(errors.ValueRejectedError) as caught:
            target.load(kit.SHADOW, kit.batch(big), ["id"])
        assert caught.value.column == "n"
        assert target.rows(f"SELECT count(*) FROM {kit.SHADOW}") == [(0,)]


def test_refused_rows_are_told_apart(path: pathlib.Path) -> None:
    kit.sql(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR NOT NULL CHECK (v <> 'no'), j JSON)",
    )

    def refused(kind: type[errors.DataError], ids: list[int | None], *texts: str | None) -> str:
        rows = pa.record_batch({"id": pa.array(ids, pa.int32()), "v": pa.array(texts, pa.string())})
        with pytest.raises(kind) as caught:
            target.load(kit.SHADOW, kit.batch(rows), ["id"])
        assert type(caught.value) is kind
        return str(caught.value)

    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(numbered(1)), ["id"])
        assert "id='1'" in refused(errors.DuplicateKeyError, [2, 1], "a", "b")
        assert "id='7'" in refused(errors.DuplicateKeyError, [7, 8, 7], "a", "b", "c")
        assert "'v'" in refused(errors.ValueRejectedError, [2, 3], "a", None)
        assert "'id'" in refused(errors.NullKeyError, [2, None], "a", "b")
        assert "id='3'" in refused(errors.ConstraintError, [2, 3], "a", "no")
        bad = pa.record_batch(
            {"id": pa.array([2], pa.int32()), "v": pa.array(["a"]), "j": pa.array(["{bad"])}
        )
        with pytest.raises(errors.ValueRejectedError, match="'j'"):
            target.load(kit.SHADOW, kit.batch(bad), ["id"])


def test_unique_index_is_checked_before_the_swap(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (id INTEGER, v VARCHAR)", "CREATE UNIQUE INDEX ux ON t (v)")
    rows = pa.record_batch({"id": pa.array([1, 2], pa.int32()), "v": pa.array(["same", "same"])})
    with kit.opened(path) as target:
        with pytest.raises(errors.DuplicateKeyError, match="same"):
            kit.swap(target, rows, key=())
        target.drop(kit.SHADOW)
        nulls = pa.record_batch(
            {"id": pa.array([1, 2], pa.int32()), "v": pa.array([None, None], pa.string())}
        )
        assert kit.swap(target, nulls, key=()) == 0


def test_index_name_of_another_table_is_refused(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE o (a INTEGER)", "CREATE INDEX ix ON o (a)")
    with kit.opened(path) as target, pytest.raises(errors.ConfigError, match="table o"):
        kit.swap(target, numbered(1), indexes=[base.Index("IX", ("v",))])


def test_decimal_beyond_38_digits_is_a_config_error(path: pathlib.Path) -> None:
    with kit.opened(path) as target, pytest.raises(errors.ConfigError, match="'big'"):
        target.planned(pa.schema([("big", pa.decimal256(39, 0))]), [])


def test_names_of_any_kind_work(path: pathlib.Path) -> None:
    table, column = 'a "b"; DROP.c ü {x}', "select"
    rows = pa.record_batch({column: pa.array([1], pa.int32())})
    kit.sql(path, 'CREATE SCHEMA "s 1"')
    with kit.opened(path, table, schema="s 1") as target:
        kit.swap(target, rows, key=[column], indexes=[base.Index('i"x', (column,))])
        target.run(f"COMMENT ON COLUMN {target.qualified(table)}.\"select\" IS 'it''s'")
        kit.swap(target, rows, key=[column])
        assert kit.diff(target, rows, key=[column]) == base.Changes(unchanged=1)
    assert kit.sql(path, "SELECT table_name, comment FROM duckdb_columns() WHERE NOT internal") == [
        (table, "it's")
    ]
    assert kit.sql(path, "SELECT index_name FROM duckdb_indexes()") == [('i"x',)]


def test_failed_transaction_changes_nothing(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        for statement in ("SELECT 1 / 0 + nope", "INSERT INTO t (id, v) VALUES (2, 'x')"):
            with pytest.raises(errors.TmgEtlError), target.transaction():  # noqa: PT012
                target.run("DELETE FROM t WHERE id = 1")
                target.run(statement)
        assert target.rows("SELECT count(*) FROM t") == [(2,)]


class _Interrupted:
    """A connection whose BEGIN is done when it is told of the interrupt that came meanwhile."""

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        done = self._raw.execute(statement, *arguments)
        if statement.startswith("BEGIN"):
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")
        return done


def test_interrupted_begin_does_not_keep_what_is_dropped(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        session = target._session
        session._cursor = cast("duckdb.DuckDBPyConnection", _Interrupted(session.cursor))
        with pytest.raises(errors.TemporaryError), target.transaction():
            pass
        target.drop(kit.SHADOW)
    assert kit.SHADOW not in [name for (name,) in kit.sql(path, "SHOW TABLES")]


def test_swap_that_fails_leaves_the_old_table(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    before = kit.sql(path, _STATE)
    with kit.opened(path) as target:
        target.create_shadow(kit.SHADOW, [])
        target.load(kit.SHADOW, kit.batch(numbered(1)), ["id"])
        target.drop(kit.SHADOW)
        with pytest.raises(errors.ConfigError):
            target.swap(kit.SHADOW, kit.NAMES)
    assert kit.sql(path, _STATE) == before
    assert kit.sql(path, "SELECT count(*) FROM t") == [(2,)]


def test_sweep_removes_only_this_targets_leftovers(path: pathlib.Path) -> None:
    old = run.TemporaryNames("older")
    mine = [old.table(kind, "t") for kind in ("shadow", "stage", "latest", "old")]
    others = [old.table("shadow", "tt"), "_tmg_shadowX", "t"]
    kit.sql(path, *(f'CREATE TABLE "{name}" (a INTEGER)' for name in mine + others))
    with kit.opened(path) as target:
        assert sorted(target.sweep(kit.NAMES)) == sorted(mine)
    found = kit.sql(path, "SELECT table_name FROM duckdb_tables()")
    assert sorted(name for (name,) in found) == sorted(others)


def test_columns_are_added_beside_indexes(path: pathlib.Path) -> None:
    kit.sql(path, *_RICH)
    with kit.opened(path) as target:
        target.add_columns(pa.schema([("extra", pa.timestamp("us", "UTC")), ("f", pa.float32())]))
        assert target.describe().column("extra").native == "TIMESTAMP WITH TIME ZONE"
        assert target.describe().column("f").field.nullable


def test_staging_keeps_types_and_collations(path: pathlib.Path) -> None:
    kit.sql(path, "CREATE TABLE t (k VARCHAR COLLATE NOCASE PRIMARY KEY, n HUGEINT, d DATE)")
    kit.sql(path, "INSERT INTO t VALUES ('a', 1, '2024-01-01')")
    rows = pa.record_batch(
        {
            "k": pa.array(["A", "a", "b"]),
            "n": pa.array([2, 3, 4], pa.decimal128(38, 0)),
            "version": pa.array([2, 1, 1], pa.uint64()),
        }
    )
    with kit.opened(path) as target:
        target.create_staging(kit.STAGE, ["k", "n"], pa.schema([("version", pa.uint64())]))
        target.load(kit.STAGE, kit.batch(rows), ["k"])
        assert target.keep_latest(kit.STAGE, ["k", "n", "version"], ["k"], ["version"]) == 1
        with target.transaction():
            changes = target.upsert(kit.STAGE, ["k", "n"], ["k"], ["version"], "version > 5")
    assert changes == base.Changes(inserted=1, updated=1)
    assert kit.sql(path, "SELECT k, n FROM t ORDER BY k") == [("A", 2), ("b", 4)]
