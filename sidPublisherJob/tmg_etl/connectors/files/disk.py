"""A lake in a local folder."""

from __future__ import annotations

import difflib
import errno
import glob
import os
import pathlib
import stat
from collections.abc import Sequence
from typing import BinaryIO

from tmg_etl import errors
from tmg_etl.connectors.files import lake, ranges, storage


class Disk(lake.Lake):
    """A local folder.

    Args:
        root: absolute path.
    """

    is_remote = False

    def absence(self) -> str | None:
        """Return that the folder does not exist, if so."""
        if storage.is_folder(pathlib.Path(self.root)):
            return None
        return f"the folder {self.root} does not exist"

    def candidates(self, table: str, endings: Sequence[str]) -> list[str]:
        """Return the folder and the files of that name."""
        path = pathlib.Path(self.root, table)
        found = [f"{path}/"] if storage.is_folder(path) else []
        files = (pathlib.Path(self.root, f"{table}{ending}") for ending in endings)
        return found + [str(file) for file in files if stat.S_ISREG(storage.mode_of(file))]

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        return storage.names_in(pathlib.Path(self.root, folder))

    def files(self, path: str) -> list[lake.Found]:
        """Return the files of a candidate."""
        return _found(_expand(pathlib.Path(path)))

    def match(self, path: str, connection: str) -> tuple[str, list[lake.Found]]:
        """Return the files that a path or glob means; a relative one starts at the root."""
        if "://" in path:
            raise errors.ConfigError(
                f"{connection}: path {path!r} is a URL, and {self.root} a local folder",
                hint="give the bucket as the `url` of a connection of its own",
            )
        full = pathlib.Path(os.path.normpath(self.root / pathlib.Path(path).expanduser()))
        # A name that exists is that name, whatever brackets or stars are in it.
        is_there = storage.mode_of(full) != 0
        if is_there or not glob.has_magic(path):
            if not is_there:
                raise _no_path(full, path, connection)
            return str(full), _found(_expand(full))
        parts = full.parts
        fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        start = pathlib.Path(*parts[:fixed])
        _require_open(parts, fixed)
        matches = glob.glob(str(full), recursive=True)  # noqa: PTH207 - Path.glob: no ** with dots
        kept: set[pathlib.Path] = set()
        for match in matches:
            below = pathlib.Path(match).relative_to(start)
            if not any(lake.is_hidden(part) for part in below.parts):
                # `**` gives folders and their files; a folder that is named means its files.
                kept.update(_expand(pathlib.Path(match)))
        if not kept:
            raise errors.ConfigError(
                f"{connection}: no file matches {full}",
                hint="`*` stays within one folder, `**` goes below",
            )
        return str(start), _found(list(kept))

    def check_unchanged(self, path: str, name: str, stamp: lake.Stamp) -> None:
        """Look at the file again."""
        try:
            now = storage.stamp_of(path)
        except FileNotFoundError as error:
            raise _changed(name, "was removed") from error
        except OSError as error:
            raise storage.explained(error, name) from error
        if now != stamp:
            grown = now.size_bytes - stamp.size_bytes
            how = f"changed its size by {grown:+,} bytes" if grown else "was written again"
            raise _changed(name, how)

    def open(self, path: str, stamp: lake.Stamp) -> BinaryIO:
        """Open the file; whether it changes is asked by `check_unchanged`."""
        return pathlib.Path(path).open("rb")

    def random_access(self, path: str, stamp: lake.Stamp, tail: bytes = b"") -> str | ranges.File:
        """Return the path: `pyarrow` reads local files by itself."""
        return path


def _require_open(parts: Sequence[str], fixed: int) -> None:
    """Refuse a folder that may not be read on the way to what a glob means: `glob` leaves it out.

    Args:
        parts: of the pattern.
        fixed: how many of them come before the first that is a pattern.
    """
    for end in range(fixed, len(parts)):
        above = str(pathlib.Path(*parts[:end]))
        for name in glob.iglob(above, recursive=True):  # noqa: PTH207 - as what it stands for
            folder = pathlib.Path(name)
            if storage.is_folder(folder) and not os.access(
                folder, os.R_OK | os.X_OK, effective_ids=True
            ):
                raise storage.explained(PermissionError(errno.EACCES, ""), name)


def _expand(path: pathlib.Path) -> list[pathlib.Path]:
    return list(storage.walk(path)) if storage.is_folder(path) else [path]


def _found(paths: Sequence[pathlib.Path]) -> list[lake.Found]:
    found = []
    for path in paths:
        try:
            found.append(lake.Found(str(path), storage.stamp_of(path)))
        except OSError as error:
            raise storage.explained(error, str(path)) from error
    return found


def _no_path(full: pathlib.Path, path: str, connection: str) -> errors.ConfigError:
    known = [name for name in storage.names_in(full.parent) if not lake.is_hidden(name)]
    near = difflib.get_close_matches(full.name, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "correct `path`"
    return errors.ConfigError(f"{connection}: path {path!r}: {full} does not exist", hint=hint)


def _changed(name: str, how: str) -> errors.TemporaryError:
    return errors.TemporaryError(
        f"the lake changed under the run: {name} {how} while it was being read",
        hint="run again when nothing writes there",
    )
