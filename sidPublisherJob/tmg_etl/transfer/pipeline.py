"""`TransferPipeline`: runs a declared transfer, and is the base of pipelines that do more.

Each hook is a handful of steps with names of their own, so that a subclass overrides the one it
means: mostly `open_source`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Protocol

from tmg_etl import errors, etl
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import (
    alteration,
    conversion,
    mapping,
    previous,
    publish,
    stage,
    unchanged,
    verify,
)
from tmg_etl.transfer import window as window_module


class Company(Protocol):
    """The publish group that a pipeline is run in; `tmg_etl.transfer.group` has it."""

    def open_target(self, member: TransferPipeline) -> base.Target:
        """Return the member's target, over the session of the whole group."""

    def carry_out(self, member: TransferPipeline) -> publish.Published | None:
        """Load and publish all members; return what was done to this one, None for nothing."""


class TransferPipeline(etl.TMGETL):
    """Moves one declared table: load aside, prove, publish in one step, prove again.

    Override `open_source` to publish rows of your own making; the target stays as safe as for any
    declared transfer. The source and the target are open from `pre_execution_cleansing` to
    `post_execution_cleanup`, as `source` and `target`.
    """

    source: base.Source
    target: base.Target
    columns: mapping.Mapping
    choice: publish.Choice
    #: None: it is published alone.
    company: Company | None = None
    #: Tables of this run beside the target, made or about to be.
    _aside: tuple[str, ...] = ()

    def open_source(self) -> base.Source:
        """Return the source to publish, opened at its snapshot.

        Called once, in `pre_execution_cleansing`. A subclass may return a
        `connectors.memory.MemorySource` with rows that it derived.
        """
        transfer = self.run.transfer
        connection = self.run.connections[transfer.source.connection]
        with stage.blamed(transfer, "source.query", transfer.source.query):
            return connection.open_source(transfer.source, self.run.execution_date)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Open the target and hold its lock for the length of the run."""
        with self._open_target() as target:
            self.target = target
            with target.lock(self.run.id, self.run.transfer.lock_wait_s):
                yield

    def _open_target(self) -> base.Target:
        if self.company is not None:
            return self.company.open_target(self)
        spec = self.run.transfer.target
        return self.run.connections[spec.connection].open_target(spec.table)

    def pre_execution_cleansing(self) -> None:
        """Remove what dead runs left, open the source, and refuse what cannot be published."""
        with self.fenced():
            self._prepare()

    def _prepare(self) -> None:
        for name in self.target.sweep(self.run.names):
            self.logger.info("removed %s, left by an earlier run", name)
        self.source = self.open_source()
        existing = self.target.describe()
        self.columns = resolve_columns(self.run, self.source, self.target)
        for warning in mapping.order_warnings(self.run.transfer, self.columns, self.run.write_mode):
            self.run.warn(warning)
        self.choose(
            publish.choose(
                self.run.transfer,
                existing,
                self.target.capabilities,
                self.run.write_mode,
                self.columns.kept(self.run.transfer.reset),
            )
        )
        self._note_reading()
        # A subclass may publish something else than the source's rows.
        if type(self) is TransferPipeline:
            earlier = unchanged.since(self.run, self._recorder, self.source, existing, self.columns)
            self._leave_alone(earlier)

    def _leave_alone(self, earlier: str | None) -> None:
        """Leave nothing to do where an earlier run published the same."""
        if earlier is not None:
            reason = f"nothing to do: the source is unchanged since run {earlier}"
            self.choose(publish.Choice(publish.Kind.NONE, reason))

    def choose(self, choice: publish.Choice) -> None:
        """Publish in that way."""
        self.choice = choice
        self.result = dataclasses.replace(
            self.result, publish=choice.kind.value, publish_reason=choice.reason
        )

    def _note_reading(self) -> None:
        """Write down what the source has fetched, and the jobs that ran so far."""
        self.result = dataclasses.replace(
            self.result,
            snapshot=self.source.snapshot,
            bytes_read=self.source.bytes_read,
            job_ids=tuple(dict.fromkeys((*self.source.job_ids, *self.target.job_ids))),
        )

    def pipeline(self) -> None:
        """Load, prove, publish."""
        company = self.company
        published = self._carry_out() if company is None else company.carry_out(self)
        if published is not None:
            self._report(published)
        previous.expire(self.run, self.target)

    def _carry_out(self) -> publish.Published | None:
        with self.fenced(), self._placed():
            step = self.stage()
            if step is None:
                return None
            with self.timed(run_module.Phase.PUBLISH):
                published = publish.together([step])[0]
            if step.kind is publish.Kind.SWAP and self.target.capabilities.swap_moves:
                # It is the target now.
                self._aside = tuple(name for name in self._aside if name != step.loaded)
            return published

    def stage(self) -> publish.Step | None:
        """Load aside what is to be published, and prove it; None where there is nothing to do."""
        if self.choice.kind is publish.Kind.NONE:
            self.logger.info("%s", self.choice.reason)
            return None
        if self.run.write_mode is run_module.WriteMode.DELTA:
            return self._stage_window()
        return self._stage_shadow() if self.company is None else self._stage_member()

    def post_execution_cleanup(self) -> None:
        """Drop this run's tables and close the source."""
        with contextlib.ExitStack() as stack:
            if hasattr(self, "source"):
                stack.callback(self.source.close)
                stack.callback(self._note_reading)
            stack.callback(self.drop_tables)

    def drop_tables(self) -> None:
        """Drop what was loaded beside the target, also when one of it cannot be dropped."""
        with contextlib.ExitStack() as stack:
            for name in self._aside:
                stack.callback(self.target.drop, name)

    def _beside(self, *kinds: str) -> str:
        """Return the name of a table to be made, the first of those that are dropped at the end.

        Never of an "old" one: where a swap is two steps, that may be the only copy for a moment.
        """
        names = tuple(self.run.names.table(kind, self.target.table) for kind in kinds)
        self._aside += names
        return names[0]

    # --- truncate -------------------------------------------------------------------------------

    def _stage_shadow(self) -> publish.Step:
        shadow = self._beside("shadow")
        self._create_shadow(shadow)
        sent = self._load_all(shadow)
        with self.timed(run_module.Phase.INDEX):
            self.target.finish_load(shadow, self.run.transfer.key)
        self._prove_loaded(shadow, sent)
        self._refuse_duplicates(shadow)
        return self._step(shadow, sent)

    def _stage_member(self) -> publish.Step:
        """Load all rows as the publish of the group needs them.

        In place, what was loaded has no constraint: its foreign keys would be asked for rows that
        the other members still have to get.
        """
        if self.choice.kind is publish.Kind.SWAP:
            return self._stage_shadow()
        staging, key = self._create_staging(), self.run.transfer.key
        sent = self._load_all(staging)
        self._prove_loaded(staging, sent)
        if key:
            self._refuse_duplicates(staging, is_constrained=False)
            # Nothing to remove: it makes lookups by key fast.
            self.target.keep_latest(staging, self.columns.staged.names, key, [])
        return self._step(staging, sent)

    def _load_all(self, name: str) -> base.Fingerprint:
        sent = self._load(name, window=None)
        if sent.rows == 0 and self.run.transfer.on_empty == "fail":
            raise errors.EmptySourceError(self.source.description)
        return sent

    def _step(
        self, loaded: str, sent: base.Fingerprint, window: base.CursorWindow | None = None
    ) -> publish.Step:
        return publish.Step(
            self.run, self.target, self.columns, self.choice.kind, loaded, sent, window
        )

    def _create_shadow(self, shadow: str) -> None:
        transfer = self.run.transfer
        indexes = [
            base.Index(spec.name, tuple(spec.columns), spec.unique) for spec in transfer.indexes
        ]
        if self.columns.is_new:
            self.target.create(shadow, self.columns.columns, transfer.key, indexes)
        else:
            self.target.create_shadow(shadow, indexes)
            if len(self.columns.added):
                self.target.add_columns(self.columns.added, shadow)

    def _refuse_duplicates(self, name: str, *, is_constrained: bool = True) -> None:
        """Look for doubled keys where no constraint of the table refuses them."""
        key = self.run.transfer.key
        table = self.target.describe() or self.target.planned(self.columns.columns, key)
        if not key or (is_constrained and table.is_unique_over(key)):
            return
        twice = self.target.duplicate_key(name, key)
        if twice is not None:
            raise errors.DuplicateKeyError(self.target.table, twice)

    # --- delta ----------------------------------------------------------------------------------

    def _stage_window(self) -> publish.Step:
        transfer = self.run.transfer
        delta = transfer.delta
        if delta is None:
            raise errors.ConfigError(f"the transfer {transfer.name!r} declares no `delta:`")
        window = base.CursorWindow(delta.cursor, self.run.window.start, self.run.window.end)
        staging = self._create_staging()
        stage.check_deleted(self.run, self.target, staging)
        ask_for_latest(self.run, self.source)
        sent = self._load(staging, window=window)
        if not sent.rows:
            window_module.refuse_hopeless(self.run, self.source)
            self.run.warn(window_module.without_rows(self.run, self.source))
        self._prove_loaded(staging, sent)
        if self.choice.kind is publish.Kind.MERGE:
            return self._step(staging, sent)
        self._refuse_wiping(sent, window)
        return self._step(staging, sent, window)

    def _create_staging(self) -> str:
        self._create_target()
        # The other one is what `keep_latest` makes of it.
        staging = self._beside("stage", "latest")
        self.target.create_staging(staging, self.columns.held, self.columns.extra)
        return staging

    def _create_target(self) -> None:
        """Create a missing target, empty, through the same swap that publishes a full one."""
        if not self.columns.is_new:
            return
        shadow = self._beside("shadow")
        self._create_shadow(shadow)
        self.target.finish_load(shadow, self.run.transfer.key)
        self.target.check_lock()
        self.target.swap(shadow, self.run.names)

    def _refuse_wiping(self, sent: base.Fingerprint, window: base.CursorWindow) -> None:
        if sent.rows or self.run.transfer.on_empty == "allow":
            return
        held = self.target.fingerprint(
            self.target.table, self.columns.names, base.Selection(window=window), hashes=False
        )
        if held.rows:
            raise errors.EmptySourceError(f"{self.source.description} from {self.run.window}")

    # --- steps of both --------------------------------------------------------------------------

    @contextlib.contextmanager
    def fenced(self) -> Iterator[None]:
        """Blame the loss of the lock for what fails after it.

        The run that has the lock now has removed our tables, and what the database says of that
        ("no such table") reads like a fault of the config or of this program.
        """
        try:
            yield
        except Exception as found:
            if errors.exit_code_of(found) != errors.EXIT_TEMPORARY:
                try:
                    self.target.check_lock()
                except errors.LockLostError as lost:
                    raise lost from found
                except Exception:  # noqa: BLE001, S110 - the first error says more
                    pass
            raise

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        """Have what is wrong with a row name its line, where the source has lines."""
        try:
            yield
        except errors.DataError as refused:
            row = getattr(refused, "row", None) or getattr(refused, "key", None)
            if isinstance(row, dict) and refused.where is None:
                # The row is named without it, whatever keeps the file from being read again.
                with contextlib.suppress(Exception):
                    refused.where = self.source.place_of(row)
            raise

    def _load(self, name: str, window: base.CursorWindow | None) -> base.Fingerprint:
        is_delta = window is not None
        converter = conversion.Converter(
            table=self.target.table,
            fields=self.columns.staged if is_delta else self.columns.columns,
            required=self.columns.required,
            key=tuple(self.run.transfer.key),
            capabilities=self.target.capabilities,
        )
        started = time.monotonic()
        try:
            sent = stage.load(
                self.run,
                self.source,
                self.target,
                name,
                columns=self.columns.read,
                converter=converter,
                window=window,
            )
        finally:
            # Jobs that failed were run, and bytes of a run that failed were fetched, too.
            self._note_reading()
        for warning in self.source.warnings:
            self.run.warn(warning)
        self._count_seconds(run_module.Phase.LOAD, started)
        self.result = dataclasses.replace(
            self.result, rows_read=sent.fingerprint.rows, fingerprint_source=str(sent.fingerprint)
        )
        self._again = sent.again
        return sent.fingerprint

    def _prove_loaded(self, name: str, sent: base.Fingerprint) -> None:
        level = self.run.transfer.verify
        if level == "off":
            return
        is_delta = self.run.write_mode is run_module.WriteMode.DELTA
        schema = self.columns.staged if is_delta else self.columns.columns
        with self.timed(run_module.Phase.VERIFY):
            held = verify.prove(self.target, name, schema, base.Selection(), level)
        self.result = dataclasses.replace(self.result, fingerprint_target=str(held))
        key = self.run.transfer.key
        with alteration.named(self.target, name, schema, key, sent, self._again):
            verify.require_equal(self.target.table, sent, held)
        self.run.stop.check()

    def _report(self, published: publish.Published) -> None:
        changes = published.changes
        self.result = dataclasses.replace(
            self.result,
            rows_inserted=changes.inserted,
            rows_updated=changes.updated,
            rows_deleted=changes.deleted,
            rows_unchanged=changes.unchanged,
        )
        if published.kept is not None:
            self.result = previous.remembered(self.run, self.result, published.kept)

    @contextlib.contextmanager
    def timed(self, phase: run_module.Phase) -> Iterator[None]:
        """Report a phase for the length of a block, and remember its seconds."""
        started = time.monotonic()
        try:
            with self.run.phase(phase):
                yield
        finally:
            self._count_seconds(phase, started)

    def _count_seconds(self, phase: run_module.Phase, started: float) -> None:
        seconds = dict(self.result.phase_seconds)
        seconds[phase.value] = seconds.get(phase.value, 0.0) + time.monotonic() - started
        self.result = dataclasses.replace(self.result, phase_seconds=seconds)


def ask_for_latest(run: run_module.Run, source: base.Source) -> None:
    """Tell the source which versions of a key a delta will keep: the others need not travel."""
    key, delta = run.transfer.key, run.transfer.delta
    is_delta = run.write_mode is run_module.WriteMode.DELTA
    if is_delta and key and delta and delta.order_by:
        source.prefer_latest(key, delta.order_by)


def resolve_columns(
    run: run_module.Run, source: base.Source, target: base.Target
) -> mapping.Mapping:
    """Return which source column fills which target column, writing nothing.

    Raises:
        errors.ConfigError: columns or types do not agree.
    """
    schema, existing = source.schema(), target.describe()
    planned = None
    if existing is None:
        wanted = mapping.new_fields(run.transfer, schema, target.capabilities)
        planned = target.planned(wanted, run.transfer.key)
    return mapping.resolve(
        run.transfer, schema, existing, planned, target.capabilities, run.write_mode
    )
