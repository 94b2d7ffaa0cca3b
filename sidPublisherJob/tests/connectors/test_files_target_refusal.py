"""Folders of Parquet as targets: what is not ours, leftovers, locks, and a system that says no."""

import contextlib
import errno
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors import files_kit
from tests.connectors.folder_kit import SCHEMA, ids, names, publish, table
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.files import folder as folder_module
from tmg_etl.connectors.files import storage, target


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
    one = files_kit.Publisher(tmp_path)
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
    dead, other = files_kit.Publisher(tmp_path), files_kit.Publisher(tmp_path, "other")
    dead.stage(table(2))
    other.stage(table(3))
    one = files_kit.Publisher(tmp_path)
    assert one.target.sweep(one.names) == [f".{dead.shadow}"]
    assert names(tmp_path) == sorted([f".{other.shadow}", "t"])
    assert ids(tmp_path / "t") == [1]
    assert one.target.sweep(one.names) == []


def test_a_run_whose_shadow_was_swept_cannot_publish(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, table(1))
    paused = files_kit.Publisher(tmp_path)
    paused.target.create_shadow(paused.shadow, [])
    paused.load(table(2))
    newer = files_kit.Publisher(tmp_path)
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
    dead = files_kit.Publisher(tmp_path)
    dead.target.create_shadow(dead.shadow, [])
    dead.load(table(3))
    (tmp_path / "t").rename(tmp_path / f".{dead.names.table('old', 't')}")
    one = files_kit.Publisher(tmp_path)
    one.target.sweep(one.names)
    assert ids(tmp_path / "t") == [2]
    assert names(tmp_path) == ["t"]


def test_a_second_run_waits_and_gives_up(tmp_path: pathlib.Path) -> None:
    first, second = files_kit.Publisher(tmp_path), files_kit.Publisher(tmp_path)
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


def test_one_folder_has_one_lock_from_whatever_root(tmp_path: pathlib.Path) -> None:
    first = files_kit.Publisher(tmp_path, "mart/t")
    second = files_kit.Publisher(tmp_path / "mart")
    with (
        first.target.lock("run-1", 0),
        pytest.raises(errors.LockBusyError, match="locked by run run-1"),
        second.target.lock("run-2", 0),
    ):
        pass


def test_a_table_that_may_not_be_written(tmp_path: pathlib.Path) -> None:
    with files_kit.unprivileged(tmp_path) as place:
        lake = place / "lake"
        lake.mkdir(mode=0o555)
        with pytest.raises(errors.AccessError) as caught:
            publish(lake, table(1))
        assert caught.value.exit_code == 77
        one = files_kit.Publisher(lake)
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
        one = files_kit.Publisher(disk)
        one.target.create_shadow(one.shadow, [])
        with pytest.raises(errors.StorageFullError, match="No space left"):
            one.load(pa.table({"id": range(400), "s": noise}), batch_rows=400)
        one.target.drop(one.shadow)
        one.target.close()
        assert ids(disk / "t") == [1]
        assert names(disk) == ["t"]
        publish(disk, table(2))


def test_closing_leaves_no_open_files(tmp_path: pathlib.Path) -> None:
    one = files_kit.Publisher(tmp_path)
    one.target.create(one.shadow, SCHEMA, [], [])
    before = len(names("/proc/self/fd"))
    for batch in table(*range(300_000)).to_batches():
        one.target.load(one.shadow, base.Batch(batch, None, 0), [])
    assert len(names("/proc/self/fd")) == before + 1
    one.target.close()
    one.target.close()
    assert len(names("/proc/self/fd")) == before
    assert isinstance(one.target, target.FilesTarget)
