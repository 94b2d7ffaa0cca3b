"""Which source column fills which target column, decided before anything is written.

The schema rules of a transfer in one place: `omit`, `schema: evolve`, missing columns, types, keys,
order columns. Pure: takes what source and target say of themselves.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import conversion

if TYPE_CHECKING:
    from tmg_etl.config import model


_TYPE_HINT = (
    "correct the values, or have the source give the target's types: `columns:` of a CSV or JSON"
    " lines source declares them, a `query:` can cast; or name the columns in `omit`"
)
_OMIT_HINT = "name columns that are not wanted in `omit`"
_NAME_HINT = f"{_OMIT_HINT}, or write `schema: evolve` to add columns to the target"


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The columns of one run.

    Attributes:
        columns: the columns that source and target share, as the target takes them, in the
            target's order (the source's for a new table).
        staged: what a staging table holds: `columns`, and those that only the merge needs.
        added: columns that `schema: evolve` adds to the target.
        read: the source's columns to read.
        required: columns that may not be null.
        own: columns of the target that the run does not fill: somebody else does.
        is_new: the target does not exist yet.
    """

    columns: pa.Schema
    staged: pa.Schema
    added: pa.Schema
    read: tuple[str, ...]
    required: frozenset[str]
    own: tuple[str, ...]
    is_new: bool

    def kept(self, reset: Sequence[str]) -> list[str]:
        """Return the columns that a publish must leave as they are, `reset` not among them."""
        return [name for name in self.own if name not in reset]

    @property
    def names(self) -> list[str]:
        """Return the names of `columns`."""
        return list(self.columns.names)

    @property
    def held(self) -> list[str]:
        """Return the names of `columns` that the target has before the publish."""
        return [name for name in self.names if name not in self.added.names]

    @property
    def extra(self) -> pa.Schema:
        """Return the staged columns that the target does not have before the publish."""
        return pa.schema([field for field in self.staged if field.name not in self.held])


def resolve(
    transfer: model.Transfer,
    source: pa.Schema,
    existing: base.Table | None,
    planned: base.Table | None,
    capabilities: base.Capabilities,
    write_mode: run_module.WriteMode,
) -> Mapping:
    """Return the mapping of a transfer.

    Args:
        transfer: the declared transfer.
        source: every column of the source.
        existing: the target, or None when it does not exist.
        planned: what would be created of `new_fields`; needed when `existing` is None.
        capabilities: of the target.
        write_mode: delta stages columns that truncate does not need.

    Raises:
        errors.SchemaConflictError: columns or types do not agree; lists all of them.
    """
    _require_known(transfer, source, existing)
    _refuse_hidden(transfer, source)
    _refuse_uncarried(transfer, source)
    table = existing or planned
    if table is None:
        raise ValueError("neither an existing nor a planned table")
    published = [field for field in source if _is_published(transfer, field)]
    added = [field for field in published if table.column(field.name) is None]
    mistyped = _type_conflicts(published, table)
    if capabilities.folds_case:
        _refuse_case(transfer, published, table)
    misnamed = [] if transfer.schema_ == "evolve" else [_lack(field.name, table) for field in added]
    misnamed += [
        f"the source lacks the column {column.name!r}, which has no default"
        for column in table.columns
        if column.name not in {*source.names, *transfer.omit, *transfer.reset}
        and not (column.has_default or column.is_generated)
        # Null is a default. Where the table is written as a whole, it would be everybody's.
        and not (column.field.nullable and capabilities.can_diff)
    ]
    if mistyped or misnamed:
        by_name = _OMIT_HINT if transfer.schema_ == "evolve" else _NAME_HINT
        hints = [_TYPE_HINT] * bool(mistyped) + [by_name] * bool(misnamed)
        raise errors.SchemaConflictError(
            transfer.target.table, mistyped + misnamed, hint=", and ".join(hints)
        )
    return _mapping(transfer, source, table, added, capabilities, write_mode, existing is None)


def _refuse_case(transfer: model.Transfer, published: list[pa.Field], table: base.Table) -> None:
    """Refuse names that are one to the target: its own words for that differ, and come late."""
    known: dict[bytes, str] = {}
    if transfer.schema_ == "evolve":
        known = {_folded(column.name): column.name for column in table.columns}
    phrases = []
    for field in published:
        other = known.setdefault(_folded(field.name), field.name)
        if other != field.name:
            phrases.append(f"the columns {other!r} and {field.name!r} differ only by case")
    if phrases:
        raise errors.SchemaConflictError(
            transfer.target.table,
            phrases,
            hint="they are one column to the target: name one in `omit`, or give it another name"
            " in a `query:`",
        )


def _lack(name: str, table: base.Table) -> str:
    spelled = [column.name for column in table.columns if _folded(column.name) == _folded(name)]
    hint = f" (it has {spelled[0]!r})" if spelled else ""
    return f"the target lacks the column {name!r}{hint}"


def _folded(name: str) -> bytes:
    # Of bytes, only A to Z have a lower case, as in SQLite.
    return name.encode().lower()


def _type_conflicts(published: list[pa.Field], table: base.Table) -> list[str]:
    conflicts = []
    for field in published:
        column = table.column(field.name)
        if column is None:
            continue
        if column.is_generated:
            conflicts.append(f"column {field.name!r} is computed by the target")
        elif reason := conversion.refusal(field, column.field):
            conflicts.append(f"column {field.name!r}: {reason} ({column.native})")
    return conflicts


def new_fields(
    transfer: model.Transfer, source: pa.Schema, capabilities: base.Capabilities
) -> pa.Schema:
    """Return the fields of a target that does not exist yet."""
    _refuse_uncarried(transfer, source)
    return pa.schema(
        [
            conversion.carried(field, capabilities).with_nullable(field.name not in transfer.key)
            for field in source
            if _is_published(transfer, field)
        ]
    )


def _refuse_uncarried(transfer: model.Transfer, source: pa.Schema) -> None:
    """Refuse to publish columns whose values nothing carries."""
    phrases = [
        f"the column {field.name!r} of the source is of a type that cannot be carried"
        for field in source
        if base.is_uncarried(field) and _is_published(transfer, field)
    ]
    if phrases:
        raise errors.SchemaConflictError(
            transfer.target.table,
            phrases,
            hint="name it in `omit`, or convert it in a `query`, for example ST_AsText(column)",
        )


def _is_published(transfer: model.Transfer, field: pa.Field) -> bool:
    return field.name not in transfer.omit and not base.is_hidden(field)


def _mapping(
    transfer: model.Transfer,
    source: pa.Schema,
    table: base.Table,
    added: list[pa.Field],
    capabilities: base.Capabilities,
    write_mode: run_module.WriteMode,
    is_new: bool,
) -> Mapping:
    extended = [conversion.carried(field, capabilities).with_nullable(True) for field in added]
    published = {field.name for field in source if _is_published(transfer, field)}
    columns = [column.field for column in table.columns if column.name in published] + extended
    staged = [field.with_nullable(True) for field in columns]
    if write_mode is run_module.WriteMode.DELTA and transfer.delta:
        names = {field.name for field in columns}
        needed = set(transfer.delta.order_by)
        if transfer.delta.deleted:
            needed |= {
                field.name
                for field in source
                if not base.is_hidden(field) and not base.is_uncarried(field)
            }
        staged += [
            conversion.carried(field, capabilities).with_nullable(True)
            for field in source
            if field.name in needed and field.name not in names
        ]
    required = {field.name for field in columns if not field.nullable} | set(transfer.key)
    own = [
        column.name
        for column in table.columns
        if column.name not in published and not column.is_generated
    ]
    used = columns if write_mode is run_module.WriteMode.TRUNCATE else staged
    return Mapping(
        columns=pa.schema(columns),
        staged=pa.schema(staged),
        added=pa.schema(extended),
        read=tuple(field.name for field in used),
        required=frozenset(required),
        own=tuple(own),
        is_new=is_new,
    )


def order_warnings(
    transfer: model.Transfer, columns: Mapping, write_mode: run_module.WriteMode
) -> list[str]:
    """Return why an upsert cannot tell that a row of the target is newer; none where it can."""
    delta = transfer.delta
    if delta is None or delta.strategy != "upsert" or write_mode is run_module.WriteMode.TRUNCATE:
        return []
    return [
        f"the target does not hold the order column {name!r}: of a key in two windows, the run that"
        " comes last wins"
        for name in delta.order_by
        if name not in columns.names
    ] + [
        f"the order column {name!r} is new to the target: the rows that it holds count as older"
        for name in delta.order_by
        if name in columns.added.names
    ]


def _require_known(
    transfer: model.Transfer, source: pa.Schema, existing: base.Table | None
) -> None:
    """Refuse names that the source does not have, with the closest one."""
    held = {column.name for column in existing.columns} if existing else set()
    wanted = [("key", name) for name in transfer.key]
    wanted += [("omit", name) for name in transfer.omit if name not in held]
    wanted += [("indexes", name) for index in transfer.indexes for name in index.columns]
    _refuse_reset(transfer, source, existing)
    if transfer.delta:
        wanted.append(("delta.cursor", transfer.delta.cursor))
        wanted += [("delta.order_by", name) for name in transfer.delta.order_by]
    unknown = [(place, name) for place, name in wanted if name not in source.names]
    if not unknown:
        return
    phrases = []
    for place, name in unknown:
        near = difflib.get_close_matches(name, source.names, n=1)
        suggestion = f" (did you mean {near[0]!r}?)" if near else ""
        phrases.append(f"`{place}` names {name!r}, which the source does not have{suggestion}")
    hint = f"its columns are {errors.listed(source.names)}"
    only = source.names[0] if len(source.names) == 1 else ""
    mark = next((mark for mark in ";\t|," if mark in only), None)
    if mark is not None:
        hint = f"its only column is {only!r}: is {mark!r} the delimiter of the file?" + (
            f" Then write `csv: {{delimiter: {json.dumps(mark)}}}` in the source"
        )
    raise errors.SchemaConflictError(transfer.target.table, phrases, hint=hint)


def _refuse_reset(transfer: model.Transfer, source: pa.Schema, existing: base.Table | None) -> None:
    """Refuse names in `reset` that are no columns of the target's own."""
    if existing is None:
        return
    held = [column.name for column in existing.columns]
    own = [name for name in held if name not in source.names or name in transfer.omit]
    phrases = []
    for name in transfer.reset:
        if name in own:
            continue
        near = difflib.get_close_matches(name, own, n=1)
        suggestion = f" (did you mean {near[0]!r}?)" if near else ""
        what = "which the source fills" if name in held else "which the target does not have"
        phrases.append(f"`reset` names {name!r}, {what}{suggestion}")
    if phrases:
        raise errors.SchemaConflictError(
            transfer.target.table,
            phrases,
            hint=f"columns of the target that the source lacks: {errors.listed(own) or 'none'}",
        )


def _refuse_hidden(transfer: model.Transfer, source: pa.Schema) -> None:
    """Refuse hidden columns where only those that are published will do."""
    needed = [("key", name) for name in transfer.key]
    needed += [("indexes", name) for index in transfer.indexes for name in index.columns]
    if transfer.delta and transfer.delta.strategy == "replace_window":
        needed.append(("delta.cursor", transfer.delta.cursor))
    for place, name in needed:
        if base.is_hidden(source.field(name)):
            raise errors.SchemaConflictError(
                transfer.target.table,
                [f"`{place}` names {name!r}, which is not published: it is no column of the table"],
                hint="read a `query:` that selects it under a name of its own",
            )
