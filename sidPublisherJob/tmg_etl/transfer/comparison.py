"""Source and target as they are now, compared without writing, down to the rows that differ."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import (
    alteration,
    bucket,
    conversion,
    difference,
    mapping,
    pipeline,
    runner,
    stage,
)
from tmg_etl.transfer import plan as plan_module

if TYPE_CHECKING:
    from tmg_etl.config import model

#: Rows of each side that are held to find the ones that differ.
MOST_ROWS = 200_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came of a comparison. The names are the keys of the JSON.

    Attributes:
        transfer: its name.
        write_mode: whose rule was applied: truncate or delta.
        window: the days; None: all.
        compared: which rows of the two sides, in words.
        source: what was read.
        snapshot: which state of it.
        target: connection and table.
        columns: what was compared.
        columns_missing: columns of the source that the target lacks.
        source_fingerprint: rows and hash of what the target should hold.
        target_fingerprint: rows and hash of what it holds.
        missing: rows that the target lacks.
        extra: rows that only the target has.
        changed: rows of one key that differ.
        not_compared: rows of the target that the source does not name, which an upsert keeps; None
            where all, or those of a window only, were looked at.
        is_complete: whether these are all; else there are more, and they were not looked at.
        differences: the first of them.
    """

    transfer: str
    write_mode: str
    window: str | None
    compared: str
    source: str
    snapshot: str
    target: str
    columns: tuple[str, ...]
    columns_missing: tuple[str, ...]
    source_fingerprint: str
    target_fingerprint: str
    missing: int = 0
    extra: int = 0
    changed: int = 0
    not_compared: int | None = None
    is_complete: bool = True
    differences: tuple[difference.Difference, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Return whether the target holds exactly what it should."""
        differing = self.missing or self.extra or self.changed or self.columns_missing
        return not differing and self.source_fingerprint == self.target_fingerprint

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values for JSON."""
        return {"equal": self.is_equal, **dataclasses.asdict(self)}


def make(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode | None,
    limit: int = 20,
) -> Comparison:
    """Compare a transfer's source with its target; write to neither.

    Args:
        config: with one environment merged in.
        transfer_name: key in `transfers`.
        execution_date: fills placeholders; the end of the window.
        delta_start_date: start of the window; None takes the execution date.
        write_mode: truncate compares all rows, delta those of the window by the transfer's rule;
            None compares all rows by that rule, or as truncate does where there is none.
        limit: most rows to name.

    Raises:
        errors.ConfigError: the transfer runs code of its own, or there is no target yet.
        errors.DataError: a row of the source could not be published at all.
    """
    delta, whole = config.transfer(transfer_name).delta, write_mode is None
    rule = run_module.WriteMode.TRUNCATE if delta is None else run_module.WriteMode.DELTA
    run = runner.make_run(
        config.with_policy(transfer_name, verify="fingerprint"),
        transfer_name,
        execution_date=execution_date,
        delta_start_date=delta_start_date,
        write_mode=write_mode or rule,
        is_dry=True,
    )
    built = runner.load_class(run.transfer, config.packages)(run)
    if not isinstance(built, pipeline.TransferPipeline):
        raise errors.ConfigError(
            f"the transfer {transfer_name!r} runs code of its own, which decides what the target"
            " holds",
            hint="only a TransferPipeline can be compared with its source",
        )
    with plan_module.opened(built) as (source, target):
        if target.describe() is None:
            raise errors.ConfigError(
                f"there is no table {target.table} to compare with", hint="run the transfer first"
            )
        if whole and not target.capabilities.can_rehearse:
            # Only a temporary table tells which version of a key is the latest.
            run = dataclasses.replace(run, write_mode=run_module.WriteMode.TRUNCATE)
        columns = pipeline.resolve_columns(run, source, target)
        window = None if whole else plan_module.window_of(run)
        return _Comparer(run, source, target, columns, window, limit).compare()


@dataclasses.dataclass(frozen=True)
class _Comparer:
    run: run_module.Run
    source: base.Source
    target: base.Target
    columns: mapping.Mapping
    window: base.CursorWindow | None
    limit: int

    @property
    def _delta(self) -> model.DeltaSpec | None:
        """Return the rule by which rows are published; None: all of them as they are."""
        is_delta = self.run.write_mode is run_module.WriteMode.DELTA
        return self.run.transfer.delta if is_delta else None

    def compare(self) -> Comparison:
        delta, window = self._delta, self.window
        if delta is None:
            with self.target.reading():
                return self._compared(self._read(), self._held(base.Selection()), [])
        if self.target.capabilities.can_rehearse:
            return self._compare_staged(delta)
        if delta.order_by or delta.deleted:
            raise errors.ConfigError(
                f"the window of {self.target.table} cannot be compared: this kind of target does"
                " not tell which version of a key is the latest",
                hint="leave out --delta_start_date and --mode to compare all rows",
            )
        with self.target.reading():
            return self._compared(self._read(), self._held(base.Selection(window=window)), [])

    # --- the window of a delta ------------------------------------------------------------------

    def _compare_staged(self, delta: model.DeltaSpec) -> Comparison:
        """Compare what a merge would leave of the source's rows with what the target holds."""
        transfer = self.run.transfer
        staging = self.run.names.table("stage", self.target.table)
        with self.target.rehearsal(staging):
            self._stage(staging)
            marked: list[difference.Difference] = []
            if transfer.key:
                self.target.keep_latest(
                    staging, self.columns.staged.names, transfer.key, delta.order_by
                )
            selection = base.Selection(window=self.window)
            kept = None
            if delta.strategy == "upsert":
                named = base.Selection(keys_of=staging, key=tuple(transfer.key))
                kept = self._count(base.Selection()) - self._count(named)
                marked = self._settle(staging, delta)
                selection = named
            with self.target.reading():
                found = self._compared(
                    self._held(base.Selection(), staging), self._held(selection), marked
                )
            return found if self.window else dataclasses.replace(found, not_compared=kept)

    def _count(self, selection: base.Selection) -> int:
        table, names = self.target.table, self._schema.names
        return self.target.fingerprint(table, names, selection, hashes=False).rows

    def _stage(self, staging: str) -> None:
        held = [name for name in self.columns.names if name not in self.columns.added.names]
        extra = [field for field in self.columns.staged if field.name not in held]
        self.target.create_staging(staging, held, pa.schema(extra))
        stage.check_deleted(self.run, self.target, staging)
        sent = stage.load(
            self.run,
            self.source,
            self.target,
            staging,
            columns=self.columns.read,
            converter=self._converter(self.columns.staged),
            window=self.window,
        )
        key = self.run.transfer.key
        alteration.require_none(self.target, staging, self.columns.staged, key, sent)

    def _settle(self, staging: str, delta: model.DeltaSpec) -> list[difference.Difference]:
        """Leave in the staging table what the target must hold; return rows that must be gone."""
        key, names = self.run.transfer.key, self.columns.names
        # A version older than the target's is not published, and deletes nothing; in the whole
        # source there is none that could have made the target's.
        order_by = delta.order_by if self.window else []
        self.target.upsert(staging, names, key, order_by, None)
        if not delta.deleted:
            return []
        found = self.target.marked_keys(staging, key, delta.deleted, MOST_ROWS)
        self.target.upsert(staging, names, key, order_by, delta.deleted)
        return [
            difference.Difference(
                difference.EXTRA,
                {name: difference.plain(value) for name, value in one.items()},
                None,
                {},
            )
            for one in found
        ]

    # --- the two sides --------------------------------------------------------------------------

    @property
    def _schema(self) -> pa.Schema:
        """Return what is compared: what both sides have."""
        added = self.columns.added.names
        return pa.schema([field for field in self.columns.columns if field.name not in added])

    @property
    def _key(self) -> list[str]:
        return list(self.run.transfer.key) or self._schema.names

    def _converter(self, fields: pa.Schema) -> conversion.Converter:
        return conversion.Converter(
            table=self.target.table,
            fields=fields,
            required=self.columns.required,
            key=tuple(self.run.transfer.key),
            capabilities=self.target.capabilities,
        )

    def _read(self) -> bucket.Side:
        schema = self._schema
        read = functools.partial(
            stage.converted,
            self.run,
            self.source,
            columns=schema.names,
            converter=self._converter(schema),
            window=self.window,
        )
        return bucket.Stream(read, schema, self.target.capabilities.text, self._key)

    def _held(self, selection: base.Selection, name: str | None = None) -> bucket.Side:
        table = name or self.target.table
        return bucket.held(self.target, table, self._schema, selection, self._key)

    # --- the comparison -------------------------------------------------------------------------

    def _compared(
        self, left: bucket.Side, right: bucket.Side, marked: list[difference.Difference]
    ) -> Comparison:
        sent, held = left.sums(), right.sums()
        differing = [
            number
            for number in sorted(sent.keys() | held.keys())
            if sent.get(number) != held.get(number)
        ]
        looked_at = _affordable(differing, sent, held)
        pairs = difference.Pairs(
            left.rows(looked_at), right.rows(looked_at), self._schema, self.run.transfer.key
        )
        spots = pairs.spots()
        counts = collections.Counter(spot.kind for spot in spots)
        named = pairs.first(spots, self.target.capabilities.text, self.limit)
        spec = self.run.transfer.target
        return Comparison(
            transfer=self.run.transfer_name,
            write_mode=self.run.write_mode.value,
            window=str(self.run.window) if self.window else None,
            compared=self._words(),
            source=self.source.description,
            snapshot=self.source.snapshot,
            target=f"{spec.connection}: {spec.table}",
            columns=tuple(self._schema.names),
            columns_missing=tuple(self.columns.added.names),
            source_fingerprint=str(_total(sent)),
            target_fingerprint=str(_total(held)),
            missing=counts[difference.MISSING],
            extra=counts[difference.EXTRA] + len(marked),
            changed=counts[difference.CHANGED],
            is_complete=len(looked_at) == len(differing),
            differences=tuple([*named, *marked][: self.limit]),
        )

    def _words(self) -> str:
        """Return which rows of the two sides are compared."""
        delta, whose = self._delta, "of the window" if self.window else "of the source"
        if delta is None:
            return "all rows of both sides"
        latest = f" (the latest by {', '.join(delta.order_by)})" if delta.order_by else ""
        if delta.strategy == "replace_window":
            rows = f"the rows {whose}" if self.window else "all rows"
            return f"{rows} on both sides, one for each key{latest}"
        marked = ", those that `deleted` marks being gone" if delta.deleted else ""
        return f"each key {whose}{latest}{marked}; other rows of the target are kept by an upsert"


def _total(sums: dict[int, base.Fingerprint]) -> base.Fingerprint:
    rows = sum(one.rows for one in sums.values())
    return base.Fingerprint(rows, sum(one.hash or 0 for one in sums.values()) % 2**64)


def _affordable(
    numbers: Sequence[int],
    left: dict[int, base.Fingerprint],
    right: dict[int, base.Fingerprint],
) -> list[int]:
    """Return the first of some buckets, as many as have `MOST_ROWS` rows on either side."""
    chosen, rows = [], 0
    for number in numbers:
        rows += max(side[number].rows for side in (left, right) if number in side)
        if rows > MOST_ROWS:
            break
        chosen.append(number)
    return chosen
