"""The API's own reference, as Google publishes it for machines: which calls and fields there are.

The document (revision of August 2026) comes with the emulator.

Source: https://cloud.google.com/bigquery/docs/reference/rest, https://bigquery.googleapis.com/$discovery/rest
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.bigquery import emulator

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@functools.cache
def document() -> dict[str, Any]:
    """Return the discovery document."""
    path = emulator.PLACE / "packages" / "local_bigquery" / "discovery.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@dataclasses.dataclass(frozen=True)
class Method:
    """One method of the API.

    Attributes:
        name: such as ``jobs.insert``.
        verb: of HTTP.
        path: matches the path after ``/bigquery/v2``.
        parameters: names that the query may have.
        request: schema of the body, None where there is none.
        response: schema of the answer, None where there is none.
    """

    name: str
    verb: str
    path: re.Pattern[str]
    parameters: frozenset[str]
    request: str | None
    response: str | None


@functools.cache
def methods() -> tuple[Method, ...]:
    """Return every method of the API."""
    common = frozenset(document()["parameters"])
    found = []
    for resource, content in document()["resources"].items():
        for name, method in content.get("methods", {}).items():
            # {+tableId} takes everything but slashes too: see each parameter's pattern.
            path = re.sub(r"\{\+?(\w+)\}", r"(?P<\1>[^/:]+)", method["path"])
            found.append(
                Method(
                    f"{resource}.{name}",
                    method["httpMethod"],
                    re.compile("/" + path),
                    common | frozenset(method.get("parameters", {})),
                    method.get("request", {}).get("$ref"),
                    method.get("response", {}).get("$ref"),
                )
            )
    return tuple(found)


def method_of(verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
    """Return the method and its path parameters.

    Args:
        verb: of HTTP.
        path: after ``/bigquery/v2``, unquoted.
    """
    for method in methods():
        matched = method.path.fullmatch(path)
        if matched and method.verb == verb:
            return method, matched.groupdict()
    return None


def faults(value: Any, schema: str) -> Iterator[str]:
    """Yield what the reference does not allow in a body."""
    yield from _object(value, document()["schemas"][schema], schema)


def _faults(value: Any, spec: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in spec:
        yield from _faults(value, document()["schemas"][spec["$ref"]], where)
    elif value is None or spec["type"] == "any":
        return
    elif spec["type"] == "object":
        yield from _object(value, spec, where)
    elif spec["type"] == "array":
        if not isinstance(value, list):
            yield f"{where}: found {value!r}, expected a list"
            return
        for number, item in enumerate(value):
            yield from _faults(item, spec["items"], f"{where}[{number}]")
    else:
        yield from _scalar(value, spec, where)


def _object(value: Any, spec: dict[str, Any], where: str) -> Iterator[str]:
    if spec.get("type") == "any":
        return
    if not isinstance(value, dict):
        yield f"{where}: found {value!r}, expected an object"
        return
    known = spec.get("properties", {})
    for key, item in value.items():
        inner = known.get(key, spec.get("additionalProperties"))
        if inner is None:
            yield f"{where}.{key}: the reference has no such field"
        else:
            yield from _faults(item, inner, f"{where}.{key}")


def _scalar(value: Any, spec: dict[str, Any], where: str) -> Iterator[str]:
    # A whole number of 64 bits is text in JSON; Google takes a number too.
    is_number = spec.get("format", "").endswith("int64") and isinstance(value, int)
    is_bool = isinstance(value, bool) and spec["type"] != "boolean"
    if is_bool or not (isinstance(value, _KINDS[spec["type"]]) or is_number):
        yield f"{where}: found {value!r}, expected {spec['type']}"
    elif "enum" in spec and value not in spec["enum"]:
        yield f"{where}: found {value!r}, expected one of {', '.join(spec['enum'])}"
