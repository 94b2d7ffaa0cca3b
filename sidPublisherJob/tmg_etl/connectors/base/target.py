"""`Target`: what rows are published into."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import pyarrow as pa

from tmg_etl import run as run_module
from tmg_etl.connectors.base.capability import Capabilities
from tmg_etl.connectors.base.proof import Fingerprint
from tmg_etl.connectors.base.publication import Changes, Intent, Part, Readiness
from tmg_etl.connectors.base.selection import Buckets, CursorWindow, Selection
from tmg_etl.connectors.base.table import Batch, Check, ForeignKey, Index, Table


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One table's part in a swap.

    Attributes:
        target: the table that is replaced, or that does not exist yet.
        shadow: takes its place; a shadow of `target`, or a kept table that it was told to adopt.
        keep: name for the replaced table, which no sweep removes; None drops it.
    """

    target: Target
    shadow: str
    keep: str | None = None


class Target(abc.ABC):
    """One table of one database, to be replaced or merged into; open until `close`.

    Temporary tables live beside the target under `run.TemporaryNames`. Methods that take `name`
    mean any table beside the target, or the target itself by `table`.
    """

    #: Of the class, or of one target where its server can less than others.
    capabilities: Capabilities

    #: The table's name as the config has it.
    table: str

    @property
    def ingest_method(self) -> str:
        """Return how rows enter the database, such as ``COPY``, for the plan."""
        return "Arrow batches"

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of the jobs that ran in the system for this target so far."""
        return ()

    def beside(self, table: str) -> Target:
        """Return another table over the same session, to be published in one step with this one.

        Only one of them is used at a time. Closing it leaves the session open. For targets that
        `can_group`.
        """
        raise TypeError(f"{type(self).__name__} is published alone")

    def references(self) -> frozenset[str]:
        """Return the tables that this one's foreign keys refer to, itself left out.

        Asked of targets that `can_group`.
        """
        return frozenset()

    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """Return its foreign keys and those of others to it, for plans."""
        return ()

    @abc.abstractmethod
    def lock(self, run_id: str, wait_s: float) -> contextlib.AbstractContextManager[None]:
        """Hold the target for this run, on a connection of its own.

        A database ends the lock with the connection or process that holds it. A store without
        sessions ends it when its holder gives no sign of life (see `lease`); there, what a holder
        that slept through this still sends is refused by the store.

        Args:
            run_id: who holds it, shown to those who wait.
            wait_s: seconds to wait for it; 0 tries once.

        Raises:
            errors.LockBusyError: another run held it all that time.
        """

    @abc.abstractmethod
    def check_lock(self) -> None:
        """Ask the database whether this run still holds the lock; called right before a publish.

        Raises:
            errors.LockLostError: it does not.
        """

    @abc.abstractmethod
    def sweep(self, names: run_module.TemporaryNames) -> list[str]:
        """Remove what runs left beside this target, this run's own things too; return the names.

        Call it with the lock held: then every other run that could own them is dead, and one that
        only believes it is alive finds its tables gone and cannot publish.
        """

    @abc.abstractmethod
    def describe(self) -> Table | None:
        """Return what the database knows of the target, or None when there is no such table."""

    @abc.abstractmethod
    def planned(self, schema: pa.Schema, key: Sequence[str]) -> Table:
        """Return what `create` would make of `schema`, by the connector's type mapping.

        Raises:
            errors.ConfigError: a type that the database cannot hold.
        """

    @abc.abstractmethod
    def create(
        self, name: str, schema: pa.Schema, key: Sequence[str], indexes: Sequence[Index]
    ) -> None:
        """Create a table by the connector's type mapping; `key` becomes the primary key.

        `indexes` are remembered and built by `finish_load`, under names that do not collide with
        those of the target; `swap` gives them their own.
        """

    @abc.abstractmethod
    def create_shadow(self, name: str, indexes: Sequence[Index]) -> None:
        """Create an empty copy of the target: columns, key, constraints, defaults, comments.

        Secondary indexes (the target's, and those of `indexes` that it lacks) wait for
        `finish_load`.
        """

    @abc.abstractmethod
    def create_staging(self, name: str, columns: Sequence[str], extra: pa.Schema) -> None:
        """Create an empty staging table: every column nullable, no key, no index.

        Args:
            name: of the new table.
            columns: columns of the target, typed as there.
            extra: columns that the target does not have, by the type mapping.
        """

    @abc.abstractmethod
    def add_columns(self, schema: pa.Schema, name: str | None = None) -> None:
        """Add columns to a table, nullable, by the type mapping (`schema: evolve`).

        Args:
            schema: the columns.
            name: a shadow; None is the target itself: inside the `transaction` of its publish where
                the target `can_alter_together`, else right before it.
        """

    def remove_columns(self, schema: pa.Schema) -> None:
        """Undo `add_columns` of the target; for those that cannot `can_alter_together`."""
        raise TypeError(f"{type(self).__name__} removes no columns")

    def lanes(self, name: str) -> int:
        """Return how many batches `load` takes into a table at once, from as many threads."""
        return 1

    @abc.abstractmethod
    def load(self, name: str, batch: Batch, key: Sequence[str]) -> int:
        """Append a batch to a table that nobody else sees; return the rows the database took.

        Args:
            name: a shadow or staging table.
            batch: columns as created; a batch whose load failed is not tried again.
            key: key columns, for the message of a refused row.

        Raises:
            errors.ValueRejectedError: a cell does not fit its column.
            errors.DuplicateKeyError: a key occurs twice.
        """

    @abc.abstractmethod
    def finish_load(self, name: str, key: Sequence[str]) -> None:
        """End loading: build the secondary indexes, refresh statistics.

        Raises:
            errors.DuplicateKeyError: a key or unique index that is built only now finds two rows.
        """

    @abc.abstractmethod
    def fingerprint(
        self, name: str, columns: Sequence[str], selection: Selection, *, hashes: bool
    ) -> Fingerprint:
        """Return count, and with `hashes` the hash, computed by the database.

        A target whose `proof` is read-back is asked for counts only.
        """

    @abc.abstractmethod
    def scan(
        self, name: str, columns: Sequence[str], selection: Selection
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table with the Arrow types of `describe`, in any order, lazily."""

    def duplicate_key(
        self, name: str, key: Sequence[str], *, skips_null: bool = False
    ) -> dict[str, object] | None:
        """Return a key that occurs twice in a table, or None; as unique keys do, `skips_null`.

        Asked for tables whose own constraints do not refuse duplicates. The default is for
        connectors whose `finish_load` refuses them.
        """
        return None

    @abc.abstractmethod
    def transaction(
        self, others: Sequence[Target] = (), key: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[None]:
        """Run a block in one transaction: committed at its end, rolled back when it raises.

        Args:
            others: tables `beside` this one that the block writes too.
            key: by which it writes, where others may go on writing the target, if it can do that;
                it must be ready to be done again without it.

        Raises:
            errors.CrossedError: with a `key`: somebody else writes the same rows. Nothing is done.
        """

    @abc.abstractmethod
    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place in one atomic step; return the rows replaced.

        Owner, grants, comments and index names are the target's afterwards. Readers see the old
        table until they see the new one and are not kept waiting longer than a short, bounded and
        repeated attempt to get the lock that the step needs. Without a target this is a rename.
        The replaced table is dropped.

        Raises:
            errors.AlteredError: the target's definition is not what it was in `create_shadow`,
                `create` or `adopt`; it stays as somebody made it.
        """

    def swap_keeping(self, shadow: str, names: run_module.TemporaryNames, keep: str) -> int:
        """Swap as `swap` does, and keep the replaced table under another name.

        Nothing else uses it then: what is unique in a schema (names of indexes, …) and what acts
        on other tables (foreign keys) belongs to the new table alone. For targets that `can_keep`.

        Args:
            shadow: a shadow, or a kept table that was handed to `adopt`.
            names: this run's.
            keep: the name, which no sweep removes.
        """
        raise TypeError(f"{type(self).__name__} keeps no replaced tables")

    def swap_together(
        self, exchanges: Sequence[Exchange], names: run_module.TemporaryNames
    ) -> list[int]:
        """Swap several tables in one atomic step, each as `swap` or `swap_keeping` does.

        Args:
            exchanges: of this target and of others `beside` it, each table once.
            names: of the step.

        Returns:
            The rows replaced, table by table.
        """
        raise TypeError(f"{type(self).__name__} is published alone")

    def kept(self, names: run_module.TemporaryNames) -> list[str]:
        """Return the names of the tables that swaps kept beside this target, the oldest first."""
        return []

    def adopt(self, kept: str) -> None:
        """Make a kept table ready to be swapped in again: indexes, foreign keys, as the target has.

        Harmless when called again. `disown` undoes it.

        Raises:
            errors.DataError: its rows are refused by a constraint of today.
        """
        raise TypeError(f"{type(self).__name__} keeps no replaced tables")

    def disown(self, kept: str) -> None:  # noqa: B027 - most have nothing to undo
        """Undo `adopt` for a table that was not swapped in; harmless for any other name."""

    @abc.abstractmethod
    def diff(
        self,
        shadow: str,
        columns: Sequence[str],
        key: Sequence[str],
        window: CursorWindow | None,
        part: Part = Part.ALL,
    ) -> Changes:
        """Make the target's rows (inside `window`, if given) equal those of `shadow`.

        Deletes keys that are gone, updates rows that differ in any byte, inserts new keys; with
        `part`, some of that. Call it inside `transaction`.

        Raises:
            errors.DuplicateKeyError: a row of `shadow` has the key of a target row outside the
                window.
        """

    @abc.abstractmethod
    def replace_rows(
        self, staging: str, columns: Sequence[str], window: CursorWindow | None
    ) -> Changes:
        """Delete the target's rows (inside `window`, if given) and insert those of `staging`.

        For tables without a key. Call it inside `transaction`.
        """

    @abc.abstractmethod
    def keep_latest(
        self, staging: str, columns: Sequence[str], key: Sequence[str], order_by: Sequence[str]
    ) -> int:
        """Leave the latest version of each key in a staging table; return the rows removed.

        Later means greater `order_by`, compared column by column, null first. Rows that are equal
        in all `columns` are one version.

        Raises:
            errors.DuplicateKeyError: two different rows with one key are equally late.
        """

    def prepare_keys(self, name: str, key: Sequence[str]) -> None:  # noqa: B027
        """Make lookups by key fast in a loaded table; harmless when called again.

        Asked, before `transaction`, for shadows that a `diff` compares and that have no unique
        index over the key; `keep_latest` does it for staging tables.
        """

    @abc.abstractmethod
    def upsert(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        order_by: Sequence[str],
        deleted: str | None,
        part: Part = Part.ALL,
    ) -> Changes:
        """Merge the staging table, one row per key, into the target.

        Staged rows older than the target's by `order_by` (those of its columns that the target
        has) are removed from the staging table first; then target rows whose staged row satisfies
        the SQL expression `deleted` are deleted, and those staged rows removed; then rows that
        differ are updated and new ones inserted. Afterwards the staging table is exactly what the
        target must hold for its keys. With `part`, `WRITE` leaves the deletions of both tables to
        `DELETE`. Call it inside `transaction`.
        """

    def check_deleted(self, staging: str, deleted: str) -> None:  # noqa: B027 - may tell later
        """Have the database look at the SQL condition of `upsert`, where it can before the merge.

        Args:
            staging: with the columns that the condition may name.
            deleted: the condition.

        Raises:
            errors.ConfigError: it is none.
        """

    def refused_key(
        self,
        staging: str,
        columns: Sequence[str],
        key: Sequence[str],
        deleted: str | None,
        window: CursorWindow | None,
        *,
        is_diff: bool,
        within: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> dict[str, object] | None:
        """Return the key of the first staged row that the target refuses, after a merge failed.

        Parts of the merge are tried in transactions that are rolled back. None, the default, means
        that no single row is refused, or that the target does not tell.

        Args:
            staging: as it was handed to the merge.
            columns: of the target.
            key: the key columns.
            deleted: SQL condition of staged rows that the merge does not write.
            window: as for `diff`.
            is_diff: whether rows that are not staged leave the target.
            within: opens a transaction, in which what was written before the merge is written.
        """
        return None

    def rehearsal(self, staging: str) -> contextlib.AbstractContextManager[None]:
        """Count in a block what merges would do, without writing to the target.

        Inside, `create_staging` makes a table that only this session sees and that may be of
        columns that the target does not have; `load`, `keep_latest` and `duplicate_key` work on it
        as on any staging table; `diff`, `replace_rows` and `upsert` return what they would change
        and leave the target as it is. The lock is not needed.

        Args:
            staging: name of the staging table.

        Raises:
            errors.AccessError: the user may not make temporary tables.
        """
        raise TypeError(f"{type(self).__name__} cannot rehearse")

    def breaking(
        self,
        staging: str,
        rule: Check | ForeignKey,
        columns: Sequence[str],
        key: Sequence[str],
        window: CursorWindow | None,
        *,
        is_in_place: bool,
    ) -> dict[str, object] | None:
        """Return the key of a row by which a publish would break a constraint; in a `rehearsal`.

        Args:
            staging: a staging table, one row per key where there is one.
            rule: a check or foreign key without obstacle. One that is incoming is broken by rows
                that a `diff` deletes, the others by staged ones.
            columns: of the target, as they are staged.
            key: the key columns; none: the whole row is returned.
            window: as for `diff`.
            is_in_place: whether rows that the target has already are left as they are.
        """
        return None

    def readiness(self, intent: Intent) -> Readiness:
        """Return what would keep a run from doing what it intends; writes nothing."""
        return Readiness()

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Hold one state of the target for all reads of a block, where the database can."""
        return contextlib.nullcontext()

    def bucket_sums(
        self, name: str, columns: Sequence[str], selection: Selection, buckets: Buckets
    ) -> dict[int, Fingerprint] | None:
        """Return the fingerprint of each bucket that is not empty, computed by the database.

        Asked only of targets whose `proof` is the database's. None, the default, means that it
        has no such query: then the rows are read back, and `scan` is not asked for buckets.
        """
        return None

    def marked_keys(
        self, staging: str, key: Sequence[str], deleted: str, limit: int
    ) -> list[dict[str, object]]:
        """Return keys of the target that a staged row marks as deleted; in a `rehearsal`.

        Args:
            staging: a staging table, one row per key.
            key: the key columns.
            deleted: SQL condition over the staged row.
            limit: most keys to return.
        """
        return []

    @abc.abstractmethod
    def drop(self, name: str) -> None:
        """Drop a temporary table if it is there."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back connections; harmless when called again."""

    def __enter__(self) -> Self:
        """Return the target."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the target."""
        self.close()
