"""The interface between transfers and systems: `Connection`, `Source`, `Target`, and their values.

Arrow record batches flow between them. A connector is written against this page and proved by the
conformance suite in `tmg_etl.testing`. No I/O here.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import enum
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module

if TYPE_CHECKING:
    from tmg_etl.config import model

_JSON = {b"tmg_etl": b"json"}
_UNSEEN = {b"tmg_etl": b"unseen"}
_HIDDEN = {b"tmg_etl": b"hidden"}
_UUID = {b"tmg_etl": b"uuid"}
_PADDED = {b"tmg_etl": b"padded"}


def json_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field whose values are JSON documents."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_JSON)


def is_json(field: pa.Field) -> bool:
    """Return whether a string field holds JSON documents."""
    return bool(field.metadata) and field.metadata.get(b"tmg_etl") == b"json"


def uuid_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field of a column that writes a UUID in one way, however it was given."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_UUID)


def is_uuid(field: pa.Field) -> bool:
    """Return whether a string field writes UUIDs with lower-case digits and four hyphens."""
    return bool(field.metadata) and field.metadata.get(b"tmg_etl") == b"uuid"


def padded_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field of a column of fixed length, in which blanks at the end are padding."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_PADDED)


def is_padded(field: pa.Field) -> bool:
    """Return whether a string field keeps no blanks at the end, as SQL has it for ``CHAR(n)``."""
    return bool(field.metadata) and field.metadata.get(b"tmg_etl") == b"padded"


def hidden_field(name: str, kind: pa.DataType) -> pa.Field:
    """Return a field that windows and `order_by` may name and that is never published."""
    return pa.field(name, kind, metadata=_HIDDEN)


def is_hidden(field: pa.Field) -> bool:
    """Return whether a field is beside its table's columns, as a time of ingestion is."""
    return bool(field.metadata) and field.metadata.get(b"tmg_etl") == b"hidden"


def unseen_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field that had no value to tell its type by: nulls fit every column."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_UNSEEN)


def is_unseen(field: pa.Field) -> bool:
    """Return whether a string field had no value to tell its type by."""
    return bool(field.metadata) and field.metadata.get(b"tmg_etl") == b"unseen"


@dataclasses.dataclass(frozen=True)
class CursorWindow:
    """The rows of a closed day interval, by one column.

    A date column is compared by day; a timestamp by the half-open interval [start 00:00, the day
    after end 00:00) in UTC; an integer or text column as ``YYYYMMDD``. Rows whose cursor is null
    are in no window.
    """

    column: str
    start: datetime.date
    end: datetime.date

    @property
    def end_exclusive(self) -> datetime.date | None:
        """Return the day after `end`; None where the calendar ends (9999-12-31)."""
        if self.end == datetime.date.max:
            return None
        return self.end + datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Rows sorted into buckets by a hash, so that two sides can be compared piece by piece.

    A row's bucket is the number that its `columns` add to a `Fingerprint`, modulo `count`.

    Attributes:
        count: how many buckets there are.
        columns: what is hashed, in this order: the key, or the whole row where there is none.
        wanted: only rows of these buckets; None means all.
    """

    count: int
    columns: tuple[str, ...]
    wanted: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows of a table are meant; the default means all of them.

    Attributes:
        window: only rows in this window.
        keys_of: only rows whose key is in this staging table.
        key: the key columns for `keys_of`.
        buckets: only rows of its wanted buckets; for targets that have `Target.bucket_sums`.
    """

    window: CursorWindow | None = None
    keys_of: str | None = None
    key: tuple[str, ...] = ()
    buckets: Buckets | None = None


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Row count and order-free hash of the canonical text of every row.

    The hash is the sum, modulo 2**64, of the numbers that a `Digest` makes of each row's canonical
    text (see `TextFormat`); None when only rows were counted.
    """

    rows: int
    hash: int | None = None

    def __str__(self) -> str:
        """Return ``1,234 rows 0x0123456789abcdef``."""
        if self.hash is None:
            return f"{self.rows:,} rows"
        return f"{self.rows:,} rows 0x{self.hash % 2**64:016x}"


@dataclasses.dataclass(frozen=True)
class Changes:
    """Rows of the target that a publish touched."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0

    def plus(self, other: Changes) -> Changes:
        """Return the sum of both."""
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Changes(*(one + more for one, more in zip(mine, others, strict=True)))


class Part(enum.Enum):
    """Which statements of a merge are meant, where foreign keys bind several tables of a group."""

    ALL = "all"
    WRITE = "write"  # updates and inserts
    DELETE = "delete"  # what `WRITE` left: the rows that go


@dataclasses.dataclass(frozen=True)
class Intent:
    """What a run is about to do to a target, to ask whether it can.

    Attributes:
        renames: the target is replaced by a rename; else its rows are changed in place.
        creates: there is no target yet.
        evolves: columns are added to it.
        rows: rows that are loaded beside it; None when unknown.
    """

    renames: bool
    creates: bool = False
    evolves: bool = False
    rows: int | None = None


@dataclasses.dataclass(frozen=True)
class Readiness:
    """Whether a target's database would let a run do what it intends, as it is now.

    Attributes:
        missing: privileges that the run's user lacks, one phrase each ("CREATE on schema public").
        in_the_way: sessions whose locks or transactions a publish would wait for, one phrase each.
        needed_bytes: disk that the table beside the target takes; None when unknown.
        free_bytes: disk that is left where the database is; None where it does not tell.
        unknown: what could not be found out and why, one phrase each.
    """

    missing: tuple[str, ...] = ()
    in_the_way: tuple[str, ...] = ()
    needed_bytes: int | None = None
    free_bytes: int | None = None
    unknown: tuple[str, ...] = ()


class FloatStyle(enum.Enum):
    """How a database prints the shortest decimal text of a double."""

    POSTGRES = "postgres"  # 1e+15 from 1e15, 1e-05 below 1e-4; NaN, Infinity, -Infinity
    MYSQL = "mysql"  # 1e15 from 1e15, 1e-16 below 1e-15; no NaN, no infinity


class Digest(enum.Enum):
    """What makes a number of a row's canonical text; the numbers are added up to a `Fingerprint`.

    All of them tell apart what a fault of hardware or software leaves. None of them keeps a secret,
    and none is asked to withstand somebody who can write to the table anyway.
    """

    MD5 = "md5"  # its first 15 hexadecimal digits
    SHA256 = "sha256"  # the same
    #: Bob Jenkins' lookup3, as PostgreSQL's `hashtextextended` computes it, and of that the last 60
    #: bits: a fraction of the time of the others on both sides. In its text a value of more than
    #: `LONG_TEXT_BYTES` stands as the hexadecimal digits of its SHA-256.
    LOOKUP3 = "lookup3"


#: What remains of a row's hash: 60 bits.
HASH_MASK = 2**60 - 1
LONG_TEXT_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class TextFormat:
    r"""How values are written as text: the rows that are loaded, and the canonical text.

    The canonical text of a row is its values joined by tab, null as ``\N``; in character values a
    backslash is written ``\\`` and a tab ``\t``, nothing else is escaped. What is loaded is
    the same with newline, carriage return and NUL escaped as well.

    Attributes:
        true: text of a true boolean.
        false: text of a false boolean.
        float_style: text of doubles; a float32 is written as the double it equals.
        trims_fraction: timestamps and times without trailing zeros of the fraction ("10:00:00.5"),
            else always six digits.
        utc_suffix: what follows a timestamp with zone, which is written in UTC.
        bytes_prefix: what stands before the hexadecimal digits of bytes, as loaded.
        bytes_upper: whether those digits are upper case.
        canonical_json: whether JSON is rewritten as the server does: keys sorted by length then
            bytes, ``", "`` and ``": "`` as separators, the last of equal keys kept.
        digest: what hashes the canonical text of a row; the one that the server computes fastest.
    """

    true: str = "true"
    false: str = "false"
    float_style: FloatStyle = FloatStyle.POSTGRES
    trims_fraction: bool = False
    utc_suffix: str = ""
    bytes_prefix: str = ""
    bytes_upper: bool = False
    canonical_json: bool = False
    digest: Digest = Digest.LOOKUP3


class Ingest(enum.Enum):
    """What `Target.load` takes."""

    ARROW = "arrow"
    TEXT = "text"


class Proof(enum.Enum):
    """Where the fingerprint of a table is computed."""

    DATABASE = "database"  # `Target.fingerprint`, one aggregate query
    READ_BACK = "read_back"  # `Target.scan`, then hashed like what was sent


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a target can do; transfers ask this and never the class.

    Attributes:
        ingest: what `load` takes.
        proof: where fingerprints are computed.
        can_diff: in-database diff (`Target.diff`).
        can_merge: delta (`Target.merge` and the staging methods).
        can_rehearse: merges can be counted without writing (`Target.rehearsal`).
        can_keep: a swap can keep the replaced table, and a later one put it back.
        can_group: several tables are published in one step (`Target.beside`).
        has_nan: floats may be NaN or infinite.
        has_infinity: floats may be infinite.
        has_negative_zero: -0.0 is kept apart from 0.0.
        has_nul: text may hold the character NUL.
        folds_case: columns whose names differ only by the case of A to Z are one column.
        max_decimal: largest (precision, scale).
        min_date: smallest day that a date or timestamp column holds.
        zoned_timestamps: instants keep their kind; else they become UTC wall-clock timestamps.
        text: how values are written; the canonical text is made by it for every target.
    """

    ingest: Ingest
    proof: Proof
    can_diff: bool = True
    can_merge: bool = True
    can_rehearse: bool = False
    can_keep: bool = False
    can_group: bool = False
    has_nan: bool = True
    has_infinity: bool = True
    has_negative_zero: bool = True
    has_nul: bool = True
    folds_case: bool = False
    max_decimal: tuple[int, int] = (76, 76)
    min_date: datetime.date = datetime.date.min
    zoned_timestamps: bool = True
    text: TextFormat = TextFormat()


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of an existing table.

    Attributes:
        field: name, Arrow type that carries its values without loss, nullability, JSON mark.
        native: type as its database writes it.
        has_default: an insert may leave it out (default, identity, auto-increment).
        is_generated: the database computes it; it cannot be written.
    """

    field: pa.Field
    native: str
    has_default: bool = False
    is_generated: bool = False

    @property
    def name(self) -> str:
        """Return the column's name."""
        name: str = self.field.name
        return name


@dataclasses.dataclass(frozen=True)
class Table:
    """What is known of an existing table.

    Attributes:
        columns: in the table's order.
        primary_key: column names; empty when there is none.
        unique_keys: column names of every other unique constraint or index.
        indexes: names of the secondary indexes.
        row_estimate: rows, as the statistics have it; None when unknown.
        swap_blockers: why replacing the table by a rename would lose or break something, one
            phrase each ("referenced by foreign key a of table b"); empty when it would not.
    """

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[str, ...] = ()
    row_estimate: int | None = None
    swap_blockers: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of all columns."""
        return pa.schema([column.field for column in self.columns])

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def is_unique_over(self, key: Sequence[str]) -> bool:
        """Return whether the database itself refuses two rows with one `key`."""
        candidates = [self.primary_key, *self.unique_keys]
        return any(unique and set(unique) <= set(key) for unique in candidates)


@dataclasses.dataclass(frozen=True)
class Index:
    """A secondary index to create."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows on their way into a table.

    Attributes:
        arrow: the rows, cast to the table's column types, in the order of the loaded columns.
        text: the same rows as text (`TextFormat`), one line each, ended by a newline; None when
            the target's `ingest` is Arrow.
        first_row: number of rows loaded before this batch.
    """

    arrow: pa.RecordBatch
    text: bytes | memoryview | None
    first_row: int

    def key_of(self, row: int, key: Sequence[str]) -> dict[str, object]:
        """Return the key of the row at index `row` of this batch; the whole row without a key."""
        names = [name for name in key if name in self.arrow.schema.names]
        return {
            name: self.arrow.column(name)[row].as_py() for name in names or self.arrow.schema.names
        }


@dataclasses.dataclass(frozen=True)
class Owner:
    """On whose behalf a connection works: names and labels of what it leaves in its system.

    Attributes:
        run_id: empty outside a run.
        transfer: name of the transfer.
        env: name of the environment.
    """

    run_id: str = ""
    transfer: str = ""
    env: str = ""


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


class Source(abc.ABC):
    """One table, query or set of files, read at one snapshot; open until `close`."""

    @property
    @abc.abstractmethod
    def description(self) -> str:
        """Return what is read, for messages and the ledger, without secrets."""

    @property
    @abc.abstractmethod
    def snapshot(self) -> str:
        """Return which state is read, as text for the ledger; at most 500 characters."""

    @property
    def version(self) -> str | None:
        """Return the snapshot as a text that is equal only if the rows are; None: it does not tell.

        For sources that know it without reading: generations of files, not the time of a query.
        """
        return None

    @abc.abstractmethod
    def schema(self) -> pa.Schema:
        """Return every column with the Arrow type that carries it without loss.

        Raises:
            errors.ConfigError: no such table, or a column type that nothing can carry.
        """

    @abc.abstractmethod
    def count(self, window: CursorWindow | None = None) -> int | None:
        """Return the rows that `read` will give, or None where counting is not cheap."""

    @abc.abstractmethod
    def read(
        self, columns: Sequence[str], window: CursorWindow | None = None, *, batch_rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the snapshot lazily, in the source's own order.

        Args:
            columns: which columns, in this order.
            window: only rows in it; None means all.
            batch_rows: upper bound of rows in one batch; at least 1.

        Yields:
            Record batches with exactly the fields of `schema` for `columns`. Never more than a few
            batches are held in memory.

        Raises:
            errors.DataError: a value cannot be represented.
            errors.TemporaryError: the connection was lost.
        """

    def prefer_latest(self, key: Sequence[str], order_by: Sequence[str]) -> None:
        """Let later readings leave out rows that are not the latest version of their key.

        What `Target.keep_latest` would remove need not travel. A source that does it must mean the
        same by "latest" and give all versions that are equally late; the default gives all rows.
        """
        return

    def estimate(self, columns: Sequence[str], window: CursorWindow | None = None) -> str | None:
        """Return in a few words what `read` would cost, for the plan; None where it costs nothing.

        Nothing is read and nothing is billed for it.
        """
        return None

    @property
    def bytes_read(self) -> int | None:
        """Return the bytes that came from the system so far, as it counts them; None: not known.

        For a lake of files, what was fetched; for a system that bills by bytes, what it billed.
        """
        return None

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of the jobs that ran in the system for this source so far."""
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Give back connections and files; harmless when called again."""

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the source."""
        self.close()


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
    def add_columns(self, schema: pa.Schema) -> None:
        """Add columns to the target, nullable, by the type mapping (`schema: evolve`)."""

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

    def duplicate_key(self, name: str, key: Sequence[str]) -> dict[str, object] | None:
        """Return a key that occurs twice in a table, or None.

        Asked for tables whose own constraints do not refuse duplicates. The default is for
        connectors whose `finish_load` refuses them.
        """
        return None

    @abc.abstractmethod
    def transaction(self, others: Sequence[Target] = ()) -> contextlib.AbstractContextManager[None]:
        """Run a block in one transaction: committed at its end, rolled back when it raises.

        Args:
            others: tables `beside` this one that the block writes too.
        """

    @abc.abstractmethod
    def swap(self, shadow: str, names: run_module.TemporaryNames) -> int:
        """Put the shadow in the target's place in one atomic step; return the rows replaced.

        Owner, grants, comments and index names are the target's afterwards. Readers see the old
        table until they see the new one and are not kept waiting longer than a short, bounded and
        repeated attempt to get the lock that the step needs. Without a target this is a rename.
        The replaced table is dropped.
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


class Connection(abc.ABC):
    """A named system of the config; cheap to make, opened by its methods.

    Args:
        spec: its entry in the config.
        folder: where relative paths start.
    """

    def __init__(self, spec: model.Connection, folder: pathlib.Path) -> None:
        self.spec = spec
        self.folder = folder
        #: Registered with the run's stop flag while a long statement is under way.
        self.stop = run_module.StopFlag()
        self.owner = Owner()
        #: All connections of the config by name, for one that stands before another.
        self.others: Mapping[str, Connection] = {}

    @property
    def name(self) -> str:
        """Return the name in the config."""
        return self.spec.name

    @abc.abstractmethod
    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> Source:
        """Open a source at a snapshot taken now.

        Args:
            spec: table, query or path, and how to read it.
            execution_date: fills the placeholder ``{execution_date}``.

        Raises:
            errors.ConfigError: no such table or file.
            errors.ConnectionLostError: the server cannot be reached.
            errors.AccessError: it refuses the credentials.
        """

    @abc.abstractmethod
    def open_target(self, table: str) -> Target:
        """Open a target table, which may not exist yet.

        Raises:
            errors.ConnectionLostError: the server cannot be reached.
            errors.AccessError: it refuses the credentials.
        """

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query, for hand-written pipelines.

        Args:
            sql: one statement in the system's dialect; parameters as ``:name``.
            parameters: values to bind; None binds none.
        """
        raise errors.ConfigError(f"connection {self.name!r} ({self.spec.type}) answers no queries")

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of its own, for hand-written pipelines.

        Returns:
            The rows it touched, or -1 where the system does not say.
        """
        raise errors.ConfigError(f"connection {self.name!r} ({self.spec.type}) runs no statements")
