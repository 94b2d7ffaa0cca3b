"""Google's store when the network and Cloud Storage are at their worst."""

import gzip
import io
import logging
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.storage import gcs_api
from tmg_etl import errors
from tmg_etl.storage import base, stream, upload
from tmg_etl.storage import gcs as gcs_module

MIB = 1024 * 1024
DATA = os.urandom(MIB) * 9 + b"end"
ROOT = pathlib.Path(__file__).parents[2]


def disturbed(store, action):
    """Upload an object; something happens in the middle of it."""
    with store.create("gs://lake/x") as writer:
        writer.write(DATA)
        action()


def first_piece(server):
    """Return the session of the upload under way, once it holds its first piece."""
    for _ in range(1000):
        found = next(iter(server.sessions.values()), None)
        if found and found.data:
            return found
        time.sleep(0.01)
    raise TimeoutError


def read_on(file):
    while file.read(MIB):
        pass


HICCUPS = [
    {"status": 503},
    {"status": 500},
    {"status": 429, "reason": "rateLimitExceeded"},
    {"status": 403, "reason": "rateLimitExceeded"},
    {"status": 408},
    {"status": 0},
    {"status": 502, "body": b"<html><title>Error 502 (Server Error)!!1</title></html>"},
    {"status": 503, "after": True},
    {"status": 0, "after": True},
]


def calls(store):
    """Every call, each with the state it needs made beforehand and its effect checked after."""
    big = store.write("gs://lake/big", DATA)
    small = store.write("gs://lake/small", b"small")
    doomed = store.write("gs://lake/doomed", b"x")
    target = store.write("gs://lake/target", b"before")
    return {
        "list": lambda: [facts.url for facts in store.list("gs://lake/big")] == [big.url],
        "facts": lambda: store.facts(big.url) == big,
        "read": lambda: store.read(small.url) == b"small",
        "open": lambda: store.open(big).read() == DATA,
        "write": lambda: store.write("gs://lake/new", b"n", expected=base.ABSENT).size_bytes == 1,
        "overwrite": lambda: store.write(target.url, b"n", expected=target.generation).size_bytes,
        "create": lambda: uploaded(store, "gs://lake/new", expected=base.ABSENT).size_bytes,
        "copy": lambda: store.copy(big, "gs://lake/new", expected=base.ABSENT).size_bytes,
        "delete": lambda: store.delete(doomed.url, generation=doomed.generation),
    }


def uploaded(store, url, **options):
    with store.create(url, **options) as writer:
        for start in range(0, len(DATA), MIB):
            writer.write(DATA[start : start + MIB])
    return writer.facts


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda it: "-".join(map(str, it.values()))[:30])
@pytest.mark.parametrize(
    "call",
    ["list", "facts", "read", "open", "write", "overwrite", "create", "copy", "delete"],
)
def test_every_call_survives_a_hiccup(fake, gcs, call, hiccup):
    run = calls(gcs)[call]
    fake.fail(**hiccup)
    assert run()
    assert fake.faults == []


@pytest.mark.parametrize("call", ["list", "facts", "read", "open", "write", "copy", "delete"])
def test_store_that_stays_away_is_temporary(fake, monkeypatch, call):
    store = gcs_module.GoogleStore(deadline_s=0.3)
    run = calls(store)[call]
    fake.fail(503, message="We encountered an internal error.", times=10_000)
    with pytest.raises(errors.TemporaryError, match=r"gs://lake/\w+: We encountered") as caught:
        run()
    assert caught.value.exit_code == 75
    store.close()


@pytest.mark.parametrize("call", ["list", "facts", "read", "open", "write", "copy", "delete"])
def test_missing_right_names_permission_and_principal(fake, gcs, call):
    run = calls(gcs)[call]
    message = (
        "sid@acme.iam.gserviceaccount.com does not have storage.objects.get access to the Google "
        "Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not "
        "exist)."
    )
    plain = message.encode() if call in ("read", "open") else None
    fake.fail(403, reason="forbidden", message=message, times=100, body=plain)
    with pytest.raises(errors.AccessError) as caught:
        run()
    assert str(caught.value).partition(": ")[2] == (
        "sid@acme.iam.gserviceaccount.com does not have the permission storage.objects.get; "
        "grant roles/storage.objectViewer to it, or use other credentials"
    )


def test_one_network_failure_costs_one_request(fake, gcs):
    fake.fail(503, method="PUT")
    gcs.write("gs://lake/x", b"x")
    # One session; the piece, the question how far it got, and the piece again.
    assert fake.count("POST") == 1
    assert fake.count("PUT") == 3


# --- uploads


@pytest.mark.parametrize("kept", [0, 256 * 1024, 3 * MIB])
def test_upload_goes_on_where_the_server_stopped(fake, gcs, kept):
    with gcs.create("gs://lake/x") as writer:
        writer.write(DATA[: 9 * MIB])
        fake.kept_of_piece = kept
        writer.write(DATA[9 * MIB :])
    assert gcs.read("gs://lake/x") == DATA


def test_upload_whose_last_piece_is_kept_in_part(fake, gcs):
    fake.kept_of_piece = 256 * 1024
    assert gcs.write("gs://lake/x", DATA[:MIB]).size_bytes == MIB
    assert gcs.read("gs://lake/x") == DATA[:MIB]


def test_lost_answer_to_the_last_piece_makes_one_object(fake, gcs):
    fake.fail(503, method="PUT", after=True)
    made = gcs.write("gs://lake/x", b"x", expected=base.ABSENT)
    assert fake.buckets["lake"]["x"].generation == int(made.generation)
    assert fake.count("PUT") == 2


def test_upload_session_that_ended_is_temporary(fake, gcs):
    with pytest.raises(errors.TemporaryError, match="Cloud Storage ended the upload"):
        disturbed(gcs, lambda: first_piece(fake) and fake.sessions.clear())
    assert fake.names("lake") == []


def test_abandoned_upload_ends_its_session(fake, gcs):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disturbed(gcs, stop)
    assert fake.sessions == {}
    assert fake.names("lake") == []


def test_abandoned_upload_hides_no_error_of_its_own(fake, gcs):
    def stop():
        fake.fail(0, times=1000)
        raise RuntimeError("the first")

    with pytest.raises(RuntimeError, match="the first"):
        disturbed(gcs, stop)


def test_place_of_an_upload_that_stays_open_is_told_to_nobody(fake, gcs, caplog):
    """Whoever knows it may go on with the upload."""
    caplog.set_level(logging.DEBUG, "tmg_etl")

    def stop():
        while not (fake.sessions and next(iter(fake.sessions.values())).data):
            time.sleep(0.01)
        fake.fail(0, times=1000)
        fake.__exit__()
        raise RuntimeError("the first")

    with pytest.raises(RuntimeError, match="the first"):
        disturbed(gcs, stop)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("tmg_etl")]
    assert any("stays open: ConnectionError" in text for text in told)
    assert not any("upload_id" in text for text in told)


@pytest.mark.parametrize(
    ("checks", "message"),
    [(True, "damaged on their way"), (False, "computed another checksum")],
    ids=["refused", "removed"],
)
def test_upload_that_the_server_got_wrong_leaves_nothing(fake, gcs, checks, message):
    def damage():
        first_piece(fake).data[5] ^= 1

    fake.checks_hashes = checks
    with pytest.raises(errors.TemporaryError, match=message):
        disturbed(gcs, damage)
    assert fake.names("lake") == []


def test_metadata_is_kept_with_the_object(fake, gcs):
    gcs.write("gs://lake/x", b"x", metadata={"run": "r1"})
    assert fake.buckets["lake"]["x"].metadata == {"run": "r1"}


def test_conditions_are_sent_with_every_change(fake, gcs):
    made = gcs.write("gs://lake/x", b"x", expected=base.ABSENT)
    gcs.delete(made.url)
    sent = [request.query.get("ifGenerationMatch") for request in fake.requests]
    assert sent == ["0", None, None, made.generation]


def test_repeated_copy_over_another_run_is_a_conflict(fake, gcs):
    source = gcs.write("gs://lake/a", b"a")
    fake.fail(503, containing="rewriteTo")
    fake.put("lake", "b", b"another run's")
    with pytest.raises(base.ConflictError):
        gcs.copy(source, "gs://lake/b", expected=base.ABSENT)
    assert gcs.read("gs://lake/b") == b"another run's"


def test_large_copy_takes_several_calls(fake, gcs):
    source = gcs.write("gs://lake/a", DATA)
    gcs.copy(source, "gs://other/a")
    assert fake.buckets["other"]["a"].data == DATA
    assert sum("rewriteTo" in request.path for request in fake.requests) == 2


# --- reading


def test_all_pages_are_listed(fake, gcs):
    fake.page = 3
    for number in range(10):
        fake.put("lake", f"p/{number}", b"")
    assert [facts.url[-1] for facts in gcs.list("gs://lake/p/")] == list("0123456789")
    assert fake.count("GET") == 4


def test_download_that_is_cut_goes_on(fake, gcs):
    made = gcs.write("gs://lake/x", DATA)
    fake.broken_downloads = 3
    assert gcs.read(made.url) == DATA
    fake.broken_downloads = 3
    assert gcs.open(made).read() == DATA


def test_bytes_with_another_checksum_are_refused(fake, gcs):
    made = gcs.write("gs://lake/x", DATA)
    found = fake.buckets["lake"]["x"]
    fake.served = bytes(MIB) + found.data[MIB:]
    with pytest.raises(errors.TemporaryError, match="checksum"):
        gcs.read(made.url)
    with gcs.open(made) as file, pytest.raises(errors.TemporaryError, match="checksum"):
        read_on(file)
    fake.served = None
    with gcs.open(made) as file:
        file.seek(5 * MIB)
        assert file.read(MIB) == DATA[5 * MIB : 6 * MIB]
        file.seek(0)
        assert file.read() == DATA


def test_content_encoding_is_unpacked_or_refused(fake, gcs):
    fake.put("lake", "config.yaml", gzip.compress(b"a: 1"), encoding="gzip")
    fake.put("lake", "x.csv.gz", gzip.compress(b"a,b"), encoding="gzip")
    assert gcs.read("gs://lake/config.yaml") == b"a: 1"
    assert gcs.read("gs://lake/config.yaml", limit=2) == b"a:"
    packed = gcs.facts("gs://lake/x.csv.gz")
    assert gzip.decompress(gcs.read(packed.url)) == b"a,b"
    with gcs.open(packed) as file, gzip.open(file) as unpacked:
        assert unpacked.read() == b"a,b"
    with (
        gcs.open(gcs.facts("gs://lake/config.yaml")) as file,
        pytest.raises(errors.ConfigError, match="Content-Encoding: gzip"),
    ):
        file.read()


def test_reading_in_order_takes_few_requests_ahead(fake, gcs):
    made = gcs.write("gs://lake/x", DATA)
    before = fake.count("GET")
    with gcs.open(made) as file:
        while file.read(65_536):
            pass
    assert fake.count("GET") - before <= 12
    spans = [request.headers["range"] for request in fake.requests[-3:]]
    sizes = [int(end) - int(start) + 1 for start, end in (s[6:].split("-") for s in spans)]
    assert max(sizes) <= stream.PIECE_BYTES


def test_a_column_of_parquet_is_read_alone(fake, gcs):
    table = pa.table({name: os.urandom(MIB) and list(os.urandom(200_000)) for name in "abcdefgh"})
    buffer = io.BytesIO()
    pq.write_table(
        table.cast(pa.schema([(name, pa.int64()) for name in "abcdefgh"])),
        buffer,
        use_dictionary=False,
        compression="none",
    )
    made = gcs.write("gs://lake/x.parquet", buffer.getvalue())
    seen = len(fake.requests)
    with gcs.open(made) as file:
        found = pq.ParquetFile(file).read(columns=["d"])
    assert found["d"].to_pylist() == table["d"].to_pylist()
    spans = [request.headers["range"][6:].split("-") for request in fake.requests[seen:]]
    fetched = sum(int(end) - int(start) + 1 for start, end in spans)
    assert fetched < made.size_bytes / 3


def test_memory_does_not_grow_with_the_object(fake):
    # In a process of its own: the fake holds the object in this one.
    code = """
        import resource, sys
        from tmg_etl import storage
        from tmg_etl.storage import gcs, upload
        store = storage.open_store("gs")
        def warm_up(size):
            with store.create("gs://lake/x") as writer:
                for _ in range(size):
                    writer.write(bytes(1024 * 1024))
            with store.open(writer.facts) as file:
                while file.read(1024 * 1024):
                    pass
        warm_up(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        warm_up(192)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        store.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    pieces = (upload.PIECE_BYTES * 3 + stream.PIECE_BYTES * stream.PARALLEL * 2) // MIB
    assert int(done.stdout) < pieces + 24


def test_names_that_no_bucket_has(fake):
    with pytest.raises(errors.ConfigError, match="is no bucket"):
        gcs_module.GoogleStore().facts("gs://-x-/y")


def test_emulator_without_scheme(fake, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url.removeprefix("http://"))
    with_scheme = gcs_module.GoogleStore()
    assert with_scheme.write("gs://lake/x", b"x").size_bytes == 1
    with_scheme.close()


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = gcs_module.GoogleStore(deadline_s=0.2)
    with pytest.raises(errors.ConnectionLostError, match="Connection refused"):
        store.facts("gs://lake/x")


def test_closest_bucket_is_named(fake, gcs, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme")
    with pytest.raises(errors.ConfigError, match="there is no bucket lak; did you mean gs://lake?"):
        gcs.read("gs://lak/x")


def test_unknown_words_for_a_missing_bucket(fake, gcs):
    fake.fail(404, reason="notFound", message="Nicht gefunden")
    assert gcs.facts("gs://lake/x") is None
    fake.fail(404, reason="notFound", message="Nicht gefunden")
    with pytest.raises(errors.ConfigError, match="there is no bucket no"):
        gcs.facts("gs://no/x")


def test_error_bodies_are_those_of_the_documentation():
    body = gcs_api.error_body(412, "m", "conditionNotMet")
    expected = b'{"error": {"code": 412, "message": "m", "errors": ['
    assert body.startswith(expected)
