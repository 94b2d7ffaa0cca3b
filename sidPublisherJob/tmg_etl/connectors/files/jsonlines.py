"""JSON lines: one object a line, typed by declaration or by the first lines of the files.

A missing key is null, a blank line is nothing, the last of two equal keys counts. Numbers are kept
as they are written until their column's type is known, so that integers of any size and decimals
are exact. Inferred are bool, int64, decimal(38,0) beyond it, float64, date, timestamp and
timestamptz from text that is one throughout, lists and structs; other text stays a string. A column
whose values are of several types must be declared; `string` and `json` take any of them.
"""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.connectors.files import delimited, location, record, storage, text
from tmg_etl.connectors.files import kind as kinds

# Lines that types are inferred from, over all files, and at least so many of each file.
_SAMPLE_LINES = 10_000
_SAMPLE_LINES_OF_FILE = 20


class _Real(str):
    """A number with a fraction or exponent, as it is written."""

    __slots__ = ()


class _MisfitError(Exception):
    """A nested value is not of its column's type."""


_DECODER = json.JSONDecoder(parse_float=_Real, parse_constant=_Real)


def _objects(file: location.File) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line that is not blank.

    Raises:
        errors.DataError: a line is no JSON object; names file and line.
    """
    number, most = 0, record.LINE_BYTES + 1
    try:
        with file.open() as stream:
            for number, line in enumerate(iter(functools.partial(stream.readline, most), b""), 1):
                if len(line) == most:
                    raise errors.DataError(
                        f"{file.name}:{number}: a line of more than {record.LINE_BYTES >> 20} MiB",
                        hint="each line holds one JSON object",
                    )
                raw = line.decode()
                stripped = (raw.removeprefix("\ufeff") if number == 1 else raw).strip()
                if stripped:
                    yield number, _object(stripped, file, number)
    except UnicodeDecodeError as error:
        file.check_unchanged()
        bad = error.object[error.start : error.end]
        raise errors.DataError(
            f"{file.name}:{number}: the bytes {bad!r} are no UTF-8",
            hint="write the file as UTF-8",
        ) from error
    except EOFError as error:
        file.check_unchanged()
        raise errors.DataError(
            f"{file.name}: the compressed file is cut off after line {number}"
        ) from error
    except (OSError, zlib.error) as error:
        file.check_unchanged()
        if isinstance(error, OSError) and error.errno is not None:
            raise storage.explained(error, file.name) from error
        raise errors.DataError(f"{file.name}: the compressed file is broken: {error}") from error


def _object(line: str, file: location.File, number: int) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        file.check_unchanged()
        reason = str(error)
        if isinstance(error, RecursionError):
            reason = "it is nested too deeply"
        elif not isinstance(error, json.JSONDecodeError):
            reason = "a whole number has thousands of digits"
        raise errors.DataError(
            f"{file.name}:{number}: no JSON: {reason}: {errors.shorten(line)}",
            hint="each line holds one JSON object",
        ) from error
    if not isinstance(value, dict):
        raise errors.DataError(
            f"{file.name}:{number}: found {errors.shorten(line)}, expected an object",
            hint="each line holds one JSON object: {…}",
        )
    return value


class JsonLinesFormat:
    """Reads files of JSON lines.

    Args:
        files: of one source.
        spec: declared types.
    """

    def __init__(self, files: Sequence[location.File], spec: model.SourceSpec) -> None:
        self._spec = spec
        self._schema = self._find_schema(files)

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of all files, without partitions."""
        return self._schema

    def _find_schema(self, files: Sequence[location.File]) -> pa.Schema:
        limit = max(_SAMPLE_LINES_OF_FILE, _SAMPLE_LINES // len(files))
        found: dict[str, list[Any]] = {}

        def first_objects(file: location.File) -> list[dict[str, Any]]:
            lines = _objects(file)
            first = [line for _, (_, line) in zip(range(limit), lines, strict=False)]
            lines.close()  # type: ignore[attr-defined]
            return first

        for first in files[0].lake.mapped(first_objects, files):
            for line in first:
                for key, value in line.items():
                    found.setdefault(key, []).append(value)
        for name in self._declared(files[0]):
            found.setdefault(name, [])
        if not found:
            raise errors.DataError(
                f"{files[0].name}: the source is empty: no object tells its columns",
                hint="declare them in the source (`columns: {name: type}`) if that is meant",
            )
        return pa.schema([self._field(name, values) for name, values in found.items()])

    def _declared(self, file: location.File) -> list[str]:
        partitions = {key for key, _ in file.partitions}
        return [name for name in self._spec.columns if name not in partitions]

    def _field(self, name: str, values: list[Any]) -> pa.Field:
        if not _is_text([name]):
            raise errors.DataError(
                f"the key {name!r} is no text: it holds half of a surrogate pair",
                hint="correct the files",
            )
        if name in self._spec.columns:
            return kinds.declared_field(name, self._spec.columns[name])
        return _infer(name, [value for value in values if value is not None])

    def count(self, file: location.File) -> int | None:
        """Return None: rows are known when the file is read."""
        return None

    def read(
        self, file: location.File, fields: Sequence[pa.Field], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file with `fields`."""
        known = frozenset(self._schema.names)
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        for number, row in _objects(file):
            if not row.keys() <= known:
                self._refuse_key(file, number, next(key for key in row if key not in known))
            numbers.append(number)
            rows.append(row)
            if len(rows) == batch_rows:
                yield self._batch(file, fields, rows, numbers)
                numbers, rows = [], []
        if rows:
            yield self._batch(file, fields, rows, numbers)

    def _refuse_key(self, file: location.File, number: int, key: str) -> None:
        file.check_unchanged()
        raise errors.DataError(
            f"{file.name}:{number}: the key {key!r} is in none of the lines that types were"
            " inferred from",
            hint=f"declare it in the source: `columns: {{{key}: string}}`",
        )

    def _batch(
        self,
        file: location.File,
        fields: Sequence[pa.Field],
        rows: list[dict[str, Any]],
        numbers: list[int],
    ) -> pa.RecordBatch:
        arrays = []
        for field in fields:
            values = [row.get(field.name) for row in rows]
            try:
                arrays.append(_typed(values, field))
            except text.RefusedError as refused:
                file.check_unchanged()
                raise delimited.refusal(
                    f"{file.name}:{numbers[refused.index]}",
                    field,
                    refused.value,
                    field.name in self._spec.columns,
                ) from None
        return delimited.batch_of(arrays, fields, len(rows))


def _infer(name: str, values: list[Any]) -> pa.Field:
    types = set(map(type, values))
    if not types:
        return base.unseen_field(name)
    if types == {bool}:
        return pa.field(name, pa.bool_())
    if types == {str}:
        field = text.infer_moment(pa.array(values, pa.string()), name) if _is_text(values) else None
        return field or pa.field(name, pa.string())
    if types <= {int, _Real}:
        return text.infer(pa.array([_written(value) for value in values], pa.string()), name)
    if types in ({list}, {dict}):
        return _infer_nested(name, values)
    raise errors.ConfigError(
        f"the column {name!r} holds values of several types:"
        f" {', '.join(sorted(_name(kind) for kind in types))}",
        hint=f"declare it in the source: `columns: {{{name}: json}}`, or string",
    )


def _infer_nested(name: str, values: list[Any]) -> pa.Field:
    """Return the field of lists or structs that are of one type throughout; else JSON."""
    try:
        kind = pa.infer_type([_plain(value) for value in values])
        field = kinds.base_field(pa.field(name, kind), name)
        # infer_type looks at the first value of a list only.
        _nested(values, field)
    except (ValueError, TypeError, OverflowError, errors.ConfigError, text.RefusedError):
        return base.json_field(name)
    return base.json_field(name) if _is_hollow(field.type) else field


def _is_text(values: list[str]) -> bool:
    """Return whether no text holds half of a surrogate pair, which JSON can write."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_hollow(kind: pa.DataType) -> bool:
    """Return whether a type has a struct without fields in it, which says nothing."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_hollow(field.type) for field in kind)
    return bool(pa.types.is_list(kind) and _is_hollow(kind.value_type))


def _name(kind: type) -> str:
    names = {int: "integer", _Real: "number", str: "text", dict: "object", list: "list"}
    return names.get(kind, "boolean")


def _written(value: Any) -> str | None:
    """Return a value as text: a string as it is, all else as JSON, numbers as in the file."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list)) or value is True or value is False:
        return _document(value)
    return str(value)


def _document(value: Any) -> str:
    """Return a value as JSON, numbers as they are written in the file."""
    if type(value) is _Real:
        return str(value)
    if isinstance(value, dict):
        items = (f"{json.dumps(key, ensure_ascii=False)}: {_document(value[key])}" for key in value)
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_document, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if type(value) is _Real:
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _typed(values: list[Any], field: pa.Field) -> pa.Array:
    """Return one column.

    Raises:
        text.RefusedError: the first value that does not fit.
    """
    kind = field.type
    types = set(map(type, values)) - {type(None)}
    if pa.types.is_nested(kind):
        return _nested(values, field)
    try:
        if types == {int} and pa.types.is_integer(kind):
            return pa.array(values, kind)
        if types == {bool} and pa.types.is_boolean(kind):
            return pa.array(values, kind)
    except (pa.ArrowInvalid, OverflowError):
        pass  # found by its text below
    if base.is_json(field):
        return text.parse(
            _strings([None if value is None else _document(value) for value in values]), field
        )
    if pa.types.is_boolean(kind) is False and bool in types and not pa.types.is_string(kind):
        index = next(i for i, value in enumerate(values) if isinstance(value, bool))
        raise text.RefusedError(index, _document(values[index]))
    return text.parse(_strings([_written(value) for value in values]), field)


def _strings(values: list[str | None]) -> pa.StringArray:
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        for index, value in enumerate(values):
            if value is not None and not _is_text([value]):
                raise text.RefusedError(index, value) from error
        raise


def _nested(values: list[Any], field: pa.Field) -> pa.Array:
    exact = []
    for index, value in enumerate(values):
        try:
            exact.append(_fitted(value, field.type))
        except (_MisfitError, OverflowError):
            raise text.RefusedError(index, _document(value)) from None
    # Of these, Arrow's own errors and that of half a surrogate pair are kinds.
    misfits = (ValueError, TypeError, OverflowError)
    try:
        return pa.array(exact, field.type)
    except misfits:
        for index, value in enumerate(exact):
            try:
                pa.array([value], field.type)
            except misfits:
                raise text.RefusedError(index, _document(values[index])) from None
        raise


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """Return a nested value with plain numbers; Arrow would drop keys that its type lacks."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        if not isinstance(value, dict) or not value.keys() <= known.keys():
            raise _MisfitError
        return {key: _fitted(item, known[key]) for key, item in value.items()}
    if pa.types.is_list(kind):
        if not isinstance(value, list):
            raise _MisfitError
        return [_fitted(item, kind.value_type) for item in value]
    if pa.types.is_boolean(kind) is not isinstance(value, bool):
        raise _MisfitError
    if pa.types.is_string(kind) is not (type(value) is str):
        raise _MisfitError
    if not pa.types.is_floating(kind):
        return value
    number = float(value)
    is_cut = isinstance(value, int) and int(number) != value
    if is_cut or (math.isinf(number) and "inf" not in str(value).lower()):
        raise _MisfitError
    return number
