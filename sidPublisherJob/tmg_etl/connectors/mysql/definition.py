"""The statements that create tables and indexes. No I/O here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import catalogue
from tmg_etl.connectors.mysql import type as type_module

#: Bytes of one index entry. Source: https://mariadb.com/kb/en/innodb-limitations/
_INDEX_BYTES = 3072
_LONGEST_TEXT = 255
_UTF8_BYTES = 4
#: No other index column of a fixed type is wider: DECIMAL(65) takes 30 bytes.
_FIXED_BYTES = 30
_PREFIX_CHARACTERS = 191
#: Index over the key that a staging table gets.
KEY_INDEX = "_tmg_key"
_LONGEST_NAME = 64
#: Names are kept in three bytes a character.
_LAST_CHARACTER = 0xFFFF


def require_table(connection: str, table: str) -> None:
    """Refuse a table's name that the server cannot hold.

    Args:
        connection: its name in the config.
        table: the name.

    Raises:
        errors.ConfigError: it is too long, or has a character that no name holds.
    """
    if len(table) > _LONGEST_NAME:
        raise errors.ConfigError(
            f"connection {connection!r}: the table name {table!r} is longer than {_LONGEST_NAME}"
            " characters"
        )
    if any(ord(char) > _LAST_CHARACTER for char in table):
        raise errors.ConfigError(
            f"connection {connection!r}: the table name {table!r} has a character that no name in"
            " MySQL holds: one beyond U+FFFF"
        )


def collation(*, is_mariadb: bool) -> str:
    """Return the collation of created columns: every byte counts, trailing spaces too."""
    return "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"


def _options(*, is_mariadb: bool) -> str:
    return f"ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation(is_mariadb=is_mariadb)}"


def column(field: pa.Field, *, nullable: bool, length: int | None = None) -> str:
    """Return the definition of a column by the type mapping."""
    if any(ord(char) > _LAST_CHARACTER for char in field.name):
        # MariaDB refuses it, MySQL makes a question mark of it.
        raise errors.ConfigError(
            f"the column name {field.name!r} has a character that no name in MySQL holds: one"
            " beyond U+FFFF",
            hint="rename it in the source's `query`",
        )
    name = catalogue.quoted(field.name)
    check = f" CHECK (json_valid({name}))" if base.is_json(field) else ""
    null = "NULL" if nullable else "NOT NULL"
    return f"{name} {type_module.created(field, length=length)} {null}{check}"


def table(
    place: str,
    schema: pa.Schema,
    key: Sequence[str],
    indexes: Sequence[base.Index],
    *,
    is_mariadb: bool,
) -> str:
    """Return CREATE TABLE by the type mapping, with the primary key and no other index."""
    lengths = index_lengths(schema, [tuple(key), *(index.columns for index in indexes)])
    parts = [
        column(
            field,
            nullable=field.nullable and field.name not in key,
            length=lengths.get(field.name),
        )
        for field in schema
    ]
    if key:
        parts.append(f"PRIMARY KEY ({', '.join(map(catalogue.quoted, key))})")
    return f"CREATE TABLE {place} ({', '.join(parts)}) {_options(is_mariadb=is_mariadb)}"


def index_lengths(schema: pa.Schema, indexes: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the length of each text and binary column that is in an index, so that all fit."""
    lengths: dict[str, int] = {}
    for columns in indexes:
        fields = [schema.field(name) for name in columns if name in schema.names]
        wide = [field for field in fields if _is_wide(field)]
        if not wide:
            continue
        room = (_INDEX_BYTES - _FIXED_BYTES * (len(fields) - len(wide))) // len(wide)
        for field in wide:
            width = _UTF8_BYTES if pa.types.is_string(field.type) else 1
            length = min(_LONGEST_TEXT, room // width)
            lengths[field.name] = min(length, lengths.get(field.name, length))
    return lengths


def _is_wide(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type) or pa.types.is_binary(field.type))


def staging(
    place: str,
    entry: catalogue.Entry | None,
    columns: Sequence[str],
    extra: pa.Schema,
    *,
    is_mariadb: bool,
) -> str:
    """Return CREATE TABLE of a staging table: typed as the target, all nullable, no key.

    Without a target there are no `columns`, only `extra` ones.
    """
    parts = []
    for name in columns:
        assert entry is not None
        quoted = catalogue.quoted(name)
        kind = entry.kinds[name]
        is_checked = base.is_json(kind.field) and not kind.is_native_json
        check = f" CHECK (json_valid({quoted}))" if is_checked else ""
        parts.append(f"{quoted} {entry.native[name]} NULL{check}")
    parts += [column(field, nullable=True) for field in extra]
    return f"CREATE TABLE {place} ({', '.join(parts)}) {_options(is_mariadb=is_mariadb)}"


def deferred_indexes(entry: catalogue.Entry) -> dict[str, str]:
    """Return the definitions of the indexes that can wait for the end of a load.

    Unique ones stay: they are what refuses a duplicate. The one that an auto-increment column
    needs stays too.
    """
    return {
        name: line
        for name, line in entry.index_lines.items()
        if entry.auto_increment is None
        or entry.index_columns.get(name, ("",))[0] != entry.auto_increment
    }


def index(wanted: base.Index) -> str:
    """Return the definition of an index of the config."""
    unique = "UNIQUE " if wanted.unique else ""
    columns = ", ".join(map(catalogue.quoted, wanted.columns))
    return f"{unique}KEY {catalogue.quoted(wanted.name)} ({columns})"


def prefixed_index(
    kinds: Mapping[str, type_module.Kind], native: Mapping[str, str], key: Collection[str]
) -> str:
    """Return a plain index over a key whose columns may be too long for a whole one."""
    columns = []
    for name in key:
        text = native[name].lower()
        is_blob = "text" in text.split(" ", 1)[0] or "blob" in text.split(" ", 1)[0]
        share = _PREFIX_CHARACTERS // len(key)
        columns.append(f"{catalogue.quoted(name)}({share})" if is_blob else catalogue.quoted(name))
    return f"INDEX {catalogue.quoted(KEY_INDEX)} ({', '.join(columns)})"
