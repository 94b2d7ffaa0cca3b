"""A lake in a bucket of Cloud Storage or S3.

Names are taken as they are: ``/`` separates folders, nothing is decoded or tidied, `..` means
nothing. What a listing found is read in exactly that generation, or not at all, so that a file
needs no second look after it was read.
"""

from __future__ import annotations

import concurrent.futures
import difflib
import fnmatch
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from tmg_etl import errors
from tmg_etl.connectors.files import lake, ranges
from tmg_etl.storage import base as objects

_THREADS = 8
# Objects that are looked at for a name that is close to a wrong one.
_NEAR_OBJECTS = 2000
_MAGIC = re.compile(r"[*?[]")


class Bucket(lake.Lake):
    """A bucket, or what begins with a prefix in it.

    Args:
        url: ``gs://bucket/prefix`` or ``s3://bucket/prefix``; a slash at its end changes nothing.
        store: of that scheme; closed with the lake.
    """

    is_remote = True

    def __init__(self, url: str, store: objects.Store) -> None:
        super().__init__(url.removesuffix("/"))
        objects.split(url)
        self.store = store
        self._facts: dict[str, objects.Facts] = {}
        self._mutex = threading.Lock()
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    def absence(self) -> str | None:
        """Return that there are no objects, if so."""
        return None if self._has_any(f"{self.root}/") else f"{self.root}/ holds no objects"

    def candidates(self, table: str, endings: Sequence[str]) -> list[str]:
        """Return the folder and the objects of that name, by two listings."""
        path = f"{self.root}/{table.removesuffix('/')}"
        found = [f"{path}/"] if self._has_any(f"{path}/") else []
        files = {f"{path}{ending}" for ending in endings}
        listed = [facts for facts in self.store.list(f"{path}.") if facts.url in files]
        return found + [self.note(facts).path for facts in listed]

    def names(self, folder: str) -> list[str]:
        """Return names in a folder, as far as the first objects in it tell."""
        prefix = f"{self.root}/{folder}/" if folder else f"{self.root}/"
        listed = itertools.islice(self.store.list(prefix), _NEAR_OBJECTS)
        names = (facts.url[len(prefix) :].partition("/")[0] for facts in listed)
        return list(dict.fromkeys(names))

    def files(self, path: str) -> list[lake.Found]:
        """Return the files of a candidate."""
        if path.endswith("/"):
            return list(self._below(path))
        facts = self._facts.get(path) or self.store.facts(path)
        return [self.note(facts)] if facts else []

    def match(self, path: str, connection: str) -> tuple[str, list[lake.Found]]:
        """Return the files that a path, glob or whole URL means."""
        full = self._full(path, connection)
        if not full.endswith("/"):
            # A name that exists is that name, whatever brackets or stars are in it.
            facts = self.store.facts(full)
            if facts is not None:
                return full, [self.note(facts)]
        folder = full.removesuffix("/")
        if self._has_any(f"{folder}/"):
            return folder, self.files(f"{folder}/")
        if not _MAGIC.search(full):
            raise self._no_path(full, path, connection)
        head = full[: _MAGIC.search(full).start()]  # type: ignore[union-attr]
        start = head.rpartition("/")[0]
        pattern = folder[len(start) + 1 :].split("/")
        kept = [
            self.note(facts)
            for facts, below in self._listed(head, f"{start}/")
            if _matches(below, pattern)
        ]
        if not kept:
            raise errors.ConfigError(
                f"{connection}: no file matches {full}",
                hint="`*` stays within one folder, `**` goes below",
            )
        return start, kept

    def _full(self, path: str, connection: str) -> str:
        scheme = objects.scheme_of(self.root)
        if "://" in path:
            if objects.scheme_of(path) != scheme:
                raise errors.ConfigError(
                    f"{connection}: path {path!r} is not in {scheme}://",
                    hint="give it as the `url` of a connection of its own",
                )
            name = objects.split_object(path)[0]
            if _MAGIC.search(name):
                raise errors.ConfigError(
                    f"{connection}: path {path!r} has a pattern for the bucket",
                    hint="name the bucket; patterns are for what is in it",
                )
            return path
        if ".." in path.split("/"):
            raise errors.ConfigError(
                f"{connection}: path {path!r}: a bucket knows no `..`",
                hint=f"write the whole URL, {scheme}://bucket/path",
            )
        return f"{self.root}/{path}"

    def _no_path(self, full: str, path: str, connection: str) -> errors.ConfigError:
        folder, _, name = full.removesuffix("/").rpartition("/")
        near: list[str] = []
        if folder.startswith(self.root):
            known = self.names(folder[len(self.root) + 1 :])
            near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "correct `path`"
        return errors.ConfigError(f"{connection}: path {path!r}: {full} does not exist", hint=hint)

    def check_unchanged(self, path: str, name: str, stamp: lake.Stamp) -> None:
        """Do nothing: what was read was read from that generation."""

    def open(self, path: str, stamp: lake.Stamp) -> BinaryIO:
        """Return a stream of the generation, its checksum verified at its end."""
        return self.store.open(self._facts[path])

    def random_access(self, path: str, stamp: lake.Stamp, tail: bytes = b"") -> str | ranges.File:
        """Return the generation as ranges."""
        facts = self._facts[path]

        def fetch(start: int, end: int) -> bytes:
            return self._fetch(facts, start, end)

        return ranges.File(ranges.Parts(fetch, self._pool()), facts.size_bytes, tail)

    def mapped(
        self, function: Callable[[lake.Item], lake.Made], items: Iterable[lake.Item]
    ) -> Iterator[lake.Made]:
        """Yield what `function` makes of each item, several at a time, in order."""
        return self._pool().map(function, items)

    def close(self) -> None:
        """End the threads and close the store."""
        with self._mutex:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        self.store.close()

    def _pool(self) -> concurrent.futures.Executor:
        with self._mutex:
            if self._threads is None:
                self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, "tmg-etl-range")
            return self._threads

    def _fetch(self, facts: objects.Facts, start: int, end: int) -> bytes:
        with self.store.open(facts) as stream:
            # Past the buffer, which would fetch more than is asked for.
            raw = getattr(stream, "raw", stream)
            raw.seek(start)
            data: bytes = raw.read(end - start)
        self.meter.add(len(data))
        if len(data) != end - start:
            raise errors.TemporaryError(
                f"{facts.url}: found {len(data)} bytes at {start}, expected {end - start}",
                hint="run again",
            )
        return data

    def _has_any(self, prefix: str) -> bool:
        return next(iter(self.store.list(prefix)), None) is not None

    def _below(self, folder: str) -> Iterator[lake.Found]:
        for facts, _ in self._listed(folder, folder):
            yield self.note(facts)

    def _listed(self, prefix: str, folder: str) -> Iterator[tuple[objects.Facts, list[str]]]:
        """Yield objects that are no hidden files, with their names below a folder."""
        for facts in self.store.list(prefix):
            below = facts.url[len(folder) :].split("/")
            # Consoles make an empty object of that name for an empty folder.
            if below[-1] and not any(map(lake.is_hidden, below)):
                yield facts, below

    def note(self, facts: objects.Facts) -> lake.Found:
        """Remember which generation of an object is to be read."""
        self._facts[facts.url] = facts
        changed_us = round(facts.updated.timestamp() * 1_000_000)
        stamp = lake.Stamp(facts.size_bytes, changed_us * 1000, facts.generation)
        return lake.Found(facts.url, stamp)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a pattern fits a file or a folder above it."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    if not parts or not fnmatch.fnmatchcase(parts[0], pattern[0]):
        return False
    return _matches(parts[1:], pattern[1:])
