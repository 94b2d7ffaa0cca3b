"""What embedded databases tell before a run: whether their files can be written, and disk space."""

from __future__ import annotations

import os
import pathlib
import shutil

from tmg_etl.connectors import base


def is_there(path: pathlib.Path) -> bool:
    """Return whether something is there.

    `pathlib` calls what may not be looked at absent, in some versions.

    Raises:
        PermissionError: a folder above it may not be searched.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def readiness(
    path: pathlib.Path, table_bytes: int | None, held_rows: int | None, intent: base.Intent
) -> base.Readiness:
    """Return what would keep a run from writing a database file.

    Args:
        path: the file, which may not exist yet.
        table_bytes: what the target takes in it; None when unknown.
        held_rows: rows of the target; None when unknown.
        intent: what the run is going to do.
    """
    missing = []
    if is_there(path) and not os.access(path, os.W_OK):
        missing.append(f"write permission on {path}")
    if not os.access(path.parent, os.W_OK):
        # Journals and locks are files beside it.
        missing.append(f"write permission on the folder {path.parent}")
    needed = table_bytes if intent.renames else None
    if table_bytes is not None and intent.rows is not None and held_rows:
        needed = table_bytes * intent.rows // held_rows
    free = shutil.disk_usage(path.parent).free if is_there(path.parent) else None
    return base.Readiness(missing=tuple(missing), needed_bytes=needed, free_bytes=free)
