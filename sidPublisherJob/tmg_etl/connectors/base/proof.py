"""What proves that two tables are equal: the canonical text of a row, its hash, their sum."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Row count and order-free hash of the canonical text of every row.

    The hash is the sum, modulo 2**64, of the numbers that a `Digest` makes of each row's canonical
    text (see `TextFormat`); None when only rows were counted.
    """

    rows: int
    hash: int | None = None

    def __str__(self) -> str:
        """Return ``1,234 rows 0x0123456789abcdef``."""
        if self.hash is None:
            return f"{self.rows:,} rows"
        return f"{self.rows:,} rows 0x{self.hash % 2**64:016x}"


class FloatStyle(enum.Enum):
    """How a database prints the shortest decimal text of a double."""

    POSTGRES = "postgres"  # 1e+15 from 1e15, 1e-05 below 1e-4; NaN, Infinity, -Infinity
    MYSQL = "mysql"  # 1e15 from 1e15, 1e-16 below 1e-15; no NaN, no infinity


class Digest(enum.Enum):
    """What makes a number of a row's canonical text; the numbers are added up to a `Fingerprint`.

    All of them tell apart what a fault of hardware or software leaves. None of them keeps a secret,
    and none is asked to withstand somebody who can write to the table anyway.
    """

    MD5 = "md5"  # its first 15 hexadecimal digits
    SHA256 = "sha256"  # the same
    #: Bob Jenkins' lookup3, as PostgreSQL's `hashtextextended` computes it, and of that the last 60
    #: bits: a fraction of the time of the others on both sides. In its text a value of more than
    #: `LONG_TEXT_BYTES` stands as the hexadecimal digits of its SHA-256.
    LOOKUP3 = "lookup3"


#: What remains of a row's hash: 60 bits.
HASH_MASK = 2**60 - 1
LONG_TEXT_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class TextFormat:
    r"""How values are written as text: the rows that are loaded, and the canonical text.

    The canonical text of a row is its values joined by tab, null as ``\N``; in character values a
    backslash is written ``\\`` and a tab ``\t``, nothing else is escaped. What is loaded is
    the same with newline, carriage return and NUL escaped as well.

    Attributes:
        true: text of a true boolean.
        false: text of a false boolean.
        float_style: text of doubles; a float32 is written as the double it equals.
        trims_fraction: timestamps and times without trailing zeros of the fraction ("10:00:00.5"),
            else always six digits.
        utc_suffix: what follows a timestamp with zone, which is written in UTC.
        bytes_prefix: what stands before the hexadecimal digits of bytes, as loaded.
        bytes_upper: whether those digits are upper case.
        canonical_json: whether JSON is rewritten as the server does: keys sorted by length then
            bytes, ``", "`` and ``": "`` as separators, the last of equal keys kept.
        digest: what hashes the canonical text of a row; the one that the server computes fastest.
    """

    true: str = "true"
    false: str = "false"
    float_style: FloatStyle = FloatStyle.POSTGRES
    trims_fraction: bool = False
    utc_suffix: str = ""
    bytes_prefix: str = ""
    bytes_upper: bool = False
    canonical_json: bool = False
    digest: Digest = Digest.LOOKUP3
