"""Marks on Arrow fields: what a string holds, and where a column comes from. Pure: no I/O."""

from __future__ import annotations

import pyarrow as pa

_JSON = {b"tmg_etl": b"json"}
_NORMAL = {b"tmg_etl_form": b"mysql"}
_UNSEEN = {b"tmg_etl": b"unseen"}
_HIDDEN = {b"tmg_etl": b"hidden"}
_UUID = {b"tmg_etl": b"uuid"}
_UNCARRIED = {b"tmg_etl": b"uncarried"}
_PADDED = {b"tmg_etl": b"padded"}


def _has(field: pa.Field, mark: dict[bytes, bytes]) -> bool:
    return bool(field.metadata) and mark.items() <= field.metadata.items()


def json_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field whose values are JSON documents."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_JSON)


def is_json(field: pa.Field) -> bool:
    """Return whether a string field holds JSON documents."""
    return _has(field, _JSON)


def rewritten_json(field: pa.Field) -> pa.Field:
    """Return the field of a column of MySQL's own JSON, which writes documents in one way."""
    return field.with_metadata(_JSON | _NORMAL)


def is_rewritten_json(field: pa.Field) -> bool:
    """Return whether a column keeps documents as MySQL's own JSON does, and not their text."""
    return _has(field, _NORMAL)


def uuid_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field of a column that writes a UUID in one way, however it was given."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_UUID)


def is_uuid(field: pa.Field) -> bool:
    """Return whether a string field writes UUIDs with lower-case digits and four hyphens."""
    return _has(field, _UUID)


def padded_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field of a column of fixed length, in which blanks at the end are padding."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_PADDED)


def is_padded(field: pa.Field) -> bool:
    """Return whether a string field keeps no blanks at the end, as SQL has it for ``CHAR(n)``."""
    return _has(field, _PADDED)


def hidden_field(name: str, kind: pa.DataType) -> pa.Field:
    """Return a field that windows and `order_by` may name and that is never published."""
    return pa.field(name, kind, metadata=_HIDDEN)


def is_hidden(field: pa.Field) -> bool:
    """Return whether a field is beside its table's columns, as a time of ingestion is."""
    return _has(field, _HIDDEN)


def unseen_field(name: str, nullable: bool = True) -> pa.Field:
    """Return a string field that had no value to tell its type by: nulls fit every column."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=_UNSEEN)


def is_unseen(field: pa.Field) -> bool:
    """Return whether a string field had no value to tell its type by."""
    return _has(field, _UNSEEN)


def uncarried_field(name: str, nullable: bool = True) -> pa.Field:
    """Return the field of a column whose values nothing carries, a geometry's: it is left alone."""
    return pa.field(name, pa.binary(), nullable=nullable, metadata=_UNCARRIED)


def is_uncarried(field: pa.Field) -> bool:
    """Return whether nothing carries the values of a column."""
    return _has(field, _UNCARRIED)
