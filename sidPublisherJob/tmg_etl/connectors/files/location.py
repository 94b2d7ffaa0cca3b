"""Which files a source means: a table, a path or a glob, with formats and Hive partitions.

`locate` looks once and returns a frozen list with the state of each file: that list is the snapshot
of the run.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import gzip
import hashlib
import pathlib
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import sql
from tmg_etl.connectors.files import lake as lakes

#: Endings of file names by format, the longer first where one ends in the other.
ENDINGS = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz"),
}
#: All of them.
ALL_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclasses.dataclass(frozen=True)
class File:
    """One file as it was when the source was opened.

    Attributes:
        path: absolute, or a URL.
        name: as messages write it: relative to the connection's folder where it lies inside.
        stamp: its state.
        lake: where it is.
        partitions: values of ``key=value`` folders above it; None is Hive's null.
    """

    path: str
    name: str
    stamp: lakes.Stamp
    lake: lakes.Lake = dataclasses.field(repr=False, compare=False)
    partitions: tuple[tuple[str, str | None], ...] = ()

    def check_unchanged(self) -> None:
        """Make sure that the file is still the one that was found when the source was opened.

        Raises:
            errors.TemporaryError: it is not: what was read is no snapshot.
        """
        self.lake.check_unchanged(self.path, self.name, self.stamp)

    def open(self) -> BinaryIO:
        """Return a buffered stream of its bytes, decompressed when its name ends in ``.gz``."""
        stream = self.lake.open(self.path, self.stamp)
        if self.path.lower().endswith(".gz"):
            return cast(BinaryIO, _Unpacked(stream))
        return stream


class _Unpacked(gzip.GzipFile):
    """A compressed stream that closes what it reads from."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        super().__init__(fileobj=packed, mode="rb")

    def close(self) -> None:
        super().close()
        self._packed.close()


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
        line = f"{file.path}\t{stamp.size_bytes}\t{stamp.changed_ns}\t{stamp.version}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    size = sum(file.stamp.size_bytes for file in listed)
    newest_ns = max((file.stamp.changed_ns for file in listed), default=0)
    newest = datetime.datetime.fromtimestamp(newest_ns / 1e9, datetime.UTC)
    count = f"{len(listed)} file{'s' if len(listed) != 1 else ''}"
    text = f"{count}, {size} bytes, newest {newest:%Y-%m-%dT%H:%M:%SZ}"
    if len(listed) == 1 and listed[0].lake.is_remote:
        text += f", generation {listed[0].stamp.version}"
    return f"{text}, sha256 {digest.hexdigest()}"


def locate(
    lake: lakes.Lake, spec: model.SourceSpec, execution_date: datetime.date, connection: str
) -> Located:
    """Find the files of `spec.table` or `spec.path`.

    Raises:
        errors.ConfigError: none, ambiguous, or of several formats.
        errors.AccessError: a folder may not be read.
    """
    if spec.table is not None:
        table = sql.fill_placeholder(spec.table, execution_date)
        start, found = _of_table(lake, table, connection)
        what = f"{connection}: table {table!r}"
    else:
        path = sql.fill_placeholder(spec.path or "", execution_date)
        start, found = lake.match(path, connection)
        what = f"{connection}: path {path!r}"
    if not found:
        raise errors.ConfigError(
            f"{what} holds no files: {start}", hint="hidden files and _SUCCESS do not count"
        )
    found, kind = _of_one_format(found, spec.format, what)
    found = sorted(found, key=lambda one: one.path.split("/"))
    files = tuple(_file(one, lake, start) for one in found)
    _check_partitions(files)
    return Located(files, kind, f"{what} ({len(files)} {kind} file{'s' * (len(files) != 1)})")


def is_table(lake: lakes.Lake, table: str) -> bool:
    """Return whether `table` names a folder or file of the connection."""
    return bool(_is_inside(table) and lake.candidates(table, ALL_ENDINGS))


def format_of(name: str) -> str | None:
    """Return the format that a file's name ends in, or None."""
    lower = name.lower()
    return next((kind for kind, ends in ENDINGS.items() if lower.endswith(ends)), None)


def candidates_of(table: str) -> list[str]:
    """Return what a table of that name may be called under the connection's folder."""
    return [f"{table}/", *(f"{table}{ending}" for ending in ALL_ENDINGS)]


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


def _of_table(lake: lakes.Lake, table: str, connection: str) -> tuple[str, Sequence[lakes.Found]]:
    check_table(table, connection)
    found = lake.candidates(table, ALL_ENDINGS)
    if len(found) > 1:
        names = ", ".join(_last_name(path) for path in found)
        raise errors.ConfigError(
            f"{connection}: table {table!r} is ambiguous: {lake.root} holds {names}",
            hint="name one of them with `path:`",
        )
    if not found:
        raise _nothing(lake, table, connection)
    return found[0].removesuffix("/"), lake.files(found[0])


def _last_name(path: str) -> str:
    folder = path.endswith("/")
    return path.removesuffix("/").rpartition("/")[2] + "/" * folder


def _nothing(lake: lakes.Lake, table: str, connection: str) -> errors.ConfigError:
    looked = ", ".join(candidates_of(table)[:6])
    absence = lake.absence()
    if absence is not None:
        return errors.ConfigError(
            f"{connection}: no table {table!r}: {absence}",
            hint="correct the connection's `url`; a relative one starts at the config file",
        )
    folder, _, name = table.rpartition("/")
    known = {stem(other) for other in lake.names(folder) if not lakes.is_hidden(other)}
    near = difflib.get_close_matches(name, sorted(known), n=3)
    listed = ", ".join(near or sorted(known)[:8]) or "nothing"
    where = f"{lake.root}/{folder}" if folder else lake.root
    hint = f"did you mean {listed}?" if near else f"{where} holds {listed}"
    return errors.ConfigError(
        f"{connection}: no table {table!r}: looked in {lake.root} for {looked} and other"
        " JSON lines",
        hint=hint,
    )


def stem(name: str) -> str:
    """Return the table that a file or folder of that name is."""
    ending = max((e for e in ALL_ENDINGS if name.lower().endswith(e)), key=len, default="")
    return name[: len(name) - len(ending)]


def _of_one_format(
    found: Sequence[lakes.Found], declared: str | None, what: str
) -> tuple[Sequence[lakes.Found], str]:
    """Return the files to read and their format."""
    by_format: dict[str | None, list[lakes.Found]] = {}
    for one in found:
        by_format.setdefault(format_of(one.path), []).append(one)
    if declared is not None:
        # `format:` picks its files out of a mixture, or says what files without an ending are.
        return by_format.get(declared) or by_format.get(None) or found, declared
    if len(by_format) > 1:
        examples = ", ".join(min(one.path for one in group) for group in by_format.values())
        raise errors.ConfigError(
            f"{what} holds files of different formats: {examples}",
            hint="write `format: parquet`, `csv` or `jsonl` in the source to read only those",
        )
    ((kind, group),) = by_format.items()
    if kind is None:
        raise errors.ConfigError(
            f"{what}: the format of {min(one.path for one in group)} is not known by its name",
            hint="write `format: parquet`, `csv` or `jsonl` in the source",
        )
    return group, kind


def _file(found: lakes.Found, lake: lakes.Lake, start: str) -> File:
    path = found.path
    inside = lake.below(path, lake.root)
    # A file that is named itself has no folders that mean anything.
    below = inside or lake.below(path, start) or (_last_name(path),)
    name = "/".join(below) if inside else path
    return File(path, name, found.stamp, lake, tuple(_partitions(below[:-1])))


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
