"""The swap: what it keeps, what it refuses, and what a reader notices of it."""

import multiprocessing
import threading
import time
from multiprocessing import connection as pipes

import psycopg
import pyarrow as pa
import pytest

from tests.connectors import postgres_kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.postgres import session as session_module

pytestmark = pytest.mark.postgres

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
ROWS = postgres_kit.records(SCHEMA, [1, "a"], [2, "b"])

# Everything that a name, a number of the catalogue, or a default could lose on the way.
RICH = """
CREATE TABLE other (id bigint PRIMARY KEY);
INSERT INTO other VALUES (1), (2), (3);
CREATE TABLE t (
    id bigint CONSTRAINT "the key" PRIMARY KEY,
    name varchar(50) COLLATE "C" NOT NULL DEFAULT 'none' CONSTRAINT no_blank CHECK (name <> ''),
    other_id bigint CONSTRAINT to_other REFERENCES other ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED,
    serial_id serial,
    identity_id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5),
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
    spare text,
    CONSTRAINT names UNIQUE (name, id) INCLUDE (spare) DEFERRABLE,
    CONSTRAINT span EXCLUDE USING gist (int8range(id, id, '[]') WITH &&)
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE t ADD CONSTRAINT unchecked FOREIGN KEY (serial_id) REFERENCES other NOT VALID;
CREATE INDEX "t lower; --" ON t (lower(name) DESC NULLS LAST) WITH (fillfactor = 50)
    WHERE name <> 'x ON public.t USING y';
CREATE UNIQUE INDEX t_partial ON t (name) WHERE id > 5;
CREATE STATISTICS t_stats (dependencies) ON id, name FROM t;
ALTER STATISTICS t_stats SET STATISTICS 99;
ALTER INDEX "t lower; --" ALTER COLUMN 1 SET STATISTICS 77;
ALTER TABLE t ALTER COLUMN name SET STATISTICS 500;
ALTER TABLE t ALTER COLUMN name SET (n_distinct = -0.5);
ALTER TABLE t ALTER COLUMN spare SET STORAGE EXTERNAL;
ALTER TABLE t CLUSTER ON names;
ALTER TABLE t REPLICA IDENTITY USING INDEX "the key";
COMMENT ON TABLE t IS 'it''s the table';
COMMENT ON COLUMN t.name IS 'a column';
COMMENT ON INDEX t_partial IS 'an index';
COMMENT ON CONSTRAINT names ON t IS 'a key';
COMMENT ON CONSTRAINT to_other ON t IS 'a reference';
COMMENT ON SEQUENCE t_identity_id_seq IS 'it numbers';
COMMENT ON CONSTRAINT no_blank ON t IS 'a check';
COMMENT ON STATISTICS t_stats IS 'statistics';
INSERT INTO t (id, name, other_id) VALUES (7, 'old', 1), (8, 'older', 2);
"""

FACTS = {
    "columns": "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,"
    " attgenerated::text, attstorage::text, attstattarget,"
    # Newer servers keep a value of their own there, another one for each table.
    " ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE o NOT LIKE 'pg\\_attver=%'),"
    " attcollation::regcollation::text, col_description(attrelid, attnum),"
    " pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid"
    " AND adnum = attnum WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum",
    "indexes": "SELECT c.relname, pg_get_indexdef(c.oid), indisprimary, indisunique, indimmediate,"
    " indisclustered, indisreplident, indisvalid, obj_description(c.oid, 'pg_class'),"
    " (SELECT max(attstattarget) FROM pg_attribute WHERE attrelid = c.oid)"
    " FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid"
    " WHERE indrelid = 't'::regclass ORDER BY 1",
    "constraints": "SELECT conname, contype::text, pg_get_constraintdef(oid), convalidated,"
    " condeferrable, condeferred, obj_description(oid, 'pg_constraint') FROM pg_constraint"
    " WHERE conrelid = 't'::regclass ORDER BY 1",
    "statistics": "SELECT stxname, stxstattarget, pg_get_statisticsobjdef(oid),"
    " obj_description(oid, 'pg_statistic_ext') FROM pg_statistic_ext"
    " WHERE stxrelid = 't'::regclass",
    "sequences": "SELECT c.relname, seqstart, seqincrement, seqtypid::regtype::text, seqmin,"
    " seqmax,"
    " obj_description(c.oid, 'pg_class'), d.deptype::text, d.refobjsubid,"
    " (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) AS a)"
    " FROM pg_sequence JOIN pg_class AS c ON c.oid = seqrelid"
    " JOIN pg_depend AS d ON d.objid = c.oid AND d.refobjid = 't'::regclass ORDER BY 1",
    "table": "SELECT relowner::regrole::text, reloptions, relreplident::text,"
    " relpersistence::text, obj_description(oid, 'pg_class'),"
    " (SELECT reloptions FROM pg_class AS x WHERE x.oid = c.reltoastrelid),"
    " (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) AS a)"
    " FROM pg_class AS c WHERE oid = 't'::regclass",
    "column grants": "SELECT attname, (SELECT array_agg(a::text ORDER BY a::text)"
    " FROM unnest(attacl) AS a) FROM pg_attribute"
    " WHERE attrelid = 't'::regclass AND attacl IS NOT NULL",
    "names": "SELECT relname, relkind::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
}


def _facts(url: str) -> dict[str, list[tuple[object, ...]]]:
    return {name: postgres_kit.run_sql(url, query) for name, query in FACTS.items()}


def test_swap_keeps_everything_but_the_rows(postgres_url):
    owner, reader = f"owner_{postgres_url[-8:]}", f"re ader_{postgres_url[-8:]}"
    postgres_kit.run_sql(
        postgres_url,
        RICH,
        "ALTER TABLE t ADD CONSTRAINT late_rule CHECK (id <> 7) NOT VALID;"
        "COMMENT ON CONSTRAINT late_rule ON t IS 'of new rows only'",
        f'CREATE ROLE {owner}; CREATE ROLE "{reader}"; GRANT CREATE ON SCHEMA public TO {owner};'
        f'ALTER TABLE t OWNER TO {owner}; GRANT SELECT, INSERT ON t TO "{reader}";'
        f'GRANT SELECT ON t TO PUBLIC; GRANT TRIGGER ON t TO "{reader}" WITH GRANT OPTION;'
        f'REVOKE TRUNCATE ON t FROM {owner}; GRANT UPDATE (name) ON t TO "{reader}";'
        f'GRANT USAGE ON SEQUENCE t_identity_id_seq TO "{reader}";'
        f'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT DELETE ON TABLES TO "{reader}";',
        "SELECT nextval('t_identity_id_seq')",
    )
    before = _facts(postgres_url)
    schema = pa.schema(
        [
            ("id", pa.int64()), ("name", pa.string()), ("other_id", pa.int64()),
            ("serial_id", pa.int32()), ("identity_id", pa.int32()), ("spare", pa.string()),
        ]
    )  # fmt: skip
    rows = postgres_kit.records(schema, [1, "new", 1, 1, 50, None], [2, "newer", 2, 2, 55, "x"])
    try:
        with postgres_kit.opened(postgres_url) as target:
            described = target.describe()
            assert described is not None
            assert described.swap_blockers == ()
            shadow = postgres_kit.fill_shadow(
                target, rows, ["id"], [base.Index("t_partial", ("name",))]
            )
            assert target.swap(shadow, postgres_kit.NAMES) == 2
        after = _facts(postgres_url)
        for name in FACTS:
            assert after[name] == before[name], name
        found = postgres_kit.run_sql(
            postgres_url,
            "INSERT INTO t (id, name) VALUES (9, 'next')",
            "SELECT id, name, serial_id, identity_id, upper_name FROM t ORDER BY id",
        )
        assert found == [
            (1, "new", 1, 50, "NEW"),
            (2, "newer", 2, 55, "NEWER"),
            (9, "next", 3, 115, "NEXT"),
        ]
    finally:
        postgres_kit.run_sql(
            postgres_url, f'DROP OWNED BY {owner}, "{reader}"; DROP ROLE {owner}, "{reader}"'
        )


def test_rows_that_break_a_foreign_key_are_refused_before_the_swap(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE other (id bigint PRIMARY KEY)",
        "CREATE TABLE t (id bigint REFERENCES other, name text)",
    )
    with postgres_kit.opened(postgres_url) as target:
        with pytest.raises(errors.DataError, match="t_id_fkey"):
            postgres_kit.fill_shadow(target, ROWS)
        target.drop(postgres_kit.NAMES.table("shadow", "t"))


BLOCKERS = {
    "referenced by foreign key x of table other": "CREATE TABLE other (id bigint CONSTRAINT x"
    " REFERENCES t)",
    "referenced by foreign key self of table t": "ALTER TABLE t ADD CONSTRAINT self"
    " FOREIGN KEY (id) REFERENCES t",
    "view v depends on it": "CREATE VIEW v AS SELECT id FROM t",
    "materialized view v depends on it": "CREATE MATERIALIZED VIEW v AS SELECT id FROM t",
    "rule r on it": "CREATE RULE r AS ON DELETE TO t DO ALSO NOTIFY x",
    "trigger g on it": "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "table child inherits from it": "CREATE TABLE child () INHERITS (t)",
    "row-level security on it": "CREATE POLICY p ON t USING (true)",
    "published by p": "CREATE PUBLICATION p FOR TABLE t",
    "published by all": 'CREATE PUBLICATION "all" FOR ALL TABLES',
    "function f(t) depends on it": "CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "function g() depends on it": "CREATE FUNCTION g() RETURNS bigint LANGUAGE sql"
    " BEGIN ATOMIC SELECT count(*) FROM t; END",
    "column c of table holder depends on it": "CREATE TABLE holder (c t[])",
}


def test_what_depends_on_a_table_forbids_the_swap(postgres_url):
    for phrase, statement in BLOCKERS.items():
        postgres_kit.run_sql(
            postgres_url,
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
            "CREATE TABLE t (id bigint PRIMARY KEY, name text);"
            "INSERT INTO t VALUES (5, 'old')",
            statement,
        )
        with postgres_kit.opened(postgres_url) as target:
            described = target.describe()
            assert described is not None
            assert phrase in described.swap_blockers, (phrase, described.swap_blockers)
            shadow = postgres_kit.fill_shadow(target, ROWS, ["id"])
            with pytest.raises(errors.ConfigError, match="cannot be swapped"):
                target.swap(shadow, postgres_kit.NAMES)
            target.drop(shadow)
        postgres_kit.run_sql(
            postgres_url, 'DROP PUBLICATION IF EXISTS p; DROP PUBLICATION IF EXISTS "all"'
        )


def test_partitions_forbid_the_swap(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE whole (id bigint, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE t PARTITION OF whole FOR VALUES FROM (0) TO (10)",
    )
    for table, phrase in {"whole": "it is a partitioned table", "t": "it is a partition"}.items():
        with postgres_kit.opened(postgres_url, table) as target:
            described = target.describe()
            assert described is not None
            assert phrase in described.swap_blockers
            shadow = postgres_kit.fill_shadow(target, ROWS)
            with target.transaction():
                changes = target.diff(shadow, SCHEMA.names, ["id"], None)
            assert changes.inserted + changes.unchanged == 2
            target.drop(shadow)
    assert postgres_kit.run_sql(postgres_url, "SELECT count(*) FROM t") == [(2,)]


def test_blocker_that_appears_during_the_run_stops_the_swap(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint, name text)")
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.fill_shadow(target, ROWS)
        postgres_kit.run_sql(postgres_url, "CREATE VIEW v AS SELECT * FROM t")
        with pytest.raises(errors.ConfigError, match="view v"):
            target.swap(shadow, postgres_kit.NAMES)
        target.drop(shadow)
    assert postgres_kit.run_sql(postgres_url, "SELECT count(*) FROM v") == [(0,)]


def test_table_that_somebody_replaced_stops_the_swap(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint, name text)")
    with postgres_kit.opened(postgres_url) as target:
        shadow = postgres_kit.fill_shadow(target, ROWS)
        postgres_kit.run_sql(postgres_url, "DROP TABLE t", "CREATE TABLE t (id text)")
        with pytest.raises(errors.TemporaryError, match="somebody else"):
            target.swap(shadow, postgres_kit.NAMES)


def test_long_reader_makes_the_swap_give_up_and_leaves_the_table(postgres_url, monkeypatch):
    monkeypatch.setattr(session_module, "LOCK_PATIENCE_S", 1.0)
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint, name text)")
    with postgres_kit.opened(postgres_url) as target, postgres_kit.raw(postgres_url) as reader:
        shadow = postgres_kit.fill_shadow(target, ROWS)
        with reader.transaction():
            reader.execute("SELECT count(*) FROM t")
            with pytest.raises(errors.TemporaryError, match="no lock in 1 s") as caught:
                target.swap(shadow, postgres_kit.NAMES)
            assert f"held by process {reader.info.backend_pid} of " in str(caught.value)
            assert "idle in transaction: AccessShareLock on " in str(caught.value)
        target.drop(shadow)
    assert postgres_kit.run_sql(postgres_url, "SELECT count(*) FROM t") == [(0,)]


def test_swap_waits_for_a_reader_that_ends(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint, name text)")
    with postgres_kit.opened(postgres_url) as target, postgres_kit.raw(postgres_url) as reader:
        shadow = postgres_kit.fill_shadow(target, ROWS)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t")
        ends = threading.Timer(0.7, reader.execute, ["COMMIT"])
        ends.start()
        assert target.swap(shadow, postgres_kit.NAMES) == 0
        ends.join()
    assert postgres_kit.run_sql(postgres_url, "SELECT count(*) FROM t") == [(2,)]


def test_transaction_older_than_the_load_sees_the_new_rows_and_not_an_empty_table(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE TABLE t (id bigint, name text)", "CREATE TABLE u ()")
    with postgres_kit.opened(postgres_url) as target, postgres_kit.raw(postgres_url) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM u")
        shadow = postgres_kit.fill_shadow(target, ROWS)
        target.swap(shadow, postgres_kit.NAMES)
        assert reader.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def _count_in_a_loop(url: str, report: pipes.Connection) -> None:
    """Count until told to stop; report the counts seen, the slowest query and their number."""
    counts, slowest, queries = set(), 0.0, 0
    with psycopg.connect(url, autocommit=True) as connection:
        report.send("ready")
        while not report.poll():
            started = time.monotonic()
            rows = connection.execute("SELECT count(*) FROM t").fetchall()
            slowest = max(slowest, time.monotonic() - started)
            counts.add(rows[0][0])
            queries += 1
    report.send((counts, slowest, queries))


def test_reader_sees_the_old_or_the_new_rows_and_never_waits_a_second(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        "CREATE TABLE t AS SELECT g AS id, 'old' AS name FROM generate_series(1::bigint, 150000) g",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
    )
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_count_in_a_loop, args=(postgres_url, theirs), daemon=True
    )
    process.start()
    assert ours.recv() == "ready"
    numbers = pa.array(range(200_000), pa.int64())
    rows = pa.RecordBatch.from_arrays([numbers, numbers.cast(pa.string())], schema=SCHEMA)
    with postgres_kit.opened(postgres_url) as target:
        for _ in range(2):
            shadow = postgres_kit.fill_shadow(target, rows, ["id"])
            target.swap(shadow, postgres_kit.NAMES)
    time.sleep(0.2)
    ours.send("stop")
    counts, slowest, queries = ours.recv()
    process.join()
    assert counts == {150_000, 200_000}
    assert slowest < 1
    assert queries > 3


def test_views_and_others_cannot_be_targets(postgres_url):
    postgres_kit.run_sql(postgres_url, "CREATE VIEW v AS SELECT 1 AS id", "CREATE SEQUENCE s")
    for table, what in {"v": "a view", "s": "a sequence"}.items():
        with (
            postgres_kit.opened(postgres_url, table) as target,
            pytest.raises(errors.ConfigError, match=what),
        ):
            target.describe()


def test_sweep_removes_leftovers_of_this_table_only(postgres_url):
    dead = postgres_kit.run.TemporaryNames("dead")
    gone = [dead.table(kind, "t") for kind in ("old", "shadow", "stage")]
    kept = [dead.table("shadow", "u"), "_tmg_shadow_x", "t"]
    for name in [*gone, *kept]:
        postgres_kit.run_sql(postgres_url, f'CREATE TABLE "{name}" (id int)')
    with postgres_kit.opened(postgres_url) as target:
        assert target.sweep(postgres_kit.NAMES) == sorted(gone)
        assert target.sweep(postgres_kit.NAMES) == []
    found = postgres_kit.run_sql(
        postgres_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    assert {name for (name,) in found} == set(kept)


def test_table_lives_in_the_schema_of_the_connection(postgres_url):
    postgres_kit.run_sql(
        postgres_url,
        'CREATE SCHEMA "Sales"',
        "CREATE TABLE t (id text)",
        'CREATE TABLE "Sales".t (id bigint, name text)',
    )
    with postgres_kit.opened(postgres_url, schema="Sales") as target:
        shadow = postgres_kit.fill_shadow(target, ROWS)
        target.swap(shadow, postgres_kit.NAMES)
    assert postgres_kit.run_sql(postgres_url, 'SELECT count(*) FROM "Sales".t') == [(2,)]
    assert postgres_kit.run_sql(postgres_url, "SELECT count(*) FROM t") == [(0,)]
    with pytest.raises(errors.ConfigError, match="no schema 'sales'"):
        postgres_kit.connect(postgres_url, schema="sales").open_target("t")
