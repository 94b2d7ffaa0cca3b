"""Merges, diffs and replaced windows beside the best statement that one would type."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import pathlib
import sqlite3
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from benchmarks import database, measure
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, duckdb, merge, mysql, postgres, sqlite
from tmg_etl.testing import servers

OURS, HAND, STAGED = "merge_ours", "merge_hand", "merge_staged"
_DAY = datetime.date(2026, 1, 1)
_WINDOW = base.CursorWindow("day", _DAY, _DAY)
_NAMES = run_module.TemporaryNames("run1")


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a table looks.

    Attributes:
        name: as the page has it.
        key: columns of the key.
        texts: columns of text beside it.
        numbers: columns of numbers beside it.
    """

    name: str
    key: tuple[str, ...] = ("id",)
    texts: int = 2
    numbers: int = 2

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns and their types."""
        kinds = {"id": "BIGINT", "part": "BIGINT", "code": "VARCHAR(60)"}
        found = {name: kinds[name] for name in self.key} | {"day": "BIGINT"}
        found |= {f"n{number}": "BIGINT" for number in range(self.numbers)}
        return found | {f"t{number}": "VARCHAR(60)" for number in range(self.texts)}


SHAPES = {
    "one": Shape("one-column key"),
    "composite": Shape("composite key, 16 columns", ("id", "part"), 6, 7),
    "text": Shape("key of a text", ("code",)),
    "wide": Shape("60 columns", ("id",), 29, 29),
}
STATISTICS = ("good", "missing", "stale")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of the grid.

    Attributes:
        how: merge, diff or replace_window.
        window: rows that are staged.
        held: rows that the target has before.
        mix: new, unchanged, changed, or half: changed and new.
        shape: name of the table's shape.
        statistics: what the database knows of the target: good, missing, or stale (empty).
    """

    how: str
    window: int
    held: int
    mix: str
    shape: str = "one"
    statistics: str = "good"

    @property
    def name(self) -> str:
        """Return what the page calls it."""
        more = [] if self.shape == "one" else [SHAPES[self.shape].name]
        more += [] if self.statistics == "good" else [f"statistics {self.statistics}"]
        listed = "".join(f", {one}" for one in more)
        return f"{self.how} of {self.window:,} rows, {self.mix}, into {self.held:,}{listed}"


class Place(abc.ABC):
    """A database with two equal tables: one for our merge and one for the statement by hand."""

    title: str
    #: Of tables whose statistics nobody may renew meanwhile.
    options = ""
    #: Why a merge of many rows may take longer.
    reason = "looks for doubled keys, and which rows differ, before it writes: lost where all do"

    @abc.abstractmethod
    def series(self, rows: int) -> str:
        """Return a table `s` of the numbers `n` from 1 to `rows`."""

    def text(self, value: str) -> str:
        """Return a number as text."""
        return f"CAST({value} AS VARCHAR(30))"

    def joined(self, *texts: str) -> str:
        """Return texts one after the other."""
        return " || ".join(texts)

    @abc.abstractmethod
    def run(self, statement: str) -> None:
        """Run a statement as one would type it."""

    @abc.abstractmethod
    def target(self) -> contextlib.AbstractContextManager[merge.SqlTarget]:
        """Open our table."""

    def analyse(self, name: str) -> None:
        """Renew the statistics."""
        self.run(f"ANALYZE {name}")

    def rest(self) -> None:  # noqa: B027 - most have nothing to end
        """End what the database does in the background for the work before."""

    @abc.abstractmethod
    def upsert(self, shape: Shape) -> str:
        """Return the best single statement that merges `STAGED` into `HAND`."""

    def delete_gone(self, shape: Shape) -> str:
        """Return the statement that deletes what is not staged."""
        match = " AND ".join(f"{STAGED}.{name} = {HAND}.{name}" for name in shape.key)
        return f"DELETE FROM {HAND} WHERE NOT EXISTS (SELECT 1 FROM {STAGED} WHERE {match})"

    def ahead(self, cell: Cell) -> list[str]:
        """Return what one types before the transaction."""
        return []

    # --- rows -----------------------------------------------------------------------------------

    def select(self, shape: Shape, number: str, day: str, value: str, rows: int) -> str:
        """Return the query of `rows` rows; `number` is over `n` of `series`."""
        texts = {
            "id": number, "part": "1", "day": day,
            "code": self.joined("'the key of the row number '", self.text(number)),
        }  # fmt: skip
        values = []
        for name in shape.columns:
            if name == "t0":
                values.append(f"'{value}'")
            elif name in texts:
                values.append(texts[name])
            elif name == "n0":
                values.append(number)
            elif name.startswith("n"):
                values.append(f"({number}) * {int(name[1:]) + 3} % 1000003")
            else:
                values.append(self.joined("'some text of '", self.text(number)))
        return f"SELECT {', '.join(values)} FROM {self.series(rows)}"

    def create(self, name: str, shape: Shape) -> None:
        """Create an empty table."""
        self.run(f"DROP TABLE IF EXISTS {name}")
        lines = [
            f"{column} {kind}{' NOT NULL' if column in shape.key else ''}"
            for column, kind in shape.columns.items()
        ]
        lines.append(f"PRIMARY KEY ({', '.join(shape.key)})")
        self.run(f"CREATE TABLE {name} ({', '.join(lines)}){self.options}")

    def build(self, cell: Cell) -> None:
        """Make both tables as the cell says."""
        shape, step = SHAPES[cell.shape], _step(cell)
        for name in (OURS, HAND):
            self.create(name, shape)
            if cell.statistics == "stale":
                self.analyse(name)
            if cell.held:
                inside = f"n % {step} = 0 AND n <= {step * cell.window}"
                day = f"CASE WHEN {inside} THEN 20260101 ELSE 20250101 END"
                self.run(f"INSERT INTO {name} {self.select(shape, 'n', day, 'held', cell.held)}")
            if cell.statistics == "good":
                self.analyse(name)

    def staged(self, cell: Cell, turn: int) -> list[str]:
        """Return the queries of the rows of a window."""
        shape, step, half = SHAPES[cell.shape], _step(cell), cell.window // 2
        new, changed = f"{cell.held} + n", f"turn {turn}"
        if cell.mix == "new" or not cell.held:
            return [self.select(shape, new, "20260101", changed, cell.window)]
        if cell.mix == "half":
            return [
                self.select(shape, f"n * {step}", "20260101", changed, cell.window - half),
                self.select(shape, new, "20260101", changed, half),
            ]
        value = "held" if cell.mix == "unchanged" else changed
        return [self.select(shape, f"n * {step}", "20260101", value, cell.window)]

    def by_hand(self, cell: Cell) -> float:
        """Publish what is staged as one would type it; return the seconds."""
        shape = SHAPES[cell.shape]
        statements = [self.upsert(shape)]
        if cell.how == "diff":
            statements.insert(0, self.delete_gone(shape))
        elif cell.how == "replace_window":
            statements = [
                f"DELETE FROM {HAND} WHERE day = 20260101",
                f"INSERT INTO {HAND} SELECT * FROM {STAGED}",
            ]
        began = time.perf_counter()
        for statement in (*self.ahead(cell), "BEGIN", *statements, "COMMIT"):
            self.run(statement)
        return time.perf_counter() - began

    def undo(self, cell: Cell) -> None:
        """Take back what a turn inserted."""
        if cell.mix in {"new", "half"} or not cell.held:
            for name in (OURS, HAND):
                self.run(f"DELETE FROM {name} WHERE n0 > {cell.held}")


def _step(cell: Cell) -> int:
    return max(1, cell.held // max(1, cell.window))


class _OnConflict(Place):
    """A database whose best merge is ``INSERT … ON CONFLICT``."""

    def upsert(self, shape: Shape) -> str:
        """Return the INSERT that updates what differs."""
        plain = [name for name in shape.columns if name not in shape.key]
        assigned = ", ".join(f"{name} = excluded.{name}" for name in plain)
        held, sent = (", ".join(f"{one}.{name}" for name in plain) for one in (HAND, "excluded"))
        return (
            f"INSERT INTO {HAND} SELECT * FROM {STAGED} WHERE 1 = 1"
            f" ON CONFLICT ({', '.join(shape.key)}) DO UPDATE SET {assigned}"
            f" WHERE ({held}) IS DISTINCT FROM ({sent})"
        )


class Postgres(_OnConflict):
    """PostgreSQL, by its plain driver."""

    title, options = "PostgreSQL", " WITH (autovacuum_enabled = off)"
    reason = (
        "reads a target of up to ten times the window as a whole: lookups are quicker only where"
        " all is in memory"
    )

    def __init__(self, server: servers.PostgresServer, folder: pathlib.Path) -> None:
        url = server.create_database("merges")
        self._raw = server.connect("merges")
        spec = model.SqlConnection(type="postgres", name="serving", url=url)
        self._connection = postgres.PostgresConnection(spec, folder)

    def series(self, rows: int) -> str:
        """Return generate_series."""
        return f"generate_series(1, {rows}) AS s (n)"

    def run(self, statement: str) -> None:
        """Run a statement."""
        self._raw.execute(statement)

    def target(self) -> contextlib.AbstractContextManager[merge.SqlTarget]:
        """Open our table."""
        return self._connection.open_target(OURS)

    def rest(self) -> None:
        """Remove dead rows without a look at the statistics; write dirty pages."""
        for name in (OURS, HAND):
            self.run(f"VACUUM {name}")
        self.run("CHECKPOINT")


class MariaDB(Place):
    """MariaDB, by its plain driver."""

    title, options = "MariaDB", " STATS_AUTO_RECALC = 0"
    reason = "looks for doubled keys, by an index over what is staged"
    #: Asks how many versions of rows wait to be removed.
    _history = (
        "SELECT variable_value FROM information_schema.global_status"
        " WHERE variable_name = 'Innodb_history_list_length'"
    )

    def __init__(self, server: servers.MySQLFamilyServer, folder: pathlib.Path) -> None:
        url = server.create_database("merges")
        self._raw = server.connect("merges").cursor()
        spec = model.SqlConnection(type="mysql", name="serving", url=url)
        self._connection = mysql.MySQLConnection(spec, folder)

    def series(self, rows: int) -> str:
        """Return a table of the sequence engine."""
        return f"(SELECT seq AS n FROM seq_1_to_{rows}) AS s"

    def text(self, value: str) -> str:
        """Return a number as text."""
        return f"CAST({value} AS CHAR)"

    def joined(self, *texts: str) -> str:
        """Return texts one after the other."""
        return f"CONCAT({', '.join(texts)})"

    def run(self, statement: str) -> None:
        """Run a statement."""
        self._raw.execute(statement)

    def target(self) -> contextlib.AbstractContextManager[merge.SqlTarget]:
        """Open our table."""
        return self._connection.open_target(OURS)

    def analyse(self, name: str) -> None:
        """Renew the statistics."""
        self.run(f"ANALYZE TABLE {name}")

    def rest(self) -> None:
        """Wait until versions of rows that nobody reads any more are removed."""
        for _ in range(300):
            self.run(self._history)
            if int(self._raw.fetchall()[0][0]) < 100:
                return
            time.sleep(0.1)

    def upsert(self, shape: Shape) -> str:
        """Return INSERT … ON DUPLICATE KEY UPDATE, which writes nothing that is equal."""
        plain = [name for name in shape.columns if name not in shape.key]
        assigned = ", ".join(f"{name} = VALUES({name})" for name in plain)
        return f"INSERT INTO {HAND} SELECT * FROM {STAGED} ON DUPLICATE KEY UPDATE {assigned}"

    def ahead(self, cell: Cell) -> list[str]:
        """Return the key that the DELETE of a diff looks up: without it, it is quadratic."""
        key = ", ".join(SHAPES[cell.shape].key)
        return [f"ALTER TABLE {STAGED} ADD PRIMARY KEY ({key})"] if cell.how == "diff" else []

    def delete_gone(self, shape: Shape) -> str:
        """Return the DELETE by join."""
        return (
            f"DELETE {HAND} FROM {HAND} LEFT JOIN {STAGED} USING ({', '.join(shape.key)})"
            f" WHERE {STAGED}.day IS NULL"
        )


class MySQL(MariaDB):
    """MySQL, which has no sequence engine."""

    title = "MySQL"
    _history = (
        "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'"
    )
    _numbers = 0

    def __init__(self, server: servers.MySQLFamilyServer, folder: pathlib.Path) -> None:
        super().__init__(server, folder)
        # Else what is removed counts as waiting until there is much of it.
        self.run("SET GLOBAL innodb_purge_rseg_truncate_frequency = 1")

    def series(self, rows: int) -> str:
        """Return numbers of a table that has at least so many, outside InnoDB's memory."""
        if not self._numbers:
            self.run("CREATE TABLE numbers (n BIGINT NOT NULL) ENGINE = MyISAM")
            self.run("INSERT INTO numbers VALUES (1)")
            self._numbers = 1
        while self._numbers < rows:
            self.run(f"INSERT INTO numbers SELECT n + {self._numbers} FROM numbers")
            self._numbers *= 2
        return f"(SELECT n FROM numbers LIMIT {rows}) AS s"


class DuckDB(_OnConflict):
    """A DuckDB file, over the one session that may have it open."""

    title = "DuckDB"

    def __init__(self, folder: pathlib.Path) -> None:
        path = folder / "merges.duckdb"
        spec = model.SqlConnection(type="duckdb", name="serving", url=f"duckdb:///{path}")
        self._target: Any = duckdb.DuckDBConnection(spec, folder).open_target(OURS)
        self._target._session.open(writable=True)

    def series(self, rows: int) -> str:
        """Return a range."""
        return f"range(1, {rows} + 1) AS s (n)"

    def run(self, statement: str) -> None:
        """Run a statement."""
        self._target.run(statement)

    def target(self) -> contextlib.AbstractContextManager[merge.SqlTarget]:
        """Return our table."""
        self._target._known = None
        return contextlib.nullcontext(self._target)


class SQLite(_OnConflict):
    """A SQLite file, by its plain driver."""

    title = "SQLite"

    def __init__(self, folder: pathlib.Path) -> None:
        path = folder / "merges.sqlite"
        self._raw = sqlite3.connect(path, isolation_level=None, timeout=60)
        spec = model.SqlConnection(type="sqlite", name="serving", url=f"sqlite:///{path}")
        self._connection = sqlite.SQLiteConnection(spec, folder)

    def series(self, rows: int) -> str:
        """Return a recursive query."""
        return (
            "(WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g"
            f" LIMIT {rows}) SELECT n FROM g) AS s"
        )

    def run(self, statement: str) -> None:
        """Run a statement."""
        self._raw.execute(statement).fetchall()

    def ahead(self, cell: Cell) -> list[str]:
        """Return the index that the DELETE of a diff looks up: without it, it is quadratic."""
        key = ", ".join(SHAPES[cell.shape].key)
        index = f"CREATE UNIQUE INDEX {STAGED}_key ON {STAGED} ({key})"
        return [index] if cell.how == "diff" else []

    @contextlib.contextmanager
    def target(self) -> Iterator[merge.SqlTarget]:
        """Open our table for writing."""
        with self._connection.open_target(OURS) as target, target.lock("run1", 0):
            yield target


@contextlib.contextmanager
def places(kind: str, folder: pathlib.Path) -> Iterator[Place]:
    """Start a server, as `database` does, or make a file."""
    if kind in database.STARTS:
        with database.STARTS[kind](folder) as server:
            wanted = {"postgres": Postgres, "mariadb": MariaDB, "mysql": MySQL}[kind]
            yield wanted(server.server, folder)
    else:
        yield {"duckdb": DuckDB, "sqlite": SQLite}[kind](folder)


KINDS = ("postgres", "mariadb", "mysql", "duckdb", "sqlite")


# --- measuring ----------------------------------------------------------------------------------


def _stage(place: Place, target: merge.SqlTarget, cell: Cell, turn: int) -> str:
    """Fill both staging tables; return the name of ours."""
    shape, name = SHAPES[cell.shape], _NAMES.table("stage", OURS)
    target.drop(name)
    target.create_staging(name, list(shape.columns), pa.schema([]))
    place.run(f"DROP TABLE IF EXISTS {STAGED}")
    place.run(f"CREATE TABLE {STAGED} AS SELECT * FROM {HAND} WHERE 1 = 0")
    for query in place.staged(cell, turn):
        target.run(f"INSERT INTO {target.qualified(name)} {query}")
        place.run(f"INSERT INTO {STAGED} {query}")
    return name


def _publish(target: merge.SqlTarget, cell: Cell, name: str) -> tuple[float, float]:
    """Publish as a run does; return the seconds of the merge, and of its proof."""
    shape = SHAPES[cell.shape]
    columns, key = list(shape.columns), list(shape.key)
    began = time.perf_counter()
    target.keep_latest(name, columns, key, [])
    with target.transaction():
        if cell.how == "merge":
            target.upsert(name, columns, key, [], None)
        else:
            target.diff(name, columns, key, _WINDOW if cell.how == "replace_window" else None)
        merged = time.perf_counter()
        if target.capabilities.proof is base.Proof.DATABASE:
            selection = base.Selection(keys_of=name, key=tuple(key))
            target.fingerprint(OURS, columns, selection, hashes=True)
        proved = time.perf_counter()
    return time.perf_counter() - began - (proved - merged), proved - merged


def measured(place: Place, cell: Cell, repeat: int) -> dict[str, Any]:
    """Measure a cell; its tables are as `build`, or a cell of fewer changes, left them."""
    hand, ours = measure.Series(cell.name, kind="limit"), measure.Series(cell.name)
    proofs = []
    for number in range(repeat if cell.window < _MANY else 1):
        with place.target() as target:
            # Each turn changes the rows again.
            name = _stage(place, target, cell, time.time_ns())
            if cell.statistics == "good":
                place.rest()
            # They take turns in being the first, which finds fewer pages in memory.
            if number % 2:
                taken, proof = _publish(target, cell, name)
            hand.samples.append(measure.Sample(place.by_hand(cell), 0.0, 0))
            if not number % 2:
                taken, proof = _publish(target, cell, name)
            ours.samples.append(measure.Sample(taken, 0.0, 0))
            proofs.append(proof)
            target.drop(name)
        place.undo(cell)
    by_hand, row = hand.row(), ours.row()
    ratio = ours.median_s / hand.median_s
    row |= {f"hand_{name}": by_hand[name] for name in ("median_s", "shortest_s", "longest_s")}
    row |= {"ratio": round(ratio, 3), "proof_s": round(statistics.median(proofs), 3)}
    row["note"] = _why(place, cell, ours.median_s - hand.median_s) if ratio > MOST else ""
    measure.say(
        f"{place.title}, {cell.name}: {ours.median_s:.3f} s, by hand {hand.median_s:.3f} s,"
        f" {ratio:.2f} x"
    )
    return row


#: Times that a merge may take of the statement by hand.
MOST = 2.0
#: Rows up to which what a merge takes more is mostly what it does for any number of them.
_FEW = 10_000
#: Rows from which a cell is measured once: minutes, in which little else can make a difference.
_MANY = 1_000_000


def _why(place: Place, cell: Cell, more_s: float) -> str:
    """Return why a cell is above the aim."""
    if cell.window <= _FEW:
        return (
            f"{more_s * 1000:.0f} ms more, of any window: catalogue, statistics, locks; a longer"
            " window pays them once"
        )
    if cell.how == "replace_window":
        return (
            "looks which rows differ, and writes no others: lost where all do (`upsert` does not)"
        )
    return place.reason


def _cells(*, is_quick: bool) -> list[list[Cell]]:
    """Return the grid, in groups of cells that share their tables.

    What changes nothing comes first in its group, what adds rows is taken back.
    """
    mixes = ("unchanged", "changed", "half", "new")
    windows = (1, 1_000, 10_000, 100_000, *(() if is_quick else (1_000_000, 5_000_000)))
    small = 200_000 if is_quick else 1_000_000
    groups = [
        [
            Cell("merge", window, held, mix)
            for mix in mixes
            for window in windows
            # Half of one row is none.
            if window <= held and (window, mix) != (1, "half")
        ]
        for held in ((1_000_000,) if is_quick else (1_000_000, 10_000_000))
    ]
    groups += [
        [Cell("merge", window, window, mix) for mix in mixes]
        for window in windows[3:]
        if window != 1_000_000
    ]
    groups += [[Cell("merge", window, 0, "new") for window in windows[1:]]]
    for shape in ("composite", "text", "wide"):
        groups.append([Cell("merge", small // 10, small, mix, shape) for mix in mixes])
    for statistics_ in STATISTICS[1:]:
        groups += [
            [Cell("merge", 10_000, small, mix, "one", statistics_)] for mix in ("changed", "new")
        ]
    for how in ("diff", "replace_window"):
        rows = small // 2
        groups += [[Cell(how, rows, rows if how == "diff" else small, mix)] for mix in mixes[:3]]
    return groups


def grid(folder: pathlib.Path, kind: str, repeat: int, *, is_quick: bool) -> dict[str, Any]:
    """Measure the grid on one kind of database; return its section."""
    rows = []
    with places(kind, folder) as place:
        for group in _cells(is_quick=is_quick):
            place.build(group[0])
            rows += [measured(place, cell, repeat) for cell in group]
    return {"title": f"{place.title}, merges beside the statement by hand", "note": _NOTE,
            "rows": rows}  # fmt: skip


_NOTE = (
    "Both find the same rows staged and end with the COMMIT. By hand: `INSERT … ON CONFLICT DO"
    " UPDATE` of what differs (`ON DUPLICATE KEY UPDATE`); of a diff, a DELETE before; of a window,"
    " DELETE and INSERT. Ours looks for doubled keys too, and has a fixed cost of some"
    " milliseconds: the staged rows' statistics or the index over their keys, the catalogue, locks."
    " The proof is told apart: by hand there is none. Cells above 2 x say why, and what to do."
)
