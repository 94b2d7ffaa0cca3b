"""Arrow columns to the types of a target: what is allowed, and the cast that loses nothing.

What the types show to lose data is refused before anything is loaded; what only a value shows is
refused at its row, with its key, column and value. Pure: no I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl import errors
from tmg_etl.connectors import base, exact
from tmg_etl.transfer import document

T = TypeVar("T")


def refusal(source: pa.Field, target: pa.Field) -> str | None:
    """Return why a column cannot be carried into another type, or None when it can.

    Widening is always allowed, and so is narrowing within one kind (integers, decimals), which is
    checked value by value. Text is parsed into nothing: declare the type at the source. A column
    without a value fits, until one comes.
    """
    have, want = source.type, target.type
    if base.is_uncarried(target):
        return "a type that cannot be carried"
    if have.equals(want) or pa.types.is_null(have) or base.is_unseen(source):
        return None
    if _is_nested(have):
        return None if pa.types.is_string(want) else f"{have} becomes JSON text, not {want}"
    allowed = {
        _kind(have): True,
        **dict.fromkeys(_WIDER.get(_kind(have), ()), True),
    }
    if _kind(want) not in allowed:
        return f"{have} does not become {want} without a loss or a guess"
    both_float = pa.types.is_floating(have) and pa.types.is_floating(want)
    if both_float and have.bit_width > want.bit_width:
        return f"{have} loses digits in {want}"
    return None


_WIDER: dict[str, tuple[str, ...]] = {
    "bool": ("integer", "text"),
    "integer": ("decimal", "float", "text"),
    "decimal": ("integer", "text"),
    "float": ("integer",),
    "date": ("timestamp", "text"),
    "time": ("text",),
    "timestamp": ("date", "text"),
    # An instant becomes the wall clock of UTC; the way back would be a guess.
    "instant": ("timestamp",),
}


def _kind(kind: pa.DataType) -> str:
    checks: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_floating, "float"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
        (pa.types.is_string, "text"),
        (pa.types.is_binary, "bytes"),
    )
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "timestamp"
    return next((name for check, name in checks if check(kind)), "nested")


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def carried(field: pa.Field, capabilities: base.Capabilities) -> pa.Field:
    """Return the field that a new table gets for a source field.

    Nested types become JSON, and instants wall-clock timestamps where the database has no zones.
    """
    kind = field.type
    if _is_nested(kind):
        return base.json_field(field.name, field.nullable)
    if pa.types.is_null(kind) or base.is_unseen(field):
        return pa.field(field.name, pa.string(), field.nullable)
    if pa.types.is_timestamp(kind) and kind.tz and not capabilities.zoned_timestamps:
        return pa.field(field.name, pa.timestamp("us"), field.nullable)
    return field


@dataclasses.dataclass(frozen=True)
class Converter:
    """Casts batches to the columns of a table, and finds the cell that cannot be cast.

    Attributes:
        table: the target's name, for messages.
        fields: what the table's columns take, in the order of loading.
        required: columns that may not be null.
        key: key columns, to name a row by.
        capabilities: what the target can hold.
    """

    table: str
    fields: pa.Schema
    required: frozenset[str]
    key: tuple[str, ...]
    capabilities: base.Capabilities

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with exactly `fields`.

        Raises:
            errors.ValueRejectedError: a value does not fit, or null where it may not be.
            errors.NullKeyError: a key column is null.
        """
        columns = [self._column(batch, field) for field in self.fields]
        return pa.RecordBatch.from_arrays(columns, schema=self.fields)

    def _column(self, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
        array = batch.column(field.name)
        if array.null_count:
            self._refuse_null(batch, field, array)
        if not array.type.equals(field.type):
            array = self._cast(batch, field, array)
        if pa.types.is_floating(field.type):
            array = self._checked_floats(batch, field, array)
        elif pa.types.is_string(field.type):
            self._check_text(batch, field, array)
            array = _own_form(field, array)
            if base.is_json(field):
                array = self._documents(batch, field, array)
        elif pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            self._check_days(batch, field, array)
        return array

    def _refuse_null(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> None:
        row = _first(pc.is_null(array))
        if field.name in self.key:
            raise errors.NullKeyError(self.table, field.name, _row(batch, row))
        if field.name in self.required:
            raise errors.ValueRejectedError(
                self.table,
                column=field.name,
                value="null",
                key=self._key(batch, row),
                reason="the column is NOT NULL",
            )

    def _cast(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> pa.Array:
        cast = _caster(array.type, field.type)
        try:
            return cast(array)
        except (pa.ArrowInvalid, ValueError, TypeError, OverflowError) as error:
            row = _first_refused(array, cast)
            reason = str(_failure(array.slice(row, 1), cast) or error)
            raise self._rejected(
                batch, field, row, f"it does not fit {field.type} ({reason.splitlines()[0]})"
            ) from error

    def _checked_floats(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> pa.Array:
        able = self.capabilities
        if not able.has_nan:
            self._refuse_where(batch, field, pc.is_nan(array), "the target holds no NaN")
        if not able.has_infinity:
            self._refuse_where(batch, field, pc.is_inf(array), "the target holds no infinity")
        if not able.has_negative_zero:
            return pc.add(array, pa.scalar(0.0, array.type))
        return array

    def _check_text(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> None:
        if not self.capabilities.has_nul:
            buffer = array.buffers()[2]
            if buffer is not None and b"\0" in memoryview(buffer).tobytes():
                self._refuse_where(
                    batch,
                    field,
                    pc.match_substring(array, "\0"),
                    "the target holds no NUL character",
                )

    def _documents(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> pa.Array:
        """Return JSON as the target writes it; where it keeps the text, as it is."""
        if base.is_rewritten_json(field):
            return pa.array(self._rewritten(batch, field, array, document.mysql), pa.string())
        if self.capabilities.text.canonical_json:
            self._rewritten(batch, field, array, document.require_kept)
        return array

    def _rewritten(
        self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array, write: Callable[[str], T]
    ) -> list[T | None]:
        written: list[T | None] = []
        try:
            for value in array.to_pylist():
                written.append(None if value is None else write(value))
        except document.NotKeptError as found:
            raise self._rejected(batch, field, len(written), str(found)) from found
        except ValueError as found:
            reason = "it is not a JSON document"
            raise self._rejected(batch, field, len(written), reason) from found
        return written

    def _check_days(self, batch: pa.RecordBatch, field: pa.Field, array: pa.Array) -> None:
        earliest = self.capabilities.min_date
        if earliest > datetime.date.min:
            bound = pa.scalar(earliest, pa.date32()).cast(field.type)
            self._refuse_where(
                batch, field, pc.less(array, bound), f"the target holds no day before {earliest}"
            )

    def _refuse_where(
        self, batch: pa.RecordBatch, field: pa.Field, mask: pa.Array, reason: str
    ) -> None:
        if pc.any(mask).as_py():
            raise self._rejected(batch, field, _first(mask), reason)

    def _rejected(
        self, batch: pa.RecordBatch, field: pa.Field, row: int, reason: str
    ) -> errors.ValueRejectedError:
        return errors.ValueRejectedError(
            self.table,
            column=field.name,
            value=str(batch.column(field.name)[row].as_py()),
            key=self._key(batch, row),
            reason=reason,
        )

    def _key(self, batch: pa.RecordBatch, row: int) -> dict[str, object]:
        return _row(batch, row, self.key or tuple(batch.schema.names))


def _caster(have: pa.DataType, want: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    if _is_nested(have):
        return lambda array: pa.array(
            [
                None if value is None else document.render(value, have)
                for value in array.to_pylist()
            ],
            pa.string(),
        )
    if pa.types.is_decimal(have) and pa.types.is_string(want):
        return lambda array: pa.array(
            [None if value is None else f"{value:f}" for value in array.to_pylist()], pa.string()
        )
    if pa.types.is_timestamp(have) and pa.types.is_date(want):
        return _days
    if pa.types.is_integer(have) and pa.types.is_decimal(want):
        # Arrow wants room for every value of the integer type; the values decide here.
        return lambda array: exact.from_decimal(array.cast(pa.decimal128(38, 0)), want)
    if pa.types.is_decimal(have) and pa.types.is_decimal(want):
        return lambda array: exact.from_decimal(array, want)
    if pa.types.is_string(have) and not pa.types.is_string(want):
        return lambda array: _nulls(array, want)
    if pa.types.is_boolean(have) and pa.types.is_string(want):
        return lambda array: pc.if_else(array, "true", "false")
    return lambda array: array.cast(want)


_ANY_UUID = r"^\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$"
_UUID_LENGTH = 36


def _own_form(field: pa.Field, array: pa.Array) -> pa.Array:
    """Return texts as the column's type writes them, where it takes several for one value."""
    if base.is_padded(field):
        return pc.ascii_rtrim(array, " ")
    if base.is_uuid(field):
        array = pc.ascii_lower(array)
        # A regular expression takes forty times as long.
        if pc.any(pc.not_equal(pc.binary_length(array), _UUID_LENGTH)).as_py():
            array = pc.replace_substring_regex(array, _ANY_UUID, r"\1-\2-\3-\4-\5")
    return array


def _nulls(array: pa.Array, want: pa.DataType) -> pa.Array:
    """Return the values of a column that had none when its type was looked for."""
    if array.null_count < len(array):
        raise pa.ArrowInvalid("the first rows had no value: declare the column's type")
    return pa.nulls(len(array), want)


def _days(array: pa.Array) -> pa.Array:
    """Return timestamps at midnight as days; Arrow's own cast would drop the time of day."""
    days = array.cast(pa.date32(), safe=False)
    same = pc.equal(days.cast(array.type), array)
    if pc.all(same).as_py() is False:
        raise pa.ArrowInvalid("it has a time of day")
    return days


def _first_refused(array: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> int:
    """Return the first row whose cast fails, by halving."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        if _failure(array.slice(low, middle - low), cast) is None:
            low = middle
        else:
            high = middle
    return low


def _failure(array: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> Exception | None:
    try:
        cast(array)
    except (pa.ArrowInvalid, ValueError, TypeError, OverflowError) as error:
        return error
    return None


def _first(mask: pa.Array) -> int:
    """Return the index of the first true value."""
    index: int = pc.index(mask, True).as_py()
    return index


def _row(batch: pa.RecordBatch, row: int, names: Sequence[str] = ()) -> dict[str, object]:
    return {name: batch.column(name)[row].as_py() for name in names or batch.schema.names}
