"""The models of `transfers` and `defaults`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import BeforeValidator, Field

from tmg_etl.config import rule, strict


class CsvSpec(strict.Strict):
    """How CSV files are written. The defaults are those of RFC 4180."""

    delimiter: Annotated[str, BeforeValidator(rule.character)] = Field(
        default=",", description="One character between fields. Default comma."
    )
    quote: Annotated[str, BeforeValidator(rule.character)] | None = Field(
        default='"',
        description='One character around fields. Default "; null: fields are never quoted.',
    )
    escape: Annotated[str, BeforeValidator(rule.character)] | None = Field(
        default=None,
        description="One character that takes the next one literally. None (default): a quote "
        "inside a quoted field is doubled, as RFC 4180 says.",
    )
    header: bool = Field(
        default=True,
        description="Whether the first line holds the names. Default true: names travel along.",
    )
    null_values: list[str] = Field(
        default=[""], description="Unquoted texts that mean null. Default only the empty field."
    )
    encoding: Annotated[str, BeforeValidator(rule.encoding)] = Field(
        default="utf8", description="Character encoding of the file. Default utf8."
    )

    @pydantic.model_validator(mode="after")
    def _check_characters(self) -> CsvSpec:
        rule.csv_characters(self.delimiter, self.quote, self.escape)
        return self


class SourceSpec(strict.Strict):
    """What is read: exactly one of `table`, `query`, `path`."""

    connection: strict.Name = Field(description="Key in `connections`.")
    table: strict.Name | None = Field(
        default=None,
        description="Table; its schema is the connection's. On files: the folder or file of that "
        "name. None: "
        "`query` or `path` is given.",
    )
    query: strict.Name | None = Field(
        default=None,
        description="SELECT in the source's dialect. None: `table` or `path` is given.",
    )
    path: strict.Name | None = Field(
        default=None,
        description="Files only: a file, a folder or a glob under the connection's `url`; "
        "{execution_date} is filled in. None: `table` or `query` is given.",
    )
    format: Literal["parquet", "csv", "jsonl"] | None = Field(
        default=None,
        description="Files only: format of the files. None (default): by their extension.",
    )
    columns: dict[str, Annotated[str, BeforeValidator(rule.column_type)]] = Field(
        default={},
        description="Files only: declared type by column, for CSV and JSON lines. Default none: "
        "types are inferred. " + rule.COLUMN_TYPES,
    )
    csv: CsvSpec = Field(
        default_factory=CsvSpec, description="Files only: how CSV files are written."
    )

    read: Literal["storage", "extract"] | None = Field(
        default=None,
        description="BigQuery only: how rows travel. storage: Storage Read API. extract: an "
        "extract job to `staging` of the connection, read from there. None (default): storage, "
        "because it is fast and needs no bucket.",
    )
    maximum_bytes_billed: Annotated[int, Field(ge=1), BeforeValidator(rule.not_bool)] | None = (
        Field(
            default=None,
            description="BigQuery only: bytes that one query of this source may be billed for. "
            "None (default): the connection's.",
        )
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> SourceSpec:
        given = [key for key in ("table", "query", "path") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(f"`{key}`" for key in given) or "none of them"
            raise rule.fault(
                f"found {found}, expected exactly one of `table`, `query`, `path`",
                "remove what is too much" if given else "add `table: name`",
            )
        return self


class TargetSpec(strict.Strict):
    """Where rows are published."""

    connection: strict.Name = Field(description="Key in `connections`.")
    table: Annotated[strict.Name, BeforeValidator(rule.target_table)] = Field(
        description="Table; its schema is the connection's, so that a database's name has no dot. "
        "On files: a folder under its `url`."
    )


class DeltaSpec(strict.Strict):
    """How the mode `delta` picks and merges rows."""

    cursor: strict.Name = Field(
        description="Column whose day lies in the window: a date or timestamp."
    )
    order_by: strict.Names = Field(
        default=[],
        description="Columns that order versions of one key; the last one wins, null comes first. "
        "An upsert needs them in the target. Default none: two different rows with one key are an "
        "error.",
    )
    strategy: Literal["upsert", "replace_window"] = Field(
        default="upsert",
        description="upsert (default): insert or update each key of the window, delete nothing "
        "that is not marked. replace_window: the target's window becomes exactly the source's.",
    )
    deleted: strict.Name | None = Field(
        default=None,
        description="SQL condition over the staged row, in the target's dialect; rows for which it "
        "holds are deleted in the target. None (default): no row is a deletion.",
    )


class IndexSpec(strict.Strict):
    """A secondary index of the target, built after the load."""

    name: strict.Name = Field(description="Name of the index.")
    columns: strict.Names = Field(min_length=1, description="Its columns, in order.")
    unique: bool = Field(default=False, description="Whether values may not repeat. Default false.")


class Policy(strict.Strict):
    """What `defaults` can set for all transfers and a transfer for itself."""

    on_empty: Literal["fail", "allow"] = Field(
        default="fail",
        description="What an empty source means for truncate. fail (default): a data error, "
        "because it is mostly a fault upstream. allow: the target is emptied.",
    )
    publish: Literal["auto", "swap", "diff"] = Field(
        default="auto",
        description="How truncate makes rows visible. swap: rename. diff: change only rows that "
        "differ. auto (default): swap, or diff where a rename would leave dependants behind.",
    )
    keep_previous: Annotated[str, BeforeValidator(rule.duration)] | None = Field(
        default=None,
        description="How long truncate keeps the table that it replaced, as 90m, 24h or 7d, so "
        "that `tmg-etl rollback` can put it back; each takes the disk of one more table. A swap is "
        "then required. null (default): it is dropped at once.",
    )
    schema_: Literal["fail", "evolve"] = Field(
        default="fail",
        alias="schema",
        description="What a column means that only the source has. fail (default): an error that "
        "lists it. evolve: it is added to the target as nullable.",
    )
    verify: Annotated[Literal["fingerprint", "count", "off"], BeforeValidator(rule.off)] = Field(
        default="fingerprint",
        description="What is compared after the load. fingerprint (default): row count and a hash "
        "of all values, because only that proves equality. count: rows only. off: nothing.",
    )
    lock_wait_s: strict.Number = Field(
        default=60.0,
        description="Seconds to wait for another run on the same target, 0 or more. Default 60: "
        "short runs pass each other, a long one lets this one fail as retriable. A merge or diff "
        "waits as long for the rows of PostgreSQL, MySQL or MariaDB that somebody else has locked, "
        "and in a SQLite file for each transaction of somebody else: once it has begun, two "
        "seconds at least.",
    )
    skip_unchanged: bool = Field(
        default=False,
        description="Whether a run ends at once when the source is unchanged since the last run "
        "on this target, which published and verified it by the same config. Files tell; databases "
        "and queries do not, and are published with a warning. What others write to the target is "
        "not noticed. Default false.",
    )

    @property
    def keep_previous_s(self) -> int | None:
        """Return the seconds that a replaced table is kept; None: not at all."""
        return None if self.keep_previous is None else rule.seconds(self.keep_previous)

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(rule.not_bool)] = Field(
        default=65_536,
        description="Most rows in one batch, 1 to 1000000; it has fewer of a table with more than "
        "four columns. Memory grows with it. Default 65536: a guess that keeps statements long "
        "and memory small.",
    )


class Defaults(Policy):
    """Values for all transfers that do not set them."""


class _Places(dict[str, str]):
    """Where keys are written, which is not what they say: all are equal."""

    def __eq__(self, other: object) -> bool:
        """Return whether it is a place as well."""
        return isinstance(other, _Places)

    __hash__ = None


class Transfer(Policy):
    """One declared movement of one table."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = Field(default="", description="Key in `transfers`; filled in by the loader.")
    description: str | None = Field(
        default=None,
        repr=False,
        description="What the table is, for people. None (default): no words.",
    )
    source: SourceSpec = Field(description="What is read.")
    target: TargetSpec = Field(description="Where it is published.")
    key: strict.Names = Field(
        default=[],
        description="Columns that identify a row, in the target's names. Default none: rows may "
        "repeat; diff and upsert are not possible.",
    )
    omit: strict.Names = Field(
        default=[], description="Source columns that are not published. Default none."
    )
    reset: strict.Names = Field(
        default=[],
        description="Target columns that the source lacks and that a swap may set to their "
        "default. Default none: rows whose key stays keep what somebody else wrote there, so that "
        "a full refresh is a diff.",
    )
    delta: DeltaSpec | None = Field(
        default=None,
        description="How the mode delta works. None (default): only truncate is possible.",
    )
    indexes: list[IndexSpec] = Field(
        default=[],
        description="Secondary indexes to build on the target. Default none beside its own.",
    )
    schedule: Annotated[str, BeforeValidator(rule.schedule)] | None = Field(
        default=None,
        description="Five cron fields (minute hour day month weekday, UTC) for the CronJob; the "
        "minute H is one that is made of the name. None (default): runs on demand only.",
    )
    publish_group: Annotated[str, BeforeValidator(rule.group)] | None = Field(
        default=None,
        description="Group that this transfer is published with: all transfers of one group become "
        "visible in one step, and are run by the group's name. None (default): it is published "
        "alone.",
    )
    pipeline: Annotated[str, BeforeValidator(rule.pipeline)] | None = Field(
        default=None,
        description="TMGETL subclass to run, as module:Class, from one of `packages`. None "
        "(default): TransferPipeline.",
    )
    options: dict[str, Any] = Field(
        default={},
        repr=False,
        description="Free values for one's own pipeline class. Default none.",
    )

    #: Where the file has each key, as ``file:line:key``; filled in by the loader.
    _places: _Places = pydantic.PrivateAttr(default_factory=lambda: _Places())

    def where(self, key: str) -> str:
        """Return the place of a key, such as ``delta.deleted``, for a message."""
        return self._places.get(key, f"transfers.{self.name}.{key}")

    @pydantic.model_validator(mode="after")
    def _check(self) -> Transfer:
        if self.delta and self.delta.strategy == "upsert" and not self.key:
            raise rule.fault(
                "found strategy upsert without a key, expected the columns that identify a row",
                "add `key: [column, …]` or use `strategy: replace_window`",
                at=("key",),
            )
        if self.keep_previous and self.publish == "diff":
            raise rule.fault(
                "found `publish: diff` with `keep_previous`, expected a swap: a diff changes the"
                " table in place and leaves no previous one",
                "write `publish: auto`, or `keep_previous: null`",
                at=("keep_previous",),
            )
        names = [index.name for index in self.indexes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise rule.fault(
                f"found two indexes with the name {twice!r}, expected different names",
                "rename one",
                at=("indexes",),
            )
        needed = {"key": self.key, "indexes": [c for index in self.indexes for c in index.columns]}
        because = {"delta.order_by": ": an older version would overwrite a newer one"}
        if self.delta and self.delta.strategy == "replace_window":
            needed["delta.cursor"] = [self.delta.cursor]
        elif self.delta:
            needed["delta.order_by"] = self.delta.order_by
        for place, columns in needed.items():
            if lost := sorted(set(columns) & set(self.omit)):
                raise rule.fault(
                    f"found the column {lost[0]!r}, which `{place}` needs in the target"
                    f"{because.get(place, '')}",
                    "remove it from `omit`",
                    at=("omit",),
                )
        return self
