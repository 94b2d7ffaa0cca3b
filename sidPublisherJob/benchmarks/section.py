"""The parts of the benchmark: what each measures, and against which limit."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import data, database, measure, merge, ours, peers

LEVELS = ("off", "count", "fingerprint")
#: At scale 1.
DELTA_TARGETS = (1_000_000, 6_000_000)
#: More than elsewhere: it sends a million rows and joins them with as many.
DIFF_PATIENCE_S = 200
MEMORY_ROWS = (500_000, 24_000_000)


@dataclasses.dataclass(frozen=True)
class Scope:
    """What to measure.

    Attributes:
        folder: for data and results; kept from part to part.
        scale: TPC-H scale factor.
        repeat: repetitions of each piece of work.
        with_peers: whether other tools are measured.
        is_quick: whether of merges the small part of the grid is enough.
        databases: kinds to measure deltas and merges on; empty: all.
    """

    folder: pathlib.Path
    scale: float
    repeat: int
    with_peers: bool
    is_quick: bool = False
    databases: tuple[str, ...] = ()

    def kinds(self, known: Iterable[str]) -> list[str]:
        """Return those of some kinds of databases that are measured."""
        return [kind for kind in known if not self.databases or kind in self.databases]


def titled(title: str, series: list[measure.Series], note: str = "") -> dict[str, Any]:
    """Return a section of RESULTS.json; a ratio is that to the first limit."""
    rows = [one.row() for one in series if one.samples]
    limit = next((row["median_s"] for row in rows if row["kind"] == "limit"), None)
    for row in rows:
        row["ratio"] = round(row["median_s"] / limit, 3) if limit else None
    missing = "; ".join(f"{one.name}: {one.failed}" for one in series if one.failed)
    note += " " * bool(note and missing) + (missing and f"Without figures: {missing}.")
    return {"title": title, "note": note, "rows": rows}


def load(scope: Scope, kind: str) -> list[dict[str, Any]]:
    """Publish orders and lineitem from Parquet, beside the raw load and other tools."""
    found = []
    with database.STARTS[kind](scope.folder) as server:
        for table in ("orders", "lineitem"):
            parquet = data.tpch(scope.folder, table, scope.scale)
            text = data.text(parquet)
            server.create(table, table)
            config = ours.into(server, table, parquet)

            levels = LEVELS if table == "orders" else ("off", "fingerprint")
            raw = functools.partial(server.load_new, table, text)
            work: list[measure.Work] = [("raw load of a ready file", "limit", raw)]
            if isinstance(server, database.Postgres):
                keyed = functools.partial(server.load_then_index, table, text)
                work.append(("raw load, primary key built afterwards", "other", keyed))
            work += [
                (
                    f"pipeline, verify {level}",
                    "ours",
                    functools.partial(ours.run, config, "truncate", level),
                )
                for level in levels
            ]
            note = ""
            if table == "orders" and scope.with_peers:
                work += peers.work(server, parquet)
                note = peers.NOTE
            series = measure.interleaved(work, scope.repeat)
            found.append(titled(f"{table}, Parquet to {server.title}, truncate", series, note))
            server.client(f"DROP TABLE IF EXISTS raw_{table}")
            for tool in peers.able(kind, "replace"):
                server.client(f"DROP TABLE IF EXISTS {tool.table}")
            text.unlink()
    return found


def transfer(scope: Scope) -> list[dict[str, Any]]:
    """Publish orders from PostgreSQL to Parquet, to MariaDB and to MySQL."""
    parquet = data.tpch(scope.folder, "orders", scope.scale)
    text = data.text(parquet)
    out = str(scope.folder / "out.tsv")
    note = "The limit is the slower of a raw COPY out and the target's own raw load."
    found = []
    with database.postgres(scope.folder) as source:
        source.create("orders")
        source.load("orders", text)
        between = functools.partial(
            ours.config, scope.folder, source="postgres", where="orders", key="o_orderkey"
        )
        urls = {"postgres": source.url}
        to_files = between(target="lake", table="copied", urls=urls)
        series = measure.interleaved(
            [
                ("raw COPY out of PostgreSQL", "limit",
                 lambda: source.client("COPY orders TO STDOUT", stdout=out)),
                ("PostgreSQL to Parquet, fingerprint", "ours", lambda: ours.run(to_files)),
            ],
            scope.repeat,
        )  # fmt: skip
        found.append(titled("orders, PostgreSQL to Parquet", series, note))
        for kind in ("mariadb", "mysql"):
            with database.STARTS[kind](scope.folder) as target:
                target.create("orders")
                config = between(target=kind, table="orders", urls=urls | {kind: target.url})
                work: list[measure.Work] = [
                    (f"raw load into {target.title}", "limit",
                     functools.partial(target.load_new, "orders", text)),
                ]  # fmt: skip
                work += [
                    (
                        f"PostgreSQL to {target.title}, {level}",
                        "ours",
                        functools.partial(ours.run, config, verify=level),
                    )
                    for level in ("off", "fingerprint")
                ]
                series = measure.interleaved(work, scope.repeat)
                found.append(titled(f"orders, PostgreSQL to {target.title}", series, note))
    text.unlink()
    return found


def embedded(scope: Scope) -> list[dict[str, Any]]:
    """Publish orders from Parquet into a DuckDB file."""
    parquet = data.tpch(scope.folder, "orders", scope.scale)
    config = ours.config(
        scope.folder, source="lake", where=parquet.name, target="embedded", table="orders",
        key="o_orderkey",
    )  # fmt: skip
    statement = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]);"
        " c.execute('DROP TABLE IF EXISTS orders'); c.execute(sys.argv[2]);"
        " c.execute('INSERT INTO orders FROM read_parquet(?)', [sys.argv[3]])"
    )
    create = data.TABLES["orders"].format(name="orders", char="VARCHAR")

    def raw() -> measure.Sample:
        path = scope.folder / "raw.duckdb"
        path.unlink(missing_ok=True)
        return measure.run([sys.executable, "-c", statement, str(path), create, str(parquet)])

    work: list[measure.Work] = [("INSERT … FROM read_parquet, key in place", "limit", raw)]
    work += [
        (
            f"pipeline, verify {level}",
            "ours",
            functools.partial(ours.run, config, "truncate", level),
        )
        for level in ("off", "fingerprint")
    ]
    return [titled("orders, Parquet to DuckDB", measure.interleaved(work, scope.repeat))]


def small(scope: Scope) -> list[dict[str, Any]]:
    """Publish a dictionary of 100 rows."""
    query = "SELECT i::INT AS code, 'name ' || i AS name FROM range(100) r(i)"
    parquet = data.export(query, scope.folder / "dictionary.parquet")
    found: list[measure.Series] = []
    for start in database.STARTS.values():
        with start(scope.folder) as server:
            config = ours.into(server, "dictionary", parquet)
            ours.run(config)
            name = f"100 rows, Parquet to {server.title}"
            series = measure.interleaved([(name, "ours", functools.partial(ours.run, config))], 9)[
                0
            ]
            inside = sorted(ours.seconds(sample) for sample in series.samples)[4]
            before = series.median_s - inside
            series.note = f"{before:.2f} s before the run, {inside:.2f} s in it"
            found.append(series)
    return [
        titled("A dictionary of 100 rows, the whole process", found),
        *_unchanged(scope),
    ]


def _unchanged(scope: Scope) -> list[dict[str, Any]]:
    parquet = data.tpch(scope.folder, "orders", scope.scale)
    found: list[measure.Series] = []
    for start in database.STARTS.values():
        with start(scope.folder) as server:
            server.create("orders")
            config = ours.into(server, "orders", parquet)
            config.write_text(config.read_text() + "    skip_unchanged: true\n")
            first = measure.Series(f"{server.title}, published", [ours.run(config)])
            again: measure.Work = (
                f"{server.title}, run again", "ours", functools.partial(ours.run, config)
            )  # fmt: skip
            found += [first, *measure.interleaved([again], 5)]
    return [titled("orders, with skip_unchanged: the file has not changed since", found)]


def delta(scope: Scope) -> list[dict[str, Any]]:
    """Merge 10,000 rows into a million and into six, beside the same typed by hand."""
    orders = data.tpch(scope.folder, "orders", scope.scale)
    found = []
    for kind in scope.kinds(database.STARTS):
        rows: list[dict[str, Any]] = []
        notes = [_DELTA_NOTE]
        with database.STARTS[kind](scope.folder) as server:
            for number, count in enumerate(int(rows * scope.scale) for rows in DELTA_TARGETS):
                base = data.many_orders(scope.folder, orders, count)
                with_peers = scope.with_peers and number == 0
                one = titled("", _delta(scope, server, base, with_peers=with_peers))
                rows += one["rows"]
                notes.append(one["note"])
        if scope.with_peers:
            notes.append("More about the other tools stands with the loads of orders.")
        found.append(
            {
                "title": f"A delta of {data.DELTA_ROWS:,} rows, Parquet to {server.title}",
                "note": " ".join(filter(None, notes)),
                "rows": rows,
                "database": kind,
            }
        )
    return found


_DELTA_NOTE = (
    "The limit stages, upserts and commits by the server's client, and looks at nothing else. A"
    " pipeline is measured by its own log, without the start of the process, and with the lock, the"
    " ledger, and the search for several versions of a key; and once more as a whole process, as"
    " the other tools are."
)
_OF_A_DELTA = "o_orderdate = DATE '2026-01-01'"


def _delta(
    scope: Scope, server: database.Database, base: pathlib.Path, *, with_peers: bool
) -> list[measure.Series]:
    rows = int(base.stem.rpartition("_")[2])
    tools = peers.able(server.kind, "merge") if with_peers else []
    tables = ["orders", "raw_orders", *(tool.table for tool in tools)]
    for name in tables:
        server.create(name)
        server.load(name, data.text(base))
    data.text(base).unlink()
    turn = 0

    def prepared() -> pathlib.Path:
        # Each turn changes the rows again.
        nonlocal turn
        turn += 1
        for name in tables:
            server.client(f"DELETE FROM {name} WHERE o_orderkey > 9000000000")
        return data.delta(scope.folder, base, rows, turn)

    def by_hand() -> measure.Sample:
        return server.merge("raw_orders", data.text(prepared()))

    whole = measure.Series("pipeline, verify fingerprint, the whole process")

    def pipeline(level: str) -> measure.Sample:
        path = prepared()
        more = "    delta: {cursor: o_orderdate, order_by: [o_orderdate]}\n"
        config = ours.config(
            scope.folder, source="lake", where=path.name, target=server.kind, table="orders",
            key="o_orderkey", urls={server.kind: server.url}, more=more,
        )  # fmt: skip
        sample = ours.run(config, mode="delta", verify=level)
        if level == "fingerprint":
            whole.samples.append(sample)
        return dataclasses.replace(sample, wall_s=ours.seconds(sample))

    def by_tool(tool: peers.Tool) -> measure.Sample:
        return peers.call(tool, server, prepared(), "merge", _OF_A_DELTA)

    work: list[measure.Work] = [("staged merge by hand", "limit", by_hand)]
    work += [
        (f"pipeline, verify {level}", "ours", functools.partial(pipeline, level))
        for level in ("off", "fingerprint")
    ]
    for tool in tools:
        peers.environment(tool.environment)
        work.append((tool.title, "peer", functools.partial(by_tool, tool)))
    series = measure.interleaved(work, scope.repeat)
    series.insert(3, whole)
    for one in series:
        one.name += f", into {rows:,} rows"
    for tool in tools:
        server.client(f"DROP TABLE {tool.table}")
    return series


def diff(scope: Scope) -> list[dict[str, Any]]:
    """Refresh a million rows of which few differ, changing only those."""
    orders = data.tpch(scope.folder, "orders", scope.scale)
    base = data.many_orders(scope.folder, orders, int(DELTA_TARGETS[0] * scope.scale))
    first = data.text(data.version(scope.folder, base, 0))
    with database.postgres(scope.folder) as server:
        tools = peers.able(server.kind, "mirror") if scope.with_peers else []
        tables = ["orders", "raw_orders", *(tool.table for tool in tools)]
        for name in tables:
            server.create(name)
            server.load(name, first)
        numbers = dict.fromkeys(tables, 0)

        def prepared(name: str) -> pathlib.Path:
            # Each table goes from one version to the next.
            numbers[name] += 1
            return data.version(scope.folder, base, numbers[name])

        def by_hand() -> measure.Sample:
            return server.mirror("raw_orders", data.text(prepared("raw_orders")))

        def pipeline() -> measure.Sample:
            config = ours.config(
                scope.folder, source="lake", where=prepared("orders").name, target=server.kind,
                table="orders", key="o_orderkey", urls={server.kind: server.url},
                more="    publish: diff\n",
            )  # fmt: skip
            return ours.run(config)

        def by_tool(tool: peers.Tool) -> measure.Sample:
            version = prepared(tool.table)
            return peers.call(tool, server, version, "mirror", patience_s=DIFF_PATIENCE_S)

        work: list[measure.Work] = [
            ("staged, DELETE and INSERT … ON CONFLICT by hand", "limit", by_hand),
            ("pipeline, publish diff, verify fingerprint", "ours", pipeline),
        ]
        for tool in tools:
            peers.environment(tool.environment)
            call = functools.partial(by_tool, tool)
            work.append((f"{tool.title}, merge by the strategy cdc", "peer", call))
        series = measure.interleaved(work, scope.repeat)
    title = f"orders, a refresh of {data.DELTA_ROWS:,} rows that differ, Parquet to {server.title}"
    note = (
        f"The table has {int(DELTA_TARGETS[0] * scope.scale):,} rows; three quarters of those that"
        " differ are changed, the others are new, and as many are gone. All rows are sent. Of"
        " the other tools, only those are run that delete what is gone; drt's `mirror` sends each"
        " row in a statement of its own, and a load of as many rows shows what that takes."
    )
    return [titled(title, series, note)]


def memory(scope: Scope) -> list[dict[str, Any]]:
    """Measure the peak memory of publishing few and many rows."""
    orders = data.tpch(scope.folder, "orders", scope.scale)
    series = []
    for start in database.STARTS.values():
        with start(scope.folder) as server:
            server.create("orders")
            for rows in (int(rows * scope.scale) for rows in MEMORY_ROWS):
                path = data.many_orders(scope.folder, orders, rows)
                sample = ours.run(ours.into(server, "orders", path))
                series.append(measure.Series(f"{rows:,} rows to {server.title}", [sample]))
                measure.say(f"{series[-1].name}: {sample.peak_bytes >> 20} MiB")
    return [titled("Memory does not grow with the table", series)]


def parallel(scope: Scope) -> list[dict[str, Any]]:
    """Compare one and two raw clients with the two sessions of the command."""
    parquet = data.tpch(scope.folder, "orders", scope.scale)
    text = data.text(parquet)
    with database.mariadb(scope.folder) as server:
        server.create("orders")
        config = ours.into(server, "orders", parquet)
        texts = data.halves(text)
        series = measure.interleaved(
            [
                ("raw load of a ready file", "limit", lambda: server.load_new("orders", text)),
                ("raw load of its halves by two clients", "other",
                 lambda: server.load_new_by_two("orders", texts)),
                ("pipeline, verify off", "ours", lambda: ours.run(config, verify="off")),
            ],
            scope.repeat,
        )  # fmt: skip
    for path in (text, *texts):
        path.unlink()
    return [titled("orders, Parquet to MariaDB, over two sessions", series)]


def merges(scope: Scope) -> list[dict[str, Any]]:
    """Measure merges of every size and mix beside the statement by hand."""
    return [
        merge.grid(scope.folder, kind, scope.repeat, is_quick=scope.is_quick) | {"database": kind}
        for kind in scope.kinds(merge.KINDS)
    ]


def free(scope: Scope) -> None:
    """Remove what runs left in the folder."""
    for name in ("dlt", "drt"):
        shutil.rmtree(scope.folder / name, ignore_errors=True)
    for path in (
        *scope.folder.glob("*.duckdb"),
        *scope.folder.glob("*.tsv"),
        *scope.folder.glob("*.csv"),
        *scope.folder.glob("merges.*"),
    ):
        path.unlink(missing_ok=True)


PARTS: dict[str, Callable[[Scope], list[dict[str, Any]]]] = {
    "mariadb": lambda scope: load(scope, "mariadb"),
    "mysql": lambda scope: load(scope, "mysql"),
    "postgres": lambda scope: load(scope, "postgres"),
    "transfer": transfer,
    "duckdb": embedded,
    "small": small,
    "delta": delta,
    "diff": diff,
    "merge": merges,
    "memory": memory,
    "parallel": parallel,
}
