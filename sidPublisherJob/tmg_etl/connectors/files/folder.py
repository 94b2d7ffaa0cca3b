"""Folders of Parquet that this program owns: writing, the manifest, exchange, leftovers.

A published folder holds ``part-<number>-<run id>.parquet`` and ``_tmg_etl.json``, the manifest
that says which files they are; readers of lakes skip it by its underscore. Only a folder with a
manifest, and nothing in it that the manifest does not name, is ever replaced or removed. The run id
in the names keeps a reader that listed the old folder from opening a part of the new one: it finds
the old part gone, or, when it has it open, reads on.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tmg_etl import errors
from tmg_etl.connectors.files import location, storage, whole

MANIFEST = "_tmg_etl.json"
_VERSION = 1
#: Size at which the next file is begun.
PART_BYTES = 256 << 20


class Writer:
    """Writes batches into a new folder as Parquet files.

    Args:
        folder: to be made; its parent exists.
        schema: of the files.
        run_id: part of their names.
        part_bytes: size at which the next file is begun.
        row_group_rows: least rows of a row group; it is written when a batch reaches them.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        schema: pa.Schema,
        run_id: str,
        *,
        part_bytes: int = PART_BYTES,
        row_group_rows: int = whole.ROW_GROUP_ROWS,
    ) -> None:
        self.folder, self.schema, self._run_id = folder, schema, run_id
        self._part_bytes = part_bytes
        self.files: list[dict[str, Any]] = []
        self._row_groups = whole.RowGroups(schema, row_group_rows, self._write)
        self._sink: pa.NativeFile | None = None
        self._writer: pq.ParquetWriter | None = None
        folder.mkdir(mode=0o777)

    @property
    def rows(self) -> int:
        """Return the rows of all closed files."""
        return sum(int(file["rows"]) for file in self.files)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._row_groups.add(batch)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._open()
        assert self._writer is not None
        assert self._sink is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.files[-1]["rows"] += table.num_rows
        if self._sink.tell() >= self._part_bytes:
            self._close_part()

    def _open(self) -> None:
        name = f"part-{len(self.files):05d}-{self._run_id}.parquet"
        self.files.append({"name": name, "rows": 0, "size_bytes": 0})
        self._sink = pa.OSFile(str(self.folder / name), "wb")
        self._writer = pq.ParquetWriter(self._sink, self.schema, compression="zstd")

    def _close_part(self) -> None:
        writer, self._writer = self._writer, None
        sink, self._sink = self._sink, None
        if writer is None or sink is None:
            return
        writer.close()
        sink.close()
        path = self.folder / self.files[-1]["name"]
        storage.sync(path)
        self.files[-1]["size_bytes"] = storage.stamp_of(path).size_bytes

    def finish(self) -> None:
        """Close the last file and have all bytes on the disk; a table has at least one file."""
        self._row_groups.flush()
        if not self.files:
            self._open()
        self._close_part()

    def abandon(self) -> None:
        """Close what is open, whatever is in it; harmless when called again."""
        writer, self._writer = self._writer, None
        sink, self._sink = self._sink, None
        self._row_groups.clear()
        for opened in (writer, sink):
            try:
                if opened is not None:
                    opened.close()
            except (OSError, pa.ArrowException):
                # The disk is full, or the folder gone; the folder is removed anyway.
                continue


def write_manifest(writer: Writer, table: str, run_id: str, key: Sequence[str]) -> None:
    """Write down what the folder holds, and have the folder on the disk."""
    content = {
        "written_by": "tmg_etl",
        "version": _VERSION,
        "table": table,
        "run_id": run_id,
        "key": list(key),
        "rows": writer.rows,
        "schema": hashlib.sha256(writer.schema.serialize().to_pybytes()).hexdigest(),
        "files": writer.files,
    }
    path = writer.folder / MANIFEST
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    storage.sync(path)
    storage.sync(writer.folder)


def read_manifest(folder: pathlib.Path) -> dict[str, Any] | None:
    """Return the manifest of a folder; None when it has none that this program wrote."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise storage.explained(error, str(folder / MANIFEST)) from error
    if not isinstance(content, dict) or content.get("written_by") != "tmg_etl":
        return None
    files = content.get("files")
    is_ours = isinstance(files, list) and all(
        isinstance(file, dict) and isinstance(file.get("name"), str) for file in files
    )
    return content if is_ours else None


def require_ours(place: pathlib.Path, table: str) -> dict[str, Any] | None:
    """Return the manifest of the folder in a table's place; None when the place is free.

    Raises:
        errors.ConfigError: something is there that this program did not write.
    """
    for name in location.candidates_of(place.name)[1:]:
        if storage.mode_of(place.parent / name):
            raise errors.ConfigError(
                f"{table}: {place.parent / name} is there, and a source could not tell it from"
                f" the folder {place.name}/",
                hint="name another table, or move that file away",
            )
    if place.is_symlink() or (storage.mode_of(place) and not storage.is_folder(place)):
        kind = "a symbolic link" if place.is_symlink() else "a file"
        raise errors.ConfigError(
            f"{table}: {place} is {kind}, expected a folder that this program wrote",
            hint="name another table, or move it away",
        )
    names = storage.names_in(place)
    if not names:
        return None
    manifest = read_manifest(place)
    known = {MANIFEST, *(file["name"] for file in manifest["files"])} if manifest else set()
    foreign = [name for name in names if name not in known]
    if foreign:
        listed = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise errors.ConfigError(
            f"{table}: {place} holds files that this program did not write: {listed}",
            hint="they would be lost: move them away, or name another table",
        )
    return manifest


def parts_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the Parquet files of a folder, in order."""
    return [folder / name for name in storage.names_in(folder) if name.endswith(".parquet")]


def put_in_place(shadow: pathlib.Path, place: pathlib.Path, old: pathlib.Path) -> None:
    """Put a finished folder in a table's place; the replaced one is removed afterwards.

    Where folders can be exchanged (Linux, on all usual local file systems) readers see the old
    folder until they see the new one. Elsewhere there are two renames, and a moment between them
    without a folder; `recover` puts the old one back when a run died in it.
    """
    replaced: pathlib.Path | None = None
    # rename(2) takes the place of an empty folder in one step.
    if not storage.names_in(place):
        shadow.rename(place)
    elif storage.exchange(shadow, place):
        replaced = shadow
    else:
        place.rename(old)
        shadow.rename(place)
        replaced = old
    storage.sync(place.parent)
    if replaced is not None:
        discard(replaced)


def recover(place: pathlib.Path, leftovers: Sequence[pathlib.Path]) -> None:
    """Put a replaced folder back if a run died between its two renames."""
    for leftover in leftovers:
        if not storage.mode_of(place) and read_manifest(leftover) is not None:
            leftover.rename(place)
            storage.sync(place.parent)


def discard(folder: pathlib.Path) -> None:
    """Remove a folder beside the table; what cannot be removed now, the next run removes."""
    try:
        storage.remove(folder)
    except OSError:
        return


def leftovers(parent: pathlib.Path, prefixes: Sequence[str]) -> Iterator[pathlib.Path]:
    """Yield what runs left beside a table."""
    for name in storage.names_in(parent):
        if name.startswith(tuple(prefixes)):
            yield parent / name
