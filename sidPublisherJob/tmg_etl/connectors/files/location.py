"""Which files a source means: a table, a path or a glob, with formats and Hive partitions.

`locate` looks once and returns a frozen list with the state of each file: that list is the snapshot
of the run.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import glob
import hashlib
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Sequence

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import sql
from tmg_etl.connectors.files import storage

#: Endings of file names by format, the longer first where one ends in the other.
ENDINGS = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz"),
}
_ALL_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclasses.dataclass(frozen=True)
class File:
    """One file as it was when the source was opened.

    Attributes:
        path: absolute.
        name: as messages write it: relative to the connection's folder where it lies inside.
        stamp: its state.
        partitions: values of ``key=value`` folders above it; None is Hive's null.
    """

    path: str
    name: str
    stamp: storage.Stamp
    partitions: tuple[tuple[str, str | None], ...] = ()

    def check_unchanged(self) -> None:
        """Make sure that the file is still the one that was found when the source was opened.

        Raises:
            errors.TemporaryError: it is not: what was read is no snapshot.
        """
        try:
            now = storage.stamp_of(self.path)
        except FileNotFoundError as error:
            raise self._changed("was removed") from error
        except OSError as error:
            raise storage.explained(error, self.name) from error
        if now != self.stamp:
            grown = now.size_bytes - self.stamp.size_bytes
            how = f"changed its size by {grown:+,} bytes" if grown else "was written again"
            raise self._changed(how)

    def _changed(self, how: str) -> errors.TemporaryError:
        return errors.TemporaryError(
            f"the lake changed under the run: {self.name} {how} while it was being read",
            hint="run again when nothing writes there",
        )


@dataclasses.dataclass(frozen=True)
class Located:
    """The files of one source, sorted by path, all of one format."""

    files: tuple[File, ...]
    format: str
    description: str

    @property
    def snapshot(self) -> str:
        """Return the state of the files in one line."""
        return snapshot_of(self.files)


def snapshot_of(files: Iterable[File]) -> str:
    """Return number, size, newest change and a digest of the list of files."""
    listed = sorted(files, key=lambda file: file.path)
    digest = hashlib.sha256()
    for file in listed:
        stamp = file.stamp
        line = f"{file.path}\t{stamp.size_bytes}\t{stamp.mtime_ns}\t{stamp.inode}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    size = sum(file.stamp.size_bytes for file in listed)
    newest_ns = max((file.stamp.mtime_ns for file in listed), default=0)
    newest = datetime.datetime.fromtimestamp(newest_ns / 1e9, datetime.UTC)
    count = f"{len(listed)} file{'s' if len(listed) != 1 else ''}"
    return f"{count}, {size} bytes, newest {newest:%Y-%m-%dT%H:%M:%SZ}, sha256 {digest.hexdigest()}"


def locate(
    root: pathlib.Path, spec: model.SourceSpec, execution_date: datetime.date, connection: str
) -> Located:
    """Find the files of `spec.table` or `spec.path`.

    Raises:
        errors.ConfigError: none, ambiguous, or of several formats.
        errors.AccessError: a folder may not be read.
    """
    if spec.table is not None:
        table = sql.fill_placeholder(spec.table, execution_date)
        start, paths = _of_table(root, table, connection)
        what = f"{connection}: table {table!r}"
    else:
        path = sql.fill_placeholder(spec.path or "", execution_date)
        start, paths = _of_path(root, path, connection)
        what = f"{connection}: path {path!r}"
    if not paths:
        raise errors.ConfigError(
            f"{what} holds no files: {start}", hint="hidden files and _SUCCESS do not count"
        )
    paths, kind = _of_one_format(paths, spec.format, what)
    files = tuple(_file(path, root, start) for path in sorted(paths))
    _check_partitions(files)
    return Located(files, kind, f"{what} ({len(files)} {kind} file{'s' * (len(files) != 1)})")


def is_table(root: pathlib.Path, table: str) -> bool:
    """Return whether `table` names a folder or file of the connection."""
    return bool(_is_inside(table) and _candidates(root, table))


def format_of(name: str) -> str | None:
    """Return the format that a file's name ends in, or None."""
    lower = name.lower()
    return next((kind for kind, ends in ENDINGS.items() if lower.endswith(ends)), None)


def candidates_of(table: str) -> list[str]:
    """Return what a table of that name may be called under the connection's folder."""
    return [f"{table}/", *(f"{table}{ending}" for ending in _ALL_ENDINGS)]


def _candidates(root: pathlib.Path, table: str) -> list[pathlib.Path]:
    found = [root / table] if (root / table).is_dir() else []
    return found + [
        root / f"{table}{ending}"
        for ending in _ALL_ENDINGS
        if (root / f"{table}{ending}").is_file()
    ]


def _is_inside(table: str) -> bool:
    parts = pathlib.PurePosixPath(table).parts
    return bool(parts) and ".." not in parts and not table.startswith("/") and "\0" not in table


def check_table(table: str, connection: str) -> None:
    """Refuse a table that is no name below the connection's folder.

    Raises:
        errors.ConfigError: empty, absolute, or leading out of the folder.
    """
    if not _is_inside(table):
        raise errors.ConfigError(
            f"{connection}: {table!r} is no name of a table: it leads out of the folder",
            hint="name a folder or file below `url`; `path:` reads from anywhere",
        )


def _of_table(
    root: pathlib.Path, table: str, connection: str
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    check_table(table, connection)
    found = _candidates(root, table)
    if len(found) > 1:
        names = ", ".join(path.name + "/" * path.is_dir() for path in found)
        raise errors.ConfigError(
            f"{connection}: table {table!r} is ambiguous: {root} holds {names}",
            hint="name one of them with `path:`",
        )
    if not found:
        raise _nothing(root, table, connection)
    return found[0], _expand(found[0])


def _nothing(root: pathlib.Path, table: str, connection: str) -> errors.ConfigError:
    looked = ", ".join(candidates_of(table)[:6])
    if not root.is_dir():
        return errors.ConfigError(
            f"{connection}: no table {table!r}: the folder {root} does not exist",
            hint="correct the connection's `url`; a relative one starts at the config file",
        )
    folder = (root / table).parent
    known = {stem(name) for name in storage.names_in(folder) if not storage.is_hidden(name)}
    near = difflib.get_close_matches(pathlib.Path(table).name, sorted(known), n=3)
    listed = ", ".join(near or sorted(known)[:8]) or "nothing"
    hint = f"did you mean {listed}?" if near else f"{folder} holds {listed}"
    return errors.ConfigError(
        f"{connection}: no table {table!r}: looked in {root} for {looked} and other JSON lines",
        hint=hint,
    )


def stem(name: str) -> str:
    """Return the table that a file or folder of that name is."""
    ending = max((e for e in _ALL_ENDINGS if name.lower().endswith(e)), key=len, default="")
    return name[: len(name) - len(ending)]


def _of_path(
    root: pathlib.Path, path: str, connection: str
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    full = pathlib.Path(os.path.normpath(root / pathlib.Path(path).expanduser()))
    # A name that exists is that name, whatever brackets or stars are in it.
    if full.exists() or not glob.has_magic(path):
        if not full.exists():
            raise _no_path(full, path, connection)
        return full, _expand(full)
    parts = full.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    start = pathlib.Path(*parts[:fixed])
    matches = glob.glob(str(full), recursive=True)  # noqa: PTH207 - Path.glob takes no ** with dots
    kept: set[pathlib.Path] = set()
    for match in matches:
        below = pathlib.Path(match).relative_to(start)
        if not any(storage.is_hidden(part) for part in below.parts):
            # `**` gives folders and their files; a folder that is named itself means its files.
            kept.update(_expand(pathlib.Path(match)))
    if not kept:
        raise errors.ConfigError(
            f"{connection}: no file matches {full}",
            hint="`*` stays within one folder, `**` goes below",
        )
    return start, list(kept)


def _no_path(full: pathlib.Path, path: str, connection: str) -> errors.ConfigError:
    known = [name for name in storage.names_in(full.parent) if not storage.is_hidden(name)]
    near = difflib.get_close_matches(full.name, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "correct `path`"
    return errors.ConfigError(f"{connection}: path {path!r}: {full} does not exist", hint=hint)


def _expand(path: pathlib.Path) -> list[pathlib.Path]:
    return list(storage.walk(path)) if path.is_dir() else [path]


def _of_one_format(
    paths: Sequence[pathlib.Path], declared: str | None, what: str
) -> tuple[list[pathlib.Path], str]:
    """Return the files to read and their format."""
    by_format: dict[str | None, list[pathlib.Path]] = {}
    for path in paths:
        by_format.setdefault(format_of(path.name), []).append(path)
    if declared is not None:
        # `format:` picks its files out of a mixture, or says what files without an ending are.
        return by_format.get(declared) or by_format.get(None) or list(paths), declared
    if len(by_format) > 1:
        examples = ", ".join(str(min(group)) for group in by_format.values())
        raise errors.ConfigError(
            f"{what} holds files of different formats: {examples}",
            hint="write `format: parquet`, `csv` or `jsonl` in the source to read only those",
        )
    ((kind, group),) = by_format.items()
    if kind is None:
        raise errors.ConfigError(
            f"{what}: the format of {min(group)} is not known by its name",
            hint="write `format: parquet`, `csv` or `jsonl` in the source",
        )
    return group, kind


def _file(path: pathlib.Path, root: pathlib.Path, start: pathlib.Path) -> File:
    inside = path.is_relative_to(root)
    below = path.relative_to(root if inside else start if path != start else start.parent)
    try:
        stamp = storage.stamp_of(path)
    except OSError as error:
        raise storage.explained(error, str(path)) from error
    name = str(below) if inside else str(path)
    return File(str(path), name, stamp, tuple(_partitions(below.parts[:-1])))


def _partitions(folders: Sequence[str]) -> list[tuple[str, str | None]]:
    pairs = [folder.partition("=") for folder in folders if "=" in folder]
    return [
        (key, None if value == _NULL_PARTITION else urllib.parse.unquote(value))
        for key, _, value in pairs
    ]


def _check_partitions(files: Sequence[File]) -> None:
    first = files[0]
    keys = [key for key, _ in first.partitions]
    if len(set(keys)) != len(keys):
        raise errors.ConfigError(f"{first.name}: one partition key occurs twice in the path")
    for file in files:
        if [key for key, _ in file.partitions] != keys:
            raise errors.ConfigError(
                f"the partitions of {first.name} and {file.name} differ: {keys or 'none'}"
                f" and {[key for key, _ in file.partitions] or 'none'}",
                hint="files of one table lie under the same key=value folders",
            )
