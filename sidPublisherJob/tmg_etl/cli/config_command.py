"""`tmg-etl config`: check it, show it without secrets, print its JSON Schema."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING

import click

from tmg_etl import errors
from tmg_etl.cli import argument, group, guard, output

if TYPE_CHECKING:
    from tmg_etl.config import model

PROG = "tmg-etl"


_HERE = "tmg_etl.cli.config_command"
COMMANDS = {
    "check": group.Entry(
        f"{_HERE}:check", "Print every problem, or ok; tries each system if asked to."
    ),
    "schema": group.Entry(f"{_HERE}:schema", "Print the JSON Schema, for editors."),
    "show": group.Entry(f"{_HERE}:show", "Print what a run would see, secrets masked."),
}


@click.group("config", cls=group.LazyGroup, entries=COMMANDS)
def command() -> None:
    """Check a config, show it, or print the JSON Schema of all configs."""


@click.command("check")
@argument.config
@argument.env
@click.option("--connect", is_flag=True, help="Log in to each connection and the ledger too.")
def check(config: str, env: str, connect: bool) -> int:
    """Check CONFIG, and that what its connections need is installed; print every problem.

    Connects to nothing but with --connect, and changes nothing then either.
    """
    from tmg_etl.config import loader

    problems: Sequence[errors.TmgEtlError] = loader.check(config, env)
    if not problems:
        loaded = loader.load(config, env)
        problems = [*_pipeline_problems(loaded), *_connection_problems(loaded, connect)]
        if not problems:
            parts = [
                _counted(loaded.transfers, "transfer"),
                _counted(loaded.connections, "connection"),
                *(["all reached"] if connect else []),
            ]
            output.write(f"ok: {config}, environment {env}: {', '.join(parts)}")
            return errors.EXIT_OK
    for problem in problems:
        guard.report(PROG, guard.failure_of(problem), guard.PlainReporter())
    return problems[0].exit_code


@click.command("schema")
def schema() -> int:
    """Print the JSON Schema of a config, for editors."""
    from tmg_etl.config import schema as schema_module

    output.write_json(schema_module.json_schema(), indent=2)
    return errors.EXIT_OK


@click.command("show")
@argument.config
@argument.env
def show(config: str, env: str) -> int:
    """Print CONFIG as a run sees it: merged, filled in, defaults written out, secrets masked."""
    import yaml

    from tmg_etl.config import loader
    from tmg_etl.config import schema as schema_module

    loaded = loader.load(config, env)
    text = yaml.safe_dump(schema_module.show(loaded), sort_keys=False, allow_unicode=True)
    output.write(loaded.redact(text.rstrip("\n")))
    return errors.EXIT_OK


def _pipeline_problems(config: model.Config) -> list[errors.TmgEtlError]:
    """Return what is wrong with the classes that transfers name in `pipeline`."""
    from tmg_etl.transfer import runner

    problems: list[errors.TmgEtlError] = []
    for transfer in config.transfers.values():
        try:
            runner.load_class(transfer, config.packages)
        except errors.ConfigError as error:
            problems.append(error)
    return problems


def _connection_problems(config: model.Config, connect: bool) -> list[errors.TmgEtlError]:
    """Return what keeps a run from working with each connection and the ledger."""
    from tmg_etl import connectors, run
    from tmg_etl.ledger import database

    known = connectors.Connections(config.connections, config.folder, run.StopFlag())
    checks: dict[str, Callable[[], None]] = {
        f"connections.{name}": functools.partial(known[name].check, connect=connect)
        for name in known
    }
    checks["ledger"] = functools.partial(database.check, config.ledger, connect=connect)
    problems: list[errors.TmgEtlError] = []
    for key, check_it in checks.items():
        try:
            check_it()
        except errors.TmgEtlError as error:
            error.where = error.where or f"{config.location}:{key}"
            problems.append(error)
    return problems


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
