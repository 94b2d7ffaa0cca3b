"""All that a run finds in a place: every table with its definition and rows, files, the ledger.

Two worlds that are equal here are the same for the next run: what is random, or the moment, is
replaced by what stands for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import sqlite3
from typing import Any, Protocol, runtime_checkable

from tests.crash import crash_place


@dataclasses.dataclass(frozen=True)
class World:
    """What a run finds.

    Attributes:
        tables: their definitions, those of leftovers too.
        rest: rows of all tables, files, rows of the ledger.
    """

    tables: str
    rest: str


_RUN = re.compile(r"\d{14}[0-9a-f]{12}")
_MEANINGLESS = (
    (re.compile(r"crash_[0-9a-f]{8}"), "DATABASE"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?"), "MOMENT"),
    (re.compile(r"process \d+"), "process PID"),
    # What a holder's lease changes all the time.
    (re.compile(r'"pid":\d+,"nonce":"\w+","counter":\d+'), "HOLDER"),
)
#: Columns of the ledger that say who ran, when and for how long.
_INCIDENTAL = {"pid", "phase_seconds"}

_POSTGRES = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.reloptions, c.relacl::text,
    c.relowner::regrole::text, obj_description(c.oid, 'pg_class'),
    CASE WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid) END,
    (SELECT concat(indisvalid, indisready, indisprimary, indisclustered, indisreplident)
     FROM pg_index WHERE indexrelid = c.oid),
    (SELECT array_agg(
         concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
             attgenerated, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
         ORDER BY attnum)
     FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT array_agg(
         concat_ws(' ', conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint'))
         ORDER BY conname)
     FROM pg_constraint WHERE conrelid = c.oid),
    (SELECT array_agg(tgname ORDER BY tgname) FROM pg_trigger
     WHERE tgrelid = c.oid AND NOT tgisinternal)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""
_POSTGRES_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')
ORDER BY 1
"""
_POSTGRES_LOCKS = """
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
    (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())
"""
_DUCKDB = (
    "SELECT schema_name, table_name, sql, comment, temporary FROM duckdb_tables()"
    " WHERE database_name = current_database() ORDER BY ALL",
    "SELECT schema_name, table_name, index_name, sql, comment FROM duckdb_indexes()"
    " WHERE database_name = current_database() ORDER BY ALL",
    "SELECT table_name, column_name, data_type, is_nullable, column_default, comment"
    " FROM duckdb_columns() WHERE database_name = current_database() AND NOT internal ORDER BY ALL",
    "SELECT view_name, sql FROM duckdb_views()"
    " WHERE database_name = current_database() AND NOT internal ORDER BY ALL",
    "SELECT schema_name FROM duckdb_schemas()"
    " WHERE database_name = current_database() AND NOT internal ORDER BY ALL",
)


@runtime_checkable
class Described(Protocol):
    """A place that says itself what its tables are."""

    def definitions(self) -> list[object]:
        """Each table's, with those of leftovers."""

    def contents(self) -> list[object]:
        """Rows of all tables, and files."""


def see(place: crash_place.Place, ledger: pathlib.Path) -> World:
    """Return what a run would find now; what dead processes hold must be gone."""
    # Files first: to look into a database is to take up what is left beside it.
    files = _files(place)
    definitions = _definitions(place)
    rest = [*files, *_rows(place), *_run_rows(ledger)]
    # Together: a run has one name in all of it.
    text = plain("\0".join(_text(lines) for lines in (definitions, rest)), place.folder)
    return World(*text.split("\0"))


def tables(place: crash_place.Place) -> str:
    """Return the definitions of all tables, as `see` does."""
    return plain(_text(_definitions(place)), place.folder)


def plain(text: str, folder: pathlib.Path) -> str:
    """Return a text without what differs from one test or run to the next and means nothing."""
    runs: dict[str, str] = {}
    text = _RUN.sub(lambda found: runs.setdefault(found[0], f"RUN{len(runs) + 1}"), text)
    for pattern, word in _MEANINGLESS:
        text = pattern.sub(word, text)
    return text.replace(str(folder), "FOLDER")


def _text(lines: list[object]) -> str:
    return "\n".join(map(str, lines))


def _files(place: crash_place.Place) -> list[object]:
    """Files beside the database; of a log it matters that there is one."""
    if not isinstance(place, crash_place._FilePlace):
        return []
    found: list[object] = []
    for path in sorted(place.data.iterdir()):
        is_text = path.suffix == ".lock"
        found.append((path.name, path.read_text() if is_text else path.stat().st_size > 0))
    return found


def _run_rows(ledger: pathlib.Path) -> list[object]:
    with contextlib.closing(sqlite3.connect(ledger)) as raw:
        raw.row_factory = sqlite3.Row
        rows = raw.execute("SELECT * FROM tmg_etl_run ORDER BY id").fetchall()
    return [
        [(name, row[name]) for name in row.keys() if name not in _INCIDENTAL]  # noqa: SIM118
        for row in rows
    ]


def _definitions(place: crash_place.Place) -> list[object]:
    match place:
        case crash_place.PostgresPlace():
            return [*place._rows(_POSTGRES), *place._rows(_POSTGRES_LOCKS)]
        case crash_place.MySQLPlace():
            names = [name for name, _ in place._do("SHOW FULL TABLES")]
            created = [place._do(f"SHOW CREATE TABLE `{name}`")[0] for name in sorted(names)]
            return [*created, *place._do("SHOW TRIGGERS")]
        case crash_place.DuckDBPlace():
            return [*_of_duckdb(place, *_DUCKDB)]
        case crash_place.SQLitePlace():
            return _of_sqlite(place, "SELECT * FROM sqlite_schema ORDER BY type, name")
        case Described():
            return place.definitions()
    raise TypeError(type(place).__name__)


def _rows(place: crash_place.Place) -> list[object]:
    match place:
        case crash_place.PostgresPlace():
            return [
                (name, place._rows(f"SELECT x::text FROM {name} AS x ORDER BY 1"))
                for (name,) in place._rows(_POSTGRES_TABLES)
            ]
        case crash_place.MySQLPlace():
            names = sorted(name for name, _ in place._do("SHOW FULL TABLES"))
            return [(name, sorted(place._do(f"SELECT * FROM `{name}`"), key=str)) for name in names]
        case crash_place.DuckDBPlace():
            tables = _of_duckdb(place, _DUCKDB[0])
            names = [f'"{schema}"."{name}"' for found in tables for schema, name, *_ in found]
            queries = [f"SELECT * FROM {name} ORDER BY ALL" for name in names]
            return [*zip(names, _of_duckdb(place, *queries), strict=True)]
        case crash_place.SQLitePlace():
            tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            names = [str(name) for (name,) in _of_sqlite(place, tables)]
            queries = [f'SELECT * FROM "{name}" ORDER BY 1' for name in names]
            return [*zip(names, (_of_sqlite(place, query) for query in queries), strict=True)]
        case Described():
            return place.contents()
    raise TypeError(type(place).__name__)


def _of_duckdb(place: crash_place.DuckDBPlace, *queries: str) -> list[list[tuple[Any, ...]]]:
    return place._ask(*queries) if queries and place.path.exists() else []


def _of_sqlite(place: crash_place.SQLitePlace, query: str) -> list[Any]:
    if not place.path.exists():
        return []
    with contextlib.closing(sqlite3.connect(place.path)) as raw:
        return raw.execute(query).fetchall()
