"""The tables: one head, down and up again, equal to the models, made once by many."""

import dataclasses
import pickle
import subprocess
import sys
import time
from pathlib import Path

import alembic.command
import alembic.config
import alembic.migration
import alembic.script
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata

from tmg_etl import errors
from tmg_etl.ledger import database, migration, model, store, table

ROOT = Path(__file__).parents[2]


def configuration(connection: sa.Connection | None = None) -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", "tmg_etl.ledger:migrations")
    config.attributes["connection"] = connection
    return config


def tables(url: str) -> set[str]:
    engine = database.engine(url)
    with engine.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def move(url: str, revision: str) -> None:
    with database.engine(url).connect() as connection:
        command = alembic.command.downgrade if revision == "base" else alembic.command.upgrade
        command(configuration(database.writing(connection)), revision)
        connection.commit()


def test_one_head_and_the_code_knows_it():
    script = alembic.script.ScriptDirectory.from_config(configuration())
    assert script.get_heads() == [table.HEAD]
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert all(len(revision) == 4 and revision.isdigit() for revision in revisions)


def test_up_down_up(url):
    store.open(url).close()
    assert tables(url) == {"tmg_etl_run", "tmg_etl_version"}
    move(url, "base")
    assert tables(url) == {"tmg_etl_version"}
    store.open(url).close()
    assert tables(url) == {"tmg_etl_run", "tmg_etl_version"}


def test_models_equal_the_migrated_schema(url):
    store.open(url).close()
    with database.engine(url).connect() as connection:
        context = alembic.migration.MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": table.VERSION}
        )
        assert compare_metadata(context, model.METADATA) == []


_PREVIOUS = ("previous_table", "previous_fingerprint", "previous_expires_at")


@pytest.mark.parametrize(
    ("revision", "later"),
    [("0001", ("job_ids", *_PREVIOUS, "warnings")), ("0003", ("warnings",))],
)
def test_a_ledger_of_an_earlier_release_keeps_its_runs(url, make, revision, later):
    with database.engine(url).connect() as connection:
        alembic.command.upgrade(configuration(database.writing(connection)), revision)
        connection.commit()
        row = dataclasses.asdict(make())
        for name in later:
            del row[name]
        connection.execute(sa.insert(model.RUN).values(row))
        connection.commit()
    with store.open(url) as ledger:
        assert ledger.list() == [make()]
        changed = dataclasses.replace(make(), job_ids=("job",), warnings=("no rows", "öÖ"))
        ledger.finish(changed)
        assert ledger.list() == [changed]


def test_a_migration_killed_before_it_was_written_down_is_completed(url):
    store.open(url).close()
    with database.engine(url).connect() as connection:
        database.writing(connection)
        connection.exec_driver_sql("UPDATE tmg_etl_version SET version_num = '0001'")
        connection.commit()
    with store.open(url) as ledger:
        assert ledger.list() == []


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_texts_are_told_apart_by_case_on_mysql(kind, request):
    url = request.getfixturevalue(f"{kind}_url")
    store.open(url).close()
    with database.engine(url).connect() as connection:
        created = connection.exec_driver_sql("SHOW CREATE TABLE tmg_etl_run").one()[1]
    assert "utf8mb4_bin" in created
    assert "datetime(6)" in created
    assert "ENGINE=InnoDB" in created


def test_second_open_needs_no_alembic(url):
    store.open(url).close()
    code = (
        "import sys; from tmg_etl.ledger import store\n"
        f"store.open({url!r}).list()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    assert finish(run_python(code)) == (0, "")


def test_a_run_writes_its_row_without_sqlalchemy(url, make):
    store.open(url).close()
    code = (
        "import pickle, sys; from tmg_etl.ledger import writer\n"
        f"run = pickle.loads({pickle.dumps(make())!r})\n"
        f"ledger = writer.Writer({url!r})\n"
        "ledger.begin(run)\n"
        "ledger.finish(run)\n"
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert finish(run_python(code)) == (0, "")
    with store.open(url) as ledger:
        assert ledger.list() == [make()]


def test_a_table_left_half_made_is_completed(url):
    store.open(url).close()
    engine = database.engine(url)
    with engine.connect() as connection:
        database.writing(connection)
        suffix = " ON tmg_etl_run" if engine.dialect.name == "mysql" else ""
        connection.exec_driver_sql(f"DROP INDEX tmg_etl_run_started{suffix}")
        connection.exec_driver_sql("DELETE FROM tmg_etl_version")
        connection.commit()
    store.open(url).close()
    with engine.connect() as connection:
        names = {index["name"] for index in sa.inspect(connection).get_indexes("tmg_etl_run")}
        assert migration.version(connection) == table.HEAD
    assert names >= {"tmg_etl_run_started", "tmg_etl_run_transfer_started"}


def test_a_ledger_of_a_newer_release_is_refused(url):
    store.open(url).close()
    with database.engine(url).connect() as connection:
        database.writing(connection)
        connection.exec_driver_sql("UPDATE tmg_etl_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(
        errors.ConfigError, match=rf"is at version 9999, .* up to {table.HEAD}; use the newer"
    ):
        store.open(url)


@pytest.mark.postgres
def test_waiting_for_another_first_start_ends_on_postgres(postgres_url, monkeypatch):
    monkeypatch.setattr(migration, "LOCK_WAIT_S", 1)
    with database.engine(postgres_url).connect() as other:
        other.execute(sa.select(sa.func.pg_advisory_lock(migration.LOCK_NUMBER)))
        with pytest.raises(errors.LedgerError, match=r"cannot be set up: .*lock timeout"):
            store.open(postgres_url)
    store.open(postgres_url).close()


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_waiting_for_another_first_start_ends_on_mysql(kind, request, monkeypatch):
    monkeypatch.setattr(migration, "LOCK_WAIT_S", 1)
    url = request.getfixturevalue(f"{kind}_url")
    with database.engine(url).connect() as other:
        name = f"{migration.LOCK_NAME}.{other.engine.url.database}"
        assert other.scalar(sa.select(sa.func.get_lock(name, 0))) == 1
        with pytest.raises(
            errors.LedgerError, match="another process has been setting it up for 1 s"
        ):
            store.open(url)
    store.open(url).close()


def test_first_start_of_many_processes(url):
    code = """
import datetime, os, sys, time
from tmg_etl.ledger import record, store
day = datetime.date(2013, 1, 1)
time.sleep(max(0, float(sys.argv[1]) - time.time()))
with store.open(sys.argv[2]) as ledger:
    ledger.start(record.Record(
        id=f"run{os.getpid()}", transfer="t", target="a:t", execution_date=day, window_start=day,
        window_end=day, write_mode="truncate", env="local", config_location="c", config_digest="d",
        pipeline="p", version="1", host="h", pid=os.getpid(),
        started_at=datetime.datetime.now(datetime.UTC)))
"""
    # All of them have imported everything when the instant comes.
    processes = [run_python(code, str(time.time() + 2), url) for _ in range(4)]
    assert [finish(process) for process in processes] == [(0, "")] * 4
    with store.open(url) as ledger:
        assert {run.id for run in ledger.list()} == {f"run{process.pid}" for process in processes}


def run_python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, problems = process.communicate(timeout=90)
    return process.returncode, problems
