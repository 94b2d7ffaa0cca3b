"""From a location to a `model.Config`, or to one line that says what is wrong and where."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tmg_etl import errors, storage
from tmg_etl.config import complaint, environment, interpolation, place, problem, tree

if TYPE_CHECKING:
    from tmg_etl.config import model

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE_DATABASE = re.compile(
    r"(?P<head>(?:sqlite|duckdb)(?:\+\w+)?:///)(?P<path>[^?]*)(?P<tail>.*)", re.DOTALL
)


def load(
    location: str,
    env: str = environment.DEFAULT,
    *,
    environ: Mapping[str, str] | None = None,
) -> model.Config:
    """Return the config at `location` with one environment merged in and all variables filled in.

    Args:
        location: path of a YAML file, or a URL of a scheme in `place.OPENERS`.
        env: name of the environment; `local` need not be in the file.
        environ: variables for `${NAME}`; None takes the process's own.

    Returns:
        The config. Relative paths of connections and ledger are absolute in it.

    Raises:
        errors.ConfigError: the first thing that is wrong, with file, line and key, and how many
            more there are; `check` returns all.
        errors.AccessError: the file or a secret's file may not be read.
    """
    config, problems = _load(location, env, environ)
    if config is None:
        raise problems[0].to_error(location, more=len(problems) - 1)
    return config


def load_ledger(
    location: str,
    env: str = environment.DEFAULT,
    *,
    environ: Mapping[str, str] | None = None,
) -> model.Config:
    """Return the config at `location` with nothing but its ledger.

    For who looks at runs: variables and secrets of connections need not be there. Arguments and
    errors as for `load`.
    """
    config, problems = _load(location, env, environ, only="ledger")
    if config is None:
        raise problems[0].to_error(location, more=len(problems) - 1)
    return config


def load_transfers(
    location: str,
    env: str = environment.DEFAULT,
    *,
    environ: Mapping[str, str] | None = None,
) -> model.Config:
    """Return the config at `location` with nothing but its transfers.

    For who starts runs elsewhere: connections are not looked at, so their secrets need not be
    there, and a variable that is not set stays as it is written. Arguments, errors as for `load`.
    """
    config, problems = _load(location, env, environ, only="transfers")
    if config is None:
        raise problems[0].to_error(location, more=len(problems) - 1)
    return config


def check(
    location: str,
    env: str = environment.DEFAULT,
    *,
    environ: Mapping[str, str] | None = None,
) -> list[errors.TmgEtlError]:
    """Return every problem of the config at `location`, by line; none when it is fine.

    Args:
        location: as for `load`.
        env: as for `load`.
        environ: as for `load`.
    """
    try:
        _, problems = _load(location, env, environ)
    except (errors.ConfigError, errors.AccessError) as error:
        return [error]
    return [found.to_error(location) for found in problems]


def environments(location: str) -> list[str]:
    """Return the names of the environments in the file, `local` first.

    Raises:
        errors.ConfigError: the file cannot be read or is not YAML.
    """
    root = _parse(location)
    section = root.value.get("environments") if isinstance(root.value, dict) else None
    names = list(section.value) if section and isinstance(section.value, dict) else []
    return [environment.DEFAULT, *(name for name in names if name != environment.DEFAULT)]


def resolve_url(folder: pathlib.Path, url: str, location: str = "") -> str:
    """Return `url` with a relative file path made absolute.

    Args:
        folder: where relative paths start: `Config.folder`.
        location: of the config; in a bucket, plain relative paths are folders beside it.
        url: a plain path, or a URL. Only ``sqlite:///`` and ``duckdb:///`` with a relative path
            change; absolute paths, ``:memory:``, SQLite's ``file:`` names, MotherDuck's ``md:``
            names and all other URLs are returned as they are.
    """
    match = _FILE_DATABASE.fullmatch(url)
    if match:
        path = match["path"]
        if not path or path.startswith(("/", ":memory:", "file:", "md:")):
            return url
        return f"{match['head']}{folder / path}{match['tail']}"
    if _SCHEME.match(url) or re.match(r"(?:sqlite|duckdb)(?:\+\w+)?:", url):
        return url
    if storage.is_object_url(location) and not url.startswith(("/", "~")):
        return place.beside(location, url)
    return str(folder / url)


def _parse(location: str) -> tree.Node:
    return _parsed(place.fetch(location), location)


def _parsed(document: place.Document, location: str) -> tree.Node:
    text = document.text
    try:
        root = tree.parse(text)
    except tree.InvalidError as invalid:
        raise invalid.problem.to_error(location) from None
    if root is None or root.value is None:
        hint = "start with connections: and transfers:"
        raise errors.ConfigError("the config file is empty", where=f"{location}:1", hint=hint)
    if not isinstance(root.value, dict):
        raise problem.Problem(
            root.line,
            (),
            f"found {problem.describe(root.value)} at the top, expected a mapping",
            f"keys here: {', '.join((*environment.SECTIONS, 'environments'))}",
        ).to_error(location)
    return root


def _load(
    location: str, env: str, environ: Mapping[str, str] | None, only: str | None = None
) -> tuple[model.Config | None, list[problem.Problem]]:
    """Return the config and no problems, or None and at least one problem in the order of lines.

    With `only`, the other sections are left out.
    """
    document = place.fetch(location)
    root = _parsed(document, location)
    merged, problems = environment.select(root, env)
    if problems:
        return None, _ordered(problems)
    if only is not None:
        assert isinstance(merged.value, dict)
        kept = {name: node for name, node in merged.value.items() if name == only}
        merged = dataclasses.replace(merged, value=kept)
    resolver = interpolation.Resolver(environ)
    resolved = resolver.resolve(merged)
    is_partly = only == "transfers"
    problems = [*([] if is_partly else resolver.problems), *complaint.unknown_keys(resolved)]
    if problems:
        return None, _ordered(problems)
    config, problems = complaint.validate(resolved, has_connections=not is_partly)
    if config is None:
        return None, _ordered(problems)
    assert isinstance(root.value, dict)
    section = root.value.get("environments")
    config = _finish(config, location, section.plain() if section else None)
    config._location, config._env = document.location, env
    # Digested before paths are made absolute: one config has one digest on every machine.
    config._digest = _digest(resolved)
    config._secrets = frozenset(resolver.secrets)
    config._masked = {
        path: node.masked for path, node in resolved.walk() if node.masked is not None
    }
    for path, node in resolved.walk(()):
        if path[:1] == ("transfers",) and len(path) > 2:
            key, below = problem.render_path(path), problem.render_path(path[2:])
            transfer = config.transfers[str(path[1])]
            transfer._places[below] = f"{location}:{node.line}:{key}"
    return config, []


def _finish(
    config: model.Config, location: str, environments: dict[str, Any] | None
) -> model.Config:
    """Return `config` with absolute paths, its folder, and the environments as written."""
    folder = place.folder_of(location)
    connections = {
        name: item.model_copy(update={"url": _resolved(item, folder, location)})
        if item.url
        else item
        for name, item in config.connections.items()
    }
    update = {
        "connections": connections,
        "ledger": resolve_url(folder, config.ledger),
        "environments": environments or {},
    }
    config = config.model_copy(update=update)
    config._folder = folder
    return config


def _resolved(item: model.Connection, folder: pathlib.Path, location: str) -> str:
    """Return a connection's URL with an absolute path."""
    where = f"{location}:connections.{item.name}.url"
    try:
        url = resolve_url(folder, item.url, location)
    except errors.ConfigError as error:
        raise errors.ConfigError(error.message, hint=error.hint, where=where) from None
    if url != item.url and storage.is_object_url(location) and _FILE_DATABASE.fullmatch(url):
        # Beside the config it could not be opened, and in a pod's working directory it would be
        # made anew, empty, and lost with the pod.
        raise errors.ConfigError(
            "found a database file with a relative path in a config that lies in a bucket",
            hint="write its absolute path, with four slashes: sqlite:////data/file.db",
            where=where,
        )
    return url


def _ordered(problems: list[problem.Problem]) -> list[problem.Problem]:
    return sorted(problems, key=lambda found: found.line)


def _digest(root: tree.Node) -> str:
    text = json.dumps(root.plain(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
