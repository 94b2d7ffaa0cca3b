"""The command `pipeline`, as a user calls it."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from benchmarks import data, database, measure

_CONFIG = """
connections:
  lake: {{type: files, url: {folder}}}
  postgres: {{type: postgres, url: "{postgres}"}}
  mariadb: {{type: mysql, url: "{mariadb}"}}
  mysql: {{type: mysql, url: "{mysql}"}}
  embedded: {{type: duckdb, url: "duckdb:///{folder}/target.duckdb"}}
ledger: "sqlite:///{folder}/ledger.db"
transfers:
  work:
    source: {{connection: {source}, {what}: {where}}}
    target: {{connection: {target}, table: {table}}}
    key: [{key}]
"""


def config(
    folder: pathlib.Path,
    *,
    source: str,
    where: str,
    target: str,
    table: str,
    key: str,
    urls: dict[str, str] | None = None,
    more: str = "    publish: swap\n",
) -> pathlib.Path:
    """Write the config of one transfer, called `work`, and return its path."""
    names = {"postgres": "postgresql://nobody@127.0.0.1/x"}
    names |= dict.fromkeys(("mariadb", "mysql"), "mysql://nobody@127.0.0.1/x")
    text = _CONFIG.format(
        folder=folder, source=source, what="path" if source == "lake" else "table", where=where,
        target=target, table=table, key=key, **(names | (urls or {})),
    )  # fmt: skip
    path = folder / f"{source}_{target}_{table}.yaml"
    path.write_text(text + more)
    return path


def into(database: database.Database, table: str, parquet: pathlib.Path) -> pathlib.Path:
    """Write the config of a transfer from a file into a table of a server."""
    return config(
        database.folder, source="lake", where=parquet.name, target=database.kind, table=table,
        key=", ".join(data.KEYS.get(table, ["code"])), urls={database.kind: database.url},
    )  # fmt: skip


def run(path: pathlib.Path, mode: str = "truncate", verify: str = "fingerprint") -> measure.Sample:
    """Run the transfer as a whole process."""
    printed = path.with_suffix(".json")
    sample = measure.run(
        [str(data.BIN / "pipeline"), "20260101", "work", mode, str(path), "--verify", verify,
         "--no-progress"],
        stdout=str(printed),
    )  # fmt: skip
    return dataclasses.replace(sample, said=printed.read_text())


def seconds(sample: measure.Sample) -> float:
    """Return how long the run itself took by its own summary, without the start of the process."""
    for line in reversed(sample.said.splitlines()):
        if line.startswith("{"):
            found = json.loads(line).get("duration_s")
            if found is not None:
                return float(found)
    raise RuntimeError(f"the summary tells no duration: {sample.said[-500:]}")
