"""The 64-bit hash of many texts at once, as PostgreSQL's `hashtextextended` with seed 0 gives it.

Bob Jenkins' lookup3: twelve bytes at a time are mixed into three words. Here each step is done for
all texts of a batch that are still that long, the longest first, so that those are always the head
of an array. A step costs as much for one text as for a thousand: what is hashed is short (see
`base.Digest`). Pure: no I/O.

Source: https://burtleburtle.net/bob/c/lookup3.c
"""

from __future__ import annotations

import numpy as np

_BLOCK = 12
#: What PostgreSQL adds to lookup3's own start.
_START = np.uint32(0x9E3779B9 + 3923095)
#: Which bytes of a tail of n bytes count, in each of its three words. The lowest byte of the third
#: word is left to the length.
_TAIL_MASKS = np.array(
    [
        [0xFFFFFFFF >> 8 * max(0, 4 - count) if count > 0 else 0 for count in (n, n - 4, n - 8)]
        for n in range(_BLOCK)
    ],
    dtype=np.uint32,
)
#: Texts at a time: as many words as the fast part of a processor's memory holds.
_AT_ONCE = 16_384


def hashes(data: memoryview, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the hash of each text, as uint64.

    Args:
        data: the bytes of all texts.
        starts: where each begins, int64.
        ends: where each ends, not before it begins.
    """
    padded = np.empty(len(data) + _BLOCK, dtype=np.uint8)
    padded[: len(data)] = data
    # The blocks that begin at every byte, on top of each other.
    blocks = np.ndarray(len(padded) - _BLOCK + 1, f"V{_BLOCK}", padded, strides=(1,))
    found = np.empty(len(starts), dtype=np.uint64)
    for first in range(0, len(starts), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        found[some] = _hashes(blocks, starts[some], ends[some] - starts[some])
    return found


def _hashes(blocks: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    order = np.argsort(-lengths, kind="stable")
    lengths, places = lengths[order], starts[order]
    a = lengths.astype(np.uint32) + _START
    b, c = a.copy(), a.copy()
    spare = (np.empty_like(a), np.empty_like(a))
    whole = lengths // _BLOCK
    # How many texts have more than 0, 1, 2, … whole blocks.
    counts = np.searchsorted(-whole, -np.arange(whole[0]), side="left")
    for count in counts.tolist():
        words = _words(blocks, places[:count])
        head = (a[:count], b[:count], c[:count])
        for word, more in zip(head, words, strict=True):
            word += more
        _mix(*head, (spare[0][:count], spare[1][:count]))
        places[:count] += _BLOCK
    masks = _TAIL_MASKS[lengths - whole * _BLOCK].T
    for word, more, mask, shift in zip(
        (a, b, c), _words(blocks, places), masks, (0, 0, 8), strict=True
    ):
        word += (more & mask) << np.uint32(shift)
    _finish(a, b, c, spare)
    found = np.empty(len(order), dtype=np.uint64)
    found[order] = (b.astype(np.uint64) << np.uint64(32)) | c
    return found


def _words(blocks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the three words of the block at each place, as three rows."""
    found: np.ndarray = blocks[places].view("<u4").reshape(-1, 3).T
    return found


def _mix(a: np.ndarray, b: np.ndarray, c: np.ndarray, spare: tuple[np.ndarray, np.ndarray]) -> None:
    """Mix three words, in place; that they overflow is part of it."""
    for changed, by, bits, more in (
        (a, c, 4, b), (b, a, 6, c), (c, b, 8, a), (a, c, 16, b), (b, a, 19, c), (c, b, 4, a),
    ):  # fmt: skip
        changed -= by
        changed ^= _rotated(by, bits, spare)
        by += more


def _finish(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, spare: tuple[np.ndarray, np.ndarray]
) -> None:
    for changed, by, bits in (
        (c, b, 14), (a, c, 11), (b, a, 25), (c, b, 16), (a, c, 4), (b, a, 14), (c, b, 24),
    ):  # fmt: skip
        changed ^= by
        changed -= _rotated(by, bits, spare)


def _rotated(word: np.ndarray, bits: int, spare: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    high, low = spare
    np.left_shift(word, np.uint32(bits), out=high)
    np.right_shift(word, np.uint32(32 - bits), out=low)
    high |= low
    return high
