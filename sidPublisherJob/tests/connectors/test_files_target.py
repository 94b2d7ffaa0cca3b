"""Folders of Parquet as targets: written, replaced, refused and swept, read back by others."""

import contextlib
import datetime
import decimal
import errno
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.connectors.files import folder as folder_module
from tmg_etl.connectors.files import storage, target

UTC = datetime.UTC
D = decimal.Decimal
SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), pa.field("s", pa.string()), base.json_field("j")]
)


class Publisher:
    """Goes the way of a truncate, as the transfer layer does."""

    def __init__(self, folder: pathlib.Path, table: str = "t") -> None:
        self.root, self.table = folder, table
        self.target = files_kit.connection(folder).open_target(table)
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


def publish(folder: pathlib.Path, data: pa.Table, key: Sequence[str] = ()) -> int:
    return Publisher(folder).publish(data, key)


def table(*ids: int, text: str | None = "x") -> pa.Table:
    rows = [{"id": number, "s": text, "j": '{"a": 1}'} for number in ids]
    return pa.Table.from_pylist(rows, SCHEMA)


def ids(folder: pathlib.Path) -> list[int]:
    """Read a folder by DuckDB."""
    pattern = str(folder / "*.parquet").replace("'", "''")
    found = duckdb.sql(f"SELECT id FROM '{pattern}' ORDER BY 1").fetchall()
    return [row[0] for row in found]


def names(folder: pathlib.Path | str) -> list[str]:
    """Return what is in a folder, hidden things too."""
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_a_folder_is_created_and_replaced(tmp_path: pathlib.Path) -> None:
    assert publish(tmp_path, table(1, 2, 3), ["id"]) == 0
    assert ids(tmp_path / "t") == [1, 2, 3]
    assert publish(tmp_path, table(4), ["id"]) == 3
    assert ids(tmp_path / "t") == [4]
    assert publish(tmp_path, table(), ["id"]) == 1
    assert pyarrow.dataset.dataset(tmp_path / "t").count_rows() == 0
    assert publish(tmp_path, table(5), ["id"]) == 0
    assert names(tmp_path) == ["t"]
    assert len(names(tmp_path / "t")) == 2


def test_a_target_in_folders_that_do_not_exist_yet(tmp_path: pathlib.Path) -> None:
    Publisher(tmp_path / "new" / "lake", "mart/ä b;'x").publish(table(1))
    assert ids(tmp_path / "new" / "lake" / "mart" / "ä b;'x") == [1]


def test_the_manifest_says_what_was_written(tmp_path: pathlib.Path) -> None:
    one = Publisher(tmp_path)
    one.publish(table(1, 2), ["id"])
    manifest = json.loads((tmp_path / "t" / "_tmg_etl.json").read_text())
    (file,) = manifest["files"]
    assert manifest["run_id"] == one.names.run_id
    assert (manifest["table"], manifest["rows"], manifest["key"]) == ("t", 2, ["id"])
    assert file["name"] == f"part-00000-{one.names.run_id}.parquet"
    assert file["size_bytes"] == (tmp_path / "t" / file["name"]).stat().st_size


def test_what_is_written_can_be_a_source(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1, 2))
    found = files_kit.opened(tmp_path)
    assert found.schema().equals(SCHEMA, check_metadata=True)
    assert files_kit.rows(found) == table(1, 2).to_pylist()


EXTREMES: dict[pa.DataType, list[object]] = {
    pa.bool_(): [True, False],
    pa.int8(): [-128, 127],
    pa.int64(): [-(2**63), 2**63 - 1],
    pa.uint8(): [0, 255],
    pa.uint64(): [0, 2**64 - 1],
    pa.float32(): [0.1, float("-inf")],
    pa.float64(): [-0.0, 5e-324, 1.7976931348623157e308, float("inf")],
    pa.decimal128(38, 38): [D("0." + "9" * 38)],
    pa.decimal256(76, 2): [D("-" + "9" * 74 + ".99")],
    pa.string(): ["", "\U0001f600 \t\n\r\\ \\N \0"],
    pa.binary(): [b"", b"\x00\xff"],
    pa.date32(): [datetime.date.min, datetime.date.max],
    pa.time64("us"): [datetime.time.min, datetime.time.max],
    pa.timestamp("us"): [
        datetime.datetime(1, 1, 1),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
    ],
    pa.timestamp("us", tz="UTC"): [datetime.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
    pa.list_(pa.int64()): [[1, None], []],
    pa.struct([("x", pa.string())]): [{"x": None}],
}


@pytest.mark.parametrize("kind", EXTREMES, ids=str)
def test_types_as_others_read_them(tmp_path: pathlib.Path, kind: pa.DataType) -> None:
    values = [*EXTREMES[kind], None]
    one = Publisher(tmp_path)
    data = pa.table({"a": pa.array(values, kind)})
    planned = one.target.planned(data.schema, [])
    assert planned.schema == data.schema
    one.publish(data)
    read = pq.read_table(tmp_path / "t")
    assert read.schema.field("a").type == kind
    assert repr(read.column("a").to_pylist()) == repr(data.column("a").to_pylist())
    assert one.target.describe() == dataclass_with_rows(planned, len(values))
    scanned = pa.Table.from_batches(one.target.scan("t", ["a"], base.Selection()))
    assert scanned.equals(read.select(["a"]))


def dataclass_with_rows(planned: base.Table, rows: int) -> base.Table:
    return base.Table(planned.columns, planned.primary_key, row_estimate=rows)


def test_describe(tmp_path: pathlib.Path) -> None:
    one = Publisher(tmp_path)
    assert one.target.describe() is None
    one.publish(table(1), ["id"])
    described = one.target.describe()
    assert described is not None
    assert described.schema.equals(SCHEMA, check_metadata=True)
    assert [column.native for column in described.columns] == ["int64", "string", "json"]
    assert described.is_unique_over(["id"])
    assert described.row_estimate == 1


def test_the_key_of_an_older_version_may_differ(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1, 2), ["id"])
    publish(tmp_path, table(1, 2, text="y"), ["id", "s"])
    described = Publisher(tmp_path).target.describe()
    assert described is not None
    assert described.primary_key == ("id", "s")


def test_rows_are_read_back_by_count_and_window(tmp_path: pathlib.Path) -> None:
    days = [datetime.date(2024, 1, number) for number in range(1, 11)]
    one = Publisher(tmp_path)
    one.stage(pa.table({"day": days, "n": range(10)}))
    window = base.CursorWindow("day", days[2], days[4])
    everything = one.target.fingerprint(one.shadow, ["n"], base.Selection(), hashes=False)
    some = one.target.fingerprint(one.shadow, ["n"], base.Selection(window=window), hashes=False)
    assert (everything.rows, some.rows) == (10, 3)
    batches = one.target.scan(one.shadow, ["n"], base.Selection(window=window))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"n": n} for n in (2, 3, 4)]


def test_schema_evolution(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    one = Publisher(tmp_path)
    one.target.add_columns(pa.schema([pa.field("extra", pa.int8(), nullable=False)]))
    described = one.target.describe()
    assert described is not None
    assert described.schema.names == ["id", "s", "j", "extra"]
    assert pq.read_table(tmp_path / "t").column_names == ["id", "s", "j"]
    data = table(2).append_column("extra", pa.array([7], pa.int8()))
    one.publish(data)
    assert pq.read_table(tmp_path / "t").to_pylist() == data.to_pylist()


def test_columns_are_matched_by_name(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    one = Publisher(tmp_path)
    one.target.create_shadow(one.shadow, [])
    one.load(pa.table({"s": ["y"], "id": [2]}))
    one.target.swap(one.shadow, one.names)
    assert pq.read_table(tmp_path / "t").to_pylist() == [{"id": 2, "s": "y", "j": None}]


def test_null_in_a_required_column_names_the_row(tmp_path: pathlib.Path) -> None:
    one = Publisher(tmp_path)
    one.target.create(one.shadow, SCHEMA, ["id"], [])
    bad = pa.RecordBatch.from_pydict({"id": pa.array([None], pa.int64()), "s": ["x"], "j": ["1"]})
    with pytest.raises(errors.ValueRejectedError, match="column 'id'"):
        one.target.load(one.shadow, base.Batch(bad, None, 0), ["s"])


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 1], pa.int64()),
        (["a", "b", "a"], pa.string()),
        ([D(2), D(1), D(1)], pa.decimal128(38, 0)),
        ([datetime.datetime(2024, 1, 1)] * 2, pa.timestamp("us")),
        ([datetime.datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC")),
        ([b"\0", b"\0"], pa.binary()),
        ([2**64 - 1] * 2, pa.uint64()),
        ([datetime.time(1, 2, 3, 4)] * 2, pa.time64("us")),
    ],
)
def test_a_doubled_key_is_named(
    tmp_path: pathlib.Path, values: list[object], kind: pa.DataType
) -> None:
    one = Publisher(tmp_path)
    doubled = next(value for value in values if values.count(value) > 1)
    with pytest.raises(errors.DuplicateKeyError) as caught:
        one.stage(pa.table({'k;"': pa.array(values, kind), "n": range(len(values))}), ['k;"'])
    assert caught.value.key == {'k;"': doubled}
    one.target.drop(one.shadow)
    assert names(tmp_path) == []


def test_keys_that_only_look_alike(tmp_path: pathlib.Path) -> None:
    wide = [D("9" * 75 + "1"), D("9" * 75 + "2")]
    data = pa.table(
        {
            "d": pa.array([*wide, wide[0], wide[0]], pa.decimal256(76, 0)),
            "s": ["a", "a", "A", "a "],
        }
    )
    Publisher(tmp_path).publish(data, ["d", "s"])
    assert pyarrow.dataset.dataset(tmp_path / "t").count_rows() == 4


# --- what is not ours ----------------------------------------------------------------------------


def refused(folder: pathlib.Path) -> str:
    """Return what is said, having checked that nothing was touched."""
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    with pytest.raises(errors.ConfigError) as caught:
        publish(folder, table(9))
    after = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert before == after
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_a_folder_that_others_wrote_is_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(table(1), tmp_path / "t" / "x.parquet")
    assert "holds files that this program did not write: x.parquet" in refused(tmp_path)
    (tmp_path / "t" / "_tmg_etl.json").write_text("{}")
    assert "did not write: _tmg_etl.json, x.parquet" in refused(tmp_path)


def test_a_file_put_into_our_folder_is_left_alone(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    (tmp_path / "t" / "notes.txt").write_text("mine")
    assert "did not write: notes.txt" in refused(tmp_path)


def test_files_and_links_in_the_place_are_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").write_text("x")
    assert "is a file, expected a folder" in refused(tmp_path)
    (tmp_path / "t").unlink()
    (tmp_path / "real").mkdir()
    (tmp_path / "t").symlink_to(tmp_path / "real")
    assert "is a symbolic link" in refused(tmp_path)
    (tmp_path / "t").unlink()
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert "a source could not tell it from the folder t/" in refused(tmp_path)


def test_an_empty_folder_is_free(tmp_path: pathlib.Path) -> None:
    (tmp_path / "t").mkdir()
    publish(tmp_path, table(1))
    assert ids(tmp_path / "t") == [1]


def test_what_a_folder_cannot_do(tmp_path: pathlib.Path) -> None:
    one = Publisher(tmp_path)
    assert not one.target.capabilities.can_diff
    assert not one.target.capabilities.can_merge
    for call in (
        lambda: one.target.create_staging("x", ["id"], pa.schema([])),
        lambda: one.target.transaction(),
        lambda: one.target.diff("x", ["id"], ["id"], None),
        lambda: one.target.replace_rows("x", ["id"], None),
        lambda: one.target.keep_latest("x", ["id"], ["id"], []),
        lambda: one.target.upsert("x", ["id"], ["id"], [], None),
    ):
        with pytest.raises(errors.ConfigError, match="takes `truncate` with `publish: swap` only"):
            call()
    with pytest.raises(errors.ConfigError, match="a files target has no indexes"):
        one.target.create(one.shadow, SCHEMA, [], [base.Index("i", ("s",))])
    with pytest.raises(errors.ConfigError, match="leads out of the folder"):
        files_kit.connection(tmp_path).open_target("../x")
    with pytest.raises(errors.ConfigError, match="runs no statements"):
        files_kit.connection(tmp_path).execute("DELETE FROM t")


# --- large, interrupted, refused by the system ---------------------------------------------------


def test_parts_and_row_groups_are_bounded(tmp_path: pathlib.Path) -> None:
    writer = folder_module.Writer(tmp_path / "x", SCHEMA, "r", part_bytes=5_000, row_group_rows=500)
    for batch in table(*range(10_000)).to_batches(max_chunksize=200):
        writer.write(batch)
    writer.finish()
    parts = folder_module.parts_of(tmp_path / "x")
    assert len(parts) > 3
    assert [int(part.name[5:10]) for part in parts] == list(range(len(parts)))
    assert sum(file["rows"] for file in writer.files) == writer.rows == 10_000
    assert pq.read_metadata(parts[0]).row_group(0).num_rows == 600
    assert pq.read_metadata(parts[0]).row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table(tmp_path / "x").column("id").to_pylist() == list(range(10_000))


def test_leftovers_of_dead_runs_are_swept(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    dead, other = Publisher(tmp_path), Publisher(tmp_path, "other")
    dead.stage(table(2))
    other.stage(table(3))
    one = Publisher(tmp_path)
    assert one.target.sweep(one.names) == [f".{dead.shadow}"]
    assert names(tmp_path) == sorted([f".{other.shadow}", "t"])
    assert ids(tmp_path / "t") == [1]
    assert one.target.sweep(one.names) == []


def test_a_run_whose_shadow_was_swept_cannot_publish(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    paused = Publisher(tmp_path)
    paused.target.create_shadow(paused.shadow, [])
    paused.load(table(2))
    newer = Publisher(tmp_path)
    newer.publish(table(3))
    with pytest.raises(errors.TmgEtlError):
        paused.target.swap(paused.shadow, paused.names)
    assert ids(tmp_path / "t") == [3]


def test_without_exchange_two_renames_publish_and_recover(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.sys, "platform", "other")
    publish(tmp_path, table(1))
    publish(tmp_path, table(2))
    assert ids(tmp_path / "t") == [2]
    assert names(tmp_path) == ["t"]
    # A run that died between the two renames.
    dead = Publisher(tmp_path)
    dead.target.create_shadow(dead.shadow, [])
    dead.load(table(3))
    (tmp_path / "t").rename(tmp_path / f".{dead.names.table('old', 't')}")
    one = Publisher(tmp_path)
    one.target.sweep(one.names)
    assert ids(tmp_path / "t") == [2]
    assert names(tmp_path) == ["t"]


def test_a_second_run_waits_and_gives_up(tmp_path: pathlib.Path) -> None:
    first, second = Publisher(tmp_path), Publisher(tmp_path)
    with first.target.lock("run-1", 0):
        with (
            pytest.raises(errors.LockBusyError, match="lake: t is locked by run run-1"),
            second.target.lock("run-2", 0.05),
        ):
            pass
        first.target.check_lock()
    with second.target.lock("run-2", 0), pytest.raises(errors.LockLostError):
        first.target.check_lock()
    assert names(tmp_path) == []


def test_a_table_that_may_not_be_written(tmp_path: pathlib.Path) -> None:
    with files_kit.unprivileged(tmp_path) as place:
        lake = place / "lake"
        lake.mkdir(mode=0o555)
        with pytest.raises(errors.AccessError) as caught:
            publish(lake, table(1))
        assert caught.value.exit_code == 77
        one = Publisher(lake)
        with pytest.raises(errors.AccessError):
            one.stage(table(1))
        lake.chmod(0o755)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Yield a folder on a disk of its own of 1 MiB; None where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_folder(tmp_path: pathlib.Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    noise = [os.urandom(5000).hex() for _ in range(400)]
    with small_disk(lake) as disk:
        if disk is None:
            error = storage.explained(OSError(errno.ENOSPC, "x"), "t")
            assert isinstance(error, errors.StorageFullError)
            return
        publish(disk, table(1))
        one = Publisher(disk)
        one.target.create_shadow(one.shadow, [])
        with pytest.raises(errors.StorageFullError, match="No space left"):
            one.load(pa.table({"id": range(400), "s": noise}), batch_rows=400)
        one.target.drop(one.shadow)
        one.target.close()
        assert ids(disk / "t") == [1]
        assert names(disk) == ["t"]
        publish(disk, table(2))


def test_closing_leaves_no_open_files(tmp_path: pathlib.Path) -> None:
    one = Publisher(tmp_path)
    one.target.create(one.shadow, SCHEMA, [], [])
    before = len(names("/proc/self/fd"))
    for batch in table(*range(300_000)).to_batches():
        one.target.load(one.shadow, base.Batch(batch, None, 0), [])
    assert len(names("/proc/self/fd")) == before + 1
    one.target.close()
    one.target.close()
    assert len(names("/proc/self/fd")) == before
    assert isinstance(one.target, target.FilesTarget)
