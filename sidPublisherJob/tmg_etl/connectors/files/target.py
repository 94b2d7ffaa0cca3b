"""The target over files: a folder of Parquet, written aside and put in place in one step.

A key is proved by a search for doubled keys at the end of the load. There is no merge and no diff:
a folder is replaced as a whole (`whole`).
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, filelock
from tmg_etl.connectors.files import disk, engine, folder, location, parquet, storage, whole, window

_SCAN_ROWS = 65536


class FilesTarget(whole.WholeTarget):
    """A folder of Parquet files below the connection's folder.

    Args:
        root: the connection's folder.
        table: name of the table's folder in it; may hold slashes.
        connection: name, for messages.
        stop: ends long searches.
    """

    def __init__(
        self, root: pathlib.Path, table: str, connection: str, stop: run_module.StopFlag
    ) -> None:
        super().__init__(table, connection, str(root / table))
        #: Sizes of what `create` writes; see `folder.Writer`.
        self.part_bytes, self.row_group_rows = folder.PART_BYTES, whole.ROW_GROUP_ROWS
        self._stop = stop
        self._place = root / table
        self._disk = disk.Disk(str(root))
        # By its last name: another connection may lead to the same folder from another root.
        lock = filelock.lock_path(self._place, self._place.name)
        self._lock = filelock.FileLock(lock, self._subject)
        self._writers: dict[str, folder.Writer] = {}

    @property
    def ingest_method(self) -> str:
        """Return how rows are written."""
        return "Parquet files"

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold a lock file beside the folder; see `filelock`."""
        with self._explaining():
            storage.make_folder(self._place.parent)
        with self._lock.hold(run_id, wait_s, self._stop):
            yield

    def check_lock(self) -> None:
        """Ask the file system whether the lock file is still this run's."""
        self._lock.check()

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Remove the hidden folders that runs left beside this one."""
        parent = self._place.parent
        kinds_ = ("shadow", "stage", "latest", "old")
        prefixes = {kind: f".{names.prefix(kind, self.table)}" for kind in kinds_}
        with self._explaining():
            folder.recover(self._place, list(folder.leftovers(parent, [prefixes["old"]])))
            found = list(folder.leftovers(parent, list(prefixes.values())))
            for leftover in found:
                storage.remove(leftover)
        return [leftover.name for leftover in found]

    # --- describing -----------------------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return the columns of the Parquet files in place, or None when there are none."""
        if self._described is None:
            manifest = folder.require_ours(self._place, self._subject)
            if manifest is None:
                return None
            key = tuple(str(name) for name in manifest.get("key", []))
            parts = folder.parts_of(self._place)
            if not parts:
                raise errors.DataError(
                    f"{self._subject}: {self._place} has lost its Parquet files",
                    hint="remove the folder and run again",
                )
            schema = self._schema_of(parts[0])
            self._described = whole.described([*schema, *self._added], key, self._rows(self._place))
        return self._described

    def _schema_of(self, part: pathlib.Path) -> pa.Schema:
        file = self._file(part)
        with parquet.explaining(file), parquet.opened(file) as opened:
            return pa.schema(self._fields(opened.schema_arrow))

    def _file(self, part: pathlib.Path) -> location.File:
        with self._explaining():
            return location.File(str(part), str(part), storage.stamp_of(part), self._disk)

    def _folder(self, name: str) -> pathlib.Path:
        return self._place if name == self.table else self._place.parent / f".{name}"

    # --- writing --------------------------------------------------------------------------------

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Make a hidden folder beside the table's."""
        found = self._schema_to_write(schema, key, indexes)
        run_id = name.rpartition("_")[2]
        with self._explaining():
            storage.make_folder(self._place.parent)
            self._writers[name] = folder.Writer(
                self._folder(name),
                found,
                run_id,
                part_bytes=self.part_bytes,
                row_group_rows=self.row_group_rows,
            )

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch to a hidden folder."""
        writer = self._writers[name]
        rows = self._fitted(batch, writer.schema, key)
        with self._explaining():
            writer.write(rows)
        return int(rows.num_rows)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """Close and flush the files, look for doubled keys, write the manifest."""
        writer = self._writers[name]
        with self._explaining():
            writer.finish()
            if key:
                self._refuse_doubled(name, writer, key)
            folder.write_manifest(writer, self.table, name.rpartition("_")[2], key)

    def _refuse_doubled(self, name: str, writer: folder.Writer, key: Sequence[str]) -> None:
        keys = pa.schema([writer.schema.field(column) for column in key])
        found = engine.doubled_key(
            lambda: self.scan(name, keys.names, base.Selection()),
            keys,
            writer.folder,
            self._subject,
            self._stop,
        )
        if found is not None:
            raise errors.DuplicateKeyError(self._subject, found)

    # --- reading back ---------------------------------------------------------------------------

    def fingerprint(
        self, name: str, columns: Sequence[str], selection: base.Selection, *, hashes: bool
    ) -> base.Fingerprint:
        """Count rows by the footers; in a window, by reading it."""
        if hashes:
            raise ValueError("a files target is read back: its proof is Proof.READ_BACK")
        if selection == base.Selection():
            return base.Fingerprint(self._rows(self._folder(name)))
        return base.Fingerprint(sum(batch.num_rows for batch in self.scan(name, [], selection)))

    def _rows(self, where: pathlib.Path) -> int:
        rows = 0
        for part in folder.parts_of(where):
            file = self._file(part)
            with parquet.explaining(file):
                rows += pq.read_metadata(file.path).num_rows
        return rows

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files, as they were written to the disk."""
        if selection.keys_of is not None:
            self._refuse()
        within = selection.window
        for part in folder.parts_of(self._folder(name)):
            file = self._file(part)
            schema = self._schema_of(part)
            wanted = list(columns)
            if within is not None and within.column not in wanted:
                wanted.append(within.column)
            fields = [schema.field(column) for column in wanted]
            reader = parquet.ParquetFormat([file], parquet.PLAIN)
            for batch in reader.read(file, fields, _SCAN_ROWS, within):
                rows = batch if within is None else window.keep(batch, within)
                yield rows.select(list(columns))

    # --- publishing -----------------------------------------------------------------------------

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Exchange the hidden folder with the table's; return the rows replaced."""
        manifest = folder.require_ours(self._place, self._subject)
        replaced = self._rows(self._place) if manifest is not None else 0
        old = self._folder(names.table("old", self.table))
        with self._explaining():
            folder.put_in_place(self._folder(shadow), self._place, old)
        self._writers.pop(shadow, None)
        self._described, self._added = None, []
        return replaced

    def drop(self, name: str) -> None:
        """Remove a hidden folder if it is there."""
        if name == self.table:
            raise ValueError("the table itself is not dropped")
        writer = self._writers.pop(name, None)
        if writer is not None:
            writer.abandon()
        with self._explaining():
            storage.remove(self._folder(name))

    def close(self) -> None:
        """Close files that are still open."""
        while self._writers:
            self._writers.popitem()[1].abandon()

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage.explained(
                error, f"{self._subject}: {error.filename or self._place}"
            ) from error
