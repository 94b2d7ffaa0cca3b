"""What a run would do, found out without writing anything."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tmg_etl import errors, etl
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import history, mapping, pipeline, publish, rehearsal, runner
from tmg_etl.transfer import window as window_module

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run before it happens. The names are the keys of the JSON; `docs/plan.md` explains them.

    Attributes:
        transfer: name of the transfer.
        pipeline: class that would run, as module:Class.
        write_mode: truncate or delta.
        window: the days of a delta; None for truncate.
        source: what would be read; None where the pipeline's own code decides on it.
        source_rows: rows that would be read; None when counting is not cheap.
        source_cost: what reading would cost, in words; None where it costs nothing.
        target: connection and table.
        target_rows: rows there now, as the statistics have it; None when unknown or new.
        publish: kind of publish; None, as the next three, where the pipeline's own code decides.
        publish_reason: why that one.
        ingest: how rows enter the database.
        verify: what would be compared.
        columns: ``name: source type -> target type``.
        added: columns that would be added to the target.
        own: columns of the target that the source lacks, and whether they stay or are reset.
        indexes_built: indexes that the target lacks and a swap would build.
        creates: whether the target would be created.
        rows: rows that the run would insert, update, delete and leave, as it will report them.
        rows_exact: whether those are counts.
        rows_reason: why they are not; None when they are.
        difference: the same row by row where a swap replaces everything; None without a key.
        fails: what the run would stop with after its load; None when nothing was found.
        privileges_missing: what the run's user lacks.
        in_the_way: sessions that a publish would wait for now.
        disk_needed_bytes: disk that the table beside the target takes; None when unknown.
        disk_free_bytes: disk that is left where the database is; None where it does not tell.
        estimated_seconds: by the median of past runs; None without any.
        estimated_from_runs: how many those are.
        warnings: what is allowed and worth knowing.
    """

    transfer: str
    pipeline: str
    write_mode: str
    window: str | None
    source: str | None
    source_rows: int | None
    source_cost: str | None
    target: str
    target_rows: int | None
    publish: str | None
    publish_reason: str | None
    ingest: str | None
    verify: str | None
    columns: tuple[str, ...]
    added: tuple[str, ...]
    own: tuple[str, ...]
    indexes_built: tuple[str, ...]
    creates: bool
    rows: rehearsal.Changes
    rows_exact: bool
    rows_reason: str | None
    difference: rehearsal.Changes | None
    fails: str | None
    privileges_missing: tuple[str, ...]
    in_the_way: tuple[str, ...]
    disk_needed_bytes: int | None
    disk_free_bytes: int | None
    estimated_seconds: float | None
    estimated_from_runs: int
    warnings: tuple[str, ...]
    #: The error behind `fails`, whose exit code is the plan's.
    failure: errors.DataError | None = dataclasses.field(default=None, compare=False)

    @property
    def exit_code(self) -> int:
        """Return 0, or the code that the run would end with."""
        return errors.exit_code_of(self.failure)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "failure"
        }
        return {name: _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    if isinstance(value, rehearsal.Changes):
        return dataclasses.asdict(value)
    return list(value) if isinstance(value, tuple) else value


def make(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    depth: rehearsal.Depth = rehearsal.Depth.AUTO,
    choice: publish.Choice | None = None,
) -> Plan:
    """Return the plan of a run; opens source, target and ledger, and writes to none of them.

    Args:
        config: with one environment merged in.
        transfer_name: key in `transfers`.
        execution_date: the day the run is for; the end of the window.
        delta_start_date: start of the window; None takes the execution date.
        write_mode: truncate or delta.
        depth: how much work may be done to count rows.
        choice: how its publish group publishes it; None: it is published alone.

    Raises:
        errors.TmgEtlError: whatever would stop the run before it loads.
    """
    run = runner.make_run(
        config,
        transfer_name,
        execution_date=execution_date,
        delta_start_date=delta_start_date,
        write_mode=write_mode,
        is_dry=True,
    )
    built = runner.load_class(run.transfer, config.packages)(run)
    if not isinstance(built, pipeline.TransferPipeline):
        return _of_own_code(built, config.ledger)
    with opened(built) as (source, target):
        maker = _Maker(run, built, source, target)
        return maker.plan(config.ledger, depth, choice)


@contextlib.contextmanager
def opened(built: pipeline.TransferPipeline) -> Iterator[tuple[base.Source, base.Target]]:
    """Open the pipeline's own source, and the target, of one that is not executed."""
    spec = built.run.transfer.target
    with built.run.connections[spec.connection].open_target(spec.table) as target:
        # A subclass may derive its rows from what the target holds.
        built.target = target
        with built.open_source() as source:
            yield source, target


def _of_own_code(built: etl.TMGETL, ledger_url: str) -> Plan:
    """Return what is known of a pipeline that is not a `TransferPipeline`: nothing of its steps.

    What it reads is not opened: it may be something else than the declared source.
    """
    run, spec = built.run, built.run.transfer.target
    with run.connections[spec.connection].open_target(spec.table) as target:
        existing = target.describe()
    pace = history.pace(ledger_url, run, None)
    return Plan(
        transfer=run.transfer_name,
        pipeline=_path(built),
        write_mode=run.write_mode.value,
        window=str(run.window) if run.write_mode is run_module.WriteMode.DELTA else None,
        source=None,
        source_rows=None,
        source_cost=None,
        target=f"{spec.connection}: {spec.table}",
        target_rows=existing.row_estimate if existing else None,
        publish=None,
        publish_reason=None,
        ingest=None,
        verify=None,
        columns=(),
        added=(),
        own=(),
        indexes_built=(),
        creates=False,
        rows=rehearsal.Changes(),
        rows_exact=False,
        rows_reason="the pipeline's own code decides what it writes",
        difference=None,
        fails=None,
        privileges_missing=(),
        in_the_way=(),
        disk_needed_bytes=None,
        disk_free_bytes=None,
        estimated_seconds=None if pace.seconds is None else round(pace.seconds, 1),
        estimated_from_runs=pace.runs,
        warnings=tuple(f"run {running} of this transfer has not ended" for running in pace.running),
    )


def _path(built: etl.TMGETL) -> str:
    return f"{type(built).__module__}:{type(built).__qualname__}"


def window_of(run: run_module.Run) -> base.CursorWindow | None:
    """Return the rows that a delta reads; None for truncate."""
    delta = run.transfer.delta
    if run.write_mode is not run_module.WriteMode.DELTA or delta is None:
        return None
    return base.CursorWindow(delta.cursor, run.window.start, run.window.end)


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Puts a plan together, from a pipeline with its source and target open."""

    run: run_module.Run
    built: pipeline.TransferPipeline
    source: base.Source
    target: base.Target

    def plan(self, ledger_url: str, depth: rehearsal.Depth, choice: publish.Choice | None) -> Plan:
        run, transfer = self.run, self.run.transfer
        existing = self.target.describe()
        columns = pipeline.resolve_columns(run, self.source, self.target)
        is_member = choice is not None
        if choice is None:
            choice = publish.choose(
                transfer,
                existing,
                self.target.capabilities,
                run.write_mode,
                columns.kept(transfer.reset),
            )
        window = window_of(run)
        lacking = _lacking(transfer, existing)
        pipeline.ask_for_latest(run, self.source)
        counting = rehearsal.Rehearsal(
            run, self.source, self.target, columns, choice.kind, window, is_member=is_member
        )
        counted = counting.count(depth)
        is_empty = window is not None and counted.source_rows == 0
        if is_empty and counted.is_exact:
            window_module.refuse_hopeless(run, self.source)
        ready = self._ready(columns, choice, counted)
        pace = history.pace(ledger_url, run, counted.source_rows)
        return Plan(
            transfer=run.transfer_name,
            pipeline=_path(self.built),
            write_mode=run.write_mode.value,
            window=str(run.window) if window else None,
            source=self.source.description,
            source_rows=counted.source_rows,
            source_cost=self.source.estimate(columns.read, window),
            target=f"{transfer.target.connection}: {transfer.target.table}",
            target_rows=existing.row_estimate if existing else None,
            publish=choice.kind.value,
            publish_reason=choice.reason,
            ingest=self.target.ingest_method,
            verify=transfer.verify,
            columns=_column_lines(self.source, columns),
            added=tuple(f"{field.name} {field.type}" for field in columns.added),
            own=_own_lines(columns, choice, transfer),
            indexes_built=lacking if choice.kind is publish.Kind.SWAP else (),
            creates=columns.is_new,
            rows=counted.changes,
            rows_exact=counted.is_exact,
            rows_reason=counted.reason,
            difference=counted.difference,
            fails=counted.failure.message if counted.failure else None,
            privileges_missing=ready.missing,
            in_the_way=ready.in_the_way,
            disk_needed_bytes=ready.needed_bytes,
            disk_free_bytes=ready.free_bytes,
            estimated_seconds=None if pace.seconds is None else round(pace.seconds, 1),
            estimated_from_runs=pace.runs,
            warnings=(
                *_warnings(transfer, existing, choice, lacking),
                *self._unseen(existing, choice, columns, counted),
                *_circumstances(ready, pace),
                *mapping.order_warnings(transfer, columns, run.write_mode),
                *self.source.warnings,
                *([window_module.without_rows(run, self.source)] if is_empty else []),
            ),
            failure=counted.failure,
        )

    def _unseen(
        self,
        existing: base.Table | None,
        choice: publish.Choice,
        columns: mapping.Mapping,
        counted: rehearsal.Rehearsed,
    ) -> list[str]:
        """Return which constraints of the target only the run will hold the rows to."""
        if existing is None:
            return []
        found = list(counted.unseen)
        if choice.kind in (publish.Kind.MERGE, publish.Kind.REPLACE_WINDOW):
            found += [f"the unique key over {', '.join(unique)}" for unique in existing.unique_keys]
        key = self.run.transfer.key
        is_stuck = not existing.emptied(key, columns.names) and not existing.can_return(
            columns.names
        )
        if is_stuck and key and not self.target.capabilities.unique_at_end:
            found += [
                f"values of the unique key over {', '.join(unique)} that change places"
                for unique in existing.other_keys(key, columns.names)
                if choice.kind is not publish.Kind.SWAP
            ]
        return (
            [f"not looked at, only the run will find out: {errors.listed(found)}"] if found else []
        )

    def _ready(
        self, columns: mapping.Mapping, choice: publish.Choice, counted: rehearsal.Rehearsed
    ) -> base.Readiness:
        intent = base.Intent(
            renames=choice.kind is publish.Kind.SWAP,
            creates=columns.is_new,
            evolves=len(columns.added) > 0,
            rows=counted.source_rows,
        )
        return self.target.readiness(intent)


def _column_lines(source: base.Source, columns: mapping.Mapping) -> tuple[str, ...]:
    schema = source.schema()
    return tuple(
        f"{field.name}: {schema.field(field.name).type} -> {field.type}"
        for field in columns.columns
        if field.name not in columns.added.names
    )


def _own_lines(
    columns: mapping.Mapping,
    choice: publish.Choice,
    transfer: model.Transfer,
) -> tuple[str, ...]:
    # Without a key, no row is known to be the one that was there.
    all_new = choice.kind in (publish.Kind.SWAP, publish.Kind.REPLACE)
    some_new = choice.kind is publish.Kind.REPLACE_WINDOW and not transfer.key
    what = "reset to its default" if all_new else "kept"
    what = "reset to its default in the window" if some_new else what
    return tuple(f"{name}: {what}" for name in columns.own)


def _lacking(transfer: model.Transfer, existing: base.Table | None) -> tuple[str, ...]:
    if existing is None:
        return tuple(index.name for index in transfer.indexes)
    return tuple(index.name for index in transfer.indexes if index.name not in existing.indexes)


def _warnings(
    transfer: model.Transfer,
    existing: base.Table | None,
    choice: publish.Choice,
    lacking: tuple[str, ...],
) -> list[str]:
    warnings = []
    if not transfer.key:
        warnings.append("no `key:`: doubled rows in the source are published as they are")
    elif existing is not None and not existing.is_unique_over(transfer.key):
        warnings.append(
            f"the target has no unique index over the key {list(transfer.key)}: "
            "merges and diffs scan it"
        )
    if lacking and existing is not None and choice.kind is not publish.Kind.SWAP:
        warnings.append(f"the target lacks the indexes {list(lacking)}; only a swap builds them")
    if transfer.skip_unchanged:
        warnings.append(
            "`skip_unchanged`: a run that finds what the last one published ends without a change"
        )
    if transfer.verify != "fingerprint":
        warnings.append(f"verify is {transfer.verify}: equality is not proved")
    return warnings


def _circumstances(ready: base.Readiness, pace: history.Pace) -> list[str]:
    warnings = [f"run {running} of this transfer has not ended" for running in pace.running]
    if (
        ready.needed_bytes is not None
        and ready.free_bytes is not None
        and ready.needed_bytes > ready.free_bytes
    ):
        warnings.append("the disk has less room than the run needs")
    return [*warnings, *ready.notes, *(f"not known: {phrase}" for phrase in ready.unknown)]
