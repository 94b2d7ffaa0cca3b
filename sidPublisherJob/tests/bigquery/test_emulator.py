"""The emulator does what the other tests rely on, seen by Google's own clients."""

import datetime
import io
import pathlib
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from pyarrow import parquet

from tests.bigquery import emulator

ROWS = pa.table({"id": pa.array(range(1000), pa.int64()), "name": ["Ида"] * 1000})


def load(client: bigquery.Client, table: str) -> None:
    file = io.BytesIO()
    parquet.write_table(ROWS, file)
    file.seek(0)
    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    client.load_table_from_file(file, table, job_config=config).result()


# Google's client warns of a part of Google's other client.
@pytest.mark.filterwarnings("ignore:Retrieving Arrow:PendingDeprecationWarning")
def test_loads_queries_and_streams(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    table = f"{emulator.PROJECT}.{bigquery_dataset}.t"
    load(client, table)
    (row,) = client.query_and_wait(f"SELECT COUNT(*), SUM(id), MIN(name) FROM `{table}`")
    assert tuple(row) == (1000, 499500, "Ида")
    read = client.list_rows(table).to_arrow(bqstorage_client=bigquery_server.read_client())
    assert read.sort_by("id").cast(ROWS.schema) == ROWS


def test_takes_bytes_for_bytes(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    table = f"{emulator.PROJECT}.{bigquery_dataset}.t"
    file = io.BytesIO()
    parquet.write_table(pa.table({"y": [b"\x00\xff", None]}), file)
    file.seek(0)
    schema = [bigquery.SchemaField("y", "BYTES")]
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=schema)
    client.load_table_from_file(file, table, job_config=config).result()
    assert [row[0] for row in client.list_rows(table)] == [b"\x00\xff", None]


def test_session_stays_at_its_instant(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    table = f"{emulator.PROJECT}.{bigquery_dataset}.t"
    load(client, table)
    before = datetime.datetime.now(datetime.UTC)
    reader = bigquery_server.read_client()
    path = bigquery.TableReference.from_string(table).to_bqstorage()
    now = types.ReadSession(table=path, data_format="ARROW")
    opened = reader.create_read_session(parent=f"projects/{emulator.PROJECT}", read_session=now)
    client.query_and_wait(f"DELETE FROM `{table}` WHERE id >= 10")
    then = types.ReadSession(table=path, data_format="ARROW")
    then.table_modifiers.snapshot_time = before
    earlier = reader.create_read_session(parent=f"projects/{emulator.PROJECT}", read_session=then)
    later = reader.create_read_session(parent=f"projects/{emulator.PROJECT}", read_session=now)
    found = [
        sum(message.row_count for message in reader.read_rows(session.streams[0].name))
        for session in (opened, earlier, later)
    ]
    assert found == [1000, 1000, 10]


def test_finds_what_is_there(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    place = f"{emulator.PROJECT}.{bigquery_dataset}"
    client.query_and_wait(f"CREATE TABLE `{place}.t` (id INT64 NOT NULL, r STRUCT<id INT64>)")
    client.query_and_wait(f"CREATE TABLE `{place}.gone` (id INT64)")
    client.query_and_wait(f"CREATE VIEW `{place}.v` AS SELECT id AS n FROM `{place}.t`")
    client.query_and_wait(f"INSERT INTO `{place}.t` VALUES (1, NULL), (2, STRUCT(3))")
    client.delete_table(f"{place}.gone")
    kinds = {item.table_id: item.table_type for item in client.list_tables(place)}
    assert kinds == {"t": "TABLE", "v": "VIEW"}
    table = client.get_table(f"{place}.t")
    modes = {field.name: field.mode for field in table.schema}
    assert (modes, table.num_rows) == ({"id": "REQUIRED", "r": "NULLABLE"}, 2)
    assert [tuple(row) for row in client.query_and_wait(f"SELECT SUM(n) FROM `{place}.v`")] == [
        (3,)
    ]
    assert bigquery_dataset in {item.dataset_id for item in client.list_datasets()}
    for name in (f"{place}.gone", f"{place}_gone.t"):
        with pytest.raises(exceptions.NotFound):
            client.get_table(name)
    assert list(client.list_jobs(state_filter="running")) == []
    assert len(list(client.list_jobs(state_filter="done", max_results=4))) == 4


def test_forgets_what_has_changed(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    table = f"{emulator.PROJECT}.{bigquery_dataset}.t"

    def seen() -> tuple[int, list[tuple[str, str]]]:
        found = client.get_table(table)
        names = {item.table_id for item in client.list_tables(bigquery_dataset)}
        assert names == {"t"}
        rows = [tuple(row) for row in client.query_and_wait(f"SELECT COUNT(*) FROM `{table}`")]
        assert rows == [(found.num_rows,)]
        return found.num_rows, [(field.name, field.mode) for field in found.schema]

    client.query_and_wait(f"CREATE TABLE `{table}` (id INT64 NOT NULL)")
    assert seen() == (0, [("id", "REQUIRED")])
    client.query_and_wait(f"INSERT INTO `{table}` VALUES (1), (2), (3)")
    assert seen() == (3, [("id", "REQUIRED")])
    client.query_and_wait(f"ALTER TABLE `{table}` ADD COLUMN note STRING")
    columns = [("id", "REQUIRED"), ("note", "NULLABLE")]
    assert seen() == (3, columns)
    added = f"INSERT INTO `{table}` VALUES (4, 'n');"
    client.query_and_wait(f"BEGIN TRANSACTION; {added} ROLLBACK TRANSACTION;")
    assert seen() == (3, columns)
    client.query_and_wait(f"BEGIN TRANSACTION; {added} COMMIT TRANSACTION;")
    assert seen() == (4, columns)
    changed = client.get_table(table)
    changed.description = "changed"
    client.update_table(changed, ["description"])
    assert client.get_table(table).description == "changed"
    client.delete_table(table)
    with pytest.raises(exceptions.NotFound):
        client.get_table(table)
    load(client, table)
    assert seen() == (1000, [("id", "NULLABLE"), ("name", "NULLABLE")])
    assert client.get_table(table).description is None
    client.delete_dataset(bigquery_dataset, delete_contents=True)
    client.create_dataset(bigquery_dataset)
    assert list(client.list_tables(bigquery_dataset)) == []
    with pytest.raises(exceptions.NotFound):
        client.query_and_wait(f"SELECT * FROM `{table}`")


def test_session_keeps_a_temporary_table(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    first = client.query("SELECT 1", bigquery.QueryJobConfig(create_session=True))
    first.result()
    properties = [bigquery.ConnectionProperty("session_id", first.session_info.session_id)]
    config = bigquery.QueryJobConfig(
        connection_properties=properties, default_dataset=f"{emulator.PROJECT}.{bigquery_dataset}"
    )
    client.query_and_wait("CREATE TEMP TABLE mine AS SELECT 7 AS n", job_config=config)
    (row,) = client.query_and_wait("SELECT n FROM mine", job_config=config)
    assert tuple(row) == (7,)


def test_streams_the_result_of_a_query_and_knows_its_job(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    job = client.query("SELECT 1 AS id UNION ALL SELECT 2")
    job.result()
    read = types.ReadSession(table=job.destination.to_bqstorage(), data_format="ARROW")
    reader = bigquery_server.read_client()
    session = reader.create_read_session(parent=f"projects/{emulator.PROJECT}", read_session=read)
    messages = [*reader.read_rows(session.streams[0].name)]
    assert sum(message.row_count for message in messages) == 2
    jobs = f"`{emulator.PROJECT}`.`region-us`.INFORMATION_SCHEMA.JOBS"
    (row,) = client.query_and_wait(f"SELECT state FROM {jobs} WHERE job_id = '{job.job_id}'")
    assert tuple(row) == ("DONE",)


def test_extracts_to_and_loads_from_buckets_that_are_folders(
    bigquery_server: emulator.BigQueryServer, bigquery_dataset: str
) -> None:
    client = bigquery_server.client()
    table = f"{emulator.PROJECT}.{bigquery_dataset}.t"
    load(client, table)
    config = bigquery.ExtractJobConfig(destination_format="PARQUET")
    client.extract_table(table, "gs://staging/x/a-*.parquet", job_config=config).result()
    (file,) = (bigquery_server.buckets / "staging" / "x").iterdir()
    assert file.name == "a-000000000000.parquet"
    load_config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    uri = f"gs://staging/x/{file.name}"
    client.load_table_from_uri(uri, f"{table}_2", job_config=load_config).result()
    assert client.get_table(f"{table}_2").num_rows == 1000


def test_ends_with_the_tests_however_they_end(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys, time; from tests.bigquery import emulator; s = emulator.BigQueryServer();"
        "s.start(); print(s._process.pid, s.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
        tests.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (
        pathlib.Path(f"/proc/{pid}").exists() or pathlib.Path(folder).exists()
    ):
        time.sleep(0.1)
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert not pathlib.Path(folder).exists()
