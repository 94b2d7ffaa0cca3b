"""What a run would do, found out without writing anything."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import mapping, pipeline, publish, runner

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run before it happens.

    Attributes:
        transfer: name of the transfer.
        pipeline: class that would run, as module:Class.
        write_mode: truncate or delta.
        window: the days of a delta; None for truncate.
        source: what would be read.
        source_rows: rows that would be read; None when counting is not cheap.
        target: connection and table.
        target_rows: rows there now, as the statistics have it; None when unknown or new.
        publish: kind of publish.
        publish_reason: why that one.
        ingest: how rows enter the database.
        verify: what would be compared.
        columns: ``name: source type -> target type``.
        added: columns that would be added to the target.
        creates: whether the target would be created.
        warnings: what is allowed and worth knowing.
    """

    transfer: str
    pipeline: str
    write_mode: str
    window: str | None
    source: str
    source_rows: int | None
    target: str
    target_rows: int | None
    publish: str
    publish_reason: str
    ingest: str
    verify: str
    columns: tuple[str, ...]
    added: tuple[str, ...]
    creates: bool
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def render(self) -> str:
        """Return the plan as lines for people."""
        rows = "unknown" if self.source_rows is None else f"{self.source_rows:,}"
        held = "new table"
        if not self.creates:
            held = (
                "rows unknown" if self.target_rows is None else f"about {self.target_rows:,} rows"
            )
        lines = [
            f"transfer  {self.transfer} ({self.pipeline})",
            f"mode      {self.write_mode}" + (f", window {self.window}" if self.window else ""),
            f"source    {self.source}, {rows} rows",
            f"target    {self.target}, {held}",
            f"load      {self.ingest}, verify {self.verify}",
            f"publish   {self.publish}: {self.publish_reason}",
            "columns",
        ]
        lines += [f"  {column}" for column in self.columns]
        lines += [f"  + {column} (would be added to the target)" for column in self.added]
        lines += [f"warning   {warning}" for warning in self.warnings]
        return "\n".join([*lines, "nothing was written"])


def make(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    verify: str | None = None,
) -> Plan:
    """Return the plan of a run; opens source and target, and writes nothing.

    Raises:
        errors.TmgEtlError: whatever would stop the run before it loads.
    """
    run = runner.make_run(
        config,
        transfer_name,
        execution_date=execution_date,
        delta_start_date=delta_start_date,
        write_mode=write_mode,
        verify=verify,
    )
    pipeline_class = runner.load_class(run.transfer, config.packages)
    path = f"{pipeline_class.__module__}:{pipeline_class.__qualname__}"
    built = pipeline_class(run)
    transfer = run.transfer
    spec = transfer.target
    with run.connections[spec.connection].open_target(spec.table) as target:
        if isinstance(built, pipeline.TransferPipeline):
            # A subclass may derive its rows from what the target holds.
            built.target = target
            source = built.open_source()
        else:
            source = run.connections[transfer.source.connection].open_source(
                transfer.source, execution_date
            )
        with source:
            return _plan(run, path, source, target)


def _plan(run: run_module.Run, path: str, source: base.Source, target: base.Target) -> Plan:
    transfer = run.transfer
    existing = target.describe()
    columns = pipeline.resolve_columns(run, source, target)
    choice = publish.choose(transfer, existing, target.capabilities, run.write_mode)
    window = None
    if run.write_mode is run_module.WriteMode.DELTA and transfer.delta:
        window = base.CursorWindow(transfer.delta.cursor, run.window.start, run.window.end)
    return Plan(
        transfer=run.transfer_name,
        pipeline=path,
        write_mode=run.write_mode.value,
        window=str(run.window) if window else None,
        source=source.description,
        source_rows=source.count(window),
        target=f"{transfer.target.connection}: {transfer.target.table}",
        target_rows=existing.row_estimate if existing else None,
        publish=choice.kind.value,
        publish_reason=choice.reason,
        ingest=target.ingest_method,
        verify=transfer.verify,
        columns=_column_lines(source, columns),
        added=tuple(f"{field.name} {field.type}" for field in columns.added),
        creates=columns.is_new,
        warnings=_warnings(transfer, existing, choice),
    )


def _column_lines(source: base.Source, columns: mapping.Mapping) -> tuple[str, ...]:
    schema = source.schema()
    return tuple(
        f"{field.name}: {schema.field(field.name).type} -> {field.type}"
        for field in columns.columns
        if field.name not in columns.added.names
    )


def _warnings(
    transfer: model.Transfer, existing: base.Table | None, choice: publish.Choice
) -> tuple[str, ...]:
    warnings = []
    if not transfer.key:
        warnings.append("no `key:`: doubled rows in the source are published as they are")
    elif existing is not None and not existing.is_unique_over(transfer.key):
        warnings.append(
            f"the target has no unique index over the key {list(transfer.key)}: "
            "merges and diffs scan it"
        )
    lacking = [
        index.name for index in transfer.indexes if existing and index.name not in existing.indexes
    ]
    if lacking and choice.kind is not publish.Kind.SWAP:
        warnings.append(f"the target lacks the indexes {lacking}; only a swap builds them")
    if transfer.verify != "fingerprint":
        warnings.append(f"verify is {transfer.verify}: equality is not proved")
    return tuple(warnings)
