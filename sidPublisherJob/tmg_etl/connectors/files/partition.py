"""Hive partitions: the columns that ``key=value`` folders add to their files."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors.files import kind as kinds
from tmg_etl.connectors.files import location, text


def fields_of(files: Sequence[location.File], spec: model.SourceSpec) -> list[pa.Field]:
    """Return the partition columns of a source: declared, else int64, date or string.

    A value counts as an integer whatever zeros it leads with: ``month=01`` is 1.

    Raises:
        errors.DataError: a value is not of the declared type.
    """
    values: dict[str, set[str]] = {key: set() for key, _ in files[0].partitions}
    for file in files:
        for key, value in file.partitions:
            if value is not None:
                values[key].add(value)
    return [_field(key, sorted(found), files, spec) for key, found in values.items()]


def _field(
    key: str, values: list[str], files: Sequence[location.File], spec: model.SourceSpec
) -> pa.Field:
    if key not in spec.columns:
        return _inferred(key, values)
    field = kinds.declared_field(key, spec.columns[key])
    try:
        text.parse(pa.array(values, pa.string()), field)
    except text.RefusedError as refused:
        name = next(file.name for file in files if (key, refused.value) in file.partitions)
        raise errors.DataError(
            f"{name}: the partition {key}={refused.value} is no {kinds.word_of(field)}",
            hint="correct the folder's name or declare another type",
        ) from None
    return field


def _inferred(key: str, values: list[str]) -> pa.Field:
    if values and all(re.fullmatch(r"-?[0-9]{1,18}", value) for value in values):
        return pa.field(key, pa.int64())
    field = pa.field(key, pa.date32())
    if values and all(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) for value in values):
        try:
            text.parse(pa.array(values, pa.string()), field)
        except text.RefusedError:
            return pa.field(key, pa.string())
        return field
    return pa.field(key, pa.string())


def value_of(file: location.File, field: pa.Field) -> pa.Scalar:
    """Return the value of a partition column for the rows of one file."""
    value = dict(file.partitions)[field.name]
    return text.parse(pa.array([value], pa.string()), field)[0]
