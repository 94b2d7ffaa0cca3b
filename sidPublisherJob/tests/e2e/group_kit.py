"""A publish group of two tables, run and put back in this process by the commands themselves."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tmg_etl import run
from tmg_etl.cli import people, pipeline
from tmg_etl.config import loader, model
from tmg_etl.ledger import record, store
from tmg_etl.transfer import nest, runner

GROUP = "nightly"
#: The first in the order of tables is not the first in the order of the config.
MEMBERS = ("facts", "dims")

CONFIG = """\
connections:
  lake: {{type: files, url: lake/}}
  serving: {connection}
ledger: "sqlite:///{folder}/ledger.db"
defaults: {{lock_wait_s: 0.2}}
transfers:
"""
TRANSFER = """\
  {name}:
    publish_group: nightly
    source: {{connection: lake, table: {name}}}
    target: {{connection: serving, table: "{table}"}}
    key: [id]
    {more}
"""


class Shop:
    """A lake with two tables, and a target that both are published to.

    Args:
        folder: empty.
        place: the target's database.
        ledger: a ledger's file with its tables, to be copied.
    """

    def __init__(
        self, folder: pathlib.Path, place: place_module.Place, ledger: pathlib.Path
    ) -> None:
        self.folder, self.place = folder, place
        self.path = folder / "config.yaml"
        #: Names of the targets, by member.
        self.tables = {name: name for name in MEMBERS}
        (folder / "lake").mkdir(parents=True)
        (folder / "ledger.db").write_bytes(ledger.read_bytes())

    def declare(self, facts: str = "", dims: str = "") -> None:
        """Write the config; further lines of each member, as YAML."""
        text = CONFIG.format(connection=self.place.connection, folder=self.folder)
        for name, more in zip(MEMBERS, (facts, dims), strict=True):
            text += TRANSFER.format(name=name, table=self.tables[name], more=more)
        self.path.write_text(text, encoding="utf-8")

    @property
    def config(self) -> model.Config:
        """The config, loaded."""
        return loader.load(str(self.path))

    def fill(self, **rows: Sequence[Sequence[Any]]) -> None:
        """Write the sources that are named."""
        for name, lines in rows.items():
            schema = plan_kit.SCHEMA
            arrays = [
                pa.array([line[at] for line in lines], field.type)
                for at, field in enumerate(schema)
            ]
            table = pa.Table.from_arrays(arrays, schema=schema)
            parquet.write_table(table, self.folder / "lake" / f"{name}.parquet")

    def run(self, mode: str = "truncate", name: str = GROUP, *options: str) -> int:
        """Run the command `pipeline`; return its exit code."""
        day = f"{plan_kit.DAY:%Y%m%d}"
        return pipeline.main([day, name, mode, str(self.path), "--no-progress", *options])

    def outcome(self, mode: str = "truncate") -> nest.GroupOutcome:
        """Run the group; return how it ended."""
        return runner.build_group(
            self.config,
            GROUP,
            execution_date=plan_kit.DAY,
            delta_start_date=None,
            write_mode=run.WriteMode(mode),
        ).execute()

    def publish(self, mode: str = "truncate") -> None:
        """Run it; it has to succeed."""
        outcome = self.outcome(mode)
        assert outcome.error is None, outcome.error

    def call(self, command: str, *options: str, name: str = GROUP) -> int:
        """Run a command of `tmg-etl`; return its exit code."""
        return people.main([command, name, str(self.path), *options])

    def ids(self, name: str) -> list[int]:
        """The keys of a target's rows."""
        return sorted(int(found[0]) for found in self.place.rows(self.tables[name]))

    def both(self) -> tuple[list[int], list[int]]:
        """The keys of both targets."""
        return self.ids("facts"), self.ids("dims")

    def kept(self) -> list[str]:
        """The names of kept tables."""
        return sorted(name for name in self.place.tables() if name.startswith("_tmg_prev_"))

    def leftovers(self) -> list[str]:
        """What should not be there."""
        return [
            name
            for name in self.place.tables()
            if name.startswith("_tmg_") and not name.startswith(("_tmg_prev_", "_tmg_part_"))
        ]

    def runs(self, name: str) -> list[record.Record]:
        """The runs of a member, the latest first."""
        with store.open(f"sqlite:///{self.folder / 'ledger.db'}") as ledger:
            return ledger.list(name)
