"""What runs publish in these tests, and the bench on which they are broken."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.crash import crash_place, world_kit
from tmg_etl.testing import fault, fork

DAY = datetime.date(2024, 3, 10)
Row = crash_place.Row
PUBLISHING = ("COMMIT", "RENAME TABLE")
_STRIDE = 8
#: Beginnings of statements that leave a database and its files as they are.
_QUESTIONS = (
    *("SELECT", "SHOW", "SET ", "BEGIN", "START TRANSACTION", "SAVEPOINT"),
    *("PRAGMA READ_UNCOMMITTED", "PRAGMA TABLE", "PRAGMA INDEX", "PRAGMA FOREIGN_KEYS"),
)
#: Beginnings of what the ledger is asked that changes it.
_RECORDS = ("INSERT", "UPDATE", "COMMIT")
AnyPoint = TypeVar("AnyPoint")
BEFORE = DAY - datetime.timedelta(days=1)

OLD: list[Row] = [
    (1, BEFORE, 1, "a"),
    (2, BEFORE, 1, "b"),
    (3, DAY, 1, "c"),
    (4, DAY, 1, "d"),
    (5, DAY, 5, "e"),
    (6, DAY, 1, "f"),
]
FULL: list[Row] = [
    (2, BEFORE, 1, "b"),
    (3, DAY, 2, "c2"),
    (5, DAY, 6, "e\t\\"),
    (7, DAY, 1, "g"),
    (8, DAY, 1, "ü"),
]
# Two versions of 3, and one of 5 that is older than the target's.
CHANGED: list[Row] = [
    (3, DAY, 2, "c2"),
    (3, DAY, 3, "c3"),
    (5, DAY, 4, "late"),
    (7, DAY, 1, "g"),
    (8, DAY, 1, "h"),
]
UPSERTED: list[Row] = [
    *OLD[:2],
    (3, DAY, 3, "c3"),
    (4, DAY, 1, "d"),
    (5, DAY, 5, "e"),
    (6, DAY, 1, "f"),
    *CHANGED[3:],
]
OTHER: list[Row] = [(9, DAY, 1, "z")]
REPLACED: list[Row] = [*OLD[:2], *CHANGED[1:]]
#: What an upsert gives where there was no table.
CREATED: list[Row] = CHANGED[1:]


@dataclasses.dataclass(frozen=True)
class Mode:
    """One way to publish."""

    transfer: str
    write_mode: str
    new: list[Row]

    @property
    def arguments(self) -> list[str]:
        return [f"{DAY:%Y%m%d}", self.transfer, self.write_mode]


MODES = {
    "swap": Mode("swap", "truncate", FULL),
    "diff": Mode("diff", "truncate", FULL),
    "upsert": Mode("upsert", "delta", UPSERTED),
    "replace_window": Mode("replace_window", "delta", REPLACED),
}
OTHER_MODE = Mode("other", "truncate", OTHER)


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the tests of one process have learnt about runs; all of it holds for each equal one.

    Attributes:
        is_full: whether everything is done again all the same.
        ledger: a file with an empty one.
        points: of runs without a fault.
        healed: worlds from which a rerun healed, with what was run.
        made: definitions of the tables of a new place, by its kind.
    """

    is_full: bool
    ledger: pathlib.Path
    points: dict[Hashable, list[fault.Point]] = dataclasses.field(default_factory=dict)
    healed: set[Hashable] = dataclasses.field(default_factory=set)
    made: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the parts into which the points of a test are cut, so that workers share them."""

    number: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether it has the first point."""
        return self.number == 1

    @property
    def is_last(self) -> bool:
        """Whether it has the last point."""
        return self.number == self.count

    def of(self, points: list[AnyPoint]) -> list[AnyPoint]:
        """Return the points of this part: neighbours, which leave the same states."""
        first, last = (len(points) * n // self.count for n in (self.number - 1, self.number))
        return points[first:last]

    def require_both(self, states: list[bool]) -> None:
        """Fail unless the run's first point leaves the old state and its last one the new one."""
        assert states
        assert not (self.is_first and states[0]), "new before anything was done"
        assert states[-1] or not self.is_last, "old after all was done"


def in_parts(count: int) -> pytest.MarkDecorator:
    """Have a test run once for each part of its points."""
    parts = [Part(number, count) for number in range(1, count + 1)]
    names = [f"{part.number}of{count}" for part in parts]
    return pytest.mark.parametrize("part", parts, ids=names)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A place, its config, and the processes that publish into it."""

    place: crash_place.Place
    server: fork.ForkServer
    folder: pathlib.Path
    memory: Memory
    faults: list[fault.Fault] = dataclasses.field(default_factory=list)

    def write_config(self, **more: Any) -> None:
        """Write the lake and the config; `more` goes into every transfer."""
        lake = self.folder / "lake"
        lake.mkdir(exist_ok=True)
        write_rows(lake / "full.parquet", FULL)
        write_rows(lake / "changed.parquet", CHANGED)
        write_rows(lake / "other.parquet", OTHER)
        common = {"key": ["id"], "batch_rows": 2, "lock_wait_s": 5, **more}
        target = {"connection": "serving", "table": "t"}
        full = {"connection": "lake", "table": "full"}
        changed = {"connection": "lake", "table": "changed"}
        delta = {"cursor": "day", "order_by": ["version"]}
        upsert, window = delta | {"strategy": "upsert"}, delta | {"strategy": "replace_window"}
        parts: dict[str, dict[str, Any]] = {
            "swap": {"source": full, "publish": "swap"},
            "diff": {"source": full, "publish": "diff"},
            "upsert": {"source": changed, "delta": upsert},
            "replace_window": {"source": changed, "delta": window},
            "by_day": {
                "source": {"connection": "lake", "path": "day_{execution_date}.parquet"},
                "delta": upsert,
                "lock_wait_s": 20,
            },
            "whole_day": {
                "source": {"connection": "lake", "path": "day_{execution_date}.parquet"},
                "publish": "swap",
                "lock_wait_s": 20,
            },
            "other": {
                "source": {"connection": "lake", "table": "other"},
                "publish": "swap",
                "lock_wait_s": 0.2,
            },
        }
        config = {
            "connections": {
                "lake": {"type": "files", "url": str(lake)},
                "serving": dict(self.place.connection),
            },
            "ledger": f"sqlite:///{self.folder / 'ledger.db'}",
            "transfers": {name: common | part | {"target": target} for name, part in parts.items()},
        }
        self.config.write_text(yaml.safe_dump(config))

    @property
    def config(self) -> pathlib.Path:
        return self.folder / "etl.yaml"

    def start_day(self, name: str, write_mode: str, day: datetime.date) -> fork.Child:
        arguments = [f"{day:%Y%m%d}", name, write_mode, str(self.config)]
        return self.server.start(arguments, self.folder)

    def start(self, mode: Mode, injected: fault.Fault | None = None) -> fork.Child:
        if injected is not None:
            self.faults.append(injected)
        return self.server.start([*mode.arguments, str(self.config)], self.folder, injected)

    def run(self, mode: Mode, injected: fault.Fault | None = None) -> fork.Ended:
        return self.server.wait(self.start(mode, injected))

    def run_with_clock(self, mode: Mode, clock_s: float) -> fork.Ended:
        """Run on a machine whose clock is so many seconds fast, or slow."""
        arguments = [*mode.arguments, str(self.config)]
        return self.server.wait(self.server.start(arguments, self.folder, clock_s=clock_s))

    @property
    def setting(self) -> Hashable:
        """What decides, beside the world, what a run does: the same for runs that are equal."""
        config = world_kit.plain(self.config.read_text(), self.folder)
        return type(self.place).__name__, self.server, config

    @property
    def ledger(self) -> pathlib.Path:
        return self.folder / "ledger.db"

    def begin(self, rows: list[Row] | None) -> None:
        """Have exactly these rows, None is no table, and a ledger without runs."""
        for path in self.folder.glob(f"{self.ledger.name}*"):
            path.unlink()
        shutil.copy(self.memory.ledger, self.ledger)
        if rows is None:
            self.place.remove()
        else:
            self.place.reset(rows)

    def some(
        self, mode: Mode, points: list[fault.Point], stride: int = _STRIDE
    ) -> list[fault.Point]:
        """Return every eighth point, the ends and what publishes; with `--full` all of them.

        Places and modes, whose statements are much the same, begin with another one each.
        """
        if self.memory.is_full:
            return points
        offset = zlib.crc32(f"{type(self.place).__name__} {mode.transfer}".encode()) % stride
        return [
            point
            for number, point in enumerate(points)
            if number % stride == offset
            or number in (0, len(points) - 1)
            or any(word in point.statement for word in PUBLISHING)
        ]

    def moments(self, points: list[fault.Point]) -> list[fault.Point]:
        """Return where kills make a difference; with `--full` all moments before a statement.

        Who is killed after a statement is killed before the next one; and who is killed after a
        question, which changes nothing, leaves what one leaves who is killed before it.
        """
        before = [point for point in points if not point.is_after]
        if self.memory.is_full:
            return before
        changed = [True, *map(_changes, before)]
        return [point for point, is_other in zip(before, changed, strict=False) if is_other]

    def half_of_moments(self, mode: Mode, points: list[fault.Point]) -> list[fault.Point]:
        """Return every other moment, as `some` does: of what repeats the statements of a publish.

        A group does for each table what a run does for one; a first run, and a rollback, do what
        a swap does.
        """
        return self.some(mode, self.moments(points), 2)

    def count_points(self, mode: Mode, old: list[Row] | None = OLD) -> list[fault.Point]:
        """Return the points of a run without a fault."""
        key = (self.setting, mode.transfer, old is None)
        if key not in self.memory.points:
            self.begin(old)
            ended = self.run(mode)
            assert ended.code == 0, ended.log
            assert self.place.rows() == mode.new
            self.require_clean("a run without a fault")
            self.memory.points[key] = ended.points
        return self.memory.points[key]

    def break_at(
        self, mode: Mode, point: fault.Point, action: fault.Action, old: list[Row] | None = OLD
    ) -> fork.Ended:
        """Run from the beginning and break it at a point, which is the one that was counted."""
        self.begin(old)
        ended = self.run(mode, fault.Fault(point.number, action))
        reached = ended.points[point.number - 1]
        # Else parts that were counted by several workers would not make a whole.
        assert _plain(reached) == _plain(point), f"two runs differ: {reached}; {point}"
        return ended

    def require_error_told(self, mode: Mode, point: fault.Point, old: list[Row]) -> None:
        """Have an error happen at a point: the state is old or new, and the exit code says which.

        What is left, the next run heals.
        """
        ended = self.break_at(mode, point, fault.Action.RAISE, old)
        found = self.place.rows()
        # Where the driver was in the middle of a packet, the server hangs up first.
        assert ended.code in (0, 70, 75), f"{point}: {ended.error}"
        if ended.code == 0:
            # The ledger, the cleanup, the release of locks: nothing of it undoes a publish.
            assert found == mode.new, f"{point}: {ended.error}"
        assert found in (old, mode.new), point
        is_clean = self.is_clean()
        # An error of what cleans up leaves work to the next run.
        is_cleanup = point.system == "lock" or point.statement.startswith("DROP TABLE IF EXISTS")
        if "the cleanup failed" not in ended.log and not is_cleanup:
            assert is_clean or point.is_ledger, f"{point}: {self.place.leftovers()} {ended.error}"
        if not is_clean:
            self.require_healed(mode, point)

    def require_whole_after_kill(self, mode: Mode, point: fault.Point, old: list[Row]) -> bool:
        """Kill a run at a point: the state is old or new, and the next run heals.

        Returns:
            Whether it was the new one.
        """
        ended = self.break_at(mode, point, fault.Action.KILL, old)
        assert ended.code == -9, f"{point}: {ended.error}"
        self.place.settle()
        found = self.place.rows()
        assert found in (old, mode.new), point
        self.require_healed(mode, point)
        return found == mode.new

    def is_clean(self) -> bool:
        """Return whether nothing temporary is left, and no open row in the ledger."""
        self.place.settle()
        return self.place.leftovers() == [] and self.open_rows() == []

    def require_clean(self, what: object) -> None:
        """Fail if anything temporary is left, or an open row in the ledger."""
        self.place.settle()
        left = self.place.leftovers()
        assert left == [], f"{what}; left: {left}"
        assert self.open_rows() == [], what

    def open_rows(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.ledger)) as raw:
            found = raw.execute("SELECT id FROM tmg_etl_run WHERE status = 'running'").fetchall()
        return [name for (name,) in found]

    def require_healed(self, mode: Mode, what: object) -> None:
        """Run again, unless that has healed this same world before."""
        self.heal(mode.transfer, lambda: self.require_rerun(mode, what))

    def heal(self, cure: Hashable, act: Callable[[], None]) -> None:
        """Do what must heal the world as it is, unless it has healed the same one before.

        Args:
            cure: tells it from whatever else heals.
            act: fails if it does not heal.
        """
        world = world_kit.see(self.place, self.ledger)
        key = (self.setting, cure, world)
        if self.memory.is_full or key not in self.memory.healed:
            act()
            self.memory.healed.add(key)
        elif world.tables != self.memory.made.get(type(self.place).__name__):
            self.place.tidy()
            # Nobody left this one: whoever asks again means the one that was tidied away.
            tidied = world_kit.see(self.place, self.ledger)
            self.memory.healed.add((self.setting, cure, tidied))

    def require_rerun(self, mode: Mode, what: object) -> None:
        """Run again: it must succeed, give the new state, and leave nothing."""
        ended = self.run(mode)
        assert ended.code == 0, f"the rerun failed after {what}:\n{ended.log}"
        self.place.settle()
        rows, left = self.place.look()
        assert rows == mode.new, f"the rerun after {what}"
        assert left == [], f"the rerun after {what}"
        assert self.open_rows() == [], f"the rerun after {what}"


def _changes(point: fault.Point) -> bool:
    """Whether the database, its files or the ledger may be another after it."""
    words = point.statement.upper()
    if point.is_ledger:
        return words.startswith(_RECORDS)
    is_several = ";" in words.rstrip("; ")
    return is_several or not words.startswith(_QUESTIONS) or "SETVAL" in words


def _plain(point: fault.Point) -> str:
    """Return a point without numbers and ids, which differ from one run to the next."""
    return re.sub(r"\d[0-9a-f]*|[0-9a-f]{8,}", "N", str(point))


def write_rows(path: pathlib.Path, rows: list[Row]) -> None:
    schema = pa.schema(
        {"id": pa.int64(), "day": pa.date32(), "version": pa.int64(), "note": pa.string()}
    )
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    pq.write_table(pa.table(arrays, schema=schema), path)


@contextlib.contextmanager
def opened(place: crash_place.Place) -> Iterator[crash_place.Place]:
    try:
        yield place
    finally:
        place.close()


AnyBench = TypeVar("AnyBench", bound=Bench)


@contextlib.contextmanager
def ready(bench: AnyBench, **more: Any) -> Iterator[AnyBench]:
    """A bench with its config, `more` of it in every transfer; its place is closed at the end."""
    with opened(bench.place):
        bench.write_config(**more)
        if isinstance(bench.place, crash_place.ServerPlace):
            kind, made = type(bench.place).__name__, bench.memory.made
            made[kind] = made.get(kind) or world_kit.tables(bench.place)
        yield bench
