"""The one step that makes new data visible, chosen and carried out.

Everything up to here can fail without a reader noticing; everything here is atomic in the target's
database, and is proved before it is committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import alteration, bucket, mapping, verify

if TYPE_CHECKING:
    from tmg_etl.config import model

#: Up to here a comparison in the database costs less than what a rename disturbs: a guess that
#: keeps it under a second on the machines measured.
SMALL_ROWS = 100_000
#: Staged rows up to which the one that a constraint refused is looked for, by twenty parts of the
#: merge: some ten seconds' work for the slowest database.
_SEARCHED_ROWS = 200_000


class Kind(enum.StrEnum):
    """How new data becomes visible."""

    NONE = "none"
    SWAP = "swap"
    DIFF = "diff"
    REPLACE = "replace"
    MERGE = "merge"
    REPLACE_WINDOW = "replace_window"


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and why, in words for the plan and the summary."""

    kind: Kind
    reason: str


def choose(
    transfer: model.Transfer,
    table: base.Table | None,
    capabilities: base.Capabilities,
    write_mode: run_module.WriteMode,
    kept: Sequence[str] = (),
) -> Choice:
    """Return how a run publishes.

    Args:
        transfer: declared.
        table: the target; None when there is none yet.
        capabilities: of the target.
        write_mode: truncate or delta.
        kept: columns of the target that somebody else fills (`mapping.Mapping.kept`).

    Raises:
        errors.ConfigError: what the transfer asks for cannot be done to this target.
    """
    if write_mode is run_module.WriteMode.DELTA:
        return _choose_delta(transfer, table, capabilities)
    able_to_diff = capabilities.can_diff and bool(transfer.key)
    fixed = table.change_blockers if table else ()
    if table is None:
        return Choice(Kind.SWAP, "the target is new")
    # Nobody else fills a column of a folder of files: it is written as a whole.
    kept = kept if capabilities.can_diff else ()
    if transfer.keep_previous is not None:
        return _choose_keeping(transfer, table, capabilities, kept)
    if transfer.publish == "swap":
        if table.swap_blockers:
            raise errors.ConfigError(
                f"{transfer.target.table} cannot be swapped: {'; '.join(table.swap_blockers)}",
                hint="write `publish: auto` or `publish: diff`",
            )
        if kept:
            raise _emptying(transfer, kept, "`publish: auto` to keep what it holds")
        return Choice(Kind.SWAP, "the transfer asks for it")
    if transfer.publish == "diff":
        if not able_to_diff:
            missing = "a key" if capabilities.can_diff else "a database"
            raise errors.ConfigError(
                f"`publish: diff` needs {missing} in the target {transfer.target.table}",
                hint="declare `key:`" if capabilities.can_diff else "write `publish: swap`",
            )
        _refuse_fixed(transfer, fixed, None if table.swap_blockers else "or write `publish: auto`")
        return Choice(Kind.DIFF, "the transfer asks for it")
    if kept:
        _refuse_fixed(transfer, fixed, f"or write `reset: [{', '.join(kept)}]` if that is meant")
        if able_to_diff:
            return Choice(Kind.DIFF, f"a rename would reset {own_columns(kept)}")
        raise _emptying(transfer, kept, "the `key:` to keep what it holds")
    if table.swap_blockers:
        _refuse_fixed(transfer, fixed, f"nor can it be swapped: {'; '.join(table.swap_blockers)}")
        kind = Kind.DIFF if able_to_diff else Kind.REPLACE
        return Choice(kind, f"a rename would break it: {'; '.join(table.swap_blockers)}")
    is_small = table.row_estimate is not None and table.row_estimate <= SMALL_ROWS
    lacking = [index.name for index in transfer.indexes if index.name not in table.indexes]
    if lacking:
        return Choice(Kind.SWAP, f"the target lacks the index {lacking[0]}")
    # A diff updates in place, row by row: values that change places under another unique key
    # cost it a second way, where it has one.
    # And a table that may hold a key twice cannot be mended by changing rows by their key.
    is_exact = not table.unique_keys and table.is_unique_over(transfer.key)
    is_exact = is_exact and not transfer.reset
    if able_to_diff and is_small and is_exact and not fixed:
        return Choice(Kind.DIFF, f"the table is small (about {table.row_estimate:,} rows)")
    return Choice(Kind.SWAP, "nothing depends on the table's identity")


def _refuse_fixed(transfer: model.Transfer, fixed: Sequence[str], otherwise: str | None) -> None:
    """Refuse to change rows in place where the database would."""
    if fixed:
        raise errors.ConfigError(
            f"the rows of {transfer.target.table} cannot be changed in place: {'; '.join(fixed)}",
            hint=otherwise,
        )


def own_columns(kept: Sequence[str]) -> str:
    """Return columns that the source lacks, in words."""
    word = "column" if len(kept) == 1 else "columns"
    return f"the {word} {errors.listed([repr(name) for name in kept])}, which the source lacks"


def _emptying(transfer: model.Transfer, kept: Sequence[str], instead: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"a full refresh of {transfer.target.table} would reset {own_columns(kept)}",
        hint=f"write {instead}, or `reset: [{', '.join(kept)}]` if that is meant",
    )


def _choose_keeping(
    transfer: model.Transfer,
    table: base.Table,
    capabilities: base.Capabilities,
    kept: Sequence[str],
) -> Choice:
    """Return the swap that leaves a previous table; nothing else does."""
    reasons = list(table.swap_blockers)
    hint = "write `keep_previous: null` in the transfer"
    if kept:
        reasons.append(f"it would reset {own_columns(kept)}")
        hint += f", or `reset: [{', '.join(kept)}]` if that is meant"
    if not capabilities.can_keep:
        reasons = ["this kind of target keeps no replaced tables"]
    if reasons:
        raise errors.ConfigError(
            f"`keep_previous` needs a swap of {transfer.target.table}: {'; '.join(reasons)}",
            hint=hint,
        )
    return Choice(Kind.SWAP, f"the replaced table is kept for {transfer.keep_previous}")


def _choose_delta(
    transfer: model.Transfer, table: base.Table | None, capabilities: base.Capabilities
) -> Choice:
    if transfer.delta is None:
        raise errors.ConfigError(
            f"the transfer {transfer.name!r} declares no `delta:`",
            hint="run it with truncate, or declare `delta: {cursor: …}`",
        )
    if not capabilities.can_merge:
        raise errors.ConfigError(
            f"the target {transfer.target.table} takes truncate only",
            hint="run it with truncate; a folder of files cannot be merged into",
        )
    if table is not None:
        otherwise = None if table.swap_blockers else "or run it with truncate, which swaps it"
        _refuse_fixed(transfer, table.change_blockers, otherwise)
    if transfer.delta.strategy == "upsert":
        return Choice(Kind.MERGE, "strategy upsert")
    return Choice(Kind.REPLACE_WINDOW, "strategy replace_window")


@dataclasses.dataclass(frozen=True)
class Published:
    """What a publish did.

    Attributes:
        changes: rows of the target by what happened to them.
        kept: name under which the replaced table is kept; None: it is not.
    """

    changes: base.Changes
    kept: str | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One table's part in a publish: what was loaded and proved, and how it becomes visible.

    Attributes:
        run: whose names and transfer are used.
        target: opened, with the lock held.
        columns: the columns of the run.
        kind: swap, diff, replace, merge or replace_window.
        loaded: the shadow or staging table.
        sent: what it holds.
        window: the rows of the target that are meant; None means all.
    """

    run: run_module.Run
    target: base.Target
    columns: mapping.Mapping
    kind: Kind
    loaded: str
    sent: base.Fingerprint
    window: base.CursorWindow | None = None

    def prepared(self) -> Step:
        """Return the step with one version of each key left in what was loaded."""
        key = self.run.transfer.key
        if self.kind is Kind.MERGE or (self.kind is Kind.REPLACE_WINDOW and key):
            order_by = self.run.transfer.delta.order_by if self.run.transfer.delta else []
            self.target.keep_latest(self.loaded, self.columns.staged.names, key, order_by)
        table = self.target.describe() if self.kind is Kind.DIFF else None
        if table is not None and not table.is_unique_over(key):
            self.target.prepare_keys(self.loaded, key)
        if self.kind is Kind.REPLACE_WINDOW and key:
            return dataclasses.replace(self, sent=self._prove(self.loaded, base.Selection()))
        return self

    @property
    def alters_together(self) -> bool:
        """Return whether the target's columns are added in the transaction that fills them."""
        return self.target.capabilities.can_alter_together

    def evolve(self) -> None:
        """Add the columns that `schema: evolve` adds."""
        self.run.logger.info("adding columns: %s", ", ".join(self.columns.added.names))
        self.target.add_columns(self.columns.added)

    def devolve(self) -> None:
        """Remove them again, or say that they are there."""
        try:
            self.target.remove_columns(self.columns.added)
        except Exception as error:  # noqa: BLE001 - what failed before says more
            self.run.logger.warning(
                "%s got the columns %s, which are empty and could not be removed again: %s",
                self.target.table,
                ", ".join(self.columns.added.names),
                errors.one_line(str(error)),
            )

    def exchange(self) -> base.Exchange:
        """Return the step as a swap."""
        keep = None
        if self.run.transfer.keep_previous is not None and not self.columns.is_new:
            keep = self.run.names.table("prev", self.target.table)
        return base.Exchange(self.target, self.loaded, keep)

    def write(self, part: base.Part = base.Part.ALL) -> base.Changes:
        """Merge what was loaded into the target, inside a transaction."""
        names, transfer = self.columns.names, self.run.transfer
        if self.kind is Kind.MERGE:
            delta = transfer.delta
            assert delta is not None
            return self.target.upsert(
                self.loaded, names, transfer.key, delta.order_by, delta.deleted, part
            )
        if self.kind is Kind.DIFF or (self.kind is Kind.REPLACE_WINDOW and transfer.key):
            return self.target.diff(self.loaded, names, transfer.key, self.window, part)
        return self.target.replace_rows(self.loaded, names, self.window)

    def explained(
        self,
        refused: errors.ConstraintError | errors.UniqueError,
        part: base.Part = base.Part.ALL,
        within: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> errors.DataError:
        """Return the error for a row that the target refused, with its key where it is found.

        To be asked after the transaction: a database says nothing more in one that has failed.

        Args:
            refused: as the target raised it.
            part: of the step that was refused.
            within: opens such a transaction again, up to that part; None where it would cost more
                than the key is worth.
        """
        key, delta, found = self.run.transfer.key, self.run.transfer.delta, None
        if key and within is not None and part is not base.Part.DELETE:
            is_diff = self.kind is not Kind.MERGE and part is base.Part.ALL
            deleted = delta.deleted if delta is not None and self.kind is Kind.MERGE else None
            with contextlib.suppress(errors.TmgEtlError):
                found = self.target.refused_key(
                    self.loaded,
                    self.columns.names,
                    key,
                    deleted,
                    self.window,
                    is_diff=is_diff,
                    within=within,
                )
        if isinstance(refused, errors.UniqueError):
            return errors.UniqueError(self.target.table, refused.key, row=found)
        rule = refused.rule
        is_known = part is base.Part.DELETE or (key and within is not None and found is None)
        if is_known and rule is errors.Constraint.FOREIGN_KEY:
            # No row that was staged is refused: it is one that would go.
            rule = errors.Constraint.REFERENCED
        return refused.of(self.target.table, key=found, rule=rule)

    def proved(self) -> base.Fingerprint | None:
        """Return what the target holds of it; None when nothing is to be verified.

        Raises:
            errors.VerificationError: it is not what was loaded.
        """
        if not self._verifies:
            return None
        sent = self.sent
        if self.kind is Kind.MERGE and self.columns.is_new:
            # No join is needed, unless somebody else has written there as well.
            whole = self._prove(self.target.table, base.Selection())
            if whole == sent:
                return whole
        held = self._prove(self.target.table, self._selection)
        if self.kind is Kind.MERGE and held != sent:
            # It has removed from the staging table what must not be in the target.
            sent = self._prove(self.loaded, base.Selection())
        self._require_equal(sent, held)
        return held

    def holds(self, proved: base.Fingerprint | None) -> bool:
        """Return whether the target holds what was proved before the COMMIT.

        It may have held the same rows before: then there is nothing to tell apart.
        """
        return proved is not None and self._prove(self.target.table, self._selection) == proved

    @property
    def _selection(self) -> base.Selection:
        if self.kind is Kind.MERGE:
            return base.Selection(keys_of=self.loaded, key=tuple(self.run.transfer.key))
        return base.Selection(window=self.window)

    def _require_equal(self, sent: base.Fingerprint, held: base.Fingerprint) -> None:
        """Raise unless both are equal; a key that the target held twice is named as the cause."""
        try:
            with alteration.explained(self.target.table, lambda: ("", self._example())):
                verify.require_equal(self.target.table, sent, held)
        except errors.VerificationError as unequal:
            key, table = self.run.transfer.key, self.target.describe()
            if not key or table is None or table.is_unique_over(key):
                raise
            twice = self.target.duplicate_key(self.target.table, key)
            if twice is None:
                raise
            reason = "in the target, which has no unique index over it: publish by truncate once"
            raise errors.DuplicateKeyError(self.target.table, twice, reason=reason) from unequal

    def _example(self) -> str:
        """Return a row that the target holds in another way than it was loaded."""
        schema, key = self.columns.columns, self.run.transfer.key
        buckets_by, target = list(key) or schema.names, self.target
        left = bucket.held(target, self.loaded, schema, base.Selection(), buckets_by)
        right = bucket.held(target, target.table, schema, self._selection, buckets_by)
        return alteration.example(left, right, schema, key, target.capabilities.text)

    def _prove(self, name: str, selection: base.Selection) -> base.Fingerprint:
        level = self.run.transfer.verify
        return verify.prove(
            self.target, name, self.columns.columns, selection, "count" if level == "off" else level
        )

    @property
    def _verifies(self) -> bool:
        return self.run.transfer.verify != "off"


#: Returns a block in which whatever is raised is the fault of one step.
Blame = Callable[[Step], contextlib.AbstractContextManager[None]]


def _nobody(step: Step) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def together(
    steps: Sequence[Step],
    order: Sequence[tuple[int, base.Part]] = ((0, base.Part.ALL),),
    blame: Blame = _nobody,
) -> list[Published]:
    """Publish tables in one atomic step; a single run's is the only one.

    Args:
        steps: over one session; all of them by swap, or none.
        order: in which they are written where they are not swapped, by position.
        blame: told whose part is done.
    """
    prepared = []
    for step in steps:
        with blame(step):
            prepared.append(step.prepared())
    for step in steps:
        with blame(step):
            step.target.check_lock()
    if prepared[0].kind is Kind.SWAP:
        return _swap(prepared)
    return _in_place(prepared, order, blame)


def _swap(steps: list[Step]) -> list[Published]:
    """Put verified shadows in their targets' places."""
    names, exchanges = steps[0].run.names, [step.exchange() for step in steps]
    first = exchanges[0]
    if len(steps) > 1:
        replaced = first.target.swap_together(exchanges, names)
    elif first.keep is not None:
        replaced = [first.target.swap_keeping(first.shadow, names, first.keep)]
    else:
        replaced = [first.target.swap(first.shadow, names)]
    return [
        Published(base.Changes(inserted=step.sent.rows, deleted=rows), exchange.keep)
        for step, exchange, rows in zip(steps, exchanges, replaced, strict=True)
    ]


def _in_place(
    steps: list[Step], order: Sequence[tuple[int, base.Part]], blame: Blame
) -> list[Published]:
    """Change the targets' rows in one transaction, and prove them before its end."""
    first, *others = [step.target for step in steps]
    key = steps[0].run.transfer.key
    if key and not others and not len(steps[0].columns.added):
        with contextlib.suppress(errors.CrossedError):
            return _written(steps, order, blame, first.transaction((), key))
        steps[0].run.logger.info("begun again with writers kept out: two write the same row")
    return _written(steps, order, blame, first.transaction(others))


def _written(
    steps: list[Step],
    order: Sequence[tuple[int, base.Part]],
    blame: Blame,
    transaction: contextlib.AbstractContextManager[None],
) -> list[Published]:
    """Change and prove rows inside a transaction, which is not begun yet."""
    changes = [base.Changes()] * len(steps)
    held: list[base.Fingerprint | None] = []
    done: list[tuple[int, base.Part]] = []
    others = steps[1:]
    late = [step for step in steps if len(step.columns.added)]
    try:
        with (
            _evolved([step for step in late if not step.alters_together]),
            _looking(steps, held),
            transaction,
        ):
            for step in late:
                if step.alters_together:
                    step.evolve()
            for position, part in order:
                with _refusing(steps[position], blame):
                    changes[position] = changes[position].plus(steps[position].write(part))
                done.append((position, part))
            for step in steps:
                with blame(step):
                    held.append(step.proved())
            steps[0].run.stop.check()
    except (errors.ConstraintError, errors.UniqueError) as refused:
        at = min(len(done), len(order) - 1)
        if others and at < len(done):
            # At the COMMIT it is the rows of all.
            raise
        position, part = order[at]
        is_cheap = sum(step.sent.rows for step in steps) <= _SEARCHED_ROWS
        within = functools.partial(_again, steps, done[:at]) if is_cheap else None
        with blame(steps[position]):
            raise steps[position].explained(refused, part, within) from refused
    return [Published(made) for made in changes]


@contextlib.contextmanager
def _evolved(steps: list[Step]) -> Iterator[None]:
    """Add columns right before a publish that cannot do it itself; remove them if it fails."""
    done = []
    try:
        for step in steps:
            step.evolve()
            done.append(step)
        yield
    except errors.CommitUnknownError:
        # They may be filled; where they are not, the next run finds them there.
        raise
    except BaseException:
        for step in done:
            step.devolve()
        raise


@contextlib.contextmanager
def _refusing(step: Step, blame: Blame) -> Iterator[None]:
    """Have what a constraint refuses name the table; whose fault it is is said with its row."""
    refused: errors.ConstraintError | errors.UniqueError | None = None
    with blame(step):
        try:
            yield
        except errors.ConstraintError as found:
            refused = found.of(step.target.table)
        except errors.UniqueError as found:
            refused = found
    if refused is not None:
        raise refused


@contextlib.contextmanager
def _again(steps: list[Step], done: Sequence[tuple[int, base.Part]]) -> Iterator[None]:
    """Begin the transaction of a publish again, up to what was done of it."""
    first, *others = [step.target for step in steps]
    with first.transaction(others):
        for position, part in done:
            steps[position].write(part)
        yield


@contextlib.contextmanager
def _looking(steps: list[Step], held: list[base.Fingerprint | None]) -> Iterator[None]:
    """Take a transaction whose COMMIT nobody answered for done if its outcome is there."""
    try:
        yield
    except errors.CommitUnknownError:
        if not all(step.holds(proved) for step, proved in zip(steps, held, strict=True)):
            raise
