"""Configs in buckets: read once, in one generation, as whoever the machine is."""

import gzip
import json
import pathlib
import re
import secrets
import sqlite3
import sys

import moto.server
import pytest

from tests.cli import process
from tests.storage import gcs_fake
from tmg_etl import errors, storage
from tmg_etl.config import loader, place
from tmg_etl.storage import google

CONFIG = b"""\
connections:
  lake: {type: files, url: lake/}
  here: {type: files, url: .}
  disk: {type: files, url: /data/lake}
  bq: {type: bigquery, project: p, dataset: d, credentials: {key_file: keys/a.json}}
  serving: {type: duckdb, url: "duckdb:////data/serving.duckdb"}
transfers: {}
"""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(google, "_FIRST_WAIT_S", 0.01)
    with gcs_fake.Server("configs") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


def test_config_is_read_with_its_generation(fake):
    made = fake.put("configs", "sid/dev/config.yaml", CONFIG)
    config = loader.load("gs://configs/sid/dev/config.yaml")
    assert config.location == f"gs://configs/sid/dev/config.yaml#{made.generation}"
    assert list(config.connections) == ["lake", "here", "disk", "bq", "serving"]


@pytest.mark.parametrize("name", ["config.yaml", "a/b/c/d/e.yml", "mit Leer zeichen/ä#1.yaml"])
def test_config_lies_at_any_depth(fake, name):
    fake.put("configs", name, CONFIG)
    assert loader.load(f"gs://configs/{name}").connections


def test_generation_that_the_ledger_recorded_reads_the_same_again(fake):
    made = fake.put("configs", "config.yaml", CONFIG)
    location = f"gs://configs/config.yaml#{made.generation}"
    assert loader.load(location).location == location
    fake.put("configs", "config.yaml", b"transfers: {}")
    with pytest.raises(errors.ConfigError) as caught:
        loader.load(location)
    assert str(caught.value) == (
        f"gs://configs/config.yaml: the object has no generation {made.generation} any more; "
        "leave it out to read the current one"
    )


def test_relative_paths_are_beside_the_config(fake, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shared = b"connections:\n  shared: {type: files, url: ../shared}\n"
    fake.put("configs", "sid/dev/config.yaml", CONFIG.replace(b"connections:\n", shared))
    config = loader.load("gs://configs/sid/dev/config.yaml")
    urls = {name: item.url for name, item in config.connections.items()}
    assert urls["lake"] == "gs://configs/sid/dev/lake/"
    assert urls["shared"] == "gs://configs/sid/shared/"
    assert urls["here"] == "gs://configs/sid/dev/"
    assert urls["disk"] == "/data/lake"
    assert urls["serving"] == "duckdb:////data/serving.duckdb"
    # What is no lake belongs to the machine.
    assert config.folder == tmp_path
    assert config.ledger == f"sqlite:///{tmp_path}/.tmg_etl/ledger.db"
    key = config.connections["bq"].credentials.located(config.folder).key_file
    assert key == str(tmp_path / "keys/a.json")


def test_beside_a_config_at_the_top_of_a_bucket():
    assert place.beside("gs://b/c.yaml", "lake/") == "gs://b/lake/"
    assert place.beside("gs://b/c.yaml", ".") == "gs://b/"
    assert place.beside("s3://b/x/c.yaml", "./y//z/") == "s3://b/x/y/z/"
    assert place.beside("gs://b/x/c.yaml", "..") == "gs://b/"


@pytest.mark.parametrize("url", ["../lake", "../../..", "x/../../y"])
def test_path_that_leads_out_of_the_bucket(fake, url):
    fake.put("configs", "config.yaml", f"connections: {{l: {{type: files, url: {url}}}}}".encode())
    with pytest.raises(errors.ConfigError) as caught:
        loader.load("gs://configs/config.yaml")
    assert str(caught.value) == (
        f"gs://configs/config.yaml:connections.l.url: found the path {url!r}, which leads out of "
        "the bucket configs; write a whole URL or an absolute path"
    )
    assert [str(found) for found in loader.check("gs://configs/config.yaml")] == [str(caught.value)]


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_relative_database_file_needs_an_absolute_path(fake, kind):
    text = f'connections: {{s: {{type: {kind}, url: "{kind}:///serving.db"}}}}'
    fake.put("configs", "config.yaml", text.encode())
    with pytest.raises(errors.ConfigError, match="a database file with a relative path in a conf"):
        loader.load("gs://configs/config.yaml")
    for fine in (f"{kind}:////x/serving.db", f"{kind}:///:memory:"):
        text = f'connections: {{s: {{type: {kind}, url: "{fine}"}}}}'
        fake.put("configs", "config.yaml", text.encode())
        assert loader.load("gs://configs/config.yaml").connections["s"].url == fine


def test_key_file_in_the_home_folder(fake, monkeypatch):
    monkeypatch.setenv("HOME", "/home/sid")
    fake.put("configs", "config.yaml", CONFIG.replace(b"keys/a.json", b'"~/a.json"'))
    config = loader.load("gs://configs/config.yaml")
    key = config.connections["bq"].credentials.located(config.folder).key_file
    assert key == "/home/sid/a.json"


# --- bad input: one line, the right code


def test_google_credentials_for_s3_are_refused_where_they_stand(fake):
    text = "connections:\n  x:\n    type: files\n    url: s3://b\n    credentials: {key_file: a}\n"
    fake.put("configs", "config.yaml", text.encode())
    with pytest.raises(errors.ConfigError) as caught:
        loader.load("gs://configs/config.yaml")
    assert str(caught.value) == (
        "gs://configs/config.yaml:5:connections.x.credentials: found Google credentials for s3://, "
        "which takes AWS's own; remove `credentials` and set AWS_PROFILE or AWS_ACCESS_KEY_ID"
    )


@pytest.mark.parametrize(
    ("location", "code", "line"),
    [
        (
            "gs://configs",
            78,
            "gs://configs: found the URL of a bucket, expected a YAML config file; "
            "name the file inside it: gs://configs/config.yaml",
        ),
        (
            "gs://configs/sid/",
            78,
            "gs://configs/sid/: found the URL of a folder, expected a YAML config file; "
            "name the file inside it: gs://configs/sid/config.yaml",
        ),
        (
            "gs://",
            78,
            "found 'gs://', expected a URL with a bucket; write gs://bucket/name or "
            "s3://bucket/name",
        ),
        (
            "gs://configs/sid/confg.yaml",
            78,
            "there is no object gs://configs/sid/confg.yaml; did you mean "
            "gs://configs/sid/config.yaml?",
        ),
        (
            "gs://configs/no/config.yaml",
            78,
            "there is no object gs://configs/no/config.yaml; nothing is in gs://configs/no/: check "
            "the path",
        ),
        (
            "gs://confgs/config.yaml",
            78,
            "gs://confgs/config.yaml: there is no bucket confgs; check its name",
        ),
        ("gs://configs/text.yaml", 78, "gs://configs/text.yaml:1: found 'just text' at the top, "),
        ("gs://configs/bad.yaml", 78, "gs://configs/bad.yaml:2: found "),
        ("gs://configs/empty.yaml", 78, "gs://configs/empty.yaml:1: the config file is empty"),
        ("gs://configs/latin.yaml", 78, "gs://configs/latin.yaml:1: found bytes that are not UTF"),
        ("gs://configs/big.yaml", 78, "gs://configs/big.yaml: found more than 4 MiB, expected a"),
    ],
)
def test_bad_location_is_one_line(fake, location, code, line):
    fake.put("configs", "sid/config.yaml", CONFIG)
    fake.put("configs", "text.yaml", b"just text")
    fake.put("configs", "bad.yaml", b"a: 1\n- b")
    fake.put("configs", "empty.yaml", b"")
    fake.put("configs", "latin.yaml", "ä: 1".encode("latin1"))
    fake.put("configs", "big.yaml", b"#" * (place.SIZE_LIMIT_BYTES + 1))
    with pytest.raises(errors.TmgEtlError) as caught:
        loader.load(location)
    assert str(caught.value).startswith(line)
    assert caught.value.exit_code == code


def test_large_object_is_not_fetched_whole(fake):
    fake.put("configs", "big.yaml", b"#" * (3 * place.SIZE_LIMIT_BYTES))
    with pytest.raises(errors.ConfigError, match="more than 4 MiB"):
        loader.load("gs://configs/big.yaml")
    spans = [r.headers["range"][6:].split("-") for r in fake.requests if "range" in r.headers]
    assert sum(int(end) - int(start) + 1 for start, end in spans) < 1.5 * place.SIZE_LIMIT_BYTES


def test_packed_config_is_unpacked(fake):
    fake.put("configs", "config.yaml", gzip.compress(CONFIG), encoding="gzip")
    assert loader.load("gs://configs/config.yaml").connections


def test_network_that_is_away_is_said_within_seconds(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(place, "_PATIENCE_S", 0.5)
    with pytest.raises(errors.ConnectionLostError) as caught:
        loader.load("gs://configs/config.yaml")
    assert str(caught.value) == (
        "gs://configs/config.yaml: the connection failed: Connection refused; run again later"
    )


def test_missing_right_is_named(fake):
    message = (
        "sid@acme.iam.gserviceaccount.com does not have storage.objects.get access to the Google "
        "Cloud Storage object."
    )
    fake.fail(403, reason="forbidden", message=message)
    with pytest.raises(errors.AccessError, match=r"permission storage\.objects\.get; grant roles"):
        loader.load("gs://configs/config.yaml")


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of S3 and its client."""
    server = moto.server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    store = storage.open_store("s3")
    name = f"configs-{secrets.token_hex(4)}"
    store.client.create_bucket(Bucket=name)
    yield f"s3://{name}", store
    store.close()
    server.stop()


def test_config_in_s3(bucket):
    url, store = bucket
    made = store.write(f"{url}/sid/config.yaml", CONFIG)
    config = loader.load(f"{url}/sid/config.yaml")
    assert config.location == f"{url}/sid/config.yaml#{made.generation}"
    assert config.connections["lake"].url == f"{url}/sid/lake/"
    assert loader.load(config.location).location == config.location
    store.write(f"{url}/sid/config.yaml", b"transfers: {}")
    with pytest.raises(errors.ConfigError, match="has no generation"):
        loader.load(config.location)
    with pytest.raises(errors.ConfigError, match="did you mean s3://.*/sid/config.yaml?"):
        loader.load(f"{url}/sid/cnfig.yaml")
    with pytest.raises(errors.ConfigError, match="there is no bucket"):
        loader.load(f"{url}no/config.yaml")


def test_s3_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(errors.ConfigError) as caught:
        loader.load("s3://bucket/config.yaml")
    assert str(caught.value) == (
        "s3:// needs the Python package boto3, which is not installed; "
        "pip install 'sidPublisherJob[s3]'"
    )


# --- a whole run

RUN = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///%s/serving.duckdb"}
transfers:
  dim:
    source: {connection: lake, table: people}
    target: {connection: serving, table: dim}
    key: [id]
"""


def test_a_run_of_a_config_and_a_lake_in_a_bucket(fake, tmp_path):
    made = fake.put("configs", "sid/config.yaml", (RUN % tmp_path).encode())
    fake.put("configs", "sid/lake/people.csv", b"id,name\n1,Ada\n2,Grace\n")
    done = process.call(
        process.PIPELINE,
        "20130131",
        "dim",
        "truncate",
        "gs://configs/sid/config.yaml",
        env={"STORAGE_EMULATOR_HOST": fake.url},
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    with sqlite3.connect(tmp_path / ".tmg_etl/ledger.db") as ledger:
        recorded = ledger.execute("SELECT config_location FROM tmg_etl_run").fetchone()
    ledger.close()
    assert recorded == (f"gs://configs/sid/config.yaml#{made.generation}",)


def test_a_run_without_rights_ends_with_77_and_one_line(fake, tmp_path):
    fake.fail(403, reason="forbidden", message="Access denied.", times=100)
    done = process.call(
        process.PIPELINE,
        "20130131",
        "dim",
        "truncate",
        "gs://configs/config.yaml",
        env={"STORAGE_EMULATOR_HOST": fake.url},
        cwd=tmp_path,
    )
    assert done.code == 77
    assert re.fullmatch(
        r".*gs://configs/config.yaml: Access denied.; grant the right.*", done.error
    )


def test_a_run_without_buckets_imports_no_cloud(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(RUN % tmp_path)
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/people.csv").write_text("id,name\n1,Ada\n")
    code = (
        "import sys, json\n"
        "from tmg_etl.cli import pipeline\n"
        f"code = pipeline.main(['20130131', 'dim', 'truncate', {str(config)!r}])\n"
        "known = {name.partition('.')[0] for name in sys.modules}\n"
        "print('\\n' + json.dumps([code, sorted(known & {'google', 'boto3', 'requests', 'grpc'})]))"
    )
    done = process.call([sys.executable, "-c", code], cwd=tmp_path)
    assert json.loads(done.out.splitlines()[-1]) == [0, []], done.err


def test_only_storage_knows_google_s_storage_client():
    root = process.PROJECT / "tmg_etl"
    # import-linter sees `google` as one package.
    places = {
        r"google\.cloud\.storage|google\.cloud import storage": "storage",
        r"google\.cloud\.bigquery|google\.cloud import bigquery": "connectors/bigquery",
    }
    for pattern, home in places.items():
        for file in root.rglob("*.py"):
            if re.search(rf"^\s*(from|import) ({pattern})", file.read_text(), re.MULTILINE):
                assert pathlib.Path(home) in file.relative_to(root).parents, file
