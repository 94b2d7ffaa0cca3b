"""Publish TPC-H orders to MariaDB and PostgreSQL, beside the raw load of the same rows.

    script/benchmark [--scale 1] [--repeat 3] [--only mysql|postgres|memory]

Everything is measured in one session, interleaved, as whole processes: the server's own client
loading a ready text file into the same table (the limit), and the command `pipeline`.
"""

from __future__ import annotations

import abc
import argparse
import datetime
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable

from benchmarks import measure
from tmg_etl.testing import process, servers

HERE = pathlib.Path(__file__).parent
BIN = pathlib.Path(sys.executable).parent
LEVELS = ("off", "count", "fingerprint")

TABLE = """
CREATE TABLE {name} (
  o_orderkey BIGINT NOT NULL PRIMARY KEY, o_custkey BIGINT, o_orderstatus {char},
  o_totalprice DECIMAL(15,2), o_orderdate DATE, o_orderpriority {char}, o_clerk {char},
  o_shippriority INT, o_comment {char}
)"""

CONFIG = """
connections:
  lake: {{type: files, url: {lake}}}
  serving: {{type: {kind}, url: "{url}"}}
ledger: "sqlite:///{folder}/ledger.db"
transfers:
  orders:
    source: {{connection: lake, path: {path}}}
    target: {{connection: serving, table: orders}}
    key: [o_orderkey]
    publish: swap
"""


def make_orders(folder: pathlib.Path, scale: float) -> pathlib.Path:
    """Return the Parquet file of TPC-H orders at a scale; made once."""
    path = folder / "orders.parquet"
    if not path.exists():
        subprocess.run(
            [BIN / "tpchgen-cli", "parquet", "--scale-factor", f"{scale:g}", "--tables=orders",
             f"--output-dir={folder}"],
            check=True,
            capture_output=True,
        )  # fmt: skip
    return path


def export(query: str, path: pathlib.Path, options: str) -> None:
    """Write the rows of a query to a file, by DuckDB in a process of its own.

    A child begins its life with the resident size of its parent: had this process read the data,
    every peak measured after it would be too high.
    """
    statement = f"COPY ({query}) TO '{path}' ({options})"
    subprocess.run(
        [sys.executable, "-c", "import duckdb, sys; duckdb.connect().execute(sys.argv[1])",
         statement],
        check=True,
    )  # fmt: skip


def write_text(parquet: pathlib.Path, path: pathlib.Path) -> None:
    """Write the ready text file that the raw load reads."""
    # The values hold no tab, newline or backslash: TPC-H text is plain words.
    export(
        f"SELECT * FROM '{parquet}'",
        path,
        "FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '', ESCAPE '', NULL '\\N'",
    )


class Database(abc.ABC):
    """One server and how its own client loads a file."""

    kind: str
    char: str

    def __init__(self, server: process.Server, folder: pathlib.Path) -> None:
        self.folder = folder
        self.url = server.create_database("bench")
        self.parts = urllib.parse.urlsplit(self.url)

    def config(self, orders: pathlib.Path) -> pathlib.Path:
        """Write the config of the transfer and return its path."""
        path = self.folder / f"{self.kind}.yaml"
        path.write_text(
            CONFIG.format(
                lake=orders.parent, kind=self.kind, url=self.url, folder=self.folder,
                path=orders.name,
            )
        )  # fmt: skip
        return path

    @abc.abstractmethod
    def client(self, statement: str, stdin: str | None = None) -> measure.Sample:
        """Run a statement with the server's own command-line client."""

    def create(self, name: str) -> None:
        """Create an empty table with its primary key."""
        self.client(f"DROP TABLE IF EXISTS {name}")
        self.client(TABLE.format(name=name, char=self.char))

    @abc.abstractmethod
    def load_raw(self, text: pathlib.Path) -> measure.Sample:
        """Load the ready file into a new table with the server's own client."""


class Postgres(Database):
    """PostgreSQL and psql."""

    kind, char = "postgres", "TEXT"

    def client(self, statement: str, stdin: str | None = None) -> measure.Sample:
        """Run a statement with psql."""
        return measure.run(
            ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", self.url, "-c", statement],
            stdin=stdin,
        )

    def load_raw(self, text: pathlib.Path) -> measure.Sample:
        """Load by COPY FROM STDIN."""
        self.create("raw_orders")
        return self.client("COPY raw_orders FROM STDIN", stdin=str(text))


class MySQL(Database):
    """MariaDB and its client."""

    kind, char = "mysql", "VARCHAR(255)"

    def client(self, statement: str, stdin: str | None = None) -> measure.Sample:
        """Run a statement with mariadb."""
        parts = self.parts
        return measure.run(
            ["mariadb", "--no-defaults", f"--host={parts.hostname}", f"--port={parts.port}",
             f"--user={parts.username}", "--local-infile=1", "--protocol=tcp",
             parts.path.strip("/"), "-e", statement],
            environment={"MYSQL_PWD": urllib.parse.unquote(parts.password or "")},
            stdin=stdin,
        )  # fmt: skip

    def load_raw(self, text: pathlib.Path) -> measure.Sample:
        """Load by LOAD DATA LOCAL INFILE."""
        self.create("raw_orders")
        return self.client(
            f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE raw_orders CHARACTER SET utf8mb4"
        )


def publish(config: pathlib.Path, verify: str) -> measure.Sample:
    """Publish orders with the command, as a whole process."""
    return measure.run(
        [str(BIN / "pipeline"), "20260101", "orders", "truncate", str(config),
         "--verify", verify, "--no-progress"]
    )  # fmt: skip


def compare(database: Database, orders: pathlib.Path, repeat: int) -> list[measure.Series]:
    """Measure the limit and every level of verification, interleaved."""
    text = database.folder / "orders.tsv"
    write_text(orders, text)
    database.create("orders")
    config = database.config(orders)
    work: dict[str, Callable[[], measure.Sample]] = {
        "raw load of a ready file": lambda: database.load_raw(text)
    }
    for level in LEVELS:
        work[f"pipeline, verify {level}"] = lambda level=level: publish(config, level)
    series = {name: measure.Series(name) for name in work}
    for _ in range(repeat):
        for name, call in work.items():
            series[name].samples.append(call())
    text.unlink()
    return list(series.values())


def compare_memory(folder: pathlib.Path, orders: pathlib.Path) -> list[measure.Series]:
    """Measure the peak memory of publishing 500,000 and 5,000,000 rows into each server."""
    result = []
    for rows in (500_000, 5_000_000):
        path = folder / f"orders_{rows}.parquet"
        export(
            "SELECT i * 10000000 + o_orderkey AS o_orderkey, * EXCLUDE (o_orderkey, i)"
            f" FROM '{orders}', range(100) r(i) LIMIT {rows}",
            path,
            "FORMAT parquet",
        )
        result.append((rows, path))
    series = []
    with servers.PostgresServer() as postgres, servers.MariaDBServer() as mariadb:
        for database in (Postgres(postgres, folder), MySQL(mariadb, folder)):
            database.create("orders")
            for rows, path in result:
                name = f"{database.kind}, {rows:,} rows"
                series.append(measure.Series(name, [publish(database.config(path), "fingerprint")]))
    return series


def render(title: str, series: list[measure.Series]) -> list[str]:
    """Return one Markdown section; the first series is the limit."""
    limit = series[0].median_s
    lines = [
        f"## {title}",
        "",
        "| work | wall, median (s) | range (s) | ratio to limit | client CPU (s) | peak (MiB) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.name} | {one.median_s:.1f} | {one.spread} | {one.median_s / limit:.2f}"
        f" | {one.cpu_s:.1f} | {one.peak_mib:.0f} |"
        for one in series
    ]
    return [*lines, ""]


def render_memory(series: list[measure.Series]) -> list[str]:
    """Return the section on memory."""
    lines = ["## Memory does not grow with the table", "", "| work | peak (MiB) | wall (s) |",
             "| --- | --- | --- |"]  # fmt: skip
    lines += [f"| {one.name} | {one.peak_mib:.0f} | {one.median_s:.1f} |" for one in series]
    return [*lines, ""]


def header(scale: float, repeat: int) -> list[str]:
    """Return what was measured, on what."""
    today = datetime.datetime.now(datetime.UTC)
    mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return [
        "# Results",
        "",
        f"`script/benchmark --scale {scale:g} --repeat {repeat}` on {today:%Y-%m-%d}:"
        f" {os.cpu_count()} cores, {mib:,} MiB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}. Servers are durable: PostgreSQL with fsync,"
        " MariaDB with its redo log flushed at each commit and the binary log on.",
        "The limit is the server's own client loading a ready text file into the same table, its"
        " primary key in place. Compare ratios, not seconds.",
        "",
    ]


def main() -> None:
    """Measure and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor (default 1)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each work (default 3)")
    parser.add_argument("--only", choices=["mysql", "postgres", "memory"], action="append")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "RESULTS.md")
    arguments = parser.parse_args()
    chosen = arguments.only or ["mysql", "postgres", "memory"]
    lines = header(arguments.scale, arguments.repeat)
    with tempfile.TemporaryDirectory(prefix="tmg_etl_bench_") as name:
        folder = pathlib.Path(name)
        orders = make_orders(folder, arguments.scale)
        if "mysql" in chosen:
            with servers.MariaDBServer(durable=True) as server:
                series = compare(MySQL(server, folder), orders, arguments.repeat)
            lines += render("orders, Parquet to MariaDB, truncate", series)
        if "postgres" in chosen:
            with servers.PostgresServer(durable=True) as server:
                series = compare(Postgres(server, folder), orders, arguments.repeat)
            lines += render("orders, Parquet to PostgreSQL, truncate", series)
        if "memory" in chosen:
            lines += render_memory(compare_memory(folder, orders))
    arguments.output.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
