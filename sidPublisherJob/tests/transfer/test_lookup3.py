"""Many texts hashed at once: as one by one, and as PostgreSQL does."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transfer import plain_lookup3
from tmg_etl.transfer import lookup3


def hashes(texts: Sequence[bytes]) -> list[int]:
    ends = np.array([0, *itertools.accumulate(len(text) for text in texts)], dtype=np.int64)
    found: list[int] = lookup3.hashes(memoryview(b"".join(texts)), ends[:-1], ends[1:]).tolist()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 11507180170145056365),
        ("a", 3591986179850072241),
        ("tmg_etl", 2113161740275937766),
        ("elevenbytes", 2627500548541092508),
        ("twelve bytes", 11322967672035583453),
        ("thirteenbytes", 1641931307885107589),
        ("Zürich\tüber\\ 24 bytes and more, much more", 14338083869044666369),
    ],
)
def test_hashes_are_those_of_postgresql(text: str, expected: int) -> None:
    # From `SELECT hashtextextended(…, 0)` of PostgreSQL 15, on little-endian x86-64.
    assert hashes([text.encode()]) == [expected]
    assert plain_lookup3.lookup3(text.encode()) == expected


@given(st.lists(st.binary(max_size=80)))
def test_many_texts_hash_as_each_does(texts: list[bytes]) -> None:
    assert hashes(texts) == [plain_lookup3.lookup3(text) for text in texts]


def test_more_texts_than_are_done_at_once_keep_their_order() -> None:
    texts = [b"%d" % number * (number % 7) for number in range(40_000)]
    found = hashes(texts)
    for number in (0, 1, 16_383, 16_384, 39_999):
        assert found[number] == plain_lookup3.lookup3(texts[number])


def test_texts_that_differ_by_one_bit_differ_everywhere() -> None:
    """Half of the 60 bits that a row adds change with any bit of it, give or take."""
    row = b"4711\t2024-03-10\t1\tan ordinary row, of ordinary length"
    changed = []
    for position, bit in itertools.product(range(len(row)), range(8)):
        other = bytearray(row)
        other[position] ^= 1 << bit
        changed.append(bytes(other))
    (plain,) = hashes([row])
    distances = [(plain ^ value).bit_count() for value in hashes(changed)]
    assert min(distances) >= 16
    assert 31 < sum(distances) / len(distances) < 33
