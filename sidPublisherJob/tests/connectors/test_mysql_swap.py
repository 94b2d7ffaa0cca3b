"""Shadow tables, the swap and what it keeps; read back by the plain driver."""

import multiprocessing
import threading
import time

import pymysql
import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors, run
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import swap
from tmg_etl.testing import servers

NAMES = mysql_kit.NAMES
NASTY = "odd `name`; \"quoted\" 'x' .dot ä☃ select %s"


@pytest.fixture
def url(either_url: str) -> str:
    """A database with `t` of three rows."""
    return mysql_kit.seed(either_url)


# --- swap ---------------------------------------------------------------------------------------


def test_a_swap_replaces_all_rows_and_leaves_nothing_behind(url: str) -> None:
    with mysql_kit.opened(url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, mysql_kit.keyed([7, 8], ["x", "y"]), ["id"])
        target.finish_load(shadow, ["id"])
        assert target.swap(shadow, NAMES) == 3

    assert mysql_kit.rows_of(url) == [(7, "x"), (8, "y")]
    assert mysql_kit.tables(url) == {"t"}


@pytest.mark.parametrize("sought", ["TRIGGERS", "SHOW CREATE TABLE"])
def test_a_swap_whose_replaced_table_another_run_sweeps_has_published(
    url: str, monkeypatch: pytest.MonkeyPatch, sought: str
) -> None:
    """As when a run sleeps after the step, and loses its lock."""
    mysql_kit.run_sql(url, "CREATE TRIGGER hooked BEFORE DELETE ON t FOR EACH ROW SET @x = 1")
    shadow, old = NAMES.table("shadow", "t"), NAMES.table("old", "t")
    execute = pymysql.cursors.Cursor.execute

    def swept(cursor: pymysql.cursors.Cursor, query: str, arguments: object = None) -> int:
        if sought in query and old in f"{query} {arguments}":
            mysql_kit.run_sql(url, f"DROP TABLE {old}")
        return execute(cursor, query, arguments)

    with mysql_kit.opened(url) as target:
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, mysql_kit.keyed([7], ["x"]), ["id"])
        target.finish_load(shadow, ["id"])
        monkeypatch.setattr(pymysql.cursors.Cursor, "execute", swept)
        assert target.swap(shadow, NAMES) == 3
        monkeypatch.undo()
    assert mysql_kit.rows_of(url) == [(7, "x")]
    assert mysql_kit.tables(url) == {"t"}


def test_a_swap_without_a_target_is_a_rename(either_url: str) -> None:
    with mysql_kit.opened(either_url) as target:
        assert target.describe() is None
        shadow = NAMES.table("shadow", "t")
        indexes = [base.Index("by_v", ("v",)), base.Index("once", ("v", "id"), unique=True)]
        target.create(shadow, mysql_kit.keyed([], []).schema, ["id"], indexes)
        mysql_kit.send(target, shadow, mysql_kit.keyed([1], ["a"]), ["id"])
        target.finish_load(shadow, ["id"])
        assert target.swap(shadow, NAMES) == 0
        described = target.describe()

    assert mysql_kit.rows_of(either_url) == [(1, "a")]
    assert mysql_kit.tables(either_url) == {"t"}
    assert described.primary_key == ("id",)
    assert described.unique_keys == (("v", "id"),)
    assert set(described.indexes) == {"by_v", "once"}


def test_a_swap_keeps_everything_of_the_target(either_server, either_url: str) -> None:
    database = either_url.rpartition("/")[2]
    mysql_kit.run_sql(
        either_url,
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
    before = mysql_kit.rows_of(either_url, "SHOW CREATE TABLE t")
    grants = mysql_kit.rows_of(either_url, f"SHOW GRANTS FOR reader_{database}")
    with mysql_kit.opened(either_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [base.Index("extra", ("made",)), base.Index("by_n", ("n",))])
        inside = mysql_kit.rows_of(either_url, f"SHOW CREATE TABLE {shadow}")[0][1]
        assert "by_n" not in inside
        assert "words" not in inside
        assert "once" in inside
        rows = mysql_kit.keyed([3], ["q"])
        mysql_kit.send(target, shadow, rows, ["id"])
        target.finish_load(shadow, ["id"])
        assert target.describe().swap_blockers == ()
        target.swap(shadow, NAMES)

    after = mysql_kit.rows_of(either_url, "SHOW CREATE TABLE t")

    def lines(found: list[tuple]) -> list[str]:
        return sorted(line.rstrip(",") for line in found[0][1].splitlines())

    assert set(lines(after)) - set(lines(before)) == {"  KEY `extra` (`made`)"}
    assert set(lines(before)) <= set(lines(after))
    assert mysql_kit.rows_of(either_url, f"SHOW GRANTS FOR reader_{database}") == grants
    assert mysql_kit.rows_of(either_url, "SELECT * FROM look") == [(3, "q")]
    assert mysql_kit.rows_of(either_url, "SELECT twice FROM t") == [(3,)]
    mysql_kit.run_sql(either_url, "INSERT INTO t (v) VALUES ('new')")
    assert mysql_kit.rows_of(either_url, "SELECT MAX(id) FROM t") == [(500,)]
    mysql_kit.run_sql(either_url, f"DROP USER reader_{database}")


def test_a_named_check_keeps_its_name_or_keeps_the_table_from_a_swap(
    either_server: servers.MySQLFamilyServer, either_url: str
) -> None:
    """MySQL has each name once in a database, and so the shadow's is another one."""
    mysql_kit.run_sql(
        either_url, "CREATE TABLE t (id int PRIMARY KEY, CONSTRAINT positive CHECK (id > 0))"
    )
    blockers = ("its CHECK positive would get another name",)
    is_mysql = isinstance(either_server, servers.MySQLServer)
    with mysql_kit.opened(either_url) as target:
        assert target.describe().swap_blockers == (blockers if is_mysql else ())
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        target.swap(shadow, NAMES)
    (_, created), *_ = mysql_kit.rows_of(either_url, "SHOW CREATE TABLE t")
    assert ("positive" in created) is not is_mysql


def test_histograms_are_made_again(mysql_url: str) -> None:
    """They are of a table's values, and a copy has none."""
    mysql_kit.run_sql(
        mysql_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(50), w int)",
        "ANALYZE TABLE t UPDATE HISTOGRAM ON v WITH 16 BUCKETS AUTO UPDATE",
        "ANALYZE TABLE t UPDATE HISTOGRAM ON w WITH 7 BUCKETS",
    )
    found = (
        "SELECT COLUMN_NAME, HISTOGRAM->'$.\"number-of-buckets-specified\"',"
        " HISTOGRAM->'$.\"auto-update\"' FROM information_schema.COLUMN_STATISTICS"
        " WHERE SCHEMA_NAME = database() AND TABLE_NAME = 't' ORDER BY 1"
    )
    before = mysql_kit.rows_of(mysql_url, found)
    assert before == [("v", "16", "true"), ("w", "7", "false")]
    with mysql_kit.opened(mysql_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, mysql_kit.keyed([3], ["q"]), ["id"])
        target.finish_load(shadow, ["id"])
        target.swap(shadow, NAMES)
    assert mysql_kit.rows_of(mysql_url, found) == before


def test_a_folder_of_its_own_keeps_a_table_from_a_swap(
    mariadb_server: servers.MariaDBServer, mariadb_url: str
) -> None:
    """A copy is made where the server's other tables are; so are a copy's partitions."""
    folder = mariadb_server.folder / f"elsewhere_{mariadb_url[-8:]}"
    folder.mkdir()
    folder.chmod(0o777)
    place = f"DATA DIRECTORY = '{folder}'"
    mysql_kit.run_sql(
        mariadb_url,
        f"CREATE TABLE t (id int PRIMARY KEY COMMENT 'no DATA DIRECTORY') {place}",
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)"
        f" (PARTITION a VALUES LESS THAN (10) {place})",
        "CREATE TABLE plain (id int PRIMARY KEY) COMMENT 'DATA DIRECTORY = ''x'''",
    )
    blockers = ("its DATA DIRECTORY would be lost",)
    for table, expected in {"t": blockers, "parted": blockers, "plain": ()}.items():
        with mysql_kit.opened(mariadb_url, table) as target:
            assert target.describe().swap_blockers == expected


def test_a_partitioned_target_stays_partitioned(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9), KEY by_v (v))"
        " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10),"
        " PARTITION high VALUES LESS THAN MAXVALUE)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    before = mysql_kit.rows_of(either_url, "SHOW CREATE TABLE t")
    with mysql_kit.opened(either_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, mysql_kit.keyed([5, 50], ["x", "y"]), ["id"])
        target.finish_load(shadow, ["id"])
        target.swap(shadow, NAMES)

    assert mysql_kit.rows_of(either_url, "SHOW CREATE TABLE t") == before
    assert mysql_kit.rows_of(either_url, "SELECT * FROM t PARTITION (high)") == [(50, "y")]


def test_an_auto_increment_column_outside_the_key_keeps_its_index(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url, "CREATE TABLE t (k int PRIMARY KEY, n int AUTO_INCREMENT, KEY numbers (n))"
    )
    with mysql_kit.opened(either_url) as target:
        target.create_shadow("s", [])
        target.finish_load("s", ["k"])
        assert set(target.describe().indexes) == {"numbers"}


def test_what_a_swap_would_break_is_listed(either_url: str) -> None:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, p int,"
        " CONSTRAINT up FOREIGN KEY (p) REFERENCES parent (id))",
        "CREATE TABLE child (id int, CONSTRAINT down FOREIGN KEY (id) REFERENCES t (id))",
        "CREATE TRIGGER watch AFTER INSERT ON t FOR EACH ROW SET @x = 1",
    )
    with mysql_kit.opened(either_url) as target:
        blockers = target.describe().swap_blockers

    assert blockers == (
        "referenced by foreign key down of table child",
        "its foreign key up to table parent would be lost",
        "its trigger watch would be lost",
    )


def test_a_swap_of_a_referenced_table_is_undone(either_url: str) -> None:
    """The blocker may be hidden from a user without rights on the other table."""
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'old')",
        "CREATE TABLE child (id int, CONSTRAINT down FOREIGN KEY (id) REFERENCES t (id))",
        "INSERT INTO child VALUES (1)",
    )
    with mysql_kit.opened(either_url) as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        mysql_kit.send(target, shadow, mysql_kit.keyed([1, 2], ["new", "new"]), ["id"])
        with pytest.raises(errors.ConfigError, match="foreign key"):
            target.swap(shadow, NAMES)
        target.drop(shadow)

    assert mysql_kit.rows_of(either_url) == [(1, "old")]
    assert mysql_kit.tables(either_url) == {"t", "child"}
    with pytest.raises(Exception, match="foreign key"):
        mysql_kit.run_sql(either_url, "INSERT INTO child VALUES (2)")


def _count_in_a_loop(
    url: str,
    found: "multiprocessing.Queue",
    reading: "multiprocessing.Event",
    stop: "multiprocessing.Event",
) -> None:
    counts, slowest = set(), 0.0
    with mysql_kit.raw(url) as connection, connection.cursor() as cursor:
        while not stop.is_set():
            begun = time.monotonic()
            cursor.execute("SELECT COUNT(*) FROM t")
            counts.add(cursor.fetchone()[0])
            slowest = max(slowest, time.monotonic() - begun)
            reading.set()
    found.put((counts, slowest))


def exchanges_of(target: base.Target, *tables: str) -> list[base.Exchange]:
    """Tables over one session, each with a shadow of two new rows."""
    exchanges = []
    for table in tables:
        one = target if table == target.table else target.beside(table)
        shadow = NAMES.table("shadow", table)
        one.create_shadow(shadow, [])
        mysql_kit.send(one, shadow, mysql_kit.keyed([1, 2], ["new", "new"]), ["id"])
        one.finish_load(shadow, ["id"])
        exchanges.append(base.Exchange(one, shadow))
    return exchanges


def create_pair_with_a_hidden_child(url: str) -> None:
    mysql_kit.run_sql(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'old')",
        "CREATE TABLE u LIKE t",
        "INSERT INTO u SELECT * FROM t",
        "CREATE TABLE child (id int, CONSTRAINT down FOREIGN KEY (id) REFERENCES t (id))",
    )


def test_a_swap_of_several_is_undone_as_a_whole(either_url: str) -> None:
    create_pair_with_a_hidden_child(either_url)
    with mysql_kit.opened(either_url) as target:
        exchanges = exchanges_of(target, "t", "u")
        with pytest.raises(errors.ConfigError, match="t: a foreign key of another table"):
            target.swap_together(exchanges, NAMES)
        for one in exchanges:
            one.target.drop(one.shadow)

    for table in ("t", "u"):
        assert mysql_kit.rows_of(either_url, f"SELECT * FROM {table}") == [(1, "old")]
    assert mysql_kit.tables(either_url) == {"t", "u", "child"}


def test_half_of_a_swap_of_several_is_never_undone(
    either_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The replaced rows of one are gone when those of the other turn out to be referred to."""
    create_pair_with_a_hidden_child(either_url)
    with mysql_kit.opened(either_url) as target:
        assert target.swap_together(exchanges_of(target, "u", "t"), NAMES) == [1, 1]

    for table in ("t", "u"):
        rows = mysql_kit.rows_of(either_url, f"SELECT * FROM {table} ORDER BY id")
        assert rows == [(1, "new"), (2, "new")]
    left = NAMES.table("old", "t")
    assert mysql_kit.tables(either_url) == {"t", "u", "child", left}
    assert f"its replaced rows are still there as {left}" in caplog.text


def test_readers_see_old_or_new_and_never_wait_a_second(url: str) -> None:
    """Also while somebody keeps the table in an open transaction for a while."""
    context = multiprocessing.get_context("spawn")
    found, reading, stop = context.Queue(), context.Event(), context.Event()
    reader = context.Process(target=_count_in_a_loop, args=(url, found, reading, stop))
    reader.start()
    assert reading.wait(30)
    with mysql_kit.opened(url) as target, mysql_kit.raw(url) as holder, holder.cursor() as cursor:
        for number in range(6):
            shadow = NAMES.table("shadow", "t")
            target.create_shadow(shadow, [])
            mysql_kit.send(target, shadow, mysql_kit.keyed(list(range(500)), ["x"] * 500), ["id"])
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

    assert len(mysql_kit.rows_of(url)) == 3
    assert mysql_kit.tables(url) == {"t"}


# --- leftovers ----------------------------------------------------------------------------------


def test_an_attempt_that_was_lost_and_came_through_later_is_the_swap(url: str) -> None:
    """The server carries on for a moment what a connection that was cut has asked for."""
    shadow, old = (NAMES.table(kind, "t") for kind in ("shadow", "old"))
    reader = mysql_kit.raw(url)
    reader.begin()
    reader.cursor().execute("SELECT * FROM t")
    looks = 0

    def is_done() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            reader.rollback()
            mysql_kit.run_sql(url, f"RENAME TABLE t TO `{old}`, `{shadow}` TO t")
            return False
        return old in mysql_kit.tables(url)

    with mysql_kit.opened(url) as target:
        target.create_shadow(shadow, [])
        pairs = [("t", f"`{old}`"), (f"`{shadow}`", "t")]
        swap.rename(target._session, pairs, is_done, "t")
        assert looks == 2
        # At the first attempt it is what it says.
        with pytest.raises(errors.ConfigError):
            swap.rename(target._session, pairs, lambda: True, "t")
    reader.close()


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


def test_a_limit_of_connections_is_told_as_what_it_is(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "_PATIENCE_S", 0.3)
    database = url.rpartition("/")[2]
    user = f"one_{database}"
    mysql_kit.run_sql(
        url,
        f"CREATE USER {user} IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1",
        f"GRANT ALL ON {database}.* TO {user}",
    )
    address = url.rpartition("@")[2]
    with mysql_kit.opened(f"mysql://{user}:x@{address}") as target:
        shadow = NAMES.table("shadow", "t")
        target.create_shadow(shadow, [])
        target.finish_load(shadow, ["id"])
        with pytest.raises(errors.TemporaryError, match="max_user_connections"):
            target.swap(shadow, NAMES)
        target.drop(shadow)
    mysql_kit.run_sql(url, f"DROP USER {user}")
    assert len(mysql_kit.rows_of(url)) == 3
