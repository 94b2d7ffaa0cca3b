"""Environments: what `--env` lays over the rest of the file."""

from __future__ import annotations

import dataclasses

from tmg_etl.config import problem, tree

DEFAULT = "local"
"""The environment of a laptop. The only one that need not be written."""

SECTIONS = ("connections", "ledger", "defaults", "transfers", "packages")
"""The top-level keys that an environment may lay over."""

_READS = ("table", "query", "path")


def select(root: tree.Node, env: str) -> tuple[tree.Node, list[problem.Problem]]:
    """Return `root` with the environment `env` merged in and `environments` left out.

    Mappings merge key by key; lists and scalars replace. Two places hold alternatives, where the
    one written last wins whole: a connection of another `type`, and `table`/`query`/`path`.
    """
    assert isinstance(root.value, dict)
    base = dataclasses.replace(
        root, value={key: node for key, node in root.value.items() if key != "environments"}
    )
    section = root.value.get("environments")
    if section is None or section.value is None:
        known: dict[str, tree.Node] = {}
    elif isinstance(section.value, dict):
        known = section.value
    else:
        found = f"found {problem.describe(section.value)}, expected a mapping of environments"
        hint = "write environments: {prod: {…}}"
        return base, [problem.Problem(section.line, ("environments",), found, hint)]
    problems = [fault for name, node in known.items() for fault in _check(name, node)]
    if env not in known and env != DEFAULT:
        line = section.line if section else 1
        problems.append(_unknown(env, list(known), line))
    if not problems and env in known and known[env].value is not None:
        base = _merge(base, known[env], ())
    return base, problems


def _unknown(env: str, known: list[str], line: int) -> problem.Problem:
    names = sorted({DEFAULT, *known})
    return problem.Problem(
        line,
        ("environments",),
        f"found no environment {problem.describe(env)}",
        problem.help_for(env, names, "environments in this file"),
    )


def _check(name: str, node: tree.Node) -> list[problem.Problem]:
    path = ("environments", name)
    if node.value is None:
        return []
    if not isinstance(node.value, dict):
        found = f"found {problem.describe(node.value)}, expected a mapping"
        return [problem.Problem(node.line, path, found, f"keys here: {', '.join(SECTIONS)}")]
    return [
        problem.Problem(
            below.line,
            (*path, key),
            f"found the unknown key {problem.render_key(key)}",
            problem.help_for(key, SECTIONS, "keys here"),
        )
        for key, below in node.value.items()
        if key not in SECTIONS
    ]


def _merge(base: tree.Node, over: tree.Node, path: problem.Path) -> tree.Node:
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    kept = dict(base.value)
    if len(path) == 2 and path[0] == "connections" and _changes_type(kept, over.value):
        return over
    is_source = len(path) == 3 and path[0] == "transfers" and path[2] == "source"
    if is_source and any(key in over.value for key in _READS):
        kept = {key: node for key, node in kept.items() if key not in _READS}
    merged = {
        key: _merge(kept[key], over.value[key], (*path, key)) if key in over.value else node
        for key, node in kept.items()
    }
    merged |= {key: node for key, node in over.value.items() if key not in kept}
    return dataclasses.replace(base, value=merged)


def _changes_type(base: dict[str, tree.Node], over: dict[str, tree.Node]) -> bool:
    return "type" in base and "type" in over and base["type"].value != over["type"].value
