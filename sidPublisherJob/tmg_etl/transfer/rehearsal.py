"""What a run would change in the target, counted without writing to it.

The source is loaded into a table that only the plan's own session sees, and the statements of the
publish are asked for their counts: what is counted here is what the run will report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import alteration, conversion, mapping, publish, stage

#: Source rows up to which changes are counted without being asked for: some ten seconds' work for
#: the slowest database.
MOST_ROWS = 1_000_000


class Depth(enum.StrEnum):
    """How much work a plan may do to count rows."""

    AUTO = "auto"
    EXACT = "exact"
    ESTIMATE = "estimate"


@dataclasses.dataclass(frozen=True)
class Changes:
    """Rows that a run would change; None where that was not computed.

    Attributes:
        insert: rows new in the target.
        update: rows of the target that would change.
        delete: rows that would leave the target.
        leave: rows that are equal already.
    """

    insert: int | None = None
    update: int | None = None
    delete: int | None = None
    leave: int | None = None

    @classmethod
    def of(cls, changes: base.Changes) -> Changes:
        """Return what a merge counted."""
        return cls(changes.inserted, changes.updated, changes.deleted, changes.unchanged)


@dataclasses.dataclass(frozen=True)
class Rehearsed:
    """What came of counting.

    Attributes:
        changes: as the run will report them.
        difference: the same row by row, where the publish replaces the whole table and there is a
            key to compare by; None otherwise.
        source_rows: rows that were read or counted; None when neither was done.
        is_exact: whether `changes` are counts.
        reason: why they are not; None when they are.
        failure: what the run would stop with after its load; None when nothing was found.
        unseen: constraints of the target that the rows were not held to, and why not.
    """

    changes: Changes = Changes()
    difference: Changes | None = None
    source_rows: int | None = None
    is_exact: bool = False
    reason: str | None = None
    failure: errors.DataError | None = None
    unseen: tuple[str, ...] = ()


class _TooManyRows(Exception):
    """The source has more rows than may be read without being asked for."""


class _NoTable(Exception):
    """The database makes no temporary table for this user."""


class _Bounded(base.Source):
    """A source that is given up after a number of rows."""

    def __init__(self, source: base.Source, most_rows: int | None) -> None:
        self._source = source
        self._most_rows = most_rows

    @property
    def description(self) -> str:
        return self._source.description

    @property
    def snapshot(self) -> str:
        return self._source.snapshot

    def schema(self) -> pa.Schema:
        return self._source.schema()

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        return self._source.count(window)

    def read(
        self, columns: Sequence[str], window: base.CursorWindow | None = None, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in self._source.read(columns, window, **options):
            rows += batch.num_rows
            if self._most_rows is not None and rows > self._most_rows:
                raise _TooManyRows
            yield batch

    def close(self) -> None:
        self._source.close()


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """Counts what one run would do.

    Attributes:
        run: whose transfer and window are used.
        source: opened.
        target: opened, without its lock.
        columns: the columns of the run.
        kind: how the run would publish.
        window: rows of a delta; None for truncate.
        is_member: whether other tables are published in one step with it.
    """

    run: run_module.Run
    source: base.Source
    target: base.Target
    columns: mapping.Mapping
    kind: publish.Kind
    window: base.CursorWindow | None
    is_member: bool = False

    def count(self, depth: Depth) -> Rehearsed:
        """Return the rows that the run would change.

        Args:
            depth: ESTIMATE reads nothing; AUTO counts up to `MOST_ROWS` of the source.
        """
        rows = self.source.count(self.window)
        if depth is Depth.ESTIMATE:
            return self._without_reading(rows, "an estimate was asked for")
        if depth is Depth.AUTO and self.source.estimate(self.columns.read, self.window):
            reason = "reading the source costs money; `--rows exact` reads it all the same"
            return self._without_reading(rows, reason)
        most = MOST_ROWS if depth is Depth.AUTO else None
        too_many = f"the source has more than {MOST_ROWS:,} rows; `--rows exact` counts them"
        if most is not None and rows is not None and rows > most:
            return self._without_reading(rows, too_many)
        try:
            return self._replaced(most) if self._is_swap else self._merged(most)
        except _TooManyRows:
            return self._without_reading(rows, too_many)
        except _NoTable as refused:
            return self._without_reading(rows, f"no temporary table could be made: {refused}")
        except errors.DataError as failure:
            return Rehearsed(source_rows=rows, reason="the run would fail", failure=failure)

    @property
    def _is_swap(self) -> bool:
        return self.kind is publish.Kind.SWAP

    @property
    def _can_compare(self) -> bool:
        able = self.target.capabilities
        return able.can_rehearse and able.can_diff and bool(self.run.transfer.key)

    def _without_reading(self, rows: int | None, reason: str) -> Rehearsed:
        unseen = tuple(rule.words for rule in self._rules())
        if not self._is_swap or rows is None:
            return Rehearsed(source_rows=rows, reason=reason, unseen=unseen)
        existing = self.target.describe()
        held = existing.row_estimate if existing else 0
        changes = Changes(rows, 0, held, 0)
        return Rehearsed(changes, source_rows=rows, reason=reason, unseen=unseen)

    # --- a swap ---------------------------------------------------------------------------------

    def _replaced(self, most: int | None) -> Rehearsed:
        difference = None
        if self.columns.is_new or not self._can_compare:
            rows, unseen = self._checked(most)
        else:
            rows, difference, unseen = self._compared(most)
        held = 0 if self.columns.is_new else self._held_rows()
        changes = Changes.of(base.Changes(inserted=rows, deleted=held))
        return Rehearsed(changes, difference, rows, is_exact=True, unseen=unseen)

    def _compared(self, most: int | None) -> tuple[int, Changes, tuple[str, ...]]:
        with self.target.rehearsal(self._staging):
            rows = self._load(most)
            self._refuse_empty(rows)
            self._refuse_duplicates()
            changes = self.target.diff(
                self._staging, self.columns.names, self.run.transfer.key, None
            )
            return rows, Changes.of(changes), self._refuse_constrained()

    def _checked(self, most: int | None) -> tuple[int, tuple[str, ...]]:
        """Count without comparing; what is refused is found where a temporary table tells."""
        asks = bool(self.run.transfer.key or self._rules())
        if asks and self.target.capabilities.can_rehearse:
            with contextlib.suppress(_NoTable), self.target.rehearsal(self._staging):
                rows = self._load(most)
                self._refuse_empty(rows)
                self._refuse_duplicates()
                return rows, self._refuse_constrained()
        rows = self._read_through(most)
        self._refuse_empty(rows)
        return rows, tuple(rule.words for rule in self._rules())

    def _read_through(self, most: int | None) -> int:
        """Count by reading; values that do not fit are found on the way."""
        converter = self._converter()
        rows = 0
        source = _Bounded(self.source, most)
        for batch in source.read(
            self.columns.read, self.window, batch_rows=self.run.transfer.batch_rows
        ):
            converter.convert(batch)
            rows += batch.num_rows
        return rows

    def _held_rows(self) -> int:
        found = self.target.fingerprint(
            self.target.table, self.columns.names, base.Selection(), hashes=False
        )
        return found.rows

    # --- merges ---------------------------------------------------------------------------------

    def _merged(self, most: int | None) -> Rehearsed:
        if not self.target.capabilities.can_rehearse:
            reason = "this kind of target has no tables of one session's own"
            return self._without_reading(self.source.count(self.window), reason)
        with self.target.rehearsal(self._staging):
            rows = self._load(most)
            changes = Changes.of(self._changes(rows))
            unseen = self._refuse_constrained()
        return Rehearsed(changes, None, rows, is_exact=True, unseen=unseen)

    def _changes(self, rows: int) -> base.Changes:
        transfer, names = self.run.transfer, self.columns.names
        match self.kind:
            case publish.Kind.DIFF:
                self._refuse_empty(rows)
                self._refuse_duplicates()
                return self.target.diff(self._staging, names, transfer.key, None)
            case publish.Kind.REPLACE:
                self._refuse_empty(rows)
                self._refuse_duplicates()
                return self.target.replace_rows(self._staging, names, None)
            case publish.Kind.REPLACE_WINDOW:
                self._refuse_wiping(rows)
                if not transfer.key:
                    return self.target.replace_rows(self._staging, names, self.window)
                self._keep_latest()
                return self.target.diff(self._staging, names, transfer.key, self.window)
        self._keep_latest()
        delta = transfer.delta
        assert delta is not None
        return self.target.upsert(self._staging, names, transfer.key, delta.order_by, delta.deleted)

    def _keep_latest(self) -> None:
        transfer = self.run.transfer
        order_by = transfer.delta.order_by if transfer.delta else []
        self.target.keep_latest(self._staging, self._fields.names, transfer.key, order_by)

    # --- steps of both --------------------------------------------------------------------------

    @property
    def _staging(self) -> str:
        return self.run.names.table("stage", self.target.table)

    @property
    def _fields(self) -> pa.Schema:
        return self.columns.columns if self.window is None else self.columns.staged

    def _load(self, most: int | None) -> int:
        held = [] if self.columns.is_new else self.columns.held
        extra = pa.schema([field for field in self._fields if field.name not in held])
        try:
            self.target.create_staging(self._staging, held, extra)
        except (errors.AccessError, errors.ConfigError) as refused:
            raise _NoTable(refused.message) from refused
        if self.kind is publish.Kind.MERGE:
            stage.check_deleted(self.run, self.target, self._staging)
        sent = stage.load(
            self.run,
            _Bounded(self.source, most),
            self.target,
            self._staging,
            columns=self.columns.read,
            converter=self._converter(),
            window=self.window,
        )
        transfer = self.run.transfer
        if transfer.verify == "fingerprint":
            alteration.require_none(self.target, self._staging, self._fields, transfer.key, sent)
        return sent.fingerprint.rows

    def _converter(self) -> conversion.Converter:
        return conversion.Converter(
            table=self.target.table,
            fields=self._fields,
            required=self.columns.required,
            key=tuple(self.run.transfer.key),
            capabilities=self.target.capabilities,
        )

    def _refuse_duplicates(self) -> None:
        key = self.run.transfer.key
        for unique in self._unique_keys():
            twice = self.target.duplicate_key(self._staging, unique, skips_null=True)
            if twice is not None:
                raise errors.UniqueError(self.target.table, twice)
        if not key:
            return
        twice = self.target.duplicate_key(self._staging, key)
        if twice is not None:
            raise errors.DuplicateKeyError(self.target.table, twice)
        # Leaves all rows, and makes lookups by key fast, as the key of a shadow does in a run.
        self.target.keep_latest(self._staging, self._fields.names, key, ())

    # --- constraints of the target --------------------------------------------------------------

    def _rules(self) -> list[base.Check | base.ForeignKey]:
        """Return what the target holds its rows to, as far as the run may break it."""
        existing = self.target.describe()
        if existing is None:
            return []
        rules: list[base.Check | base.ForeignKey] = [*existing.checks]
        return rules + [rule for rule in self.target.foreign_keys() if self._may_break(rule)]

    def _may_break(self, rule: base.ForeignKey) -> bool:
        """Return whether rows that others refer to may go, or get another key."""
        delta, key = self.run.transfer.delta, set(self.run.transfer.key)
        deletes = self.kind is not publish.Kind.MERGE or (delta is not None and delta.deleted)
        return bool(not rule.is_incoming or deletes or not set(rule.columns) <= key)

    def _refuse_constrained(self) -> tuple[str, ...]:
        """Refuse rows that would break a constraint; return those of which rows do not tell."""
        unseen = []
        for rule in self._rules():
            obstacle = self._obstacle(rule)
            if obstacle is None:
                try:
                    self._refuse_breaking(rule)
                except (errors.ConstraintError, errors.TemporaryError):
                    raise
                except errors.TmgEtlError as failed:
                    # A right is missing, or its own expression fails.
                    obstacle = failed.message
            if obstacle is not None:
                unseen.append(f"{rule.words} ({obstacle})")
        return tuple(unseen)

    def _refuse_breaking(self, rule: base.Check | base.ForeignKey) -> None:
        replaces = self._is_swap or self.kind is publish.Kind.REPLACE
        transfer, kind = self.run.transfer, errors.Constraint.CHECK
        key = self.target.breaking(
            self._staging,
            rule,
            self.columns.names,
            transfer.key,
            self.window,
            is_in_place=bool(transfer.key) and not replaces,
        )
        if key is None:
            return
        if isinstance(rule, base.ForeignKey):
            found = errors.Constraint
            kind = found.REFERENCED if rule.is_incoming else found.FOREIGN_KEY
        raise errors.ConstraintError(self.target.table, kind, rule.words, key=key)

    def _obstacle(self, rule: base.Check | base.ForeignKey) -> str | None:
        """Return why the staged rows do not tell whether a constraint will hold."""
        if isinstance(rule, base.Check):
            return self._obstacle_of_check(rule)
        if self.is_member:
            return "tables of the group change together"
        if rule.obstacle is not None:
            return rule.obstacle
        if rule.is_incoming:
            key = self.run.transfer.key
            by_key = self.kind in (publish.Kind.DIFF, publish.Kind.REPLACE_WINDOW)
            is_told = by_key and key and set(rule.columns) <= set(key)
            return None if is_told else "which rows go is told by the run"
        return self._not_staged(set(rule.columns) - set(self._fields.names))

    def _obstacle_of_check(self, rule: base.Check) -> str | None:
        existing = self.target.describe()
        if rule.condition is None or existing is None:
            return "rows may be there that break it"
        lacking = {column.name for column in existing.columns} - set(self._fields.names)
        words = set(re.findall(r"\w+", rule.condition.lower()))
        named = {name for name in lacking if set(re.findall(r"\w+", name.lower())) <= words}
        return self._not_staged(named)

    def _not_staged(self, names: Collection[str]) -> str | None:
        if not names:
            return None
        return f"over {', '.join(sorted(names))}, which the source lacks"

    def _unique_keys(self) -> list[tuple[str, ...]]:
        """Return what else the table that the run leaves is unique over, where the rows tell."""
        existing = self.target.describe()
        found = list(existing.unique_keys) if existing else []
        found += [tuple(index.columns) for index in self.run.transfer.indexes if index.unique]
        key, names = set(self.run.transfer.key), set(self._fields.names)
        return [unique for unique in dict.fromkeys(found) if key != set(unique) <= names]

    def _refuse_empty(self, rows: int) -> None:
        if rows == 0 and self.run.transfer.on_empty == "fail":
            raise errors.EmptySourceError(self.source.description)

    def _refuse_wiping(self, rows: int) -> None:
        if rows or self.columns.is_new or self.run.transfer.on_empty == "allow":
            return
        held = self.target.fingerprint(
            self.target.table,
            self.columns.names,
            base.Selection(window=self.window),
            hashes=False,
        )
        if held.rows:
            raise errors.EmptySourceError(f"{self.source.description} from {self.run.window}")
