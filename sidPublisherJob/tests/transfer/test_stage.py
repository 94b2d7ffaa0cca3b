"""In which pieces rows travel."""

import itertools

import pyarrow as pa
import pytest

from tmg_etl.transfer import stage


@pytest.mark.parametrize(
    ("batch_rows", "columns", "expected"),
    [
        (65_536, 1, 65_536),
        (65_536, 4, 65_536),
        (65_536, 16, 16_384),
        (65_536, 1_000, 262),
        (65_536, 10_000_000, 1),
        (100, 16, 100),
        (1_000_000, 1, 262_144),
        # A table of which nothing but the rows is read.
        (65_536, 0, 65_536),
    ],
)
def test_a_batch_of_wide_rows_has_fewer(batch_rows: int, columns: int, expected: int) -> None:
    assert stage.rows_at_once(batch_rows, columns) == expected


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        ([], []),
        ([0], [0]),
        ([5, 5], [5, 5]),
        # Half of it is a piece worth sending, an eighth is not.
        ([8_192, 3], [4_096, 4_096, 3]),
        ([65_536, 65_536, 7], [8_192, 24_576, 32_768, 65_536, 7]),
    ],
)
def test_the_first_batch_comes_in_pieces(rows: list[int], pieces: list[int]) -> None:
    bounds = [0, *itertools.accumulate(rows)]
    batches = [
        pa.record_batch({"n": pa.array(range(start, end), pa.int64())})
        for start, end in itertools.pairwise(bounds)
    ]
    found = list(stage.eagerly(iter(batches)))
    assert [batch.num_rows for batch in found] == pieces
    values = [value for batch in found for value in batch.column("n").to_pylist()]
    assert values == list(range(bounds[-1]))
