"""Tables beside the target: what they are made of, and what a publish must leave as it was.

A copy job replaces the rows of a table and its schema. The shadow is made with everything of the
target that travels with a copy (columns with descriptions, defaults and policy tags, partitioning,
clustering, keys, encryption) and with its labels and description as well, so that the result is the
same whichever of the two tables BigQuery takes them from. What a copy does not keep all the same is
put back right after it, under the table's etag.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.bigquery import datatype

#: Members of a table's resource that a shadow shares with its target.
_BUILT = (
    "schema",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "encryptionConfiguration",
    "defaultCollation",
    "defaultRoundingMode",
    "tableConstraints",
)
#: Members that belong to the target and are put back if a copy changed them, by the name that the
#: client's `update_table` knows them by.
_KEPT = {
    "description": "description",
    "friendlyName": "friendly_name",
    "labels": "labels",
    "expirationTime": "expires",
    "requirePartitionFilter": "require_partition_filter",
    "resourceTags": "resource_tags",
}
_NO_TABLES = {
    "VIEW": "a view",
    "MATERIALIZED_VIEW": "a materialized view",
    "EXTERNAL": "an external table",
    "SNAPSHOT": "a snapshot",
}
#: Types that a load of Parquet cannot fill, or that BigQuery does not keep as they are sent.
_UNWRITABLE = {
    "JSON": "BigQuery rewrites documents, so that what it holds is not what was sent;"
    " make the column STRING",
    "GEOGRAPHY": "BigQuery rewrites shapes, so that what it holds is not what was sent;"
    " make the column STRING",
    "STRUCT": "nested values are published as JSON text; make the column STRING",
    "RANGE": "no source has ranges",
    "INTERVAL": "no source has intervals",
}


def require_table(found: bigquery.Table, subject: str) -> None:
    """Refuse what is called like the target and is no table.

    Raises:
        errors.ConfigError: it is a view, an external table or a snapshot.
    """
    kind = _NO_TABLES.get(str(found.table_type))
    if kind is not None:
        raise errors.ConfigError(
            f"the target {subject} is {kind}, not a table", hint="name a table, or a new one"
        )


def require_settled(found: bigquery.Table, subject: str) -> None:
    """Refuse a table that rows are streamed into: they would appear after a publish.

    Raises:
        errors.TemporaryError: its streaming buffer is not empty.
    """
    buffer = found.streaming_buffer
    if buffer is not None:
        rows = f"about {buffer.estimated_rows:,} rows" if buffer.estimated_rows else "rows"
        raise errors.TemporaryError(
            f"{subject}: {rows} that were streamed into it are still in its streaming buffer",
            hint="run again later: BigQuery empties the buffer within 90 minutes; stop streaming"
            " into a table that is published to",
        )


def described(found: bigquery.Table, swap_blockers: tuple[str, ...]) -> base.Table:
    """Return what is known of a table; no key, because BigQuery enforces none.

    Args:
        found: the table.
        swap_blockers: what is known from elsewhere.
    """
    partitioning = found.time_partitioning
    if partitioning is not None and partitioning.field is None:
        swap_blockers = (
            *swap_blockers,
            "it is partitioned by ingestion time, which would be now for every row",
        )
    return base.Table(
        columns=tuple(
            base.Column(
                datatype.arrow(column),
                datatype.native(column),
                has_default=column.default_value_expression is not None,
            )
            for column in found.schema
        ),
        row_estimate=found.num_rows,
        swap_blockers=swap_blockers,
    )


def column_of(field: pa.Field) -> bigquery.SchemaField:
    """Return the column of a new table; JSON is kept as the text that it is.

    BigQuery's own JSON type sorts members and rewrites numbers, and a load of Parquet cannot fill
    it.
    """
    if base.is_json(field):
        field = field.remove_metadata()
    return datatype.column(field)


def planned(schema: pa.Schema, key: Sequence[str], table: str) -> list[bigquery.SchemaField]:
    """Return the columns of a new table.

    Raises:
        errors.ConfigError: a type or a name that BigQuery does not take.
    """
    columns = []
    for field in schema:
        _require_name(field.name, table)
        nullable = field.nullable and field.name not in key
        columns.append(column_of(field.with_nullable(nullable)))
    return columns


def require_table_name(name: str) -> None:
    """Refuse a table name that BigQuery does not take.

    Source: https://cloud.google.com/bigquery/docs/tables#table_naming
    """
    odd = sorted({letter for letter in name if not _may_name_table(letter)})
    if odd or not name or len(name.encode()) > 1024:
        because = f"may not hold {' '.join(odd)}" if odd else "has 1 to 1,024 bytes"
        raise errors.ConfigError(
            f"BigQuery takes no table called {errors.shorten(name)}: a name {because}",
            hint="letters, digits, _, - and spaces are allowed",
        )


def _may_name_table(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category[0] in "LMN" or category in ("Pc", "Pd", "Zs")


def _require_name(name: str, table: str) -> None:
    # Source: https://cloud.google.com/bigquery/docs/schemas#column_names
    forbidden = sorted({character for character in name if character in '!"$()*,./;?@[\\]^`{}~'})
    if forbidden or not name or len(name) > 300:
        because = f"may not hold {' '.join(forbidden)}" if forbidden else "has 1 to 300 characters"
        raise errors.ConfigError(
            f"{table}: BigQuery takes no column called {errors.shorten(name)}: a name {because}",
            hint="rename it in a `query:` of the source, or name it in `omit`",
        )


def require_writable(columns: Iterable[bigquery.SchemaField], table: str) -> None:
    """Refuse columns that cannot be loaded as they are.

    Raises:
        errors.ConfigError: names the first of them.
    """
    for column in columns:
        name = datatype.standard_name(column)
        reason = _UNWRITABLE.get(name)
        if column.mode == "REPEATED":
            reason = "nested values are published as JSON text; make the column STRING"
        if reason is not None:
            raise errors.ConfigError(
                f"{table}: the column {column.name!r} is {datatype.native(column)}, which is not"
                f" written: {reason}",
                hint="or name it in `omit`",
            )


def built(found: bigquery.Table) -> dict[str, Any]:
    """Return the members of a table's resource that a shadow shares with its target."""
    resource = found.to_api_repr()
    return {name: copy.deepcopy(resource[name]) for name in _BUILT if name in resource}


def copy_of(found: bigquery.Table, reference: bigquery.TableReference) -> bigquery.Table:
    """Return the definition of an empty copy of a table, under another name."""
    resource, members = found.to_api_repr(), built(found)
    # A filter is asked of readers; the proof of the shadow reads all of it.
    partitioning = members.get("timePartitioning", {})
    partitioning.pop("requirePartitionFilter", None)
    for name in ("description", "friendlyName", "labels"):
        if resource.get(name):
            members[name] = resource[name]
    members["tableReference"] = reference.to_api_repr()
    return bigquery.Table.from_api_repr(members)


def staging_of(
    columns: Iterable[bigquery.SchemaField], reference: bigquery.TableReference
) -> bigquery.Table:
    """Return the definition of a table whose columns are all nullable, without defaults."""
    return bigquery.Table(reference, schema=[plain(column) for column in columns])


def plain(column: bigquery.SchemaField, *, keeps_mode: bool = False) -> bigquery.SchemaField:
    """Return a column with its name and type and nothing else."""
    resource = column.to_api_repr()
    names = ("name", "type", "precision", "scale", "maxLength", "fields", "collation")
    members = {name: resource[name] for name in names if name in resource}
    members["mode"] = resource.get("mode", "NULLABLE") if keeps_mode else "NULLABLE"
    return bigquery.SchemaField.from_api_repr(members)


def changed_members(
    before: bigquery.Table | None, copied: Sequence[bigquery.SchemaField], after: bigquery.Table
) -> dict[str, Any]:
    """Return what a copy job did not keep: attribute of the client's table, and its value.

    Args:
        before: the target as it was; None when it is new.
        copied: columns of the shadow.
        after: the target as it is.
    """
    changed: dict[str, Any] = {}
    if before is not None:
        was, now = before.to_api_repr(), after.to_api_repr()
        for member, attribute in _KEPT.items():
            if (was.get(member) or None) != (now.get(member) or None):
                changed[attribute] = getattr(before, attribute)
    # A nullable column cannot become a required one again.
    modes = {column.name: column.mode for column in after.schema}
    wanted = [_with_mode(column, modes.get(column.name, column.mode)) for column in copied]
    if wanted != list(after.schema) and modes.keys() == {column.name for column in copied}:
        changed["schema"] = wanted
    return changed


def _with_mode(column: bigquery.SchemaField, mode: str) -> bigquery.SchemaField:
    return bigquery.SchemaField.from_api_repr({**column.to_api_repr(), "mode": mode})


def refuse_indexes(indexes: Sequence[base.Index], table: str) -> None:
    """Refuse indexes, which BigQuery does not have.

    Args:
        indexes: those that the transfer declares.
        table: the target, for messages.

    Raises:
        errors.ConfigError: there are some.
    """
    if indexes:
        raise errors.ConfigError(
            f"{table}: BigQuery has no indexes, but `indexes` names"
            f" {', '.join(index.name for index in indexes)}",
            hint="remove `indexes` from the transfer",
        )
