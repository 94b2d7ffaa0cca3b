"""CRC32C, the checksum that Cloud Storage keeps of every object."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tmg_etl import errors

PREFIX = "crc32c="


class Running:
    """A checksum that grows with the bytes."""

    def __init__(self) -> None:
        import google_crc32c

        self._extend: Callable[[int, bytes], int] = google_crc32c.extend
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._value = self._extend(self._value, bytes(data))

    @property
    def text(self) -> str:
        """As Cloud Storage writes it: big-endian, in base64."""
        return base64.b64encode(self._value.to_bytes(4, "big")).decode()


class Expected(Running):
    """A checksum that is known beforehand.

    Args:
        url: the object, for the message.
        expected: as in `base.Facts.checksum`.
    """

    def __init__(self, url: str, expected: str) -> None:
        super().__init__()
        self._url, self._expected = url, expected

    def verify(self) -> None:
        """Raise errors.TemporaryError when the bytes are not those that the store has."""
        if f"{PREFIX}{self.text}" != self._expected:
            raise errors.TemporaryError(
                f"{self._url}: the bytes read do not have the checksum that the store keeps",
                hint="run again",
            )
