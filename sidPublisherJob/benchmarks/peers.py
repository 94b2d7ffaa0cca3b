"""Other tools: their environments, and how each is called for this job."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping

from benchmarks import data, database, measure

HERE = pathlib.Path(__file__).parent / "peer"
ROOT = pathlib.Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "benchmark"
#: Seconds after which a tool is ended and not run again; it is no better than that.
PATIENCE_S = 75
#: Which tools are measured, and how.
NOTE = (
    "The other tools take turns with us, in the versions in brackets. One that takes longer than"
    f" {PATIENCE_S} s is ended and not run again. What each leaves in its table is compared with"
    " the file: the number of rows, and the sums of the key, of an amount and of the lengths of a"
    " text. The tables of pandas and polars have no key. All come from PyPI as a whole. The newest"
    " wheels of sling and ingestr do not: 1.6.5 and 1.1.76 were tried, and fetch their program from"
    " GitHub when they first run. So sling is here in the last version whose program PyPI has, and"
    " reads CSV, because for Parquet it would fetch DuckDB; ingestr is missing."
)

_ALL = ("mariadb", "mysql", "postgres")


@dataclasses.dataclass(frozen=True)
class Job:
    """What a tool has to do.

    Attributes:
        environment: its folder.
        target: the server.
        parquet: what to publish.
        table: into which table.
        how: replace, merge (update and insert by the key), or mirror (delete what is gone too).
    """

    environment: pathlib.Path
    target: database.Database
    parquet: pathlib.Path
    table: str
    how: str

    @property
    def python(self) -> str:
        """Return the interpreter of the environment."""
        return str(self.environment / "bin" / "python")


Command = tuple[list[str], dict[str, str]]
"""Program with arguments, and variables."""


def _dlt(job: Job) -> Command:
    folder = job.target.folder / "dlt" / job.target.kind
    command = [job.python, str(HERE / "run_dlt.py"), job.target.kind, job.target.url]
    return [*command, str(job.parquet), str(folder), job.table, job.how], {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DATA_WRITER__FILE_MAX_ITEMS": "500000",
    }


def _sling(job: Job) -> Command:
    rows = data.export(f"FROM '{job.parquet}'", job.parquet.with_suffix(".csv"), _CSV)
    (program,) = job.environment.glob("lib/*/site-packages/sling_linux_*/bin/sling-*")
    is_postgres = job.target.kind == "postgres"
    return [
        str(program), "run", "--src-stream", f"file://{rows}", "--tgt-conn", "TARGET",
        "--tgt-object", f"{'public' if is_postgres else 'bench'}.{job.table}",
        "--primary-key", "o_orderkey",
        "--mode", {"replace": "full-refresh", "merge": "incremental"}[job.how],
    ], {
        "TARGET": job.target.url + ("?sslmode=disable" if is_postgres else ""),
        "SLING_DISABLE_TELEMETRY": "true",
    }  # fmt: skip


_CSV = "FORMAT csv, HEADER"


def _drt(job: Job) -> Command:
    # It needs a project, and a table that exists.
    home, parts = job.target.folder / "drt", job.target.parts
    for name, content in {
        ".drt/profiles.yml": {"here": {"type": "duckdb"}},
        "drt_project.yml": {"name": "bench", "profile": "here"},
        "syncs/orders.yml": {
            "name": "orders",
            "model": f"SELECT * FROM read_parquet('{job.parquet}')",
            "destination": {
                "type": "postgres" if job.target.kind == "postgres" else "mysql",
                "host": parts.hostname,
                "port": parts.port,
                "dbname": "bench",
                "user": parts.username,
                "password_env": "TARGET_PASSWORD",
                "table": job.table,
                "upsert_key": ["o_orderkey"],
            },
            "sync": {
                "mode": {"replace": "replace", "merge": "upsert"}[job.how],
                "batch_size": 10_000,
            },
        },
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        # YAML takes JSON.
        (home / name).write_text(json.dumps(content))
    script = f"cd {home} && exec {job.environment}/bin/drt run --quiet"
    return ["sh", "-c", script], {
        "HOME": str(home),
        "TARGET_PASSWORD": job.target.password,
        "DRT_TELEMETRY_DISABLED": "1",
    }


def _frames(word: str) -> Callable[[Job], Command]:
    def command(job: Job) -> Command:
        target = [job.target.kind, job.target.url, str(job.parquet), job.table]
        return [job.python, str(HERE / "run_frames.py"), word, *target], {}

    return command


@dataclasses.dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        name: as the page has it.
        environment: name of its file of requirements.
        package: whose version is shown.
        command: returns the call for a job.
        kinds: servers that it publishes to here.
        hows: for each kind of server, what it can do beside `replace`.
        needs_table: whether the table must exist.
    """

    name: str
    environment: str
    package: str
    command: Callable[[Job], Command]
    kinds: tuple[str, ...] = _ALL
    hows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    needs_table: bool = False

    @property
    def title(self) -> str:
        """Return its name with the pinned version of its package."""
        for line in (HERE / f"{self.environment}.txt").read_text().splitlines():
            if line.startswith(f"{self.package}=="):
                return f"{self.name} ({line})"
        raise KeyError(self.package)

    @property
    def table(self) -> str:
        """Return the name of its table: some remember what they have made."""
        return "peer_" + self.name.replace(",", "").replace(" ", "_").lower()


TOOLS = (
    Tool(
        "dlt", "dlt", "dlt", _dlt,
        hows={"postgres": ("merge", "mirror"), "mysql": ("merge",), "mariadb": ("merge",)},
    ),
    Tool("sling", "sling", "sling", _sling, hows=dict.fromkeys(_ALL, ("merge",))),
    Tool(
        "drt", "drt", "drt-core", _drt, needs_table=True,
        hows=dict.fromkeys(_ALL, ("merge",)),
    ),
    Tool("pandas to_sql", "frames", "pandas", _frames("pandas")),
    Tool("polars", "frames", "polars", _frames("polars"), kinds=("mariadb", "mysql")),
    Tool("polars, ADBC", "frames", "polars", _frames("polars"), kinds=("postgres",)),
    Tool(
        "ADBC ingest", "frames", "adbc-driver-postgresql", _frames("adbc"), kinds=("postgres",)
    ),
)  # fmt: skip


def able(kind: str, how: str) -> list[Tool]:
    """Return the tools that publish to a kind of server in a way."""
    return [
        tool
        for tool in TOOLS
        if kind in tool.kinds and (how == "replace" or how in tool.hows.get(kind, ()))
    ]


def environment(name: str) -> pathlib.Path:
    """Return the folder of an environment; it is made the first time."""
    folder, requirements = CACHE / name, HERE / f"{name}.txt"
    done = folder / "done.txt"
    wanted = requirements.read_text()
    if not done.exists() or done.read_text() != wanted:
        measure.say(f"making the environment of {name}")
        uv = [sys.executable, str(ROOT / "script" / "uv.py")]
        subprocess.run([*uv, "venv", "--quiet", "--clear", folder], check=True)
        subprocess.run(
            [*uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--no-deps",
             "--only-binary", ":all:", "--requirements", requirements],
            check=True,
        )  # fmt: skip
        done.write_text(wanted)
    return folder


def call(
    tool: Tool,
    target: database.Database,
    parquet: pathlib.Path,
    how: str,
    where: str = "",
    patience_s: int = PATIENCE_S,
) -> measure.Sample:
    """Have a tool publish a file into its table, and compare what that has then with the file.

    Args:
        tool: which.
        target: the server.
        parquet: the file.
        how: as a `Job` has it.
        where: condition of the rows that are compared; empty: all.
        patience_s: seconds after which it is ended.

    Raises:
        LeftOutError: it took longer than that, failed, or published other rows.
    """
    job = Job(environment(tool.environment), target, parquet, tool.table, how)
    command, variables = tool.command(job)
    try:
        sample = measure.run(
            ["timeout", "--signal=KILL", str(patience_s), *command], environment=variables
        )
    except RuntimeError as failure:
        # The server may be at its last statement for many minutes more.
        target.end_sessions()
        # `timeout` ends by the signal that it sends, SIGKILL, of which a process makes this code.
        if str(failure).startswith("timeout ended with 247"):
            raise measure.LeftOutError(f"ended after {patience_s} s", patience_s) from failure
        measure.say(str(failure))
        raise measure.LeftOutError("it failed") from failure
    wanted, found = data.sums(job.parquet), job.target.sums(job.table, where)
    if wanted != found:
        raise measure.LeftOutError(f"its table has {found}, the file has {wanted}")
    return sample


def work(target: database.Database, parquet: pathlib.Path) -> list[measure.Work]:
    """Return what publishes orders from a file into a table of its own, by each tool."""
    tools = able(target.kind, "replace")
    for tool in tools:
        environment(tool.environment)
        if tool.needs_table:
            target.create(tool.table)
    return [
        (tool.title, "peer", functools.partial(call, tool, target, parquet, "replace"))
        for tool in tools
    ]
