"""The rows: TPC-H as Parquet, the same as ready text, and deltas of them."""

from __future__ import annotations

import functools
import pathlib
import subprocess
import sys

BIN = pathlib.Path(sys.executable).parent

TABLES = {
    "orders": """
CREATE TABLE {name} (
  o_orderkey BIGINT NOT NULL PRIMARY KEY, o_custkey BIGINT, o_orderstatus {char},
  o_totalprice DECIMAL(15,2), o_orderdate DATE, o_orderpriority {char}, o_clerk {char},
  o_shippriority INT, o_comment {char}
)""",
    "lineitem": """
CREATE TABLE {name} (
  l_orderkey BIGINT NOT NULL, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT NOT NULL,
  l_quantity DECIMAL(15,2), l_extendedprice DECIMAL(15,2), l_discount DECIMAL(15,2),
  l_tax DECIMAL(15,2), l_returnflag {char}, l_linestatus {char}, l_shipdate DATE,
  l_commitdate DATE, l_receiptdate DATE, l_shipinstruct {char}, l_shipmode {char},
  l_comment {char}, PRIMARY KEY (l_orderkey, l_linenumber)
)""",
}
KEYS = {"orders": ["o_orderkey"], "lineitem": ["l_orderkey", "l_linenumber"]}
#: Rows of a delta: three quarters of them change a row, the others are new.
DELTA_ROWS = 10_000
#: Of orders: how many, and the sums of the key, an amount and the lengths of a text.
SUMS = (
    "COUNT(*), SUM(o_orderkey), SUM(CAST(o_totalprice AS DECIMAL(18, 2))),"
    " SUM(CHAR_LENGTH(o_comment))"
)
_TEXT = "FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '', ESCAPE '', NULL '\\N'"

_EXPORT = (
    "import duckdb, sys; c = duckdb.connect(); c.execute('SET enable_progress_bar = false');"
    " c.execute(sys.argv[1])"
)


def tpch(folder: pathlib.Path, table: str, scale: float) -> pathlib.Path:
    """Return the Parquet file of a TPC-H table at a scale; made once."""
    path = folder / f"{table}.parquet"
    if not path.exists():
        subprocess.run(
            [BIN / "tpchgen-cli", "parquet", "--scale-factor", f"{scale:g}", f"--tables={table}",
             f"--output-dir={folder}"],
            check=True,
            capture_output=True,
        )  # fmt: skip
    return path


def export(query: str, path: pathlib.Path, options: str = "FORMAT parquet") -> pathlib.Path:
    """Write the rows of a query to a file, by DuckDB in a process of its own, once.

    A child begins its life with the resident size of its parent: had this process read the data,
    every peak measured after it would be too high.
    """
    if not path.exists():
        statement = f"COPY ({query}) TO '{path}' ({options})"
        subprocess.run(
            [sys.executable, "-c", _EXPORT,
             statement],
            check=True,
        )  # fmt: skip
    return path


@functools.cache
def sums(parquet: pathlib.Path) -> list[int]:
    """Return `SUMS` of a file, in whole numbers."""
    query = f"SELECT {SUMS.replace('CHAR_LENGTH', 'length')} FROM '{parquet}'"
    program = "import duckdb, sys; print(*duckdb.connect().execute(sys.argv[1]).fetchone())"
    done = subprocess.run(
        [sys.executable, "-c", program, query], check=True, capture_output=True, text=True
    )
    return [round(float(one)) for one in done.stdout.split()]


def text(parquet: pathlib.Path) -> pathlib.Path:
    """Return the ready text file that a raw load reads."""
    # The values hold no tab, newline or backslash: TPC-H text is plain words.
    return export(f"SELECT * FROM '{parquet}'", parquet.with_suffix(".tsv"), _TEXT)


def halves(path: pathlib.Path) -> list[pathlib.Path]:
    """Return a text file in two halves."""
    found = [path.with_suffix(f".{number}.tsv") for number in (0, 1)]
    if not found[0].exists():
        rows = path.read_bytes()
        middle = rows.find(b"\n", len(rows) // 2) + 1
        found[0].write_bytes(rows[:middle])
        found[1].write_bytes(rows[middle:])
    return found


def many_orders(folder: pathlib.Path, orders: pathlib.Path, rows: int) -> pathlib.Path:
    """Return a Parquet file of so many orders, with keys of their own, in the order of the key."""
    query = (
        "SELECT i * 10000000 + o_orderkey AS o_orderkey, * EXCLUDE (o_orderkey, i)"
        f" FROM range(16) r(i), '{orders}' ORDER BY 1 LIMIT {rows}"
    )
    return export(query, folder / f"orders_{rows}.parquet")


def _comment(number: int) -> str:
    """Return what a change writes; its length tells that it was written."""
    return f"change {'x' * number}"


def delta(folder: pathlib.Path, base: pathlib.Path, rows: int, number: int) -> pathlib.Path:
    """Return a Parquet file of changes to a table of `rows` orders, all of the day 2026-01-01."""
    changed = DELTA_ROWS * 3 // 4
    query = (
        f"SELECT CASE WHEN n > {changed} THEN 9000000000 + n ELSE o_orderkey END AS o_orderkey,"
        " * EXCLUDE (o_orderkey, o_orderdate, o_comment, n), DATE '2026-01-01' AS o_orderdate,"
        f" '{_comment(number)}' AS o_comment FROM (SELECT *, row_number() OVER () AS n FROM"
        f" (SELECT * FROM '{base}' ORDER BY hash(o_orderkey) LIMIT {DELTA_ROWS}))"
    )
    ordered = (
        "SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority,"
        f" o_clerk, o_shippriority, o_comment FROM ({query})"
    )
    return export(ordered, folder / f"delta_{rows}_{number}.parquet")


def version(folder: pathlib.Path, base: pathlib.Path, number: int) -> pathlib.Path:
    """Return a Parquet file of a table's rows in one of its versions.

    Each next version changes three quarters of `DELTA_ROWS` rows, has as many other rows as the
    rest, and lacks those that the version before had instead.
    """
    changed, added = DELTA_ROWS * 3 // 4, DELTA_ROWS // 4
    query = (
        f"SELECT * EXCLUDE (o_comment, n), CASE WHEN n <= {changed} THEN '{_comment(number)}'"
        f" ELSE o_comment END AS o_comment FROM (SELECT *, row_number() OVER"
        f" (ORDER BY hash(o_orderkey)) AS n FROM '{base}')"
        f" UNION ALL SELECT {9_000_000_000 + number * added} + row_number() OVER (),"
        f" * EXCLUDE (o_orderkey) FROM (FROM '{base}' ORDER BY hash(o_orderkey) LIMIT {added})"
        " ORDER BY o_orderkey"
    )
    return export(query, folder / f"{base.stem}_version_{number}.parquet")
