"""Runs of one transfer into one place, as a user would start them, with faults where a test asks.

Rows come from memory, so that nothing but the target is under test. Everything else is the real
thing: config models, `runner.build`, `execute`.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import pyarrow as pa

from tmg_etl import etl
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, memory
from tmg_etl.testing.conformance import profile
from tmg_etl.transfer import pipeline, runner

DAY = datetime.date(2024, 3, 10)
_Error = TypeVar("_Error", bound=BaseException)
_ids = itertools.count(1)


class ArrowPipeline(pipeline.TransferPipeline):
    """Publishes the source that the transfer's option ``source`` makes, through a faulty target."""

    def open_source(self) -> base.Source:
        """Return the source of the test."""
        make: Callable[[run_module.Run], base.Source] = self.run.transfer.options["source"]
        return make(self.run)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the target, and put the test's fault in front of it."""
        with super().exclusive():
            fault: Fault | None = self.run.transfer.options["fault"]
            if fault is not None:
                self.target = cast("base.Target", _FaultyTarget(self.target, fault))
            yield


class Injected(Exception):
    """What a fault raises: an error that no code expects."""


class Fault:
    """Something that happens at one call of one method of the target.

    Args:
        method: name of a method of `base.Target`.
        act: called with the run's target and the method's arguments; may raise.
        call: which call of the method, from 1.
        is_after: act when the method has returned rather than before.
    """

    def __init__(
        self,
        method: str,
        act: Callable[..., None] | None = None,
        *,
        call: int = 1,
        is_after: bool = False,
    ) -> None:
        self.method, self.is_after = method, is_after
        self.has_happened = False
        self._act = act or self._raise
        self._left = call

    def strike(self, target: base.Target, *arguments: object) -> None:
        """Act if this is the call."""
        self._left -= 1
        if self._left == 0:
            self.has_happened = True
            self._act(target, *arguments)

    def _raise(self, target: base.Target, *arguments: object) -> None:
        moment = "after" if self.is_after else "before"
        raise Injected(f"injected {moment} {self.method}")


class _FaultyTarget:
    """A target that is another one, except for one fault."""

    def __init__(self, target: base.Target, fault: Fault) -> None:
        self._target = target
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        """Return the target's own attribute, with the fault around it if it is the one."""
        found = getattr(self._target, name)
        if name != self._fault.method:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if not self._fault.is_after:
                self._fault.strike(self._target, *arguments)
            result = found(*arguments, **named)
            if self._fault.is_after:
                self._fault.strike(self._target, *arguments)
            return result

        return call


class ReadySource(memory.MemorySource):
    """A source whose rows are those of the window already."""

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return the number of rows."""
        return super().count()

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows."""
        return super().read(columns, batch_rows=batch_rows)


class FailingSource(memory.MemorySource):
    """A source that does something after some batches: raises, stops the run, changes a table.

    Args:
        table: the rows.
        act: what happens.
        after: batches before it.
    """

    def __init__(self, table: pa.Table, act: Callable[[], None], after: int) -> None:
        super().__init__(table, "a source that fails")
        self._act = act
        self._after = after
        self.is_closed = False

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and act on the way."""
        for number, batch in enumerate(super().read(columns, window, batch_rows=batch_rows)):
            if number == self._after:
                self._act()
            yield batch

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True


class Publication:
    """One target table, and runs that publish to it.

    Args:
        place: where the table is.
        table: its name.
        settings: keys of the transfer for every run; `key` is `[id]` unless given.
    """

    def __init__(self, place: profile.TargetPlace, table: str, **settings: Any) -> None:
        self.place = place
        self.table = table
        self.settings: dict[str, Any] = {"key": ["id"], "batch_rows": 7} | settings

    def build(
        self,
        rows: pa.Table | Callable[[run_module.Run], base.Source],
        *,
        mode: str = "truncate",
        day: datetime.date = DAY,
        start: datetime.date | None = None,
        fault: Fault | None = None,
        **settings: Any,
    ) -> etl.TMGETL:
        """Return the pipeline of one run, not yet executed.

        Args:
            rows: what the source holds, or what makes the source from the run.
            mode: write mode.
            day: execution date.
            start: `--delta_start_date`; None takes the execution date.
            fault: what goes wrong in the target.
            settings: keys of the transfer for this run.
        """
        source = rows
        if isinstance(rows, pa.Table):
            source = _source_of(rows)
        transfer = self.settings | settings
        transfer["options"] = {"source": source, "fault": fault}
        transfer["pipeline"] = f"{__name__}:ArrowPipeline"
        transfer["source"] = {"connection": "target", "table": "unused"}
        transfer["target"] = {"connection": "target", "table": self.table}
        config = model.Config.model_validate(
            {
                "connections": self.connections,
                "packages": ["tmg_etl"],
                "transfers": {"published": transfer},
            }
        )
        return runner.build(
            config,
            "published",
            execution_date=day,
            delta_start_date=start,
            write_mode=run_module.WriteMode(mode),
            recorder=run_module.NullRecorder(),
        )

    def run(
        self, rows: pa.Table | Callable[[run_module.Run], base.Source], **arguments: Any
    ) -> run_module.Outcome:
        """Execute one run; arguments as for `build`."""
        return self.build(rows, **arguments).execute()

    def run_from(
        self, connection: Mapping[str, Any], source: Mapping[str, Any], **settings: Any
    ) -> run_module.Outcome:
        """Execute one full refresh from a declared source: no class of this kit takes part.

        Args:
            connection: entry for `connections` of the source's system.
            source: what is read there, without its `connection`.
            settings: keys of the transfer.
        """
        transfer = self.settings | settings
        transfer["source"] = dict(source) | {"connection": "lake"}
        transfer["target"] = {"connection": "target", "table": self.table}
        config = model.Config.model_validate(
            {
                "connections": {"lake": dict(connection), **self.connections},
                "transfers": {"published": transfer},
            }
        )
        return runner.build(
            config,
            "published",
            execution_date=DAY,
            delta_start_date=None,
            write_mode=run_module.WriteMode.TRUNCATE,
            recorder=run_module.NullRecorder(),
        ).execute()

    def publish(
        self, rows: pa.Table | Callable[[run_module.Run], base.Source], **arguments: Any
    ) -> run_module.Result:
        """Execute one run that must succeed, prove itself and leave nothing behind."""
        outcome = self.run(rows, **arguments)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.exit_code == 0
        assert outcome.cleanup_error is None, repr(outcome.cleanup_error)
        result = outcome.result
        assert result.fingerprint_source == result.fingerprint_target
        assert result.fingerprint_source is not None
        assert self.leftovers() == set()
        return result

    def refuse(
        self,
        rows: pa.Table | Callable[[run_module.Run], base.Source],
        error: type[_Error],
        **arguments: Any,
    ) -> _Error:
        """Execute one run that must fail, change nothing and leave nothing behind."""
        before, had_table = self.place.dump(self.table), self.table in self.place.tables()
        outcome = self.run(rows, **arguments)
        assert outcome.error is not None, "the run succeeded"
        if not isinstance(outcome.error, error):
            raise outcome.error
        assert outcome.cleanup_error is None, repr(outcome.cleanup_error)
        assert self.place.dump(self.table) == before
        # A delta creates its target before it reads; an empty new table is no changed one.
        if arguments.get("mode") != "delta":
            assert (self.table in self.place.tables()) is had_table
        assert self.leftovers() == set()
        if error is not Injected:
            assert "\n" not in str(outcome.error)
        return outcome.error

    def leftovers(self) -> set[str]:
        """Return the temporary tables in the place, by its own driver."""
        return {name for name in self.place.tables() if name.startswith("_tmg_")}

    def rows(self, *columns: str, schema: pa.Schema) -> list[tuple[object, ...]]:
        """Return some columns of the published rows as tuples, ordered by the first."""
        chosen = pa.schema([schema.field(name) for name in columns or schema.names])
        return [tuple(row.values()) for row in self.place.read(self.table, chosen)]

    @contextlib.contextmanager
    def opened(self) -> Iterator[base.Target]:
        """Open the target as a run does, through a connection of its own."""
        from tmg_etl import connectors

        config = model.Config.model_validate({"connections": self.connections})
        connections = connectors.Connections(
            config.connections, config.folder, run_module.StopFlag()
        )
        with connections["target"].open_target(self.table) as target:
            yield target

    @property
    def connections(self) -> dict[str, Any]:
        """Return `connections`: the place as ``target``."""
        return {"target": dict(self.place.connection)}


def new_name(stem: str = "t") -> str:
    """Return a table name that no other test of the process uses."""
    return f"{stem}_{next(_ids)}"


def _source_of(rows: pa.Table) -> Callable[[run_module.Run], base.Source]:
    return lambda run: memory.MemorySource(rows, "rows in memory")
