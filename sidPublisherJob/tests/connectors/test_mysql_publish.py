"""Shadow tables, the swap, and the merges; read back by the plain driver."""

import datetime
import multiprocessing
import threading
import time

import pyarrow as pa
import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors, run
from tmg_etl.connectors import base

pytestmark = pytest.mark.mariadb
NAMES = mysql_kit.NAMES
NASTY = "odd `name`; \"quoted\" 'x' .dot ä☃ select %s"


def table(**columns: list) -> pa.Table:
    return pa.table(columns)


def keyed(ids: list[int | None], values: list[str | None]) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int32()), "v": pa.array(values, pa.string())})


@pytest.fixture
def url(mariadb_url: str) -> str:
    """A database with `t` of three rows."""
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(50) COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)",
    )
    return mariadb_url


def stage(target: base.Target, rows: pa.Table, key: list[str]) -> str:
    name = NAMES.table("stage", target.table)
    target.create_staging(name, rows.schema.names, pa.schema([]))
    mysql_kit.send(target, name, rows, key)
    return name


def rows_of(url: str, sql: str = "SELECT * FROM t ORDER BY 1") -> list[tuple]:
    return mysql_kit.run_sql(url, sql)


# --- swap ---------------------------------------------------------------------------------------


def test_a_swap_replaces_all_rows_and_leaves_nothing_behind(url: str) -> None:
    with mysql_kit.opened(url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, keyed([7, 8], ["x", "y"]), ["id"])
        target.finish_load(shadow, ["id"])
        assert target.swap(shadow, NAMES) == 3

    assert rows_of(url) == [(7, "x"), (8, "y")]
    assert mysql_kit.tables(url) == {"t"}


def test_a_swap_without_a_target_is_a_rename(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        assert target.describe() is None
        shadow = NAMES.table("shadow", "t")
        indexes = [base.Index("by_v", ("v",)), base.Index("once", ("v", "id"), unique=True)]
        target.create(shadow, keyed([], []).schema, ["id"], indexes)
        mysql_kit.send(target, shadow, keyed([1], ["a"]), ["id"])
        target.finish_load(shadow, ["id"])
        assert target.swap(shadow, NAMES) == 0
        described = target.describe()

    assert rows_of(mariadb_url) == [(1, "a")]
    assert mysql_kit.tables(mariadb_url) == {"t"}
    assert described.primary_key == ("id",)
    assert described.unique_keys == (("v", "id"),)
    assert set(described.indexes) == {"by_v", "once"}


def test_a_swap_keeps_everything_of_the_target(mariadb_server, mariadb_url: str) -> None:
    database = mariadb_url.rpartition("/")[2]
    mysql_kit.run_sql(
        mariadb_url,
        """CREATE TABLE t (
            id int NOT NULL AUTO_INCREMENT COMMENT 'the ''key''',
            v varchar(40) CHARACTER SET latin1 COLLATE latin1_german1_ci DEFAULT 'x',
            n decimal(10,2) NOT NULL DEFAULT 1.50 CHECK (n > 0),
            twice int GENERATED ALWAYS AS (n * 2) STORED,
            made timestamp NOT NULL DEFAULT current_timestamp()
                ON UPDATE current_timestamp(),
            body text,
            PRIMARY KEY (id), UNIQUE KEY once (v, n), KEY by_n (n DESC) COMMENT 'why',
            KEY `odd ``one` (v(3)),
            FULLTEXT KEY words (body)
        ) ENGINE=InnoDB AUTO_INCREMENT=500 DEFAULT CHARSET=utf8mb3 COMMENT='of tables'
            ROW_FORMAT=COMPRESSED""",
        "CREATE VIEW look AS SELECT id, v FROM t",
        f"CREATE USER IF NOT EXISTS reader_{database} IDENTIFIED BY 'x'",
        f"GRANT SELECT (id), INSERT ON t TO reader_{database}",
    )
    before = rows_of(mariadb_url, "SHOW CREATE TABLE t")
    grants = rows_of(mariadb_url, f"SHOW GRANTS FOR reader_{database}")
    with mysql_kit.opened(mariadb_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [base.Index("extra", ("made",)), base.Index("by_n", ("n",))])
        inside = rows_of(mariadb_url, f"SHOW CREATE TABLE {shadow}")[0][1]
        assert "by_n" not in inside
        assert "words" not in inside
        assert "once" in inside
        rows = table(id=pa.array([3], pa.int32()), v=["q"])
        mysql_kit.send(target, shadow, rows, ["id"])
        target.finish_load(shadow, ["id"])
        assert target.describe().swap_blockers == ()
        target.swap(shadow, NAMES)

    after = rows_of(mariadb_url, "SHOW CREATE TABLE t")

    def lines(found: list[tuple]) -> list[str]:
        return sorted(line.rstrip(",") for line in found[0][1].splitlines())

    assert set(lines(after)) - set(lines(before)) == {"  KEY `extra` (`made`)"}
    assert set(lines(before)) <= set(lines(after))
    assert rows_of(mariadb_url, f"SHOW GRANTS FOR reader_{database}") == grants
    assert rows_of(mariadb_url, "SELECT * FROM look") == [(3, "q")]
    assert rows_of(mariadb_url, "SELECT twice FROM t") == [(3,)]
    mysql_kit.run_sql(mariadb_url, "INSERT INTO t (v) VALUES ('new')")
    assert rows_of(mariadb_url, "SELECT MAX(id) FROM t") == [(500,)]
    mysql_kit.run_sql(mariadb_url, f"DROP USER reader_{database}")


def test_a_partitioned_target_stays_partitioned(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9), KEY by_v (v))"
        " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10),"
        " PARTITION high VALUES LESS THAN MAXVALUE)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    before = rows_of(mariadb_url, "SHOW CREATE TABLE t")
    with mysql_kit.opened(mariadb_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, keyed([5, 50], ["x", "y"]), ["id"])
        target.finish_load(shadow, ["id"])
        target.swap(shadow, NAMES)

    assert rows_of(mariadb_url, "SHOW CREATE TABLE t") == before
    assert rows_of(mariadb_url, "SELECT * FROM t PARTITION (high)") == [(50, "y")]


def test_an_auto_increment_column_outside_the_key_keeps_its_index(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url, "CREATE TABLE t (k int PRIMARY KEY, n int AUTO_INCREMENT, KEY numbers (n))"
    )
    with mysql_kit.opened(mariadb_url) as target:
        target.create_shadow("s", [])
        target.finish_load("s", ["k"])
        assert set(target.describe().indexes) == {"numbers"}


def test_what_a_swap_would_break_is_listed(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, p int,"
        " CONSTRAINT up FOREIGN KEY (p) REFERENCES parent (id))",
        "CREATE TABLE child (id int, CONSTRAINT down FOREIGN KEY (id) REFERENCES t (id))",
        "CREATE TRIGGER watch AFTER INSERT ON t FOR EACH ROW SET @x = 1",
    )
    with mysql_kit.opened(mariadb_url) as target:
        blockers = target.describe().swap_blockers

    assert blockers == (
        "referenced by foreign key down of table child",
        "its foreign key up to table parent would be lost",
        "its trigger watch would be lost",
    )


def test_a_swap_of_a_referenced_table_is_undone(mariadb_url: str) -> None:
    """The blocker may be hidden from a user without rights on the other table."""
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'old')",
        "CREATE TABLE child (id int, CONSTRAINT down FOREIGN KEY (id) REFERENCES t (id))",
        "INSERT INTO child VALUES (1)",
    )
    with mysql_kit.opened(mariadb_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, keyed([1, 2], ["new", "new"]), ["id"])
        with pytest.raises(errors.ConfigError, match="foreign key"):
            target.swap(shadow, NAMES)
        target.drop(shadow)

    assert rows_of(mariadb_url) == [(1, "old")]
    assert mysql_kit.tables(mariadb_url) == {"t", "child"}
    with pytest.raises(Exception, match="foreign key"):
        mysql_kit.run_sql(mariadb_url, "INSERT INTO child VALUES (2)")


def _count_in_a_loop(
    url: str, found: "multiprocessing.Queue", stop: "multiprocessing.Event"
) -> None:
    counts, slowest = set(), 0.0
    with mysql_kit.raw(url) as connection, connection.cursor() as cursor:
        while not stop.is_set():
            begun = time.monotonic()
            cursor.execute("SELECT COUNT(*) FROM t")
            counts.add(cursor.fetchone()[0])
            slowest = max(slowest, time.monotonic() - begun)
    found.put((counts, slowest))


def test_readers_see_old_or_new_and_never_wait_a_second(url: str) -> None:
    """Also while somebody keeps the table in an open transaction for a while."""
    context = multiprocessing.get_context("spawn")
    found, stop = context.Queue(), context.Event()
    reader = context.Process(target=_count_in_a_loop, args=(url, found, stop))
    reader.start()
    time.sleep(0.7)
    with mysql_kit.opened(url) as target, mysql_kit.raw(url) as holder, holder.cursor() as cursor:
        for number in range(6):
            shadow = NAMES.table("shadow", "t")
            target.create_shadow(shadow, [])
            mysql_kit.send(target, shadow, keyed(list(range(500)), ["x"] * 500), ["id"])
            if number == 3:
                cursor.execute("BEGIN")
                cursor.execute("SELECT * FROM t LIMIT 1")
                cursor.fetchall()
                threading.Timer(1.5, holder.rollback).start()
            target.swap(shadow, NAMES)
    stop.set()
    counts, slowest = found.get(timeout=10)
    reader.join(10)

    assert counts <= {3, 500}
    assert 500 in counts
    assert slowest < 1.0


def test_a_swap_that_cannot_get_the_table_ends_with_a_retriable_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmg_etl.connectors.mysql.swap._PATIENCE_S", 1.0)
    with mysql_kit.opened(url) as target, mysql_kit.raw(url) as holder, holder.cursor() as cursor:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM t LIMIT 1")
        with pytest.raises(errors.TemporaryError, match="could not be swapped"):
            target.swap(shadow, NAMES)
        target.drop(shadow)
        holder.rollback()

    assert len(rows_of(url)) == 3
    assert mysql_kit.tables(url) == {"t"}


# --- diff ---------------------------------------------------------------------------------------


def test_a_diff_touches_only_what_differs(url: str) -> None:
    with mysql_kit.opened(url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        rows = keyed([1, 2, 4, 5], ["A", "b", None, ""])
        mysql_kit.send(target, shadow, rows, ["id"])
        target.finish_load(shadow, ["id"])
        with target.transaction():
            changes = target.diff(shadow, ["id", "v"], ["id"], None)
            same = target.diff(shadow, ["id", "v"], ["id"], None)
            found = target.fingerprint("t", ["id", "v"], base.Selection(), hashes=True)
        sent = target.fingerprint(shadow, ["id", "v"], base.Selection(), hashes=True)

    assert changes == base.Changes(inserted=2, updated=1, deleted=1, unchanged=1)
    assert same == base.Changes(unchanged=4)
    assert found == sent
    assert rows_of(url) == [(1, "A"), (2, "b"), (4, None), (5, "")]


def test_a_diff_sees_bytes_where_the_collation_sees_none(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(20)"
        " COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES ('a', 'x'), ('b', 'e'), ('c', 'z')",
    )
    with mysql_kit.opened(mariadb_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        rows = table(k=["A", "b", "c"], v=["x", "é", "z "])
        mysql_kit.send(target, shadow, rows, ["k"])
        with target.transaction():
            changes = target.diff(shadow, ["k", "v"], ["k"], None)

    assert changes == base.Changes(updated=3)
    assert rows_of(mariadb_url, "SELECT k, v FROM t ORDER BY k") == [
        ("A", "x"), ("b", "é"), ("c", "z ")
    ]  # fmt: skip


def test_a_diff_inside_a_window_leaves_the_rest(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int PRIMARY KEY, at datetime(6), KEY (at))",
        "INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03 23:59:59.9'),"
        " (4, '2024-01-04'), (5, NULL)",
    )
    window = base.CursorWindow("at", datetime.date(2024, 1, 2), datetime.date(2024, 1, 3))
    at = [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 3)]
    with mysql_kit.opened(mariadb_url) as target:
        inside = table(id=pa.array([2, 9], pa.int32()), at=at)
        name = stage(target, inside, ["id"])
        with target.transaction():
            changes = target.diff(name, ["id", "at"], ["id"], window)
            found = target.fingerprint(
                "t", ["id", "at"], base.Selection(window=window), hashes=True
            )
        sent = target.fingerprint(name, ["id", "at"], base.Selection(), hashes=True)
        target.drop(name)
        name = stage(target, table(id=pa.array([4], pa.int32()), at=at[:1]), ["id"])
        with (
            pytest.raises(errors.DuplicateKeyError, match="outside the window"),
            target.transaction(),
        ):
            target.diff(name, ["id", "at"], ["id"], window)

    assert changes == base.Changes(inserted=1, deleted=1, unchanged=1)
    assert found == sent
    assert [row[0] for row in rows_of(mariadb_url)] == [1, 2, 4, 5, 9]


# --- merge --------------------------------------------------------------------------------------


def test_an_upsert_inserts_updates_and_removes_marked_rows(url: str) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD at datetime(6)", "UPDATE t SET at = '2024-01-01'")
    old, new = datetime.datetime(2023, 1, 1), datetime.datetime(2024, 1, 2)
    rows = keyed([1, 2, 3, 4, 5, 6], ["new", "gone", "stale", "fresh", "gone", None]).append_column(
        "at", pa.array([new, new, old, None, new, new], pa.timestamp("us"))
    )
    with mysql_kit.opened(url) as target:
        name = stage(target, rows, ["id"])
        columns = rows.schema.names
        assert target.keep_latest(name, columns, ["id"], ["at"]) == 0
        with target.transaction():
            changes = target.upsert(name, columns, ["id"], ["at"], "v = 'gone'")
            selection = base.Selection(keys_of=name, key=("id",))
            found = target.fingerprint("t", columns, selection, hashes=True)
        sent = target.fingerprint(name, columns, base.Selection(), hashes=True)
        target.drop(name)

    assert changes == base.Changes(inserted=2, updated=1, deleted=1, unchanged=1)
    assert found == sent
    assert found.rows == 3
    assert [(row[0], row[1]) for row in rows_of(url)] == [
        (1, "new"), (3, None), (4, "fresh"), (6, None)
    ]  # fmt: skip
    assert mysql_kit.tables(url) == {"t"}


def test_the_latest_version_of_each_key_is_kept(url: str) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD n int")
    rows = keyed([1, 1, 2, 2, 2, 3, 4, 4], ["a", "b", "x", "x", "w", "q", None, "m"]).append_column(
        "n", pa.array([1, 2, 5, 5, None, None, None, 0], pa.int32())
    )
    with mysql_kit.opened(url) as target:
        name = stage(target, rows, ["id"])
        removed = target.keep_latest(name, rows.schema.names, ["id"], ["n"])

    assert removed == 4
    assert rows_of(url, f"SELECT * FROM {name} ORDER BY id") == [
        (1, "b", 2), (2, "x", 5), (3, "q", None), (4, "m", 0)
    ]  # fmt: skip


@pytest.mark.parametrize("order_by", [["n"], []])
def test_equally_late_different_rows_are_refused(url: str, order_by: list[str]) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD n int")
    rows = keyed([1, 1], ["a", "a "]).append_column("n", pa.array([1, 1], pa.int32()))
    with mysql_kit.opened(url) as target:
        name = stage(target, rows, ["id"])
        with pytest.raises(errors.DuplicateKeyError, match="id='1'"):
            target.keep_latest(name, rows.schema.names, ["id"], order_by)


@pytest.mark.parametrize("definition", ["text", "varchar(300)", "blob"])
def test_keys_of_any_length_are_merged(mariadb_url: str, definition: str) -> None:
    mysql_kit.run_sql(mariadb_url, f"CREATE TABLE t (k {definition}, v int, KEY (k(20)))")
    kind = pa.binary() if definition == "blob" else pa.string()
    rows = table(k=pa.array(["x" * 250, "x" * 250 + "y"], kind), v=pa.array([1, 2], pa.int32()))
    with mysql_kit.opened(mariadb_url) as target:
        name = stage(target, rows, ["k"])
        target.keep_latest(name, ["k", "v"], ["k"], [])
        with target.transaction():
            assert target.upsert(name, ["k", "v"], ["k"], [], None) == base.Changes(inserted=2)


def test_rows_without_a_key_are_replaced(url: str) -> None:
    with mysql_kit.opened(url) as target:
        name = stage(target, keyed([8, 9], ["x", "y"]), [])
        with target.transaction():
            changes = target.replace_rows(name, ["id", "v"], None)

    assert changes == base.Changes(inserted=2, deleted=3)
    assert rows_of(url) == [(8, "x"), (9, "y")]


def test_a_failed_transaction_leaves_everything(url: str) -> None:
    with mysql_kit.opened(url) as target:
        name = stage(target, keyed([8], ["x"]), [])
        window = base.CursorWindow("nowhere", datetime.date(2024, 1, 1), datetime.date(2024, 1, 1))
        with pytest.raises(errors.ConfigError, match="nowhere"), target.transaction():  # noqa: PT012
            target.replace_rows(name, ["id", "v"], None)
            target.replace_rows(name, ["id", "v"], window)
        target.drop(name)

    assert len(rows_of(url)) == 3


def test_an_engine_without_transactions_is_refused(mariadb_url: str) -> None:
    mysql_kit.run_sql(mariadb_url, "CREATE TABLE t (id int) ENGINE=MyISAM")
    with (
        mysql_kit.opened(mariadb_url) as target,
        pytest.raises(errors.ConfigError, match="MyISAM"),
        target.transaction(),
    ):
        pass


def test_a_staging_table_has_the_types_of_the_target_and_extra_columns(mariadb_url: str) -> None:
    mysql_kit.run_sql(
        mariadb_url,
        "CREATE TABLE t (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, ts timestamp(3) NOT NULL,"
        " s varchar(9) CHARACTER SET latin1 NOT NULL, e enum('x''y','b') NOT NULL, j json)",
    )
    with mysql_kit.opened(mariadb_url) as target:
        target.create_staging("s", ["e", "ts", "s", "id", "j"], pa.schema({"more": pa.int64()}))

    found = rows_of(mariadb_url, "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME"
                    " FROM information_schema.COLUMNS WHERE TABLE_NAME = 's'"
                    " AND TABLE_SCHEMA = DATABASE() ORDER BY ORDINAL_POSITION")  # fmt: skip
    assert found == [
        ("e", "enum('x''y','b')", "YES", "utf8mb4"),
        ("ts", "timestamp(3)", "YES", None),
        ("s", "varchar(9)", "YES", "latin1"),
        ("id", "int(11)", "YES", None),
        ("j", "longtext", "YES", "utf8mb4"),
        ("more", "bigint(20)", "YES", None),
    ]


def test_columns_are_added_as_nullable(url: str) -> None:
    with mysql_kit.opened(url) as target:
        target.add_columns(pa.schema([pa.field("n", pa.int8()), base.json_field("j")]))
        described = target.describe()

    assert described.column("n").field == pa.field("n", pa.int8())
    assert base.is_json(described.column("j").field)
    assert rows_of(url)[0] == (1, "a", None, None)


def test_any_name_can_be_published(mariadb_url: str) -> None:
    schema = pa.schema({NASTY: pa.int64(), "key": pa.string(), "a`b": pa.binary()})
    rows = pa.table({NASTY: [1, 2], "key": ["x", None], "a`b": [b"\0", None]}, schema=schema)
    indexes = [base.Index("in`dex 'ä", ("key", NASTY))]
    with mysql_kit.opened(mariadb_url, NASTY) as target:
        shadow = NAMES.table("shadow", NASTY)
        target.create(shadow, schema, [NASTY], indexes)
        mysql_kit.send(target, shadow, rows, [NASTY])
        target.finish_load(shadow, [NASTY])
        assert target.swap(shadow, NAMES) == 0
        target.create_shadow(shadow, indexes)
        mysql_kit.send(target, shadow, rows.slice(0, 1), [NASTY])
        target.finish_load(shadow, [NASTY])
        assert target.swap(shadow, NAMES) == 2
        name = stage(target, rows, [NASTY])
        target.keep_latest(name, schema.names, [NASTY], ["key"])
        with target.transaction():
            changes = target.upsert(name, schema.names, [NASTY], ["key"], "`key` = 'none'")
        found = target.fingerprint(NASTY, schema.names, base.Selection(), hashes=True)
        target.drop(name)
        assert [batch.num_rows for batch in target.scan(NASTY, schema.names, base.Selection())] == [
            2
        ]

    assert changes == base.Changes(inserted=1, unchanged=1)
    assert found == mysql_kit.hash_of(["1\tx\t00", "2\t\\N\t\\N"])
    assert mysql_kit.tables(mariadb_url) == {NASTY}


def test_a_unique_index_that_is_built_last_names_two_rows(mariadb_url: str) -> None:
    with mysql_kit.opened(mariadb_url) as target:
        rows = keyed([1, 2], ["a", "a"])
        target.create("s", rows.schema, ["id"], [base.Index("once", ("v",), unique=True)])
        mysql_kit.send(target, "s", rows, ["id"])
        with pytest.raises(errors.DuplicateKeyError, match="once='a'"):
            target.finish_load("s", ["id"])


# --- leftovers ----------------------------------------------------------------------------------


def test_leftovers_of_this_table_only_are_swept(url: str) -> None:
    dead, other = run.TemporaryNames("dead"), run.TemporaryNames("other")
    mine = {dead.table(kind, "t") for kind in ("shadow", "stage", "latest", "old")}
    kept = {other.table("shadow", "other"), "_tmg_shadow_", "t"}
    for name in (mine | kept) - {"t"}:
        mysql_kit.run_sql(url, f"CREATE TABLE `{name}` (id int)")
    with mysql_kit.opened(url) as target:
        assert set(target.sweep(NAMES)) == mine
        assert target.sweep(NAMES) == []

    assert mysql_kit.tables(url) == kept
