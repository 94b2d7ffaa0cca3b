"""Which process has locked a SQLite file, as far as the kernel tells.

The file is not opened for it: closing any descriptor of a file gives up all of this process's locks
on it. Source: https://www.sqlite.org/howtocorrupt.html, section 2.2.
"""

from __future__ import annotations

import contextlib
import os
import pathlib

_LOCKS = pathlib.Path("/proc/locks")


def of(path: pathlib.Path) -> str | None:
    """Return who keeps others from writing the file; None where that is not known."""
    places = set()
    # With a write-ahead log, the locks are on its index.
    for file in (path, path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(OSError):
            found = file.stat()
            device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
            places.add(f"{device}:{found.st_ino}")
    holders: dict[int, bool] = {}
    with contextlib.suppress(OSError):
        for line in _LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
            # "1: POSIX  ADVISORY  WRITE 4711 08:01:131 1073741825 1073741825"
            words = line.split()
            if len(words) == 8 and words[5] in places and words[4].isdigit():
                process = int(words[4])
                is_writing = holders.get(process, False) or words[3] == "WRITE"
                holders[process] = is_writing
    holders.pop(os.getpid(), None)
    if not holders:
        return None
    # A writer before those who read: it is what most wait for.
    process = max(holders, key=lambda number: (holders[number], -number))
    return f"process {process}{_name(process)}"


def _name(process: int) -> str:
    with contextlib.suppress(OSError):
        name = pathlib.Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace")
        return f" ({name.strip()})"
    return ""
