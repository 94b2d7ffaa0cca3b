"""What is kept of replaced tables, as tests of rollbacks look at it."""

from __future__ import annotations

import contextlib
import datetime
import re
import sqlite3

from tests.crash import crash_kit, crash_place
from tmg_etl.testing import fault

KEPT = "_tmg_prev_"
#: Names of the parts of kept tables on PostgreSQL.
PART = "_tmg_part_"

_NAME = re.compile(KEPT + r"[0-9a-f]{12}_[0-9a-z]{26}")


def kept(place: crash_place.Place) -> list[str]:
    """Names of kept tables."""
    # Indexes that a rollback builds on one begin with its name.
    return sorted(name for name in place.leftovers() if _NAME.fullmatch(name))


def require_clean(bench: crash_kit.Bench, what: object) -> None:
    """Nothing temporary is left but kept tables, with whatever a server hangs on them."""
    bench.place.settle()
    left = [name for name in bench.place.leftovers() if not name.startswith((KEPT, PART))]
    assert left == [], what
    assert bench.open_rows() == [], what


def drop_kept(place: crash_place.Place) -> None:
    """Begin without kept tables; a file is copied anew anyway."""
    names = kept(place)
    if isinstance(place, crash_place.PostgresPlace):
        with place._raw() as raw:
            for name in names:
                raw.execute(f"DROP TABLE {name}")
    elif isinstance(place, crash_place.MySQLPlace):
        place._do(*(f"DROP TABLE {name}" for name in names), "SELECT 1")


def rows(place: crash_place.Place, *names: str) -> list[crash_kit.Row]:
    """The rows of other tables than the target, of all of them together."""
    query = f"{' UNION ALL '.join(f'SELECT * FROM {name}' for name in names)} ORDER BY id"
    match place:
        case crash_place.PostgresPlace():
            return place._rows(query)
        case crash_place.MySQLPlace():
            return place._do(query)
        case crash_place.DuckDBPlace():
            return place._ask(query)[0]
        case crash_place.SQLitePlace():
            with contextlib.closing(sqlite3.connect(place.path)) as raw:
                found = raw.execute(query).fetchall()
            return [(id, datetime.date.fromisoformat(day), *rest) for id, day, *rest in found]
    raise TypeError(type(place).__name__)


def points_of(points: list[fault.Point]) -> list[fault.Point]:
    """The points from the one before a kept table is named; a run is like any other until then."""
    words = (KEPT, PART, "RENAME")
    named = (
        at
        for at, point in enumerate(points)
        if not point.is_after and any(word in point.statement for word in words)
    )
    return points[max(next(named) - 2, 0) :]
