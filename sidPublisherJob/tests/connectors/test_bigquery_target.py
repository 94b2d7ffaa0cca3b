"""The BigQuery target against an emulator: lock, leftovers, loading, swap, what is refused."""

from __future__ import annotations

import contextlib
import datetime

import pyarrow as pa
import pytest
from google.cloud import bigquery

from tests.bigquery import emulator
from tests.connectors import bigquery_target_kit as kit
from tmg_etl import errors
from tmg_etl.connectors import base, lease
from tmg_etl.connectors.bigquery import lock, predecessor

_ROWS = pa.record_batch({"id": [1, 2], "name": ["a", None]})
_COLUMNS = (kit.Field("id", "INTEGER"), kit.Field("name", "STRING"))


# --- the lock -----------------------------------------------------------------------------------


def test_the_register_changes_only_the_version_that_was_seen(
    raw: kit.Raw, bigquery_dataset: str
) -> None:
    target = kit.opened(bigquery_dataset)
    register = lock.TableRegister(target._clients, raw.dataset.table("t"))
    assert register.read() is None
    first = register.create("one")
    with pytest.raises(lease.HeldError):
        register.create("two")
    assert register.read() == ("one", first)
    second = register.replace("two", first)
    with pytest.raises(lease.LostError):
        register.replace("three", first)
    with pytest.raises(lease.LostError):
        register.remove(first)
    assert register.read() == ("two", second)
    register.remove(second)
    assert register.read() is None
    with pytest.raises(lease.LostError):
        register.replace("three", second)
    assert raw.tables() == set()


def test_the_lock_table_goes_away_by_itself_one_day(raw: kit.Raw, bigquery_dataset: str) -> None:
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        (name,) = raw.tables()
        assert name.startswith("_tmg_lock_")
        expires = raw.get(name).expires
        assert expires is not None
        left = expires - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(days=6) < left < datetime.timedelta(days=8)
    assert raw.tables() == set()


def test_a_run_that_lost_the_lock_does_not_swap(raw: kit.Raw, bigquery_dataset: str) -> None:
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        shadow = kit.fill(target, _ROWS, ["id"])
        raw.client.delete_table(lock.table_of(raw.dataset.table("t")))
        with pytest.raises(errors.LockLostError):
            target.swap(shadow, kit.names())
        assert "t" not in raw.tables()


# --- what a dead run left under way -------------------------------------------------------------


def test_the_next_holder_ends_the_session_of_a_dead_run(
    raw: kit.Raw, bigquery_dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.make("t", *_COLUMNS)
    raw.query("INSERT INTO t (id, name) VALUES (1, 'a')")
    monkeypatch.setattr(lease, "TTL_S", 0.5)
    dead, stack = kit.opened(bigquery_dataset), contextlib.ExitStack()
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)
    dead._lease = lease.Lease(lock.TableRegister(dead._clients, dead._reference), "t")
    dead._lease.acquire("run-a", 0)
    dead._is_locked = True
    stack.enter_context(dead.transaction())
    dead.run("UPDATE t SET name = 'b' WHERE id = 1")
    with kit.opened(bigquery_dataset) as heir, heir.lock("run-b", 20):
        with pytest.raises(errors.TmgEtlError):
            dead.run("UPDATE t SET name = 'c' WHERE id = 1")
        with pytest.raises(errors.TmgEtlError):
            stack.close()
        with pytest.raises(errors.LockLostError):
            dead.check_lock()
        assert raw.query("SELECT * FROM t") == [(1, "a")]
        # Nothing of the dead transaction is in the way of this one.
        with heir.transaction():
            assert heir.run("UPDATE t SET name = 'd' WHERE id = 1") == 1
    assert raw.query("SELECT * FROM t") == [(1, "d")]
    dead._lease.release()
    assert raw.tables() == {"t"}


@pytest.mark.parametrize(("left_as", "swept_as"), [("t", "{}.t"), ("{}.t", "t")])
def test_a_table_of_two_names_is_swept_by_either(
    raw: kit.Raw, bigquery_dataset: str, left_as: str, swept_as: str
) -> None:
    with kit.opened(bigquery_dataset, left_as.format(bigquery_dataset)) as dead:
        shadow = kit.fill(dead, _ROWS, ["id"])
    assert raw.tables() == {shadow}
    with kit.opened(bigquery_dataset, swept_as.format(bigquery_dataset)) as heir:
        assert heir.sweep(kit.names("20250101000000bbbbbbbbbbbb")) == [shadow]
    assert raw.tables() == set()


def test_jobs_and_sessions_that_are_gone_need_no_end(raw: kit.Raw, bigquery_dataset: str) -> None:
    session = kit.opened(bigquery_dataset)._session
    predecessor.end(session, "")
    predecessor.end(session, predecessor.job_note("never_sent", "US"))
    predecessor.end(session, predecessor.session_note("no-such-session", "US"))
    job = raw.client.query("SELECT 1", job_id_prefix="done_")
    job.result()
    predecessor.end(session, predecessor.job_note(job.job_id, "US"))


def test_a_job_under_way_is_cancelled_and_waited_for(raw: kit.Raw, bigquery_dataset: str) -> None:
    job = raw.client.query(
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 40000)) AS a"
        " CROSS JOIN UNNEST(GENERATE_ARRAY(1, 40000)) AS b WHERE MOD(a * b, 7) = 3"
    )
    predecessor.end(kit.opened(bigquery_dataset)._session, predecessor.job_note(job.job_id, "US"))
    assert raw.client.get_job(job.job_id).state == "DONE"


def test_a_note_of_another_version_is_not_guessed_at(bigquery_dataset: str) -> None:
    session = kit.opened(bigquery_dataset)._session
    for note in ('{"pod": "x"}', "no JSON"):
        with pytest.raises(errors.ConfigError, match="does not know"):
            predecessor.end(session, note)


# --- swap ---------------------------------------------------------------------------------------


def test_a_swap_keeps_what_belongs_to_the_target(raw: kit.Raw, bigquery_dataset: str) -> None:
    expires = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
    raw.make(
        "t",
        kit.Field("id", "INTEGER", description="the key"),
        kit.Field("name", "STRING", policy_tags=bigquery.PolicyTagList(["projects/p/tag"])),
        kit.Field("day", "DATE", default_value_expression="CURRENT_DATE()"),
        description="what it is",
        friendly_name="Friendly",
        labels={"team": "sid"},
        expires=expires,
        time_partitioning=bigquery.TimePartitioning(field="day"),
        clustering_fields=["name"],
    )
    raw.query("INSERT INTO t (id, name) VALUES (7, 'old'), (8, 'old')")
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        day = datetime.date(2024, 3, 10)
        rows = pa.record_batch({"id": [1], "name": ["new"], "day": [day]})
        assert target.swap(kit.fill(target, rows), kit.names()) == 2
    after = raw.get()
    assert after.description == "what it is"
    assert after.friendly_name == "Friendly"
    assert after.labels == {"team": "sid"}
    assert after.expires == expires
    assert after.time_partitioning.field == "day"
    assert after.clustering_fields == ["name"]
    columns = {column.name: column for column in after.schema}
    assert columns["id"].description == "the key"
    assert columns["name"].policy_tags.names == ("projects/p/tag",)
    assert columns["day"].default_value_expression == "CURRENT_DATE()"
    assert raw.query("SELECT id, name, day FROM t") == [(1, "new", day)]
    assert raw.tables() == {"t"}


def test_the_shadow_is_built_like_the_target(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make(
        "t",
        kit.Field("id", "INTEGER", mode="REQUIRED", description="the key"),
        kit.Field("price", "NUMERIC", precision=10, scale=2),
        kit.Field("day", "DATE"),
        labels={"team": "sid"},
        time_partitioning=bigquery.TimePartitioning(field="day"),
        require_partition_filter=True,
        clustering_fields=["id"],
    )
    with kit.opened(bigquery_dataset) as target:
        target.create_shadow("_tmg_shadow_x", [])
        made, wanted = raw.get("_tmg_shadow_x"), raw.get()
        assert made.schema == wanted.schema
        assert made.time_partitioning.field == "day"
        assert not made.require_partition_filter
        assert made.clustering_fields == ["id"]
        assert made.labels == {"team": "sid"}
        target.drop("_tmg_shadow_x")


# --- loading ------------------------------------------------------------------------------------


def test_batches_are_gathered_into_one_job(
    raw: kit.Raw, bigquery_dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kit.opened(bigquery_dataset) as target:
        target.create("_tmg_shadow_x", pa.schema([("id", pa.int64())]), ["id"], [])
        for start in range(0, 50, 10):
            rows = kit.batch(id=list(range(start, start + 10)))
            assert target.load("_tmg_shadow_x", rows, ["id"]) == 10
        assert raw.query("SELECT COUNT(*) FROM _tmg_shadow_x") == [(0,)]
        target.finish_load("_tmg_shadow_x", ["id"])
        assert raw.query("SELECT COUNT(*), SUM(id) FROM _tmg_shadow_x") == [(50, 1225)]
        jobs = [raw.client.get_job(job) for job in target.job_ids]
        assert [job.job_type for job in jobs].count("load") == 1
        target.drop("_tmg_shadow_x")


def test_a_table_that_was_swept_stays_away(raw: kit.Raw, bigquery_dataset: str) -> None:
    with kit.opened(bigquery_dataset) as asleep, kit.opened(bigquery_dataset) as heir:
        shadow = kit.names().table("shadow", "t")
        asleep.create(shadow, _ROWS.schema, ["id"], [])
        asleep.load(shadow, base.Batch(_ROWS, None, 0), ["id"])
        assert heir.sweep(kit.names("20250101000000bbbbbbbbbbbb")) == [shadow]
        with pytest.raises(errors.TmgEtlError):
            asleep.finish_load(shadow, ["id"])
        assert raw.tables() == set()


def test_a_text_that_is_too_long_is_named(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", kit.Field("id", "INTEGER"), kit.Field("code", "STRING", max_length=3))
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.names().table("shadow", "t")
        target.create_shadow(shadow, [])
        good = kit.batch(id=[1, 2], code=["äöü", None])
        assert target.load(shadow, good, ["id"]) == 2
        with pytest.raises(errors.ValueRejectedError) as caught:
            target.load(shadow, kit.batch(id=[3, 4711], code=["abc", "abcd"]), ["id"])
        assert "id='4711'" in str(caught.value)
        assert "'code'" in str(caught.value)
        assert "'abcd'" in str(caught.value)
        assert "STRING(3)" in str(caught.value)
        target.drop(shadow)


@pytest.mark.parametrize("kind", ["JSON", "GEOGRAPHY", "RECORD", "REPEATED"])
def test_columns_that_are_not_kept_as_sent_are_refused(
    raw: kit.Raw, bigquery_dataset: str, kind: str
) -> None:
    column = kit.Field("odd", kind)
    if kind == "RECORD":
        column = kit.Field("odd", "RECORD", fields=[kit.Field("n", "INTEGER")])
    elif kind == "REPEATED":
        column = kit.Field("odd", "STRING", mode="REPEATED")
    raw.make("t", kit.Field("id", "INTEGER"), column)
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.names().table("shadow", "t")
        target.create_shadow(shadow, [])
        with pytest.raises(errors.ConfigError, match="'odd'"):
            target.load(shadow, kit.batch(id=[1], odd=["{}"]), ["id"])
        # Without it the rest of the table can be filled.
        target.drop(shadow)
        target.create_shadow(shadow, [])
        assert target.load(shadow, kit.batch(id=[1]), ["id"]) == 1
        target.finish_load(shadow, ["id"])
        target.drop(shadow)


# --- bad targets --------------------------------------------------------------------------------


def test_a_view_is_no_target(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("base", *_COLUMNS)
    raw.query("CREATE VIEW t AS SELECT * FROM base")
    with pytest.raises(errors.ConfigError, match="the target t is a view, not a table"):
        kit.opened(bigquery_dataset).describe()


def test_a_dataset_that_is_not_there_is_told_from_a_table(bigquery_dataset: str) -> None:
    assert kit.opened(bigquery_dataset).describe() is None
    with pytest.raises(errors.ConfigError, match="no_such_dataset"):
        kit.opened("no_such_dataset").describe()


def test_indexes_are_refused(bigquery_dataset: str) -> None:
    index = base.Index("by_name", ("name",))
    with pytest.raises(errors.ConfigError, match="by_name"):
        kit.opened(bigquery_dataset).create("_tmg_shadow_x", _ROWS.schema, ["id"], [index])


@pytest.mark.parametrize(
    "name", ["semi;colon", 'double"quote', "back`tick", "per%cent", "x" * 1025]
)
def test_names_that_bigquery_does_not_take_are_refused(bigquery_dataset: str, name: str) -> None:
    with pytest.raises(errors.ConfigError, match="BigQuery takes no table"):
        kit.opened(bigquery_dataset, name)


def test_no_key_is_claimed_to_be_enforced(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.query("CREATE TABLE t (id INT64, PRIMARY KEY (id) NOT ENFORCED)")
    table = kit.opened(bigquery_dataset).describe()
    assert table is not None
    assert not table.is_unique_over(["id"])


def test_a_table_of_another_dataset_is_published_there(
    raw: kit.Raw, bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    other = f"{bigquery_dataset}_other"
    bigquery_server.create_database(other)
    try:
        with kit.opened(bigquery_dataset, f"{other}.t") as target, target.lock("run-a", 0):
            target.swap(kit.fill(target, _ROWS, ["id"]), kit.names())
            assert (
                target.fingerprint(target.table, ["id"], base.Selection(), hashes=False).rows == 2
            )
            with target.transaction():
                assert (
                    target.run(f"UPDATE {target.quote(target.table)} SET name = 'z' WHERE TRUE")
                    == 2
                )
        found = kit.Raw(bigquery_server, other)
        assert found.tables() == {"t"}
        assert found.query("SELECT id, name FROM t ORDER BY id") == [(1, "z"), (2, "z")]
        assert raw.tables() == set()
    finally:
        bigquery_server.drop_database(other)


def test_row_access_policies_are_not_lost_by_a_swap(raw: kit.Raw, bigquery_dataset: str) -> None:
    raw.make("t", *_COLUMNS)
    with kit.opened(bigquery_dataset) as target, target.lock("run-a", 0):
        shadow = kit.fill(target, _ROWS, ["id"])
        raw.query(
            "CREATE ROW ACCESS POLICY only_mine ON t GRANT TO ('user:me@example.com')"
            " FILTER USING (id > 1)"
        )
        with pytest.raises(errors.ConfigError, match="row access policy only_mine"):
            target.swap(shadow, kit.names())
        target.drop(shadow)
    table = kit.opened(bigquery_dataset).describe()
    assert table is not None
    assert table.swap_blockers == ("a copy would remove its row access policy only_mine",)


def test_rows_are_not_moved_to_the_day_of_their_refresh(
    raw: kit.Raw, bigquery_dataset: str
) -> None:
    raw.make("t", *_COLUMNS, time_partitioning=bigquery.TimePartitioning())
    table = kit.opened(bigquery_dataset).describe()
    assert table is not None
    (blocker,) = table.swap_blockers
    assert "ingestion time" in blocker


@pytest.mark.parametrize("how", ["altered", "created"])
def test_what_somebody_makes_of_the_table_during_a_run_stays(
    raw: kit.Raw, bigquery_dataset: str, how: str
) -> None:
    rows = pa.RecordBatch.from_pydict({"id": [1], "name": ["x"]})
    columns = [kit.Field("id", "INT64"), kit.Field("name", "STRING")]
    if how == "altered":
        raw.make("t", *columns)
    with kit.opened(bigquery_dataset) as target:
        shadow = kit.fill(target, rows)
        if how == "altered":
            found = raw.get()
            found.schema = [*columns, kit.Field("extra", "INT64")]
            raw.client.update_table(found, ["schema"])
        else:
            raw.make("t", *columns)
        with pytest.raises(errors.AlteredError):
            target.swap(shadow, kit.names())
        target.drop(shadow)
    assert len(raw.get().schema) == len(columns) + (how == "altered")
    assert raw.query("SELECT COUNT(*) FROM t") == [(0,)]
    assert raw.tables() == {"t"}
