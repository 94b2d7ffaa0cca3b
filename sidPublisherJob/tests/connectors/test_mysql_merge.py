"""Staging tables, diff, upsert and replace; read back by the plain driver."""

import datetime
import pathlib

import pyarrow as pa
import pytest
import yaml

from tests.connectors import mysql_kit
from tmg_etl import errors, testing
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import target as target_module

NAMES = mysql_kit.NAMES
NASTY = "odd `name`; \"quoted\" 'x' .dot ä☃ select %s"


@pytest.fixture
def url(either_url: str) -> str:
    """A database with `t` of three rows."""
    return mysql_kit.seed(either_url)


# --- diff ---------------------------------------------------------------------------------------


def test_a_diff_touches_only_what_differs(url: str) -> None:
    with mysql_kit.opened(url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        rows = mysql_kit.keyed([1, 2, 4, 5], ["A", "b", None, ""])
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
    assert mysql_kit.rows_of(url) == [(1, "A"), (2, "b"), (4, None), (5, "")]


def test_a_diff_sees_bytes_where_the_collation_sees_none(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(20)"
        " COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES ('a', 'x'), ('b', 'e'), ('c', 'z')",
    )
    with mysql_kit.opened(either_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        rows = pa.table({"k": ["A", "b", "c"], "v": ["x", "é", "z "]})
        mysql_kit.send(target, shadow, rows, ["k"])
        with target.transaction():
            changes = target.diff(shadow, ["k", "v"], ["k"], None)

    assert changes == base.Changes(updated=3)
    assert mysql_kit.rows_of(either_url, "SELECT k, v FROM t ORDER BY k") == [
        ("A", "x"), ("b", "é"), ("c", "z ")
    ]  # fmt: skip


def test_a_column_that_the_server_renews_keeps_what_is_sent(either_url: str) -> None:
    """An UPDATE names only the columns that differ anywhere, and those that it would change."""
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v int,"
        " `at ``x` datetime DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP)",
        "INSERT INTO t VALUES (1, 1, '2024-01-05 10:00:00'), (2, 2, NULL)",
    )
    rows = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "v": pa.array([5, 2], pa.int32()),
            "at `x": pa.array([datetime.datetime(2024, 1, 5, 10), None], pa.timestamp("us")),
        }
    )
    with mysql_kit.opened(either_url) as target:
        stage = mysql_kit.stage(target, rows, ["id"])
        target.keep_latest(stage, rows.schema.names, ["id"], [])
        with target.transaction():
            changes = target.upsert(stage, rows.schema.names, ["id"], [], None)
    assert changes == base.Changes(updated=1, unchanged=1)
    found = mysql_kit.rows_of(either_url, "SELECT id, v, `at ``x` FROM t ORDER BY 1")
    assert [(row[0], row[1], str(row[2])) for row in found] == [
        (1, 5, "2024-01-05 10:00:00"),
        (2, 2, "None"),
    ]


def test_a_diff_inside_a_window_leaves_the_rest(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, at datetime(6), KEY (at))",
        "INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03 23:59:59.9'),"
        " (4, '2024-01-04'), (5, NULL)",
    )
    window = base.CursorWindow("at", datetime.date(2024, 1, 2), datetime.date(2024, 1, 3))
    at = [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 3)]
    with mysql_kit.opened(either_url) as target:
        inside = pa.table({"id": pa.array([2, 9], pa.int32()), "at": at})
        name = mysql_kit.stage(target, inside, ["id"])
        with target.transaction():
            changes = target.diff(name, ["id", "at"], ["id"], window)
            found = target.fingerprint(
                "t", ["id", "at"], base.Selection(window=window), hashes=True
            )
        sent = target.fingerprint(name, ["id", "at"], base.Selection(), hashes=True)
        target.drop(name)
        outside = pa.table({"id": pa.array([4], pa.int32()), "at": at[:1]})
        name = mysql_kit.stage(target, outside, ["id"])
        with (
            pytest.raises(errors.DuplicateKeyError, match="outside the window"),
            target.transaction(),
        ):
            target.diff(name, ["id", "at"], ["id"], window)

    assert changes == base.Changes(inserted=1, deleted=1, unchanged=1)
    assert found == sent
    assert [row[0] for row in mysql_kit.rows_of(either_url)] == [1, 2, 4, 5, 9]


# --- merge --------------------------------------------------------------------------------------


def test_an_upsert_inserts_updates_and_removes_marked_rows(url: str) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD at datetime(6)", "UPDATE t SET at = '2024-01-01'")
    old, new = datetime.datetime(2023, 1, 1), datetime.datetime(2024, 1, 2)
    rows = mysql_kit.keyed(
        [1, 2, 3, 4, 5, 6], ["new", "gone", "stale", "fresh", "gone", None]
    ).append_column("at", pa.array([new, new, old, None, new, new], pa.timestamp("us")))
    with mysql_kit.opened(url) as target:
        name = mysql_kit.stage(target, rows, ["id"])
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
    assert [(row[0], row[1]) for row in mysql_kit.rows_of(url)] == [
        (1, "new"), (3, None), (4, "fresh"), (6, None)
    ]  # fmt: skip
    assert mysql_kit.tables(url) == {"t"}


def test_the_latest_version_of_each_key_is_kept(url: str) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD n int")
    rows = mysql_kit.keyed(
        [1, 1, 2, 2, 2, 3, 4, 4], ["a", "b", "x", "x", "w", "q", None, "m"]
    ).append_column("n", pa.array([1, 2, 5, 5, None, None, None, 0], pa.int32()))
    with mysql_kit.opened(url) as target:
        name = mysql_kit.stage(target, rows, ["id"])
        removed = target.keep_latest(name, rows.schema.names, ["id"], ["n"])

    assert removed == 4
    assert mysql_kit.rows_of(url, f"SELECT * FROM {name} ORDER BY id") == [
        (1, "b", 2), (2, "x", 5), (3, "q", None), (4, "m", 0)
    ]  # fmt: skip


@pytest.mark.parametrize("order_by", [["n"], []])
def test_equally_late_different_rows_are_refused(url: str, order_by: list[str]) -> None:
    mysql_kit.run_sql(url, "ALTER TABLE t ADD n int")
    rows = mysql_kit.keyed([1, 1], ["a", "a "]).append_column("n", pa.array([1, 1], pa.int32()))
    with mysql_kit.opened(url) as target:
        name = mysql_kit.stage(target, rows, ["id"])
        with pytest.raises(errors.DuplicateKeyError, match="id='1'"):
            target.keep_latest(name, rows.schema.names, ["id"], order_by)


@pytest.mark.parametrize("definition", ["text", "varchar(300)", "blob"])
def test_keys_of_any_length_are_merged(either_url: str, definition: str) -> None:
    mysql_kit.run_sql(either_url, f"CREATE TABLE t (k {definition}, v int, KEY (k(20)))")
    kind = pa.binary() if definition == "blob" else pa.string()
    keys = pa.array(["x" * 250, "x" * 250 + "y"], kind)
    rows = pa.table({"k": keys, "v": pa.array([1, 2], pa.int32())})
    with mysql_kit.opened(either_url) as target:
        name = mysql_kit.stage(target, rows, ["k"])
        target.keep_latest(name, ["k", "v"], ["k"], [])
        with target.transaction():
            assert target.upsert(name, ["k", "v"], ["k"], [], None) == base.Changes(inserted=2)


def test_rows_without_a_key_are_replaced(url: str) -> None:
    with mysql_kit.opened(url) as target:
        name = mysql_kit.stage(target, mysql_kit.keyed([8, 9], ["x", "y"]), [])
        with target.transaction():
            changes = target.replace_rows(name, ["id", "v"], None)

    assert changes == base.Changes(inserted=2, deleted=3)
    assert mysql_kit.rows_of(url) == [(8, "x"), (9, "y")]


def test_a_failed_transaction_leaves_everything(url: str) -> None:
    with mysql_kit.opened(url) as target:
        name = mysql_kit.stage(target, mysql_kit.keyed([8], ["x"]), [])
        window = base.CursorWindow("nowhere", datetime.date(2024, 1, 1), datetime.date(2024, 1, 1))
        with pytest.raises(errors.ConfigError, match="nowhere"), target.transaction():  # noqa: PT012
            target.replace_rows(name, ["id", "v"], None)
            target.replace_rows(name, ["id", "v"], window)
        target.drop(name)

    assert len(mysql_kit.rows_of(url)) == 3


def test_an_engine_without_transactions_is_refused(either_url: str) -> None:
    mysql_kit.run_sql(either_url, "CREATE TABLE t (id int) ENGINE=MyISAM")
    with (
        mysql_kit.opened(either_url) as target,
        pytest.raises(errors.ConfigError, match="MyISAM"),
        target.transaction(),
    ):
        pass


def test_a_staging_table_has_the_types_of_the_target_and_extra_columns(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, ts timestamp(3) NOT NULL,"
        " s varchar(9) CHARACTER SET latin1 NOT NULL, e enum('x''y','b') NOT NULL, j json)",
    )
    with mysql_kit.opened(either_url) as target:
        target.create_staging("s", ["e", "ts", "s", "id", "j"], pa.schema({"more": pa.int64()}))

    # MariaDB shows a width of integers, which means nothing.
    found = mysql_kit.rows_of(either_url,
                    "SELECT COLUMN_NAME, REGEXP_REPLACE(COLUMN_TYPE, 'int.*', 'int'), IS_NULLABLE,"
                    " CHARACTER_SET_NAME"
                    " FROM information_schema.COLUMNS WHERE TABLE_NAME = 's'"
                    " AND TABLE_SCHEMA = DATABASE() ORDER BY ORDINAL_POSITION")  # fmt: skip
    assert found.pop(4) in [("j", "longtext", "YES", "utf8mb4"), ("j", "json", "YES", None)]
    assert found == [
        ("e", "enum('x''y','b')", "YES", "utf8mb4"),
        ("ts", "timestamp(3)", "YES", None),
        ("s", "varchar(9)", "YES", "latin1"),
        ("id", "int", "YES", None),
        ("more", "bigint", "YES", None),
    ]


def test_columns_are_added_as_nullable(url: str) -> None:
    with mysql_kit.opened(url) as target:
        target.add_columns(pa.schema([pa.field("n", pa.int8()), base.json_field("j")]))
        described = target.describe()

    assert described.column("n").field == pa.field("n", pa.int8())
    assert base.is_json(described.column("j").field)
    assert mysql_kit.rows_of(url)[0] == (1, "a", None, None)


def test_any_name_can_be_published(either_url: str) -> None:
    schema = pa.schema({NASTY: pa.int64(), "key": pa.string(), "a`b": pa.binary()})
    rows = pa.table({NASTY: [1, 2], "key": ["x", None], "a`b": [b"\0", None]}, schema=schema)
    indexes = [base.Index("in`dex 'ä", ("key", NASTY))]
    with mysql_kit.opened(either_url, NASTY) as target:
        shadow = NAMES.table("shadow", NASTY)
        target.create(shadow, schema, [NASTY], indexes)
        mysql_kit.send(target, shadow, rows, [NASTY])
        target.finish_load(shadow, [NASTY])
        assert target.swap(shadow, NAMES) == 0
        target.create_shadow(shadow, indexes)
        mysql_kit.send(target, shadow, rows.slice(0, 1), [NASTY])
        target.finish_load(shadow, [NASTY])
        assert target.swap(shadow, NAMES) == 2
        name = mysql_kit.stage(target, rows, [NASTY])
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
    assert mysql_kit.tables(either_url) == {NASTY}


def test_a_unique_index_that_is_built_last_names_two_rows(either_url: str) -> None:
    with mysql_kit.opened(either_url) as target:
        rows = mysql_kit.keyed([1, 2], ["a", "a"])
        target.create("s", rows.schema, ["id"], [base.Index("once", ("v",), unique=True)])
        mysql_kit.send(target, "s", rows, ["id"])
        with pytest.raises(errors.DuplicateKeyError, match="once='a'"):
            target.finish_load("s", ["id"])


def test_a_rehearsal_neither_waits_for_writers_nor_holds_them_up(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "INSERT INTO t VALUES (1, 5), (2, 5), (3, 5)",
    )
    staging = mysql_kit.NAMES.table("stage", "t")
    writer = mysql_kit.raw(either_url)
    writer.begin()
    writer.cursor().execute("UPDATE t SET v = 9 WHERE id = 2")
    with mysql_kit.opened(either_url) as target:
        target.run("SET SESSION innodb_lock_wait_timeout = 1")
        with target.rehearsal(staging):
            target.create_staging(staging, ["id", "v"], pa.schema([]))
            target.run(f"INSERT INTO `{staging}` VALUES (1, 4), (2, 7), (4, 4)")
            target.keep_latest(staging, ["id", "v"], ["id"], ["v"])
            changes = target.upsert(staging, ["id", "v"], ["id"], ["v"], None)
            # Again, as a comparison does: nothing is left of the first time.
            target.upsert(staging, ["id", "v"], ["id"], ["v"], None)
        assert changes == base.Changes(inserted=1, updated=1, deleted=0, unchanged=1)
    writer.rollback()
    writer.close()
    assert mysql_kit.rows_of(either_url) == [(1, 5), (2, 5), (3, 5)]


def test_a_commit_that_nobody_answered_keeps_the_added_column(
    url: str, tmp_path: pathlib.Path
) -> None:
    """It may be filled: to remove it again would take what readers see by then."""
    (tmp_path / "facts.csv").write_text("id,day,extra\n1,20240310,x\n")
    config = {
        "connections": {
            "lake": {"type": "files", "url": str(tmp_path)},
            "behind": {"type": "mysql", "url": url},
            "serving": {"type": "flaky", "of": "behind", "faults": {"commit": "cut"}},
        },
        "ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
        "transfers": {
            "facts": {
                "source": {"connection": "lake", "table": "facts"},
                "target": {"connection": "serving", "table": "facts"},
                "key": ["id"],
                "schema": "evolve",
                "delta": {"cursor": "day"},
            }
        },
    }
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config))
    mysql_kit.run_sql(url, "CREATE TABLE facts (id BIGINT PRIMARY KEY, day BIGINT)")
    outcome = testing.run_pipeline(path, "facts", "delta", day=datetime.date(2024, 3, 10))
    assert outcome.exit_code == 75
    assert len(mysql_kit.rows_of(url, "SHOW COLUMNS FROM facts LIKE 'extra'")) == 1
    del config["connections"]["serving"]["faults"]
    path.write_text(yaml.safe_dump(config))
    outcome = testing.run_pipeline(path, "facts", "delta", day=datetime.date(2024, 3, 10))
    assert outcome.exit_code == 0
    assert mysql_kit.rows_of(url, "SELECT * FROM facts") == [(1, 20240310, "x")]


# --- one statement ------------------------------------------------------------------------------


def _merge(target: base.Target, rows: pa.Table, key: list[str]) -> base.Changes:
    stage = mysql_kit.stage(target, rows, key)
    target.keep_latest(stage, rows.schema.names, key, [])
    try:
        with target.transaction():
            return target.upsert(stage, rows.schema.names, key, [], None)
    finally:
        target.drop(stage)


def _written(ids: list[int], texts: list[str], numbers: list[int]) -> pa.Table:
    return pa.table(
        {"id": pa.array(ids, pa.int32()), "v": texts, "w": pa.array(numbers, pa.int32())}
    )


def _statements(target: target_module.MySQLTarget) -> dict[str, int]:
    names = "('Com_insert_select', 'Com_update', 'Com_update_multi', 'Com_select')"
    found = target.rows(f"SHOW SESSION STATUS WHERE Variable_name IN {names}")
    return {name: int(value) for name, value in found}


def test_a_merge_joins_the_keys_once_and_tells_what_it_did(url: str) -> None:
    """`t` holds (1, a), (2, b) and one more."""
    rows = pa.table({"id": pa.array([1, 2, 8, 9], pa.int32()), "v": ["A", "b", "h", "i"]})
    with mysql_kit.opened(url) as target:
        stage = mysql_kit.stage(target, rows, ["id"])
        target.keep_latest(stage, ["id", "v"], ["id"], [])
        before = _statements(target)
        with target.transaction():
            changes = target.upsert(stage, ["id", "v"], ["id"], [], None)
        after = _statements(target)
    assert changes == base.Changes(inserted=2, updated=1, unchanged=1)
    assert after["Com_insert_select"] - before["Com_insert_select"] == 1
    assert after["Com_update"] == before["Com_update"]
    assert after["Com_update_multi"] == before["Com_update_multi"]
    found = dict(mysql_kit.rows_of(url))
    assert found | {1: "A", 2: "b", 8: "h", 9: "i"} == found


@pytest.mark.parametrize(
    ("table", "key", "sent"),
    [
        ("id int PRIMARY KEY, v varchar(20), w int, UNIQUE (w)", ["id"], (3, "c", 1)),
        ("id int, v varchar(20), w int, PRIMARY KEY (v(3))", ["v"], (3, "abcd", 3)),
        ("id int PRIMARY KEY, v varchar(20), w int", ["id", "w"], (1, "c", 7)),
        ("id int PRIMARY KEY, v varchar(20), w int, low varchar(20) AS (lower(v)) UNIQUE",
         ["id"], (3, "ABCDE", 3)),
    ],
    ids=["another", "prefix", "part", "generated"],
)  # fmt: skip
def test_a_row_that_another_rule_refuses_takes_the_place_of_none(
    either_url: str, table: str, key: list[str], sent: tuple[int, str, int]
) -> None:
    """ON DUPLICATE KEY UPDATE would write over whatever row is in the way, of any unique index."""
    held = [(1, "abcde", 1), (2, "x", 2)]
    mysql_kit.run_sql(
        either_url,
        f"CREATE TABLE t ({table})",
        "INSERT INTO t (id, v, w) VALUES (1, 'abcde', 1), (2, 'x', 2)",
    )
    with (
        mysql_kit.opened(either_url) as target,
        pytest.raises((errors.DuplicateKeyError, errors.ConstraintError)),
    ):
        _merge(target, _written(*[[one] for one in sent]), key)
    assert mysql_kit.rows_of(either_url, "SELECT id, v, w FROM t ORDER BY id") == held


def test_a_row_that_is_updated_is_no_insert_to_a_trigger(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20), w int)",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE TABLE noted (id int)",
        "CREATE TRIGGER seen BEFORE INSERT ON t FOR EACH ROW INSERT INTO noted VALUES (NEW.id)",
    )
    with mysql_kit.opened(either_url) as target:
        changes = _merge(target, _written([1, 2, 3], ["A", "b", "c"], [1, 2, 3]), ["id"])
    assert changes == base.Changes(inserted=1, updated=1, unchanged=1)
    assert mysql_kit.rows_of(either_url, "SELECT id FROM noted") == [(3,)]


def test_what_the_source_lacks_keeps_its_value_and_its_counter(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (n int AUTO_INCREMENT UNIQUE, id int PRIMARY KEY, v varchar(20), w int,"
        " kept varchar(9) NOT NULL)",
        "INSERT INTO t VALUES (7, 1, 'a', 1, 'mine')",
    )
    with mysql_kit.opened(either_url) as target:
        changes = _merge(target, _written([1], ["A"], [1]), ["id"])
    assert changes == base.Changes(updated=1)
    mysql_kit.run_sql(either_url, "INSERT INTO t (id, v, w, kept) VALUES (2, 'b', 2, 'more')")
    found = mysql_kit.rows_of(either_url, "SELECT n, id, v, kept FROM t ORDER BY n")
    assert found == [(7, 1, "A", "mine"), (8, 2, "b", "more")]
