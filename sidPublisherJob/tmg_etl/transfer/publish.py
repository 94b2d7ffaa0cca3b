"""The one step that makes new data visible, chosen and carried out.

Everything up to here can fail without a reader noticing; everything here is atomic in the target's
database, and is proved before it is committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import mapping, verify

if TYPE_CHECKING:
    from tmg_etl.config import model

#: Up to here a comparison in the database costs less than what a rename disturbs: a guess that
#: keeps it under a second on the machines measured.
SMALL_ROWS = 100_000


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
) -> Choice:
    """Return how a run publishes.

    Raises:
        errors.ConfigError: what the transfer asks for cannot be done to this target.
    """
    if write_mode is run_module.WriteMode.DELTA:
        return _choose_delta(transfer, capabilities)
    able_to_diff = capabilities.can_diff and bool(transfer.key)
    if table is None:
        return Choice(Kind.SWAP, "the target is new")
    if transfer.keep_previous is not None:
        return _choose_keeping(transfer, table, capabilities)
    if transfer.publish == "swap":
        if table.swap_blockers:
            raise errors.ConfigError(
                f"{transfer.target.table} cannot be swapped: {'; '.join(table.swap_blockers)}",
                hint="write `publish: auto` or `publish: diff`",
            )
        return Choice(Kind.SWAP, "the transfer asks for it")
    if transfer.publish == "diff":
        if not able_to_diff:
            missing = "a key" if capabilities.can_diff else "a database"
            raise errors.ConfigError(
                f"`publish: diff` needs {missing} in the target {transfer.target.table}",
                hint="declare `key:`" if capabilities.can_diff else "write `publish: swap`",
            )
        return Choice(Kind.DIFF, "the transfer asks for it")
    # Nobody else fills a column of a folder of files: it is written as a whole.
    kept = _kept_columns(transfer, table) if capabilities.can_diff else []
    if kept:
        if able_to_diff:
            return Choice(Kind.DIFF, f"a rename would empty the omitted column {kept[0]!r}")
        raise errors.ConfigError(
            f"a full refresh of {transfer.target.table} would empty the omitted column {kept[0]!r}",
            hint="declare `key:` to keep it, or write `publish: swap` if that is meant",
        )
    if table.swap_blockers:
        kind = Kind.DIFF if able_to_diff else Kind.REPLACE
        return Choice(kind, f"a rename would break it: {'; '.join(table.swap_blockers)}")
    is_small = table.row_estimate is not None and table.row_estimate <= SMALL_ROWS
    lacking = [index.name for index in transfer.indexes if index.name not in table.indexes]
    if lacking:
        return Choice(Kind.SWAP, f"the target lacks the index {lacking[0]}")
    # A diff updates in place, row by row: values that change places under another unique key
    # would collide on the way.
    # And a table that may hold a key twice cannot be mended by changing rows by their key.
    is_exact = not table.unique_keys and table.is_unique_over(transfer.key)
    if able_to_diff and is_small and is_exact:
        return Choice(Kind.DIFF, f"the table is small (about {table.row_estimate:,} rows)")
    return Choice(Kind.SWAP, "nothing depends on the table's identity")


def _choose_keeping(
    transfer: model.Transfer, table: base.Table, capabilities: base.Capabilities
) -> Choice:
    """Return the swap that leaves a previous table; nothing else does."""
    reasons = list(table.swap_blockers)
    reasons += [
        f"the omitted column {name!r} would be emptied" for name in _kept_columns(transfer, table)
    ]
    if not capabilities.can_keep:
        reasons = ["this kind of target keeps no replaced tables"]
    if reasons:
        raise errors.ConfigError(
            f"`keep_previous` needs a swap of {transfer.target.table}: {'; '.join(reasons)}",
            hint="write `keep_previous: null` in the transfer",
        )
    return Choice(Kind.SWAP, f"the replaced table is kept for {transfer.keep_previous}")


def _kept_columns(transfer: model.Transfer, table: base.Table) -> list[str]:
    """Return the target's columns that the transfer omits: somebody else fills them."""
    return [
        column.name
        for column in table.columns
        if column.name in transfer.omit and not column.is_generated
    ]


def _choose_delta(transfer: model.Transfer, capabilities: base.Capabilities) -> Choice:
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
    if transfer.delta.strategy == "upsert":
        return Choice(Kind.MERGE, "strategy upsert")
    return Choice(Kind.REPLACE_WINDOW, "strategy replace_window")


@dataclasses.dataclass(frozen=True)
class Published:
    """What a publish did.

    Attributes:
        changes: rows of the target by what happened to them.
        held: fingerprint of the published rows; None when nothing was verified.
        kept: name under which the replaced table is kept; None: it is not.
    """

    changes: base.Changes
    held: base.Fingerprint | None
    kept: str | None = None


@dataclasses.dataclass(frozen=True)
class Publisher:
    """Publishes one loaded table of one run.

    Attributes:
        run: whose names and transfer are used.
        target: opened, with the lock held.
        columns: the columns of the run.
    """

    run: run_module.Run
    target: base.Target
    columns: mapping.Mapping

    def swap(self, shadow: str, sent: base.Fingerprint) -> Published:
        """Put a verified shadow in the target's place."""
        self.target.check_lock()
        kept = None
        if self.run.transfer.keep_previous is not None and not self.columns.is_new:
            kept = self.run.names.table("prev", self.target.table)
            replaced = self.target.swap_keeping(shadow, self.run.names, kept)
        else:
            replaced = self.target.swap(shadow, self.run.names)
        held = sent if self._verifies else None
        return Published(base.Changes(inserted=sent.rows, deleted=replaced), held, kept)

    def diff(self, shadow: str, sent: base.Fingerprint) -> Published:
        """Make the target equal a verified shadow, touching only rows that differ."""
        return self._in_place(shadow, sent, None, has_key=True)

    def replace(self, shadow: str, sent: base.Fingerprint) -> Published:
        """Delete all rows of the target and insert the shadow's, in one transaction."""
        return self._in_place(shadow, sent, None, has_key=False)

    def replace_window(
        self, staging: str, sent: base.Fingerprint, window: base.CursorWindow
    ) -> Published:
        """Make the target's rows inside the window equal the staged ones."""
        key = self.run.transfer.key
        if key:
            self._keep_latest(staging)
            sent = self._prove(staging, base.Selection())
        return self._in_place(staging, sent, window, has_key=bool(key))

    def merge(self, staging: str) -> Published:
        """Upsert the latest staged version of each key."""
        transfer = self.run.transfer
        delta = transfer.delta
        assert delta is not None
        self._keep_latest(staging)
        selection = base.Selection(keys_of=staging, key=tuple(transfer.key))
        held: base.Fingerprint | None = None
        self.target.check_lock()
        with self._looking(lambda: self._holds(selection, held)), self.target.transaction():
            changes = self.target.upsert(
                staging, self.columns.names, transfer.key, delta.order_by, delta.deleted
            )
            if self._verifies:
                held = self._prove(self.target.table, selection)
                self._require_equal(self._prove(staging, base.Selection()), held)
            self.run.stop.check()
        return Published(changes, held)

    def _in_place(
        self,
        loaded: str,
        sent: base.Fingerprint,
        window: base.CursorWindow | None,
        *,
        has_key: bool,
    ) -> Published:
        names, key = self.columns.names, self.run.transfer.key
        selection = base.Selection(window=window)
        held: base.Fingerprint | None = None
        self.target.check_lock()
        with self._looking(lambda: self._holds(selection, held)), self.target.transaction():
            if has_key:
                changes = self.target.diff(loaded, names, key, window)
            else:
                changes = self.target.replace_rows(loaded, names, window)
            if self._verifies:
                held = self._prove(self.target.table, selection)
                self._require_equal(sent, held)
            self.run.stop.check()
        return Published(changes, held)

    @contextlib.contextmanager
    def _looking(self, is_published: Callable[[], bool]) -> Iterator[None]:
        """Take a transaction whose COMMIT nobody answered for done if its outcome is there."""
        try:
            yield
        except errors.CommitUnknownError:
            if not is_published():
                raise

    def _holds(self, selection: base.Selection, proved: base.Fingerprint | None) -> bool:
        """Return whether the target holds what was proved before the COMMIT.

        It may have held the same rows before: then there is nothing to tell apart.
        """
        return proved is not None and self._prove(self.target.table, selection) == proved

    def _require_equal(self, sent: base.Fingerprint, held: base.Fingerprint) -> None:
        """Raise unless both are equal; a key that the target held twice is named as the cause."""
        try:
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

    def _keep_latest(self, staging: str) -> None:
        transfer = self.run.transfer
        order_by = transfer.delta.order_by if transfer.delta else []
        self.target.keep_latest(staging, self.columns.staged.names, transfer.key, order_by)

    def _prove(self, name: str, selection: base.Selection) -> base.Fingerprint:
        level = self.run.transfer.verify
        return verify.prove(
            self.target, name, self.columns.columns, selection, "count" if level == "off" else level
        )

    @property
    def _verifies(self) -> bool:
        return self.run.transfer.verify != "off"
