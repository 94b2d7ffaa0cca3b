"""Checks a resolved tree against the models and words what is wrong for the author of the file."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
import pydantic_core

from tmg_etl.config import model, problem, strict, tree

_Model = typing.TypeVar("_Model", bound=strict.Strict)

_QUOTE = 'put quotes around it: "…"'
_EXPECTED = {
    "string": ("a text", _QUOTE),
    "int": ("a whole number", "write it without quotes"),
    "float": ("a number", "write it without quotes"),
    "bool": ("true or false", "write true or false"),
    "finite": ("a finite number", "write a number"),
    "list": ("a list", "write [a, b], or one item for each line after a dash"),
    "dict": ("a mapping (key: value)", "indent its keys below it"),
    "model": ("a mapping (key: value)", "indent its keys below it"),
}
_BOUNDS = {
    "greater_than_equal": ("ge", "{} or more"),
    "less_than_equal": ("le", "{} or less"),
    "string_too_short": ("min_length", "at least {} character(s)"),
    "too_short": ("min_length", "at least {} item(s)"),
}


def validate(
    root: tree.Node, *, has_connections: bool = True
) -> tuple[model.Config | None, list[problem.Problem]]:
    """Return the typed config and no problems, or None and what is wrong with its values.

    Args:
        root: the tree.
        has_connections: whether the connections that transfers name must be in it.
    """
    return validate_as(root, model.Config, {model.HAS_CONNECTIONS: has_connections})


def validate_as(
    root: tree.Node, kind: type[_Model], context: dict[str, Any] | None = None
) -> tuple[_Model | None, list[problem.Problem]]:
    """Return a file of another `kind` typed and no problems, or None and what is wrong with it."""
    try:
        return kind.model_validate(root.plain(), context=context), []
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [_word(root, found) for found in details]


def unknown_keys(
    root: tree.Node, kind: type[strict.Strict] = model.Config
) -> list[problem.Problem]:
    """Return one problem for each key that no model below `kind` knows."""
    return list(_unknown(root, kind, ()))


def keys(kind: type[strict.Strict]) -> dict[str, pydantic.fields.FieldInfo]:
    """Return the fields of a model by the keys that may be written in YAML, its own ones first."""
    own = [name for name in kind.model_fields if name in kind.__annotations__]
    inherited = [name for name in kind.model_fields if name not in kind.__annotations__]
    fields = {name: kind.model_fields[name] for name in (*own, *inherited)}
    return {field.alias or name: field for name, field in fields.items() if name not in kind.hidden}


def _unknown(
    node: tree.Node, kind: type[strict.Strict], path: problem.Path
) -> Iterator[problem.Problem]:
    if not isinstance(node.value, dict):
        return
    known = keys(kind)
    for key, child in node.value.items():
        if key in known:
            yield from _unknown_below(child, known[key].annotation, (*path, key))
            continue
        message = f"found the unknown key {problem.render_key(key)}"
        hint = problem.help_for(key, list(known), "keys here")
        yield problem.Problem(child.line, (*path, key), message, hint)


def _unknown_below(
    node: tree.Node, annotation: Any, path: problem.Path
) -> Iterator[problem.Problem]:
    """Check what a field holds: a model, alternatives of models, or a dict or list of either."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _unknown_below(node, arguments[0], path)
    elif origin is dict and isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from _unknown_below(child, arguments[1], (*path, key))
    elif origin is list and isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _unknown_below(child, arguments[0], (*path, index))
    elif origin in (typing.Union, types.UnionType):
        kinds = [item for item in arguments if _is_model(item)]
        chosen = kinds[0] if len(kinds) == 1 else _by_type(node, kinds)
        if chosen is not None:
            yield from _unknown(node, chosen, path)
    elif _is_model(annotation):
        yield from _unknown(node, annotation, path)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, strict.Strict)


def _by_type(node: tree.Node, kinds: list[type[strict.Strict]]) -> type[strict.Strict] | None:
    """Return the model whose `type` the mapping names; None when it names none of them."""
    named = node.value.get("type") if isinstance(node.value, dict) else None
    for kind in kinds:
        if named and named.value in typing.get_args(kind.model_fields["type"].annotation):
            return kind
    return None


def _word(root: tree.Node, found: pydantic_core.ErrorDetails) -> problem.Problem:
    """Return the problem that a pydantic error stands for."""
    location, kind, facts = found["loc"], found["type"], found.get("ctx", {})
    if location[:1] == ("connections",) and len(location) > 2:
        # The third part is the connection's type, which pydantic chose the class by.
        location = location[:2] + location[3:]
    path = location + tuple(facts["at"]) if kind == "fault" else location
    node = root.nearest(path)
    if kind == "fault":
        return problem.Problem(node.line, path, facts["message"], facts["hint"])
    if kind in ("missing", "union_tag_not_found"):
        key = str(path[-1]) if kind == "missing" else "type"
        path = path if kind == "missing" else (*path, key)
        hint = f"add `{problem.render_key(key)}: …`"
        return problem.Problem(node.line, path, f"found no `{key}`, expected one", hint)
    if kind in ("literal_error", "union_tag_invalid"):
        return _word_choice(root, path, facts)
    expected, hint = _expectation(kind, facts, found["msg"])
    return problem.Problem(node.line, path, f"found {_found(node)}, expected {expected}", hint)


def _word_choice(root: tree.Node, path: problem.Path, facts: dict[str, Any]) -> problem.Problem:
    """Word a value that is none of a few allowed words."""
    if "expected_tags" in facts:
        path = (*path, "type")
    listed = str(facts.get("expected_tags") or facts["expected"])
    words = [word.strip(" '") for word in listed.replace(" or ", ", ").split(",")]
    node = root.nearest(path)
    near = problem.suggest(node.value, words) if isinstance(node.value, str) else None
    message = f"found {_found(node)}, expected one of {', '.join(words)}"
    hint = f"did you mean `{near}`?" if near else "choose one of them"
    return problem.Problem(node.line, path, message, hint)


def _expectation(kind: str, facts: dict[str, Any], message: str) -> tuple[str, str]:
    """Return what was expected, and what to do, for a pydantic error type."""
    if kind in _BOUNDS:
        name, text = _BOUNDS[kind]
        return text.format(_number(facts[name])), "change the value"
    return _EXPECTED.get(kind.partition("_")[0], (f"another value: {message}", "change the value"))


def _number(bound: float) -> str:
    """Return a bound as people write it: 1000000 and 0.5, not 1e+06 or 0.0."""
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _found(node: tree.Node) -> str:
    """Return what was found, as it was written where YAML changed it; never a secret."""
    if node.masked is not None:
        return problem.describe(node.masked)
    if isinstance(node.value, bool) and node.text.lower() not in ("true", "false"):
        return f"{node.text}, which YAML reads as {problem.describe(node.value)}"
    return problem.describe(node.value)
