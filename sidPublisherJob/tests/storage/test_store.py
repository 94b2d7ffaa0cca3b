"""What every store does, on every server there is."""

import concurrent.futures
import contextlib
import csv
import gzip
import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tmg_etl import errors, storage
from tmg_etl.storage import base

MIB = 1024 * 1024
DATA = os.urandom(3 * MIB) * 7
ODD_NAMES = [
    "a",
    "a b",
    "a%20b",
    "a+b",
    "a#1?x=y&z",
    "ä/日本/🙂",
    "day=1/part-0.parquet",
    "a//b",
    "'\"",
]
FAILED = pytest.fail.Exception


@pytest.mark.parametrize("name", ODD_NAMES)
def test_object_is_read_as_it_was_written(place, name):
    url = place.url(name)
    made = place.store.write(url, b"hello")
    assert place.store.read(url) == b"hello"
    assert place.store.facts(url) == made
    assert list(place.store.list(url)) == [made]
    with place.store.open(made) as file:
        assert file.read() == b"hello"
    assert (made.url, made.size_bytes) == (url, 5)
    assert made.updated.utcoffset().total_seconds() == 0


def test_empty_object(place):
    made = place.store.write(place.url("empty"), b"")
    assert made.size_bytes == 0
    assert place.store.read(made.url) == b""
    assert place.store.read(made.url, limit=10) == b""
    with place.store.open(made) as file:
        assert file.read() == b""


def test_list_is_sorted_and_below_the_prefix(place):
    names = ["b/2", "b/1", "b/1/x", "bc", "a", "b/ä", "b/z"]
    for name in names:
        place.store.write(place.url(name), name.encode())
    found = [facts.url for facts in place.store.list(place.url("b/"))]
    assert found == [place.url(name) for name in ("b/1", "b/1/x", "b/2", "b/z", "b/ä")]
    assert len(list(place.store.list(place.bucket_url))) == len(names)
    assert list(place.store.list(place.url("none/"))) == []


def test_read_stops_at_the_limit(place):
    url = place.store.write(place.url("x"), b"0123456789").url
    assert place.store.read(url, limit=4) == b"0123"
    assert place.store.read(url, limit=0) == b""
    assert place.store.read(url, limit=100) == b"0123456789"


def test_missing_object_is_a_config_error_with_the_closest_name(place):
    place.store.write(place.url("in/config.yaml"), b"x")
    assert place.store.facts(place.url("in/confg.yaml")) is None
    with pytest.raises(errors.ConfigError) as caught:
        place.store.read(place.url("in/confg.yaml"))
    expected = f"there is no object {place.url('in/confg.yaml')}; did you mean "
    assert str(caught.value) == f"{expected}{place.url('in/config.yaml')}?"


@pytest.mark.parametrize("call", ["list", "facts", "read", "write", "create", "copy", "delete"])
def test_missing_bucket_is_a_config_error(place, call):
    url = f"{place.missing_bucket}/x"
    source = place.store.write(place.url("x"), b"x")
    calls = {
        "list": lambda: list(place.store.list(url)),
        "facts": lambda: place.store.facts(url),
        "read": lambda: place.store.read(url),
        "write": lambda: place.store.write(url, b"x"),
        "create": lambda: _upload(place.store, url, b"x"),
        "copy": lambda: place.store.copy(source, url),
        "delete": lambda: place.store.delete(url),
    }
    bucket = place.missing_bucket.partition("://")[2]
    with pytest.raises(errors.ConfigError, match=f"there is no bucket {bucket}"):
        calls[call]()


def test_url_without_an_object_is_a_config_error(place):
    for call in (place.store.read, place.store.facts, place.store.create, place.store.delete):
        with pytest.raises(errors.ConfigError, match="names a bucket, expected an object"):
            call(f"{place.bare}/")


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_upload_of_any_size(place, size):
    data = DATA[:size]
    with place.store.create(place.url("big")) as writer:
        for start in range(0, size, 700_001):
            assert writer.write(memoryview(data)[start : start + 700_001]) > 0
        assert writer.tell() == size
        assert place.store.facts(place.url("big")) is None
    assert writer.closed
    assert writer.facts == place.store.facts(place.url("big"))
    with place.store.open(writer.facts) as file:
        assert file.read() == data
    assert place.store.read(place.url("big")) == data


@pytest.mark.parametrize("size", [10, 20 * MIB])
def test_upload_that_fails_leaves_nothing(place, size):
    writer = place.store.create(place.url("big"))
    with contextlib.suppress(RuntimeError), writer:
        writer.write(DATA[:size])
        raise RuntimeError
    assert place.store.facts(place.url("big")) is None
    with pytest.raises(ValueError, match="is closed"):
        writer.write(b"x")
    with pytest.raises(ValueError, match="not uploaded"):
        _ = writer.facts


def test_closing_what_was_written_to_publishes_nothing(place):
    with place.store.create(place.url("t.parquet")) as writer:
        pq.write_table(pa.table({"a": list(range(1000))}), writer)
        writer.flush()
        writer.close()
        assert place.store.facts(place.url("t.parquet")) is None
    with place.store.open(writer.facts) as file:
        assert pq.read_table(file)["a"].to_pylist() == list(range(1000))


def test_write_only_where_nothing_is(place, needs_generations):
    needs_generations(FAILED)
    url = place.url("lock")
    place.store.write(url, b"first", expected=base.ABSENT)
    with pytest.raises(base.ConflictError, match="somebody else made this object first") as caught:
        place.store.write(url, b"second", expected=base.ABSENT)
    assert caught.value.exit_code == 75
    assert place.store.read(url) == b"first"


def test_write_only_over_the_generation_that_was_seen(place, needs_generations):
    needs_generations(FAILED)
    url = place.url("state")
    first = place.store.write(url, b"1")
    second = place.store.write(url, b"2", expected=first.generation)
    with pytest.raises(base.ConflictError, match="somebody else changed"):
        place.store.write(url, b"3", expected=first.generation)
    assert place.store.read(url, generation=second.generation) == b"2"
    place.store.delete(url)
    with pytest.raises(base.ConflictError):
        place.store.write(url, b"3", expected=second.generation)
    assert place.store.facts(url) is None


@pytest.mark.parametrize("size", [10, 20 * MIB])
def test_upload_checks_what_is_expected_at_its_end(place, needs_generations, size):
    needs_generations(FAILED)
    url = place.url("big")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(base.ConflictError))
        writer = stack.enter_context(place.store.create(url, expected=base.ABSENT))
        writer.write(DATA[:size])
        place.store.write(url, b"another run was faster")
    assert place.store.read(url) == b"another run was faster"


def test_generation_that_is_gone(place, needs_generations):
    needs_generations(FAILED)
    old = place.store.write(place.url("x"), DATA)
    place.store.write(place.url("x"), DATA[::-1])
    with pytest.raises(base.GoneError, match="the lake changed under the run"):
        place.store.read(old.url, generation=old.generation)
    with place.store.open(old) as file, pytest.raises(base.GoneError):
        file.read(10)
    with pytest.raises(base.GoneError):
        place.store.copy(old, place.url("y"))
    place.store.delete(old.url)
    with place.store.open(old) as file, pytest.raises(base.GoneError):
        file.read(10)


def test_copy(place):
    source = place.store.write(place.url("a"), DATA)
    copied = place.store.copy(source, place.url("sub/b"))
    assert place.store.read(place.url("sub/b")) == DATA
    assert copied == place.store.facts(place.url("sub/b"))
    assert place.store.read(source.url) == DATA
    assert place.store.copy(source, place.url("sub/b"), expected=copied.generation)


def test_copy_only_where_expected(place, needs_generations):
    needs_generations(FAILED)
    source = place.store.write(place.url("a"), b"a")
    there = place.store.write(place.url("b"), b"b")
    with pytest.raises(base.ConflictError):
        place.store.copy(source, there.url, expected=base.ABSENT)
    with pytest.raises(base.ConflictError):
        place.store.copy(source, there.url, expected=source.generation)
    assert place.store.read(there.url) == b"b"
    place.store.copy(source, there.url, expected=there.generation)
    assert place.store.read(there.url) == b"a"


def test_delete(place):
    made = place.store.write(place.url("x"), b"x")
    assert place.store.delete(made.url, generation=made.generation)
    assert not place.store.delete(made.url, generation=made.generation)
    assert not place.store.delete(made.url)
    place.store.write(made.url, b"x")
    assert place.store.delete(made.url)
    assert place.store.facts(made.url) is None


def test_delete_only_what_was_seen(place, needs_generations):
    needs_generations(FAILED)
    old = place.store.write(place.url("x"), b"old")
    place.store.write(place.url("x"), b"new")
    with pytest.raises(base.ConflictError):
        place.store.delete(old.url, generation=old.generation)
    assert place.store.read(old.url) == b"new"


def test_stream_seeks_and_reads_like_a_file(place):
    made = place.store.write(place.url("x"), DATA)
    local = io.BytesIO(DATA)
    with place.store.open(made) as file:
        assert file.readable()
        assert file.seekable()
        for offset, whence, size in [
            (-100, io.SEEK_END, 100),
            (-70_000, io.SEEK_END, 65_536),
            (5 * MIB, io.SEEK_SET, 6 * MIB),
            (0, io.SEEK_SET, 10),
            (10, io.SEEK_CUR, 300_000),
            (-5, io.SEEK_CUR, 10),
            (0, io.SEEK_END, 10),
            (100, io.SEEK_END, 10),
            (20 * MIB, io.SEEK_SET, -1),
        ]:
            assert file.seek(offset, whence) == local.seek(offset, whence)
            assert file.read(size) == local.read(size)
            assert file.tell() == local.tell()
        with pytest.raises((ValueError, OSError)):
            file.seek(-1)


def test_readers_of_other_formats_read_from_it(place):
    lines = "".join(f"{number},name {number}\n" for number in range(20_000))
    packed = place.store.write(place.url("x.csv.gz"), gzip.compress(lines.encode()))
    with place.store.open(packed) as file, gzip.open(file, "rt", newline="") as text:
        assert list(csv.reader(text))[-1] == ["19999", "name 19999"]
    plain = place.store.write(place.url("x.csv"), lines.encode())
    with io.TextIOWrapper(place.store.open(plain), newline="") as text:
        assert sum(1 for _ in text) == 20_000
    buffer = io.BytesIO()
    table = pa.table({"a": range(100_000), "b": [str(n) for n in range(100_000)]})
    pq.write_table(table, buffer, row_group_size=10_000)
    parquet = place.store.write(place.url("x.parquet"), buffer.getvalue())
    with place.store.open(parquet) as file:
        assert pq.ParquetFile(file, pre_buffer=True).read().equals(table)


def test_several_threads_share_a_store(place):
    def work(number: int) -> bool:
        data = bytes([number]) * (MIB + number)
        made = place.store.write(place.url(f"t/{number}"), data)
        with place.store.open(made) as file:
            return file.read() == data and place.store.delete(made.url)

    # gcp-storage-emulator loses requests when several change its bucket at once.
    with concurrent.futures.ThreadPoolExecutor(1 if place.is_fragile else 8) as pool:
        assert all(pool.map(work, range(24)))
    assert list(place.store.list(place.url("t/"))) == []


def test_closed_store_opens_again(place):
    made = place.store.write(place.url("x"), DATA)
    place.store.close()
    with place.store.open(made) as file:
        file.read(1)
        place.store.close()
    assert place.store.read(made.url) == DATA


def test_scheme_that_is_none():
    with pytest.raises(errors.ConfigError, match="expected gs:// or s3://"):
        storage.open_store("https://user:pass@host/x")


def _upload(store: base.Store, url: str, data: bytes) -> base.Facts:
    with store.create(url) as writer:
        writer.write(data)
    return writer.facts
