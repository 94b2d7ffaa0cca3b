"""Other tools: their environments, and how each is called for this job."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from benchmarks import data, database, measure

HERE = pathlib.Path(__file__).parent / "peer"
CACHE = pathlib.Path(__file__).parents[2] / ".cache" / "benchmark"
#: What each server's peers are, and their environments. Those that were tried and do not finish,
#: or that need something fetched while they run, are left out.
_MYSQL = {"dlt": "dlt", "sling": "sling", "pandas to_sql": "frames", "polars": "frames"}
TOOLS = {
    "mariadb": _MYSQL,
    "mysql": _MYSQL,
    "postgres": {
        "dlt": "dlt",
        "sling": "sling",
        "pandas to_sql": "frames",
        "polars, ADBC": "frames",
        "ADBC ingest": "frames",
    },
}


#: Seconds after which a tool is ended; it is then known to be no better than that.
PATIENCE_S = 75


class TooSlowError(Exception):
    """A tool that was ended."""


def python(name: str) -> pathlib.Path:
    """Return the interpreter of an environment; it is made the first time."""
    folder = CACHE / name
    found = folder / "bin" / "python"
    done = folder / "done.txt"
    wanted = (HERE / f"{name}.txt").read_text()
    if not done.exists() or done.read_text() != wanted:
        measure.say(f"making the environment of {name}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [found, "-m", "pip", "install", "--quiet", "--requirement", HERE / f"{name}.txt"],
            check=True,
        )
        done.write_text(wanted)
    return found


def version(name: str, package: str) -> str:
    """Return the pinned version of a package of an environment."""
    for line in (HERE / f"{name}.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise KeyError(package)


def call(tool: str, target: database.Database, parquet: pathlib.Path) -> measure.Sample:
    """Have a tool publish a file of orders into a table of its own.

    Raises:
        TooSlowError: it took longer than `PATIENCE_S`.
    """
    environment = python(TOOLS[target.kind][tool])
    target.client("DROP TABLE IF EXISTS peer_orders")
    if tool == "sling":
        # From CSV: for Parquet it would fetch DuckDB first.
        rows = data.export(f"FROM '{parquet}'", parquet.with_suffix(".csv"), "FORMAT csv, HEADER")
        query = "?sslmode=disable" if target.kind == "postgres" else ""
        (program,) = environment.parents[1].glob("lib/*/site-packages/sling_linux_*/bin/sling-*")
        return _run(
            [str(program), "run", "--src-stream", f"file://{rows}",
             "--tgt-conn", "TARGET", "--tgt-object",
             f"{'public' if target.kind == 'postgres' else 'bench'}.peer_orders",
             "--primary-key", "o_orderkey", "--mode", "full-refresh"],
            environment={"TARGET": target.url + query, "SLING_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    if tool == "dlt":
        state = target.folder / "dlt"
        return _run(
            [str(environment), str(HERE / "run_dlt.py"), target.kind, target.url, str(parquet),
             str(state)],
            environment={
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "DATA_WRITER__FILE_MAX_ITEMS": "500000",
            },
        )  # fmt: skip
    word = {"pandas to_sql": "pandas", "ADBC ingest": "adbc"}.get(tool, tool.partition(",")[0])
    return _run(
        [str(environment), str(HERE / "run_frames.py"), word, target.kind, target.url, str(parquet)]
    )


def _run(command: list[str], environment: dict[str, str] | None = None) -> measure.Sample:
    try:
        return measure.run(
            ["timeout", "--signal=KILL", str(PATIENCE_S), *command], environment=environment
        )
    except RuntimeError as failure:
        # `timeout` ends by the signal that it sends, SIGKILL, of which a process makes this code.
        if str(failure).startswith("timeout ended with 247"):
            raise TooSlowError(f"ended after {PATIENCE_S} s") from failure
        raise
