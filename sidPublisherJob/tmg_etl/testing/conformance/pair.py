"""Two tables that are published together, and runs of their group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, memory
from tmg_etl.testing.conformance import profile as profile_module
from tmg_etl.testing.conformance import publication
from tmg_etl.transfer import group as group_module
from tmg_etl.transfer import nest, pipeline, runner

DAY = publication.DAY
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("parent", pa.int64()),
        pa.field("day", pa.date32()),
        pa.field("name", pa.string()),
    ]
)
Row = tuple[int, int | None, str]
DELTA = {"cursor": "day"}


class MemoryPipeline(pipeline.TransferPipeline):
    """Publishes the rows of the transfer's option ``rows``, after calling ``before``."""

    def open_source(self) -> base.Source:
        """Return the rows."""
        before: Callable[[run_module.Run], None] = self.run.transfer.options["before"]
        before(self.run)
        return memory.MemorySource(self.run.transfer.options["rows"], "rows in memory")


def rows_of(*rows: Row) -> pa.Table:
    """Return rows of (id, parent, name), all of the execution date."""
    return pa.Table.from_pylist(
        [{"id": key, "parent": parent, "day": DAY, "name": name} for key, parent, name in rows],
        schema=SCHEMA,
    )


class Pair:
    """Two tables that are published together: ``parent``, and ``child`` that may refer to it.

    Args:
        place: where they are.
    """

    def __init__(self, place: profile_module.SqlPlace) -> None:
        self.place = place
        # In the order of their names the child is locked first, and is declared last.
        self.parent, self.child = publication.new_name("z"), publication.new_name("a")

    def build(
        self,
        parent: pa.Table,
        child: pa.Table,
        *,
        mode: str = "truncate",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        is_reversed: bool = False,
        before: Callable[[run_module.Run], None] = lambda run: None,
        stop: run_module.StopFlag | None = None,
    ) -> group_module.Group:
        """Return the group, not yet executed.

        Args:
            parent: rows of one table.
            child: rows of the other.
            mode: write mode.
            settings: keys of the transfers ``parent`` and ``child``.
            is_reversed: declare the child first.
            before: called when a member opens its source.
            stop: None makes a new one.
        """
        transfers = {
            name: {
                "key": ["id"],
                "batch_rows": 2,
                "publish_group": "pair",
                "source": {"connection": "target", "table": "unused"},
                "target": {"connection": "target", "table": table},
                "pipeline": f"{__name__}:MemoryPipeline",
                "options": {"rows": rows, "before": before},
                **(settings or {}).get(name, {}),
            }
            for name, table, rows in (
                ("parent", self.parent, parent),
                ("child", self.child, child),
            )
        }
        names = list(reversed(transfers)) if is_reversed else list(transfers)
        config = model.Config.model_validate(
            {
                "connections": {"target": dict(self.place.connection)},
                "packages": ["tmg_etl"],
                "transfers": {name: transfers[name] for name in names},
            }
        )
        return runner.build_group(
            config,
            "pair",
            execution_date=DAY,
            delta_start_date=None,
            write_mode=run_module.WriteMode(mode),
            recorder=run_module.NullRecorder(),
            stop=stop,
        )

    def publish(
        self, parent: pa.Table, child: pa.Table, **arguments: Any
    ) -> dict[str, run_module.Result]:
        """Execute a run that must succeed, prove itself and leave nothing behind."""
        outcome = self.build(parent, child, **arguments).execute()
        if outcome.error is not None:
            raise outcome.error
        assert outcome.exit_code == 0
        for one in outcome.members.values():
            assert one.cleanup_error is None, repr(one.cleanup_error)
            assert one.result.fingerprint_source == one.result.fingerprint_target is not None
        assert self.leftovers() == set()
        return {name: one.result for name, one in outcome.members.items()}

    def refuse(
        self, parent: pa.Table, child: pa.Table, error: type[BaseException], **arguments: Any
    ) -> nest.GroupOutcome:
        """Execute a run that must fail, change nothing and leave nothing behind."""
        before = self.dump()
        outcome = self.build(parent, child, **arguments).execute()
        if not isinstance(outcome.error, error):
            raise outcome.error or AssertionError("the run succeeded")
        assert outcome.exit_code != 0
        for one in outcome.members.values():
            assert one.exit_code == outcome.exit_code
            assert one.cleanup_error is None, repr(one.cleanup_error)
        assert self.dump() == before
        assert self.leftovers() == set()
        return outcome

    def dump(self) -> tuple[list[str], list[str]]:
        """Return every row of both tables as text."""
        return self.place.dump(self.parent), self.place.dump(self.child)

    @property
    def held(self) -> tuple[list[Row], list[Row]]:
        """Return the rows of both tables as `rows_of` takes them."""
        return self._held(self.parent), self._held(self.child)

    def _held(self, table: str) -> list[Row]:
        found = self.place.read(table, SCHEMA)
        return [(row["id"], row["parent"], row["name"]) for row in found]  # type: ignore[misc]

    def leftovers(self) -> set[str]:
        """Return temporary tables of runs, kept ones left out."""
        tables = self.place.tables()
        return {name for name in tables if name.startswith("_tmg_") and "_prev_" not in name}

    def create_bound(self, *, on_parent: str = "") -> None:
        """Create both tables empty, with a foreign key from the child to the parent."""
        quote = self.place.quote
        columns = "id BIGINT NOT NULL PRIMARY KEY, parent BIGINT, day DATE, name VARCHAR(20)"
        self.place.execute(f"CREATE TABLE {quote(self.parent)} ({columns}{on_parent})")
        self.place.execute(
            f"CREATE TABLE {quote(self.child)} ({columns},"
            f" FOREIGN KEY (parent) REFERENCES {quote(self.parent)} (id))"
        )


def settings(**both: Any) -> dict[str, dict[str, Any]]:
    """Return the same keys for both transfers."""
    return {"parent": both, "child": both}


OLD_PARENT = rows_of((1, None, "a"), (2, None, "b"))
OLD_CHILD = rows_of((10, 1, "x"), (11, 2, "y"), (12, 2, "z"))
# 1 goes and 3 comes: 10 is told of 3, 12 goes with nobody, 13 comes with 3.
NEW_PARENT = rows_of((2, None, "B"), (3, None, "c"))
NEW_CHILD = rows_of((10, 3, "x"), (11, 2, "y"), (13, 3, "new"))
OLD = ([(1, None, "a"), (2, None, "b")], [(10, 1, "x"), (11, 2, "y"), (12, 2, "z")])
NEW = ([(2, None, "B"), (3, None, "c")], [(10, 3, "x"), (11, 2, "y"), (13, 3, "new")])
