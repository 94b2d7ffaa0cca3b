"""Files of a bucket that are not there, not allowed, not whole: one clear line, the right code."""

import gzip
import logging
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors import bucket_kit, files_kit
from tests.storage import gcs_api
from tmg_etl import errors

ROWS = pa.table({"a": range(5_000), "s": [f"{n * 7919:060x}" for n in range(5_000)]})


def parquet(table: pa.Table = ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def refusal(place: bucket_kit.Place, kind: type[errors.TmgEtlError], **spec: object) -> str:
    """Return what is said by opening and reading a source."""
    with pytest.raises(kind) as caught, place.opened(**spec) as found:
        files_kit.rows(found)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_bucket(place: bucket_kit.Place) -> None:
    place.root = place.root.replace("lake", "lak", 1)
    assert "there is no bucket lak" in refusal(place, errors.ConfigError)


def test_an_empty_prefix(place: bucket_kit.Place) -> None:
    said = refusal(place, errors.ConfigError)
    assert f"no table 't': {place.root}/ holds no objects; correct the connection's `url`" in said


def test_a_missing_table_and_near_names(place: bucket_kit.Place) -> None:
    for name in ("planes/1.parquet", "other.csv", "_tmg_lock_x.json", "mart/x.csv"):
        place.put(name, b"")
    said = refusal(place, errors.ConfigError, table="plane")
    assert f"looked in {place.root} for plane/, plane.parquet, plane.csv" in said
    assert "did you mean planes?" in said
    said = refusal(place, errors.ConfigError, table="mart/y")
    assert f"{place.root}/mart holds x" in said
    assert "_tmg" not in said
    assert "did you mean planes?" in refusal(place, errors.ConfigError, path="plane")
    assert f"no file matches {place.root}/z*" in refusal(place, errors.ConfigError, path="z*")


def test_a_folder_and_a_file_of_one_name(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t.parquet", ROWS)
    google_place.put_table("t/x.parquet", ROWS)
    said = refusal(google_place, errors.ConfigError)
    assert "table 't' is ambiguous: gs://lake/x holds t/, t.parquet" in said
    assert len(google_place.rows(path="t.parquet")) == 5_000


def test_a_folder_of_hidden_objects_only(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put("t/_SUCCESS", b"")
    assert "table 't' holds no files: gs://lake/x/t" in refusal(google_place, errors.ConfigError)


def test_mixed_formats(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t/x.parquet", ROWS)
    google_place.put("t/y.csv", "a\n1\n")
    said = refusal(google_place, errors.ConfigError)
    assert "different formats: gs://lake/x/t/x.parquet, gs://lake/x/t/y.csv" in said
    assert google_place.rows(format="csv") == [{"a": 1}]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://lake/x", r"path 's3://lake/x' is not in gs://"),
        ("../y", r"a bucket knows no `\.\.`; write the whole URL, gs://bucket/path"),
        ("gs://lake", "which names a bucket, expected an object"),
        ("gs:///x", "expected a URL with a bucket"),
        ("gs://la*/x", "has a pattern for the bucket"),
    ],
)
def test_paths_that_lead_nowhere(
    google_place: bucket_kit.GooglePlace, path: str, message: str
) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        google_place.opened(path=path)


def test_partitions_that_do_not_agree(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t/month=1/x.parquet", ROWS)
    google_place.put_table("t/y.parquet", ROWS)
    said = refusal(google_place, errors.ConfigError)
    assert "partitions of t/month=1/x.parquet and t/y.parquet differ" in said


def test_missing_rights(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t.parquet", ROWS)
    words = "sa@x.iam.gserviceaccount.com does not have storage.objects.list access"
    google_place.server.fail(403, reason="forbidden", message=words, times=50)
    assert "storage.objects.list" in refusal(google_place, errors.AccessError)


def test_rights_to_list_and_not_to_read(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t.parquet", ROWS)
    words = "sa@x.iam.gserviceaccount.com does not have storage.objects.get access"
    google_place.server.fail(
        403, reason="forbidden", message=words, containing="/download/", times=50
    )
    assert "storage.objects.get" in refusal(google_place, errors.AccessError)


# --- objects that are not whole ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 1_000, len(parquet()) - 1])
def test_parquet_that_was_cut_off(place: bucket_kit.Place, size: int) -> None:
    place.put("t/x.parquet", parquet()[:size])
    said = refusal(place, errors.DataError)
    assert "t/x.parquet is no complete Parquet file" in said


def test_text_that_was_cut_off(google_place: bucket_kit.GooglePlace) -> None:
    lines = "".join(f"{n},{n * 7919:x}\n" for n in range(100_000))
    google_place.put("t.csv.gz", gzip.compress(b"a,b\n" + lines.encode())[:-1000])
    assert "t.csv.gz: the compressed file is" in refusal(google_place, errors.DataError)
    google_place.put("j.jsonl", b'{"a": 1}\n{"a": ')
    assert "j.jsonl:2: no JSON" in refusal(google_place, errors.DataError, table="j")


def test_a_faulty_value_names_object_and_line(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put("t/1.csv", "a\n1\n")
    google_place.put("t/2.csv", "a\n2\nx\n")
    said = refusal(google_place, errors.DataError, columns={"a": "int64"})
    assert "t/2.csv:3: column 'a': 'x' is no int64" in said


def test_a_stream_that_breaks_is_resumed(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t/x.parquet", ROWS, row_group_size=500)
    google_place.put("u.csv", "a\n" + "".join(f"{n}\n" for n in range(100_000)))
    google_place.server.broken_downloads = 2
    assert google_place.rows() == ROWS.to_pylist()
    google_place.server.broken_downloads = 2
    assert len(google_place.rows(table="u")) == 100_000


def test_bytes_that_changed_on_their_way(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put("t.csv", "a\n" + "".join(f"{n}\n" for n in range(100_000)))
    with google_place.opened() as found:
        stored: gcs_api.Object = google_place.server.buckets[bucket_kit.BUCKET]["x/t.csv"]
        stored.data = stored.data.replace(b"99998", b"99997")
        with pytest.raises(errors.TemporaryError, match=r"checksum|crc32c") as caught:
            files_kit.rows(found)
    assert caught.value.exit_code == 75


# --- the other emulator --------------------------------------------------------------------------


def test_an_emulator_that_others_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    import http.server
    import types

    import gcp_storage_emulator.server as emulator
    import google.cloud.storage

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    # It answers one request at a time, which a stream that is half read blocks.
    threaded = types.SimpleNamespace(
        HTTPServer=http.server.ThreadingHTTPServer,
        BaseHTTPRequestHandler=http.server.BaseHTTPRequestHandler,
    )
    monkeypatch.setattr(emulator, "server", threaded)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        port = server._api._httpd.server_port
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        client = google.cloud.storage.Client(project="p")
        bucket = client.create_bucket("lake")
        bucket.blob("x/t/day=2024-01-01/ä #1.parquet").upload_from_string(parquet())
        bucket.blob("x/u.csv.gz").upload_from_string(gzip.compress(b"a,b\n1,x\n"))
        spec = {"type": "files", "url": "gs://lake/x"}
        assert len(rows_of(spec, "t")) == 5_000
        assert rows_of(spec, "u") == [{"a": 1, "b": "x"}]
        client.close()
    finally:
        server.stop()


def rows_of(spec: dict[str, str], table: str) -> list[dict[str, object]]:
    from tmg_etl.config import model
    from tmg_etl.connectors import files

    connection = files.FilesConnection(
        model.FilesConnection.model_validate({"name": "lake", **spec}), pathlib.Path("/")
    )
    source = model.SourceSpec(connection="lake", table=table)
    with connection.open_source(source, files_kit.DAY) as found:
        return files_kit.rows(found)
