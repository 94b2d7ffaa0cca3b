"""The file-like view of ranges: the same bytes as a file, few requests, bounded memory."""

import io
import itertools
import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmg_etl import errors
from tmg_etl.storage import stream, worker

SIZE = 3 * stream.PIECE_BYTES + 12_345
DATA = random.Random(1).randbytes(SIZE)


class Origin:
    """Serves ranges of `DATA`, and remembers them."""

    def __init__(self, size=SIZE):
        self.data = DATA[:size]
        self.spans = []
        self.failures = []
        self.pause_s = 0.0
        self.under_way = self.most = 0
        self.lock = threading.Lock()

    def fetch(self, start, end):
        with self.lock:
            self.spans.append((start, end))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            if self.failures:
                raise self.failures.pop()
            time.sleep(self.pause_s)
            return self.data[start:end]
        finally:
            with self.lock:
                self.under_way -= 1


@pytest.fixture(scope="module")
def pool():
    found = worker.Pool(8)
    yield found
    found.shutdown()


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from([0, 1, 100, 70_000, 300_000, 5_000_000, -1])),
        st.tuples(st.just("seek"), st.integers(0, SIZE + 10)),
        st.tuples(st.just("back"), st.integers(0, 400_000)),
        st.tuples(st.just("end"), st.integers(0, 100_000)),
        st.tuples(st.just("line"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(moves=MOVES)
def test_it_reads_like_a_file(pool, moves):
    local, origin = io.BytesIO(DATA), Origin()
    with stream.opened(SIZE, origin.fetch, pool) as file:
        for move, number in moves:
            if move == "read":
                assert file.read(number) == local.read(number)
            elif move == "line":
                assert file.readline() == local.readline()
            else:
                position = {
                    "seek": number,
                    "back": max(local.tell() - number, 0),
                    "end": SIZE - number,
                }[move]
                assert file.seek(position) == local.seek(position)
            assert file.tell() == local.tell()
    assert all(0 <= start < end <= SIZE for start, end in origin.spans)
    assert all(end - start <= stream.PIECE_BYTES for start, end in origin.spans)


def test_reading_in_order_fetches_every_byte_once(pool):
    origin = Origin()
    with stream.opened(SIZE, origin.fetch, pool) as file:
        while file.read(10_000):
            pass
    spans = sorted(origin.spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == SIZE
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    assert len(spans) < 12


def test_few_ranges_are_under_way_at_once(pool):
    origin = Origin()
    origin.pause_s = 0.05
    with stream.opened(SIZE, origin.fetch, pool) as file:
        file.read()
    assert 1 < origin.most <= stream.PARALLEL


def test_reading_here_and_there_fetches_little_more_than_that(pool):
    origin = Origin()
    with stream.opened(SIZE, origin.fetch, pool) as file:
        for position in (SIZE - 8, 1_000_000, 9_000_000, 5_000_000):
            file.seek(position)
            file.read(8)
        file.seek(2_000_000)
        assert len(file.read(6_000_000)) == 6_000_000
    fetched = sum(end - start for start, end in origin.spans)
    assert fetched <= 6_000_000 + 5 * stream.BUFFER_BYTES


def test_failure_is_raised_and_a_second_reading_loses_nothing(pool):
    origin = Origin()
    with stream.opened(SIZE, origin.fetch, pool) as file:
        assert file.read(100) == DATA[:100]
        file.seek(1_000_000)
        origin.failures.append(errors.TemporaryError("away"))
        with pytest.raises(errors.TemporaryError, match="away"):
            file.read(10_000_000)
        assert file.tell() == 1_000_000
        assert file.read(10_000_000) == DATA[1_000_000:11_000_000]


def test_short_answer_is_an_error(pool):
    origin = Origin(SIZE - 1)
    with stream.opened(SIZE, origin.fetch, pool) as file:
        file.seek(-100, io.SEEK_END)
        with pytest.raises(errors.TemporaryError, match="got 99 bytes for the range"):
            file.read()


class Sum:
    """Remembers what it was given."""

    def __init__(self):
        self.data = b""
        self.verified = 0

    def update(self, data):
        self.data += bytes(data)

    def verify(self):
        self.verified += 1


@pytest.mark.parametrize(
    ("moves", "is_verified"),
    [
        ([(0, -1)], True),
        ([(0, 1000), (0, 2_000_000), (500, -1)], True),
        ([(0, 1000), (SIZE - 8, 8), (0, -1)], True),
        ([(SIZE - 8, 8), (0, 100)], False),
        ([(1, -1)], False),
    ],
)
def test_checksum_is_of_all_bytes_in_order(pool, moves, is_verified):
    checksum = Sum()
    with stream.opened(SIZE, Origin().fetch, pool, checksum) as file:
        for position, size in moves:
            file.seek(position)
            file.read(size)
    assert checksum.verified == is_verified
    if is_verified:
        assert checksum.data == DATA


def test_closed_pool_is_a_temporary_error():
    pool = worker.Pool(1)
    gate = threading.Event()
    blocked = pool.submit(gate.wait, 30)
    while not blocked.running():
        time.sleep(0.01)
    file = stream.opened(SIZE, Origin().fetch, pool)
    failed = []

    def read():
        try:
            file.read(10)
        except errors.TemporaryError as error:
            failed.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    while not pool._work.qsize():
        time.sleep(0.01)
    pool.shutdown(wait=False, cancel_futures=True)
    reader.join(30)
    gate.set()
    blocked.result(30)
    assert failed == ["the store was closed while it was read"]
