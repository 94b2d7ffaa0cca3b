"""The only door to the file system: listing, facts about files, opening, durable renames."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import shutil
import stat
import sys
import urllib.parse
from collections.abc import Iterator

from tmg_etl import errors
from tmg_etl.connectors.files import lake

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
# What a file system or kernel without the exchange answers.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def root_of(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Return the absolute folder that a connection's `url` names.

    Args:
        url: a path or ``file://`` URL.
        folder: where a relative path starts.
    """
    mark = url.lower().startswith("file://")
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path) if mark else url
    # normpath and not resolve: a link in the path stays the user's name for the place.
    return pathlib.Path(os.path.normpath(folder.absolute() / pathlib.Path(path).expanduser()))


def stamp_of(path: str | pathlib.Path) -> lake.Stamp:
    """Return the state of a file.

    Raises:
        OSError: it is not there or not accessible.
        errors.ConfigError: it is a folder, a pipe or a device.
    """
    facts = pathlib.Path(path).stat()
    if not stat.S_ISREG(facts.st_mode):
        # To open a pipe that nobody writes to waits for ever.
        raise errors.ConfigError(f"{path} is no regular file", hint="name files, or a folder")
    return lake.Stamp(facts.st_size, facts.st_mtime_ns, str(facts.st_ino))


def mode_of(path: pathlib.Path) -> int:
    """Return the kind and permissions of what is there, as `os.stat` has them; 0: nothing is.

    `pathlib` calls a place that may not be looked at an error, or absent, as its version likes.

    Raises:
        errors.AccessError: a folder above it may not be searched.
    """
    try:
        return path.stat().st_mode
    except ValueError:  # no file can have that name
        return 0
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return 0
        raise explained(error, errors.shorten(str(path))) from error


def is_folder(path: pathlib.Path) -> bool:
    """Return whether a folder is there; errors as of `mode_of`."""
    return stat.S_ISDIR(mode_of(path))


def walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield every file below a folder that is not hidden; links are followed, loops once.

    Raises:
        errors.AccessError: a folder in it may not be read.
    """

    def fail(error: OSError) -> None:
        raise explained(error, str(error.filename or folder))

    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        try:
            facts = pathlib.Path(place).stat()
        except OSError as error:
            raise explained(error, place) from error
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(name for name in folders if not lake.is_hidden(name))
        yield from (pathlib.Path(place, name) for name in files if not lake.is_hidden(name))


def names_in(folder: pathlib.Path) -> list[str]:
    """Return the names in a folder, hidden ones too; none when it is not there.

    Raises:
        errors.AccessError: it may not be read.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explained(error, str(folder)) from error


def explained(error: OSError, subject: str) -> errors.TmgEtlError:
    """Return the error that stands for a failed operation on `subject`."""
    # pyarrow's text repeats the path.
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return errors.AccessError(
            f"{subject}: {reason}", hint="grant this user access to the files"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StorageFullError(f"{subject}: {reason}", hint="free space and run again")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR):
        return errors.ConfigError(f"{subject}: {reason}", hint="correct the path")
    return errors.TemporaryError(f"{subject}: {reason}")


def make_folder(folder: pathlib.Path) -> None:
    """Make a folder and those above it that are missing, and have their names on the disk."""
    missing = [place for place in (folder, *folder.parents) if not mode_of(place)]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


def sync(path: pathlib.Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: pathlib.Path) -> None:
    """Remove a folder and what it holds; a link itself and not what it leads to."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def exchange(left: pathlib.Path, right: pathlib.Path) -> bool:
    """Exchange two folders in one atomic step; return False where the system cannot.

    Source: https://man7.org/linux/man-pages/man2/rename.2.html (RENAME_EXCHANGE)
    """
    if sys.platform != "linux":
        return False
    # glibc has the wrapper since 2.28, musl since 1.2.4.
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    paths = (os.fsencode(left), _AT_FDCWD, os.fsencode(right))
    if function(_AT_FDCWD, *paths, _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(right))
