"""Plan and run in this process, which is quicker than the command and shows the same values."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.e2e import place as place_module
from tmg_etl import run
from tmg_etl.config import loader, model
from tmg_etl.transfer import comparison, rehearsal, runner
from tmg_etl.transfer import plan as plan_module

DAY = datetime.date(2013, 1, 2)

#: Rows with a day, an order and a mark of deletion.
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("day", pa.date32()),
        ("version", pa.int64()),
        ("amount", pa.float64()),
        ("name", pa.string()),
        ("gone", pa.int64()),
    ]
)

CONFIG = """\
connections:
  lake: {{type: files, url: lake/}}
  serving: {connection}
ledger: "sqlite:///{folder}/ledger.db"
transfers:
  facts:
    source: {{connection: lake, table: facts}}
    target: {{connection: serving, table: facts}}
    {more}
"""


class Shop:
    """A lake with one table, a target, and what plans and runs it.

    Args:
        folder: empty.
        place: the target's database.
        ledger: a ledger's file with its tables, to be copied.
    """

    def __init__(
        self, folder: pathlib.Path, place: place_module.Place, ledger: pathlib.Path
    ) -> None:
        self.folder = folder
        self.place = place
        (folder / "lake").mkdir(parents=True)
        (folder / "ledger.db").write_bytes(ledger.read_bytes())
        self.config: model.Config | None = None

    def declare(self, more: str, connection: str | None = None) -> None:
        """Write the transfer; `more` are its further lines, as YAML."""
        path = self.folder / "config.yaml"
        text = CONFIG.format(
            connection=connection or self.place.connection, folder=self.folder, more=more
        )
        path.write_text(text, encoding="utf-8")
        self.config = loader.load(str(path))

    def fill(self, rows: Sequence[Sequence[Any]], schema: pa.Schema = SCHEMA) -> None:
        """Write the source."""
        arrays = [
            pa.array([row[at] for row in rows], field.type) for at, field in enumerate(schema)
        ]
        table = pa.Table.from_arrays(arrays, schema=schema)
        parquet.write_table(table, self.folder / "lake" / "facts.parquet")

    def _arguments(self, mode: str, start: datetime.date | None) -> dict[str, Any]:
        assert self.config is not None
        return {
            "config": self.config,
            "transfer_name": "facts",
            "execution_date": DAY,
            "delta_start_date": start,
            "write_mode": run.WriteMode(mode),
        }

    def plan(
        self,
        mode: str = "truncate",
        start: datetime.date | None = None,
        depth: str = "auto",
    ) -> plan_module.Plan:
        """Return the plan of a run; holds it to having written nothing."""
        before = (self.place.tables(), self.contents())
        ledger = (self.folder / "ledger.db").read_bytes()
        found = plan_module.make(**self._arguments(mode, start), depth=rehearsal.Depth(depth))
        assert (self.place.tables(), self.contents()) == before
        assert (self.folder / "ledger.db").read_bytes() == ledger
        return found

    def run(self, mode: str = "truncate", start: datetime.date | None = None) -> run.Outcome:
        """Run it."""
        return runner.build(**self._arguments(mode, start)).execute()

    def publish(self, mode: str = "truncate", start: datetime.date | None = None) -> run.Result:
        """Run it; it has to succeed."""
        outcome = self.run(mode, start)
        assert outcome.error is None, outcome.error
        assert outcome.cleanup_error is None
        return outcome.result

    def verify(
        self, mode: str | None = "truncate", start: datetime.date | None = None, limit: int = 20
    ) -> comparison.Comparison:
        """Compare source and target, None by the transfer's own rule; writes nothing."""
        before = (self.place.tables(), self.contents())
        ledger = (self.folder / "ledger.db").read_bytes()
        arguments = self._arguments(mode or "truncate", start)
        if mode is None:
            arguments["write_mode"] = None
        found = comparison.make(**arguments, limit=limit)
        assert (self.place.tables(), self.contents()) == before
        assert (self.folder / "ledger.db").read_bytes() == ledger
        return found

    def contents(self, table: str = "facts") -> place_module.Rows | None:
        """Return the rows of the target; None when there is none."""
        return self.place.rows(table) if table in self.place.tables() else None


def reported(result: run.Result) -> rehearsal.Changes:
    """What a run says that it changed."""
    return rehearsal.Changes(
        result.rows_inserted, result.rows_updated, result.rows_deleted, result.rows_unchanged
    )


def row(
    number: int,
    day: int = 2,
    version: int = 1,
    amount: float | None = 1.5,
    name: str | None = "Ида",
    gone: int = 0,
) -> tuple[Any, ...]:
    """One row of `SCHEMA`."""
    return (number, datetime.date(2013, 1, day), version, amount, name, gone)
