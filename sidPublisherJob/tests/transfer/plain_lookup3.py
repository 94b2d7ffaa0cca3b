"""lookup3 as its author wrote it: one text, one byte after the other."""

_MASK = 2**32 - 1


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK


def lookup3(text: bytes) -> int:
    """Return the hash of one text, as an unsigned number."""
    a = b = c = (0x9E3779B9 + len(text) + 3923095) & _MASK
    whole = len(text) // 12 * 12
    for start in range(0, whole, 12):
        x, y, z = (
            int.from_bytes(text[at : at + 4], "little") for at in range(start, start + 12, 4)
        )
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a, c = ((a - c) & _MASK) ^ _rotated(c, 4), (c + b) & _MASK
        b, a = ((b - a) & _MASK) ^ _rotated(a, 6), (a + c) & _MASK
        c, b = ((c - b) & _MASK) ^ _rotated(b, 8), (b + a) & _MASK
        a, c = ((a - c) & _MASK) ^ _rotated(c, 16), (c + b) & _MASK
        b, a = ((b - a) & _MASK) ^ _rotated(a, 19), (a + c) & _MASK
        c, b = ((c - b) & _MASK) ^ _rotated(b, 4), (b + a) & _MASK
    tail = text[whole:]
    a = (a + int.from_bytes(tail[:4], "little")) & _MASK
    b = (b + int.from_bytes(tail[4:8], "little")) & _MASK
    c = (c + (int.from_bytes(tail[8:], "little") << 8)) & _MASK
    c = ((c ^ b) - _rotated(b, 14)) & _MASK
    a = ((a ^ c) - _rotated(c, 11)) & _MASK
    b = ((b ^ a) - _rotated(a, 25)) & _MASK
    c = ((c ^ b) - _rotated(b, 16)) & _MASK
    a = ((a ^ c) - _rotated(c, 4)) & _MASK
    b = ((b ^ a) - _rotated(a, 14)) & _MASK
    c = ((c ^ b) - _rotated(b, 24)) & _MASK
    return b << 32 | c
