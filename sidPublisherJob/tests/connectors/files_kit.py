"""Opening files as a test wants them."""

import contextlib
import datetime
import gzip
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tests.connectors import user_kit
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, files

DAY = datetime.date(2024, 5, 6)
UTC = datetime.UTC


def connection(folder: pathlib.Path | str) -> files.FilesConnection:
    """Return the connection `lake` over a folder."""
    spec = model.FilesConnection(type="files", name="lake", url=str(folder))
    return files.FilesConnection(spec, pathlib.Path("/"))


def opened(folder: pathlib.Path, **spec: object) -> base.Source:
    """Return a source; the table `t` unless `spec` names something else."""
    named = spec.keys() & {"table", "path", "query"}
    options = {"connection": "lake", **({} if named else {"table": "t"}), **spec}
    return connection(folder).open_source(model.SourceSpec.model_validate(options), DAY)


def written(
    folder: pathlib.Path, content: bytes | str, name: str = "t.csv", **spec: object
) -> base.Source:
    """Write a file and open it as the table `t`."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return opened(folder, **spec)


def rows(found: base.Source, window: base.CursorWindow | None = None) -> list[dict[str, object]]:
    """Return all rows, having checked that the batches have the schema that was promised."""
    batches = list(found.read(found.schema().names, window))
    for batch in batches:
        assert batch.schema.equals(found.schema(), check_metadata=True)
        batch.validate(full=True)
    return [row for batch in batches for row in batch.to_pylist()]


def column(found: base.Source, name: str = "a") -> list[object]:
    """Return the values of one column."""
    return [row[name] for row in rows(found)]


@contextlib.contextmanager
def unprivileged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Be a user whom permissions bind, for a block; yield a folder that this user may use."""
    if os.geteuid() != 0:
        yield folder
        return
    place = pathlib.Path(tempfile.mkdtemp(prefix="tmg_etl_test_"))
    os.chown(place, user_kit.NOBODY, user_kit.NOBODY)
    try:
        with user_kit.without_root():
            yield place
    finally:
        shutil.rmtree(place)


class Publisher:
    """Goes the way of a truncate, as the transfer layer does."""

    def __init__(self, folder: pathlib.Path, table: str = "t") -> None:
        self.root, self.table = folder, table
        self.target = connection(folder).open_target(table)
        self.names = run_module.TemporaryNames(run_module.new_run_id())
        self.shadow = self.names.table("shadow", table)

    def stage(self, data: pa.Table, key: Sequence[str] = (), batch_rows: int = 1000) -> None:
        self.target.create(self.shadow, data.schema, key, [])
        self.load(data, key, batch_rows)

    def load(self, data: pa.Table, key: Sequence[str] = (), batch_rows: int = 1000) -> None:
        first = 0
        for batch in data.to_batches(max_chunksize=batch_rows):
            taken = self.target.load(self.shadow, base.Batch(batch, None, first), key)
            assert taken == batch.num_rows
            first += batch.num_rows
        self.target.finish_load(self.shadow, key)

    def publish(self, data: pa.Table, key: Sequence[str] = ()) -> int:
        with self.target.lock(self.names.run_id, 0):
            self.target.sweep(self.names)
            if self.target.describe() is None:
                self.stage(data, key)
            else:
                self.target.create_shadow(self.shadow, [])
                self.load(data, key)
            self.target.check_lock()
            replaced = self.target.swap(self.shadow, self.names)
            self.target.drop(self.shadow)
        self.target.close()
        return replaced
