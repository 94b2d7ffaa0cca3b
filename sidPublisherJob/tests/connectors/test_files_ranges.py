"""Parts of a file fetched ahead: the same bytes, few requests, little held."""

import concurrent.futures
import datetime
import random
import threading

import pyarrow as pa
import pytest

from tests.connectors import bucket_kit, files_kit
from tmg_etl import errors
from tmg_etl.connectors.files import ranges, rowgroup

DATA = random.Random(1).randbytes(100_000)


class Fetching:
    """Counts what is fetched."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.mutex = threading.Lock()
        self.pool = concurrent.futures.ThreadPoolExecutor(4)

    def __call__(self, start: int, end: int) -> bytes:
        with self.mutex:
            self.asked.append((start, end))
        return DATA[start:end]


def parts_of(*spans: tuple[int, int]) -> list[ranges.Range]:
    return [ranges.Range(*span) for span in spans]


def test_ranges_are_joined_and_cut() -> None:
    assert ranges.joined(parts_of((50, 60), (0, 10), (12, 20)), 5) == parts_of((0, 20), (50, 60))
    assert ranges.joined(parts_of((0, 30), (5, 10)), 5) == parts_of((0, 30))
    assert ranges.joined([]) == []
    assert ranges.cut(ranges.Range(0, 25), 10) == parts_of((0, 10), (10, 20), (20, 25))


def test_what_was_announced_is_fetched_once() -> None:
    fetching = Fetching()
    parts = ranges.Parts(fetching, fetching.pool)
    announced = parts_of((100, 200), (200, 300), (500, 600))
    parts.announce(announced)
    for start, end in ((100, 150), (150, 250), (250, 300), (500, 600), (510, 520)):
        assert parts.read(start, end) == DATA[start:end]
    assert sorted(fetching.asked) == [(100, 200), (200, 300), (500, 600)]
    # Beyond it, what is missing is fetched when it is read.
    assert parts.read(90, 95) == DATA[90:95]
    assert parts.read(290, 310) == DATA[290:310]
    assert fetching.asked[3:] == [(90, 95), (300, 310)]
    parts.forget(announced)
    assert parts.read(100, 110) == DATA[100:110]
    assert fetching.asked[-1] == (100, 110)


def test_a_stream_is_fetched_one_part_ahead() -> None:
    fetching = Fetching()
    parts = ranges.Parts(fetching, fetching.pool)
    stream = ranges.cut(ranges.Range(0, 50_000), 10_000)
    parts.announce_stream(stream)
    for position in range(0, 50_000, 2_500):
        assert parts.read(position, position + 2_500) == DATA[position : position + 2_500]
        fetching.pool.submit(int).result()
        assert len(fetching.asked) <= position // 10_000 + 2
        assert len(parts._under_way) <= 3
    assert sorted(fetching.asked) == [(part.start, part.end) for part in stream]


def test_an_error_of_a_part_is_raised_where_it_is_read() -> None:
    def fail(start: int, end: int) -> bytes:
        raise errors.TemporaryError("gone")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        parts = ranges.Parts(fail, pool)
        parts.announce(parts_of((0, 10)))
        with pytest.raises(errors.TemporaryError, match="gone"):
            parts.read(0, 5)


def test_a_file_over_parts() -> None:
    fetching = Fetching()
    file = ranges.File(ranges.Parts(fetching, fetching.pool), len(DATA))
    assert file.seek(-100, 2) == len(DATA) - 100
    assert file.read() == DATA[-100:]
    assert file.read() == b""
    file.seek(len(DATA) - 10)
    assert file.read(100) == DATA[-10:]
    assert len(fetching.asked) == 1
    # What is known of the end is not fetched again.
    file.seek(-150, 2)
    assert file.read(120) == DATA[-150:-30]
    assert fetching.asked[1:] == [(len(DATA) - 150, len(DATA) - 100)]
    file.seek(5)
    assert (file.read(5), file.tell()) == (DATA[5:10], 10)


def odd_table(rows: int) -> pa.Table:
    chance = random.Random(rows)
    moment = datetime.datetime(2024, 1, 1)
    return pa.table(
        {
            "n": range(rows),
            "s": [None if n % 7 == 0 else chance.randbytes(40).hex() for n in range(rows)],
            "l": [[n, None] if n % 3 else [] for n in range(rows)],
            "t": [moment + datetime.timedelta(microseconds=n) for n in range(rows)],
            "d": [f"value {n % 5}" for n in range(rows)],
            "x": [{"a": n, "b": [{"c": str(n)}]} for n in range(rows)],
        }
    )


@pytest.mark.parametrize("group_rows", [100, 1_000, 5_000])
@pytest.mark.parametrize("whole_bytes", [1_000, 50_000, rowgroup.WHOLE_BYTES])
def test_rows_are_the_same_however_they_are_fetched(
    google_place: bucket_kit.GooglePlace,
    monkeypatch: pytest.MonkeyPatch,
    group_rows: int,
    whole_bytes: int,
) -> None:
    monkeypatch.setattr(rowgroup, "UNIT_BYTES", whole_bytes // 2)
    monkeypatch.setattr(rowgroup, "WHOLE_BYTES", whole_bytes)
    monkeypatch.setattr(rowgroup, "STREAM_BYTES", 30_000)
    monkeypatch.setattr(rowgroup, "_LEAST_PART_BYTES", 10_000)
    table = odd_table(5_000)
    google_place.put_table(
        "t.parquet", table, row_group_size=group_rows, use_deprecated_int96_timestamps=True
    )
    with google_place.opened() as found:
        assert files_kit.rows(found) == table.to_pylist()
        some = [
            row for batch in found.read(["t", "l"], batch_rows=777) for row in batch.to_pylist()
        ]
        assert some == table.select(["t", "l"]).to_pylist()
        assert sum(batch.num_rows for batch in found.read([])) == 5_000
