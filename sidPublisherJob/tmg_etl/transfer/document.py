"""JSON text: what nested Arrow values become, and the text that servers rewrite JSON to."""

from __future__ import annotations

import base64
import datetime
import json
import math
import uuid
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa


def _number(text: str) -> str:
    """Return a JSON number with every digit and no exponent, as ``jsonb`` prints it."""
    value = Decimal(text)
    plain = f"{value:f}"
    return plain.lstrip("-") if value == 0 else plain


class _Number(str):
    """A number kept as the text to print."""

    __slots__ = ()


def _keep(text: str) -> _Number:
    return _Number(_number(text))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


class DoubledKeyError(ValueError):
    """An object has a key twice: of the two values, one would be lost."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} occurs twice in it, and the target keeps one")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DoubledKeyError(next(name for name in names if names.count(name) > 1))
    return found


def require_kept(text: str) -> None:
    """Refuse a document of which ``jsonb`` would lose a value.

    Raises:
        DoubledKeyError: an object has a key twice.
        ValueError: `text` is not a JSON document.
    """
    _canonical(_parsed(text, object_pairs_hook=_once))


def _parsed(text: str, **more: Any) -> object:
    return json.loads(
        text, parse_float=_keep, parse_int=_keep, parse_constant=_refuse_constant, **more
    )


def canonical(text: str) -> str:
    """Return a JSON document as ``jsonb`` prints it.

    Keys are sorted by length in bytes, then by bytes; the last of equal keys is kept; numbers have
    no exponent; separators are ``", "`` and ``": "``.

    Raises:
        ValueError: `text` is not a JSON document.
    """
    return _canonical(_parsed(text))


def _canonical(value: object) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: (len(item[0].encode()), item[0].encode()))
        return "{" + ", ".join(f"{_string(k)}: {_canonical(v)}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_canonical(item) for item in value) + "]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def render(value: object, kind: pa.DataType) -> str:
    """Return the JSON text of one nested Arrow value.

    Structs and maps become objects, lists arrays; decimals numbers with all their digits; bytes
    base64; days, times and instants ISO 8601 text, instants in UTC with ``Z``.

    Args:
        value: as `pyarrow.Scalar.as_py` gives it.
        kind: its Arrow type; decides where the Python value does not.

    Raises:
        ValueError: NaN or an infinity, which JSON has no text for.
        TypeError: a map whose keys are not text, or a type without JSON text.
    """
    if value is None:
        return "null"
    if pa.types.is_struct(kind):
        row = cast("dict[str, object]", value)
        return _object([(field.name, row[field.name], field.type) for field in kind])
    if pa.types.is_map(kind):
        pairs = cast("list[tuple[object, object]]", value)
        return _object([(key, item, kind.item_type) for key, item in pairs])
    if isinstance(value, list):
        return "[" + ",".join(render(item, kind.value_type) for item in value) + "]"
    return _scalar(value)


def _object(items: list[tuple[object, object, pa.DataType]]) -> str:
    parts = []
    for key, item, kind in items:
        if not isinstance(key, str):
            raise TypeError(f"a JSON object needs text keys, found {key!r}")
        parts.append(f"{_string(key)}:{render(item, kind)}")
    return "{" + ",".join(parts) + "}"


def _scalar(value: object) -> str:
    match value:
        case bool() | int() | str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} has no JSON text")
            return json.dumps(value)
        case Decimal():
            return f"{value:f}"
        case bytes():
            return _string(base64.b64encode(value).decode("ascii"))
        case datetime.datetime():
            if value.tzinfo is None:
                return _string(value.isoformat())
            return _string(value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z")
        case datetime.date() | datetime.time():
            return _string(value.isoformat())
        case uuid.UUID():
            return _string(str(value))
    raise TypeError(f"no JSON text for {type(value).__name__}")
