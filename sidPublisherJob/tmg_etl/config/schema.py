"""A config for the eyes: the JSON Schema that editors check with, and a masked print."""

from __future__ import annotations

import copy
from typing import Any

from tmg_etl.config import complaint, environment, interpolation, model, problem, strict

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_OVERLAY = "Overlay"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with the models' descriptions.

    It is a little wider than the loader: numbers and words may also be a ``${…}``, and the entries
    of `environments` may leave out what is required elsewhere.
    """
    schema = model.Config.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.pop("$defs")
    for kind in _models(strict.Strict):
        if kind.__name__ in definitions:
            _hide(definitions[kind.__name__], kind)
    for part in (schema, *definitions.values()):
        part.pop("title", None)
        _widen_properties(part)
    overlays = {f"{name}{_OVERLAY}": _overlay(part) for name, part in definitions.items()}
    overlay = _overlay({key: value for key, value in schema.items() if key != "description"})
    overlay["properties"] = {key: overlay["properties"][key] for key in environment.SECTIONS}
    schema["properties"]["environments"]["additionalProperties"] = overlay
    return {
        "$schema": DIALECT,
        "title": "tmg_etl config",
        **schema,
        "description": "Connections, transfers and environments of tmg_etl.",
        "$defs": {**definitions, **overlays},
    }


def show(config: model.Config) -> dict[str, Any]:
    """Return `config` as it is in force, for print: defaults filled in, secrets as ``***``.

    Returns:
        The structure of a config file without `environments`; keys in the models' order.
    """
    shown = config.model_dump(mode="json", by_alias=True, exclude={"environments"})
    for section in ("connections", "transfers"):
        for name, item in shown[section].items():
            known = complaint.keys(type(getattr(config, section)[name]))
            shown[section][name] = {key: item[key] for key in known}
    masked: dict[str, Any] = _mask(shown, (), config)
    return masked


def _models(root: type[strict.Strict]) -> list[type[strict.Strict]]:
    found = [root]
    for kind in root.__subclasses__():
        found += _models(kind)
    return found


def _mask(value: Any, path: problem.Path, config: model.Config) -> Any:
    if path in config.masked:
        return config.masked[path]
    if isinstance(value, dict):
        return {key: _mask(item, (*path, key), config) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask(item, (*path, index), config) for index, item in enumerate(value)]
    return interpolation.mask_url(value) if isinstance(value, str) else value


def _hide(definition: dict[str, Any], kind: type[strict.Strict]) -> None:
    """Remove what the loader fills in."""
    for field in kind.hidden:
        definition["properties"].pop(kind.model_fields[field].alias or field, None)
    definition.pop("title", None)


def _widen_properties(definition: dict[str, Any]) -> None:
    """Let a `${…}` stand where a number, a truth value or one of a few words is expected."""
    for name, rule in definition.get("properties", {}).items():
        rule.pop("title", None)
        if "enum" in rule or rule.get("type") in ("integer", "number", "boolean"):
            kept = {key: rule.pop(key) for key in ("description", "default") if key in rule}
            choices = [rule, _REFERENCE]
            if "off" in rule.get("enum", ()):
                # YAML 1.1 reads the plain word off as false; the loader takes both.
                choices.append({"const": False})
            definition["properties"][name] = {**kept, "anyOf": choices}


def _overlay(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which nothing is required and all references are to overlays."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(item) for item in value]
        if not isinstance(value, dict):
            return value
        kept = {
            key: convert(item)
            for key, item in value.items()
            if key not in ("required", "discriminator")
        }
        if "$ref" in kept:
            kept["$ref"] += _OVERLAY
        # A connection that is laid over may leave its `type` out and then fits several classes.
        if "oneOf" in kept:
            kept["anyOf"] = kept.pop("oneOf")
        return kept

    converted: dict[str, Any] = convert(copy.deepcopy(definition))
    converted.pop("title", None)
    return converted
