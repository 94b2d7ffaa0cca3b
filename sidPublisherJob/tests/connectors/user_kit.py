"""Being a user whom permissions bind, for tests that run as root."""

import contextlib
import os
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Root may write anywhere, so the block runs as nobody where tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
