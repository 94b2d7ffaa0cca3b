"""The target over a bucket: one Parquet object, uploaded aside and copied over the table's.

A bucket cannot rename a folder, but it replaces one object in one step, so a table is one object:
``x.parquet``. Readers see the old table until they see the new one; who has the old object open and
asks for its generation, as this package does, gets an error and no mixture. See
``docs/decisions/0005-one-object-is-one-table.md``.

Beside it lie, hidden from readers of lakes by their underscore, ``_tmg_shadow_….parquet`` while a
run loads, and ``_tmg_lock_….json`` while a run holds the table. What a run that sleeps through the
end of its lock still sends is refused twice: its shadow is gone, and the table is not in the
generation that it saw.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, lease
from tmg_etl.connectors.files import bucket, engine, location, parquet, register, whole, window
from tmg_etl.storage import base as objects

_SCAN_ROWS = 65536
_KEY = b"tmg_etl"
_VERSION = 1


class Upload:
    """A Parquet object that is being uploaded; it appears when `finish` returns.

    Args:
        writer: of the store.
        schema: of the rows.
        row_group_rows: least rows of a row group.
    """

    def __init__(self, writer: objects.Writer, schema: pa.Schema, row_group_rows: int) -> None:
        self.schema, self.rows = schema, 0
        self._stack = contextlib.ExitStack()
        self._writer = self._stack.enter_context(writer)
        self._parquet = pq.ParquetWriter(self._writer, schema, compression="zstd")
        self._row_groups = whole.RowGroups(schema, row_group_rows, self._write)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._row_groups.add(batch)

    def _write(self, table: pa.Table) -> None:
        self._parquet.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows

    def finish(self, facts: dict[str, Any]) -> objects.Facts:
        """Write the footer, with `facts` in it, and return the object."""
        with self._stack:
            self._row_groups.flush()
            self._parquet.add_key_value_metadata({_KEY: json.dumps(facts).encode()})
            self._parquet.close()
        return self._writer.facts

    def abandon(self) -> None:
        """Give the upload up; harmless when called again."""
        self._row_groups.clear()
        self._stack.__exit__(errors.TemporaryError, errors.TemporaryError("abandoned"), None)
        with contextlib.suppress(Exception):
            # Writes its footer to what takes no more bytes.
            self._parquet.close()


class BucketTarget(whole.WholeTarget):
    """A Parquet object below the connection's URL.

    Args:
        lake: the connection's place; closed with the target.
        table: the object's name without its ending; may hold slashes.
        connection: name, for messages.
        stop: ends long searches and waiting.
    """

    capabilities = dataclasses.replace(whole.WholeTarget.capabilities, swap_moves=False)

    def __init__(
        self, lake: bucket.Bucket, table: str, connection: str, stop: run_module.StopFlag
    ) -> None:
        super().__init__(table, connection, f"{lake.root}/{table}.parquet")
        if table.endswith("/"):
            raise errors.ConfigError(
                f"{self._subject}: a table in a bucket is one object, and no object ends in /",
                hint=f"write {table.rstrip('/')}",
            )
        #: Least rows of a row group of what `create` writes.
        self.row_group_rows = whole.ROW_GROUP_ROWS
        self._lake, self._store, self._stop = lake, lake.store, stop
        self._url = f"{lake.root}/{table}.parquet"
        self._parent = self._url.rpartition("/")[0]
        # By its last name: another connection may lead to the same object from another root.
        lock = run_module.TemporaryNames("").prefix("lock", table.rpartition("/")[2])
        url = f"{self._parent}/{lock.rstrip('_')}.json"
        self._lease = lease.Lease(register.ObjectRegister(self._store, url), self._subject)
        # The table's object when the lock was got or `reading` began; None: there was none.
        self._seen: objects.Facts | None = None
        self._is_held = False
        self._uploads: dict[str, Upload] = {}
        self._shadows: dict[str, objects.Facts] = {}

    @property
    def ingest_method(self) -> str:
        """Return how rows are written."""
        return "Parquet object, uploaded in pieces"

    @contextlib.contextmanager
    def lock(self, run_id: str, wait_s: float) -> Iterator[None]:
        """Hold a lock object beside the table; see `lease`."""
        # What anybody else publishes once it is got makes this run's publish fail.
        with self._lease.hold(run_id, wait_s, self._stop), self.reading():
            yield

    def check_lock(self) -> None:
        """Ask the store whether the lock object is still this run's, by renewing it."""
        self._lease.check()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read the object that is there now, or fail when it is replaced meanwhile."""
        if self._is_held:
            yield
            return
        self._seen, self._is_held, self._described = self._store.facts(self._url), True, None
        try:
            yield
        finally:
            self._is_held, self._described = False, None

    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Remove the shadow objects that runs left beside this table."""
        kinds = ("shadow", "stage", "latest", "old")
        prefixes = tuple(names.prefix(kind, self.table) for kind in kinds)
        removed = []
        for facts in self._store.list(f"{self._parent}/_tmg_"):
            name = facts.url[len(self._parent) + 1 :]
            if name.startswith(prefixes):
                self._store.delete(facts.url)
                removed.append(name)
        return removed

    # --- describing -----------------------------------------------------------------------------

    def describe(self) -> base.Table | None:
        """Return the columns of the object in place, or None when there is none."""
        if self._described is None:
            self._refuse_neighbours()
            facts = self._seen if self._is_held else self._store.facts(self._url)
            if facts is None:
                return None
            self._described = self._describe(facts)
        return self._described

    def _describe(self, facts: objects.Facts) -> base.Table:
        file = self._file(facts)
        try:
            with parquet.explaining(file), parquet.opened(file) as opened:
                metadata = opened.metadata
                schema = pa.schema(self._fields(opened.schema_arrow))
        except errors.DataError as error:
            raise self._foreign("is no Parquet file") from error
        try:
            ours = json.loads((metadata.metadata or {})[_KEY])
            key = tuple(str(name) for name in ours["key"])
        except (KeyError, ValueError, TypeError):
            raise self._foreign("was not written by this program") from None
        return whole.described([*schema, *self._added], key, metadata.num_rows)

    def _foreign(self, what: str) -> errors.ConfigError:
        return errors.ConfigError(
            f"{self._subject}: {self._url} is there and {what}",
            hint="it would be lost: move it away, or name another table",
        )

    def _refuse_neighbours(self) -> None:
        """Refuse a place where a source would find two tables of one name."""
        for path in self._lake.candidates(self.table, location.ALL_ENDINGS):
            if path.endswith("/"):
                raise errors.ConfigError(
                    f"{self._subject}: objects lie under {path}, and a source could not tell them"
                    f" from the one object {self._url} that a table in a bucket is",
                    hint="name another table, or move them away",
                )
            if path != self._url:
                raise errors.ConfigError(
                    f"{self._subject}: {path} is there, and a source could not tell it from"
                    f" {self._url}",
                    hint="name another table, or move that object away",
                )

    def _file(self, facts: objects.Facts) -> location.File:
        found = self._lake.note(facts)
        return location.File(found.path, found.path, found.stamp, self._lake)

    def _facts(self, name: str) -> objects.Facts:
        facts = self._shadows.get(name)
        if name == self.table:
            facts = self._seen if self._is_held else self._store.facts(self._url)
        if facts is None:
            raise errors.ConfigError(f"{self._subject}: there is no table {name!r}")
        return facts

    # --- writing --------------------------------------------------------------------------------

    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[base.Index]
    ) -> None:
        """Begin an upload beside the table; nobody sees it before its end."""
        found = self._schema_to_write(schema, key, indexes)
        writer = self._store.create(self._shadow_url(name), expected=objects.ABSENT)
        self._uploads[name] = Upload(writer, found, self.row_group_rows)

    def load(self, name: str, batch: base.Batch, key: Sequence[str]) -> int:
        """Append a batch to an upload."""
        upload = self._uploads[name]
        rows = self._fitted(batch, upload.schema, key)
        upload.write(rows)
        return int(rows.num_rows)

    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """End the upload, and look for doubled keys in what the store has."""
        upload = self._uploads[name]
        self._shadows[name] = upload.finish(
            {
                "written_by": "tmg_etl",
                "version": _VERSION,
                "table": self.table,
                "run_id": name.rpartition("_")[2],
                "key": list(key),
            }
        )
        del self._uploads[name]
        if key:
            self._refuse_doubled(name, upload.schema, key)

    def _refuse_doubled(self, name: str, schema: pa.Schema, key: Sequence[str]) -> None:
        keys = pa.schema([schema.field(column) for column in key])
        found = engine.doubled_key(
            lambda: self.scan(name, keys.names, base.Selection()),
            keys,
            None,
            self._subject,
            self._stop,
        )
        if found is not None:
            raise errors.DuplicateKeyError(self._subject, found)

    def _shadow_url(self, name: str) -> str:
        return f"{self._parent}/{name}.parquet"

    # --- reading back ---------------------------------------------------------------------------

    def fingerprint(
        self, name: str, columns: Sequence[str], selection: base.Selection, *, hashes: bool
    ) -> base.Fingerprint:
        """Count rows by the footer; in a window, by reading it."""
        if hashes:
            raise ValueError("a files target is read back: its proof is Proof.READ_BACK")
        if selection == base.Selection():
            file = self._file(self._facts(name))
            with parquet.explaining(file), parquet.opened(file) as opened:
                return base.Fingerprint(opened.metadata.num_rows)
        return base.Fingerprint(sum(batch.num_rows for batch in self.scan(name, [], selection)))

    def scan(
        self, name: str, columns: Sequence[str], selection: base.Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of an object, as the store has them."""
        if selection.keys_of is not None:
            self._refuse()
        within = selection.window
        file = self._file(self._facts(name))
        reader = parquet.ParquetFormat([file], parquet.PLAIN)
        wanted = list(columns)
        if within is not None and within.column not in wanted:
            wanted.append(within.column)
        fields = [reader.schema.field(column) for column in wanted]
        for batch in reader.read(file, fields, _SCAN_ROWS, within):
            rows = batch if within is None else window.keep(batch, within)
            yield rows.select(list(columns))

    # --- publishing -----------------------------------------------------------------------------

    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Copy the shadow over the table's object inside the store; return the rows replaced."""
        self._refuse_neighbours()
        replaced = 0 if self._seen is None else self._describe(self._seen).row_estimate or 0
        expected = objects.ABSENT if self._seen is None else self._seen.generation
        self._seen = self._store.copy(self._facts(shadow), self._url, expected=expected)
        self._described, self._added = None, []
        return replaced

    def drop(self, name: str) -> None:
        """Remove a shadow object if it is there."""
        if name == self.table:
            raise ValueError("the table itself is not dropped")
        upload = self._uploads.pop(name, None)
        if upload is not None:
            upload.abandon()
        self._shadows.pop(name, None)
        self._store.delete(self._shadow_url(name))

    def close(self) -> None:
        """Give up uploads that are not finished, and give back connections."""
        while self._uploads:
            self._uploads.popitem()[1].abandon()
        self._lake.close()
