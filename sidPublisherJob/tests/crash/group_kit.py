"""Two tables, ``t`` and ``u``, that are published together; their rows are looked at as one.

Numbers from 100 on are those of ``u``: so what is compared is both tables at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import sqlite3
from typing import Any

import duckdb
import pytest
import yaml

from tests.crash import crash_kit, crash_place
from tmg_etl.testing import fault

Row = crash_place.Row
_ROWS = "SELECT * FROM t UNION ALL SELECT * FROM u ORDER BY id"
_COLUMNS = "id BIGINT NOT NULL PRIMARY KEY, day DATE NOT NULL, version BIGINT, note VARCHAR(20)"
_CREATE = f"CREATE TABLE u ({_COLUMNS})"
_SHARE = ("DELETE FROM u", "INSERT INTO u SELECT * FROM t WHERE id >= 100")
_KEEP = "DELETE FROM t WHERE id >= 100"


def of_u(rows: list[Row]) -> list[Row]:
    """Return rows as `u` has them."""
    return [(100 + number, day, version, note) for number, day, version, note in rows]


OLD = [*crash_kit.OLD, *of_u(crash_kit.OLD[:3])]
FULL = [*crash_kit.FULL, *of_u(crash_kit.FULL)]
#: `t` is merged, and `u`, which has no delta, refreshed.
MERGED = [*crash_kit.UPSERTED, *of_u(crash_kit.FULL)]

MODES = {
    "swap": crash_kit.Mode("swapped", "truncate", FULL),
    "in_place": crash_kit.Mode("merged", "delta", MERGED),
}


class PostgresPair(crash_place.PostgresPlace):
    def _make(self) -> None:
        super()._make()
        with self._raw() as raw:
            raw.execute(_CREATE)

    def reset(self, rows: list[Row]) -> None:
        super().reset(rows)
        with self._raw() as raw, raw.transaction():
            for statement in (*_SHARE, _KEEP):
                raw.execute(statement)

    def rows(self) -> list[Row]:
        return self._rows(_ROWS)


class MySQLPair(crash_place.MySQLPlace):
    def _make(self) -> None:
        super()._make()
        self._do(_CREATE)

    def reset(self, rows: list[Row]) -> None:
        super().reset(rows)
        self._do(*_SHARE, _KEEP)

    def rows(self) -> list[Row]:
        return self._do(_ROWS)


class DuckDBPair(crash_place.DuckDBPlace):
    def _make(self, path: pathlib.Path, rows: list[Row]) -> None:
        super()._make(path, rows)
        with duckdb.connect(str(path)) as raw:
            for statement in (_CREATE, *_SHARE, _KEEP):
                raw.execute(statement).fetchall()

    def rows(self) -> list[Row]:
        return self._ask(_ROWS)[0]

    def look(self) -> tuple[list[Row], list[str]]:
        return self.rows(), self.leftovers()


class SQLitePair(crash_place.SQLitePlace):
    def _make(self, path: pathlib.Path, rows: list[Row]) -> None:
        super()._make(path, rows)
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            for statement in (_CREATE, *_SHARE, _KEEP):
                raw.execute(statement)

    def rows(self) -> list[Row]:
        with contextlib.closing(sqlite3.connect(self.path)) as raw:
            found = raw.execute(_ROWS).fetchall()
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [(number, datetime.date.fromisoformat(day), *rest) for number, day, *rest in found]


def make_place(
    kind: str, folder: pathlib.Path, request: pytest.FixtureRequest
) -> crash_place.Place:
    """Return two tables in that kind of database."""
    match kind:
        case "postgres":
            return PostgresPair(folder, request.getfixturevalue("postgres_server"))
        case "mariadb" | "mysql":
            return MySQLPair(folder, request.getfixturevalue(f"{kind}_server"))
        case "duckdb":
            return DuckDBPair(folder)
        case _:
            return SQLitePair(folder)


@dataclasses.dataclass(frozen=True)
class Bench(crash_kit.Bench):
    """A bench whose runs are those of groups."""

    def write_config(self, **more: Any) -> None:
        """Write the lake and the config with a group for each mode."""
        lake = self.folder / "lake"
        lake.mkdir(exist_ok=True)
        crash_kit.write_rows(lake / "t.parquet", crash_kit.FULL)
        crash_kit.write_rows(lake / "u.parquet", of_u(crash_kit.FULL))
        crash_kit.write_rows(lake / "changed.parquet", crash_kit.CHANGED)

        def member(group: str, source: str, table: str, **own: Any) -> dict[str, Any]:
            return {
                "source": {"connection": "lake", "table": source},
                "target": {"connection": "serving", "table": table},
                "publish_group": group,
                "key": ["id"],
                "batch_rows": 2,
                "lock_wait_s": 5,
                **own,
                **more,
            }

        config = {
            "connections": {
                "lake": {"type": "files", "url": str(lake)},
                "serving": dict(self.place.connection),
            },
            "ledger": f"sqlite:///{self.folder / 'ledger.db'}",
            "transfers": {
                "u_swapped": member("swapped", "u", "u"),
                "t_swapped": member("swapped", "t", "t"),
                "u_merged": member("merged", "u", "u"),
                "t_merged": member(
                    *("merged", "changed", "t"),
                    delta={"cursor": "day", "order_by": ["version"]},
                ),
            },
        }
        self.config.write_text(yaml.safe_dump(config))

    def count_points(self, mode: crash_kit.Mode, old: list[Row] | None = OLD) -> list[fault.Point]:
        """Return the points of a run without a fault."""
        return super().count_points(mode, old)
