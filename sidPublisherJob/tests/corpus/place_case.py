"""What stands where a file is expected: folders, links, devices, things that may not be read."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tests.corpus import corpus_kit

_CSV = "id,v,name\n1,2,x\n"
_NO_TABLE = "lake: no table 'rows': looked in lake for rows/, rows.parquet, rows.csv,"


def _fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


def _link(target: str) -> Callable[[pathlib.Path], None]:
    def write(path: pathlib.Path) -> None:
        path.symlink_to(target)

    return write


def _case(
    code: int,
    *says: str,
    source: Mapping[str, Any] | None = None,
    text: str | None = None,
    **files: Any,
) -> corpus_kit.Case:
    """A case whose files are keywords: a dot is written _ in them, a slash __."""
    named = {name.replace("__", "/").replace("_", "."): item for name, item in files.items()}
    return corpus_kit.Case(code, says, files=named, source=source, text=text)


def _elsewhere(code: int, says: str, old: str, new: str) -> corpus_kit.Case:
    """A case with a good file, whose config has `new` for `old`."""
    return _case(code, says, text=corpus_kit.CONFIG.replace(old, new), rows_csv=_CSV)


def _folder(path: pathlib.Path) -> None:
    path.mkdir()


CASES = {
    "no file": _case(78, _NO_TABLE),
    "an empty folder": _case(78, "lake: table 'rows' holds no files: lake/rows", rows=_folder),
    "a folder called like a file": _case(78, _NO_TABLE, rows_csv=_folder),
    "a folder called like a file, by its path": _case(
        78,
        "lake: path 'rows.csv' holds no files: lake/rows.csv",
        source={"path": "rows.csv"},
        rows_csv=_folder,
    ),
    "a link to nowhere": _case(78, _NO_TABLE, rows_csv=_link("nowhere")),
    "a link to nowhere in a folder": _case(
        78,
        "lake/rows/a.csv: No such file or directory",
        rows__a_csv=_link("nowhere"),
        rows__b_csv=_CSV,
    ),
    "a link to itself": _case(78, _NO_TABLE, rows_csv=_link("rows.csv")),
    "a pipe that nobody writes to": _case(78, _NO_TABLE, rows_csv=_fifo),
    "a pipe in a folder": _case(78, "lake/rows/a.csv is no regular file", rows__a_csv=_fifo),
    "a link to a device": _case(78, _NO_TABLE, rows_csv=_link("/dev/zero")),
    "only hidden files": _case(
        78, "lake: table 'rows' holds no files: lake/rows", rows___a_csv=_CSV
    ),
    "a path that is not there": _case(
        78,
        "lake: path 'rosw.csv': lake/rosw.csv does not exist",
        source={"path": "rosw.csv"},
        rows_csv=_CSV,
    ),
    "a glob that nothing matches": _case(
        78, "lake: no file matches lake/*.parquet", source={"path": "*.parquet"}, rows_csv=_CSV
    ),
    "a glob without its end": _case(
        78, "lake: no file matches lake/[a", source={"path": "[a"}, rows_csv=_CSV
    ),
    "a path with a NUL": _case(
        78,
        "lake: path 'a\\x00b': lake/a\\x00b does not exist",
        source={"path": "a\0b"},
        rows_csv=_CSV,
    ),
    "a path of ten thousand characters": _case(
        78, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", source={"path": "x" * 10_000}
    ),
    "an ending that says nothing": _case(
        78,
        "lake: path 'rows.txt': the format of lake/rows.txt is not known by its name",
        source={"path": "rows.txt"},
        rows_txt=_CSV,
    ),
    "a lake that is not there": _elsewhere(
        78, "lake: no table 'rows': the folder pond does not exist", "url: lake/", "url: pond/"
    ),
    "a lake that is a file": _elsewhere(
        78,
        "lake: no table 'rows': the folder config.yaml does not exist",
        "url: lake/",
        "url: config.yaml",
    ),
    "a target in a folder that is not there": _elsewhere(
        78, "t of no/serving.db cannot be locked", "///serving.db", "///no/serving.db"
    ),
    "a target that is no database": _elsewhere(
        78, "file is not a database", "///serving.db", "///config.yaml"
    ),
    "a target that is a folder": _elsewhere(
        78, "lake is a folder, not a SQLite file", "///serving.db", "///lake"
    ),
    "a DuckDB that is an SQLite": _elsewhere(
        78,
        "serving.db is an SQLite file",
        'sqlite, url: "sqlite:///serving',
        'duckdb, url: "duckdb:///serving',
    ),
    "a target table with a NUL": _elsewhere(
        78, "found a name with invisible characters", "table: t}", 'table: "t\\0"}'
    ),
    "a target of a server that is away": _elsewhere(
        75,
        "connection 'other' (u@127.0.0.1): connection failed",
        "target: {connection: serving",
        "target: {connection: other",
    ),
}
