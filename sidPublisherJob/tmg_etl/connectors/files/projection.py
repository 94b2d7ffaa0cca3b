"""Which columns of its tables a query can need, by DuckDB's own parse of it. Pure.

The answer may name more columns than are needed and never fewer: where a query means columns
without naming them (``*``, a natural join, a position, a pivot, a whole row), it is all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# Nodes that mean columns without naming them.
_NAMELESS = frozenset({"STAR", "POSITIONAL_REFERENCE", "PIVOT", "SHOW_REF", "NATURAL"})


def tables(tree: Any) -> Iterator[str]:
    """Yield the names that a serialized statement uses as tables, those of WITH clauses too."""
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            yield node["table_name"]


def needed(tree: Any, names: Sequence[str]) -> list[str]:
    """Return those of a table's columns that a serialized statement may read; at least one.

    Args:
        tree: the statement.
        names: the table's columns.
    """
    if any(_is_nameless(node) for node in _nodes(tree)) or _names_rows(tree):
        return list(names)
    words = {word.lower() for word in _words(tree)}
    found = [name for name in names if name.lower() in words]
    return found or list(names[:1])


def _is_nameless(node: dict[str, Any]) -> bool:
    kinds = {node.get("type"), node.get("ref_type")}
    return bool(kinds & _NAMELESS or node.get("column_name_alias"))


def _names_rows(tree: Any) -> bool:
    """Return whether a table or its alias is used as a value: that is a row of it."""
    places = {
        str(node[key]).lower()
        for node in _nodes(tree)
        if node.get("type") in ("BASE_TABLE", "SUBQUERY", "TABLE_FUNCTION")
        for key in ("table_name", "alias")
        if node.get(key)
    }
    return any(
        len(node["column_names"]) == 1 and node["column_names"][0].lower() in places
        for node in _nodes(tree)
        if node.get("type") == "COLUMN_REF"
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)


def _words(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _words(part)
