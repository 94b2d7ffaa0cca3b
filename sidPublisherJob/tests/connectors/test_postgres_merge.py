"""In-database diff, delta merges and their counts; what a rolled-back transaction leaves."""

import datetime
import threading

import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
from tmg_etl.connectors import base

UTC = datetime.UTC
pytestmark = pytest.mark.postgres

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("day", pa.date32()),
        ("name", pa.string()),
        ("seq", pa.int64()),
    ]
)
COLUMNS = SCHEMA.names
TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, day date, name text, seq bigint)"


def _day(number: int) -> datetime.date:
    return datetime.date(2024, 1, number)


def _table(url: str, *rows: tuple[int, int, str | None, int | None]) -> None:
    postgres_kit.run_sql(url, TABLE)
    with postgres_kit.raw(url) as connection:
        for number, day, name, seq in rows:
            connection.execute(
                "INSERT INTO t VALUES (%s, %s, %s, %s)", [number, _day(day), name, seq]
            )


def _rows(*rows: tuple[int | None, int, str | None, int | None]) -> pa.RecordBatch:
    return postgres_kit.records(SCHEMA, *[[a, _day(b), c, d] for a, b, c, d in rows])


def _found(url: str) -> list[tuple[object, ...]]:
    return postgres_kit.run_sql(
        url, "SELECT id, extract(day FROM day)::int, name, seq FROM t ORDER BY id"
    )


def test_diff_touches_only_rows_that_differ(postgres_url):
    _table(postgres_url, (1, 1, "same", 1), (2, 1, "old", None), (3, 1, "gone", 3), (5, 1, None, 1))
    with postgres_kit.opened(postgres_url) as target:
        rows = _rows((1, 1, "same", 1), (2, 1, "new", None), (4, 1, "more", 4), (5, 1, "", 1))
        shadow = postgres_kit.fill_shadow(target, rows, ["id"])
        before = postgres_kit.run_sql(postgres_url, "SELECT xmin::text FROM t WHERE id = 1")
        with target.transaction():
            changes = target.diff(shadow, COLUMNS, ["id"], None)
            proof = target.fingerprint("t", COLUMNS, base.Selection(), hashes=True)
        assert proof == postgres_kit.fingerprint(rows)
        assert changes == base.Changes(inserted=1, updated=2, deleted=1, unchanged=1)
        with target.transaction():
            again = target.diff(shadow, COLUMNS, ["id"], None)
        assert again == base.Changes(unchanged=4)
    assert postgres_kit.run_sql(postgres_url, "SELECT xmin::text FROM t WHERE id = 1") == before
    assert _found(postgres_url) == [
        (1, 1, "same", 1), (2, 1, "new", None), (4, 1, "more", 4), (5, 1, "", 1),
    ]  # fmt: skip


CELLS = [
    ("double precision", pa.float64(), 0.0, -0.0),
    ("real", pa.float32(), 0.0, -0.0),
    ("numeric", pa.string(), "1.5", "1.50"),
    ("jsonb", pa.string(), '{"a": 1}', '{"a": 1.0}'),
    ("json", pa.string(), '{"a": 1}', '{"a": 2}'),
    ('text COLLATE "blind"', pa.string(), "a", "A"),
    ("text", pa.string(), None, ""),
    ("bytea", pa.binary(), b"", b"\0"),
    ("int[]", pa.string(), "{1}", "{2}"),
    (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        None,
        datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    ),
]


def test_diff_compares_bytes_and_not_what_the_database_calls_equal(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE COLLATION blind"
        " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE t (id bigint PRIMARY KEY, "
        + ", ".join(f"c{number} {cell[0]}" for number, cell in enumerate(CELLS))
        + ")",
    )
    with postgres_kit.opened(postgres_url) as target:
        described = target.describe()
        assert described is not None
        schema = described.schema
        first = postgres_kit.records(schema, [1, *[cell[2] for cell in CELLS]])
        shadow = postgres_kit.fill_shadow(target, first, ["id"])
        assert target.swap(shadow, postgres_kit.NAMES) == 0
        for number, cell in enumerate(CELLS):
            values = [cell[2] for cell in CELLS]
            for value, expected in ((cell[3], 1), (cell[3], 0), (cell[2], 1)):
                values[number] = value
                rows = postgres_kit.records(schema, [1, *values])
                shadow = postgres_kit.fill_shadow(target, rows, ["id"])
                with target.transaction():
                    changes = target.diff(shadow, schema.names, ["id"], None)
                    proof = target.fingerprint("t", schema.names, base.Selection(), hashes=True)
                assert changes.updated == expected, cell
                assert proof == postgres_kit.fingerprint(rows), cell
                target.drop(shadow)


def test_diff_within_a_window_leaves_other_rows(postgres_url):
    _table(
        postgres_url, (1, 1, "before", 1), (2, 5, "in", 1), (3, 5, "gone", 1), (4, 9, "after", 1)
    )
    window = base.CursorWindow("day", _day(4), _day(6))
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, _rows((2, 5, "new", 1), (6, 6, "more", 1)))
        with target.transaction():
            changes = target.diff(staging, COLUMNS, ["id"], window)
            proof = target.fingerprint("t", COLUMNS, base.Selection(window=window), hashes=True)
        assert proof == postgres_kit.fingerprint(_rows((2, 5, "new", 1), (6, 6, "more", 1)))
        assert changes == base.Changes(inserted=1, updated=1, deleted=1)
        moved = postgres_kit.NAMES.table("latest", "t")
        target.create_staging(moved, COLUMNS, pa.schema([]))
        target.load(moved, postgres_kit.batch(_rows((4, 5, "moved", 1))), ["id"])
        with (
            pytest.raises(errors.DuplicateKeyError, match="outside the window"),
            target.transaction(),
        ):
            target.diff(moved, COLUMNS, ["id"], window)
    assert [row[0] for row in _found(postgres_url)] == [1, 2, 4, 6]


def test_upsert_counts_what_changed_and_never_goes_back(postgres_url):
    _table(
        postgres_url,
        (1, 1, "same", 5), (2, 1, "old", 5), (3, 1, "newer", 9), (4, 1, "marked", 1),
        (5, 1, "null", None), (7, 1, "away", 1),
    )  # fmt: skip
    rows = _rows(
        (1, 1, "same", 5), (2, 1, "new", 6), (3, 1, "stale", 8), (4, 1, "marked", 2),
        (5, 1, "filled", 1), (6, 2, "more", 1), (8, 1, "never there", 1),
    )  # fmt: skip
    extra = pa.schema([("gone", pa.bool_())])
    marks = pa.array([False, False, False, True, False, None, True])
    staged = pa.RecordBatch.from_arrays([*rows.columns, marks], schema=pa.schema([*SCHEMA, *extra]))
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, staged, extra)
        selection = base.Selection(keys_of=staging, key=("id",))
        assert target.fingerprint(
            staging, staged.schema.names, base.Selection(), hashes=True
        ) == postgres_kit.fingerprint(staged)
        assert target.keep_latest(staging, staged.schema.names, ["id"], ["seq"]) == 0
        with target.transaction():
            changes = target.upsert(staging, COLUMNS, ["id"], ["seq"], "gone -- 100%")
            held = target.fingerprint("t", COLUMNS, selection, hashes=True)
            wanted = target.fingerprint(staging, COLUMNS, base.Selection(), hashes=True)
        assert held == wanted
        assert held.rows == 4
    assert changes == base.Changes(inserted=1, updated=2, deleted=1, unchanged=2)
    assert _found(postgres_url) == [
        (1, 1, "same", 5), (2, 1, "new", 6), (3, 1, "newer", 9), (5, 1, "filled", 1),
        (6, 2, "more", 1), (7, 1, "away", 1),
    ]  # fmt: skip


def test_keep_latest_orders_nulls_first_and_drops_equal_rows(postgres_url):
    _table(postgres_url)
    rows = _rows(
        (1, 1, "a", None), (1, 1, "b", 1), (1, 2, "c", 3), (1, 1, "d", 2),
        (2, 1, "twice", 1), (2, 1, "twice", 1), (3, 1, "single", None),
    )  # fmt: skip
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, rows)
        assert target.keep_latest(staging, COLUMNS, ["id"], ["seq", "day"]) == 4
        found = postgres_kit.run_sql(postgres_url, f'SELECT id, name FROM "{staging}" ORDER BY id')
    assert found == [(1, "c"), (2, "twice"), (3, "single")]


@pytest.mark.parametrize("order_by", [[], ["seq"], ["day", "seq"]])
def test_different_rows_that_are_equally_late_are_refused(postgres_url, order_by):
    _table(postgres_url)
    rows = _rows((1, 1, "a", None), (1, 1, "b", None), (2, 1, "x", 1))
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, rows)
        with pytest.raises(errors.DuplicateKeyError) as caught:
            target.keep_latest(staging, COLUMNS, ["id"], order_by)
    assert caught.value.key == {"id": 1}


def test_replace_rows_works_without_a_key(postgres_url):
    postgres_kit.run_sql(
        postgres_url, "CREATE TABLE t (id bigint, day date, name text, seq bigint)"
    )
    postgres_kit.run_sql(
        postgres_url,
        "INSERT INTO t VALUES (1, '2024-01-01', 'a', 1), (1, '2024-01-05', 'b', 1),"
        " (1, '2024-01-05', 'b', 1), (1, NULL, 'n', 1)",
    )
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, _rows((2, 5, "x", None), (2, 5, "x", None)))
        with target.transaction():
            changes = target.replace_rows(
                staging, COLUMNS, base.CursorWindow("day", _day(5), _day(5))
            )
        assert changes == base.Changes(inserted=2, deleted=2)
        with target.transaction():
            changes = target.replace_rows(staging, COLUMNS, None)
        assert changes == base.Changes(inserted=2, deleted=4)


def test_generated_identity_takes_the_values_that_are_sent(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text,"
        " twice bigint GENERATED ALWAYS AS (id * 2) STORED)",
    )
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    with postgres_kit.opened(postgres_url) as target:
        described = target.describe()
        assert described is not None
        assert [column.is_generated for column in described.columns] == [False, False, True]
        assert [column.has_default for column in described.columns] == [True, False, True]
        staging = postgres_kit.stage(target, postgres_kit.records(schema, [7, "x"]))
        with target.transaction():
            changes = target.upsert(staging, schema.names, ["id"], [], None)
    assert changes == base.Changes(inserted=1)
    assert postgres_kit.run_sql(postgres_url, "SELECT * FROM t") == [(7, "x", 14)]


def test_failed_transaction_leaves_the_target_as_it_was(postgres_url):
    _table(postgres_url, (1, 1, "old", 1))
    with postgres_kit.opened(postgres_url) as target:
        staging = postgres_kit.stage(target, _rows((1, 1, "new", 2), (2, 1, "more", 1)))

        def merge_and_fail() -> None:
            with target.transaction():
                target.upsert(staging, COLUMNS, ["id"], [], None)
                raise RuntimeError("power")

        with pytest.raises(RuntimeError, match="power"):
            merge_and_fail()
        with pytest.raises(errors.ConfigError), target.transaction():
            target.upsert(staging, COLUMNS, ["id"], [], "no_such_column")
        assert target.fingerprint("t", COLUMNS, base.Selection(), hashes=False).rows == 1
        target.drop(staging)
    assert _found(postgres_url) == [(1, 1, "old", 1)]


def test_merge_lets_readers_pass_and_keeps_other_writers_out(postgres_url):
    _table(postgres_url, (1, 1, "old", 1))
    with postgres_kit.opened(postgres_url) as target, postgres_kit.raw(postgres_url) as other:
        other.execute("SET lock_timeout = 200")
        with target.transaction():
            assert other.execute("SELECT count(*) FROM t").fetchall() == [(1,)]
            with pytest.raises(postgres_kit.psycopg.errors.LockNotAvailable):
                other.execute("DELETE FROM t")
        other.execute("DELETE FROM t")


@pytest.mark.parametrize(
    "more",
    [
        "CREATE TABLE heir () INHERITS (t); INSERT INTO heir VALUES (5, 'h')",
        "CREATE RULE r AS ON INSERT TO t DO ALSO NOTHING",
    ],
)
@pytest.mark.parametrize("deleted", [None, "v = 'gone'"])
def test_what_changes_and_what_is_new_are_written_together(postgres_url, more, deleted):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text,"
        " own text DEFAULT 'new')",
        "INSERT INTO t (v, own) VALUES ('a', 'kept'), ('b', 'kept'), ('c', 'kept')",
        *more.split("; "),
    )
    schema = pa.schema([("id", pa.int32()), ("v", pa.string())])
    rows = postgres_kit.records(schema, [2, "b"], [3, "C"], [4, "gone"], [5, None])
    with postgres_kit.opened(postgres_url) as target:
        stage = postgres_kit.stage(target, rows)
        target.keep_latest(stage, ["id", "v"], ["id"], [])
        with target.transaction():
            changes = target.upsert(stage, ["id", "v"], ["id"], [], deleted)
    is_gone = deleted is not None
    assert changes == base.Changes(inserted=2 - is_gone, updated=1, unchanged=1)
    expected = [(1, "a", "kept"), (2, "b", "kept"), (3, "C", "kept"), (4, "gone", "new")]
    expected = [row for row in expected if not is_gone or row[0] != 4] + [(5, None, "new")]
    assert postgres_kit.run_sql(postgres_url, "SELECT * FROM ONLY t ORDER BY 1") == expected


@pytest.mark.parametrize(("given", "taken"), [("4MB", "128MB"), ("1GB", "1GB")])
def test_merges_hash_in_memory_and_then_give_it_back(postgres_url, given, taken):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id int PRIMARY KEY)")
    with postgres_kit.opened(postgres_url) as target:
        target.run(f"SET work_mem = '{given}'")
        rows = postgres_kit.records(pa.schema([("id", pa.int32())]), [1])
        stage = postgres_kit.stage(target, rows)
        with target.transaction():
            target.upsert(stage, ["id"], ["id"], [], None)
            assert target.rows("SHOW work_mem") == [(taken,)]
        assert target.rows("SHOW work_mem") == [(given,)]


def test_added_columns_are_nullable_and_described(postgres_url):
    _table(postgres_url, (1, 1, "old", 1))
    added = pa.schema([pa.field("more", pa.float32()), base.json_field("doc")])
    with postgres_kit.opened(postgres_url) as target:
        target.describe()
        with postgres_kit.raw(postgres_url) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM t")
            # Tried again and again, so that other readers get through.
            threading.Timer(1, reader.close).start()
            with target.transaction():
                target.add_columns(added)
                target.add_columns(pa.schema([]))
                assert target.rows("SHOW lock_timeout") == [("0",)]
        described = target.describe()
    assert described is not None
    assert [column.native for column in described.columns[-2:]] == ["real", "jsonb"]
    assert described.schema.field("more").nullable


def test_rows_can_be_scanned_back(postgres_url):
    _table(postgres_url, (1, 1, "a", 1), (2, 5, None, None), (3, 9, "", 3))
    window = base.CursorWindow("day", _day(5), _day(6))
    with postgres_kit.opened(postgres_url) as target:
        described = target.describe()
        assert described is not None
        batches = list(target.scan("t", COLUMNS, base.Selection()))
        assert pa.Table.from_batches(batches).num_rows == 3
        assert batches[0].schema.equals(described.schema)
        (found,) = target.scan("t", ["name", "id"], base.Selection(window=window))
        assert found.to_pylist() == [{"name": None, "id": 2}]
        staging = postgres_kit.stage(target, _rows((3, 1, "x", 1), (4, 1, "x", 1)))
        (found,) = target.scan("t", ["id"], base.Selection(keys_of=staging, key=("id",)))
        assert found.to_pylist() == [{"id": 3}]


def test_rows_of_a_table_that_inherits_from_the_target_are_nobody_elses(postgres_url):
    """Whatever is read, changed or deleted by the target's name means those of the heir as well."""
    _table(postgres_url, (1, 1, "old", 1), (2, 1, "gone", 1))
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE heir (more int) INHERITS (t)",
        "INSERT INTO heir VALUES (1, '2024-01-01', 'its own', 1, 7), (9, '2024-01-01', 'x', 1, 7)",
    )
    own = postgres_kit.run_sql(postgres_url, "SELECT * FROM heir ORDER BY id")
    rows, window = _rows((1, 1, "new", 2), (3, 1, "more", 1)), base.CursorWindow(
        "day", _day(1), _day(2)
    )  # fmt: skip
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.fill_shadow(target, rows, ["id"])
        with target.transaction():
            changes = target.diff(shadow, COLUMNS, ["id"], window)
            assert changes == base.Changes(inserted=1, updated=1, deleted=1)
            proof = target.fingerprint("t", COLUMNS, base.Selection(), hashes=True)
            assert proof == postgres_kit.fingerprint(rows)
        staging = postgres_kit.stage(target, _rows((1, 2, "newer", 3), (9, 2, "other", 1)))
        with target.transaction():
            changes = target.upsert(staging, COLUMNS, ["id"], ["seq"], "id = 3")
            assert changes == base.Changes(inserted=1, updated=1)
            by_key = base.Selection(keys_of=staging, key=("id",))
            assert target.fingerprint("t", COLUMNS, by_key, hashes=False).rows == 2
        with target.transaction():
            changes = target.replace_rows(staging, COLUMNS, window)
            assert changes == base.Changes(inserted=2, deleted=3)
        target.drop(staging)
        target.drop(shadow)
    assert postgres_kit.run_sql(postgres_url, "SELECT * FROM heir ORDER BY id") == own
    found = "SELECT id, name FROM ONLY t ORDER BY id"
    assert postgres_kit.run_sql(postgres_url, found) == [(1, "newer"), (9, "other")]


@pytest.mark.parametrize(
    ("statement", "is_committed"),
    [
        ("UPDATE t SET name = 'theirs' WHERE id = 1", True),
        ("UPDATE t SET name = 'theirs' WHERE id = 1", False),
        ("INSERT INTO t VALUES (2, '2024-01-01', 'theirs', 1)", True),
        ("INSERT INTO t VALUES (2, '2024-01-01', 'theirs', 1)", False),
        ("DELETE FROM t WHERE id = 1", True),
    ],
)
def test_a_merge_beside_writers_takes_no_row_from_them(postgres_url, statement, is_committed):
    _table(postgres_url, (1, 1, "old", 1))
    with postgres_kit.opened(postgres_url) as target, postgres_kit.raw(postgres_url) as writer:
        staging = postgres_kit.stage(target, _rows((1, 1, "new", 1), (2, 1, "new", 1)))
        target.keep_latest(staging, COLUMNS, ["id"], [])

        def merge() -> None:
            with target.transaction((), ["id"]):
                writer.execute("BEGIN")
                writer.execute(statement)
                if is_committed:
                    writer.execute("COMMIT")
                target.upsert(staging, COLUMNS, ["id"], [], None)

        with pytest.raises(errors.CrossedError):
            merge()
        if not is_committed:
            writer.execute("COMMIT")
        held = {row[0]: row[2] for row in _found(postgres_url)}
        assert held == {"U": {1: "theirs"}, "I": {1: "old", 2: "theirs"}, "D": {}}[statement[0]]
        target.drop(staging)


# --- one statement ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        f"{TABLE[:-1]}, UNIQUE (name))",
        f"{TABLE} PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO"
        " (3); CREATE TABLE t_2 PARTITION OF t DEFAULT",
        f"{TABLE.replace(' PRIMARY KEY', '')} PARTITION BY RANGE (seq); CREATE TABLE t_1 PARTITION"
        " OF t FOR VALUES FROM (0) TO (5); CREATE TABLE t_2 PARTITION OF t DEFAULT",
        f"{TABLE}; CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING",
        f"{TABLE}; CREATE TABLE heir () INHERITS (t); INSERT INTO heir VALUES (2, NULL, 'heir', 0)",
        f"{TABLE}; ALTER TABLE t ADD n int GENERATED ALWAYS AS IDENTITY",
    ],
    ids=["plain", "another key", "partitions", "moved", "rule", "heir", "identity"],
)
@pytest.mark.parametrize("counts", ["on", "off"])
def test_a_merge_tells_what_it_inserted_and_what_it_updated(
    postgres_url: str, table: str, counts: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_kit.run_sql(postgres_url, f"ALTER DATABASE {name} SET track_counts = {counts}")
    postgres_kit.run_sql(postgres_url, *table.split("; "))
    postgres_kit.run_sql(
        postgres_url,
        "INSERT INTO t (id, day, name, seq) VALUES (1, '2024-01-01', 'a', 1),"
        " (2, '2024-01-01', 'b', 1), (3, '2024-01-01', 'c', 1)",
    )
    rows = _rows((1, 1, "a", 1), (2, 1, "B", 9), (3, 1, "C", 1), (8, 1, "h", 8), (9, 1, "i", 1))
    with postgres_kit.opened(postgres_url) as target:
        stage = postgres_kit.stage(target, rows, key=["id"])
        target.keep_latest(stage, COLUMNS, ["id"], [])
        with target.transaction():
            changes = target.upsert(stage, COLUMNS, ["id"], [], None)
            again = target.upsert(stage, COLUMNS, ["id"], [], None)
    assert changes == base.Changes(inserted=2, updated=2, unchanged=1)
    assert again == base.Changes(unchanged=5)
    found = postgres_kit.run_sql(postgres_url, "SELECT id, name, seq FROM ONLY t ORDER BY id")
    if "PARTITION" in table:
        found = postgres_kit.run_sql(postgres_url, "SELECT id, name, seq FROM t ORDER BY id")
    assert found == [(1, "a", 1), (2, "B", 9), (3, "C", 1), (8, "h", 8), (9, "i", 1)]


def test_a_table_of_keys_is_merged(postgres_url: str) -> None:
    postgres_kit.run_sql(
        postgres_url, "CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (1)"
    )
    rows = postgres_kit.records(pa.schema([("id", pa.int64())]), [1], [2])
    with postgres_kit.opened(postgres_url) as target:
        stage = postgres_kit.stage(target, rows, key=["id"])
        with target.transaction():
            changes = target.upsert(stage, ["id"], ["id"], [], None)
    assert changes == base.Changes(inserted=1, unchanged=1)
