"""What the target of a transfer holds, row by row, and what runs have left beside it.

For small tables: rows are held in memory and compared one by one.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tmg_etl import run as run_module

if TYPE_CHECKING:
    import pyarrow as pa

    from tmg_etl.config import model
    from tmg_etl.connectors import base
    from tmg_etl.transfer import comparison

#: Rows of a table as a multiset; None when there is no such table.
State = collections.Counter[tuple[object, ...]] | None

_SHOWN_ROWS = 5


class View:
    """The target of one transfer, opened anew for each look.

    Args:
        config: path of the config, or the config.
        transfer: name in `transfers`.
        day: execution date, for the placeholders of the source.
        env: environment, for a path.
    """

    def __init__(
        self,
        config: str | pathlib.Path | model.Config,
        transfer: str,
        day: datetime.date,
        env: str = "local",
    ) -> None:
        if isinstance(config, str | pathlib.Path):
            from tmg_etl.config import loader

            config = loader.load(str(config), env)
        self.config = config
        self._transfer = transfer
        self._day = day

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[run_module.Run, base.Target]]:
        """Yield the facts of a run that is not carried out, and the target, opened."""
        from tmg_etl.transfer import runner

        run = runner.make_run(
            self.config,
            self._transfer,
            execution_date=self._day,
            delta_start_date=None,
            write_mode=run_module.WriteMode.TRUNCATE,
        )
        spec = run.transfer.target
        with run.connections[spec.connection].open_target(spec.table) as target:
            yield run, target

    def read(self) -> State:
        """Return all rows of the target."""
        with self.opened() as (_, target):
            return _read(target)

    def read_clean(self, what: str) -> State:
        """Return all rows of the target, and fail if a run left anything beside it.

        Args:
            what: was done before, for the message.
        """
        with self.opened() as (run, target), target.lock(run.id, 10):
            left = target.sweep(run.names)
            found = _read(target)
        assert not left, f"{what}: left beside {target.table}: {', '.join(left)}"
        return found


def _read(target: base.Target) -> State:
    table = target.describe()
    return None if table is None else rows(target, [column.name for column in table.columns])


def rows(target: base.Target, columns: list[str]) -> collections.Counter[tuple[object, ...]]:
    """Return all rows of an open target."""
    from tmg_etl.connectors import base

    return collections.Counter(
        row
        for batch in target.scan(target.table, columns, base.Selection())
        for row in tuples(batch)
    )


def tuples(batch: pa.RecordBatch) -> Iterator[tuple[object, ...]]:
    """Return the rows of a batch as Python values."""
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def difference(expected: State, found: State) -> str:
    """Return in words how two states differ; of many rows some."""
    if expected is None or found is None:
        return "no table" if found is None else "a table where there was none"
    words = [
        f"{changed.total()} rows {name}: {list(changed.elements())[:_SHOWN_ROWS]}"
        for name, changed in (("missing", expected - found), ("too many", found - expected))
        if changed
    ]
    return ", ".join(words) or "no difference"


def differences(found: comparison.Comparison) -> str:
    """Return in words how a target differs from its source; of many rows some."""
    words = [f"column {name} is missing" for name in found.columns_missing]
    for kind, what, count in (
        ("missing", "missing", found.missing),
        ("extra", "too many", found.extra),
        ("changed", "changed", found.changed),
    ):
        rows = [
            tuple({**one.key, **(one.source or one.target or {})}.values())
            if kind != "changed"
            else (one.key, one.source, one.target)
            for one in found.differences
            if one.kind == kind
        ]
        if count:
            words.append(f"{count} rows {what}: {rows[:_SHOWN_ROWS]}")
    return ", ".join(words) or "more rows than can be looked at differ"
